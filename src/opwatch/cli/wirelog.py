"""The request log of `--verbose`: method, address, status, seconds.

No header, no body and no query is shown: they may hold a credential.
"""

from __future__ import annotations

import time
from typing import Any

from opwatch import transport
from opwatch.cli import complain
from opwatch.errors import OpwatchError
from opwatch.transport import Limits, Transport
from opwatch.transport.asynchronous import AsyncTransport
from opwatch.wire import Answer, Outgoing


def log_requests() -> None:
    """Log every request of the clients that are made from here on."""
    blocking, asynchronous = transport.open_blocking.get(), transport.open_async.get()
    transport.open_blocking.set(lambda limits: _Logged(blocking(limits)))
    transport.open_async.set(lambda limits: _AsyncLogged(asynchronous(limits)))


class _Logged(Transport):
    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.limits: Limits = inner.limits

    def send(self, outgoing: Outgoing) -> Answer:
        with _Timed(outgoing) as timed:
            timed.answer = self._inner.send(outgoing)
        return timed.answer

    def close(self) -> None:
        self._inner.close()


class _AsyncLogged(AsyncTransport):
    def __init__(self, inner: AsyncTransport) -> None:
        self._inner = inner
        self.limits: Limits = inner.limits

    async def send(self, outgoing: Outgoing) -> Answer:
        with _Timed(outgoing) as timed:
            timed.answer = await self._inner.send(outgoing)
        return timed.answer

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Timed:
    """Logs one request when it is over, however that is."""

    answer: Answer

    def __init__(self, outgoing: Outgoing) -> None:
        path = outgoing.target.partition("?")[0]
        self._what = f"{outgoing.method} {outgoing.address.origin}{path}"
        self._began = time.monotonic()

    def __enter__(self) -> _Timed:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> None:
        if error is None:
            result = str(self.answer.status)
        elif isinstance(error, OpwatchError):
            result = error.message
        else:
            result = "given up"
        complain(f"{self._what} {result} {time.monotonic() - self._began:.3f} s")
