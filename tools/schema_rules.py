"""Rules about a schema of a spec and the document's description of it.

document_rules.py describes what the marks excuse.
"""

import re
from collections.abc import Iterator
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
    """Compare the document's description of one value with the spec's schema."""
    nodes = [*_nodes(content, schema, place)]
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
            yield where, f"the document calls it {name}; say with x-deviation why not"
    else:
        yield from _bounds(said, nodes)
        given = [
            node["additionalProperties"] for node, _ in nodes if "additionalProperties" in node
        ]
        wanted = [said["additionalProperties"]] if "additionalProperties" in said else []
        if given != wanted and not ("further properties" in marks and wanted == [False]):
            text = f"says additionalProperties: {wanted[0]}" if wanted else "allows more properties"
            yield where, f"the document {text}; correct it, or say with x-deviation why"
    if "description" in said:
        texts = " ".join(node.get("description", "") for node, _ in nodes)
        yield from says(said["description"], texts, where)
    if "properties" in said or "required" in said:
        yield from _fields(content, said, nodes)


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
    properties = node["properties"]
    for name, inner in said.get("properties", {}).items():
        if name not in properties:
            yield (*at, "properties"), f"the document's field {name!r} isn't here; add it"
        else:
            inside = (*at, "properties", name)
            may_be_null = "null" in _mark(node)
            yield from schema_agrees(content, inner, properties[name], inside, nullable=may_be_null)
            own = properties[name].get("description") and "x-own" not in properties[name]
            if own and not words(inner.get("description", "")).strip():
                text = "the document doesn't describe it; remove the text, or mark it with x-own"
                yield (*inside, "description"), text
    for name, schema in properties.items():
        if name not in said.get("properties", {}) and not is_ours(schema):
            text = f"the document has no field {name!r}; name its source in an x-inferred"
            yield (*at, "properties", name), text
    required, own = set(said.get("required", [])), set(node.get("required", []))
    for name in sorted(required - own):
        yield at, f"{name!r} isn't required here, and is in the document; add it"
    for name in sorted(own - required):
        text = f"{name!r} is required here, and isn't in the document; remove it"
        yield (*at, "required"), text
    yield from _conditions(said, node, at)


def _conditions(said: Schema, node: dict[str, Any], at: Place) -> Iterator[Problem]:
    """Compare the document's "only returned if" with the cases of an `if`."""
    fields = said.get("properties", {})
    conditions = {name: inner["x-when"] for name, inner in fields.items() if inner.get("x-when")}
    conditions = {name: when for name, when in conditions.items() if when.keys() <= fields.keys()}
    if bool(conditions) != ("if" in node):
        has = "only returns some fields" if conditions else "returns all fields"
        yield at, f"the document {has}; say so with if, then and else"
        return
    for _, case in cases_of(node, "") if conditions else ():
        given = {
            name: schema["enum"][0]
            for name, schema in case["properties"].items()
            if schema.get("type") == "boolean" and "enum" in schema
        }
        told = " and ".join(f"{name} is {str(value).lower()}" for name, value in given.items())
        for name, when in conditions.items():
            if when.items() <= given.items() and name not in case["required"]:
                yield (*at, "if"), f"the document returns {name!r} if {told}; require it then"
            elif not when.items() <= given.items() and name in case["properties"]:
                yield (*at, "if"), f"the document has no {name!r} if {told}; forbid it then"


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
