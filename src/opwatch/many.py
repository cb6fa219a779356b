"""Many jobs on one client: an agenda of what is due when, and the two drivers that work it off.

The agenda is a heap and knows no input or output. The blocking driver asks for one job at a time.
The async one keeps several requests under way; an answer that came while nobody was iterating is
kept for the next turn, so that cancelling a turn loses nothing.
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel

from opwatch.clock import AsyncCancel, Cancel, Clock
from opwatch.errors import OpwatchError
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
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)

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
        for _, _, run in self._heap:
            error = self.errors[run.job_id] = run.cancel()
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
        """What resumes each wait that has not ended, by job id."""
        return {job_id: run.token for job_id, run in self._agenda.runs.items() if not run.is_over}


class WatchMany(_Results[W], Iterator[Progress[W]]):
    """Every answer of every job as it comes. See `Client.watch_many`."""

    def __init__(
        self,
        runs: list[Run[W]],
        clock: Clock,
        drive: Callable[[Any], Progress[W] | None],
        cancel: Cancel | None,
    ) -> None:
        super().__init__(runs, clock)
        self._drive = drive
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
                progress = self._drive(run.turn())
            finally:
                agenda.done(run)
            if progress is not None:
                return progress


class AsyncWatchMany(_Results[W], AsyncIterator[Progress[W]]):
    """Every answer of every job as it comes. See `AsyncClient.watch_many`."""

    def __init__(
        self,
        runs: list[Run[W]],
        clock: Clock,
        drive: Callable[[Any], Awaitable[Progress[W] | None]],
        cancel: AsyncCancel | None,
        max_in_flight: int,
    ) -> None:
        super().__init__(runs, clock)
        self._drive = drive
        self._cancel = cancel
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._answers: deque[Progress[W]] = deque()
        self._broken: BaseException | None = None
        self._came = anyio.Event()
        self._tasks: set[Any] = set()

    async def __anext__(self) -> Progress[W]:
        agenda = self._agenda
        while True:
            if self._cancel is not None and self._cancel.is_set() and (error := agenda.cancel()):
                raise error
            if self._answers:
                await anyio.lowlevel.cancel_shielded_checkpoint()
                return self._answers.popleft()
            if self._broken is not None:
                broken, self._broken = self._broken, None
                raise broken
            self._came = anyio.Event()
            now = self._clock.now()
            while self._in_flight < self._max_in_flight and (run := agenda.take(now)):
                self._launch(run)
            if self._in_flight:
                await self._until_answer(agenda.next_due(), now)
                continue
            due = agenda.next_due()
            if due is None:
                raise StopAsyncIteration
            if due > now:
                await self._clock.asleep(due - now, self._cancel)

    async def _until_answer(self, due: float | None, now: float) -> None:
        """Until something came, or another job is due and may be asked for."""
        if due is None or self._in_flight >= self._max_in_flight:
            await self._came.wait()
        else:
            await self._clock.asleep(max(due - now, 0.0), self._came)

    def _launch(self, run: Run[W]) -> None:
        """Ask for a job in a task of its own, which outlives the turn that began it.

        A task group would tie the request to one `__anext__`: it could not be left while a slow
        request holds the answers of the others. Each task ends within a request's time limit.
        """
        self._in_flight += 1
        loop: Any = anyio.lowlevel.current_token().native_token
        if hasattr(loop, "create_task"):
            task = loop.create_task(self._ask(run))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            import trio

            trio.lowlevel.spawn_system_task(self._ask, run)

    async def _ask(self, run: Run[W]) -> None:
        try:
            progress = await self._drive(run.turn())
            if progress is not None:
                self._answers.append(progress)
        except Exception as error:  # noqa: BLE001 (not ours: handed to whoever iterates)
            self._broken = error
        finally:
            self._in_flight -= 1
            self._agenda.done(run)
            self._came.set()
