"""Whether the examples of a spec are read as they are labelled."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from opwatch.cli.generating.document import Operation, keys_of, listed, referred, waited
from opwatch.cli.generating.rules import blocks, errors_of, form, pointers_exist, states_have_phases
from opwatch.cli.generating.spec import Place, Problem
from opwatch.reading import object_in, text

_LABELS = {"x-phase", "x-reads", "x-error"}
_UNREADABLE = "BadResponse"
"""The label of a successful response that isn't valid, or contradicts itself."""


def are_read(
    content: dict[str, Any], source: Callable[[], str | None], *, labelled: bool = True
) -> Iterator[Problem]:
    """Each example of an answer is read to the phase that its `x-phase` names and the values that
    its `x-reads` lists, or is the `BadResponse` that its `x-error` names; and each of an error is
    read as the error that its `x-error` names. `labelled` says whether each must have labels.

    `source` compiles the module that reads them.
    """
    problems = [*_misread(content, source, labelled=labelled)]
    for place, problem in problems[:1]:  # a wrong block misreads many, a wrong label is one
        others = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        yield place, f"{problem}{others}"


def _misread(
    content: dict[str, Any], source: Callable[[], str | None], *, labelled: bool
) -> Iterator[Problem]:
    if any(form(content)) or any(pointers_exist(content)) or any(states_have_phases(content)):
        return
    if (module := source()) is None:
        return
    reader: dict[str, Any] = {}
    # What reads is pure; the generated client is only needed to send.
    exec(re.sub(r"^from opwatch_api\..*\n", "", module, flags=re.MULTILINE), reader)  # noqa: S102 (just compiled)
    for place, operation, block in blocks(content):
        parts = listed(waited(content)[0].content["x-wait"]["id"]["parameter"])
        for inner, example in examples_of(content, operation):
            where = (*operation.place, *inner)
            key = "x-error" if "x-error" in example else "x-phase"
            if (label := example.get(key)) is None:
                yield from _misspelled(where, example)
                if labelled or "x-reads" in example:
                    yield where, "no x-phase; add the phase that the example is read as"
                continue
            if key == "x-error" and (others := _LABELS & example.keys() - {key}):
                text = f"a response that isn't valid has no {min(others)}; remove one of the two"
                yield (*where, key), text
                continue
            found = _progress(reader, block, parts, place[-1] == "outcome", example["value"])
            if isinstance(found, str):
                if (key, label) != ("x-error", _UNREADABLE):
                    yield (*where, key), _otherwise(key, found, label)
            elif found.phase != label:
                yield (*where, key), _otherwise(key, str(found.phase), label)
            elif labelled or "x-reads" in example:
                values = found.to_dict() | {"service": None, "phase": None}
                values |= {} if "same" in block else {"job_id": None}
                yield from _differs((*where, "x-reads"), example, values)
        for status, where, body in errors_of(operation, content):
            for each, one in body.get("examples", {}).items():
                inside, example = (*where, "examples", each), referred(content, one)
                if (label := example.get("x-error")) is None:
                    yield from _misspelled(inside, example)
                    if labelled or "x-reads" in example:
                        yield inside, "no x-error; add the error that the example is read as"
                    continue
                if not (status.isdigit() and "value" in example):
                    text = "can't be checked; give it a value and a specific status"
                    yield (*inside, "x-error"), text
                    continue
                kind, values = _error(reader, status, example["value"])
                if kind != label:
                    yield (*inside, "x-error"), _otherwise("x-error", kind, label)
                elif "x-reads" in example:
                    yield from _differs((*inside, "x-reads"), example, values)


def _misspelled(place: Place, example: dict[str, Any]) -> Iterator[Problem]:
    """Each key that is nearly a label, of an example that has none."""
    for key in example.keys() - _LABELS:
        if near := difflib.get_close_matches(str(key), _LABELS, 1, 0.8):
            yield (*place, key), f"{key!r} isn't a label; write {near[0]}"


def _differs(place: Place, example: dict[str, Any], values: dict[str, Any]) -> Iterator[Problem]:
    """The first value that is read of an example and isn't in its `x-reads`, or the reverse."""
    read, said = _given(values), object_in(example.get("x-reads"))
    if not isinstance(example.get("x-reads", {}), dict):
        yield place, "must be a map of the values that are read, such as {percent: 40}"
        return
    for key in {**said, **read}:
        if read.get(key) != said.get(key):
            found, label = (json.dumps(each.get(key), default=str) for each in (read, said))
            text = f"is read as {found}, not {label}; correct the x-reads or the x-wait block"
            yield (*place, key), text
            return


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """The values that aren't None, of a map and the maps in it."""
    return {
        key: _given(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def _otherwise(key: str, found: str, label: str) -> str:
    is_read = found.isidentifier()  # or it is why it can't be
    what = f"is read as {found}, not {label}" if is_read else f"can't be read as {label}: {found}"
    return f"{what}; correct the {key} or the x-wait block"


def _error(reader: dict[str, Any], status: str, value: Any) -> tuple[str, dict[str, Any]]:
    """The error that an example is read as, by its own words or by its status; and these words."""
    from opwatch.errors import AuthenticationError, error_kind
    from opwatch.net.message import Answer

    answer = Answer(int(status), (), b"")
    found = reader["complaint"](answer, object_in(value))
    kind = found.kind or error_kind(answer.status)
    values = {"code": found.code, "message": found.message, "request_id": found.request_id}
    is_refused = found.kind is AuthenticationError  # by a case: then no new token is requested
    return "refused" if is_refused else str(kind and kind.__name__), values


def examples_of(
    content: dict[str, Any], operation: Operation
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each example of an answer that has a value, and its place in the operation."""
    for media, body in operation.content["responses"]["200"]["content"].items():
        for name, one in body.get("examples", {}).items():
            if "value" in (example := referred(content, one)):
                yield ("responses", "200", "content", media, "examples", name), example


class _Session:
    """What reading needs of a session: its two warnings."""

    def unknown(self, state: object) -> Any:
        from opwatch.progress import Phase

        return Phase.UNKNOWN

    contradicted = unknown


def _progress(
    reader: dict[str, Any], block: dict[str, Any], parts: list[str], is_outcome: bool, value: Any
) -> Any:
    """What an example is read to, or why it isn't an answer; `parts` are the ID's."""
    from opwatch.errors import OpwatchError
    from opwatch.progress import Phase, Progress

    if not isinstance(value, dict):
        return "it isn't a JSON object"
    same = reversed(block.get("same", {}).items())  # so that the first that is there counts
    own = {part: name for pointer, part in same if (name := named(value, pointer))}
    job_id = "/".join(own.get(part, "") for part in parts)
    try:
        if is_outcome:
            over = Phase(block.get("after", "ended"))
            progress = Progress(service="", job_id=job_id, phase=over, wire=None)
            found = reader["read_outcome"](_Session(), progress, value)
            return "it is about another job" if found is None else found
        if "_problem" in reader:
            given = (value, job_id) if "same" in block else (value,)
            if (problem := reader["_problem"](*given)) is not None:
                return str(problem)
        return reader["read"](_Session(), job_id, value, None)
    except (LookupError, TypeError, AttributeError, OpwatchError) as error:
        return f"{type(error).__name__}: {error}"


def named(value: Any, pointer: str) -> str:
    """The job's ID, or a part of it, that an example holds at a pointer; empty if it holds none."""
    for key in keys_of(pointer):
        value = value.get(key) if isinstance(value, dict) else None
    return text(value) or ""
