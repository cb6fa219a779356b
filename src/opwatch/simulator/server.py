"""`Simulator`: a real server on loopback, which a test controls.

It runs in a thread of this process until its `with` block ends. It knows no service: simulations
come from the entry points `opwatch.simulators` of any installed package.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from importlib.metadata import entry_points
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import attrs
import uvicorn
from starlette.types import ASGIApp

from opwatch import clock as clocks
from opwatch import services
from opwatch.client import AsyncClient, Client
from opwatch.clock import Clock
from opwatch.errors import ConfigurationError
from opwatch.simulator.app import application, check
from opwatch.simulator.simulation import Simulation
from opwatch.simulator.state import Disturbance, Job, Request, State
from opwatch.simulator.timeline import Frame, Script
from opwatch.simulator.webhooks import Webhook

if TYPE_CHECKING:  # for who reads types; no service is known here otherwise
    import opwatch

GROUP = "opwatch.simulators"
HOST = "127.0.0.1"
KEEP_ALIVE = 600
"""Seconds an idle connection is kept: longer than any client's longest delay."""
_LAST_ANSWERS = 0.5
"""Seconds for the answers in progress when the simulator stops."""


class SimulatorProblem(AssertionError):
    """The simulator sent an answer that its service's spec doesn't allow, or failed itself."""


# Reading the entry points of a whole environment takes 10 ms and more, so it is done once.
@functools.cache
def installed() -> tuple[Simulation, ...]:
    """Return the installed simulations, ours and those of other packages."""
    return tuple(entry.load() for entry in entry_points(group=GROUP))


_plugin = functools.cache(services.find)


class Simulator:
    """Simulates the services on a port of this machine.

    `port` 0 picks a free port. `clock` is the clock of timelines, tokens and signatures, and of the
    clients made here, so nothing sleeps inside an `opwatch.testing.FakeClock`. `extra` simulations
    are served in addition to the installed ones. `on_request` is called with each `Request`, from
    the serving thread.

    Use it as a context manager: it is ready when entered, and stops on exit. The exit raises
    `SimulatorProblem` if there are `problems` that the test didn't look at.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        clock: Clock | None = None,
        extra: Iterable[Simulation] = (),
        on_request: Callable[[Request], object] | None = None,
    ) -> None:
        self._port = port
        self._simulations = {one.name: one for one in [*installed(), *extra]}
        self._clients: list[Client[Any]] = []
        self._webhooks: list[Webhook] = []
        self._thread: _Thread | None = None
        self.state = State(clock or clocks.current.get(), on_request)

    # --- running ---

    def start(self) -> None:
        """Start serving in a thread. Raises `OSError` if the port is in use."""
        if self._thread is not None:
            raise ConfigurationError("the simulator is already running")
        served = self._simulations.values()
        thread = _Thread(self._port, lambda closing: application(self.state, served, closing))
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """Close every connection and the clients that `client` made, and end the threads."""
        while self._webhooks:
            self._webhooks.pop().stop()
        while self._clients:
            self._clients.pop().close()
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if not self.problems:
            return
        if error is None:
            raise SimulatorProblem("\n".join(self.problems))
        error.add_note("\n".join(["the simulator had problems:", *self.problems]))

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`. Raises `ConfigurationError` if the simulator isn't running."""
        if self._thread is None:
            raise ConfigurationError("the simulator isn't running; use it in a with block")
        return f"http://{HOST}:{self._thread.port}"

    # --- reaching it ---

    @property
    def services(self) -> list[str]:
        """The names of the simulated services."""
        return sorted(self._simulations)

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that connect every client's `from_env` to the simulator."""
        found: dict[str, str] = {}
        for simulation in self._simulations.values():
            found |= simulation.environ(self.url)
        return found

    def arguments(self, service: str) -> dict[str, Any]:
        """Return arguments for a service's client of this simulator, with made-up credentials."""
        return self.simulation(service).arguments(self.url)

    @overload
    def client(self, service: Literal["catenis"], **options: Any) -> opwatch.Catenis: ...
    @overload
    def client(self, service: Literal["itwin"], **options: Any) -> opwatch.ITwin: ...
    @overload
    def client(self, service: Literal["itwin-v2"], **options: Any) -> opwatch.ITwinV2: ...
    @overload
    def client(self, service: Literal["apig"], **options: Any) -> opwatch.Apig: ...
    @overload
    def client(self, service: str, **options: Any) -> Client[Any]: ...
    def client(self, service: str, **options: Any) -> Client[Any]:
        """Return a blocking client of a service; it is closed when the simulator stops.

        `options` are any arguments of the client, including other credentials.
        """
        arguments = {**self.arguments(service), **options}
        made = _plugin(service).client(**arguments)
        self._clients.append(made)
        return made

    @overload
    def async_client(self, service: Literal["catenis"], **options: Any) -> opwatch.AsyncCatenis: ...
    @overload
    def async_client(self, service: Literal["itwin"], **options: Any) -> opwatch.AsyncITwin: ...
    @overload
    def async_client(
        self, service: Literal["itwin-v2"], **options: Any
    ) -> opwatch.AsyncITwinV2: ...
    @overload
    def async_client(self, service: Literal["apig"], **options: Any) -> opwatch.AsyncApig: ...
    @overload
    def async_client(self, service: str, **options: Any) -> AsyncClient[Any]: ...
    def async_client(self, service: str, **options: Any) -> AsyncClient[Any]:
        """Return an async client; the caller closes it in the event loop in which it was used."""
        arguments = {**self.arguments(service), **options}
        return _plugin(service).async_client(**arguments)

    def simulation(self, service: str) -> Simulation:
        """Return the simulation of a service; `ConfigurationError` lists the services."""
        if (found := self._simulations.get(service)) is None:
            known = ", ".join(self.services)
            raise ConfigurationError(f"no simulation of {service!r}; the services are {known}")
        return found

    def token(self, service: str) -> str:
        """Issue a token for a service, without a request; it lasts as long as any other.

        Raises `ConfigurationError` if the service has no tokens.
        """
        return self.simulation(service).token(self.state)

    # --- jobs ---

    def add(self, service: str, job_id: str, timeline: Script) -> Job:
        """Add a job and its script: frames by time (a list), `Polls`, or a single `Frame`.

        Raises `ConfigurationError` for an ID that already exists, and for a frame that the
        service's document doesn't allow (except `raw` ones, which are sent unchanged).
        """
        simulation = self.simulation(service)
        job = self.state.add(service, job_id, timeline)
        try:
            for frame in job.frames:
                check(simulation, self.state, frame, "progress", job)
                if frame.lookup is not None:
                    check(simulation, self.state, frame.lookup, "job", job)
        except ConfigurationError:
            self.state.remove(service, job_id)
            raise
        return job

    def webhook(self, service: str, url: str, *, secret: str, version: int = 1) -> None:
        """POST a signed event to `url` when a job of a service ends: iTwin's `jobCompleted`.

        Raises `ConfigurationError` for a service without webhooks, and for a remote address.
        """
        simulation = self.simulation(service)
        self._webhooks.append(Webhook(self.state, simulation, url, secret, version))

    def job(self, service: str, job_id: str) -> Job:
        """Return the job with that ID; raise `ConfigurationError` if it wasn't added."""
        if (found := self.state.job(service, job_id)) is None:
            raise ConfigurationError(f"{service} has no job {job_id!r}")
        return found

    # --- requests and problems ---

    @property
    def requests(self) -> list[Request]:
        """Every request so far, at most the last 100,000."""
        return self.state.requests_of(None)

    @property
    def problems(self) -> list[str]:
        """The simulator's own errors so far."""
        with self.state.lock:
            return list(self.state.problems)

    def wait_for_requests(
        self, count: int, *, service: str | None = None, timeout: float = 30.0
    ) -> list[Request]:
        """Return all requests (of one service) once there are `count`, or raise `TimeoutError`."""
        found = self.state.wait_for(count, service, timeout)
        if len(found) < count:
            raise TimeoutError(f"{len(found)} of {count} requests arrived within {timeout:g} s")
        return found

    # --- controls ---

    @property
    def skew(self) -> float:
        """Seconds by which the services' clocks are ahead of `clock`."""
        return self.state.skew

    @skew.setter
    def skew(self, seconds: float) -> None:
        self.state.skew = seconds

    def set_token_life(self, seconds: float, *, service: str | None = None) -> None:
        """How long tokens last that are issued from now on, in seconds."""
        names = self.services if service is None else [self.simulation(service).name]
        for name in names:
            self.state.token_life[name] = seconds

    def revoke_tokens(self, service: str | None = None) -> None:
        """Refuse every token issued so far, by a service or by all."""
        self.state.revoke(service)

    def disturb(
        self,
        service: str,
        frame: Frame,
        *,
        times: int | None = 1,
        seconds: float | None = None,
        operation: str | None = None,
    ) -> None:
        """Answer the next `times` requests to a service, or all for `seconds`, with `frame`.

        Without both (`times=None`), it lasts until `calm`. `operation` is `"progress"`, `"job"` or
        `"token"`; None is everything except tokens.
        """
        until = None if seconds is None else self.state.clock.now() + seconds
        left = None if seconds is not None else times
        self.simulation(service)
        self.state.disturb(Disturbance(service, operation, frame, left, until))

    def rate_limit(
        self,
        service: str,
        *,
        times: int = 1,
        retry_after: float | timedelta | str | None = None,
    ) -> None:
        """Answer the next `times` requests with the service's 429.

        `retry_after` is in seconds; a timedelta is sent as an HTTP-date, a string unchanged.
        """
        frame = self.simulation(service).rate_limit("progress")
        self.disturb(service, attrs.evolve(frame, retry_after=retry_after), times=times)

    def limit(self, service: str, requests: int, *, seconds: float) -> None:
        """Limit a service to that many requests per `seconds`, and refuse the others."""
        self.simulation(service)
        self.state.limit(service, requests, seconds)

    def fail_tokens(
        self,
        service: str,
        *,
        times: int | None = 1,
        seconds: float | None = None,
        status: int = 503,
    ) -> None:
        """Let the token endpoint of a service fail, for a number of requests or seconds."""
        self.disturb(service, Frame(status=status), times=times, seconds=seconds, operation="token")

    def calm(self, service: str | None = None) -> None:
        """End all disturbances, rate limits and token failures, of one service or of all."""
        self.state.calm(service)

    def __repr__(self) -> str:
        return f"<Simulator at {self.url}>" if self._thread else "<Simulator, not running>"


# --- the thread that serves -----------------------------------------------------------------------


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


class _Thread:
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
