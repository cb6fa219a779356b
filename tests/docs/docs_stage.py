"""What stands behind the code of a page while it runs: the simulator in place of the services.

The code names the real addresses, and is what a reader would write. Here every request to one of
them goes to a simulator on loopback instead, with the headers and the signature it has; to any
other address it goes nowhere. The time is a fake clock's, kept in a file, so that the simulator and
every process that a page starts share it and nobody sleeps.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opwatch import clock as clocks
from opwatch import net
from opwatch.net.address import endpoint, is_loopback
from opwatch.net.asynchronous import AsyncIo, AsyncTransport
from opwatch.net.blocking import Transport
from opwatch.net.connection import Io
from opwatch.net.message import Answer, Request
from opwatch.net.websocket import StoppableIo, WebSocket
from opwatch.testing import FakeClock

if TYPE_CHECKING:  # every process that a page starts imports this file, and needs no server
    from opwatch.simulator import Simulator

HERE = Path(__file__).resolve().parent
ORIGINS = frozenset(
    {
        "https://api.bentley.com",
        "https://ims.bentley.com",
        "https://sandbox.catenis.io",
        "https://catenis.io",
        "https://apig.eu-de.otc.t-systems.com",
        "https://iam.eu-de.otc.t-systems.com",
    }
)
NOT_THEIRS = ("hypothesispytest", "randomly", "timeout", "typeguard", "xdist", "xdist.looponfail")
"""Plugins of pytest that this project's own tests bring, and a reader's need not."""
CLOCK, URL = "OPWATCH_DOCS_CLOCK", "OPWATCH_DOCS_URL"
"""The variables by which the processes of a page find the stage."""


class SharedClock(FakeClock):
    """A fake clock whose time stands in a file: a double (children/bin/sleep writes it too)."""

    def __init__(self, file: Path) -> None:
        self._number = os.open(file, os.O_RDWR | os.O_CREAT)
        super().__init__()

    @property
    def _now(self) -> float:
        raw = os.pread(self._number, 8, 0)
        return struct.unpack("d", raw)[0] if len(raw) == 8 else 0.0

    @_now.setter
    def _now(self, value: float) -> None:
        if value > self._now:
            os.pwrite(self._number, struct.pack("d", value), 0)

    def close(self) -> None:
        os.close(self._number)


def rerouted(request: Request) -> Request:
    """A request for one of the services, unencrypted; RuntimeError for any other address."""
    address = request.address
    if is_loopback(endpoint(address)[0]):
        return request
    if address.origin not in ORIGINS:
        raise RuntimeError(f"a page of the documentation asked {address.origin}")
    origin = address.origin.replace("https:", "http:")
    return request._replace(address=address._replace(origin=origin))


def _there(host: str, port: int) -> tuple[str, int]:
    """The simulator's address for every name: the `Host` header stays."""
    if is_loopback(host):
        return host, port
    return "127.0.0.1", int(os.environ[URL].rpartition(":")[2])


class _Io(Io):
    async def addresses(self, host: str, port: int, until: float) -> list[Any]:
        return await super().addresses(*_there(host, port), until)


class _AsyncIo(AsyncIo):
    async def addresses(self, host: str, port: int, until: float) -> list[Any]:
        return await super().addresses(*_there(host, port), until)


class _Rerouted(Transport):
    io = _Io()

    async def request(self, request: Request, end: float) -> Answer:
        return await super().request(rerouted(request), end)


class _AsyncRerouted(AsyncTransport):
    io = _AsyncIo()

    async def request(self, request: Request, end: float) -> Answer:
        return await super().request(rerouted(request), end)


class _StoppableIo(StoppableIo):
    async def addresses(self, host: str, port: int, until: float) -> list[Any]:
        return await super().addresses(*_there(host, port), until)


class _ReroutedSocket(WebSocket):
    open_io = _StoppableIo

    def __init__(self, settings: Any, request: Request, *how: Any) -> None:
        super().__init__(settings, rerouted(request), *how)


def _websocket(settings: Any) -> Any:
    return partial(_ReroutedSocket, settings)


@contextmanager
def network() -> Iterator[None]:
    """The clients made inside reach the simulator."""
    blocking = net.open_blocking.set(_Rerouted)
    asynchronous = net.open_async.set(_AsyncRerouted)
    websocket = net.open_websocket.set(_websocket)
    try:
        yield
    finally:
        net.open_websocket.reset(websocket)
        net.open_async.reset(asynchronous)
        net.open_blocking.reset(blocking)


@contextmanager
def httpx_network() -> Iterator[None]:
    """The httpx clients used inside reach the simulator too."""
    import httpx

    def reroute(request: httpx.Request) -> httpx.Request:
        origin = f"{request.url.scheme}://{request.url.netloc.decode()}"
        if is_loopback(request.url.host):
            return request
        if origin not in ORIGINS:
            raise RuntimeError(f"a page of the documentation asked {origin}")
        request.url = httpx.URL(os.environ[URL]).copy_with(raw_path=request.url.raw_path)
        return request

    blocking, asynchronous = httpx.HTTPTransport, httpx.AsyncHTTPTransport
    send, send_async = blocking.handle_request, asynchronous.handle_async_request
    blocking.handle_request = lambda self, request: send(self, reroute(request))  # type: ignore[method-assign]
    asynchronous.handle_async_request = lambda self, request: send_async(self, reroute(request))  # type: ignore[method-assign]
    try:
        yield
    finally:
        blocking.handle_request = send  # type: ignore[method-assign]
        asynchronous.handle_async_request = send_async  # type: ignore[method-assign]


def enter() -> None:
    """Set this process upon the stage, for as long as it runs."""
    net.open_blocking.set(_Rerouted)
    net.open_async.set(_AsyncRerouted)
    net.open_websocket.set(_websocket)
    clock = SharedClock(Path(os.environ[CLOCK]))
    clocks.current.set(clock)
    time.sleep = clock.sleep


def jobs(simulator: Simulator) -> None:
    """Add the jobs that the pages name: those of `opwatch simulate`, so that readers see the same."""
    from opwatch.cli.simulating import add_examples

    add_examples(simulator)


def variables(simulator: Simulator) -> dict[str, str]:
    """The credentials that the simulator takes, for the services' own addresses."""
    found = {name: value for name, value in simulator.environ.items() if simulator.url not in value}
    return found | {
        "APIG_ENDPOINT": "https://apig.eu-de.otc.t-systems.com",
        "OS_AUTH_URL": "https://iam.eu-de.otc.t-systems.com/v3",
        "no_proxy": "*",
    }


def child_environment(clock: Path, simulator: Simulator, *, staged: bool) -> dict[str, str]:
    """The environment of the processes that a page starts."""
    kept = {name: value for name, value in os.environ.items() if not _is_ours(name)}
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = {**kept, **variables(simulator), "PATH": programs, "COLUMNS": "80", "TERM": "dumb"}
    # Nor its settings: the folder of a page may lie within the project's own.
    without = (f"-p no:{name}" for name in NOT_THEIRS)
    found["PYTEST_ADDOPTS"] = " ".join([*without, f"-c {os.devnull}", "--rootdir=."])
    if not staged:
        return found
    children = HERE / "children"
    return {
        **found,
        "PATH": os.pathsep.join([str(children / "bin"), programs]),
        "PYTHONPATH": os.pathsep.join([str(children), str(HERE), os.environ.get("PYTHONPATH", "")]),
        CLOCK: str(clock),
        URL: simulator.url,
    }


def _is_ours(name: str) -> bool:
    """Whether a variable would make a child behave as the test run it is started from."""
    return name.startswith(("PYTEST", "COV", "CATENIS_", "ITWIN_", "APIG_", "OS_", "HUAWEICLOUD_"))
