"""The interface of a service's simulation, and its values.

A service is simulated by one object with the interface `Simulation`, found through the entry points
`opwatch.simulators`. It turns frames into the service's answers and checks requests; the simulator
does the rest: serving, rate limits, failures, records, and checking bodies against the wire models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import attrs
from pydantic import BaseModel
from starlette.routing import BaseRoute

from opwatch.progress import Phase
from opwatch.simulator.state import Job, State
from opwatch.simulator.timeline import Frame, Timeline


@attrs.frozen
class Exchange:
    """A request, as it was received."""

    method: str
    target: str
    """Path and query, byte for byte."""
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    """Names in lower case."""
    body: bytes = attrs.field(repr=False)
    params: Mapping[str, str]
    """The parts of the path, decoded."""
    connection: int | None = None
    """The client's port."""

    def header(self, name: str) -> str | None:
        """All headers of that name, joined by a comma; None if there is none."""
        found = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(found) if found else None

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@attrs.frozen(kw_only=True)
class Reply:
    """The answer to a request."""

    status: int
    body: Any = None
    """A JSON value."""
    model: type[BaseModel] | None = None
    """What `body` must be; None if it is deliberately anything."""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    raw: bytes | None = None
    """Bytes to send instead of `body`."""
    cut: bool = False
    silent: bool = False
    job_id: str | None = None


class Refused(Exception):
    """Raised by a handler: the request is answered with this refusal."""

    def __init__(self, frame: Frame, *, job_id: str | None = None) -> None:
        super().__init__(frame.error or str(frame.status))
        self.frame = frame
        self.job_id = job_id


@attrs.frozen
class Demo:
    """A service's job that `make demo` watches."""

    job_id: str
    timeline: Timeline
    ending: Phase
    """The phase in which it ends."""


Handler: TypeAlias = Callable[[Exchange], Reply]


class Simulation(Protocol):
    """One service, simulated: the value of an entry point `opwatch.simulators`."""

    @property
    def name(self) -> str: ...

    @property
    def demo(self) -> Demo: ...

    def routes(self, state: State) -> Sequence[BaseRoute]:
        """The endpoints it serves; `opwatch.simulator.app.Endpoint` implements what they have in
        common."""
        ...

    def environ(self, url: str) -> dict[str, str]:
        """The environment variables that connect the client's `from_env` to it at `url`."""
        ...

    def arguments(self, url: str) -> dict[str, Any]:
        """The arguments that connect the service's clients to it at `url`."""
        ...

    def token(self, state: State) -> str:
        """Return a valid token; raise `ConfigurationError` if the service has none."""
        ...

    def body(self, frame: Frame, job: Job | None, operation: str) -> Any:
        """Return the JSON value of a 200 response; raise `ConfigurationError` for a state that the
        service doesn't have."""
        ...

    def refusal(self, frame: Frame, operation: str) -> tuple[int, Any]:
        """Return the status and JSON value of an error response; raise `ConfigurationError` for an
        unknown code."""
        ...

    def rate_limit(self, operation: str) -> Frame:
        """Return the response to too many requests."""
        ...

    def model(self, operation: str, status: int) -> type[BaseModel] | None:
        """Return the strict wire model of a response with that status."""
        ...

    def headers(self, operation: str, status: int) -> dict[str, str]:
        """Return the headers to add to a response with that status."""
        ...
