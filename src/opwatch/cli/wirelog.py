"""The request log of `--verbose`: method, address, status, seconds.

Headers, bodies and query strings aren't shown: they may contain credentials.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import click

from opwatch import net
from opwatch.cli import complain
from opwatch.errors import OpwatchError
from opwatch.net.message import Answer, Request


def log_requests() -> None:
    """Log every request of the clients that this command creates from now on."""
    logged = net.open_async.wrap(lambda usual: lambda settings: _logged(usual(settings)))
    click.get_current_context().call_on_close(partial(net.open_async.reset, logged))


def _logged(transport: Any) -> Any:
    send = transport.send

    async def logged(request: Request, end: float) -> Answer:
        with _Timed(request) as timed:
            timed.answer = await send(request, end)
        return timed.answer

    transport.send = logged
    return transport


class _Timed:
    """Logs one request when it ends, however it ends."""

    answer: Answer

    def __init__(self, request: Request) -> None:
        path = request.target.partition("?")[0]
        self._what = f"{request.method} {request.address.origin}{path}"
        self._began = time.monotonic()

    def __enter__(self) -> _Timed:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> None:
        if error is None:
            result = str(self.answer.status)
        elif isinstance(error, OpwatchError):
            result = error.message
        else:
            result = "cancelled"
        complain(f"{self._what} {result} {time.monotonic() - self._began:.3f} s")
