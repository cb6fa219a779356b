"""Many jobs on one client: a heap of due times, and the driver that processes it.

The driver is written once. Blocking, a poll is made right there; async, in a task of its own, which
outlives the turn of the iterator that started it. (A task group would tie a poll to one turn: a
turn could not be left while a slow request holds up the answers of the others, and cancelling a
turn would give up what was requested.) So an answer that arrives while nobody iterates is kept for
the next turn. There are at most `max_in_flight` tasks, each ends within `request_timeout`, and none
raises; `aclose` ends them at once.
"""

from __future__ import annotations

import contextvars
import heapq
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

from opwatch.core.loop import Io, is_cancellation, poll, start, tell
from opwatch.core.nudges import AsyncBell, nobody, running_loop
from opwatch.core.polling import checked
from opwatch.core.run import Run
from opwatch.errors import OpwatchError, WaitCancelled
from opwatch.logs import log, logger
from opwatch.net.message import blocking
from opwatch.progress import Progress

W = TypeVar("W")

_within: contextvars.ContextVar[Any] = contextvars.ContextVar("_within", default=None)
"""Set once the poll that this code runs in has ended; None outside of polls."""


class Many(Generic[W]):
    """The waits of many jobs, and what both iterators report besides the answers."""

    def __init__(self, runs: list[Run[W]], io: Io, cancel: Any) -> None:
        self._runs = {run.job_id: run for run in runs}
        self._io = io
        self._cancel = io.check_cancel(cancel)
        self._at_once = io.max_in_flight if io.is_async else 1
        self._heap = [(run.due, 0, n, run) for n, run in enumerate(runs)]
        """What is due, and of what is due at the same time (the last polls), first the jobs whose
        polls didn't fail."""
        heapq.heapify(self._heap)
        self._count = len(runs)
        deadline = runs[0].state.plan.deadline if runs else None
        self._deadline = math.inf if deadline is None else deadline
        self._has_started = self._is_closed = self._is_left = False
        self._asked, self._used = -math.inf, 0.0
        """When the caller asked for the next answer, and what turns without an answer had used of
        the last polls' time."""
        self._cancelled: list[Run[W]] | None = None
        """The waits that `cancel` has ended, until all of them are reported."""
        self._in_flight: dict[Any, Any] = {}
        self._answers: deque[Progress[W]] = deque()
        self._broken: deque[BaseException] = deque()
        self._is_nudged = False
        self.wake: Callable[[], object] = nobody
        io.nudges.add(self)

    @property
    def errors(self) -> dict[str, OpwatchError]:
        """The errors that ended waits before their jobs finished, by job ID."""
        return {run.job_id: run.error for run in self._runs.values() if run.error is not None}

    @property
    def last(self) -> dict[str, Progress[W]]:
        """The last progress of each job, if there is any, by job ID."""
        return {run.job_id: run.last for run in self._runs.values() if run.last is not None}

    @property
    def tokens(self) -> dict[str, str]:
        """The token of each wait that hasn't ended or was cancelled, by job ID."""
        return {
            run.job_id: run.token
            for run in self._runs.values()
            if not run.is_over or isinstance(run.error, WaitCancelled)
        }

    @property
    def due(self) -> float:
        """When the next poll is due, of the jobs that aren't being polled."""
        return -math.inf if self._is_nudged else self._heap[0][0]

    def nudge(self, job_id: str | None = None) -> None:
        """Poll a job (None: every job) now, ahead of its schedule, like `Client.nudge`."""
        is_id = job_id is None or isinstance(job_id, str)
        wanted = checked(job_id, "job_id", is_id, "a job ID or None")
        wanted = wanted and wanted.lower()
        nudged = [run for name, run in self._runs.items() if wanted in (None, name.lower())]
        for run in nudged:
            run.nudge()
        if nudged:
            self._is_nudged = True
            self.wake()

    async def _upcoming(self) -> Progress[W] | None:
        """Return the next answer of any job; None after the last."""
        self._asked = self._io.clock.now() - self._used
        # Ctrl-C may have come when a job was in no queue.
        self._is_nudged, self._is_left = self._is_nudged or self._is_left, True
        try:
            progress = await self._next()
        except BaseException:
            self._used = max(self._io.clock.now() - max(self._asked, self._deadline), 0.0)
            raise
        self._used, self._is_left = 0.0, False
        return progress

    async def _next(self) -> Progress[W] | None:
        if not self._has_started:
            if self._heap:
                await self._io.listen(self._heap[0][-1].state.plan.deadline, self._cancel)
            for run in self._runs.values():
                await start(run)
            self._has_started = True
        while not self._is_closed:
            if self._cancel is not None and self._cancel.is_set() and self._cancelled != []:
                await self._cancel_all()
            if self._answers:
                return self._answers.popleft()
            if self._broken:
                raise self._broken.popleft()
            self._forget()
            if not await self._launch_due():
                if not self._heap and not self._in_flight:
                    return None
                is_full = len(self._in_flight) >= self._at_once
                await self._pause(self.due if self._heap and not is_full else None)
        return None

    async def _launch_due(self) -> bool:
        """Start due polls, as many as there is room for; return whether something arrived."""
        if self._is_nudged and self._cancelled is None:
            self._is_nudged = False
            idle = dict.fromkeys(run for run in self._runs.values() if not run.is_over)
            for _, _, run in self._in_flight.values():
                idle.pop(run, None)
            self._heap = [(run.due, run.state.failures, n, run) for n, run in enumerate(idle)]
            heapq.heapify(self._heap)
        now = self._io.clock.now()
        while self._heap and self._heap[0][0] <= now and len(self._in_flight) < self._at_once:
            run = heapq.heappop(self._heap)[-1]
            if run.is_over or run.due > now:
                self._put_back(run)
            elif await self._launch(run):
                return True
        return False

    async def _poll(self, run: Run[W]) -> None:
        """Poll a job, unless its wait is over by now: other polls took too long.

        The last polls have `request_timeout` from the deadline on, or from when the caller asked
        for the next answer, if that was later.
        """
        ends = max(self._deadline, self._asked) + self._io.request_timeout
        left = ends - self._io.clock.now()
        if left <= 0:
            progress = run.time_out()
        else:
            progress = await poll(run, self._io, left)
        if progress is not None:
            self._answers.append(progress)
        await tell(run, run.events, progress)

    def _put_back(self, run: Run[W]) -> None:
        """Queue a job's next poll, unless its wait has ended."""
        if run.error is not None:
            is_lost = not isinstance(run.error, WaitCancelled)
            if is_lost and logger.isEnabledFor(logging.WARNING):
                log(logging.WARNING, "%s", run.error, extra=run.events()[-1].to_dict())
        elif not run.is_over and self._cancelled is None:
            self._count += 1
            heapq.heappush(self._heap, (run.due, run.state.failures, self._count, run))

    async def _cancel_all(self) -> None:
        if self._cancelled is None:
            self._heap.clear()
            self._cancelled = [run for run in self._runs.values() if not run.is_over]
            for run in self._cancelled:
                run.cancel()
            await self.give_up()
        for run in self._cancelled:
            if not run.has_ended:  # again, if `on_event` raised
                await tell(run, run.events)
        cancelled, self._cancelled = self._cancelled, []
        if len(cancelled) == 1 and (error := cancelled[0].error) is not None:
            raise error
        if cancelled:
            text = f"{len(cancelled)} waits were cancelled; the jobs continue"
            raise WaitCancelled(text, advice="to resume the waits, use the iterator's `.tokens`")

    async def give_up(self) -> None:
        """Cancel the polls in flight, and return when they have ended."""

    def _forget(self) -> None:
        """Get ready to be woken when something arrives."""

    async def _launch(self, run: Run[W]) -> bool:
        """Start a poll; return whether it has already finished."""
        try:
            await self._poll(run)
        finally:
            self._put_back(run)
        return True

    async def _pause(self, due: float | None) -> None:
        """Sleep until something arrives, at most until a poll is due."""
        await self._io.sleep(self, self._cancel)


class WatchMany(Many[W], Iterator[Progress[W]]):
    """An iterator over the progress of all jobs, as it arrives. See `Client.watch_many`."""

    def __next__(self) -> Progress[W]:
        if (progress := blocking(self._upcoming)) is None:
            raise StopIteration
        return progress


class AsyncWatchMany(Many[W], AsyncIterator[Progress[W]]):
    """An iterator over the progress of all jobs, as it arrives. See `AsyncClient.watch_many`.

    Iterate over it in one task at a time, in one event loop. `aclose` cancels polls in flight.
    """

    _loop: Any = None
    _is_iterated = False

    async def __anext__(self) -> Progress[W]:
        loop = running_loop()
        self._loop = self._loop or loop
        if self._is_iterated or loop is not self._loop:
            raise RuntimeError("iterate over watch_many in one task at a time, in one event loop")
        self._is_iterated = True
        try:
            progress = None if self._is_closed else await self._upcoming()
        finally:
            self._is_iterated = False
        if progress is None:
            raise StopAsyncIteration
        return progress

    async def aclose(self) -> None:
        """End the iteration and give up the polls in flight; `.tokens` resumes the waits.

        Return when they have ended; from `on_event`, which is part of a poll, return at once.
        """
        self._is_closed = True
        self.wake()  # another task may be iterating
        await self.give_up()

    async def give_up(self) -> None:
        import anyio

        mine = _within.get()
        given_up = {scope: ended for scope, (ended, *_) in self._in_flight.items()}
        if given_up and running_loop() is self._loop:
            with anyio.CancelScope(shield=True):
                for scope, ended in given_up.items():
                    if ended is not mine:
                        scope.cancel()
                if mine is None or mine.is_set():  # two polls would wait for each other
                    for ended in given_up.values():
                        await ended.wait()

    def _forget(self) -> None:
        self._came = AsyncBell(self._cancel, self._loop)
        self.wake = self._came.ring

    async def _pause(self, due: float | None) -> None:
        if due is None:
            await self._came.wait()
        else:
            clock = self._io.clock
            await clock.asleep(max(due - clock.now(), 0.0), self._came)

    async def _launch(self, run: Run[W]) -> bool:
        import anyio

        scope, ended = anyio.CancelScope(), anyio.Event()
        self._in_flight[scope] = ended, None, run  # an eager task runs before it is returned
        if hasattr(self._loop, "create_task"):
            task = self._loop.create_task(self._attempt(run, scope))
            self._in_flight[scope] = ended, task, run
            # A task that is cancelled before it started runs no `finally`.
            task.add_done_callback(lambda _: self._land(run, scope))
        else:
            import trio

            async def attempt() -> None:
                try:
                    await self._attempt(run, scope)
                finally:
                    self._land(run, scope)

            trio.lowlevel.spawn_system_task(attempt, context=contextvars.copy_context())
        return False

    async def _attempt(self, run: Run[W], scope: Any) -> None:
        _within.set(self._in_flight[scope][0])
        try:
            with scope:
                await self._poll(run)
        except BaseException as error:
            if is_cancellation(error):
                raise
            self._broken.append(error)  # for the iterator

    def _land(self, run: Run[W], scope: Any) -> None:
        self._put_back(run)
        self._in_flight.pop(scope)[0].set()
        self._came.rung.set()
