"""What happens during a wait, as values: the arguments of `on_event`.

Python, `--json`, bars and reports all use the same events. `to_dict` returns the object that
`--json` prints as one line; `opwatch/cli/events.schema.json` describes every field.

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
    """Something that happened to a job."""

    kind: ClassVar[str]
    """The event's name in `--json`."""
    _more: ClassVar[tuple[str, ...]] = ()
    """What `to_dict` returns in addition."""

    service: str
    """The name of the service, such as `"itwin"`."""
    job_id: str
    """The job's ID."""
    time: datetime
    """When it happened, in UTC."""
    progress: Progress[W] | None = None
    """The last progress so far, or None."""
    error: OpwatchError | None = None
    """Why the poll failed, or why the wait ended before the job; otherwise None."""
    next_poll_in: float | None = None
    """Seconds until the next poll; None if there is none, or if its time isn't known yet."""
    attempt: int = 0
    """How many polls the wait has made, in this process and before."""
    elapsed: float = 0.0
    """Seconds since this process began to watch the job."""
    token: str | None = attrs.field(default=None, repr=False)
    """Resumes the wait from its state after this event. It isn't in `to_dict`."""
    resumed: bool = False
    """Whether the wait began elsewhere (`Started`), or a resumed wait's next poll isn't due yet
    (`Held`)."""

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


class Started(Event[W]):
    """A wait begins or is resumed."""

    __slots__ = ()
    kind = "start"
    _more = ("resumed",)


class Polled(Event[W]):
    """A poll succeeded."""

    __slots__ = ()
    kind = "progress"


class Retrying(Event[W]):
    """A poll failed, and the wait continues."""

    __slots__ = ()
    kind = "trouble"


class Held(Event[W]):
    """Nothing was sent: the service asked for a pause, or the next poll isn't due."""

    __slots__ = ()
    kind = "held"
    _more = ("resumed",)


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
