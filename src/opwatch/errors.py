"""Everything that opwatch raises, derived from `OpwatchError`.

An error has everything known about the wait that it ended: the service, the job ID, the last
progress, and the token that resumes the wait. Errors can be pickled, and none of them contains a
credential.
"""

from __future__ import annotations

import copy
from typing import Any, Self, TypeVar

from opwatch.progress import Fault, Progress

__all__ = [
    "AuthenticationError",
    "BadResponse",
    "ConfigurationError",
    "InvalidWebhook",
    "JobCancelled",
    "JobFailed",
    "JobGone",
    "NotFound",
    "OpwatchError",
    "PermissionDenied",
    "RateLimited",
    "ServiceError",
    "TransportError",
    "Unavailable",
    "WaitCancelled",
    "WaitStalled",
    "WaitTimeout",
]


E = TypeVar("E", bound="OpwatchError")


class OpwatchError(Exception):
    """The base class of all exceptions that opwatch raises."""

    transient: bool = False
    """Whether this error is retryable: a wait then polls again, and `progress` raises it."""
    held_until: float | None = None
    """If a pause kept the request from being sent: when the pause ends, in seconds on the client's
    clock. Otherwise None."""

    advice: str | None = None
    """How to continue or what to check, or None."""
    service: str | None = None
    """The name of the service, or None if no service was involved."""
    job_id: str | None = None
    """The job's ID, or None if no job was involved."""
    last: Progress[Any] | None = None
    """The last progress before the error, or None."""
    token: str | None = None
    """The token that resumes the wait: `client.resume(error.token)`."""
    _is_certain = False
    """Whether a case of the spec says that the response means this, and not its status alone."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        """What happened, without the job or the advice."""
        for name, value in details.items():
            if not hasattr(self, name):
                raise TypeError(f"{type(self).__name__} has no {name!r}")
            if value is not getattr(self, name):  # a waiting job keeps its error
                setattr(self, name, value)

    def __str__(self) -> str:
        where = " ".join(part for part in (self.service, self.job_id) if part)
        text = f"{where}: {self._what()}" if where else self._what()
        return f"{text}; {self.advice}" if self.advice else text

    def _what(self) -> str:
        """Return what happened, for a text that already names the job."""
        return self.message

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON: its class, what happened, and the service's details."""
        names = ("status", "code", "request_id", "retry_after")
        details = {name: getattr(self, name, None) for name in names}
        return {"type": type(self).__name__, "message": in_words(self), **details}

    def about(
        self,
        service: str,
        job_id: str,
        *,
        last: Progress[Any] | None = None,
        token: str | None = None,
    ) -> Self:
        """Record which wait this error ended, and return the error."""
        self.service, self.job_id = service, job_id
        self.last = last if last is not None else self.last
        self.token = token if token is not None else self.token
        return self


def twin(error: E) -> E:
    """Return a copy of an error, on which one of many callers can record its own wait."""
    other = copy.copy(error)
    other.__cause__ = error.__cause__
    return other


class ConfigurationError(OpwatchError, ValueError):
    """An argument or setting isn't valid; the message says why and how to fix it."""

    argument: str | None = None
    """The name of the argument at fault, or None if it isn't a single one."""

    def __init__(self, message: str, *, argument: str | None = None, **details: Any) -> None:
        self.problem = message
        """What is wrong, without the argument's name."""
        text = f"`{argument}` {message}" if argument else message
        super().__init__(text, argument=argument, **details)

    def taken_from(self, variable: str) -> Self:
        """Name the environment variable that the argument's value came from."""
        self.message = f"{variable} {self.problem}"
        self.args = (self.message,)
        return self


class InvalidWebhook(OpwatchError):
    """A webhook request isn't validly signed, or its time isn't valid. Respond with 401."""


class JobFailed(OpwatchError):
    """The service reported that the job failed."""

    fault: Fault | None = None
    """The service's reason, or None if it gave none."""

    @property
    def code(self) -> str | None:
        """The service's own code for the reason, or None."""
        return None if self.fault is None else self.fault.code


class JobCancelled(JobFailed):
    """The service reported that the job was cancelled."""


class WaitTimeout(OpwatchError, TimeoutError):
    """The wait's deadline passed. The job continues."""


class WaitStalled(OpwatchError):
    """The job made no progress for `stall_timeout` seconds. The job continues."""


class WaitCancelled(OpwatchError):
    """`cancel` was set. The job continues."""


class ServiceError(OpwatchError):
    """The service responded with an error."""

    status: int | None = None
    """The HTTP status."""
    code: str | None = None
    """The service's own code, or None."""
    request_id: str | None = None
    """The ID that the service's support will ask for, or None."""
    retry_after: float | None = None
    """Seconds until the next request may be sent, if the service said so (`Retry-After`)."""

    def _what(self) -> str:
        parts = [str(part) for part in (self.status, self.code) if part is not None]
        text = f"{self.message} ({' '.join(parts)})" if parts else self.message
        return f"{text} [request {self.request_id}]" if self.request_id else text


class JobGone(ServiceError):
    """The service no longer knows the job ID, or never did."""


class AuthenticationError(ServiceError):
    """The credentials were refused."""


class PermissionDenied(ServiceError):
    """The credentials are valid but don't permit the request."""


class NotFound(ServiceError):
    """A 404 that isn't about the job: usually a wrong address."""


class RateLimited(ServiceError):
    """Too many requests; `retry_after` is how long to wait, if the service said so."""

    transient = True


class Unavailable(ServiceError):
    """The service can't respond right now."""

    transient = True


class BadResponse(OpwatchError):
    """The response isn't one that the service would send."""

    transient = True

    status: int | None = None
    """The HTTP status."""
    excerpt = ""
    """The beginning of the response, as one printable line; empty if it can't be shown."""

    def _what(self) -> str:
        text = f"{self.message} ({self.status})" if self.status else self.message
        return f"{text}: {self.excerpt}" if self.excerpt else text


class TransportError(OpwatchError):
    """No complete response arrived: no connection, a timeout, or a broken connection."""

    transient = True
    head: Any = None
    """What arrived of an incomplete response; removed before users see the error."""


def in_words(error: OpwatchError) -> str:
    """Return what happened and how to fix it, without the job.

    How a program continues after the end of its own wait is left out: a reader can't do that.
    """
    if error.advice is None or isinstance(error, (WaitTimeout, WaitStalled, WaitCancelled)):
        return error.message
    return f"{error.message}; {error.advice}"


_KINDS: dict[int, type[ServiceError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    408: Unavailable,
    425: Unavailable,
    429: RateLimited,
}


def error_kind(status: int) -> type[ServiceError] | None:
    """Return the error class for a status alone, or None if the status isn't an error.

    A 304 isn't one: it answers a conditional request, and opwatch sends none.
    """
    if status < 300 or status == 304:
        return None
    return _KINDS.get(status) or (Unavailable if status >= 500 else ServiceError)
