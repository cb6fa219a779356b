"""The network: one request out, one bounded answer in, and what a failure becomes.

It sends what it is given to the one origin it is for, and follows nothing. Every limit is explicit,
and every failure is an `OpwatchError` without a trace of the request. It doesn't know services,
tokens or waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from opwatch.current import Current
from opwatch.errors import ConfigurationError

if TYPE_CHECKING:
    from opwatch.net.asynchronous import AsyncTransport
    from opwatch.net.blocking import Transport
    from opwatch.net.message import Request
    from opwatch.net.websocket import WebSocket


def _blocking(settings: Any) -> Transport:
    from opwatch.net.blocking import Transport

    return Transport(settings)


def _async(settings: Any) -> AsyncTransport:
    from opwatch.net.asynchronous import AsyncTransport

    return AsyncTransport(settings)


OpenWebSocket: TypeAlias = "Callable[[Request, str, float, Callable[[], bool]], WebSocket]"


def _websocket(settings: Any) -> OpenWebSocket:
    try:
        from opwatch.net.websocket import WebSocket
    except ImportError as error:
        problem = "needs another package: pip install 'opwatch[notifications]'"
        raise ConfigurationError(f"{problem} ({error})", argument="notifications") from None
    return partial(WebSocket, settings)


# They open the transports of the clients created from now on; tests set others.
open_blocking: Current[Callable[[Any], Transport]] = Current(_blocking)
open_async: Current[Callable[[Any], AsyncTransport]] = Current(_async)
open_websocket: Current[Callable[[Any], OpenWebSocket]] = Current(_websocket)
