"""What happens during a wait, as values: what `on_event` is called with.

The same events are in Python, in `--json`, in bars and in reports. `to_dict` returns the object
that `--json` prints as one line; its schema is in `opwatch/cli/events.schema.json`.

    v           1; it changes if a field changes its meaning. Fields are only ever added time
    when it happened, ISO 8601, UTC event       "start", "progress", "trouble", "held" or "result":
    see the classes below service, job_id phase       pending running succeeded failed cancelled
    ended unknown; null before the first percent     0 to 100, or null step        the service's own
    words, or null bytes_processed     bytes, or null fault       {code, message} of a job that
    failed, or null started_at, finished_at     ISO 8601, UTC, or null error       {type, message,
    status, code, request_id, retry_after}, or null attempt     how many polls the wait has made, in
    this process and before next_query_in       seconds to the next poll; null if there is none
    elapsed     seconds since this process began to watch the job resumed     whether the wait began
    elsewhere ("start" and "held" alone) outcome     "succeeded" "failed" "cancelled" "ended" (over,
    outcome unknown) "gone" "timed out" "stalled" "refused" (credentials) "misconfigured" "service
    error" "interrupted" ("result" alone) exit_code   the exit code of the command for this job
    alone ("result" alone)

An event without new progress repeats the last one, so each event has the job's last known state.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

import attrs

from opwatch import exits
from opwatch.errors import OpwatchError
from opwatch.progress import NO_ANSWER, Progress

__all__ = ["Ended", "Event", "Held", "Polled", "Retrying", "Started"]

W = TypeVar("W")
VERSION = 1


@attrs.frozen(kw_only=True)
class Event(Generic[W]):
    """One thing that happened to one job."""

    kind: ClassVar[str]
    """The word for it in `--json`."""
    _more: ClassVar[tuple[str, ...]] = ()
    """What `to_dict` returns in addition."""

    service: str
    job_id: str
    time: datetime
    """When it happened, in UTC."""
    progress: Progress[W] | None = None
    """The last progress so far, or None."""
    error: OpwatchError | None = None
    """Why the poll failed, or why the wait ended before the job; otherwise None."""
    next_poll_in: float | None = None
    """Seconds to the next poll; None if there is none, or if it isn't known yet."""
    attempt: int = 0
    """How many polls the wait has made, in this process and before."""
    elapsed: float = 0.0
    """Seconds since this process began to watch the job."""
    token: str | None = attrs.field(default=None, repr=False)
    """Resumes the wait from its state after this event. It isn't in `to_dict`."""

    @property
    def job(self) -> tuple[str, str]:
        """The service and the job ID."""
        return self.service, self.job_id

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON: the object that `--json` prints."""
        answer = NO_ANSWER if self.progress is None else self.progress.to_dict()
        return {
            "v": VERSION,
            "time": self.time.isoformat(timespec="milliseconds"),
            "event": self.kind,
            "service": self.service,
            "job_id": self.job_id,
            **answer,
            "error": None if self.error is None else self.error.to_dict(),
            "attempt": self.attempt,
            "next_query_in": None if self.next_poll_in is None else round(self.next_poll_in, 3),
            "elapsed": round(self.elapsed, 3),
            **{name: getattr(self, name) for name in self._more},
        }


@attrs.frozen(kw_only=True)
class Started(Event[W]):
    """A wait begins or is resumed."""

    kind = "start"
    _more = ("resumed",)
    resumed: bool = False
    """Whether the wait began elsewhere."""


class Polled(Event[W]):
    """A poll succeeded."""

    __slots__ = ()
    kind = "progress"


class Retrying(Event[W]):
    """A poll failed, and the wait continues."""

    __slots__ = ()
    kind = "trouble"


@attrs.frozen(kw_only=True)
class Held(Event[W]):
    """Nothing was sent: the service asked for a pause, or the next poll isn't due."""

    kind = "held"
    _more = ("resumed",)
    resumed: bool = False
    """Whether a wait that began elsewhere isn't due yet."""


class Ended(Event[W]):
    """The wait has ended: the last event of every wait."""

    __slots__ = ()
    kind = "result"
    _more = ("outcome", "exit_code")

    @property
    def outcome(self) -> str:
        """How it ended, in a word or two."""
        if self.error is not None:
            return exits.of_error(self.error).outcome
        return "unknown" if self.progress is None else str(self.progress.phase)

    @property
    def exit_code(self) -> int:
        """The exit code of the command for this job alone."""
        if self.error is not None:
            return exits.of_error(self.error).code
        return exits.SUCCEEDED if self.progress is None else exits.of_phase(self.progress.phase)
