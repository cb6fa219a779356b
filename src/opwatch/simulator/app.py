"""The application: each request through what all services have in common, and out again checked.

Rate limits and scripted failures come first, then the service's own handler. What it answers is
held against the service's strict wire model before it leaves; what does not pass is a problem of
the simulator, which the test is told. It knows no service.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from email.utils import formatdate
from typing import Any, Protocol

import attrs
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from opwatch.errors import ConfigurationError
from opwatch.simulator.simulation import Exchange, Handler, Refused, Reply, Simulation
from opwatch.simulator.state import Job, Request, State
from opwatch.simulator.timeline import Frame

_SECRET_HEADERS = frozenset({"authorization", "x-auth-token", "x-security-token", "cookie"})


class Closing(Protocol):
    """What a silent frame waits for."""

    async def wait(self) -> object: ...


# --- from a frame to a reply ----------------------------------------------------------------------


def answer(
    simulation: Simulation, state: State, frame: Frame, operation: str, job: Job | None = None
) -> Reply:
    """What a frame is in the words of a service."""
    headers = dict(frame.headers)
    if frame.retry_after is not None:
        headers.setdefault("Retry-After", _retry_after(frame.retry_after, state))
    status, body, raw = frame.status or 200, frame.body, frame.raw
    if raw is not None:
        headers.setdefault("Content-Type", "text/html; charset=utf-8")
    elif frame.is_refusal:
        status, body = simulation.refusal(frame, operation)
    elif frame.is_state:
        body = simulation.body(frame, job, operation)
    exact = raw is not None or frame.silent
    return Reply(
        status=status,
        body=body,
        model=None if exact else simulation.model(operation, status),
        headers={**({} if exact else simulation.headers(operation, status)), **headers},
        raw=raw,
        cut=frame.cut,
        silent=frame.silent,
        job_id=None if job is None else job.id,
    )


def fault(simulation: Simulation, state: State, frame: Frame, operation: str, job: Job) -> None:
    """`ConfigurationError` for a frame that the service's document does not allow."""
    try:
        content(answer(simulation, state, frame, operation, job))
    except ValueError as error:
        raise ConfigurationError(f"{simulation.name} cannot answer {frame}: {error}") from error


def content(reply: Reply) -> bytes:
    """The bytes of a reply's body; `ValueError` where they are not what its model allows."""
    if reply.raw is not None:
        return reply.raw
    body = json.dumps(reply.body).encode()
    if reply.model is not None:
        reply.model.model_validate_json(body)
    return body


def _retry_after(value: float | timedelta | str, state: State) -> str:
    if isinstance(value, timedelta):
        return formatdate(math.ceil(state.epoch() + value.total_seconds()), usegmt=True)
    return value if isinstance(value, str) else f"{math.ceil(value)}"


# --- one request ----------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Endpoint:
    """An ASGI application: one operation of one service."""

    simulation: Simulation
    state: State
    operation: str
    handler: Handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = await _exchange(scope, receive)
        reply = self._checked(exchange)
        if not reply.silent:
            await _send(reply, self.state, send, lambda: self._note(exchange, reply, reply.status))
            return
        self._note(exchange, reply, None)
        closing: Closing = scope["app"].state.closing
        await closing.wait()

    def _checked(self, exchange: Exchange) -> Reply:
        try:
            reply = self._reply(exchange)
            content(reply)
        except ValidationError as error:
            return self._problem(exchange, f"an answer that breaks its spec: {error}")
        except Exception as error:  # noqa: BLE001 (reported when the simulator stops)
            return self._problem(exchange, f"{type(error).__name__}: {error}")
        return reply

    def _reply(self, exchange: Exchange) -> Reply:
        frame, job_id = self._disturbance(), exchange.params.get("job_id")
        if frame is None:
            try:
                return self.handler(exchange)
            except Refused as refused:
                frame, job_id = refused.frame, refused.job_id or job_id
        return attrs.evolve(
            answer(self.simulation, self.state, frame, self.operation), job_id=job_id
        )

    def _disturbance(self) -> Frame | None:
        name = self.simulation.name
        frame = self.state.disturbance(name, self.operation)
        if frame is None and self.operation != "token":
            left = self.state.excess(name)
            if left is not None:
                return attrs.evolve(self.simulation.rate_limit(self.operation), retry_after=left)
        return frame

    def _problem(self, exchange: Exchange, text: str) -> Reply:
        where = f"{self.simulation.name} {exchange.method} {exchange.target}"
        self.state.problem(f"{where}: {text}")
        return Reply(
            status=500,
            raw=f"The simulator has a problem. {where}: {text}\n".encode(),
            headers={"Content-Type": "text/plain; charset=utf-8"},
        )

    def _note(self, exchange: Exchange, reply: Reply, status: int | None) -> None:
        job_id = reply.job_id or exchange.params.get("job_id")
        name = self.simulation.name
        self.state.note(_record(exchange, self.state, name, self.operation, job_id, status))


@attrs.frozen(eq=False)
class Nowhere:
    """An ASGI application: a path that no service has."""

    state: State

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = await _exchange(scope, receive)
        reply = Reply(status=404, body={"detail": "no service has this path"})
        note = _record(exchange, self.state, None, None, None, 404)
        await _send(reply, self.state, send, lambda: self.state.note(note))


def application(
    state: State, simulations: Iterable[Simulation], closing: Closing | None = None
) -> Starlette:
    """The application that serves the simulations."""
    routes = [route for simulation in simulations for route in simulation.routes(state)]
    app = Starlette(routes=[*routes, Route("/{path:path}", Nowhere(state))])
    app.router.redirect_slashes = False
    app.state.closing = closing
    return app


async def _exchange(scope: Scope, receive: Receive) -> Exchange:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    headers = (
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    )
    return Exchange(
        scope["method"],
        target.decode("latin-1"),
        tuple(headers),
        body,
        scope.get("path_params", {}),
    )


def _record(
    exchange: Exchange,
    state: State,
    service: str | None,
    operation: str | None,
    job_id: str | None,
    status: int | None,
) -> Request:
    return Request(
        state.epoch(),
        service,
        operation,
        job_id,
        exchange.method,
        exchange.target,
        status,
        _redacted(exchange.headers),
    )


def _redacted(headers: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    return {name: _hidden(value) if name in _SECRET_HEADERS else value for name, value in headers}


def _hidden(value: str) -> str:
    scheme, space, _ = value.partition(" ")
    return f"{scheme} ***" if space else "***"


async def _send(reply: Reply, state: State, send: Send, note: Any) -> None:
    body = content(reply)
    headers = {
        "Date": formatdate(state.epoch(), usegmt=True),
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(body)),
        **reply.headers,
    }
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    note()
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    if reply.cut:
        # Less than was announced: the server closes the connection.
        await send(
            {"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True}
        )
        return
    await send({"type": "http.response.body", "body": body})
