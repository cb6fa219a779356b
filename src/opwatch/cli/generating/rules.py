"""What must hold of an `x-wait` block, rule by rule; each is a function from a spec's content to
its problems.

The compiler believes the block. These rules prove it first: its form, that each
pointer leads somewhere, that each state has a phase, that the examples are read as they are
labelled, and that what the block claims stands in the document or carries a mark.
"""

import functools
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opwatch.cli.generating.spec import Place, Problem, deepest
from opwatch.cli.generating.waits import (
    SHOWN,
    Operation,
    at,
    below,
    compiled,
    error_pointers,
    follow_up,
    keys_of,
    listed,
    operations,
    pointers_of,
    shown,
    waited,
)

SCHEMA = Path(__file__).with_name("x-wait.schema.json")
OWN_HEADERS = {"accept", "authorization", "content-length", "content-type", "host", "user-agent"}
MARKS = {"x-inferred", "x-addition", "x-deviation"}
HOLDERS = {("contradiction",), ("fault", "at")}
"""What may also be an object or a list; each other pointer leads to a single value."""
HOW_TO_MARK = "quote the document, or say with x-inferred beside it where it is from"


@functools.cache
def _form() -> Any:
    from openapi_schema_validator import OAS31Validator

    return OAS31Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def form(content: dict[str, Any]) -> Iterator[Problem]:
    """Each block is one by x-wait.schema.json, and what it names is there."""
    found = waited(content)
    for path, item in content.get("paths", {}).items():
        for method, one in item.items():
            if isinstance(one, dict) and "x-wait" in one and "operationId" not in one:
                text = "has an x-wait block and no operationId; add one, which names its function"
                yield ("paths", path, method), text
    for operation in found:
        place, block = (*operation.place, "x-wait"), operation.content["x-wait"]
        errors = [deepest(error) for error in _form().iter_errors(block)]
        for error in errors:
            yield (*place, *error.absolute_path), f"{_said(error)}; see docs/x-wait.md"
        if errors:
            continue
        for each in filter(None, (operation, follow_up(content, block))):
            if "content" not in each.content["responses"].get("200", {}):
                yield each.place, "x-wait needs a 200 answer with a schema; describe it"
        yield from _names(content, operation, block, place)
    for extra in found[1:]:
        yield (*extra.place, "x-wait"), "a second x-wait; one operation of a spec has it"


def _names(
    content: dict[str, Any], operation: Operation, block: dict[str, Any], place: Place
) -> Iterator[Problem]:
    parts = listed(block["id"]["parameter"])
    for name in parts:
        if name not in operation.parameters:
            known = ", ".join(operation.parameters) or "none"
            text = f"{name!r} isn't a parameter of the path; name one of it ({known})"
            yield (*place, "id", "parameter"), text
    for above in ((), ("outcome",)):
        same = (block.get("outcome", {}) if above else block).get("same", {})
        for field, name in same.items():
            if name not in parts:
                text = f"{name!r} is no part of the ID; name one of {', '.join(parts)}"
                yield (*place, *above, "same", field), text
    for status in block.get("statuses", []):
        if status != 200 and _schema(operation, content, status) not in (None, operation.schema):
            text = f"the answer {status} has another schema than 200; only equal ones can be read"
            yield (*operation.place, "responses", str(status)), text
    for name in block.get("headers", {}):
        if name.lower() in OWN_HEADERS:
            yield (*place, "headers", name), f"{name} is opwatch's own; leave it out"
    restart = block.get("restart-on-change")
    if restart and restart not in shown(block):
        text = f"{restart} isn't read; it must be the pointer of {', '.join(SHOWN)}"
        yield (*place, "restart-on-change"), text
    if "outcome" in block:
        other = follow_up(content, block)
        if other is None:
            known = ", ".join(each.content["operationId"] for each in operations(content))
            text = f"no operation has this operationId; name one of {known}"
            yield (*place, "outcome", "operation"), text
        elif not set(other.parameters) <= set(parts):
            text = f"{other.path} needs more than the job's ID; name an operation that doesn't"
            yield (*place, "outcome", "operation"), text


def _schema(operation: Operation, content: dict[str, Any], status: int) -> dict[str, Any] | None:
    """The schema of the body of an answer, if it has one."""
    found: Any = operation.content["responses"].get(str(status), {})
    if "$ref" in found:
        found = at(content, keys_of(found["$ref"][1:]))
    bodies = [body["schema"] for body in found.get("content", {}).values() if "schema" in body]
    return bodies[0] if bodies else None


def _said(error: Any) -> str:
    """What is wrong, in the words of who writes a block."""
    if error.validator == "pattern" and "Pointer" in error.schema.get("description", ""):
        return f"{error.instance!r} is no JSON Pointer; write one like /status or /job/state"
    if error.validator == "minProperties" and "properties" in error.schema:
        missing = ", ".join(
            name for name in error.schema["properties"] if name not in error.instance
        )
        return f"{error.instance} says too little; add one of {missing}"
    if error.validator != "additionalProperties" or not isinstance(error.validator_value, bool):
        return str(error.message)
    known = error.schema["properties"]
    extra = [key for key in error.instance if key not in known and not key.startswith("x-")]
    names = ", ".join(map(repr, extra))
    return f"{names} {'is' if len(extra) == 1 else 'are'} no key here; known are {', '.join(known)}"


def _blocks(content: dict[str, Any]) -> Iterator[tuple[Place, Operation, dict[str, Any]]]:
    """Each block with the operation it reads: itself, and that of its `outcome`."""
    if any(form(content)):
        return
    for operation in waited(content):
        block = operation.content["x-wait"]
        place = (*operation.place, "x-wait")
        yield place, operation, block
        if (other := follow_up(content, block)) is not None:
            yield (*place, "outcome"), other, block["outcome"]


def pointers_exist(content: dict[str, Any]) -> Iterator[Problem]:
    """Each pointer leads to a field of the schema of the answer it reads."""
    for place, operation, block in _blocks(content):
        for inner, pointer in pointers_of(block):
            found = below(content, operation.schema, keys_of(pointer))
            if not found:
                text = f"{pointer} isn't in {operation.model}; correct it, or add it to the schema"
                yield (*place, *inner), text
            elif inner not in HOLDERS and not any(map(_is_value, found)):
                yield (*place, *inner), f"{pointer} is no single value; name a field below it"
        holders = {
            pointer.rpartition("/")[0] for pointer in block.get("require", {}).get("any", [])
        }
        if len(holders) > 1:
            text = "fields of several objects; name fields of one object"
            yield (*place, "require", "any"), text
        schemas = [body["schema"] for _, _, body in _errors(operation, content)]
        for inner, pointer in error_pointers(block):
            if not any(below(content, schema, keys_of(pointer)) for schema in schemas):
                text = f"{pointer} is in no schema of an error; correct it, or add it to one"
                yield (*place, *inner), text


def _is_value(schema: dict[str, Any]) -> bool:
    types = set(listed(schema.get("type", [])))
    return "properties" not in schema and not (types and types <= {"object", "array", "null"})


def _errors(
    operation: Operation, content: dict[str, Any]
) -> Iterator[tuple[str, Place, dict[str, Any]]]:
    """Each body of an error: its status, its place in the spec, and what describes it."""
    for status, response in operation.content["responses"].items():
        place: Place = (*operation.place, "responses", status)
        found: Any = response
        if "$ref" in response:
            place = keys_of(response["$ref"][1:])
            found = at(content, place)
        if not str(status).startswith("2"):
            for media, body in found.get("content", {}).items():
                yield str(status), (*place, "content", media), body


def states_have_phases(content: dict[str, Any]) -> Iterator[Problem]:
    """Each value that the schema lists for a state, or for what a condition tests, has a phase."""
    for place, operation, block in _blocks(content):
        states = block.get("state")
        if isinstance(states, dict):
            known = {name.lower() for name in states["is"]}
            for value in _values(content, operation, states["at"]):
                if str(value).lower() not in known:
                    text = f"{value!r} of {states['at']} has no phase; add a line for it"
                    yield (*place, "state", "is"), text
        elif states:
            pointers = list(dict.fromkeys(pointer for row in states for pointer in row["when"]))
            values = [_values(content, operation, pointer) for pointer in pointers]
            for found in itertools.product(*values):
                given = dict(zip(pointers, found, strict=True))
                if not any(_holds(row["when"], given) for row in states):
                    told = ", ".join(f"{key} {value!r}" for key, value in given.items())
                    yield (*place, "state"), f"{told} has no phase; add a condition for it"


def _holds(when: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether a condition holds of these values; text is compared without case."""
    return all(_lower(given[key]) in map(_lower, listed(value)) for key, value in when.items())


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else (type(value), value)


def _values(content: dict[str, Any], operation: Operation, pointer: str) -> list[Any]:
    """The values that the schema lists for a field; true and false for a boolean."""
    found: list[Any] = []
    for schema in below(content, operation.schema, keys_of(pointer)):
        found += schema.get("enum", [])
        if "boolean" in listed(schema.get("type", [])):
            found += [True, False]
    return found


def examples_are_read(
    name: str, content: dict[str, Any], *, labelled: bool = True
) -> Iterator[Problem]:
    """Each example of an answer is read to the phase that its `x-phase` names, and each of an
    error as the error that its `x-error` names; `labelled` says whether each must have a label."""
    if any(form(content)) or any(pointers_exist(content)) or any(states_have_phases(content)):
        return
    source = compiled(name, content)
    if source is None:
        return
    reader: dict[str, Any] = {}
    # What reads is pure; the generated client is only needed to send.
    exec(re.sub(r"^from opwatch_api\..*\n", "", source, flags=re.MULTILINE), reader)  # noqa: S102 (just compiled)
    for place, operation, block in _blocks(content):
        parts = listed(waited(content)[0].content["x-wait"]["id"]["parameter"])
        for inner, example in examples_of(operation):
            where = (*operation.place, *inner)
            if (label := example.get("x-phase")) is None:
                if labelled:
                    yield where, "no x-phase; say which phase the example is read to"
                continue
            found = _phase(reader, block, parts, place[-1] == "outcome", example["value"])
            if found != label:
                yield (*where, "x-phase"), _otherwise(found, label)
        for status, where, body in _errors(operation, content):
            for each, example in body.get("examples", {}).items():
                inside = (*where, "examples", each)
                if (label := example.get("x-error")) is None:
                    if labelled:
                        yield inside, "no x-error; say which error the example is read as"
                elif not (status.isdigit() and "value" in example):
                    yield (*inside, "x-error"), "can't be read; give it a value, and its own status"
                elif (found := _error(reader, status, example["value"])) != label:
                    yield (*inside, "x-error"), _otherwise(found, label)


def _otherwise(found: str, label: str) -> str:
    return f"is read as {found}, not {label}; correct the label or the block"


def _error(reader: dict[str, Any], status: str, value: Any) -> str:
    """The error that an example is read as: by its own words, or by its status."""
    from opwatch.errors import error_kind
    from opwatch.net.message import Answer

    answer = Answer(int(status), (), b"")
    kind = reader["complaint"](answer, value).kind or error_kind(answer.status)
    return str(kind and kind.__name__)


def examples_of(operation: Operation) -> Iterator[tuple[Place, dict[str, Any]]]:
    for media, body in operation.content["responses"]["200"]["content"].items():
        for name, example in body.get("examples", {}).items():
            if "value" in example:
                yield ("responses", "200", "content", media, "examples", name), example


class _Session:
    """Stands in for a session: reading needs only its two warnings."""

    def unknown(self, state: object) -> Any:
        from opwatch.progress import Phase

        return Phase.UNKNOWN

    contradicted = unknown


def _phase(
    reader: dict[str, Any], block: dict[str, Any], parts: list[str], is_outcome: bool, value: Any
) -> str:
    """The phase that an example is read to, or why it isn't an answer; `parts` are the ID's."""
    from opwatch.progress import Phase, Progress

    if not isinstance(value, dict):
        return "no JSON object"
    same = reversed(block.get("same", {}).items())  # so that the first that is there counts
    named = {part: name for pointer, part in same if (name := _named(value, pointer))}
    job_id = "/".join(named.get(part, "") for part in parts)
    try:
        if is_outcome:
            over = Progress(service="", job_id=job_id, phase=Phase.ENDED, wire=None)
            return str(reader["read_outcome"](over, value).phase)
        if "_problem" in reader:
            given = (value, job_id) if "same" in block else (value,)
            if (problem := reader["_problem"](*given)) is not None:
                return str(problem)
        return str(reader["read"](_Session(), job_id, value, None).phase)
    except (LookupError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"


def _named(value: Any, pointer: str) -> str:
    for key in keys_of(pointer):
        value = value.get(key) if isinstance(value, dict) else None
    return str(value or "")


def claims_have_sources(content: dict[str, Any], document: str) -> Iterator[Problem]:
    """Each number, state, code and text of a block stands in the document or carries a mark."""
    if any(form(content)) or not document:
        return
    for operation in waited(content):
        place, block = (*operation.place, "x-wait"), operation.content["x-wait"]
        for inner, claim in _claims(block):
            if not _stands(claim, document) and not _is_marked(block, inner):
                text = f"{claim!r} isn't in the document; {HOW_TO_MARK}"
                yield (*place, *inner), text


def _claims(block: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    """What a block takes from the document, and where in the block."""
    schedule = block["schedule"]
    at: Place = ("schedule", "delays") if isinstance(schedule, dict) else ("schedule",)
    for n, delay in enumerate(schedule["delays"] if isinstance(schedule, dict) else schedule):
        yield (*at, n), delay
    for above, part in (((), block), (("outcome",), block.get("outcome", {}))):
        states = part.get("state")
        if isinstance(states, dict):
            for name in states["is"]:
                yield (*above, "state", "is", name), name
        for n, row in enumerate(states if isinstance(states, list) else []):
            for pointer, values in row["when"].items():
                for value in listed(values):
                    name = value if isinstance(value, str) else keys_of(pointer)[-1]
                    yield (*above, "state", n, "when", pointer), name
        for pointer, value in part.get("require", {}).get("is", {}).items():
            yield (*above, "require", "is", pointer), value
    for n, case in enumerate(block["errors"].get("cases", [])):
        for key in ("status", "code", "message"):
            for claim in listed(case.get(key, [])):
                yield ("errors", "cases", n, key), claim
    for n, claims in enumerate(block["errors"].get("known", [])):
        for claim in listed(claims):
            yield ("errors", "known", n), claim


def _stands(claim: Any, document: str) -> bool:
    """Whether the document has it, as a word or a number of its own and in its own case."""
    return re.search(rf"(?<![\w.]){re.escape(str(claim))}(?!\w|\.\d)", document) is not None


def _is_marked(block: dict[str, Any], place: Place) -> bool:
    """Whether a mark stands at a place of a block or above it."""
    node: Any = block
    for key in place:
        if isinstance(node, dict) and not MARKS.isdisjoint(node):
            return True
        node = node[key]
    return isinstance(node, dict) and not MARKS.isdisjoint(node)
