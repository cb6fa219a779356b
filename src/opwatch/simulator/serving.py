"""The thread that serves a simulator on a port of this machine, until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable

import uvicorn
import wsproto  # noqa: F401 (uvicorn imports it when it starts, and its error would name no extra)
from starlette.types import ASGIApp

HOST = "127.0.0.1"
KEEP_ALIVE = 600
"""Seconds an idle connection is kept: longer than any client's longest delay."""
_LAST_ANSWERS = 0.5
"""Seconds for the answers in progress when the simulator stops."""


class _Server(uvicorn.Server):
    """uvicorn's server, which reports when it is up, and stops immediately when requested.

    uvicorn checks every 0.1 s whether to stop, which is too long for a fixture of every test.
    """

    def __init__(self, config: uvicorn.Config, up: threading.Event, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._up = up
        self._closing = closing

    async def main_loop(self) -> None:
        self._up.set()
        await self._closing.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Accept no more, and only then close: asyncio leaks a connection accepted in between.
        for listener in sockets or []:
            asyncio.get_running_loop().remove_reader(listener)
        # Answers in progress, and connections that were accepted a moment ago.
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=_LAST_ANSWERS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for server in self.servers:
            server.close()
        while self.server_state.connections:
            await asyncio.sleep(0)


class _Quiet(logging.Filter):
    """Drops what one thread logs."""

    def __init__(self, thread: threading.Thread) -> None:
        super().__init__()
        self._thread = thread

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread != self._thread.ident


class Server:
    """A server in a thread, from a bound socket to the last closed connection."""

    def __init__(self, port: int, application: Callable[[asyncio.Event], ASGIApp]) -> None:
        self._application = application
        # Named as TCP, or asyncio would leave Nagle's algorithm on: 40 ms on every second answer.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            if os.name == "posix":  # elsewhere it would share the port with its owner
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((HOST, port))
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"opwatch simulator {self.port}", daemon=True
        )
        self._quiet = _Quiet(self._thread)

    def start(self) -> None:
        self._thread.start()
        self._up.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        logger = logging.getLogger("uvicorn.error")
        logger.addFilter(self._quiet)
        try:
            # The loop whose listening socket can be left alone, on every platform.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except BaseException as failure:  # noqa: BLE001 (raised by the thread that waits)
            self._failure = failure
        finally:
            self._loop = None
            logger.removeFilter(self._quiet)
            self._socket.close()
            self._up.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            self._application(self._closing),
            http="h11",
            ws="wsproto",
            ws_ping_interval=30.0,  # as Catenis pings
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            date_header=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
        )
        await _Server(config, self._up, self._closing).serve(sockets=[self._socket])
