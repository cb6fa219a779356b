"""Everything that can be raised.

One root, `OpwatchError`. Each error carries what is known of the wait it ended: the service, the
job's id, the last answer, and the token that resumes the wait. All of them pickle, so that they
survive a process pool, and none holds a credential.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from opwatch.progress import Fault, Progress

__all__ = [
    "AuthenticationError",
    "BadResponse",
    "ConfigurationError",
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


class OpwatchError(Exception):
    """The root of everything opwatch raises."""

    transient: ClassVar[bool] = False
    """Whether asking again may mend it: what a wait lives through and a single query reports."""

    def __init__(
        self,
        message: str,
        *,
        service: str | None = None,
        job_id: str | None = None,
        last: Progress[Any] | None = None,
        token: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.service = service
        """Which service, where one was asked."""
        self.job_id = job_id
        self.last = last
        """The last answer before the error, where there was one."""
        self.token = token
        """Resumes the wait: `client.resume(error.token)`."""

    def __str__(self) -> str:
        where = " ".join(part for part in (self.service, self.job_id) if part)
        return f"{where}: {self._what()}" if where else self._what()

    def _what(self) -> str:
        """What happened, without the job: for a text that names the job already."""
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.__dict__.copy())

    def about(
        self,
        service: str,
        job_id: str,
        *,
        last: Progress[Any] | None = None,
        token: str | None = None,
    ) -> Self:
        """The same error, told which wait it ended."""
        self.service, self.job_id = service, job_id
        self.last = last if last is not None else self.last
        self.token = token if token is not None else self.token
        return self


def _rebuild(cls: type[OpwatchError], message: str, state: dict[str, Any]) -> OpwatchError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class ConfigurationError(OpwatchError, ValueError):
    """What the caller gave cannot work; the message says which, and how to give it."""


class JobFailed(OpwatchError):
    """The service said that the job failed."""

    def __init__(self, message: str, *, fault: Fault | None = None, **where: Any) -> None:
        super().__init__(message, **where)
        self.fault = fault
        """The service's reason, where it gave one."""


class JobCancelled(JobFailed):
    """The service said that the job was cancelled."""


class WaitTimeout(OpwatchError, TimeoutError):
    """The wait's own deadline passed. The job goes on."""


class WaitStalled(OpwatchError):
    """The job did not move for `stall_timeout` seconds. It goes on."""


class WaitCancelled(OpwatchError):
    """`cancel` was set. The job goes on."""


class ServiceError(OpwatchError):
    """The service answered with an error."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        **where: Any,
    ) -> None:
        super().__init__(message, **where)
        self.status = status
        """The HTTP status."""
        self.code = code
        """The service's own code, where it gave one."""
        self.request_id = request_id
        """What the service's support will ask for."""
        self.retry_after = retry_after
        """Seconds the service asked to be left alone."""

    def _what(self) -> str:
        parts = [str(part) for part in (self.status, self.code) if part is not None]
        text = f"{self.message} ({' '.join(parts)})" if parts else self.message
        return f"{text} [request {self.request_id}]" if self.request_id else text


class JobGone(ServiceError):
    """The service no longer knows the id, or never did."""


class AuthenticationError(ServiceError):
    """The credentials were refused."""


class PermissionDenied(ServiceError):
    """The credentials are good and not enough."""


class NotFound(ServiceError):
    """A 404 that does not speak of the job: a wrong address, say."""


class RateLimited(ServiceError):
    """Too many requests; `retry_after` where the service gave one."""

    transient = True


class Unavailable(ServiceError):
    """The service cannot answer now."""

    transient = True


class BadResponse(OpwatchError):
    """What came is not the service's answer."""

    transient = True

    def __init__(
        self, message: str, *, status: int | None = None, excerpt: str = "", **where: Any
    ) -> None:
        super().__init__(message, **where)
        self.status = status
        """The HTTP status."""
        self.excerpt = excerpt
        """The beginning of what came: one printable line."""

    def _what(self) -> str:
        text = f"{self.message} ({self.status})" if self.status else self.message
        return f"{text}: {self.excerpt}" if self.excerpt else text


class TransportError(OpwatchError):
    """No answer came: no connection, a time limit, an answer cut short."""

    transient = True
