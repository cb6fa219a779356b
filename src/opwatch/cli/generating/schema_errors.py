"""The errors of the JSON Schema of `x-wait`, in the words of who writes a block."""

import json
from typing import Any

from opwatch.cli.generating.document import listed

_KINDS = {
    "object": "a map",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
"""The types of JSON, in the words of who writes a block."""
_LIMITS = {
    "minimum": "be at least {}",
    "maximum": "be at most {}",
    "minItems": "not be empty",
    "maxItems": "have at most {} entries",
    "minLength": "not be empty",
    "minProperties": "not be empty",
}


def said(error: Any) -> str:
    """What is wrong, in the words of who writes a block."""
    if error.validator == "pattern" and "Pointer" in error.schema.get("description", ""):
        return f"{error.instance!r} isn't a JSON Pointer; write one like /status or /job/state"
    if error.validator == "pattern" and "spaces" in error.schema.get("description", ""):
        fix = "write one that isn't empty and has no spaces around it"
        return f"{error.instance!r} can't be a state; {fix}"
    if error.validator == "pattern" and "header" in error.schema.get("description", ""):
        return f"{error.instance!r} isn't a valid header name; use letters, digits and hyphens"
    if error.validator == "type":
        kinds = " or ".join(_KINDS[kind] for kind in listed(error.validator_value))
        keys = ", ".join(error.schema.get("properties", {}))
        given = json.dumps(error.instance, default=str, ensure_ascii=False)
        return f"must be {kinds}{f' with {keys}' if keys else ''}, not {given:.60}"
    if error.validator == "minProperties" and "properties" in error.schema:
        missing = ", ".join(
            name for name in error.schema["properties"] if name not in error.instance
        )
        return f"{error.instance} is incomplete; add one of {missing}"
    if error.validator in _LIMITS:
        return f"must {_LIMITS[error.validator].format(error.validator_value)}"
    if error.validator == "required":
        lost = [name for name in error.validator_value if name not in error.instance]
        return f"lacks {', '.join(lost)}; add {'it' if len(lost) == 1 else 'them'}"
    if error.validator == "enum" and "propertyNames" in error.absolute_schema_path:
        return f"unknown key {error.instance!r}; the keys are {', '.join(error.validator_value)}"
    if error.validator in ("enum", "const"):
        known = " or ".join(map(repr, listed(error.validator_value)))
        return f"must be {known}, not {error.instance!r:.60}"
    if not (extra := _extra(error)):
        return f"{error.message:.300}"
    names, known = ", ".join(map(repr, extra)), ", ".join(error.schema["properties"])
    return f"unknown key{'s'[: len(extra) - 1]} {names}; the keys are {known}"


def key_of(error: Any) -> list[Any]:
    """The key of a map that an error is about, if it is about one."""
    names = [error.instance] if "propertyNames" in error.absolute_schema_path else []
    return names or _extra(error)[:1]


def _extra(error: Any) -> list[str]:
    """The keys of a map that don't belong there, if an error is about them."""
    if error.validator != "additionalProperties" or not isinstance(error.validator_value, bool):
        return []
    known = error.schema["properties"]
    return [key for key in error.instance if key not in known and not key.startswith("x-")]
