"""Make a spec strict, for the strict models: only what the document leaves open stays open.

The typed clients are tolerant, so a spec reads a new value of an enumeration and an invalid date as
text. The strict models don't, unless a mark says that the schema isn't the document's. The model
generator doesn't support `if` in a schema, so each of its cases becomes a model. `x-strict` has
keywords that only these models need.
"""

import copy
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_REF = "#/components/schemas/"
_CONDITION = ("if", "then", "else")
_SIZES = {"int32": 2**31, "int64": 2**63}


def strict(content: dict[str, Any]) -> dict[str, Any]:
    """Return a spec whose schemas are strict."""
    content = copy.deepcopy(content)
    schemas: dict[str, Schema] = content.get("components", {}).get("schemas", {})
    cases = {
        name: {f"{name}{suffix}": case for suffix, case in cases_of(schema, "")}
        for name, schema in schemas.items()
        if has_cases(schema)
    }
    for schema in schemas.values():
        if "if" in schema and not has_cases(schema):
            schema["customBasePath"] = "_types.Conditional"
    for found in cases.values():
        schemas |= found
    for node in _nodes(content):
        _close(node, schemas)
        if size := _SIZES.get(node["format"]) if isinstance(node.get("format"), str) else None:
            node.setdefault("minimum", -size)
            node.setdefault("maximum", size - 1)
        if node.get("type") == "object" and "properties" in node:
            node.setdefault("additionalProperties", False)
        node |= node.pop("x-strict", {})
        if others := cases.get(str(node.get("$ref", "")).removeprefix(_REF)):
            del node["$ref"]
            node["anyOf"] = [{"$ref": f"{_REF}{case}"} for case in others]
    return content


def _nodes(node: Any) -> Iterator[Schema]:
    """Yield each mapping after those inside it, so that a node's replacement isn't visited
    again."""
    if isinstance(node, dict):
        for child in [*node.values()]:
            yield from _nodes(child)
        yield node
    elif isinstance(node, list):
        for child in node:
            yield from _nodes(child)


def booleans(source: str) -> str:
    """Return the source of models in which a boolean constant doesn't accept a number:
    `Literal[True]` also accepts 1."""
    for value, bound in (("True", "ge"), ("False", "le")):
        strictly = f"Annotated[StrictBool, Field({bound}={value})]"
        source = source.replace(f"Literal[{value}]", strictly)
    return source


def _close(node: Schema, schemas: dict[str, Schema]) -> None:
    """Remove the alternative that accepts any text."""
    others = node.get("anyOf")
    if not isinstance(others, list) or _is_ours(node) or {"type": "string"} not in others:
        return
    for each in others:
        named = schemas.get(str(each.get("$ref")).removeprefix(_REF)) or each
        if ("enum" in named or "format" in named) and not _is_ours(named):
            others.remove({"type": "string"})
            return


def conditions(content: dict[str, Any]) -> str:
    """Return the statements that give the models the conditions that aren't cases of them."""
    found = content.get("components", {}).get("schemas", {})
    return "".join(
        f"{name}.conditions = { {key: schema[key] for key in _CONDITION if key in schema} }\n"
        for name, schema in found.items()
        if "if" in schema and not has_cases(schema)
    )


def has_cases(schema: Schema) -> bool:
    """Whether a schema has an `if` about one boolean of its own."""
    tests = schema.get("if", {}).get("properties", {}).values()
    return [isinstance(each.get("const"), bool) for each in tests] == [True]


def cases_of(schema: Schema, suffix: str) -> Iterator[tuple[str, Schema]]:
    """Return the schema of each case of an `if` about one boolean, with the cases within it."""
    if "if" not in schema:
        yield suffix, schema
        return
    ((name, tested),) = schema["if"]["properties"].items()
    for value, branch in ((tested["const"], "then"), (not tested["const"], "else")):
        more: Schema = schema.get(branch, {})
        case = copy.deepcopy({key: it for key, it in schema.items() if key not in _CONDITION})
        case |= {key: it for key, it in more.items() if key in _CONDITION}
        case["required"] = list(
            dict.fromkeys([*case.get("required", []), *more.get("required", [])])
        )
        for key, it in more.get("properties", {}).items():
            if it is False:
                case["properties"].pop(key, None)
        for key in set(more.get("required", [])) & case["properties"].keys():
            case["properties"][key] = _not_null(case["properties"][key])
        tested_is = {"type": "boolean", "enum": [value]}
        case["properties"][name] = case["properties"].get(name, {}) | tested_is
        title = name[:1].upper() + name[1:]
        yield from cases_of(case, f"{suffix}{title if value else f'Not{title}'}")


def _not_null(schema: Schema) -> Schema:
    found = dict(schema)
    if isinstance(types := schema.get("type"), list):
        found["type"] = [each for each in types if each != "null"]
    if "anyOf" in schema:
        found["anyOf"] = [each for each in schema["anyOf"] if each != {"type": "null"}]
    return found


def _is_ours(node: Schema) -> bool:
    return not {"x-addition", "x-inferred"}.isdisjoint(node)
