"""The public API: `Client` and `AsyncClient`. Signatures and docstrings; `core` does the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, NamedTuple, Self, TypeVar

from opwatch import net
from opwatch.clock import AsyncCancel, Cancel
from opwatch.core.base import Core, WatchBase
from opwatch.core.loop import AsyncIo, BlockingIo
from opwatch.core.many import AsyncWatchMany, WatchMany
from opwatch.core.options import Options
from opwatch.core.polling import Duration, Schedule
from opwatch.core.run import Step
from opwatch.events import Event
from opwatch.net.message import blocking
from opwatch.progress import Progress

__all__ = ["AsyncClient", "AsyncWatch", "Client", "Core", "Options", "Plugin", "Watch"]

W = TypeVar("W")


class Plugin(NamedTuple):
    """A service, as the command line finds it: the value of an entry point `opwatch.services`."""

    name: str
    client: type[Client[Any]]
    async_client: type[AsyncClient[Any]]
    id_parts: int = 1
    """How many parts a job's ID has, separated by `/`."""


# --- blocking -------------------------------------------------------------------------------------


class Watch(WatchBase[W], Iterator[Progress[W]]):
    """A wait to iterate over: yields the result of each poll until the job finishes.

    Iterating raises the same errors as `wait`, but a failed or cancelled job is the last result.
    """

    def __next__(self) -> Progress[W]:
        if (progress := blocking(self._upcoming)) is None:
            raise StopIteration
        return progress


class Client(Core[W]):
    """A blocking client of one service. Thread-safe, fork-safe, and a context manager."""

    _opener, _kind = net.open_blocking, BlockingIo

    def progress(self, job_id: str) -> Progress[W]:
        """Poll once. A failed job is a result, not an exception.

        Raises `ConfigurationError` for an invalid ID, `JobGone` if the service doesn't know it,
        `RateLimited` (without sending anything) until the `Retry-After` of an earlier response has
        passed, and another `OpwatchError` if there is no valid response for any other reason.
        """
        return blocking(self._progress, job_id)

    def wait(
        self,
        job_id: str,
        *,
        timeout: Duration | None,
        on_progress: Callable[[Progress[W]], object] | None = None,
        on_event: Callable[[Event[W]], object] | None = None,
        stall_timeout: Duration | None = None,
        schedule: Schedule | None = None,
        cancel: Cancel | None = None,
    ) -> Progress[W]:
        """Wait until the job finishes; return the last progress.

        `timeout` is in seconds or a `timedelta`, and None waits indefinitely; at the deadline, one
        last poll is made. `on_progress` is called with the progress from each poll, and `on_event`
        with every event (`opwatch.events`). `stall_timeout` is how long the job may go without
        progress. `cancel` is a `threading.Event` that ends the wait when it is set.

        Raises `JobFailed`, `JobCancelled`, `JobGone`, `WaitTimeout`, `WaitStalled`,
        `WaitCancelled`, or the error that retrying didn't fix. Returns progress with `Phase.ENDED`
        if the service doesn't say how the job ended. Ending a wait never stops the job.
        """
        run = self._run(job_id, timeout, stall_timeout, schedule, on_event=on_event)
        return blocking(self._finish, run, on_progress, cancel)

    def watch(
        self,
        job_id: str,
        *,
        timeout: Duration | None,
        stall_timeout: Duration | None = None,
        schedule: Schedule | None = None,
        on_event: Callable[[Event[W]], object] | None = None,
        cancel: Cancel | None = None,
    ) -> Watch[W]:
        """Return a wait to iterate over, with the arguments of `wait`."""
        run = self._run(job_id, timeout, stall_timeout, schedule, on_event=on_event)
        return Watch(self._io, run, cancel)

    def watch_many(
        self,
        job_ids: Iterable[str],
        *,
        timeout: Duration | None,
        stall_timeout: Duration | None = None,
        schedule: Schedule | None = None,
        on_event: Callable[[Event[W]], object] | None = None,
        cancel: Cancel | None = None,
    ) -> WatchMany[W]:
        """Return an iterator over the progress of all jobs, as it arrives, until all have finished.

        An error ends only the wait for its own job: iterating continues, and `.errors` maps the
        job's ID to the error. Only an invalid ID raises `ConfigurationError` at once, before any
        job is polled. A blocking client polls one job at a time; for thousands of jobs, use the
        async client.
        """
        runs = self._runs(job_ids, timeout, stall_timeout, schedule, on_event=on_event)
        return WatchMany(runs, self._io, cancel)

    def start(
        self,
        job_id: str,
        *,
        timeout: Duration | None,
        stall_timeout: Duration | None = None,
        schedule: Schedule | None = None,
    ) -> Step[W]:
        """Start a wait without sleeping: poll once, and return when the next poll is due."""
        return blocking(self._step, self._run(job_id, timeout, stall_timeout, schedule))

    def step(self, token: str) -> Step[W]:
        """Advance a wait by one step, for a task queue, a scheduler or a cron job.

        Polls once, unless the schedule says it is too early: then nothing is sent, and `Step.delay`
        is the remaining time. `Step.delay` is None when the job is over; a failed job is a result.
        Raises `ConfigurationError` for a token that is damaged, from a newer version, or for
        another service, and the same errors as `wait` if the wait ends before the job.
        """
        return blocking(self._step, self._resumed(token))

    def resume(
        self,
        token: str,
        *,
        on_progress: Callable[[Progress[W]], object] | None = None,
        on_event: Callable[[Event[W]], object] | None = None,
        cancel: Cancel | None = None,
    ) -> Progress[W]:
        """Continue a wait that was started elsewhere, with the same schedule and deadline.

        Returns and raises the same as `wait`.
        """
        return blocking(self._finish, self._resumed(token, on_event), on_progress, cancel)

    def close(self) -> None:
        """Close the connections. A client that is used again opens new ones."""
        self._io.close()
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


# --- async ----------------------------------------------------------------------------------------


class AsyncWatch(WatchBase[W], AsyncIterator[Progress[W]]):
    """Like `Watch`, but for `async for`."""

    async def __anext__(self) -> Progress[W]:
        if (progress := await self._upcoming()) is None:
            raise StopAsyncIteration
        return progress


class AsyncClient(Core[W]):
    """`Client` with `await`, on asyncio and trio. Usable from several event loops."""

    _opener, _kind = net.open_async, AsyncIo

    async def progress(self, job_id: str) -> Progress[W]:
        """Like `Client.progress`."""
        return await self._progress(job_id)

    async def wait(
        self,
        job_id: str,
        *,
        timeout: Duration | None,
        on_progress: Callable[[Progress[W]], object | Awaitable[object]] | None = None,
        on_event: Callable[[Event[W]], object | Awaitable[object]] | None = None,
        stall_timeout: Duration | None = None,
        schedule: Schedule | None = None,
        cancel: AsyncCancel | None = None,
    ) -> Progress[W]:
        """Like `Client.wait`, but both callbacks may be async, and `cancel` is an async event."""
        run = self._run(job_id, timeout, stall_timeout, schedule, on_event=on_event)
        return await self._finish(run, on_progress, cancel)

    def watch(
        self,
        job_id: str,
        *,
        timeout: Duration | None,
        stall_timeout: Duration | None = None,
        schedule: Schedule | None = None,
        on_event: Callable[[Event[W]], object | Awaitable[object]] | None = None,
        cancel: AsyncCancel | None = None,
    ) -> AsyncWatch[W]:
        """Like `Client.watch`, but for `async for`."""
        run = self._run(job_id, timeout, stall_timeout, schedule, on_event=on_event)
        return AsyncWatch(self._io, run, cancel)

    def watch_many(
        self,
        job_ids: Iterable[str],
        *,
        timeout: Duration | None,
        stall_timeout: Duration | None = None,
        schedule: Schedule | None = None,
        on_event: Callable[[Event[W]], object | Awaitable[object]] | None = None,
        cancel: AsyncCancel | None = None,
    ) -> AsyncWatchMany[W]:
        """Like `Client.watch_many`, but for `async for`, with up to `max_in_flight` requests."""
        runs = self._runs(job_ids, timeout, stall_timeout, schedule, on_event=on_event)
        return AsyncWatchMany(runs, self._io, cancel)

    async def start(
        self,
        job_id: str,
        *,
        timeout: Duration | None,
        stall_timeout: Duration | None = None,
        schedule: Schedule | None = None,
    ) -> Step[W]:
        """Like `Client.start`."""
        return await self._step(self._run(job_id, timeout, stall_timeout, schedule))

    async def step(self, token: str) -> Step[W]:
        """Like `Client.step`."""
        return await self._step(self._resumed(token))

    async def resume(
        self,
        token: str,
        *,
        on_progress: Callable[[Progress[W]], object | Awaitable[object]] | None = None,
        on_event: Callable[[Event[W]], object | Awaitable[object]] | None = None,
        cancel: AsyncCancel | None = None,
    ) -> Progress[W]:
        """Like `Client.resume`."""
        return await self._finish(self._resumed(token, on_event), on_progress, cancel)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        self._io.close()
        for wait in self._io.nudges:
            if isinstance(wait, AsyncWatchMany):
                await wait.give_up()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        import anyio

        with anyio.CancelScope(shield=True):
            await self.aclose()
