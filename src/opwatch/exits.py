"""The exit codes for a job's end and for errors.

For several jobs, the exit code is the first in `ORDER` that applies to any of them, so 0 means that
all succeeded. After an interrupt or invalid usage, a job's failure comes first, since no later run
changes it; then problems that a person must fix; then those that another run may fix.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from opwatch.progress import Phase

SUCCEEDED = 0
FAILED = 1
"""The job failed or was cancelled."""
USAGE = 2
"""Invalid usage or configuration."""
UNKNOWN = 3
"""The job ended, but the service doesn't say how."""
AUTHENTICATION = 4
GONE = 5
"""The service doesn't know the job, or the address is wrong."""
SERVICE = 6
"""The service or the network failed."""
TIMED_OUT = 124
"""The wait's deadline passed, or the job made no progress."""
INTERRUPTED = 130

ORDER = (INTERRUPTED, USAGE, FAILED, GONE, AUTHENTICATION, SERVICE, TIMED_OUT, UNKNOWN)


class End(NamedTuple):
    """How an error that ended a wait is reported."""

    outcome: str
    """The word for it in `--json` and the state file."""
    code: int
    phrase: str
    """A few words for a line or a bar."""


_ENDS = {
    "ConfigurationError": End("misconfigured", USAGE, "misconfigured"),
    "JobFailed": End("failed", FAILED, "failed"),
    "JobCancelled": End("cancelled", FAILED, "cancelled"),
    "JobGone": End("gone", GONE, "gone"),
    "NotFound": End("gone", GONE, "not found"),
    "AuthenticationError": End("refused", AUTHENTICATION, "refused"),
    "PermissionDenied": End("refused", AUTHENTICATION, "not permitted"),
    "WaitTimeout": End("timed out", TIMED_OUT, "timed out"),
    "WaitStalled": End("stalled", TIMED_OUT, "stalled"),
    "WaitCancelled": End("interrupted", INTERRUPTED, "interrupted"),
    "RateLimited": End("service error", SERVICE, "rate limited"),
    "Unavailable": End("service error", SERVICE, "unavailable"),
    "BadResponse": End("service error", SERVICE, "invalid response"),
    "TransportError": End("service error", SERVICE, "no response"),
    "OpwatchError": End("service error", SERVICE, "service error"),
}
"""By the name of an error's class: importing the classes would cost more than all of `--help`."""


OUTCOMES = frozenset(end.outcome for end in _ENDS.values())


def of_error(error: Exception) -> End:
    """Return how an error that ended a wait is reported."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((_ENDS[name] for name in names if name in _ENDS), _ENDS["OpwatchError"])


def of_outcome(outcome: str) -> int:
    """Return the exit code of an outcome."""
    return next((end.code for end in _ENDS.values() if end.outcome == outcome), SERVICE)


def of_phase(phase: Phase) -> int:
    """Return the exit code for a job's phase; 0 for a job that is still running."""
    from opwatch.progress import Phase

    if phase in (Phase.FAILED, Phase.CANCELLED):
        return FAILED
    return UNKNOWN if phase is Phase.ENDED else SUCCEEDED


def of_all(codes: Iterable[int]) -> int:
    """Return one exit code for several jobs.

    Raises `ValueError` for what isn't one, such as the None of a job that hasn't ended.
    """
    found = set(codes)
    if wrong := found - {SUCCEEDED, *ORDER}:
        raise ValueError(f"must be exit codes of opwatch, not {next(iter(wrong))!r:.40}")
    return next((code for code in ORDER if code in found), SUCCEEDED)
