"""What must hold of an `x-wait` block, rule by rule; each is a function from a spec's content to
its problems.

The compiler believes the block. These rules prove it first: its form, that each
pointer leads somewhere, that each state has a phase, that the examples are read as they are
labelled, and that each claim of the block is in the document or has a mark.
"""

import difflib
import functools
import itertools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opwatch.cli.generating.document import (
    MARKS,
    SHOWN,
    Operation,
    below,
    error_pointers,
    follow_up,
    keys_of,
    listed,
    methods,
    operations,
    pointers_of,
    referred,
    shown,
    target_of,
    waited,
)
from opwatch.cli.generating.python import plain
from opwatch.cli.generating.schema_errors import key_of, said
from opwatch.cli.generating.security import OWN_HEADERS, header_problem
from opwatch.cli.generating.spec import Place, Problem, deepest, innermost
from opwatch.core.polling import Schedule
from opwatch.errors import ConfigurationError

SCHEMA = Path(__file__).with_name("x-wait.schema.json")
MOST = 4096
"""Combinations of values that are checked; beyond that, each value is checked on its own."""
SHORTEST = 1
"""Seconds."""
FINAL = ("succeeded", "failed", "cancelled", "ended")
HOLDERS = {("contradiction",), ("fault", "at"), ("fault", "params")}
"""What may also be an object or a list; each other pointer leads to a single value."""
TIMES = {("started",), ("finished",)}


@functools.cache
def _form() -> Any:
    from openapi_schema_validator import OAS31Validator

    return OAS31Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def form(content: dict[str, Any]) -> Iterator[Problem]:
    """Each block is one by x-wait.schema.json, and what it names is there."""
    found = waited(content)
    if found[1:]:
        for extra in found[1:]:
            yield (*extra.place, "x-wait"), "a second x-wait block; keep one per spec"
        return
    for path, method, one in methods(content):
        if "x-wait" in one and "operationId" not in one:
            text = "has an x-wait block but no operationId; add one to name its function"
            yield ("paths", path, method), text
    for operation in found:
        place, block = (*operation.place, "x-wait"), operation.content["x-wait"]
        if not isinstance(block, dict):
            yield place, "must be a map; see the documentation of x-wait"
            continue
        if errors := [*map(deepest, _form().iter_errors(block))]:
            problems = [((*place, *it.absolute_path, *key_of(it)), said(it)) for it in errors]
            yield from innermost(
                [(at, f"{said}; see the documentation of x-wait") for at, said in problems]
            )
            continue
        for each in filter(None, (operation, follow_up(content, block))):
            if each.method != "get":
                method = each.method.upper()
                yield (
                    each.place,
                    f"opwatch sends only GET requests, not {method}; use a GET operation",
                )
            if "content" not in each.content.get("responses", {}).get("200", {}):
                yield each.place, "x-wait needs a 200 response with a schema; describe it"
        yield from _names(content, operation, block, place)
        yield from _values_fit(block, place)


def delays_of(block: dict[str, Any]) -> tuple[Place, list[float]]:
    """Where the delays of a block are, and what they are."""
    schedule = block["schedule"]
    if isinstance(schedule, dict):
        return ("schedule", "delays"), schedule["delays"]
    return ("schedule",), schedule


def _values_fit(block: dict[str, Any], place: Place) -> Iterator[Problem]:
    """What JSON Schema can't say: the schedule is one, the names of states and headers differ."""
    at, delays = delays_of(block)
    try:
        Schedule(tuple(delays))
    except ConfigurationError as error:
        yield (*place, *at), str(error)
    if "require" in block and not {"is", "any"} & block["require"].keys():
        yield (*place, "require"), "has no condition; add is or any"
    if (outcome := block.get("outcome")) and (problem := _what_lacks(outcome)):
        yield (*place, "outcome"), problem
    for above, part in (((), block), (("outcome",), block.get("outcome", {}))):
        if isinstance(states := part.get("state"), dict):
            phases: dict[str, str] = {}
            for name, phase in states["is"].items():
                if phases.setdefault(plain(name), phase) != phase:
                    text = f"{name!r} has two phases (ignoring case); keep one"
                    yield (*place, *above, "state", "is", name), text
    for where, headers in _headers(block):
        for name in (each for each in headers if each.lower() in MARKS):
            text = "would be a header; write this mark beside the map of headers"
            yield (*place, *where, name), text
    names = [name.lower() for name in block.get("headers", {})]
    for n, (name, value) in enumerate(block.get("headers", {}).items()):
        if name.lower() in names[:n]:
            yield (*place, "headers", name), f"{name} appears twice (ignoring case); keep one"
        for problem in filter(None, header_problems(name, str(value))):
            yield (*place, "headers", name), problem
    for n, case in enumerate(block["errors"].get("cases", [])):
        if not {"status", "code", "message", "header"} & case.keys():
            yield (
                (*place, "errors", "cases", n),
                "has no condition; add status, code, message or header",
            )
        if case["is"] == "refused" and listed(case.get("status")) != [401]:
            text = "`refused` is for status 401 alone; add it, or use another kind"
            yield (*place, "errors", "cases", n), text
        for key in {"code", "message"} & case.keys() - block["errors"].keys():
            text = f"`errors` doesn't say where to find the {key}; add `{key}` to it"
            yield (*place, "errors", "cases", n, key), text


def _headers(block: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each map of a block whose keys are the names of headers."""
    yield ("headers",), block.get("headers", {})
    for n, one in enumerate(block.get("again", [])):
        yield ("again", n, "when"), one.get("when", {})
    for n, case in enumerate(block["errors"].get("cases", [])):
        yield ("errors", "cases", n, "header"), case.get("header", {})


def _what_lacks(outcome: dict[str, Any]) -> str | None:
    """Why an outcome says nothing about the phase it is after, or more than is read."""
    if outcome.get("after") != "failed":
        return None if "state" in outcome else "has no phase; add `state`"
    if "fault" not in outcome:
        return "gives no reason for a failure; add `fault`"
    unread = [
        key for key in ("state", "step", "started", "finished", "contradiction") if key in outcome
    ]
    return f"only `fault` is read after `failed`; remove {', '.join(unread)}" if unread else None


def header_problems(name: str, value: str) -> Iterator[str | None]:
    """What is wrong with a header that each request is to be sent with."""
    if name.lower() in OWN_HEADERS:
        yield f"{name} is set by opwatch; leave it out"
    else:
        yield header_problem(name)
    if not re.fullmatch("[!-~]([ -~]*[!-~])?", value):
        yield f"{value!r} can't be the value of a header; use printable ASCII characters"


def _names(
    content: dict[str, Any], operation: Operation, block: dict[str, Any], place: Place
) -> Iterator[Problem]:
    parts = listed(block["id"]["parameter"])
    for n, name in enumerate(parts):
        if name in parts[:n]:
            yield (*place, "id", "parameter"), f"{name!r} is named twice; name each part once"
        if name not in operation.parameters:
            known = ", ".join(operation.parameters) or "none"
            text = f"{name!r} isn't a parameter of the path; use one that is ({known})"
            yield (*place, "id", "parameter"), text
            return
    for above in ((), ("outcome",)):
        same = (block.get("outcome", {}) if above else block).get("same", {})
        for field, name in same.items():
            if name not in parts:
                text = (
                    f"{name!r} isn't a parameter of the ID; its parameters are {', '.join(parts)}"
                )
                yield (*place, *above, "same", field), text
    for status in block.get("statuses", []):
        if status != 200 and _schema(operation, content, status) not in (None, operation.schema):
            text = f"the response {status} has a different schema than 200; make them the same"
            yield (*operation.place, "responses", str(status)), text
    restart = block.get("restart-on-change")
    is_lost = restart and restart not in shown(block)
    if is_lost and all(below(content, operation.schema, keys_of(it)) for it in shown(block)):
        known = f"{', '.join(SHOWN[:-1])} or {SHOWN[-1]}"
        text = f"{restart} can't restart the schedule; use the pointer of {known}"
        yield (*place, "restart-on-change"), text
    if "outcome" in block:
        other = follow_up(content, block)
        if other is None:
            known = ", ".join(each.content["operationId"] for each in operations(content))
            text = f"no operation has this operationId; use one of {known}"
            yield (*place, "outcome", "operation"), text
        elif not set(other.parameters) <= set(operation.parameters):
            text = f"{other.path} needs more than the job's ID; use an operation that doesn't"
            yield (*place, "outcome", "operation"), text


def _schema(operation: Operation, content: dict[str, Any], status: int) -> dict[str, Any] | None:
    """The schema of the body of an answer, if it has one."""
    found = referred(content, operation.content["responses"].get(str(status), {}))
    bodies = [body["schema"] for body in found.get("content", {}).values() if "schema" in body]
    return bodies[0] if bodies else None


def blocks(content: dict[str, Any]) -> Iterator[tuple[Place, Operation, dict[str, Any]]]:
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
    for place, operation, block in blocks(content):
        lost: dict[str, str | int] = {}
        for inner, pointer in pointers_of(block):
            is_known = any(f"{pointer}/".startswith(f"{it}/") for it in lost)
            if is_known or inner[0] in lost.values():
                continue  # the same as one that has a finding, or below or beside it
            found = below(content, operation.schema, keys_of(pointer))
            if not found:
                parts = ["/".join(pointer.split("/")[: n + 2]) for n in range(pointer.count("/"))]
                first = (it for it in parts if not below(content, operation.schema, keys_of(it)))
                lost[next(first)] = inner[0]
                fix = _missing(pointer) or "correct it, or add it to the schema"
                text = f"{pointer} isn't in {operation.model}; {fix}"
                yield (*place, *inner), text
            elif inner not in HOLDERS and not any(map(_is_value, found)):
                lost[pointer] = inner[0]
                or_else = ", or list the object in `contradiction`" if "when" in inner else ""
                text = f"{pointer} isn't a single value; use a field below it{or_else}"
                yield (*place, *inner), text
            elif inner in TIMES and (
                problem := _unit_problem(block[str(inner[0])], pointer, found)
            ):
                yield (*place, *inner), problem
        some = listed(block.get("require", {}).get("any", []))
        holders = {pointer.rpartition("/")[0] for pointer in some}
        if len(holders) > 1:
            text = "these fields belong to different objects; use fields of a single object"
            yield (*place, "require", "any"), text
        bodies = [body for _, _, body in errors_of(operation, content)]
        schemas = [body["schema"] for body in bodies if "schema" in body]
        for inner, pointer in error_pointers(block):
            ends = [end for each in schemas for end in below(content, each, keys_of(pointer))]
            if ends and not any(map(_is_value, ends)):
                yield (*place, *inner), f"{pointer} isn't a single value; use a field below it"
            if not ends and schemas:  # many documents don't describe their errors
                fix = _missing(pointer) or "correct it, or add it to one"
                text = f"{pointer} isn't in any error schema; {fix}"
                yield (*place, *inner), text
                break  # one that is missing may have them all


def _is_value(schema: dict[str, Any]) -> bool:
    types = set(listed(schema.get("type", [])))
    return "properties" not in schema and not (types and types <= {"object", "array", "null"})


def _missing(pointer: str) -> str | None:
    """What to do about a pointer that leads nowhere because it has the index of an item."""
    is_item = any(map(str.isdigit, keys_of(pointer)))
    return "a pointer can't select an item of a list" if is_item else None


def _is_number(schemas: list[dict[str, Any]]) -> bool:
    """Whether a field is said to be a number."""
    return all(
        str(each.get("format", "")).startswith("int")
        or set(listed(each.get("type", ["any"]))) <= {"integer", "number", "null"}
        for each in schemas
    )


def _unit_problem(time: Any, pointer: str, schemas: list[dict[str, Any]]) -> str | None:
    """Why a time isn't read as its schema says."""
    unit = time.get("as", "date-time") if isinstance(time, dict) else "date-time"
    if unit == "date-time" and _is_number(schemas):
        return f"{pointer} is a number; write {{at: {pointer}, as: seconds}} or milliseconds"
    is_date = all(each.get("format") == "date-time" for each in schemas)
    if unit != "date-time" and is_date and not _is_number(schemas):
        return f"{pointer} is a date; remove `as: {unit}`"
    return None


def errors_of(
    operation: Operation, content: dict[str, Any]
) -> Iterator[tuple[str, Place, dict[str, Any]]]:
    """Each body of an error: its status, its place in the spec, and what describes it."""
    for status, response in operation.content["responses"].items():
        if str(status).startswith("x-"):
            continue
        place: Place = (*operation.place, "responses", status)
        found: Any = response
        if "$ref" in response:
            place = target_of(response["$ref"])
            found = referred(content, response)
        if not str(status).startswith("2"):
            for media, body in found.get("content", {}).items():
                yield str(status), (*place, "content", media), body


def schedules_are_slow(content: dict[str, Any]) -> Iterator[Problem]:
    """No service is polled more than once a second."""
    for operation in waited(content):
        at, delays = delays_of(operation.content["x-wait"])
        for n, delay in enumerate(delays):
            if delay < SHORTEST:
                text = f"a delay of {delay} s is too short; use at least {SHORTEST} s"
                yield (*operation.place, "x-wait", *at, n), text


def states_have_phases(content: dict[str, Any]) -> Iterator[Problem]:
    """Each value that the schema lists for a state, or for what a condition tests, has a phase; and
    one of the phases is final."""
    for place, operation, block in blocks(content):
        states = block.get("state")
        if states and _phases(states).isdisjoint(FINAL):
            text = f"no state is final; map at least one to {', '.join(FINAL[:-1])} or {FINAL[-1]}"
            yield (*place, "state"), text
        if isinstance(states, dict):
            known = {plain(name) for name in states["is"]}
            values = _values(content, operation, states["at"])
            if any(isinstance(value, bool) for value in values):
                text = (
                    f"{states['at']} is a boolean; write conditions: {{is: …, when: {{…: true}}}}"
                )
                yield (*place, "state", "at"), text
                continue
            lost = [each for each in values if each is not None and plain(str(each)) not in known]
            if lost:
                told = ", ".join(map(repr, lost))
                others = [name for name in states["is"] if name not in values]
                near = difflib.get_close_matches(str(lost[0]), others, 1)
                have, each = ("has", "it") if len(lost) == 1 else ("have", "each")
                fix = f"add a line for {each}" + (f", or correct {near[0]!r}" if near else "")
                text = f"{told} of {states['at']} {have} no phase; {fix}"
                yield (*place, "state", "is"), text
                continue
        elif states:
            for n, row in enumerate(states):
                if row["is"] == "succeeded" and all(
                    None in listed(v) for v in row["when"].values()
                ):
                    text = "this reports success only because fields are missing"
                    fix = "also test a field that reports success"
                    yield (*place, "state", n), f"{text}; {fix}"
            pointers = list(dict.fromkeys(pointer for row in states for pointer in row["when"]))
            values = [_values(content, operation, pointer) for pointer in pointers]
            for given in _combined(dict(zip(pointers, values, strict=True))):
                if not any(_holds(row["when"], given) for row in states):
                    told = ", ".join(f"{key}: {json.dumps(value)}" for key, value in given.items())
                    yield (*place, "state"), f"no condition matches {told}; add one"
                    break
        after = block.get("outcome", {}).get("after", "ended")
        if "outcome" in block and after not in _phases(states):
            text = (
                f"no state is read as {after}, so this operation is never called; add one, or "
                "remove the outcome"
            )
            yield (*place, "outcome"), text


def _phases(states: Any) -> set[str]:
    """The phases that a state may have."""
    rows = states["is"].values() if isinstance(states, dict) else (row["is"] for row in states)
    return set(rows)


def _combined(values: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Each combination of the values of several fields; each value alone if those are too many."""
    if math.prod(map(len, values.values())) <= MOST:
        for found in itertools.product(*values.values()):
            yield dict(zip(values, found, strict=True))
    else:
        for pointer, each in values.items():
            yield from ({pointer: value} for value in each)


def _holds(when: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether a condition holds of these values, as far as they are given; text is compared
    without case."""
    tested = given.keys() & when.keys()
    return bool(tested) and all(
        _lower(given[key]) in map(_lower, listed(when[key])) for key in tested
    )


def _lower(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else (type(value), value)


def _values(content: dict[str, Any], operation: Operation, pointer: str) -> list[Any]:
    """The values that the schema lists for a field; true and false for a boolean."""
    found: list[Any] = []
    for schema in below(content, operation.schema, keys_of(pointer)):
        found += schema.get("enum", [schema["const"]] if "const" in schema else [])
        if "boolean" in listed(schema.get("type", [])):
            found += [True, False]
    return found
