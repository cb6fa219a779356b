"""The options of a client: what a caller may pass, and the one frozen object that it becomes."""

from __future__ import annotations

import ssl
import sys
from typing import Any, TypedDict

import attrs

from opwatch._version import __version__
from opwatch.core.polling import Duration, Schedule, checked, positive, seconds
from opwatch.errors import ConfigurationError
from opwatch.net.message import Secret


class Options(TypedDict, total=False):
    """What every client takes by keyword."""

    request_timeout: Duration
    """Seconds for one poll, including its token and any other request; 30."""
    schedule: Schedule | None
    """Used instead of the service's own."""
    max_failures: int
    """Failed polls in a row that end a wait; 10."""
    max_in_flight: int
    """Requests at the same time; 16."""
    ssl_context: ssl.SSLContext | None
    """For a private certificate authority, or a client certificate."""
    user_agent: str | None
    """Put in front of opwatch's own."""


MOST_IN_FLIGHT = 10_000


def _request_timeout(value: Any) -> float:
    return seconds(value, "request_timeout")


@attrs.frozen(kw_only=True)
class Settings:
    """The options of one client, checked."""

    schedule: Schedule | None = None
    max_failures: int = 10
    request_timeout: float = attrs.field(default=30.0, converter=_request_timeout)
    max_in_flight: int = 16
    ssl_context: ssl.SSLContext | None = None
    user_agent: str | None = None

    def __attrs_post_init__(self) -> None:
        timeout, most = self.request_timeout, positive(self.max_in_flight, "max_in_flight")
        checked(timeout, "request_timeout", timeout > 0, "a positive number of seconds")
        checked(most, "max_in_flight", most <= MOST_IN_FLIGHT, f"at most {MOST_IN_FLIGHT:,}")
        if not isinstance(context := self.ssl_context, (ssl.SSLContext, type(None))):
            problem = f"must be an ssl.SSLContext, not {type(context).__name__}"
            raise ConfigurationError(problem, argument="ssl_context")
        if context and context.protocol is ssl.PROTOCOL_TLS_SERVER:
            raise ConfigurationError("must be for clients, not for servers", argument="ssl_context")
        if context and not (context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname):
            problem = "must verify certificates and host names"
            call = "call the context's `load_verify_locations`"
            advice = f"to trust a private certificate authority, {call}"
            raise ConfigurationError(problem, argument="ssl_context", advice=advice)
        if self.user_agent is not None and (fault := Secret(self.user_agent).fault()):
            raise ConfigurationError(fault, argument="user_agent")

    @property
    def agent(self) -> str:
        """The `User-Agent` header."""
        own = f"opwatch/{__version__} python/{'.'.join(map(str, sys.version_info[:3]))}"
        return f"{self.user_agent} {own}" if self.user_agent else own

    @classmethod
    def of(cls, options: dict[str, Any]) -> Settings:
        """Check what a caller passed; raise a `ConfigurationError` that names what isn't valid."""
        if unknown := sorted(set(options) - set(Options.__annotations__)):
            # What was misspelled may be a secret, and is a local of the frames of this very error.
            options.clear()
            known = ", ".join(Options.__annotations__)
            problem = f"isn't an option; the options are {known}"
            if len(unknown) == 1:
                raise ConfigurationError(problem, argument=unknown[0])
            names = "`, `".join(unknown)
            raise ConfigurationError(f"`{names}` aren't options; the options are {known}")
        return cls(**options)
