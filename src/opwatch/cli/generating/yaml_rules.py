"""What must hold of a file before anything is read in it: that it is UTF-8, that it is YAML, and
that YAML reads what is written. Each problem is a finding with its line and its fix."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import Reader

from opwatch.cli.generating.spec import DEEPEST, Finding, Place, pointer

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML has it
LARGEST = 16 * 1024 * 1024
"""The most bytes of a spec. GitHub's, one of the largest there are, has 9 million."""
MOST = 1_000_000
"""The most values in a spec, each alias counted as what it stands for."""
_TAG = "tag:yaml.org,2002:"
_KINDS = ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value")
_INT = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?")


class Unreadable(Exception):
    """A file that can't be read as what it should be; `findings` says why."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        super().__init__("\n".join(map(str, findings)))


def raw(path: Path, name: str) -> bytes:
    """Return the bytes of a file that findings call `name`; raise `Unreadable` if it is too large.

    A device has no end.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        problem = f"is larger than {LARGEST // 1024**2} MiB; keep only what the wait needs"
        raise Unreadable([Finding(name, 1, "#", "file", problem)])
    return content


def text(path: Path, name: str) -> str:
    """Return the text of a file that findings call `name`; raise `Unreadable` if there is none."""
    try:
        return decoded(raw(path, name), name)
    except FileNotFoundError:
        raise Unreadable([Finding(name, 1, "#", "file", "is missing; restore it")]) from None
    except OSError as error:
        problem = f"can't be read: {error.strerror}; restore it"
        raise Unreadable([Finding(name, 1, "#", "file", problem)]) from None


def decoded(content: bytes, name: str) -> str:
    """Return the text of the bytes of a file; raise `Unreadable` if they aren't UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = f"byte 0x{error.object[error.start]:02x} isn't UTF-8; save the file as UTF-8"
        raise Unreadable([Finding(name, line, "#", "utf-8", problem)]) from None


def _unreadable(name: str, line: int, problem: str, rule: str = "yaml") -> Unreadable:
    return Unreadable([Finding(name, line + 1, "#", rule, problem)])


def _syntax(content: str, error: Any) -> tuple[int, str]:
    """Return where a spec stops being YAML, and why: where a quote or a bracket that isn't closed
    is, not where that becomes an error."""
    if found := Reader.NON_PRINTABLE.search(content):
        problem = f"the character U+{ord(found[0]):04X} isn't allowed in YAML; remove it"
        return content.count("\n", 0, found.start()), problem
    mark = error.problem_mark
    if str(error.context).startswith(("while scanning a quoted", "while parsing a flow")):
        mark = error.context_mark
    with contextlib.suppress(yaml.YAMLError):
        for event in yaml.parse(content, Loader=_Loader):
            if isinstance(event, yaml.ScalarEvent) and event.style in ("'", '"'):
                start, end = event.start_mark, event.end_mark
                mark = start if start and end and end.line > start.line else mark
    said = ", ".join(filter(None, (error.context, error.problem)))
    return mark.line, f"{said}; check the indentation, colons and quotes here and just above"


def check_size(content: str, name: str) -> None:
    """Raise `Unreadable` for more values than can be checked, as a few aliases of aliases make, and
    for too deep a nesting. Nothing is kept of what is read here."""
    sizes: dict[str, int] = {}
    above: list[tuple[str | None, int]] = []
    """The collections that are open: their anchors, and how much is in them so far."""
    total = 0
    try:
        for event in yaml.parse(content, Loader=_Loader):
            line = event.start_mark.line if event.start_mark else 0
            if isinstance(event, yaml.CollectionStartEvent):
                above.append((event.anchor, total))
                total += 1
                if len(above) > DEEPEST:
                    raise _unreadable(name, line, "nested too deeply; flatten it")
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = above.pop()
                sizes[str(anchor)] = total - before
            elif isinstance(event, yaml.NodeEvent):
                size = sizes.get(str(event.anchor), 1) if isinstance(event, yaml.AliasEvent) else 1
                total += size
            if total > MOST:
                problem = f"has more than {MOST:,} values, counting aliases"
                fix = "keep only what the wait needs"
                raise _unreadable(name, line, f"{problem}; {fix}", "file")
    except yaml.YAMLError:
        pass  # which is a finding of who reads it


def check(content: str, name: str, *, strict: bool = True, is_json: bool = False) -> None:
    """Raise `Unreadable` if YAML can't read a spec, or if a key hides another.

    If `strict`, also raise it for what YAML 1.1 reads as something else than is written; otherwise
    that is read as OpenAPI means it (`spec.load`). JSON needn't be YAML, too.
    """
    check_size(content, name)
    try:
        root = yaml.compose(content, Loader=_Loader)
    except yaml.YAMLError as error:
        if is_json:
            return
        raise _unreadable(name, *_syntax(content, error)) from None
    if not isinstance(root, yaml.MappingNode):
        problem = "must be an OpenAPI document: a mapping with `openapi`, `info` and `paths`"
        raise Unreadable([Finding(name, 1, "#", "yaml", problem)])
    if findings := [
        Finding(name, node.start_mark.line + 1, pointer(place), "yaml", problem)
        for place, node, problem in _problems(root, (), strict)
    ]:
        raise Unreadable(findings)


def _problems(
    node: yaml.Node, place: Place, strict: bool, above: tuple[yaml.Node, ...] = ()
) -> Iterator[tuple[Place, yaml.Node, str]]:
    if any(node is other for other in above):
        yield place, node, "contains itself; write it out instead of using an alias"
        return
    above = (*above, node)
    if not node.tag.startswith(_TAG) or node.tag.removeprefix(_TAG) not in _KINDS:
        yield place, node, f"has the tag {node.tag.replace(_TAG, '!!')}; remove the tag"
        return
    is_map, is_list = isinstance(node, yaml.MappingNode), isinstance(node, yaml.SequenceNode)
    if (is_map, is_list) != (node.tag == f"{_TAG}map", node.tag == f"{_TAG}seq"):
        tag = node.tag.replace(_TAG, "!!")
        yield place, node, f"the tag {tag} doesn't match its value; remove it"
        return
    if isinstance(node, yaml.MappingNode):
        seen, is_clear = set(), True
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                yield place, key, "a key must be a string; write one"
                continue
            inner = (*place, str(key.value))
            if key.tag == f"{_TAG}merge" and not all(
                isinstance(part, yaml.MappingNode)
                for part in (child.value if isinstance(child, yaml.SequenceNode) else [child])
            ):
                yield inner, child, "only a map can be merged; write an alias of one"
            elif key.value in seen:
                if is_clear:  # more of them belong to a part whose own key is lost
                    text = f"a second key {key.value!r}, which hides the first one; remove one"
                    yield inner, key, text
                is_clear = False
            elif strict and key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                yield inner, key, f"the key {key.value} isn't read as a string; quote it"
            seen.add(key.value)
            yield from _problems(child, inner, strict, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield from _problems(child, (*place, index), strict, above)
    elif strict and isinstance(node, yaml.ScalarNode) and (problem := _misread(node)):
        yield place, node, problem


def _misread(node: yaml.ScalarNode) -> str | None:
    """Return what is wrong with a scalar that YAML 1.1 reads as something else."""
    kind, value = node.tag.removeprefix(_TAG), node.value
    if kind == "merge":
        return f"{value} isn't read as a string; quote it"
    if kind == "timestamp":
        return f"{value} is read as a date; quote it"
    if kind == "bool" and value not in ("true", "false"):
        return f"{value} is read as true or false; quote it, or write true or false"
    if kind == "int" and len(value) > 300:
        return f"a number of {len(value)} digits can't be read; write a shorter one"
    numeric = {"int": _INT, "float": _FLOAT}.get(kind)
    if numeric and not numeric.fullmatch(value):
        return f"{value} is read as a different number; quote it, or write the one you mean"
    if kind == "null" and value not in ("null", ""):
        return f"{value} is read as null; quote it, or write null"
    return None
