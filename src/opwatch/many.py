"""Many jobs on one client: an agenda of what is due when, and the two drivers that work it off.

The agenda is a heap and knows no input or output. The blocking driver asks for one job at a time.
The async one keeps several requests under way, each in a task of its own that outlives the turn of
the iterator which began it. A task group would tie a request to one turn: a turn could not be left
while a slow request holds up the answers of the others, and cancelling a turn would give up what
was asked. So an answer that comes while nobody iterates is kept for the next turn. What bounds the
tasks: there are at most `max_in_flight`, each ends within a request's time limit, and none raises;
`aclose` and the client's own `aclose` end them at once.
"""

from __future__ import annotations

import contextvars
import heapq
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

import anyio

from opwatch.clock import AsyncCancel, Cancel, Clock
from opwatch.errors import OpwatchError, WaitCancelled
from opwatch.progress import Progress
from opwatch.waiting import Run

W = TypeVar("W")
logger = logging.getLogger("opwatch")


class Agenda(Generic[W]):
    """The waits of many jobs, in the order in which they are due."""

    def __init__(self, runs: list[Run[W]]) -> None:
        self.runs = {run.job_id: run for run in runs}
        self.errors: dict[str, OpwatchError] = {}
        self._heap = [(run.state.due, n, run) for n, run in enumerate(runs)]
        self._count = len(runs)
        self._is_cancelled = False
        heapq.heapify(self._heap)

    def next_due(self) -> float | None:
        """When the next job is due; None where none is waiting."""
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> Run[W] | None:
        """A job that may be asked for now. One that a rate limit holds is put back."""
        while self._heap and self._heap[0][0] <= now:
            run = heapq.heappop(self._heap)[2]
            delay = run.delay()
            if delay:
                self._put(now + delay, run)
            elif run.is_over:
                self.done(run)
            else:
                return run
        return None

    def done(self, run: Run[W]) -> None:
        """Put a job back after its turn, or note how its wait ended."""
        if run.error is not None:
            self.errors[run.job_id] = run.error
            logger.info("%s", run.error)
        elif not run.is_over:
            self._put(run.state.due, run)

    def cancel(self) -> OpwatchError | None:
        """End every wait that is still going on; the error of one of them."""
        error: OpwatchError | None = None
        for run in () if self._is_cancelled else self.runs.values():
            if not run.is_over:
                error = self.errors[run.job_id] = run.cancel()
        self._is_cancelled = True
        self._heap.clear()
        return error

    def _put(self, due: float, run: Run[W]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, run))


class _Results(Generic[W]):
    """What both iterators offer beside iterating."""

    def __init__(self, runs: list[Run[W]], clock: Clock) -> None:
        self._agenda = Agenda(runs)
        self._clock = clock

    @property
    def errors(self) -> dict[str, OpwatchError]:
        """Why a job's wait ended without the job's end, by job id."""
        return dict(self._agenda.errors)

    @property
    def last(self) -> dict[str, Progress[W]]:
        """The last answer of each job that has one, by job id."""
        runs = self._agenda.runs
        return {job_id: run.last for job_id, run in runs.items() if run.last is not None}

    @property
    def tokens(self) -> dict[str, str]:
        """What resumes each wait that has not ended, or was cancelled, by job id."""
        runs, errors = self._agenda.runs, self._agenda.errors
        return {
            job_id: run.token
            for job_id, run in runs.items()
            if not run.is_over or isinstance(errors.get(job_id), WaitCancelled)
        }


class WatchMany(_Results[W], Iterator[Progress[W]]):
    """Every answer of every job as it comes. See `Client.watch_many`."""

    def __init__(
        self,
        runs: list[Run[W]],
        clock: Clock,
        ask: Callable[[Run[W]], Progress[W] | None],
        cancel: Cancel | None,
    ) -> None:
        super().__init__(runs, clock)
        self._ask = ask
        self._cancel = cancel

    def __next__(self) -> Progress[W]:
        agenda = self._agenda
        while True:
            if self._cancel is not None and self._cancel.is_set() and (error := agenda.cancel()):
                raise error
            now = self._clock.now()
            run = agenda.take(now)
            if run is None:
                due = agenda.next_due()
                if due is None:
                    raise StopIteration
                if due > now:
                    self._clock.sleep(due - now, self._cancel)
                continue
            try:
                progress = self._ask(run)
            finally:
                agenda.done(run)
            if progress is not None:
                return progress


class AsyncWatchMany(_Results[W], AsyncIterator[Progress[W]]):
    """Every answer of every job as it comes. See `AsyncClient.watch_many`.

    To be iterated by one task at a time, in one event loop. `aclose` gives up the requests that
    are under way.
    """

    def __init__(
        self,
        runs: list[Run[W]],
        clock: Clock,
        ask: Callable[[Run[W]], Awaitable[Progress[W] | None]],
        cancel: AsyncCancel | None,
        max_in_flight: int,
    ) -> None:
        super().__init__(runs, clock)
        self._ask = ask
        self._cancel = cancel
        self._max_in_flight = max_in_flight
        self._loop: Any = None
        self._is_iterated = self._is_closed = False
        self._in_flight: dict[anyio.CancelScope, anyio.Event] = {}
        self._tasks: set[Any] = set()
        self._answers: deque[Progress[W]] = deque()
        self._broken: deque[BaseException] = deque()
        self._came: anyio.Event

    async def __anext__(self) -> Progress[W]:
        loop = running_loop()
        if self._loop is None:
            self._loop = loop
        if self._is_iterated or loop is not self._loop:
            raise RuntimeError("iterate watch_many in one task of one event loop at a time")
        self._is_iterated = True
        try:
            return await self._next()
        finally:
            self._is_iterated = False

    async def aclose(self) -> None:
        """End the iteration and give up the requests under way; `.tokens` resumes the waits."""
        self._is_closed = True
        await self.give_up_requests()

    async def give_up_requests(self) -> None:
        """Cancel the requests under way, and return when they are; the jobs are due again."""
        given_up = dict(self._in_flight)
        if given_up and running_loop() is self._loop:
            with anyio.CancelScope(shield=True):
                for scope in given_up:
                    scope.cancel()
                for ended in given_up.values():
                    await ended.wait()

    async def _next(self) -> Progress[W]:
        agenda = self._agenda
        while not self._is_closed:
            if self._cancel is not None and self._cancel.is_set() and (error := agenda.cancel()):
                await self.give_up_requests()
                raise error
            # At most as many in a row as requests were under way, so no checkpoint is needed here:
            # it could be where this turn is cancelled, with an answer already taken.
            if self._answers:
                return self._answers.popleft()
            if self._broken:
                raise self._broken.popleft()
            self._came = anyio.Event()
            now = self._clock.now()
            while len(self._in_flight) < self._max_in_flight and (run := agenda.take(now)):
                self._launch(run)
            if not self._came.is_set() and not await self._pause(now):
                break
        raise StopAsyncIteration

    async def _pause(self, now: float) -> bool:
        """Until something came, or a job is due that may be asked for; False where all is over."""
        due = self._agenda.next_due()
        if due is None and not self._in_flight:
            return False
        until: AsyncCancel = self._came
        if self._cancel is not None:
            until = _Either(self._came, self._cancel)
        if due is None or len(self._in_flight) >= self._max_in_flight:
            await until.wait()
        else:
            await self._clock.asleep(max(due - now, 0.0), until)
        return True

    def _launch(self, run: Run[W]) -> None:
        """Ask for a job in a task of its own."""
        scope = anyio.CancelScope()
        self._in_flight[scope] = anyio.Event()
        if not hasattr(self._loop, "create_task"):
            import trio

            context = contextvars.copy_context()
            trio.lowlevel.spawn_system_task(self._poll_and_land, run, scope, context=context)
            return
        task = self._loop.create_task(self._poll(run, scope))
        self._tasks.add(task)

        def land(_: object) -> None:  # a task that is cancelled before it began runs no `finally`
            self._tasks.discard(task)
            self._land(run, scope)

        task.add_done_callback(land)

    async def _poll(self, run: Run[W], scope: anyio.CancelScope) -> None:
        try:
            with scope:
                progress = await self._ask(run)
                if progress is not None:
                    self._answers.append(progress)
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001
            self._broken.append(error)  # for whoever iterates

    async def _poll_and_land(self, run: Run[W], scope: anyio.CancelScope) -> None:
        try:
            await self._poll(run, scope)
        finally:
            self._land(run, scope)

    def _land(self, run: Run[W], scope: anyio.CancelScope) -> None:
        self._agenda.done(run)
        self._in_flight.pop(scope).set()
        self._came.set()


def running_loop() -> Any:
    from anyio.lowlevel import current_token  # a blocking start does not wait for it

    return current_token().native_token


class _Either:
    """The first of two events."""

    def __init__(self, *events: AsyncCancel) -> None:
        self._events = events

    def is_set(self) -> bool:
        return any(event.is_set() for event in self._events)

    async def wait(self) -> None:
        async def wait_for(event: AsyncCancel) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for event in self._events:
                group.start_soon(wait_for, event)
