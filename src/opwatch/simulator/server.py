"""`Simulator`: a real server on loopback, which a test controls.

It runs in a thread of this process until its `with` block ends. It knows no service: simulations
come from the entry points `opwatch.simulators` of any installed package.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from datetime import timedelta
from importlib.metadata import entry_points
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import attrs

from opwatch import services
from opwatch.client import AsyncClient, Client
from opwatch.clock import Clock
from opwatch.core.polling import checked
from opwatch.errors import ConfigurationError
from opwatch.simulator.app import application, check
from opwatch.simulator.serving import HOST, Server
from opwatch.simulator.simulation import Simulation
from opwatch.simulator.state import Disturbance, Job, Request, State
from opwatch.simulator.timeline import Frame, Frames
from opwatch.simulator.webhooks import Webhook

if TYPE_CHECKING:  # for who reads types; no service is known here otherwise
    import opwatch

GROUP = "opwatch.simulators"


class SimulatorProblem(AssertionError):
    """The simulator sent a response that the service's spec doesn't allow, or failed itself."""


# Reading the entry points of a whole environment takes 10 ms and more, so it is done once.
@functools.cache
def installed() -> tuple[Simulation, ...]:
    """Return the installed simulations, ours and those of other packages."""
    return tuple(entry.load() for entry in entry_points(group=GROUP))


_plugin = functools.cache(services.find)


class Simulator:
    """Simulates the services on a port of this machine.

    `port` 0 picks a free port. `clock` is the clock for timelines, tokens and signatures, and for
    the simulator's clients; by default, it is the current one at the first request, so nothing
    sleeps inside an `opwatch.testing.FakeClock`. `extra` simulations are served in addition to the
    installed ones. `on_request` is called with each `Request`, from the serving thread. With
    `strict_domains`, a login to APIG that names a project must also name its domain, as OpenStack's
    Keystone requires.

    Use it as a context manager: it is ready when entered, and stops on exit. On exit, it raises
    `SimulatorProblem` if there are `problems` that the test didn't look at.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        clock: Clock | None = None,
        extra: Iterable[Simulation] = (),
        on_request: Callable[[Request], object] | None = None,
        strict_domains: bool = False,
    ) -> None:
        self._port = port
        self._simulations = {one.name: one for one in [*installed(), *extra]}
        self._clients: list[Client[Any]] = []
        self._webhooks: list[Webhook] = []
        self._thread: Server | None = None
        self.state = State(clock, on_request)
        self.strict_domains = strict_domains

    # --- running ---

    def start(self) -> None:
        """Start serving in a thread. Raises `OSError` if the port is in use."""
        if self._thread is not None:
            raise ConfigurationError("the simulator is already running")
        served = self._simulations.values()
        thread = Server(self._port, lambda closing: application(self.state, served, closing))
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
        """Return a blocking client for a service; it is closed when the simulator stops.

        `options` are any arguments of the client, including other credentials.
        """
        arguments = {**self.arguments(service), **options}
        with self.state.clock.used():
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
        """Return an async client; the caller must close it in the event loop that used it."""
        arguments = {**self.arguments(service), **options}
        with self.state.clock.used():
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

    def add(self, service: str, job_id: str, timeline: Frames) -> Job:
        """Add a job. `timeline` is a list of frames by time, `Polls`, `Timed` or a single `Frame`.

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

    def webhook(
        self, service: str, url: str, *, secret: str, version: Literal[1, 2] | None = None
    ) -> Webhook:
        """POST a signed event to `url` when a job of a service ends: iTwin's `jobCompleted`.

        `version` is the event's version, by default 1 for `itwin` and 2 for `itwin-v2`. Returns the
        webhook, which ends when it or the simulator is stopped. A failed delivery is repeated
        twice; if all fail, a warning to the logger `opwatch` says why. Raises `ConfigurationError`
        for a service without webhooks, and for an address that isn't on this machine.
        """
        checked(version, "version", version in (None, 1, 2), "1, 2 or None")
        simulation = self.simulation(service)
        self._webhooks.append(Webhook(self.state, simulation, url, secret, version))
        return self._webhooks[-1]

    def job(self, service: str, job_id: str) -> Job:
        """Return the job with that ID; raise `ConfigurationError` if it wasn't added."""
        if (found := self.state.job(service, job_id)) is None:
            raise ConfigurationError(f"{service} has no job {job_id!r}")
        return found

    # --- requests and problems ---

    @property
    def requests(self) -> list[Request]:
        """The requests received so far, at most the last 100,000."""
        return self.state.requests_of(None)

    @property
    def problems(self) -> list[str]:
        """The simulator's own errors so far."""
        with self.state.lock:
            return list(self.state.problems)

    def wait_for_requests(
        self, count: int, *, service: str | None = None, timeout: float = 30.0
    ) -> list[Request]:
        """Return all requests (to one service) once there are `count`, or raise `TimeoutError`."""
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

    @property
    def strict_domains(self) -> bool:
        """Whether a login that names a project must also name its domain."""
        return self.state.strict_domains

    @strict_domains.setter
    def strict_domains(self, strict: bool) -> None:
        self.state.strict_domains = strict

    def set_token_life(self, seconds: float, *, service: str | None = None) -> None:
        """Set how long tokens issued from now on last, in seconds."""
        names = self.services if service is None else [self.simulation(service).name]
        for name in names:
            self.state.token_life[name] = seconds

    def revoke_tokens(self, service: str | None = None) -> None:
        """Refuse every token that a service (None: any) has issued so far."""
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
        """Respond with `frame` to the next `times` requests to a service, or to all requests for
        `seconds`.

        With `times=None` and no `seconds`, this lasts until `calm`. `operation` is `"progress"`,
        `"job"` (the second request of a poll), `"token"` or `"notifications"`; None is everything
        except tokens. Raises `ConfigurationError` for an operation that the service doesn't have.
        """
        until = None if seconds is None else self.state.clock.now() + seconds
        left = None if seconds is not None else times
        routes = self.simulation(service).routes(self.state)
        served = {getattr(getattr(route, "endpoint", None), "operation", None) for route in routes}
        if operation not in {None, *served}:
            names = ", ".join(sorted(repr(one) for one in served if one not in (None, "other")))
            problem = f"must be None or one of {names} for {service}, not {operation!r:.40}"
            raise ConfigurationError(problem, argument="operation")
        self.state.disturb(Disturbance(service, operation, frame, left, until))

    def rate_limit(
        self,
        service: str,
        *,
        times: int = 1,
        retry_after: float | timedelta | str | None = None,
    ) -> None:
        """Respond to the next `times` requests with the service's 429.

        `retry_after` is in seconds; a timedelta is sent as an HTTP-date, a string unchanged.
        """
        frame = self.simulation(service).rate_limit("progress")
        self.disturb(service, attrs.evolve(frame, retry_after=retry_after), times=times)

    def limit(self, service: str, requests: int, *, seconds: float) -> None:
        """Limit a service to that many requests per `seconds`, and respond to the others with its
        429."""
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
        """Make a service's token endpoint fail, for a number of requests or seconds."""
        self.disturb(service, Frame(status=status), times=times, seconds=seconds, operation="token")

    def calm(self, service: str | None = None) -> None:
        """End all disturbances, rate limits and token failures of a service (None: all)."""
        self.state.calm(service)

    def __repr__(self) -> str:
        return f"<Simulator at {self.url}>" if self._thread else "<Simulator, not running>"
