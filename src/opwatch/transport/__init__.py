"""The wire: one request out, one bounded answer in, and what a bad answer becomes.

The only place that knows httpx: its addresses, its TLS settings, and the connections of its own
engine, httpcore, without the client layer on top. That layer would rewrite what was signed, follow
and decode what we refuse, and cost as much again as the request. It sends what it is given
to the one origin it is for and follows nothing; every limit is explicit, and every failure is one
of our errors with no trace of the request in it. It does not know services, tokens or waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from opwatch.transport.addresses import address as address
from opwatch.transport.blocking import Transport as Transport
from opwatch.transport.exchange import Limits as Limits
from opwatch.transport.exchange import unseen as unseen

if TYPE_CHECKING:
    from opwatch.transport.asynchronous import AsyncTransport


def _async_transport(limits: Limits) -> AsyncTransport:
    from opwatch.transport.asynchronous import AsyncTransport

    return AsyncTransport(limits)


open_blocking: ContextVar[Callable[[Limits], Transport]] = ContextVar(
    "opwatch transport", default=Transport
)
"""What opens the transport of the clients made from here on; tests set another."""
open_async: ContextVar[Callable[[Limits], AsyncTransport]] = ContextVar(
    "opwatch async transport", default=_async_transport
)
