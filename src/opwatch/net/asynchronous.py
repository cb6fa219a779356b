"""Send requests on asyncio or trio. Imported when an async client is made.

Idle sockets belong to no event loop: a client can be used by one loop after the other, and closing
takes no await.
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any

import anyio
from anyio import from_thread
from anyio.lowlevel import checkpoint, current_token

from opwatch.net.connection import Io
from opwatch.net.message import Answer, Request
from opwatch.net.pool import Pool


class AsyncIo(Io):
    """Waits without blocking the event loop."""

    async def ready(self, sock: socket.socket, for_write: bool, until: float) -> bool:
        ready = anyio.wait_writable if for_write else anyio.wait_readable
        with anyio.move_on_after(until - time.monotonic()):
            await ready(sock)
            return True
        return False

    async def addresses(self, host: str, port: int, until: float) -> list[Any]:
        if ":" in host or host.replace(".", "").isdecimal():
            return await super().addresses(host, port, until)  # an IP address takes no thread
        token, over, found = current_token(), anyio.Event(), Future[list[Any]]()

        def look_up() -> None:
            try:
                found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except Exception as error:  # noqa: BLE001 (raised by the task that waits)
                found.set_exception(error)
            with suppress(RuntimeError):  # the loop has ended
                from_thread.run_sync(over.set, token=token)

        # A thread of its own: the end of the loop and of the process would wait for the loop's.
        Thread(target=look_up, name="opwatch lookup", daemon=True).start()
        with anyio.fail_after(until - time.monotonic()):
            await over.wait()
        return found.result()

    async def pause(self) -> None:
        await checkpoint()


class AsyncTransport(Pool):
    """Sends requests without blocking the event loop."""

    io = AsyncIo()

    async def send(self, request: Request, end: float) -> Answer:
        """As `Transport.send`. If it is cancelled, it closes its connection on the way out."""
        try:
            return await self.request(request, end)
        except BaseException as error:  # noqa: BLE001 (raised again)
            error.__context__ = None
            raise error.with_traceback(None) from None  # the frames below hold what was sent

    async def aclose(self) -> None:
        self.forget()
