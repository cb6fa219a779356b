"""The document that the typed client of a package is generated from: what the wait needs of a spec,
with names of our own.

It holds the operation that is polled and that of the outcome, the schemas that their answers reach,
and the block with the new names. Nothing else of the spec can break the client then, and no two
operations become one module. The schemas are rewritten so that a model can be made of an answer
that is newer than the spec: each value of an enumeration may be another one, too.
"""

from __future__ import annotations

import copy
import re
from typing import Any
from urllib.parse import urlencode

from opwatch.cli.generating import security
from opwatch.cli.generating.document import (
    Keys,
    Operation,
    at,
    below,
    class_name,
    envelope,
    follow_up,
    identifier,
    is_required,
    keys_of,
    listed,
    pointers_of,
    referred,
    security_of,
    target_of,
    waited,
)
from opwatch.reading import object_in
from opwatch.text import printable

PREFIX = "#/components/schemas/"
CLASSES = {
    *("any", "authenticatedclient", "binaryio", "bytesio", "client", "cls", "d", "file"),
    *("generator", "generic", "literal", "mapping", "response", "self", "t", "textio"),
    *("type_checking", "typevar", "union", "unset", "uuid"),
}
"""What a module of the client calls something of its own, in lower case: no class is called so."""
PROPERTIES = {
    *("additional_keys", "additional_properties", "cast", "cls", "d", "date", "datetime"),
    *("field_dict", "from_dict", "isoparse", "prop", "prop_dict", "prop_name", "src_dict"),
    *("to_dict", "uuid"),
}
"""The same, of a property. One that would be called so is in a model's `additional_properties`."""
DATES = ("date", "date-time", "uuid")


def reduced(name: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return the document for the client of a service."""
    operation = waited(content)[0]
    block = copy.deepcopy(operation.content["x-wait"])
    outcome = follow_up(content, block)
    parts = listed(block["id"]["parameter"])
    names = {part: f"part_{n}" for n, part in enumerate(parts, 1)}
    if len(parts) == 1:
        names = {parts[0]: "job_id"}
    for holder in (block, block.get("outcome", {})):
        if "same" in holder:
            holder["same"] = {at: names[part] for at, part in holder["same"].items()}
    block["id"]["parameter"] = [names[part] for part in parts]
    modules = {"poll": operation}
    if outcome is not None and outcome.path != operation.path:
        modules["outcome"] = outcome
    if outcome is not None:
        block["outcome"]["operation"] = [*modules][-1]
    schemas = _Schemas(content)
    paths: dict[str, Any] = {}
    answers: dict[str, dict[str, Any]] = {}
    for module, each in modules.items():
        query, headers = fixed(content, each)
        own = {header.lower() for header in block.get("headers", {})}
        for header, value in headers.items():
            if header.lower() not in own:
                block.setdefault("headers", {})[header] = value
        path = re.sub(r"\{([^{}]+)\}", lambda found: f"{{{names[found[1]]}}}", each.path)
        path += f"?{urlencode(query)}" if query else ""
        answers[each.path] = schemas.answer(each.schema)
        paths[path] = {"get": _operation(module, each, names, answers[each.path])}
    needed = security_of(content, operation) or []
    polled = next(iter(paths.values()))["get"]
    polled |= {"x-wait": block, "servers": [{"url": security.base_url(content, operation.place)}]}
    document = {
        "openapi": "3.1.0",
        "info": {"title": name, "version": "1"},
        "security": needed,
        "paths": paths,
        "components": {
            "securitySchemes": _schemes(content),
            "schemas": schemas.done(),
        },
    }
    _require(content, document, operation, answers[operation.path], block)
    if outcome is not None:
        _require(content, document, outcome, answers[outcome.path], block["outcome"])
    return document


def _require(
    content: dict[str, Any],
    document: dict[str, Any],
    operation: Operation,
    answer: dict[str, Any],
    block: dict[str, Any],
) -> None:
    """Require of an answer its state, and the objects that hold it, if the spec does. Whatever else
    a spec requires, an answer without it can be read."""
    for keys in (keys_of(pointer) for place, pointer in pointers_of(block) if place[0] == "state"):
        above = envelope(content, operation.schema, [keys])
        is_needed = above == keys[:-1] and is_required(content, operation.schema, keys)
        keys = keys if is_needed else above
        for n, key in enumerate(keys):
            for schema in below(document, answer, keys[:n]):
                if (found := schema.get("properties", {}).get(key)) is not None:
                    schema["required"] = sorted({key, *schema.get("required", [])})
                    schema["properties"][key] = _object_alone(found)


def fixed(content: dict[str, Any], operation: Operation) -> tuple[dict[str, str], dict[str, str]]:
    """Return the query and the headers that an operation requires, each with its default."""
    found: dict[str, dict[str, str]] = {"query": {}, "header": {}, "cookie": {}}
    for _, parameter in parameters_of(content, operation):
        value = default_of(content, parameter)
        if parameter.get("required") and parameter["in"] in found and value is not None:
            found[parameter["in"]][parameter["name"]] = value
    if cookies := found["cookie"]:
        found["header"]["Cookie"] = "; ".join(f"{name}={text}" for name, text in cookies.items())
    return found["query"], found["header"]


def default_of(content: dict[str, Any], parameter: dict[str, Any]) -> str | None:
    """Return the default of a parameter as it is sent; None if it has none of a single value."""
    value = referred(content, object_in(parameter.get("schema"))).get("default")
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (str, int, float)) else None


def parameters_of(
    content: dict[str, Any], operation: Operation
) -> list[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """The parameters of an operation and those of its path that it doesn't replace, each with its
    place."""
    found: dict[tuple[str, str], tuple[tuple[str | int, ...], dict[str, Any]]] = {}
    for place in (operation.place[:2], operation.place):
        for n, one in enumerate(at(content, place).get("parameters", [])):
            parameter = referred(content, one)
            found[parameter["name"], parameter["in"]] = ((*place, "parameters", n), parameter)
    return [*found.values()]


def _operation(
    module: str, operation: Operation, names: dict[str, str], answer: dict[str, Any]
) -> dict[str, Any]:
    body = {operation.media_type.lower(): {"schema": answer}}
    text = {"type": "string"}
    return {
        "operationId": module,
        "tags": ["jobs"],
        "parameters": [
            {"name": names[part], "in": "path", "required": True, "schema": text}
            for part in dict.fromkeys(operation.parameters)
        ],
        "responses": {"200": {"description": "The answer.", "content": body}},
    }


def _schemes(content: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, scheme in security.schemes(content).items():
        if security.kind_of(scheme):
            kept = {
                k: v for k, v in scheme.items() if k in ("type", "scheme", "in", "name", "x-env")
            }
            if flow := scheme.get("flows", {}).get("clientCredentials"):
                flow = {"tokenUrl": flow["tokenUrl"], "scopes": flow.get("scopes", {})}
                kept["flows"] = {"clientCredentials": flow}
            found[name] = kept
    return found


class _Schemas:
    """The schemas of a spec, rewritten as they are reached: each object is a component of its own,
    with the name of a class."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content
        self._known: dict[Keys, dict[str, Any]] = {}
        self._taken: set[str] = set()
        self._found: dict[str, dict[str, Any]] = {}
        self._left: list[tuple[str, dict[str, Any]]] = []

    def done(self) -> dict[str, dict[str, Any]]:
        """Return the components: all that were named, and what they reach."""
        while self._left:
            name, schema = self._left.pop()
            self._found[name] = self._object(name, schema)
        return dict(sorted(self._found.items()))

    def answer(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return a reference to the component of an answer, which is one even if its properties
        aren't known."""
        if "$ref" in (found := self._of(schema, "Answer")):
            return found
        return self._component("Answer", {"properties": {}})

    def _of(self, schema: Any, suggested: str) -> dict[str, Any]:
        """Return a reference to the component of an object, or any other schema rewritten."""
        schema = _plain(schema)
        if _is_one(schema):
            return self._of(schema["allOf"][0], suggested)
        if "$ref" in schema:
            keys = target_of(schema["$ref"])
            if keys not in self._known:
                self._known[keys] = {}  # for one that leads back to itself
                self._known[keys] = self._of(at(self._content, keys), keys[-1])
            return self._known[keys]
        whole = merged(self._content, schema)
        if whole.get("properties"):
            return self._component(suggested, whole)
        return self._value(whole, suggested)

    def _component(self, suggested: str, schema: dict[str, Any]) -> dict[str, Any]:
        name = self._name(suggested)
        self._left.append((name, schema))
        return {"$ref": PREFIX + name}

    def _name(self, suggested: str) -> str:
        name = class_name(class_name(re.sub("[^A-Za-z0-9]+", " ", suggested)[:60] or "Model"))
        while name.lower() in CLASSES or name.lower() in self._taken:
            name = class_name(f"{name}Model")
        self._taken.add(name.lower())
        return name

    def _object(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        taken = set(PROPERTIES)
        for key, child in schema["properties"].items():
            python = identifier(key).lower()
            if python in taken or not (key.isprintable() and key):
                continue
            taken.add(python)
            kept[key] = _nullable(self._of(child, f"{name} {key}"))
            if "$ref" not in kept[key]:  # it has its own
                kept[key] = kept[key] | _described(child)
        return {"type": "object", "properties": kept} | _described(schema)

    def _value(self, schema: dict[str, Any], suggested: str) -> dict[str, Any]:
        """Return the schema of a value that isn't an object of known properties."""
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list):
                found = [self._of(each, f"{suggested} {n}") for n, each in enumerate(schema[key])]
                return _any_of([*found, {"type": "null"}] if schema.get("nullable") else found)
        types = listed(schema.get("type", _types_of(schema)))
        if schema.get("nullable"):
            types.append("null")
        types = [each for each in dict.fromkeys(types) if each in _TYPES]
        found = [self._typed(each, schema, suggested) for each in types]
        if "string" in types and schema.get("format") in DATES:
            found.insert(0, {"type": "string", "format": schema["format"]})
        if "string" in types and (words := _words(schema.get("enum"))):
            name = self._name(suggested)
            self._found[name] = {"type": "string", "enum": words}
            found.insert(0, {"$ref": PREFIX + name})
        return _any_of(found)

    def _typed(self, kind: str, schema: dict[str, Any], suggested: str) -> dict[str, Any]:
        if kind == "array":
            return {"type": "array", "items": self._of(schema.get("items"), f"{suggested} item")}
        return {} if kind == "object" else {"type": kind}


def merged(
    content: dict[str, Any], schema: Any, known: dict[int, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return a schema, references followed, with all that its `allOf` says beside what it says."""
    known = {} if known is None else known
    if not isinstance(schema, dict):
        return {}
    if id(schema) not in known:
        known[id(schema)] = {}  # for one that leads back to itself
        known[id(schema)] = _merged(content, schema, known)
    return known[id(schema)]


def _merged(
    content: dict[str, Any], node: dict[str, Any], known: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    if "$ref" in node:
        return merged(content, at(content, target_of(node["$ref"])), known)
    if not isinstance(node.get("allOf"), list):
        return node
    found: dict[str, Any] = {}
    own = {key: value for key, value in node.items() if key != "allOf"}
    for part in [*(merged(content, each, known) for each in node["allOf"]), own]:
        properties = found.get("properties", {}) | part.get("properties", {})
        required = dict.fromkeys([*found.get("required", []), *part.get("required", [])])
        found |= part
        if properties:
            found |= {"properties": properties, "required": [*required]}
    return found


_TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")


def _any_of(options: list[dict[str, Any]]) -> dict[str, Any]:
    """The schema of a value that one of these describes; a value of any kind for none."""
    flat = [one for each in options for one in each.get("anyOf", [each])]
    unique = [one for n, one in enumerate(flat) if one not in flat[:n]]
    if {} in unique or not unique:
        return {}
    alone: dict[str, Any] = unique[0]
    return alone if len(unique) == 1 else {"anyOf": unique}


_NULL = {"type": "null"}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object or a list that may also be null. The parser of one that may not
    raises for anything else than what it describes, in an answer that is fine otherwise."""
    options = schema.get("anyOf", [schema])
    is_made = any("$ref" in each or each.get("type") == "array" for each in options)
    return _any_of([*options, _NULL]) if is_made and {"type": "string"} not in options else schema


def _object_alone(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object that must be there, without the null of `_nullable`."""
    others = [each for each in schema.get("anyOf", []) if each != _NULL]
    alone: dict[str, Any] = others[0] if len(others) == 1 and "$ref" in others[0] else schema
    return alone


def _described(schema: Any) -> dict[str, str]:
    text = _plain(schema).get("description")
    return {"description": printable(str(text), 1000)} if text else {}


def _plain(schema: Any) -> dict[str, Any]:
    return schema if isinstance(schema, dict) else {}


def _is_one(schema: dict[str, Any]) -> bool:
    """Whether a schema is no more than the one in its `allOf`."""
    inner = schema.get("allOf")
    return isinstance(inner, list) and len(inner) == 1 and "properties" not in schema


def _types_of(schema: dict[str, Any]) -> list[str]:
    """The types of the values that a schema without `type` lists."""
    values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else []
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return [names.get(type(value), "object") for value in values]


def _words(values: Any) -> list[str]:
    """The values of an enumeration that a class can have; none if they aren't all such."""
    words = [value for value in listed(values) if value is not None] if values else []
    keys = {re.sub("[ _.-]+", "_", word).lower() for word in words if isinstance(word, str)}
    is_fit = all(
        isinstance(word, str) and re.fullmatch("[A-Za-z]([A-Za-z0-9 _.-]*[A-Za-z0-9])?", word)
        for word in words
    )
    return words if is_fit and len(keys) == len(words) else []
