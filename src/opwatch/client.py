"""`Client` and `AsyncClient`: the one loop, twice.

The two differ in `await` and nothing else. What they send is made by `waiting.Session`, what they
do next is decided by `polling`; here is only the driving: send, sleep, hand out.
"""

from __future__ import annotations

import inspect
import ssl
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypedDict, TypeVar, cast

import anyio

from opwatch import clock as clocks
from opwatch import polling, transport
from opwatch._version import __version__
from opwatch.auth.flows import Ask, Auth, Effect, Flight, Flow
from opwatch.clock import AsyncCancel, Cancel, Clock
from opwatch.errors import AuthenticationError, ConfigurationError, OpwatchError
from opwatch.many import AsyncWatchMany, WatchMany, running_loop
from opwatch.polling import Schedule
from opwatch.progress import Progress
from opwatch.transport import Limits
from opwatch.waiting import Run, Service, Session, SharedGate, Step, outcome
from opwatch.wire import Address, Answer, Outgoing, Secret

if TYPE_CHECKING:
    from anyio.lowlevel import RunVar

W = TypeVar("W")
T = TypeVar("T")


class Options(TypedDict, total=False):
    """What every client takes by keyword."""

    request_timeout: float
    """Seconds for one whole request; 30."""
    schedule: Schedule | None
    """Instead of the service's own."""
    max_failures: int
    """Troubles in a row that end a wait; 10."""
    max_in_flight: int
    """Requests at the same time; 16."""
    ssl_context: ssl.SSLContext | None
    """For a private certificate authority, or a client certificate."""
    user_agent: str | None
    """Put before opwatch's own."""


class Plugin(NamedTuple):
    """What a service is to the command line: the value of an entry point `opwatch.services`."""

    name: str
    client: type[Client[Any]]
    async_client: type[AsyncClient[Any]]


class Core(Generic[W]):
    """What the two clients of a service share: a session, a gate, what a wait begins with."""

    _session: Session[W]

    def _open(
        self,
        service: Service[W],
        address: Address,
        auth: Callable[[Clock], Auth],
        options: Options,
        /,
    ) -> None:
        """Called by the constructor of each service."""
        if unknown := sorted(set(options) - set(Options.__annotations__)):
            known = ", ".join(Options.__annotations__)
            # What was misspelt may be a secret, and stands in the frames of this very error.
            cast("dict[str, Any]", options).clear()
            raise ConfigurationError(f"unknown option {', '.join(unknown)}; there are {known}")
        self._clock = clocks.current.get()
        self._gate = SharedGate()
        given = options.get("schedule")
        self._schedule = service.schedule if given is None else given
        self._max_failures = options.get("max_failures", 10)
        self._limits = _limits(options)
        self._begin(timeout=None)  # refuses a schedule or a count that cannot be, before any wait
        agent = _user_agent(options.get("user_agent"))
        self._session = Session(service, address, auth(self._clock), self._clock, agent)

    def _run(self, job_id: str, timeout: float | None, **how: Any) -> Run[W]:
        job_id = self._session.check_id(job_id)
        return Run(self._session, self._gate, job_id, self._begin(timeout, **how))

    def _begin(
        self,
        timeout: float | None,
        *,
        stall_timeout: float | None = None,
        schedule: Schedule | None = None,
    ) -> polling.PollState:
        now = self._clock.now()
        plan = polling.plan(
            self._schedule if schedule is None else schedule,
            now,
            timeout=timeout,
            stall_timeout=stall_timeout,
            max_failures=self._max_failures,
        )
        return polling.begin(plan, now)

    def _runs(self, job_ids: Iterable[str], timeout: float | None, **how: Any) -> list[Run[W]]:
        """One wait for each id; where they are many, the first queries spread over a delay."""
        if isinstance(job_ids, (str, bytes)) or not isinstance(job_ids, Iterable):
            raise ConfigurationError(f"job_ids must be several ids, not {job_ids!r:.80}")
        ids = list(dict.fromkeys(map(self._session.check_id, job_ids)))
        first = self._begin(timeout, **how)
        plan, now, at_once = first.plan, self._clock.now(), self._limits.max_in_flight
        spread = plan.schedule.delays[0] / max(len(ids), 1)
        return [
            Run(
                self._session,
                self._gate,
                job_id,
                polling.begin(plan, now, delay=spread * n if len(ids) > at_once else 0.0),
            )
            for n, job_id in enumerate(ids)
        ]

    def _resumed(self, token: str) -> Run[W]:
        clock = self._clock
        epoch = clock.epoch()  # before the other clock: the other way round, a query were early
        name = self._session.service.name
        job_id, state = polling.load(token, service=name, now=clock.now(), epoch=epoch)
        return Run(self._session, self._gate, self._session.check_id(job_id), state)

    def _step_of(self, run: Run[W], progress: Progress[W] | None) -> Step[W]:
        run.raise_error()
        delay = None if run.is_over else run.delay()
        return Step(progress, run.token, delay, run.trouble)

    def __repr__(self) -> str:
        session = getattr(self, "_session", None)  # none in a traceback out of the constructor
        return f"<{type(self).__name__} at {session.address.origin if session else 'no address'}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} is not pickled; send a token and build it anew")


def _limits(options: Options) -> Limits:
    in_flight = options.get("max_in_flight", 16)
    if isinstance(in_flight, bool) or not isinstance(in_flight, int) or in_flight < 1:
        raise ConfigurationError(f"max_in_flight must be a whole number above 0, not {in_flight!r}")
    timeout = polling.seconds(options.get("request_timeout", 30.0), "request_timeout")
    if timeout == 0:
        raise ConfigurationError("request_timeout must be above 0 seconds")
    context = options.get("ssl_context")
    if context is not None and not isinstance(context, ssl.SSLContext):
        raise ConfigurationError(f"ssl_context must be an ssl.SSLContext, not {context!r}")
    return Limits(timeout, in_flight, context)


def _user_agent(given: str | None) -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    own = f"opwatch/{__version__} python/{version}"
    if given is None:
        return own
    if fault := Secret(given).fault():
        raise ConfigurationError(f"user_agent {fault}")
    return f"{given} {own}"


def _resume_note(token: str) -> str:
    return f"opwatch: the job goes on; this token resumes the wait: {token}"


# --- blocking -------------------------------------------------------------------------------------


class Watch(Generic[W], Iterator[Progress[W]]):
    """A wait to iterate: each answer as it comes, until the job is over.

    Iterating raises what `wait` raises, but for a job that failed or was cancelled: that is the
    last answer. `.last` is the last answer so far, `.token` resumes the wait elsewhere.
    """

    def __init__(self, client: Client[W], run: Run[W], cancel: Cancel | None) -> None:
        self._client = client
        self._run = run
        self._cancel = _check_cancel(cancel)

    def __next__(self) -> Progress[W]:
        run = self._run
        while True:
            run.raise_error()
            if run.is_over:
                raise StopIteration
            if delay := run.delay():
                self._pause(delay)
            elif run.error is None:
                self._stop_if_cancelled()
                progress = self._client._ask(run)
                if progress is not None:
                    return progress

    @property
    def last(self) -> Progress[W] | None:
        return self._run.last

    @property
    def token(self) -> str:
        return self._run.token

    @property
    def job_id(self) -> str:
        return self._run.job_id

    def _pause(self, delay: float) -> None:
        self._stop_if_cancelled()
        self._client._clock.sleep(delay, self._cancel)
        self._stop_if_cancelled()

    def _stop_if_cancelled(self) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise self._run.cancel()


class Client(Core[W]):
    """A blocking client of one service. Thread-safe; a context manager."""

    def _open(self, *arguments: Any) -> None:
        super()._open(*arguments)
        self._transport = transport.open_blocking.get()(self._limits)
        self._polls = threading.BoundedSemaphore(self._limits.max_in_flight)

    def progress(self, job_id: str) -> Progress[W]:
        """Ask once. A failed job is an answer, not an exception.

        Raises `ConfigurationError` for an id that cannot be one, `JobGone` where the service does
        not know it, and the other `OpwatchError`s for anything else that is no answer.
        """
        job_id = self._session.check_id(job_id)
        return self._drive(self._session.query(job_id)).progress

    def wait(
        self,
        job_id: str,
        *,
        timeout: float | None,
        on_progress: Callable[[Progress[W]], object] | None = None,
        stall_timeout: float | None = None,
        schedule: Schedule | None = None,
        cancel: Cancel | None = None,
    ) -> Progress[W]:
        """Wait until the job is over; its last answer.

        `timeout` is in seconds, None waits for ever; one last query is made when it is up.
        `on_progress` is called with each answer. `stall_timeout` is how many seconds the job may
        stand still. `cancel` is a `threading.Event` that ends the wait when it is set.

        Raises `JobFailed`, `JobCancelled`, `JobGone`, `WaitTimeout`, `WaitStalled`,
        `WaitCancelled`, or the error that no retry mended. Returns with `Phase.ENDED` where the
        service does not say how it ended. Stopping a wait never stops the job.
        """
        how = {"stall_timeout": stall_timeout, "schedule": schedule}
        return self._finish(self._run(job_id, timeout, **how), on_progress, cancel)

    def watch(
        self,
        job_id: str,
        *,
        timeout: float | None,
        stall_timeout: float | None = None,
        schedule: Schedule | None = None,
        cancel: Cancel | None = None,
    ) -> Watch[W]:
        """A wait to iterate, with the arguments of `wait`."""
        how = {"stall_timeout": stall_timeout, "schedule": schedule}
        return Watch(self, self._run(job_id, timeout, **how), cancel)

    def watch_many(
        self,
        job_ids: Iterable[str],
        *,
        timeout: float | None,
        stall_timeout: float | None = None,
        schedule: Schedule | None = None,
        cancel: Cancel | None = None,
    ) -> WatchMany[W]:
        """Every answer of every job as it comes, until all have ended.

        One job's failure ends that job alone: iterating goes on, and `.errors` has the error by
        job id. A blocking client asks for one job at a time; for thousands, use the async one.
        """
        how = {"stall_timeout": stall_timeout, "schedule": schedule}
        runs = self._runs(job_ids, timeout, **how)
        return WatchMany(runs, self._clock, self._ask, _check_cancel(cancel))

    def start(
        self,
        job_id: str,
        *,
        timeout: float | None,
        stall_timeout: float | None = None,
        schedule: Schedule | None = None,
    ) -> Step[W]:
        """Begin a wait that somebody else sleeps for: the first query, and when the next is due."""
        how = {"stall_timeout": stall_timeout, "schedule": schedule}
        return self._step(self._run(job_id, timeout, **how))

    def step(self, token: str) -> Step[W]:
        """One turn of a wait: for a task queue, a scheduler, a cron job.

        Asks once, unless it is too early by the schedule: then nothing is sent, and the delay says
        how much is left. `Step.delay` is None when the job is over; a job that failed is an
        answer. Raises `ConfigurationError` for a token that is damaged, newer, or of another
        service, and what `wait` raises where the wait ends without the job's end.
        """
        return self._step(self._resumed(token))

    def resume(
        self,
        token: str,
        *,
        on_progress: Callable[[Progress[W]], object] | None = None,
        cancel: Cancel | None = None,
    ) -> Progress[W]:
        """Go on with a wait begun elsewhere: the same rung, the same deadline. As `wait`."""
        return self._finish(self._resumed(token), on_progress, cancel)

    def close(self) -> None:
        """Close the connections. A client that is used again opens new ones."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _step(self, run: Run[W]) -> Step[W]:
        if run.delay() or run.error is not None:
            return self._step_of(run, None)
        return self._step_of(run, self._ask(run))

    def _finish(
        self,
        run: Run[W],
        on_progress: Callable[[Progress[W]], object] | None,
        cancel: Cancel | None,
    ) -> Progress[W]:
        _check_callable(on_progress)
        if inspect.iscoroutinefunction(on_progress):
            raise ConfigurationError(
                f"on_progress is async; give {type(self).__name__} a blocking one"
            )
        watch = Watch(self, run, cancel)
        with _noting(run, on_progress):
            for progress in watch:
                if on_progress is not None:
                    on_progress(progress)
        assert run.last is not None
        return outcome(run.last, run.token)

    def _ask(self, run: Run[W]) -> Progress[W] | None:
        """One turn; none where a rate limit came while this one waited for its place."""
        with self._polls:
            if run.delay() or run.is_over:
                return None
            return self._drive(run.turn())

    def _drive(self, flow: Flow[T]) -> T:
        """Do what a flow asks for until it returns."""
        try:
            effect = next(flow)
            while True:
                try:
                    result = self._do(effect)
                except OpwatchError as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(result)
        except StopIteration as stop:
            value: T = stop.value
            return value
        except BaseException as error:  # noqa: BLE001 (raised again)
            raise transport.unseen(error)  # noqa: B904 (the same error)
        finally:
            flow.close()

    def _do(self, effect: Effect) -> Answer | Secret | None:
        if isinstance(effect, Outgoing):
            return self._transport.send(effect)
        if isinstance(effect, Flight):
            effect.landed.result()
            return None
        secret = Secret(_asked(effect))
        if inspect.isawaitable(secret.reveal()):
            _discard(secret.reveal())
            raise ConfigurationError(
                f"the token callable is async; give {type(self).__name__} a blocking one"
            )
        return secret


class _noting:  # noqa: N801 (reads as what it does)
    """What ends a wait from outside (Ctrl-C, `on_progress`) has the token noted on it.

    An error of the wait itself carries it already. An `on_progress` that draws (`opwatch.bars`) has
    a `wait_over`, which is told however the wait ends: it is called with answers alone, and would
    otherwise draw on under a traceback.
    """

    def __init__(self, run: Run[Any], on_progress: object) -> None:
        self._run = run
        self._wait_over = getattr(on_progress, "wait_over", None)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._wait_over is not None:
            self._wait_over(self._run.job_id)
        if isinstance(error, OpwatchError) and error.token and error.job_id == self._run.job_id:
            return
        if error is not None:
            error.add_note(_resume_note(self._run.token))


def _asked(ask: Ask) -> Any:
    """Call the user's token callable. What it raises is its own; our error says which it was."""
    try:
        return ask.function()
    except OpwatchError:
        raise
    except Exception as error:
        raise AuthenticationError(f"the token callable raised {type(error).__name__}") from error


def _discard(awaitable: object) -> None:
    if inspect.iscoroutine(awaitable):
        awaitable.close()


def _check_callable(on_progress: object) -> None:
    if on_progress is not None and not callable(on_progress):
        raise ConfigurationError(f"on_progress must be callable, not {on_progress!r}")


def _check_cancel(cancel: Any, *, asynchronous: bool = False) -> Any:
    if cancel is None:
        return None
    wait = getattr(cancel, "wait", None)
    fits = callable(wait) and callable(getattr(cancel, "is_set", None))
    if (
        not fits
        or isinstance(cancel, type)
        or inspect.iscoroutinefunction(wait) is not asynchronous
    ):
        kind = "an asyncio, trio or anyio Event" if asynchronous else "a threading.Event"
        given = f"{type(cancel).__module__}.{type(cancel).__qualname__}"
        raise ConfigurationError(f"cancel must be {kind}, not {given.removeprefix('builtins.')}")
    return cancel


# --- async ----------------------------------------------------------------------------------------


class AsyncWatch(Generic[W], AsyncIterator[Progress[W]]):
    """As `Watch`, for `async for`."""

    def __init__(self, client: AsyncClient[W], run: Run[W], cancel: AsyncCancel | None) -> None:
        self._client = client
        self._run = run
        self._cancel = _check_cancel(cancel, asynchronous=True)

    async def __anext__(self) -> Progress[W]:
        run = self._run
        while True:
            run.raise_error()
            if run.is_over:
                raise StopAsyncIteration
            if delay := run.delay():
                await self._pause(delay)
            elif run.error is None:
                self._stop_if_cancelled()
                progress = await self._client._ask(run)
                if progress is not None:
                    return progress

    @property
    def last(self) -> Progress[W] | None:
        return self._run.last

    @property
    def token(self) -> str:
        return self._run.token

    @property
    def job_id(self) -> str:
        return self._run.job_id

    async def _pause(self, delay: float) -> None:
        self._stop_if_cancelled()
        await self._client._clock.asleep(delay, self._cancel)
        self._stop_if_cancelled()

    def _stop_if_cancelled(self) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise self._run.cancel()


class AsyncClient(Core[W]):
    """`Client` with `await`, on asyncio and trio. Usable from several event loops."""

    def _open(self, *arguments: Any) -> None:
        from anyio.lowlevel import RunVar  # a blocking start does not wait for it

        super()._open(*arguments)
        self._transport = transport.open_async.get()(self._limits)
        self._polls: RunVar[anyio.Semaphore] = RunVar(f"opwatch polls {id(self)}")
        self._many: weakref.WeakSet[AsyncWatchMany[W]] = weakref.WeakSet()

    async def progress(self, job_id: str) -> Progress[W]:
        """As `Client.progress`."""
        job_id = self._session.check_id(job_id)
        return (await self._drive(self._session.query(job_id))).progress

    async def wait(
        self,
        job_id: str,
        *,
        timeout: float | None,
        on_progress: Callable[[Progress[W]], object | Awaitable[object]] | None = None,
        stall_timeout: float | None = None,
        schedule: Schedule | None = None,
        cancel: AsyncCancel | None = None,
    ) -> Progress[W]:
        """As `Client.wait`; `on_progress` may be async, `cancel` is an event of the event loop."""
        how = {"stall_timeout": stall_timeout, "schedule": schedule}
        return await self._finish(self._run(job_id, timeout, **how), on_progress, cancel)

    def watch(
        self,
        job_id: str,
        *,
        timeout: float | None,
        stall_timeout: float | None = None,
        schedule: Schedule | None = None,
        cancel: AsyncCancel | None = None,
    ) -> AsyncWatch[W]:
        """As `Client.watch`, for `async for`."""
        how = {"stall_timeout": stall_timeout, "schedule": schedule}
        return AsyncWatch(self, self._run(job_id, timeout, **how), cancel)

    def watch_many(
        self,
        job_ids: Iterable[str],
        *,
        timeout: float | None,
        stall_timeout: float | None = None,
        schedule: Schedule | None = None,
        cancel: AsyncCancel | None = None,
    ) -> AsyncWatchMany[W]:
        """As `Client.watch_many`, for `async for`: up to `max_in_flight` requests at a time."""
        how = {"stall_timeout": stall_timeout, "schedule": schedule}
        runs = self._runs(job_ids, timeout, **how)
        checked = _check_cancel(cancel, asynchronous=True)
        in_flight = self._limits.max_in_flight
        many = AsyncWatchMany(runs, self._clock, self._ask, checked, in_flight)
        self._many.add(many)
        return many

    async def start(
        self,
        job_id: str,
        *,
        timeout: float | None,
        stall_timeout: float | None = None,
        schedule: Schedule | None = None,
    ) -> Step[W]:
        """As `Client.start`."""
        how = {"stall_timeout": stall_timeout, "schedule": schedule}
        return await self._step(self._run(job_id, timeout, **how))

    async def step(self, token: str) -> Step[W]:
        """As `Client.step`."""
        return await self._step(self._resumed(token))

    async def resume(
        self,
        token: str,
        *,
        on_progress: Callable[[Progress[W]], object | Awaitable[object]] | None = None,
        cancel: AsyncCancel | None = None,
    ) -> Progress[W]:
        """As `Client.resume`."""
        return await self._finish(self._resumed(token), on_progress, cancel)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        for many in list(self._many):
            await many.give_up_requests()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.aclose()

    async def _step(self, run: Run[W]) -> Step[W]:
        if run.delay() or run.error is not None:
            return self._step_of(run, None)
        return self._step_of(run, await self._ask(run))

    async def _finish(
        self,
        run: Run[W],
        on_progress: Callable[[Progress[W]], object] | None,
        cancel: AsyncCancel | None,
    ) -> Progress[W]:
        _check_callable(on_progress)
        watch = AsyncWatch(self, run, cancel)
        with _noting(run, on_progress):
            async for progress in watch:
                if on_progress is not None:
                    result = on_progress(progress)
                    if inspect.isawaitable(result):
                        await result
        assert run.last is not None
        return outcome(run.last, run.token)

    async def _ask(self, run: Run[W]) -> Progress[W] | None:
        """One turn; none where a rate limit came while this one waited for its place."""
        async with self._places():
            if run.delay() or run.is_over:
                return None
            return await self._drive(run.turn())

    def _places(self) -> anyio.Semaphore:
        """For the queries of the running event loop."""
        places = self._polls.get(None)
        if places is None:
            places = anyio.Semaphore(self._limits.max_in_flight, fast_acquire=True)
            self._polls.set(places)
        return places

    async def _drive(self, flow: Flow[T]) -> T:
        """Do what a flow asks for until it returns."""
        try:
            effect = next(flow)
            while True:
                try:
                    result = await self._do(effect)
                except OpwatchError as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(result)
        except StopIteration as stop:
            value: T = stop.value
            return value
        except BaseException as error:  # noqa: BLE001 (raised again)
            raise transport.unseen(error)  # noqa: B904 (the same error)
        finally:
            flow.close()

    async def _do(self, effect: Effect) -> Answer | Secret | None:
        if isinstance(effect, Outgoing):
            return await self._transport.send(effect)
        if isinstance(effect, Flight):
            await _landing(effect)
            return None
        return await _awaited(effect)


async def _awaited(ask: Ask) -> Secret:
    """Call the user's token callable, blocking or async."""
    result = _asked(ask)
    if not inspect.isawaitable(result):
        return Secret(result)
    try:
        return Secret(await result)
    except OpwatchError:
        raise
    except Exception as error:
        raise AuthenticationError(f"the token callable raised {type(error).__name__}") from error


async def _landing(flight: Flight) -> None:
    """Wait for a request that may be made on another thread's event loop."""
    event = anyio.Event()
    loop = running_loop()
    soon: Callable[[Callable[[], None]], object] = getattr(
        loop, "call_soon_threadsafe", None
    ) or getattr(loop, "run_sync_soon")  # noqa: B009 (trio's; asyncio's loop has none)

    def wake(_: object) -> None:
        with suppress(RuntimeError):  # that loop is closed: nobody waits there any more
            soon(event.set)

    flight.landed.add_done_callback(wake)
    await event.wait()
