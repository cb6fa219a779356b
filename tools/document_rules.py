"""Rules about a spec and its document: they must agree, or a mark must give the reason.
spec_rules.py applies these rules along with its own.

`x-addition` on a node means that the node isn't in the document, so neither the node nor its
contents are compared. `x-inferred` means the same, except for the texts and values of its own node.
`x-deviation` excuses the keywords of its own node, as described at each rule.
"""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from documents import Document, Schema, read, words
from strict import cases_of

from opwatch.reading import object_in

Place = tuple[str | int, ...]
Problem = tuple[Place, str]

SCHEMAS = ("components", "schemas")
BOUNDS = [
    *("format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "default"),
]
_METHODS = ("get", "put", "post", "delete", "patch")


def values_agree(content: dict[str, Any], document: str) -> Iterator[Problem]:
    """Each path, parameter, status, field, type, enumeration and `required` of the document is in
    the spec, and the reverse."""
    if not document:
        return
    found = read(document)
    operations = [*_operations(content)]
    if len(operations) != 1:
        text = f"the document describes one operation, and {len(operations)} here aren't marked"
        yield ("paths",), f"{text}; mark what it doesn't describe with x-addition"
        return
    place, operation = operations[0]
    yield from _names(content, place, operation, found)
    yield from _parameters(content, place, operation, found)
    yield from _statuses(content, place, operation, found)
    yield from _headers(content, found)
    for schema in found.schemas:
        yield from _own_schema(content, schema)


def marks_are_needed(content: dict[str, Any], document: str) -> Iterator[Problem]:
    """Each `x-deviation` marks something that differs."""
    differences = len([*values_agree(content, document)])
    for place in _deviations(content, ()) if document else ():
        if len([*values_agree(_unmarked(content, place), document)]) == differences:
            yield (*place, "x-deviation"), "nothing differs from the document here; remove the mark"


def _deviations(node: Any, place: Place) -> Iterator[Place]:
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(child, dict | list) and key not in ("value", "x-wait"):
            yield from _deviations(child, (*place, key))
    if "x-deviation" in node:
        yield place


def _unmarked(node: Any, place: Place) -> Any:
    """Return a copy of a spec without the mark at a place."""
    if not place:
        return {key: child for key, child in node.items() if key != "x-deviation"}
    if isinstance(node, list):
        return [
            _unmarked(child, place[1:]) if index == place[0] else child
            for index, child in enumerate(node)
        ]
    return node | {place[0]: _unmarked(node[place[0]], place[1:])}


def _operations(content: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    for path, item in content.get("paths", {}).items():
        if "x-addition" not in item:
            for method in _METHODS:
                if method in item and "x-addition" not in item[method]:
                    yield ("paths", path, method), item[method]


def _resolved(content: dict[str, Any], node: Any, place: Place) -> tuple[dict[str, Any], Place]:
    while isinstance(node, dict) and isinstance(node.get("$ref"), str):
        place = tuple(
            key.replace("~1", "/").replace("~0", "~") for key in node["$ref"].split("/")[1:]
        )
        node = content
        for key in place:
            node = node[key]
    return node, place


def _names(
    content: dict[str, Any], place: Place, operation: dict[str, Any], found: Document
) -> Iterator[Problem]:
    """Compare the document's name for the operation, its route, and the names of the route's
    parts."""
    path = str(place[1])
    item = content["paths"][path]
    name = str(operation.get("operationId"))
    is_other = found.name is not None and found.name.casefold() != name.casefold()
    if is_other and str(found.name) not in operation.get("x-deviation", ""):
        text = f"the document calls it {found.name}; say with x-deviation why not"
        yield (*place, "operationId"), text
    if found.path is None:
        if not _is_ours(item):
            yield place[:2], "the document has no route; name its source in an x-inferred"
        return
    own = f"{str(place[-1]).upper()} {path}"
    if re.sub("{[^}]*}", "{}", own) != re.sub("{[^}]*}", "{}", found.path):
        yield place, f"the document says {found.path}, not {own}; correct it"
    excused = any("x-deviation" in each for each in operation.get("parameters", []))
    if own != found.path and not excused:
        text = f"the document says {found.path}; say with x-deviation why a parameter is renamed"
        yield (*place, "parameters"), text


def _headers(content: dict[str, Any], found: Document) -> Iterator[Problem]:
    """Compare the headers of the document with the security schemes."""
    place: Place = ("components", "securitySchemes")
    schemes = content.get("components", {}).get("securitySchemes", {})
    named = {scheme.get("name"): (key, scheme) for key, scheme in schemes.items()}
    for header, said in found.headers.items():
        if header not in named:
            yield place, f"the document's header {header} isn't the name of a scheme; add one"
            continue
        key, scheme = named[header]
        yield from _says(said["description"], scheme.get("description", ""), (*place, key))
        if said["type"] != "string":
            yield (*place, key), f"the document says type {said['type']}, not string; correct it"
        if said["required"] == ({} in content.get("security", [])):
            text = "requires" if said["required"] else "doesn't require"
            yield ("security",), f"the document {text} the header {header}; correct it"


def _parameters(
    content: dict[str, Any], place: Place, operation: dict[str, Any], found: Document
) -> Iterator[Problem]:
    present = {}
    for index, given in enumerate(operation.get("parameters", [])):
        parameter, where = _resolved(content, given, (*place, "parameters", index))
        present[parameter["name"]] = parameter, where
    for name, said in found.parameters.items():
        if name not in present:
            yield (*place, "parameters"), f"the document's parameter {name!r} isn't here; add it"
            continue
        parameter, where = present[name]
        if "required" in said and bool(parameter.get("required")) != said["required"]:
            text = f"the document says {str(said['required']).lower()}; correct it"
            yield (*where, "required"), text
        yield from _says(said["description"], parameter.get("description", ""), where)
        for keyword in ("type", "format"):
            if keyword in said and parameter["schema"].get(keyword) != said[keyword]:
                yield (*where, "schema"), f"the document says {keyword} {said[keyword]}; write it"
    if found.parameters:
        for name, (parameter, where) in present.items():
            if name not in found.parameters and not _is_ours(parameter):
                yield where, f"the document has no parameter {name!r}; mark it with x-addition"


def _statuses(
    content: dict[str, Any], place: Place, operation: dict[str, Any], found: Document
) -> Iterator[Problem]:
    responses = operation["responses"]
    for status in found.statuses:
        if status not in responses:
            yield (*place, "responses"), f"the document's status {status} isn't here; add it"
    for status, given in responses.items():
        response, where = _resolved(content, given, (*place, "responses", status))
        if status not in found.statuses:
            if not _is_ours(response):
                text = "isn't in the document; remove it, or name its source in an x-inferred"
                yield where, f"status {status} {text}"
            continue
        bodies = response.get("content", {})
        if status in found.bodies and not bodies:
            yield where, "the document gives it a body; add content"
        elif status in found.bodies:
            media = next(iter(bodies))
            schema = bodies[media]["schema"]
            inner = (*where, "content", media, "schema")
            yield from _schema(content, found.bodies[status], schema, inner)
        elif found.bodies and bodies and status not in found.messages:
            yield where, "the document gives it no body; remove content, or correct the document"
        if status in found.messages:
            yield from _messages(found.messages[status], bodies, where)
        reason = found.statuses[status]
        if reason and (
            found.bodies or reason.casefold() != HTTPStatus(int(status)).phrase.casefold()
        ):
            yield from _says(reason, response.get("description", ""), where)


def _messages(said: list[str], bodies: dict[str, Any], where: Place) -> Iterator[Problem]:
    present = {}
    for media, body in bodies.items():
        for name, example in body.get("examples", {}).items():
            at = (*where, "content", media, "examples", name)
            present[str(object_in(example["value"]).get("message"))] = example, at
    for message in said:
        if message not in present:
            yield (*where, "content"), f"the document's message {message!r} is no example; add it"
    for message, (example, at) in present.items():
        if message not in said and not _is_ours(example):
            yield at, f"{message!r} isn't a message of the document; mark it with x-inferred"


def _own_schema(content: dict[str, Any], said: Schema) -> Iterator[Problem]:
    """Compare a schema in the document with the component that has its title or, if none does, its
    description."""
    named = {"x-title": said["title"]} if "title" in said else {"description": said["description"]}
    for name, schema in content["components"]["schemas"].items():
        if named.items() <= schema.items():
            yield from _schema(content, said, schema, ("components", "schemas", name))
            return
    (key, value), *_ = named.items()
    yield ("components", "schemas"), f"no schema has the document's {key} {value!r}; add it"


def _schema(
    content: dict[str, Any],
    said: Schema,
    schema: dict[str, Any],
    place: Place,
    *,
    nullable: bool = False,
) -> Iterator[Problem]:
    """Compare the document's description of one value with the spec's schema."""
    nodes = [*_nodes(content, schema, place)]
    excused = any("x-deviation" in node for node, _ in nodes)
    where = nodes[0][1]
    yield from _types(said, nodes, nullable)
    yield from _enumeration(said, nodes, excused)
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
        if given != wanted and not (excused and wanted == [False]):
            text = f"says additionalProperties: {wanted[0]}" if wanted else "allows more properties"
            yield where, f"the document {text}; correct it, or say with x-deviation why"
    if "description" in said:
        texts = " ".join(node.get("description", "") for node, _ in nodes)
        yield from _says(said["description"], texts, where)
    if "properties" in said or "required" in said:
        yield from _fields(content, said, nodes)


def _types(
    said: Schema, nodes: list[tuple[dict[str, Any], Place]], nullable: bool
) -> Iterator[Problem]:
    """A mark lets a value be null, and a number be an integer; it excuses no other type."""
    own = {*_listed(said.get("type", "string" if "enum" in said else []))}
    own |= {"null"} if said.get("nullable") else set()
    types = set()
    for node, _ in nodes:
        marked = "x-deviation" in node
        for each in _listed(node.get("type", [])):
            if each == "integer" and marked and "number" in own:
                types.add("number")
            elif each != "null" or "null" in own or not (marked or nullable):
                types.add(each)
    own = own or types - {"null"}  # a reference has no type
    if types != own:
        given = " or ".join(sorted(types)) or "nothing"
        text = f"type {given} here, {' or '.join(sorted(own))} in the document"
        yield nodes[0][1], f"{text}; correct it, or say with x-deviation why"


def _enumeration(
    said: Schema, nodes: list[tuple[dict[str, Any], Place]], excused: bool
) -> Iterator[Problem]:
    """A mark lets an enumeration be open; one of numbers, or of one text, may be left out."""
    present = [(node["enum"], at) for node, at in nodes if "enum" in node]
    for values, at in present:
        if sorted(map(str, values)) != sorted(map(str, said.get("enum", []))):
            text = ", ".join(map(str, said.get("enum", []))) or "no enumeration"
            yield (*at, "enum"), f"the document has {text}; correct it"
    if "enum" in said:
        free = [node for node, _ in nodes if node.get("type") == "string" and "enum" not in node]
        is_open = not all("x-deviation" in node for node in free)
        may_be_left_out = excused and (len(said["enum"]) == 1 or isinstance(said["enum"][0], int))
        if (not present and not may_be_left_out) or is_open:
            text = "the document has an enumeration; add it, or say with x-deviation why not"
            yield nodes[0][1], text


def _bounds(said: Schema, nodes: list[tuple[dict[str, Any], Place]]) -> Iterator[Problem]:
    for node, at in nodes:
        for key in BOUNDS:
            if key in node and node[key] != said.get(key) and "x-deviation" not in node:
                yield (*at, key), f"{key} isn't the document's; say with x-deviation why"
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
            may_be_null = "null" in node.get("x-deviation", "")
            yield from _schema(content, inner, properties[name], inside, nullable=may_be_null)
            own = properties[name].get("description") and "x-own" not in properties[name]
            if own and not words(inner.get("description", "")).strip():
                text = "the document doesn't describe it; remove the text, or mark it with x-own"
                yield (*inside, "description"), text
    for name, schema in properties.items():
        if name not in said.get("properties", {}) and not _is_ours(schema):
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
    problems = [*_tests_of(node, at)]
    yield from problems
    for _, case in cases_of(node, "") if conditions and not problems else ():
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


def _tests_of(node: dict[str, Any], at: Place) -> Iterator[Problem]:
    """Each `if` is about one boolean."""
    if "if" in node:
        tested = [*node["if"].get("properties", {}).values()]
        if len(tested) != 1 or "const" not in tested[0]:
            yield (*at, "if"), "must test one boolean; write properties: {done: {const: true}}"
        for branch in ("then", "else"):
            yield from _tests_of(node.get(branch, {}), (*at, branch))


def _nodes(
    content: dict[str, Any], schema: dict[str, Any], place: Place
) -> Iterator[tuple[dict[str, Any], Place]]:
    """Yield a schema and the schemas that it refers to or offers: together they describe the
    value."""
    yield schema, place
    if "$ref" in schema:
        yield from _nodes(content, *_resolved(content, {"$ref": schema["$ref"]}, place))
    mark = {key: value for key, value in schema.items() if key == "x-deviation"}
    for index, other in enumerate(schema.get("anyOf", [])):
        yield from _nodes(content, mark | other, (*place, "anyOf", index))


def _says(said: str, text: str, where: Place) -> Iterator[Problem]:
    """Each part of the document's text is in the spec's text."""
    for part in re.split(r"\n\s*\n", said):
        if words(part) not in words(text):
            yield (*where, "description"), f"the document says {' '.join(part.split())!r}; quote it"


def _is_ours(node: Any) -> bool:
    return isinstance(node, dict) and not {"x-addition", "x-inferred"}.isdisjoint(node)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def examples(content: dict[str, Any]) -> Iterator[tuple[str, Place, dict[str, Any]]]:
    """Yield each example of a response, with its status, for the operations that a document
    describes."""
    for place, operation in _operations(content):
        for status, given in operation["responses"].items():
            response, where = _resolved(content, given, (*place, "responses", status))
            for media, body in response.get("content", {}).items():
                for name, example in body.get("examples", {}).items():
                    if not _is_ours(response):
                        yield status, (*where, "content", media, "examples", name), example
