"""The loop: the only code that waits, written once, for blocking and async clients.

The loop and everything that sends are coroutines over an `Io`. The async client awaits them. The
blocking client runs the same coroutines with an `Io` whose methods block and never suspend, so that
one `send(None)` finishes a coroutine (`blocking`, in `net.message`). Each request takes a slot,
passes the hold of its origin, and only then is sent; a `Turn` is one poll, which ends, in total,
within the client's `request_timeout`.
"""

from __future__ import annotations

import inspect
import logging
import math
import queue
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

from opwatch import telemetry
from opwatch.clock import Clock
from opwatch.core import polling
from opwatch.core.holds import Holds
from opwatch.core.nudges import AsyncBell, Bell, Nudges, Wait, running_loop
from opwatch.core.run import Run
from opwatch.errors import ConfigurationError, OpwatchError, TransportError
from opwatch.events import Ended, Event, Retrying
from opwatch.logs import log, logger
from opwatch.net import fork
from opwatch.net.message import Answer, Request
from opwatch.progress import Progress
from opwatch.reading import longest, retry_after

if TYPE_CHECKING:
    from opwatch.auth.flight import Flight
    from opwatch.core.channel import Channel
    from opwatch.core.options import Settings

T = TypeVar("T")
W = TypeVar("W")
Io: TypeAlias = "BlockingIo | AsyncIo"

PATIENCE = 1.0
"""Seconds for which a first poll is delayed at most, while the channel is being opened."""


class Turn:
    """One poll, with all the requests that it needs."""

    __slots__ = ("clock", "end", "holds", "io", "last", "sending")

    def __init__(
        self,
        io: Io,
        last: float | None,
        sending: Callable[[], object] | None = None,
        seconds: float = math.inf,
    ) -> None:
        self.io, self.clock, self.holds = io, io.clock, io.holds
        self.end = time.monotonic() + min(io.request_timeout, seconds)
        """When it must have ended, on the monotonic clock."""
        self.last = last
        """The wait's deadline, on the client's clock; from then on, our own backoff is ignored."""
        self.sending = sending
        """Called right before each request is sent, or None."""

    def left(self) -> float:
        return max(self.end - time.monotonic(), 0.0)

    def send(self, request: Request) -> Coroutine[Any, Any, Answer]:
        return self.io.send(request, self)

    def asked(self, answer: Answer) -> float | None:
        """Return the seconds for which an answer asks for no requests: in `Retry-After`, or in a
        header of the service's own."""
        if self.io.pause is None and not answer.all("retry-after"):
            return None
        epoch = self.clock.epoch()
        pause = retry_after(answer, epoch)
        if self.io.pause is not None:
            with suppress(Exception):  # a service's reader may raise anything
                pause = longest(pause, self.io.pause(answer, epoch))
        return pause

    def admit(self, request: Request) -> None:
        """Raise the error that keeps a request from being sent; otherwise, report its sending."""
        if time.monotonic() >= self.end:
            raise TransportError(
                f"`request_timeout` ({self.io.request_timeout:g} s) passed before the request "
                "was sent"
            )
        self.holds.check(request, self.last)
        if self.sending is not None:
            self.sending()

    def learn(self, request: Request, answer: Answer | None) -> None:
        """Hold an origin that asks for a pause, in whatever answer, even one that broke off."""
        if answer is None:
            return
        origin = request.address.origin
        if (pause := self.asked(answer)) is not None:
            self.holds.limited(origin, pause)
        elif answer.status < 400:
            self.holds.answered(origin)


# --- the loop -------------------------------------------------------------------------------------


async def upcoming(run: Run[W], io: Io, cancel: Any = None) -> Progress[W] | None:
    """Return the next answer of a wait; None after the last. Raise what ended the wait."""
    if not run.has_started:
        if not run.is_over:
            await io.listen(run.state.plan.deadline, cancel)
        await start(run)
    while run.unseen is None and not run.is_over:
        if cancel is not None and cancel.is_set():
            run.cancel()
            await tell(run, run.events)
        elif run.due > io.clock.now():
            await io.sleep(run, cancel)
        else:
            run.unseen = await poll(run, io)
            await tell(run, run.events, run.unseen)
    progress, run.unseen = run.unseen, None
    if progress is None and run.error is not None:
        raise run.error
    return progress


async def poll(run: Run[W], io: Io, seconds: float = math.inf) -> Progress[W] | None:
    """Poll once, in at most `seconds`; return the answer, if there is one."""
    turn = Turn(io, run.state.plan.deadline, run.sending, seconds)
    closer = polling.wants_closer_look(run.state)
    run.begin(io.clock.now())
    try:
        with telemetry.inside(run.span):
            brought: Any = await run.session.query(turn, run.job_id, closer=closer, over=run.over)
    except OpwatchError as error:
        brought = error.with_traceback(None)  # it would keep its frames alive
    pause, before = io.holds.asked(run.session.address.origin), run.state.polls
    progress = run.learn(brought, io.clock.now(), io.clock.jitter(), pause)
    if run.state.polls > before:  # otherwise, nothing was sent
        telemetry.polled(run.session.service.name)
    return progress


async def start(run: Run[W]) -> None:
    """Report once that a wait begins."""
    if not run.has_started:
        run.has_started = True
        await tell(run, run.starts)


async def tell(run: Run[W], events: Callable[..., list[Event[W]]], *brought: Any) -> None:
    """Log and measure what happened, and call `on_event` if there is one.

    A callback that raises isn't called again, unless it was cancelled.
    """
    listens = run.on_event is not None or logger.isEnabledFor(logging.INFO)
    if not (listens or telemetry.is_loaded()):
        return
    for event in events(*brought):
        run.has_ended = isinstance(event, Ended)
        run.span = telemetry.note(event, run.span)
        if isinstance(event, Retrying) and event.error is not None:
            words = (event.service, event.job_id, event.error._what(), event.next_poll_in)
            log(logging.INFO, "%s %s: %s; next poll in %.0f s", *words, extra=event.to_dict())
        try:
            if run.on_event is not None and inspect.isawaitable(done := run.on_event(event)):
                await done
        except BaseException as error:
            if not is_cancellation(error):
                run.on_event = None
            if isinstance(error, StopAsyncIteration):  # it would end the caller's loop
                raise RuntimeError("on_event raised StopAsyncIteration") from error
            raise


def is_cancellation(error: BaseException) -> bool:
    """Return whether the running task is being cancelled; a `CancelledError` may be the user's."""
    import asyncio

    if not isinstance(error, asyncio.CancelledError):
        kind = type(error)
        return (kind.__module__.partition(".")[0], kind.__name__) == ("trio", "Cancelled")
    with suppress(RuntimeError):  # on trio
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return False


# --- blocking, and async --------------------------------------------------------------------------


class _Slot:
    """The right to send one request. It is returned automatically if an interrupt drops it."""

    __slots__ = ("_home",)

    def __init__(self, home: queue.SimpleQueue[_Slot]) -> None:
        self._home = weakref.ref(home)

    def release(self) -> None:
        if (home := self._home()) is not None:
            home.put(self)

    def __del__(self) -> None:
        if (home := self._home()) is not None:
            home.put(_Slot(home))


class _Slots(queue.SimpleQueue[_Slot]):
    """The free slots of one event loop, and the turns of those who wait for one."""

    def __init__(self, count: int) -> None:
        self.turns: deque[Any] = deque()
        for _ in range(count):
            super().put(_Slot(self))

    def put(self, item: _Slot, block: bool = True, timeout: float | None = None) -> None:
        super().put(item)
        if self.turns:
            self.call()

    def call(self) -> None:
        """Let the first of those who wait take a slot, if there is one."""
        if self.turns and not self.empty():
            self.turns[0].set()


class _Io:
    """The state that both kinds share: a client's holds and limits."""

    is_async: ClassVar[bool]
    _bell: ClassVar[Any]
    _slot: Any
    _sleep: Any
    after_fork: Any
    """Starts with every slot free."""
    pause: Callable[[Answer, float], float | None] | None = None
    """Reads the service's own headers that ask for a pause (`Service.pause`)."""

    def __init__(self, transport: Any, clock: Clock, settings: Settings) -> None:
        self.clock = clock
        self.holds = Holds(clock)
        self.nudges = Nudges()
        self.channel: Channel | None = None
        """The channel on which the service reports ends; None unless notifications are enabled."""
        self.request_timeout = settings.request_timeout
        self.max_in_flight = settings.max_in_flight
        self._transport = transport
        holds = self.holds
        # What may have changed while a connection was opened. It holds no `self`: that would be a
        # cycle, and a client that is dropped would keep its connections.
        transport.admit = lambda request: holds.check(request, -math.inf)
        self.after_fork()
        fork.watch(self)

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close()

    async def send(self, request: Request, turn: Turn) -> Answer:
        """Send a request once there is a slot for it, unless it must not be sent."""
        if (slot := await self._slot(turn.left())) is None:
            raise TransportError(
                f"no request was sent within `request_timeout` ({self.request_timeout:g} s), "
                f"because `max_in_flight` ({self.max_in_flight}) other requests were in flight"
            )
        try:
            turn.admit(request)
            with telemetry.request(request) as traced:
                sent = self._transport.send(request, turn.end)
                answer: Answer = await sent if self.is_async else sent
                traced.status = answer.status
        except TransportError as error:
            turn.learn(request, error.__dict__.pop("head", None))
            raise
        finally:
            slot.release()
        turn.learn(request, answer)
        return answer

    async def sleep(self, wait: Wait, cancel: Any) -> None:
        """Sleep until a poll is due, or until the wait is nudged or cancelled."""
        bell = self._bell(cancel)
        wait.wake = bell.ring
        if (left := wait.due - self.clock.now()) > 0:  # looked at again: a nudge may have come
            await self._sleep(self.clock, left, bell)

    async def listen(self, deadline: float | None, cancel: Any) -> None:
        """Before a first poll, wait until the channel is open, or has failed to open.

        Not for long: whoever gives up lands the flight, so that nobody else waits for it, and the
        channel nudges every wait when it does open.
        """
        if self.channel is not None and not (flight := self.channel.opening()).has_landed:
            left = PATIENCE if deadline is None else deadline - self.clock.now()
            await self.landed(flight, max(0.0, min(left, PATIENCE)), cancel)
            flight.land()

    async def landed(self, flight: Flight, seconds: float, cancel: Any = None) -> bool:
        """Wait until something has landed, in this thread or another; return whether it has."""
        bell = self._bell(cancel)
        flight.on_landing(bell.ring)
        await self._sleep(Clock(), seconds, bell)
        return flight.has_landed

    async def landing(self, flight: Flight, turn: Turn, *awaited: str) -> None:
        """Wait until another caller's request has landed; `awaited` is what it brings, if that
        isn't a token."""
        if not await self.landed(flight, turn.left()):
            raise self._late(*awaited)

    def last_word(self) -> AbstractContextManager[object]:
        """Return what to tell the last event of a cancelled wait in."""
        if not self.is_async:
            return nullcontext()
        import anyio

        return anyio.move_on_after(self.request_timeout, shield=True)

    async def result(self, value: Any, turn: Turn) -> Any:
        """Return what a callable of the user's returned, awaited if need be."""
        if not inspect.isawaitable(value):
            return value
        if not self.is_async:
            if inspect.iscoroutine(value):
                value.close()
            problem = "must not be async in a blocking client; use the async one"
            raise ConfigurationError(problem, argument="auth")
        import anyio

        with anyio.move_on_after(turn.left()):
            return await value
        raise self._late()

    def check_cancel(self, cancel: Any) -> Any:
        """Return `cancel`; raise a `ConfigurationError` if it isn't an event of the right kind."""
        wait = getattr(cancel, "wait", None)
        is_event = callable(wait) and callable(getattr(cancel, "is_set", None))
        is_right = is_event and inspect.iscoroutinefunction(wait) is self.is_async
        if cancel is not None and (isinstance(cancel, type) or not is_right):
            kind = "an asyncio, trio or anyio Event" if self.is_async else "a threading.Event"
            given = f"{type(cancel).__module__}.{type(cancel).__qualname__}"
            problem = f"must be {kind}, not {given.removeprefix('builtins.')}"
            raise ConfigurationError(problem, argument="cancel")
        return cancel

    def _late(self, awaited: str = "token") -> TransportError:
        return TransportError(
            f"no {awaited} arrived within `request_timeout` ({self.request_timeout:g} s)"
        )


class BlockingIo(_Io):
    """Blocking input and output. Thread-safe, and safe to interrupt anywhere."""

    is_async = False
    _bell = Bell

    def after_fork(self) -> None:
        self._slots: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        for _ in range(self.max_in_flight):
            self._slots.put(_Slot(self._slots))

    async def _slot(self, seconds: float) -> _Slot | None:
        try:
            return self._slots.get(timeout=seconds)
        except queue.Empty:
            return None

    async def _sleep(self, clock: Clock, seconds: float, bell: Bell) -> None:
        clock.sleep(seconds, bell)


class AsyncIo(_Io):
    """Async input and output, on asyncio and trio, in any number of event loops."""

    is_async = True
    _bell = AsyncBell

    def after_fork(self) -> None:
        self._slots: weakref.WeakKeyDictionary[Any, _Slots] = weakref.WeakKeyDictionary()

    async def _slot(self, seconds: float) -> _Slot | None:
        import anyio

        loop = running_loop()
        if (slots := self._slots.get(loop)) is None:
            slots = self._slots[loop] = _Slots(self.max_in_flight)
        if not (slots.turns or slots.empty()):
            return slots.get_nowait()
        turn = anyio.Event()
        try:
            slots.turns.append(turn)
            slots.call()  # a slot that was dropped may have come back before
            with anyio.move_on_after(seconds):
                await turn.wait()
                return slots.get_nowait()
        finally:
            with suppress(ValueError):  # Ctrl-C came before it was there
                slots.turns.remove(turn)
            slots.call()
        return None

    async def _sleep(self, clock: Clock, seconds: float, bell: AsyncBell) -> None:
        await clock.asleep(seconds, bell)
