"""A spec and its file: the content, the line of each part, and the problems there."""

from __future__ import annotations

import difflib
import functools
import itertools
import json
import operator
import re
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import yaml

from opwatch.cli.generating.validators import validators
from opwatch.text import printable

Place = tuple[str | int, ...]
"""The keys that lead from the root of a spec to a node of it."""
Problem = tuple[Place, str]
"""A place, and what is wrong there."""


class Line(NamedTuple):
    """A line of a file beside the spec: the place of a problem that isn't in the spec itself."""

    file: str
    number: int


MOST = 50
"""Findings of the validator that are reported, and references that are followed one by one."""
DEEPEST = 200
"""How deep a spec may be nested. One that contains itself has no end."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML has it


@dataclass(frozen=True)
class Finding:
    """A rule that a spec breaks, and where."""

    spec: str
    line: int
    place: str
    rule: str
    text: str

    def __str__(self) -> str:
        place = "" if self.place == "#" else f" {self.place}:"  # the line alone says where
        return printable(f"{self.spec}:{self.line}:{place} {self.rule}: {self.text}", 2000)


def load(path: Path, text: str | None = None) -> tuple[Any, Mapping[Place, int]]:
    """Return what a YAML or JSON file holds, and on which line each node of it stands.

    `text` is what was read of it already: a pipe can be read once.
    """
    if text is None:
        text = path.read_text(encoding="utf-8-sig")
    if is_json(path, text):
        try:
            return json.loads(text, object_pairs_hook=_unique), _lines_of_json(text)
        except json.JSONDecodeError:
            if path.suffix.lower() == ".json":
                raise
    loader = _Loader(text)
    root = loader.get_single_node()
    _as_openapi_reads(root)
    content: Any = None if root is None else loader.construct_document(root)
    return content, _lines_by_place(root)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"a second key {name!r}, which hides the first one; remove one")
        found[name] = value
    return found


def is_json(path: Path, text: str) -> bool:
    """Whether a file is to be read as JSON, by its name or its first character."""
    return path.suffix.lower() == ".json" or text.lstrip().startswith("{")


def _lines_of_json(text: str) -> dict[Place, int]:
    """The lines of a JSON file, as far as it is YAML, too: then they are known. YAML has no pairs
    of escapes, which JSON writes for an emoji."""
    text = re.sub(r"(?<!\\)\\u[dD][89a-fA-F][0-9a-fA-F]{2}", "?", text)
    try:
        return _lines_by_place(_Loader(text).get_single_node())
    except yaml.YAMLError:
        return {}


class Part(dict[str, Any]):
    """A map of a spec that knows its place, so that a key that it lacks is a problem there."""

    place: Place = ()

    def __missing__(self, key: str) -> Any:
        raise Missing(self.place, key)


class Missing(KeyError):
    """A rule needs a key that the map at a place lacks."""

    def __init__(self, place: Place, key: str) -> None:
        self.place = place
        super().__init__(key)


def placed(node: Any, place: Place = ()) -> Any:
    """Return a copy of a spec whose maps know their places."""
    if isinstance(node, dict):
        part = Part((key, placed(child, (*place, key))) for key, child in node.items())
        part.place = place
        return part
    if isinstance(node, list):
        return [placed(child, (*place, index)) for index, child in enumerate(node)]
    return node


def found(
    spec: str, lines: Mapping[Place, int], rule: str, problems: Iterator[Problem]
) -> list[Finding]:
    """Return the problems that a rule has with a spec, each with its line.

    If the rule fails, what it found before is the reason; else the last part that it read.
    """
    findings = []
    try:
        for place, text in problems:
            if isinstance(place, Line):
                findings.append(Finding(place.file, place.number, "#", rule, text))
            else:
                findings.append(Finding(spec, line_of(lines, place), pointer(place), rule, text))
    except Exception as error:  # noqa: BLE001 (a spec may be wrong in ways that no rule expects)
        if not findings:
            place, text = _failure(error)
            findings = [Finding(spec, line_of(lines, place), pointer(place), rule, text)]
    return findings


def _failure(error: Exception) -> Problem:
    """What is wrong where a rule failed: in the last map that it looked at."""
    if isinstance(error, Missing):
        return error.place, f"has no {error.args[0]!r}; add it"
    is_deep = isinstance(error, RecursionError)
    why = "a $ref leads back to itself" if is_deep else f"{type(error).__name__}: {error}"
    for frame, _ in reversed([*traceback.walk_tb(error.__traceback__)]):
        if parts := [it for it in frame.f_locals.values() if isinstance(it, Part)]:
            part = max(parts, key=lambda it: len(it.place))
            if isinstance(error, KeyError) and error.args[0] in part:
                value = json.dumps(part[error.args[0]], default=str)
                return (*part.place, error.args[0]), f"{value:.40} can't be read; correct it"
            return part.place, f"can't be checked ({why}); correct what is here"
    return (), f"can't be checked ({why}); correct it"


_FIXES = {
    "required": "add it",
    "type": "write one",
    "enum": "write one of these",
    "additionalProperties": "correct its name, or remove it",
    "unevaluatedProperties": "correct its name, or remove it",
    "uniqueItems": "remove one",
}


def structure(content: Any) -> Iterator[Problem]:
    """The spec is OpenAPI 3.0 or 3.1."""
    from referencing.exceptions import Unresolvable

    version = content.get("openapi") if isinstance(content, dict) else None
    if isinstance(content, dict) and version is None and "swagger" in content:
        yield (), "is Swagger 2.0; convert it to OpenAPI 3.0 or 3.1"
        return
    if (kind := validators().get(str(version)[:3])) is None:
        yield (), f"must be OpenAPI 3.0 or 3.1, but `openapi` is {version!r:.20}"
        return
    if isinstance(paths := content.get("paths"), dict):  # the validator reads extensions as paths
        own = {path: item for path, item in paths.items() if not str(path).startswith("x-")}
        content = {**content, "paths": own}
    # The validator would stop at the first reference that leads nowhere.
    lost = [*lost_references(content, content, ())]
    if outside := [(place, text) for place, text in lost if not text.startswith("#")]:
        more = f" ({len(outside)} references lead to other files)" if outside[1:] else ""
        yield outside[0][0], f"{outside[0][1]}, or bundle the document into one file{more}"
        return
    errors = [*itertools.islice(kind.schema_validator.iter_errors(content), MOST)]
    if lost and not errors:
        for text, count in Counter(text for _, text in lost).items():
            place = next(place for place, other in lost if other == text)
            yield place, f"{text} ({count} references point there)" if count > 1 else text
        return
    try:
        problems: list[Problem] = []
        unread: set[Place] = set()
        checked = kind(content)
        others = checked.root_validator(checked.schema_path)
        for error in map(deepest, errors or itertools.islice(others, MOST)):
            fix = _FIXES.get(str(error.validator), "correct it")
            place = _place(content, error)
            unread |= {place} if error.validator == "unevaluatedProperties" else set()
            problems.append((place, f"{_said(error):.500}; {fix}"))
        # What isn't read because of another mistake beside it, and a parameter of several paths.
        beside = {place[:-1] for place, _ in problems if place not in unread}
        wrong = [place for place, _ in problems]
        problems = [one for one in problems if one[0] not in unread or one[0][:-1] not in beside]
        named = {place: re.match("Path parameter '.*?'", text) for place, text in problems}
        once = {name[0] if name else place: place for place, name in reversed(named.items())}
        yield from _tails(content, [one for one in problems if one[0] in once.values()], wrong)
    except Unresolvable as error:
        yield (), f"{error.ref} isn't in this file; copy it here"


def _said(error: Any) -> str:
    if error.validator == "uniqueItems":
        twice = (one for n, one in enumerate(error.instance) if one in error.instance[:n])
        return f"{next(twice)!r} is listed twice"
    if error.validator == "type" and isinstance(error.instance, bool | None):
        return f"{json.dumps(error.instance)} {error.message.partition(' ')[2]}"  # as in the file
    return str(error.message)


def innermost(problems: list[Problem]) -> Iterator[Problem]:
    """Yield one problem for each place, and none around another: the validator also says that what
    is around a mistake isn't valid. Neighbors that all have the wrong type are in the wrong place:
    they are one problem."""
    found, seen = dict(problems), set()
    for place, text in found.items():
        kind = place[:-1], text.partition(" is not of type ")[2] or place
        if kind not in seen and not any(place == it[: len(place)] for it in found if it != place):
            seen.add(kind)
            yield place, text


def _tails(content: Any, problems: list[Problem], places: list[Place]) -> Iterator[Problem]:
    """Yield the innermost problems; only the first if they are all the last entries of one map or
    list, which belong to a key that is missing above them."""
    if len(found := [*innermost(problems)]) < 2:
        yield from found
        return
    together = enumerate(zip(*(place for place, _ in found), strict=False))
    depth = next(n for n, keys in together if len({*keys}) > 1)
    above = found[0][0][:depth]
    wrong = {place[depth] for place in places if len(place) > depth and above == place[:depth]}
    node = functools.reduce(operator.getitem, above, content)
    keys: list[str | int] = [*node] if isinstance(node, dict) else [*range(len(node))]
    tail = keys[min(map(keys.index, wrong.intersection(keys)), default=len(keys)) :]
    if tail and all(key in wrong or str(key).startswith("x-") for key in tail):
        place, text = min(found, key=lambda one: [*keys, one[0][depth]].index(one[0][depth]))
        found = [(place, f"{text}; what follows is wrong, too: a key may be missing above it")]
    yield from found


def _place(content: Any, error: Any) -> Place:
    """Where an error of the validator is: it names the operation, or a path from some schema."""
    if named := re.search(r"'(\w+)' (?:operation )?in '(/.*)'", error.message):
        last = ("operationId",) if error.message.startswith("Operation ID") else ()
        return "paths", named[2], named[1], *last
    if error.message.startswith("Duplicate parameter"):
        for place, node in _nodes(content, ()):
            if place[-1:] == ("parameters",) and isinstance(node, list):
                names = [one.get("name", one.get("$ref")) for one in node]
                if twice := [index for index, name in enumerate(names) if name in names[:index]]:
                    return (*place, twice[0])
    path = tuple(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:
        return (*path, error.instance)
    for place, node in _nodes(content, ()):
        if place and {"schema", "schemas"}.isdisjoint(place):  # only in them is a path relative
            continue
        try:
            for key in path:
                node = node[key]
        except (LookupError, TypeError):
            continue
        if node is error.instance:
            return (*place, *path, *unexpected(error))
    return path


def unexpected(error: Any) -> list[str]:
    """Return the name that an object mustn't have, if an error is about one."""
    return re.findall(r"\('([^']+)' was unexpected\)", error.message)


def _nodes(node: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    yield place, node
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(child, dict | list):
            yield from _nodes(child, (*place, key))


def deepest(error: Any) -> Any:
    """The part of an error that says most: that of the alternative that is closest to what was
    written, if possible one of the same type."""
    while error.context:
        at = error.absolute_path
        inner = [it for it in error.context if it.validator != "type" or it.absolute_path != at]
        error = max(inner or error.context, key=lambda inner: len(inner.absolute_path))
    return error


_VALUES = ("const", "default", "enum", "example", "value")
"""What holds a value, in which `$ref` is a name like any other."""
_NAMED = {
    *("$defs", "callbacks", "content", "definitions", "dependentSchemas", "encoding", "examples"),
    *("headers", "links", "parameters", "pathItems", "patternProperties", "properties"),
    *("requestBodies", "responses", "schemas", "securitySchemes"),
}
"""Maps whose keys are names, so that one called `default` or `x-press` is like any other."""


_LIMITS = {
    *("$recursiveAnchor", "exclusiveMaximum", "exclusiveMinimum", "maxItems", "maxLength"),
    *("maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum"),
    *("multipleOf", "pattern", "uniqueItems"),
}
"""What a schema may say and nothing is generated from. Published documents have mistakes there:
they mix the versions of JSON Schema."""


def unlimited(node: Any, above: str | int = "") -> Any:
    """Return a part of a spec, which is at the key `above`, without the limits of its schemas."""
    if isinstance(node, list):
        return [unlimited(child) for child in node]
    if not isinstance(node, dict) or str(above).startswith("x-"):
        return node
    if above in _NAMED:
        return {key: unlimited(child) for key, child in node.items()}
    return {
        key: child if key in _VALUES else unlimited(child, key)
        for key, child in node.items()
        if key not in _LIMITS
    }


def references(node: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Each `$ref` of a part of a spec and its place; one in a value or an extension is none."""
    if isinstance(node, dict):
        if isinstance(target := node.get("$ref"), str):
            yield (*place, "$ref"), target
        for key, child in node.items():
            is_name = _NAMED.issuperset(place[-1:]) and place != ()
            is_value = key in _VALUES or (key == "examples" and isinstance(child, list))
            if is_name or not (is_value or str(key).startswith("x-")):
                yield from references(child, (*place, key))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from references(child, (*place, index))


def lost_references(content: Any, node: Any, place: Place) -> Iterator[Problem]:
    """Each `$ref` of a part of a spec that leads nowhere, or back to itself."""
    found = ((at, _lost(content, target)) for at, target in references(node, place))
    yield from ((at, problem) for at, problem in found if problem)


def _lost(content: Any, target: str) -> str | None:
    """Return why a reference leads to nothing: the first part of it that isn't there."""
    seen: list[str] = []
    while target not in seen and len(seen) < MOST:
        seen.append(target)
        root, *keys = target.split("/")
        node = content if root == "#" and keys else None
        near: list[str] = []
        for n, key in enumerate(keys if root == "#" else [], 1):
            items = enumerate(node if isinstance(node, list) else ())
            above = node if isinstance(node, dict) else {str(n): item for n, item in items}
            node = above.get(unquote(key).replace("~1", "/").replace("~0", "~"))
            if node is None:
                near = difflib.get_close_matches(key, above, 1, 0.85)
                target = "/".join([root, *keys[:n]])
                break
        if node is None:
            fix = f"write {near[0]}, or copy it here" if near else "copy it here"
            return f"{target} isn't in this file; {fix}"
        if not (isinstance(node, dict) and isinstance(node.get("$ref"), str)):
            return None
        target = node["$ref"]
    first = min(seen[seen.index(target) :]) if target in seen else target  # one for all of a circle
    return f"{first} refers to itself; write the definition instead"


def pointer(place: Place) -> str:
    """Return the place as a JSON Pointer."""
    return "#" + "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in place)


def line_of(lines: Mapping[Place, int], place: Place) -> int:
    """Return the line of the nearest node at or above a place."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


_NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0x[0-9a-fA-F]+"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
"""Numbers of YAML 1.2. YAML 1.1 reads some of them as text, and also others: 010, 1:30, 1_0."""


def _as_openapi_reads(node: yaml.Node | None, *, is_key: bool = False, depth: int = 0) -> None:
    """Make text of what only YAML 1.1 reads as something else, such as `no`, `=` and `12:30`, and
    of each key, such as `200`; and a number of what only YAML 1.1 reads as text."""
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(node, yaml.ScalarNode):
        kind = node.tag.rpartition(":")[2]
        is_number = _NUMBER.fullmatch(node.value)
        is_word = kind == "bool" and node.value.lower() not in ("true", "false")
        is_word |= kind in ("int", "float") and not is_number
        if is_word or kind in ("timestamp", "value") or is_key == (kind != "merge"):
            node.tag = "tag:yaml.org,2002:str"
        elif kind == "str" and not node.style and is_number and "e" in node.value.lower():
            node.tag = "tag:yaml.org,2002:float"
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            _as_openapi_reads(key, is_key=True, depth=depth + 1)
            _as_openapi_reads(child, depth=depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _as_openapi_reads(child, depth=depth + 1)


def _lines_by_place(root: yaml.Node | None) -> dict[Place, int]:
    return {} if root is None else {(): root.start_mark.line + 1, **dict(_lines(root, ()))}


def _lines(node: yaml.Node | None, place: Place) -> Iterator[tuple[Place, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            yield (*place, key.value), key.start_mark.line + 1
            yield from _lines(child, (*place, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield (*place, index), child.start_mark.line + 1
            yield from _lines(child, (*place, index))
