"""Watches jobs of several services concurrently, and reports their events to sinks.

Each job is a `wait` or `resume` of its service's client, in its own task; everything that is shown
or saved comes from its events. All jobs share one event loop; each service has one client, so a
rate limit pauses all its jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from typing import Any, Protocol

import anyio
import attrs

from opwatch import clock as clocks
from opwatch.cli.state import StateFile
from opwatch.cli.values import Job
from opwatch.client import AsyncClient
from opwatch.errors import OpwatchError
from opwatch.events import Ended, Event, Started


class Sink(Protocol):
    """Receives every event: bars, lines, or a collection."""

    def on_event(self, event: Event[Any]) -> None: ...

    def close(self) -> None:
        """Finish: no more events will come."""


@attrs.frozen
class Limits:
    """How long each job is watched, in seconds; None for no limit."""

    timeout: float | None = None
    stall_timeout: float | None = None


class Crew:
    """All jobs that are watched together, and how each wait ended."""

    def __init__(self, state: StateFile, *sinks: Sink) -> None:
        self.state = state
        self.results: dict[Job, Ended[Any]] = {}
        self._sinks = list(sinks)

    def __call__(self, event: Event[Any]) -> None:
        """Save an event, then pass it to every sink in order.

        A sink that fails gets no more events, and its error ends the run.
        """
        self.state.on_event(event)
        if isinstance(event, Ended):
            self.results[event.job] = event
        for sink in list(self._sinks):
            try:
                sink.on_event(event)
            except BaseException:
                self._sinks.remove(sink)
                raise

    def _opwatch_sending(self, service: str, job_id: str) -> None:
        """Record that a poll is about to be sent: called by the wait (`core.run`)."""
        self.state.sending((service, job_id))

    def close(self) -> None:
        """Close every sink, the last one first, even if one of them fails."""
        with ExitStack() as stack:
            stack.callback(self.state.close)
            for sink in self._sinks:
                stack.callback(sink.close)
            self._sinks.clear()

    async def watch(
        self, jobs: list[Job], clients: Mapping[str, AsyncClient[Any]], limits: Limits
    ) -> None:
        """Watch all jobs until they finish, then close the clients."""
        async with AsyncExitStack() as stack:
            for client in clients.values():
                await stack.enter_async_context(client)
            async with anyio.create_task_group() as group:
                for job in jobs:
                    group.start_soon(self._follow, job, clients[job[0]], limits)

    async def _follow(self, job: Job, client: AsyncClient[Any], limits: Limits) -> None:
        """Watch one job; an error that ends the wait is reported as an event, not raised."""
        time = datetime.fromtimestamp(clocks.current.get().epoch(), UTC)
        said: dict[str, Any] = {"service": job[0], "job_id": job[1], "time": time}
        if (ended := self.state.ended.get(job)) is not None:
            self(Started(resumed=True, progress=ended, **said))
            self(Ended(progress=ended, **said))
            return
        try:
            if (token := self.state.tokens.get(job)) is not None:
                await client.resume(token, on_event=self)
            else:
                await client.wait(job[1], on_event=self, **attrs.asdict(limits))
        except OpwatchError as error:
            if job not in self.results:  # an error before the wait began
                self(Ended(error=error, **said))
