"""What happens while jobs are watched, as values; and as the lines of `--json`.

Every line of `--json` is one JSON object of the schema in `events.schema.json`, beside this file.
Fields are only ever added; `v` changes when one changes its meaning.

    v           1
    time        when it happened, ISO 8601, UTC
    event       "start"     the watching of a job begins (or continues: `resumed`)
                "progress"  a query was answered
                "trouble"   a query was not, and the wait retries: `error`
                "held"      nothing was asked: a rate limit holds the whole client, or a state file
                            says that the next query is not due
                "result"    the watching of a job is over: `outcome`, `exit_code`
    service, job_id
    phase       pending running succeeded failed cancelled ended unknown; null before an answer
    percent     0 to 100, or null
    step        the service's own words, or null
    bytes_processed     bytes, or null
    fault       {code, message} of a job that failed, or null
    started_at, finished_at     ISO 8601, UTC, or null
    error       {type, message, status, code, request_id, retry_after}, or null
    next_query_in       seconds to the next query; null if there is none
    elapsed     seconds since this process began to watch
    resumed     whether a state file said where to continue ("start" and "held" alone)
    outcome     "succeeded" "failed" "cancelled" "ended" (over, outcome unknown) "gone" "timed out"
                "stalled" "refused" (credentials) "misconfigured" "service error" "interrupted"
                ("result" alone)
    exit_code   what this job alone makes the exit code ("result" alone)

An event that brought no answer repeats the last one, so each line says where the job stands.
`opwatch progress --json` prints one line: "progress" with the answer, or "result" with the `error`
that came instead.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import attrs

from opwatch import errors
from opwatch.cli import exits
from opwatch.errors import OpwatchError
from opwatch.progress import Fault, Phase, Progress
from opwatch.reading import count, parse_time, percent, text

VERSION = 1
Kind = Literal["start", "progress", "trouble", "held", "result"]


@attrs.frozen(kw_only=True)
class Event:
    """One thing that happened to one job."""

    kind: Kind
    service: str
    job_id: str
    time: datetime
    elapsed: float = 0.0
    """Seconds since this process began to watch."""
    last: Progress[Any] | None = None
    """The answer, or the last one before."""
    error: OpwatchError | None = None
    next_query_in: float | None = None
    resumed: bool = False
    """Whether a state file said where to continue."""
    asked: bool = False
    """Whether a query brought the `error` of a result, and no event before told of that query."""

    @property
    def job(self) -> tuple[str, str]:
        return self.service, self.job_id

    @property
    def outcome(self) -> str:
        """How the watching ended, in a word."""
        if self.error is None:
            return str(self.last.phase) if self.last is not None else "unknown"
        return exits.of_error(self.error).outcome

    @property
    def exit_code(self) -> int:
        if self.error is not None:
            return exits.of_error(self.error).code
        return exits.of_phase(self.last.phase) if self.last is not None else exits.SUCCEEDED

    @property
    def says(self) -> str:
        """The error as a line for a person at a shell, who has no use for a program's advice."""
        if isinstance(self.error, _OF_THE_WAIT):
            return str(self.error).removesuffix(f"; {self.error.advice}")
        return str(self.error)

    @property
    def reason(self) -> str | None:
        """Why it did not succeed; an interrupt needs no reason but its own line."""
        if isinstance(self.error, errors.WaitCancelled):
            return None
        if self.error is not None:
            return words(self.error)
        if self.last is None or self.last.phase is Phase.SUCCEEDED:
            return None
        if self.last.fault is not None:
            return str(self.last.fault)
        return "the service does not say how it ended" if self.last.phase is Phase.ENDED else None

    @property
    def details(self) -> list[str]:
        """What a service's error says besides its reason: "(404 JobNotFound)", "[request 1]"."""
        if not isinstance(self.error, errors.ServiceError):
            return []
        codes = [str(code) for code in (self.error.status, self.error.code) if code is not None]
        found = [f"({' '.join(codes)})"] if codes else []
        request = self.error.request_id
        return [*found, f"[request {request}]"] if request else found


_OF_THE_WAIT = (errors.WaitTimeout, errors.WaitStalled, errors.WaitCancelled)


def words(error: OpwatchError) -> str:
    """Return what happened and how to fix it, without the job."""
    if error.advice is None or isinstance(error, _OF_THE_WAIT):
        return error.message
    return f"{error.message}; {error.advice}"


class Sink(Protocol):
    """What is told of every event: bars, lines, a collection."""

    def on_event(self, event: Event) -> None: ...

    def close(self) -> None:
        """All is over."""


def utcnow() -> datetime:
    return datetime.now(UTC)


# --- JSON -----------------------------------------------------------------------------------------


def to_json(event: Event) -> dict[str, Any]:
    """The object that `--json` prints as one line."""
    fields: dict[str, Any] = {
        "v": VERSION,
        "time": event.time.isoformat(timespec="milliseconds"),
        "event": event.kind,
        "service": event.service,
        "job_id": event.job_id,
        **answer(event.last),
        "error": _error(event.error),
        "next_query_in": _rounded(event.next_query_in),
        "elapsed": _rounded(event.elapsed),
    }
    if event.kind in ("start", "held"):
        fields["resumed"] = event.resumed
    if event.kind == "result":
        fields["outcome"] = event.outcome
        fields["exit_code"] = event.exit_code
    return fields


def line(event: Event) -> str:
    return json.dumps(to_json(event))


def answer(progress: Progress[Any] | None) -> dict[str, Any]:
    """The fields of an answer; all null if there is none."""
    if progress is None:
        names = ("phase", "percent", "step", "bytes_processed", "fault")
        return dict.fromkeys((*names, "started_at", "finished_at"))
    fault = progress.fault
    return {
        "phase": str(progress.phase),
        "percent": progress.percent,
        "step": progress.step,
        "bytes_processed": progress.bytes_processed,
        "fault": None if fault is None else {"code": fault.code, "message": fault.message},
        "started_at": _iso(progress.started_at),
        "finished_at": _iso(progress.finished_at),
    }


def from_answer(service: str, job_id: str, fields: dict[str, Any]) -> Progress[None]:
    """What `answer` wrote, less the model; KeyError, TypeError or ValueError for anything else."""
    fault = fields["fault"]
    return Progress(
        service=service,
        job_id=job_id,
        phase=Phase(fields["phase"]),
        percent=percent(fields["percent"]),
        step=text(fields["step"]),
        bytes_processed=count(fields["bytes_processed"]),
        fault=None if fault is None else Fault(text(fault["code"]), text(fault["message"])),
        started_at=parse_time(fields["started_at"]),
        finished_at=parse_time(fields["finished_at"]),
        wire=None,
    )


def _error(error: OpwatchError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    names = ("status", "code", "request_id", "retry_after")
    found = {name: getattr(error, name, None) for name in names}
    return {"type": type(error).__name__, "message": words(error), **found}


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
