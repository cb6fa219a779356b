"""The vocabulary: what users learn about a job.

Plain frozen values. Nothing here knows a service, a clock or a network.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, Generic, TypeVar

import attrs

W = TypeVar("W")


class Phase(enum.StrEnum):
    """The state of a job, in the same words for every service."""

    PENDING = "pending"
    """The service knows the job but hasn't started it."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    """The service reported success. opwatch never guesses this."""
    FAILED = "failed"
    """The service reported a failure; `Progress.fault` has the reason if the service gave one."""
    CANCELLED = "cancelled"
    ENDED = "ended"
    """The job is over, and the service didn't say how it ended."""
    UNKNOWN = "unknown"
    """A state that this version doesn't know. The wait continues."""

    @property
    def is_final(self) -> bool:
        """Return whether the job is over, no matter how it ended."""
        return self in _FINAL


_FINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.ENDED})


@attrs.frozen
class Fault:
    """Why a job failed, in the service's own words."""

    code: str | None = None
    """The service's code as text: `"APIC.9218"`, `"500"`."""
    message: str | None = None

    def __str__(self) -> str:
        return ": ".join(part for part in (self.code, self.message) if part) or "no reason given"


@attrs.frozen(kw_only=True)
class Progress(Generic[W]):
    """A job's progress, as the service reported it."""

    service: str
    """The name of the service: `"itwin"`, for example."""
    job_id: str
    phase: Phase
    percent: float | None = None
    """From 0 to 100, or None if the service sent no valid percentage."""
    step: str | None = None
    """What the job is doing, in the service's own words (iTwin `step`, Catenis `action`)."""
    bytes_processed: int | None = None
    """Bytes of the message processed so far (Catenis)."""
    fault: Fault | None = None
    started_at: datetime | None = None
    """UTC, aware."""
    finished_at: datetime | None = None
    """UTC, aware; None until the job is over."""
    wire: W = attrs.field(repr=False)
    """The service's response as a generated model."""
    details: Any = attrs.field(default=None, repr=False)
    """A second response as a generated model, or None: the gateway for `Apig` with `until="usable"`
    (an `opwatch_api.apig.models.Gateway`), or the result of a successful job if the spec says how
    to request it."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything but `wire` and `details` as JSON: the phase as text, times in ISO 8601.

        `wire.to_dict()` returns the response itself, with the service's field names.
        """
        fault = self.fault
        return {
            "service": self.service,
            "job_id": self.job_id,
            "phase": str(self.phase),
            "percent": self.percent,
            "step": self.step,
            "bytes_processed": self.bytes_processed,
            "fault": None if fault is None else {"code": fault.code, "message": fault.message},
            "started_at": None if self.started_at is None else self.started_at.isoformat(),
            "finished_at": None if self.finished_at is None else self.finished_at.isoformat(),
        }


NO_ANSWER: dict[str, Any] = dict.fromkeys(
    ("phase", "percent", "step", "bytes_processed", "fault", "started_at", "finished_at")
)
"""The fields of a `Progress` in JSON, for when there is none yet."""
