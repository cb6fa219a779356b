"""A notification channel, simulated: a WebSocket on which a service reports the ends of its jobs.

It knows no service: the simulation decides what a client must send first, and what an event says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
from starlette.types import Message, Receive, Scope, Send

from opwatch.simulator.app import CLOSING, answer, content, record, request_of, response_headers
from opwatch.simulator.simulation import Exchange, Reply, Simulation
from opwatch.simulator.state import Ends, Job, State

HELLO_TIMEOUT = 5.0
"""Seconds that a client has to authenticate itself."""
TICK = 0.02
"""Seconds between two looks for jobs that have ended."""


@attrs.frozen(eq=False)
class Channel:
    """An ASGI application: the channel of one service."""

    simulation: Simulation
    state: State
    subprotocol: str
    is_served: Callable[[Exchange], bool]
    refusal: Callable[[Exchange, str | None], str | None]
    """What is wrong with the first message (None if none came in time), if anything is."""
    confirmation: str
    event: Callable[[Job], Reply]
    operation: str = "notifications"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = request_of(scope)
        is_offered = self.subprotocol in scope["subprotocols"]
        frame = self.state.disturbance(self.simulation.name, self.operation)
        reply = Reply(status=101 if is_offered and self.is_served(exchange) else 404, raw=b"")
        if frame is not None and not frame.silent:
            reply = answer(self.simulation, self.state, frame, "progress")
        note = record(
            exchange, self.state, self.simulation.name, self.operation, None, reply.status
        )
        self.state.note(note)
        await receive()  # a client wants to connect
        if reply.status != 101:
            await refuse(reply, self.state, send)
            return
        await send({"type": "websocket.accept", "subprotocol": self.subprotocol})
        closing = asyncio.ensure_future(scope[CLOSING].wait())
        try:
            with suppress(OSError):  # how uvicorn reports a client that is gone
                if frame is None:
                    await self._serve(exchange, receive, send, closing)
                else:
                    await closing
        finally:
            closing.cancel()

    async def _serve(
        self, exchange: Exchange, receive: Receive, send: Send, closing: asyncio.Future[Any]
    ) -> None:
        first = await _until(closing, receive(), HELLO_TIMEOUT)
        if problem := self.refusal(exchange, (first or {}).get("text")):
            await send({"type": "websocket.close", "code": 1002, "reason": problem})
            return
        ends = Ends(self.state, self.simulation.name)
        await send({"type": "websocket.send", "text": self.confirmation})
        coming: asyncio.Future[Message] = asyncio.ensure_future(receive())
        while not closing.done():
            await asyncio.wait({closing, coming}, timeout=TICK, return_when="FIRST_COMPLETED")
            if coming.done():
                if coming.result()["type"] == "websocket.disconnect":
                    return
                coming = asyncio.ensure_future(receive())  # only the first message counts
            for job in ends.new():
                text = content(self.event(job)).decode()
                await send({"type": "websocket.send", "text": text})
        coming.cancel()


async def _until(closing: asyncio.Future[Any], coming: Any, timeout: float) -> Any:
    """Return what comes, or None if the simulator stops before, or the time is up."""
    task = asyncio.ensure_future(coming)
    await asyncio.wait({closing, task}, timeout=timeout, return_when="FIRST_COMPLETED")
    if task.done():
        return task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return None


async def refuse(reply: Reply, state: State, send: Send) -> None:
    """Answer with HTTP instead of opening a WebSocket."""
    body = content(reply)
    headers = response_headers(reply, body, state)
    await send(
        {"type": "websocket.http.response.start", "status": reply.status, "headers": headers}
    )
    await send({"type": "websocket.http.response.body", "body": body})
