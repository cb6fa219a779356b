"""The ASGI application: passes requests to simulations, and checks their answers.

Rate limits and scripted failures come first, then the service's own handler. Its answer is checked
against the service's strict wire model before it is sent; an invalid one is a problem of the
simulator, which fails the test. It knows no service.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from email.utils import formatdate
from typing import Protocol

import attrs
from starlette.routing import Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opwatch.errors import ConfigurationError
from opwatch.simulator.simulation import Exchange, Handler, Refused, Reply, Simulation
from opwatch.simulator.state import Job, Request, State
from opwatch.simulator.timeline import Frame

MOST_BODY = 64 * 1024
"""Bytes of a request's body; each service takes much less."""
_SECRET_HEADERS = frozenset({"authorization", "x-auth-token", "x-security-token", "cookie"})
CLOSING = "opwatch.closing"


class Closing(Protocol):
    """An event that is set when the simulator stops; a silent frame waits for it."""

    async def wait(self) -> object: ...


# --- from a frame to a reply ----------------------------------------------------------------------


def answer(
    simulation: Simulation, state: State, frame: Frame, operation: str, job: Job | None = None
) -> Reply:
    """Return a service's answer for a frame."""
    headers = dict(frame.headers)
    if frame.retry_after is not None:
        headers.setdefault("Retry-After", _retry_after(frame.retry_after, state))
    job_id = None if job is None else job.id
    if frame.silent or frame.raw is not None:
        headers.setdefault("Content-Type", "text/html; charset=utf-8")
        return Reply(
            status=frame.status or 200,
            raw=frame.raw or b"",
            headers=headers,
            cut=frame.cut,
            silent=frame.silent,
            job_id=job_id,
        )
    status, body = frame.status or 200, frame.body
    if frame.is_refusal:
        status, body = simulation.refusal(frame, operation)
    elif frame.is_state:
        body = simulation.body(frame, job, operation)
    return Reply(
        status=status,
        body=body,
        model=None if frame.is_undocumented else simulation.model(operation, status),
        headers={**simulation.headers(operation, status), **headers},
        cut=frame.cut,
        job_id=job_id,
    )


def check(simulation: Simulation, state: State, frame: Frame, operation: str, job: Job) -> None:
    """Raise `ConfigurationError` for a frame that the service's document doesn't allow."""
    try:
        content(answer(simulation, state, frame, operation, job))
    except ValueError as error:
        raise ConfigurationError(f"{simulation.name} can't send {frame}: {error}") from error


def content(reply: Reply) -> bytes:
    """Return the bytes of a reply's body; raise `ValueError` if its model doesn't allow them."""
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
        reply = self._reply(exchange)
        body = content(reply)
        job_id = reply.job_id or exchange.params.get("job_id")
        name, status = self.simulation.name, None if reply.silent else reply.status
        self.state.note(record(exchange, self.state, name, self.operation, job_id, status))
        if reply.silent:
            await scope[CLOSING].wait()
        else:
            await _send(reply, body, self.state, send)

    def _reply(self, exchange: Exchange) -> Reply:
        frame = self._disturbance()
        if frame is None:
            try:
                return self.handler(exchange)
            except Refused as refused:
                frame = refused.frame
        return answer(self.simulation, self.state, frame, self.operation)

    def _disturbance(self) -> Frame | None:
        name = self.simulation.name
        frame = self.state.disturbance(name, self.operation)
        if frame is None and self.operation != "token":
            left = self.state.excess(name)
            if left is not None:
                return attrs.evolve(self.simulation.rate_limit(self.operation), retry_after=left)
        return frame


@attrs.frozen(eq=False)
class _Nowhere:
    """An ASGI application: a path that no service has."""

    state: State

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            self.state.note(record(request_of(scope), self.state, None, None, None, 403))
            await send({"type": "websocket.close"})
            return
        exchange = await _exchange(scope, receive)
        self.state.note(record(exchange, self.state, None, None, None, 404))
        reply = Reply(status=404, body={"detail": "no service has this path"})
        await _send(reply, content(reply), self.state, send)


@attrs.frozen(eq=False)
class _Guard:
    """An ASGI application that records the exceptions of another one as problems."""

    app: ASGIApp
    state: State
    closing: Closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app({**scope, CLOSING: self.closing}, receive, watched)
        except _TooLong:
            reply = Reply(status=413, body={"detail": "the request's body is too long"})
            self.state.note(record(request_of(scope), self.state, None, None, None, 413))
            await _send(reply, content(reply), self.state, send)
        except Exception as error:  # noqa: BLE001 (reported when the simulator stops)
            is_http = scope["type"] == "http"
            method = scope["method"] if is_http else "WebSocket"
            text = f"{method} {scope['path']}: {type(error).__name__}: {error}"
            self.state.problem(text)
            if is_http and not has_begun:
                await _send(_broken(text), _broken(text).raw or b"", self.state, send)


def _broken(text: str) -> Reply:
    return Reply(
        status=500,
        raw=f"the simulator has a problem: {text}\n".encode(),
        headers={"Content-Type": "text/plain; charset=utf-8"},
    )


def application(state: State, simulations: Iterable[Simulation], closing: Closing) -> ASGIApp:
    """Return the application that serves the simulations."""
    routes = [route for simulation in simulations for route in simulation.routes(state)]
    return _Guard(Router(routes, redirect_slashes=False, default=_Nowhere(state)), state, closing)


# --- in and out -----------------------------------------------------------------------------------


class _TooLong(Exception):
    """A request's body is longer than `MOST_BODY`."""


async def _exchange(scope: Scope, receive: Receive) -> Exchange:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MOST_BODY:
            raise _TooLong
    return request_of(scope, body)


def request_of(scope: Scope, body: bytes = b"") -> Exchange:
    """Return the request that a scope describes; one that opens a WebSocket is a GET."""
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    headers = (
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    )
    params = scope.get("path_params", {})
    peer = scope.get("client")
    return Exchange(
        scope.get("method", "GET"),
        target.decode("latin-1"),
        tuple(headers),
        body,
        params,
        None if peer is None else peer[1],
    )


def record(
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
        exchange.connection,
    )


def _redacted(headers: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    return {name: _hidden(value) if name in _SECRET_HEADERS else value for name, value in headers}


def _hidden(value: str) -> str:
    scheme, space, _ = value.partition(" ")
    return f"{scheme} ***" if space else "***"


def response_headers(reply: Reply, body: bytes, state: State) -> list[tuple[bytes, bytes]]:
    headers = {
        "date": formatdate(state.epoch(), usegmt=True),
        "content-type": "application/json; charset=utf-8",
        "content-length": str(len(body)),
        **{name.lower(): value for name, value in reply.headers.items()},
    }
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def _send(reply: Reply, body: bytes, state: State, send: Send) -> None:
    headers = response_headers(reply, body, state)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if reply.cut:
        # Less than was announced: the server closes the connection.
        half = body[: len(body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
    else:
        await send({"type": "http.response.body", "body": body})
