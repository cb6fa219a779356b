"""Watches several jobs of several services at once, and says what happens.

The loop of each job is built on the public `start` and `step`: what they return is what a state
file needs, and nothing is decided here but when to sleep. One event loop serves all jobs; each
service has one client, so a rate limit holds all its jobs. Who shows the events is a `Sink`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import anyio
import attrs

from opwatch import clock as clocks
from opwatch.cli import exits
from opwatch.cli.events import Event, Kind, Sink, utcnow
from opwatch.cli.state import StateFile
from opwatch.cli.values import Job
from opwatch.client import AsyncClient
from opwatch.core import polling
from opwatch.core.run import Step
from opwatch.errors import OpwatchError, WaitCancelled
from opwatch.progress import Progress

_ROUNDING = 0.05
"""Seconds: a token's times are rounded up, so a turn may come this much too early."""


@attrs.frozen
class Limits:
    """How long each job is watched."""

    timeout: float | None = None
    stall_timeout: float | None = None


class _Watching:
    """One job being watched."""

    def __init__(self, job: Job, client: AsyncClient[Any], limits: Limits, crew: Crew) -> None:
        self._job = job
        self._client = client
        self._limits = limits
        self._crew = crew
        self._last: Progress[Any] | None = None
        self._token = crew.state.tokens.get(job)
        """That of the last turn that was told of."""
        self._clock = clocks.current.get()
        self._began = self._clock.now()

    async def follow(self) -> None:
        """Until the job or the wait is over; never raises what the library raises."""
        ended = self._crew.state.ended.get(self._job)
        if ended is not None:
            self._last = ended
            self._tell("start", resumed=True)
            self._tell("result")
            return
        try:
            await self._turns()
        except OpwatchError as error:
            self._crew.state.stops(self._job, exits.of_error(error).outcome)
            asked = self._queries(error.token) > self._queries(self._token)
            if error.last is not None:  # the answer to the query that was the last one
                self._last, asked = error.last, False
                self._tell("progress")
            self._tell("result", error=error, asked=asked)
        except anyio.get_cancelled_exc_class():
            self._tell(
                "result", error=WaitCancelled("the watching was stopped; the job is still running")
            )
            raise

    async def _turns(self) -> None:
        step, resumed = await self._first()
        while True:
            self._keep(step)
            self._token = step.token
            self._show(step, resumed=resumed)
            resumed = False
            if step.delay is None:
                break
            await self._clock.asleep(step.delay)
            step = await self._client.step(step.token)
        self._tell("result")

    async def _first(self) -> tuple[Step[Any], bool]:
        """The first turn, and whether it took up a wait again."""
        if self._token is None:
            self._tell("start")
            limits = attrs.asdict(self._limits)
            return await self._client.start(self._job[1], **limits), False
        self._tell("start", resumed=True)
        return await self._client.step(self._token), True

    def _queries(self, token: str | None) -> int:
        """How many a wait has made."""
        if token is None:
            return 0
        _, state = polling.load(token, service=self._job[0], now=0.0, epoch=0.0)
        return state.polls

    def _keep(self, step: Step[Any]) -> None:
        """In the state file, before anybody is told."""
        if step.progress is not None:
            self._last = step.progress
        if step.delay is not None:
            self._crew.state.waits(self._job, step.token)
        elif self._last is not None:
            self._crew.state.over(self._job, self._last)

    def _show(self, step: Step[Any], *, resumed: bool) -> None:
        if step.progress is not None:
            self._tell("progress", next_query_in=step.delay)
        elif step.trouble is not None and step.trouble.held_until is None:
            self._tell("trouble", error=step.trouble, next_query_in=step.delay)
        elif step.delay is not None and step.delay > _ROUNDING:
            self._tell("held", next_query_in=step.delay, resumed=resumed)

    def _tell(self, kind: Kind, **what: Any) -> None:
        service, job_id = self._job
        event = Event(
            kind=kind,
            service=service,
            job_id=job_id,
            time=utcnow(),
            elapsed=self._clock.now() - self._began,
            last=self._last,
            **what,
        )
        self._crew.tell(event)


class Crew:
    """All jobs that are watched together, and how each one's watching ended."""

    def __init__(self, state: StateFile, *sinks: Sink) -> None:
        self.state = state
        self.results: dict[Job, Event] = {}
        self._sinks = list(sinks)

    def tell(self, event: Event) -> None:
        """Every sink, in their order. One that fails is told no more, and ends the watching."""
        if event.kind == "result":
            self.results[event.job] = event
        for sink in list(self._sinks):
            try:
                sink.on_event(event)
            except BaseException:
                self._sinks.remove(sink)
                raise

    def close(self) -> None:
        """Tell every sink that all is over, the last first; one that fails stops no other."""
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close)
            self._sinks.clear()

    async def watch(
        self, jobs: list[Job], clients: Mapping[str, AsyncClient[Any]], limits: Limits
    ) -> None:
        """Watch all jobs to the end of each; the clients are closed then."""
        async with AsyncExitStack() as stack:
            for client in clients.values():
                await stack.enter_async_context(client)
            async with anyio.create_task_group() as group:
                for job in jobs:
                    follower = _Watching(job, clients[job[0]], limits, self)
                    group.start_soon(follower.follow)
