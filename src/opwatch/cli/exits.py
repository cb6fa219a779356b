"""The exit codes: what a job's end or an error is to a shell.

Of several jobs the first of `ORDER` that any of them came to is the exit code, so 0 means that all
succeeded. A bad end of a job comes first, since no later run changes it; then what a person must
mend; then what another run may mend.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opwatch.progress import Phase

SUCCEEDED = 0
FAILED = 1
"""The job failed or was cancelled."""
USAGE = 2
"""Wrong usage, or a configuration that cannot work."""
UNKNOWN = 3
"""The job is over, and the service does not say how it ended."""
AUTHENTICATION = 4
GONE = 5
"""The service does not know the job, or nothing is at the address."""
SERVICE = 6
"""The service or the network."""
TIMED_OUT = 124
"""The wait's deadline passed, or the job stood still."""
INTERRUPTED = 130

ORDER = (INTERRUPTED, USAGE, FAILED, GONE, AUTHENTICATION, SERVICE, TIMED_OUT, UNKNOWN)


def of_phase(phase: Phase) -> int:
    """The exit code of a job's answer; 0 for one that is not over."""
    from opwatch.progress import Phase

    if phase in (Phase.FAILED, Phase.CANCELLED):
        return FAILED
    return UNKNOWN if phase is Phase.ENDED else SUCCEEDED


def of_error(error: Exception) -> int:
    """The exit code of what ended a wait without the job's end."""
    return of_kind(type(error))


def of_kind(kind: type[Exception]) -> int:
    """The exit code of such an error."""
    from opwatch import errors

    table: tuple[tuple[type[Exception], int], ...] = (
        (errors.ConfigurationError, USAGE),
        (errors.JobFailed, FAILED),
        (errors.JobGone, GONE),
        (errors.NotFound, GONE),
        (errors.AuthenticationError, AUTHENTICATION),
        (errors.PermissionDenied, AUTHENTICATION),
        (errors.WaitTimeout, TIMED_OUT),
        (errors.WaitStalled, TIMED_OUT),
        (errors.WaitCancelled, INTERRUPTED),
    )
    return next((code for base, code in table if issubclass(kind, base)), SERVICE)


def of_all(codes: Iterable[int]) -> int:
    """The one exit code of several jobs."""
    found = set(codes)
    return next((code for code in ORDER if code in found), SUCCEEDED)
