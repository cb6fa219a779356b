"""A spec as the compiler and the rules read it: its operations, its schemas, and its `x-wait`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from opwatch.cli.generating.spec import references
from opwatch.reading import object_in

Keys = tuple[str, ...]
MARKS = ("x-inferred", "x-addition", "x-deviation")
"""What says that a part of a spec isn't in its document."""
SHOWN = ("percent", "step", "bytes")
"""What may be named as `restart-on-change`: the pointers of these, which `Progress` keeps."""
JSON = re.compile(r"application/([!#$&^_.+a-z0-9-]+\+)?json( *;[ -~]*)?", re.IGNORECASE)
"""The media types that hold JSON."""
_OWN = {"properties", "items", "enum", "const"}
"""What a schema says of a value itself, beside its alternatives."""


@dataclass(frozen=True)
class Operation:
    """One operation of a spec. Its answer is at "200", whatever its status is in the spec."""

    path: str
    method: str
    content: dict[str, Any]

    @property
    def place(self) -> tuple[str, ...]:
        """Its place in the spec."""
        return ("paths", self.path, self.method)

    @property
    def module(self) -> str:
        """The module of the generated client."""
        return identifier(self.content["operationId"])

    @property
    def package(self) -> str:
        """The package of that module."""
        return identifier((self.content.get("tags") or ["default"])[0])

    @property
    def parameters(self) -> list[str]:
        """The parameters in its path, in order."""
        return re.findall(r"\{([^{}]+)\}", self.path)

    @property
    def media_type(self) -> str:
        """The first media type of its answer that is JSON; empty if none is."""
        return next(filter(JSON.fullmatch, self.content["responses"]["200"]["content"]), "")

    @property
    def schema(self) -> dict[str, Any]:
        """The schema of its answer; empty if it has none."""
        found = self.content["responses"]["200"]["content"].get(self.media_type, {})
        schema = found.get("schema", {})
        return dict(schema) if isinstance(schema, dict) else {}

    @property
    def model(self) -> str:
        """The class of its answer."""
        return class_name(str(self.schema.get("$ref", "Answer")).rpartition("/")[2])


def package_of(service: str) -> str:
    """The name of a service as a Python package."""
    return service.replace("-", "_")


def identifier(name: str) -> str:
    """The name as the client generator writes it in Python."""
    from openapi_python_client.strings import PythonIdentifier  # 0.3 s, not for `check` of a rule

    return str(PythonIdentifier(name, prefix="field_"))


def class_name(name: str) -> str:
    """The name of a component as the client generator writes it in Python."""
    from openapi_python_client.strings import ClassName

    return str(ClassName(name, prefix="field_"))


def methods(content: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each path of a spec, and what it has for each method; extensions are left out."""
    for path, item in object_in(object_in(content).get("paths")).items():
        for method, operation in object_in(item).items() if path.startswith("/") else ():
            if isinstance(operation, dict) and not method.startswith("x-"):
                yield path, method, operation


def operations(
    content: dict[str, Any], is_meant: Callable[[dict[str, Any]], bool] = bool
) -> Iterator[Operation]:
    """Each operation of a spec, or those that are meant."""
    for path, method, operation in methods(content):
        if "operationId" in operation and is_meant(operation):
            yield Operation(path, method, _answered(content, operation))


def _answered(content: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The operation with its answer at "200", in place of a reference to it, or of a `2XX`."""
    responses = operation.get("responses", {})
    block = operation.get("x-wait")
    statuses = listed(block.get("statuses", [])) if isinstance(block, dict) else []
    for status in map(str, ["200", *statuses, "2XX"]):
        if status in responses:
            answer = referred(content, responses[status])
            return operation | {"responses": responses | {"200": answer}}
    return operation


def referred(content: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The node, or what it refers to."""
    if "$ref" not in node:
        return node
    return referred(content, at(content, target_of(node["$ref"])))


def waited(content: dict[str, Any]) -> list[Operation]:
    """The operations that have an `x-wait` block: at most one."""
    return [*operations(content, lambda operation: "x-wait" in operation)]


def follow_up(content: dict[str, Any], block: dict[str, Any]) -> Operation | None:
    """The operation that says how a job ended, if the block names one."""
    name = block.get("outcome", {}).get("operation")
    return next(operations(content, lambda operation: operation["operationId"] == name), None)


def needed(content: Any) -> Any:
    """Return the part of a document that its wait needs: the operations, and what they refer to.

    The rest may be large and have mistakes. If one of these parts is missing, return the whole
    document, so that an error can name what is there.
    """
    found = [*methods(content)]
    blocks = [object_in(operation["x-wait"]) for *_, operation in found if "x-wait" in operation]
    names = [name for it in blocks if (name := object_in(it.get("outcome")).get("operation"))]
    known = [operation.get("operationId") for *_, operation in found]
    if not blocks or any(name not in known for name in names):
        return content
    unneeded = ("security", "tags", "webhooks")
    kept = {key: part for key, part in content.items() if key not in unneeded}
    kept |= {"paths": {}, "components": {}}
    schemes: list[Keys] = []
    for path, method, operation in found:
        if "x-wait" in operation or operation.get("operationId") in names:
            item = content["paths"][path]
            shared = {key: item[key] for key in ("$ref", "parameters", "servers") if key in item}
            kept["paths"].setdefault(path, shared)[method] = operation
            if "security" in content.keys() - operation.keys():
                kept["security"] = content["security"]
            for need in listed(operation.get("security", content.get("security", []))):
                schemes += (("components", "securitySchemes", name) for name in object_in(need))
    return kept if _add_parts(content, kept, schemes) else content


def _add_parts(content: dict[str, Any], kept: dict[str, Any], parts: list[Keys]) -> bool:
    """Add these parts of a document to what is kept of it, and all that both refer to; return
    whether all exist."""
    left: list[Any] = [kept]
    seen: set[Keys] = set()
    while left or parts:
        if not parts:
            told = references(left.pop())
            parts += (target_of(target) for _, target in told if target.startswith("#/"))
            continue
        keys = parts.pop()
        depth = {"components": 3, "paths": 2}.get(keys[0], len(keys))
        if (keys := keys[:depth]) in seen:
            continue
        seen.add(keys)
        try:
            part = at(content, keys)
            if keys[0] in ("components", "paths"):
                holder = kept[keys[0]]
                for key in keys[1 : depth - 1]:
                    holder = holder.setdefault(key, {})
                holder[keys[depth - 1]] = part
        except (LookupError, TypeError, ValueError):
            return False
        left.append(part)
    return True


def security_of(content: dict[str, Any], operation: Operation) -> Any:
    """What an operation demands of who calls it: a `security` list, or None."""
    return operation.content.get("security", content.get("security"))


def keys_of(pointer: str) -> Keys:
    """The keys of a JSON Pointer."""
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:])


def target_of(reference: str) -> Keys:
    """The keys of a `$ref`, a JSON Pointer in a URL."""
    return keys_of(unquote(reference[1:]))


def at(content: Any, keys: Keys) -> Any:
    """The value at the end of a pointer."""
    for key in keys:
        content = content[int(key) if isinstance(content, list) else key]
    return content


def listed(value: Any) -> list[Any]:
    """The value as a list: what may be one or several, several deep."""
    if not isinstance(value, list):
        return [value]
    return [part for item in value for part in listed(item)]


# --- schemas --------------------------------------------------------------------------------------


def variants(content: dict[str, Any], *schemas: Any) -> list[dict[str, Any]]:
    """What schemas may be: themselves, and each of their alternatives, references followed; nothing
    is read twice."""
    found: list[dict[str, Any]] = []
    left, seen = [*reversed(schemas)], set()
    while left:
        schema = left.pop()
        if id(schema) in seen:
            continue
        seen.add(id(schema))
        if not isinstance(schema, dict):  # true and false are schemas, too
            found.append({})
            continue
        inner = [each for key in ("anyOf", "oneOf", "allOf") for each in schema.get(key, [])]
        if "$ref" in schema:
            inner = [at(content, target_of(schema["$ref"]))]
        left += reversed(inner)
        if not inner or _OWN & schema.keys():
            found.append(schema)
        elif schema.get("nullable"):
            found.append({"type": "null"})
    return found


def below(content: dict[str, Any], schema: dict[str, Any], keys: Keys) -> list[dict[str, Any]]:
    """The schemas at the end of a pointer; none if it leads nowhere."""
    found = variants(content, schema)
    for key in keys:
        inner = (
            each.get("items") if key == "*" else each.get("properties", {}).get(key)
            for each in found
        )
        found = variants(content, *(each for each in inner if each is not None))
    return found


def envelope(content: dict[str, Any], schema: dict[str, Any], pointers: list[Keys]) -> Keys:
    """The objects that must be in an answer, each inside the one before: what is required, and is
    nothing but an object."""
    longest: Keys = ()
    for keys in pointers:
        for length in range(1, len(keys)):
            found = below(content, schema, keys[:length])
            is_object = all(
                listed(each.get("type", "object")) == ["object"] and not each.get("nullable")
                for each in found
            )
            if not is_object or not is_required(content, schema, keys[:length]):
                break
            longest = max(longest, keys[:length], key=len)
    return longest


def is_required(content: dict[str, Any], schema: dict[str, Any], keys: Keys) -> bool:
    """Whether the object that holds the end of a pointer must have it."""
    holders = below(content, schema, keys[:-1])
    return all(keys[-1] in each.get("required", []) for each in holders)


# --- the block ------------------------------------------------------------------------------------


def shown(block: dict[str, Any]) -> dict[str, str]:
    """What `restart-on-change` may name: pointers, and which key each belongs to."""
    percent = block.get("percent")
    found = {percent["count"]: "percent"} if isinstance(percent, dict) else {}
    return found | {block[name]: name for name in SHOWN if isinstance(block.get(name), str)}


def pointers_of(block: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each pointer into an answer of the operation itself, and its place in the block."""
    for name in ("restart-on-change", *SHOWN):
        if isinstance(block.get(name), str):
            yield (name,), block[name]
    for pointer in listed(block.get("contradiction", [])):
        yield ("contradiction",), pointer
    if isinstance(percent := block.get("percent"), dict):
        for name in ("count", "total"):
            yield ("percent", name), percent[name]
    states = block.get("state", {})
    if isinstance(states, dict) and "at" in states:
        yield ("state", "at"), states["at"]
    for index, row in enumerate(states if isinstance(states, list) else []):
        for pointer in row["when"]:
            yield ("state", index, "when", pointer), pointer
    for pointer in block.get("same", {}):
        yield ("same", pointer), pointer
    for pointer in block.get("require", {}).get("is", {}):
        yield ("require", "is", pointer), pointer
    for index, pointer in enumerate(listed(block.get("require", {}).get("any", []))):
        yield ("require", "any", index), pointer
    fault = block.get("fault", {})
    if "at" in fault:
        yield ("fault", "at"), fault["at"]
    for name in ("code", "title", "message", "params"):
        if name in fault:
            yield ("fault", name), fault.get("at", "") + fault[name]
    for name in ("started", "finished"):
        if name in block:
            told = block[name]
            yield (name,), told["at"] if isinstance(told, dict) else told
    for index, one in enumerate(block.get("again", [])):
        if "at" in one:
            yield ("again", index, "at"), one["at"]


def error_pointers(block: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each pointer into an error answer, and its place in the block."""
    errors = block.get("errors", {})
    for name in ("code", "message"):
        for pointer in listed(errors.get(name, [])):
            yield ("errors", name), pointer
    if "at" in errors.get("request-id", {}):
        yield ("errors", "request-id", "at"), errors["request-id"]["at"]
