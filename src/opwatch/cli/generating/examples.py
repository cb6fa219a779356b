"""Whether the examples of a spec are read as they are labelled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from opwatch.cli.generating.document import Operation, keys_of, listed, referred, waited
from opwatch.cli.generating.rules import blocks, errors_of, form, pointers_exist, states_have_phases
from opwatch.cli.generating.spec import Place, Problem
from opwatch.reading import object_in, text


def are_read(
    content: dict[str, Any], source: Callable[[], str | None], *, labelled: bool = True
) -> Iterator[Problem]:
    """Each example of an answer is read to the phase that its `x-phase` names, and each of an
    error as the error that its `x-error` names; `labelled` says whether each must have a label.

    `source` compiles the module that reads them.
    """
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
            if (label := example.get("x-phase")) is None:
                if labelled:
                    yield where, "no x-phase; add the phase that the example is read as"
                continue
            found = _phase(reader, block, parts, place[-1] == "outcome", example["value"])
            if found != label:
                yield (*where, "x-phase"), _otherwise("x-phase", found, label)
        for status, where, body in errors_of(operation, content):
            for each, one in body.get("examples", {}).items():
                inside, example = (*where, "examples", each), referred(content, one)
                if (label := example.get("x-error")) is None:
                    if labelled:
                        yield inside, "no x-error; add the error that the example is read as"
                elif not (status.isdigit() and "value" in example):
                    yield (
                        (*inside, "x-error"),
                        "can't be checked; give it a value and a specific status",
                    )
                elif (found := _error(reader, status, example["value"])) != label:
                    yield (*inside, "x-error"), _otherwise("x-error", found, label)


def _otherwise(key: str, found: str, label: str) -> str:
    is_read = found.isidentifier()  # or it is why it can't be
    what = f"is read as {found}, not {label}" if is_read else f"can't be read as {label}: {found}"
    return f"{what}; correct the {key} or the x-wait block"


def _error(reader: dict[str, Any], status: str, value: Any) -> str:
    """The error that an example is read as: by its own words, or by its status."""
    from opwatch.errors import error_kind
    from opwatch.net.message import Answer

    answer = Answer(int(status), (), b"")
    kind = reader["complaint"](answer, object_in(value)).kind or error_kind(answer.status)
    return str(kind and kind.__name__)


def examples_of(
    content: dict[str, Any], operation: Operation
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each example of an answer that has a value, and its place in the operation."""
    for media, body in operation.content["responses"]["200"]["content"].items():
        for name, one in body.get("examples", {}).items():
            if "value" in (example := referred(content, one)):
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
            return str(reader["read_outcome"](_Session(), progress, value).phase)
        if "_problem" in reader:
            given = (value, job_id) if "same" in block else (value,)
            if (problem := reader["_problem"](*given)) is not None:
                return str(problem)
        return str(reader["read"](_Session(), job_id, value, None).phase)
    except (LookupError, TypeError, AttributeError, OpwatchError) as error:
        return f"{type(error).__name__}: {error}"


def named(value: Any, pointer: str) -> str:
    """The job's ID, or a part of it, that an example holds at a pointer; empty if it holds none."""
    for key in keys_of(pointer):
        value = value.get(key) if isinstance(value, dict) else None
    return text(value) or ""
