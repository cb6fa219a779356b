"""A spec with what it must agree with, and the walks through it that the rules share."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import documents

from opwatch.cli.generating import spec as files
from opwatch.cli.generating import yaml_rules
from opwatch.cli.generating.document import MARKS as MARKS
from opwatch.cli.generating.spec import Line, Place, Problem

SUMS = "documents/SHA256SUMS"
SCHEMAS = ("components", "schemas")
HOLDERS: dict[str, type[dict[str, Any]] | type[list[Any]]] = {
    **dict.fromkeys(("properties", "patternProperties"), dict),
    **dict.fromkeys(("anyOf", "oneOf", "allOf"), list),
}
"""The keywords that hold several schemas."""


@dataclass(frozen=True)
class Spec:
    """One spec, and what it must agree with: its document and its part of the README."""

    name: str
    content: dict[str, Any]
    lines: Mapping[Place, int]
    document: str
    readme: str
    sums: str
    """The hashes of all documents."""
    has_document: bool = False
    readme_line: int = 1
    """Where its part of the README begins."""

    def in_readme(self, text: str) -> Line:
        """Return the line of the README that has a text."""
        return Line("specs/README.md", self.readme_line - 1 + documents.line_of(self.readme, text))

    def in_document(self, number: int) -> Line:
        """Return a line of the document."""
        return Line(f"specs/documents/{Path(self.name).stem}.txt", number)


Rule = Callable[[Spec], Iterator[Problem]]


def read(path: Path) -> Spec:
    """Read a spec, its document `documents/{name}.txt`, and its part of `README.md`.

    Raises `Unreadable` if one of them can't be read.
    """
    text = yaml_rules.text(path, f"specs/{path.name}")
    yaml_rules.check(text, f"specs/{path.name}")
    content, lines = files.load(path, text)
    name = f"documents/{path.stem}.txt"
    has_document = (path.parent / name).exists()
    document = _beside(path, name) if has_document else ""
    readme = _beside(path, "README.md")
    sums = _beside(path, SUMS)
    specs = sorted(path.parent.glob("*.yaml"))
    for number, line in enumerate(sums.splitlines(), 1):
        if not re.fullmatch(r"[0-9a-f]{64}  \S+", line):
            raise _broken(f"specs/{SUMS}", number, f"{line!r} isn't a hash and a name; restore it")
        name = line.partition("  ")[2]
        if f"  {name}\n" in "".join(sums.splitlines(keepends=True)[number:]) + "\n":
            problem = f"{name} has another line below; remove one"
            raise _broken(f"specs/{SUMS}", number, problem)
        known = f"## {Path(name).stem}.yaml\n" in f"{readme}\n"
        if not (path.parent / "documents" / name).exists() and not known:
            problem = f"there is no {name}; restore it, or remove this line"
            raise _broken(f"specs/{SUMS}", number, problem)
    texts = [f"{each.stem}.txt" for each in specs]
    texts = [each for each in texts if (path.parent / "documents" / each).exists()]
    if lost := [each for each in texts if f"  {each}\n" not in f"{sums}\n"]:
        problem = f"has no hash of {', '.join(lost)}; restore it, or add what sha256sum prints"
        raise _broken(f"specs/{SUMS}", 1, problem)
    if lost := [each.name for each in specs if f"## {each.name}\n" not in f"{readme}\n"]:
        problem = f"has no section about {', '.join(lost)}; restore it, or add ## and the name"
        raise _broken("specs/README.md", 1, problem)
    part = _section(readme, path.name)
    return Spec(
        name=path.name,
        content=content,
        lines=lines,
        document=document,
        has_document=has_document,
        readme=part,
        readme_line=documents.line_of(readme, part),
        sums=sums,
    )


def _beside(path: Path, name: str) -> str:
    """The text of a file beside a spec, as an editor may have changed all of it."""
    text = yaml_rules.text(path.parent / name, f"specs/{name}")
    if "\r" in text:
        problem = "its lines end with a carriage return; restore it, or use Unix line endings"
        raise _broken(f"specs/{name}", text.count("\n", 0, text.index("\r")) + 1, problem)
    if text.startswith("\ufeff"):
        raise _broken(f"specs/{name}", 1, "begins with a byte order mark; save it without one")
    return text


def _broken(name: str, line: int, problem: str) -> yaml_rules.Unreadable:
    return yaml_rules.Unreadable([files.Finding(name, line, "#", "file", problem)])


def examples(spec: Spec) -> Iterator[tuple[Place, dict[str, Any], Any]]:
    """Each example of a spec: its place, its schema, its value."""
    for place, node in objects(spec.content):
        if isinstance(node.get("schema"), dict):
            if "example" in node:
                yield (*place, "example"), node["schema"], node["example"]
            for name, example in node.get("examples", {}).items():
                yield (*place, "examples", name, "value"), node["schema"], example["value"]
    for place, node in schemas(spec.content):
        for index, value in enumerate(node.get("examples", [])):
            yield (*place, "examples", index), node, value


def marks(spec: Spec) -> Iterator[tuple[Place, str, str]]:
    """Each mark of a spec: its place, its kind, its text on one line."""
    for place, node in objects(spec.content):
        for mark in MARKS:
            if mark in node:
                yield place, mark, " ".join(str(node[mark]).split())


def objects(node: Any, place: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each mapping of a spec except those inside the values of examples."""
    if isinstance(node, dict):
        yield place, node
        for key, child in node.items():
            if not _holds_example((*place, key), child):
                yield from objects(child, (*place, key))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from objects(child, (*place, index))


def _holds_example(place: Place, child: Any) -> bool:
    key, parents = place[-1], place[:-1]
    if parents[-1:] == ("properties",):  # a property of that name
        return False
    in_list = key == "examples" and isinstance(child, list)
    return in_list or key == "example" or (key == "value" and parents[-2:-1] == ("examples",))


def schemas(content: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each schema of a spec: the components, those beside an example, and all inside them."""
    for place, node in objects(content):
        for key, child in node.items():
            if place == SCHEMAS or key == "schema":
                yield from _subschemas(child, (*place, key))


def _subschemas(node: dict[str, Any], place: Place) -> Iterator[tuple[Place, dict[str, Any]]]:
    yield place, node
    if not isinstance(node, dict):  # JSON Schema has true and false, too; `structure` refuses them
        return
    for key, kind in HOLDERS.items():
        children = node.get(key, kind())
        if isinstance(children, kind):
            each = children.items() if isinstance(children, dict) else enumerate(children)
            for name, child in each:
                yield from _subschemas(child, (*place, key, name))
    for key in ("items", "additionalProperties", "not", "x-strict"):
        if isinstance(node.get(key), dict):
            yield from _subschemas(node[key], (*place, key))


def place_of(text: str) -> Place:
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in text.split("/")[1:])


def at(content: Any, place: Place) -> Any:
    for key in place:
        content = content[int(key)] if isinstance(content, list) else content[key]
    return content


def _section(readme: str, name: str) -> str:
    """The part of the README under the heading that names the spec."""
    parts = re.split(r"^## ", readme, flags=re.MULTILINE)
    return "".join(part for part in parts if part.startswith(name))
