"""Rules about a schema of a spec and the document's description of it.

document_rules.py describes what the marks excuse.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from documents import Schema, words
from strict import cases_of

Place = tuple[str | int, ...]
Problem = tuple[Place, str]

SCHEMAS = ("components", "schemas")
BOUNDS = [
    *("format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "default"),
]


def own_schema(content: dict[str, Any], said: Schema) -> Iterator[Problem]:
    """Compare a schema in the document with the component that has its title or, if none does, its
    description."""
    named = {"x-title": said["title"]} if "title" in said else {"description": said["description"]}
    for name, schema in content["components"]["schemas"].items():
        if named.items() <= schema.items():
            yield from schema_agrees(content, said, schema, ("components", "schemas", name))
            return
    (key, value), *_ = named.items()
    yield ("components", "schemas"), f"no schema has the document's {key} {value!r}; add it"


def schema_agrees(
    content: dict[str, Any],
    said: Schema,
    schema: dict[str, Any],
    place: Place,
    *,
    nullable: bool = False,
) -> Iterator[Problem]:
    """Compare the document's description of one value with the spec's schema: the first difference
    of the value itself, or those of its fields."""
    nodes = [*_nodes(content, schema, place)]
    own = next(_own(said, nodes, nullable), None)
    if own is not None:
        yield own
    elif "properties" in said or "required" in said:
        yield from _fields(content, said, nodes)


def _own(
    said: Schema, nodes: list[tuple[dict[str, Any], Place]], nullable: bool
) -> Iterator[Problem]:
    marks = " ".join(map(_mark, (node for node, _ in nodes)))
    where = nodes[0][1]
    yield from _types(said, nodes, nullable)
    yield from _enumeration(said, nodes, "enumeration" in marks)
    if "$ref" in said:
        name = said["$ref"].rpartition("/")[2]
        targets = [(node, at) for node, at in nodes if at[:2] == SCHEMAS and len(at) == 3]
        called = [str(at[-1]).casefold() for _, at in targets]
        excuses = [node.get("x-deviation", "") for node, _ in targets]
        if name.casefold() not in called and not any(name in excuse for excuse in excuses):
            yield (
                where,
                f"the document calls it {name}; explain the different name with x-deviation",
            )
    else:
        yield from _bounds(said, nodes)
        given = [
            node["additionalProperties"] for node, _ in nodes if "additionalProperties" in node
        ]
        wanted = [said["additionalProperties"]] if "additionalProperties" in said else []
        if given != wanted and not ("further properties" in marks and wanted == [False]):
            text = f"says additionalProperties: {wanted[0]}" if wanted else "allows more properties"
            yield where, f"the document {text}; correct it, or say with x-deviation why"
    if words(said.get("description", "")).strip():
        texts = " ".join(node.get("description", "") for node, _ in nodes)
        yield from says(said["description"], texts, where)


def _types(
    said: Schema, nodes: list[tuple[dict[str, Any], Place]], nullable: bool
) -> Iterator[Problem]:
    own = {*_listed(said.get("type", "string" if "enum" in said else []))}
    own |= {"null"} if said.get("nullable") else set()
    types, excused = set(), nullable
    for node, _ in nodes:
        excused |= "null" in _mark(node)
        for each in _listed(node.get("type", [])):
            is_number = each == "integer" and "integer" in _mark(node) and "number" in own
            types.add("number" if is_number else each)
    if excused and "null" not in types | own and "object" not in types:
        yield nodes[0][1], "a mark says that it may be null, but its type doesn't; correct one"
    types -= {"null"} - own if excused else set()
    own = own or types - {"null"}  # a reference has no type
    if types != own:
        given = " or ".join(sorted(types)) or "nothing"
        text = f"type {given} here, {' or '.join(sorted(own))} in the document"
        yield nodes[0][1], f"{text}; correct it, or name it in an x-deviation"


def _enumeration(
    said: Schema, nodes: list[tuple[dict[str, Any], Place]], excused: bool
) -> Iterator[Problem]:
    """A mark lets an enumeration be open; one of numbers may be left out."""
    strict = [(node | node.get("x-strict", {}), at) for node, at in nodes]
    present = [(node["enum"], at) for node, at in strict if "enum" in node]
    for values, at in present:
        if values != said.get("enum"):
            text = ", ".join(map(str, said.get("enum", []))) or "no enumeration"
            yield (*at, "enum"), f"the document has {text}; correct it"
    if "enum" in said:
        free = [node for node, _ in strict if node.get("type") == "string" and "enum" not in node]
        may_be_left_out = excused and isinstance(said["enum"][0], int)
        if (not present and not may_be_left_out) or not all("open" in _mark(it) for it in free):
            text = "the document has an enumeration; add it, or say with x-deviation why not"
            yield nodes[0][1], text


def _bounds(said: Schema, nodes: list[tuple[dict[str, Any], Place]]) -> Iterator[Problem]:
    """A mark excuses the values that it names, and all that it names are here."""
    for node, at in nodes:
        named = words(_mark(node))
        strict = node | node.get("x-strict", {})
        for key in BOUNDS:
            differs = key in strict and strict[key] != said.get(key)
            if differs and words(str(strict[key])) not in named:
                text = f"{key} {strict[key]} isn't the document's; name it in an x-deviation"
                yield (*at, key), text
        known = {str(value) for value in (*strict.values(), *said.get("enum", []))}
        for number in re.findall(r" (\d+)(?= )", named) if "type" in node else ():
            if number not in known:
                yield (*at, "x-deviation"), f"it names {number}, which isn't here; correct one"
    if "format" in said:
        typed = [node for node, _ in nodes if node.get("type", "null") != "null"]
        others = [node for node in typed if node.get("format") != said["format"]]
        if len(others) == len(typed) or not all("x-deviation" in node for node in others):
            yield nodes[0][1], f"the document says {said['format']}; add it as format"


def _fields(
    content: dict[str, Any], said: Schema, nodes: list[tuple[dict[str, Any], Place]]
) -> Iterator[Problem]:
    holders = [(node, at) for node, at in nodes if "properties" in node]
    if not holders:
        yield nodes[0][1], "the document gives it properties; add them"
        return
    node, at = holders[0]
    properties, fields = node["properties"], said.get("properties", {})
    names = {name: (*at, "properties", name) for name in properties}
    ours = {name for name, schema in properties.items() if is_ours(schema)}
    if other := [*same_names("field", fields, names, ours, (*at, "properties"))]:
        yield from other
        return
    differing = set()
    for name, inner in fields.items():
        may_be_null = "null" in _mark(node)
        own = properties[name].get("description") and "x-own" not in properties[name]
        for problem in schema_agrees(
            content, inner, properties[name], names[name], nullable=may_be_null
        ):
            differing.add(name)
            yield problem
        if own and not words(inner.get("description", "")).strip() and name not in differing:
            differing.add(name)
            text = "the document doesn't describe it; remove the text, or mark it with x-own"
            yield (*names[name], "description"), text
    required = dict.fromkeys(said.get("required", []))
    present: dict[str, Place] = dict.fromkeys(node.get("required", []), (*at, "required"))
    if not differing & (required.keys() ^ present.keys()):
        yield from same_names("required field", required, present, set(), (*at, "required"))
    if not differing:
        yield from _conditions(said, node, at)


def same_names(
    what: str, said: Iterable[str], own: dict[str, Place], ours: set[str], place: Place
) -> Iterator[Problem]:
    """Compare what the document lists with what a spec has, each at its place. One that is missing
    and one that is too many are taken for one whose name differs."""
    missing = [name for name in said if name not in own]
    extra = [name for name in own if name not in {*said, *ours}]
    for name, other in zip(missing, extra, strict=False):
        yield own[other], f"the document has the {what} {name!r}, not {other!r}; correct it"
    if more := missing[len(extra) :]:
        text = "isn't here; add it" if len(more) == 1 else "aren't here; add them"
        yield place, f"the document's {what} {', '.join(map(repr, more))} {text}"
    for name in extra[len(missing) :]:
        text = "remove it, or name its source in an x-inferred"
        yield own[name], f"the document has no {what} {name!r}; {text}"


def _conditions(said: Schema, node: dict[str, Any], at: Place) -> Iterator[Problem]:
    """Compare the document's "only returned if" with the cases of an `if`. A condition about fields
    of another object is only compared in that the field is required in one case, and forbidden in
    another."""
    fields = said.get("properties", {})
    every = {name: inner["x-when"] for name, inner in fields.items() if inner.get("x-when")}
    conditions = {name: when for name, when in every.items() if when.keys() <= fields.keys()}
    others = every.keys() - conditions.keys() | {
        name
        for field in fields.values()
        for name, inner in field.get("properties", {}).items()
        if inner.get("x-when") == {}
    }
    if bool(conditions or others) != ("if" in node):
        has = "only returns some fields" if conditions or others else "returns all fields"
        yield at, f"the document {has}; say so with if, then and else"
        return
    required, forbidden = (set(_named({**node, "properties": {}}, it)) for it in (True, False))
    for name in sorted(others - (required & forbidden)):
        text = f"the document only returns {name!r} in some cases; require it there"
        yield (*at, "if"), f"{text}, and forbid it in the others"
    for _, case in cases_of(node, "") if conditions else ():
        given = {
            name: schema["enum"][0]
            for name, schema in case["properties"].items()
            if schema.get("type") == "boolean" and "enum" in schema
        }
        told = " and ".join(f"{name} is {str(value).lower()}" for name, value in given.items())
        due = {name for name, when in conditions.items() if when.items() <= given.items()}
        lacking = [repr(name) for name in conditions if name in due - {*case["required"]}]
        extra = [repr(name) for name in conditions if name in case["properties"].keys() - due]
        if lacking:
            text = f"the document returns {', '.join(lacking)} if {told}; require it in that case"
        elif extra:
            text = f"the document has no {', '.join(extra)} if {told}; forbid it in that case"
        if lacking or extra:
            yield (*at, "if"), text
            return


def _named(schema: Any, required: bool) -> Iterator[str]:
    """The fields that a schema requires, or that it forbids, in any case."""
    if not isinstance(schema, dict):
        return
    yield from schema.get("required", []) if required else []
    for name, inner in schema.get("properties", {}).items():
        yield from [name] if inner is False and not required else _named(inner, required)
    for branch in ("then", "else"):
        yield from _named(schema.get(branch), required)


def _nodes(
    content: dict[str, Any], schema: dict[str, Any], place: Place
) -> Iterator[tuple[dict[str, Any], Place]]:
    """Yield a schema and the schemas that it refers to or offers: together they describe the
    value."""
    yield schema, place
    if "$ref" in schema:
        yield from _nodes(content, *resolved(content, {"$ref": schema["$ref"]}, place))
    mark = {key: value for key, value in schema.items() if key == "x-deviation"}
    for index, other in enumerate(schema.get("anyOf", [])):
        yield from _nodes(content, mark | other, (*place, "anyOf", index))


def says(said: str, text: str, where: Place) -> Iterator[Problem]:
    """Each part of the document's text is in the spec's text."""
    for part in re.split(r"\n\s*\n", said):
        if words(part) not in words(text):
            yield (*where, "description"), f"the document says {' '.join(part.split())!r}; quote it"


def _mark(node: dict[str, Any]) -> str:
    return str(node.get("x-deviation", "")).casefold()


def is_ours(node: Any) -> bool:
    return isinstance(node, dict) and not {"x-addition", "x-inferred"}.isdisjoint(node)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def resolved(content: dict[str, Any], node: Any, place: Place) -> tuple[dict[str, Any], Place]:
    while isinstance(node, dict) and isinstance(node.get("$ref"), str):
        place = tuple(
            key.replace("~1", "/").replace("~0", "~") for key in node["$ref"].split("/")[1:]
        )
        node = content
        for key in place:
            node = node[key]
    return node, place
