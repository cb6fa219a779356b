"""Tools for testing code that waits: a fake clock, so tests never sleep, and a scripted service.

    with FakeClock() as clock, Script({"/jobs/j1/progress": [reply(200, {...}), ...]}) as script:
        client = ITwin("a token")
        client.wait("j1", timeout=3600)
    assert [sent.time for sent in script.sent] == [0, 15, 45]

Both work for the clients created inside the `with` block, blocking and async, in every thread.
Neither knows a service; a real server on loopback is `opwatch.simulator`.
"""

from __future__ import annotations

import copy
import heapq
import json
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.lowlevel
import attrs

from opwatch import clock as clocks
from opwatch import net
from opwatch.clock import AsyncCancel, Cancel, Clock
from opwatch.current import Current
from opwatch.errors import OpwatchError, TransportError
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.blocking import Transport
from opwatch.net.message import Answer, Request, Secret

__all__ = ["FakeClock", "Reply", "Script", "Sent", "conformance", "reply"]

_IDLE_TURNS = 25
"""Turns of the event loop in which nothing happens before time moves on; one is enough if there is
no other task that could do anything."""


class FakeClock(Clock):
    """A clock that doesn't advance until something sleeps, and then immediately jumps ahead.

    `now` starts at 0. `epoch` is the wall clock's time at that moment; `jump` changes only the wall
    clock, as an operator would. `jitter` is 0, or random with the seed `seed`. Async sleepers wake
    in the order of their times, but not while a request of an async client created with this clock
    is in flight, because a server responds in real time. A blocking sleep moves the clock
    immediately, whatever other threads do.
    """

    def __init__(self, *, epoch: float = 1_800_000_000.0, seed: int | None = None) -> None:
        self._now = 0.0
        self._offset = epoch
        self._random = None if seed is None else random.Random(seed)  # noqa: S311 (for tests)
        self._lock = threading.Lock()
        self._sleepers: list[tuple[float, int]] = []
        self._count = 0
        self._under_way = 0
        self._uses: list[AbstractContextManager[None]] = []
        self.slept: list[float] = []
        """Every sleep, in seconds."""

    def now(self) -> float:
        """Return how many seconds have passed, starting at 0."""
        return self._now

    def epoch(self) -> float:
        """Return the wall clock's time, in seconds since 1970."""
        return self._offset + self._now

    def jitter(self) -> float:
        return 0.0 if self._random is None else self._random.random()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back if `seconds` is negative; `now` doesn't change."""
        self._offset += seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._move_to(self._now + seconds)

    def sleep(self, seconds: float, cancel: Cancel | None = None) -> None:
        if cancel is not None and cancel.is_set():
            return
        self.slept.append(seconds)
        self._move_to(self._now + seconds)

    async def asleep(self, seconds: float, until: AsyncCancel | None = None) -> None:
        self.slept.append(seconds)
        self._count += 1
        place = (self._now + seconds, self._count)
        heapq.heappush(self._sleepers, place)
        try:
            while self._now < place[0] and not (until is not None and until.is_set()):
                if await self._is_idle(until) and self._sleepers[0] == place:
                    self._move_to(place[0])
        finally:
            self._sleepers.remove(place)
            heapq.heapify(self._sleepers)
        await anyio.lowlevel.checkpoint()

    async def _is_idle(self, until: AsyncCancel | None) -> bool:
        """Whether all other tasks had their turns and none began to sleep meanwhile."""
        seen = (self._count, self._now)
        while self._under_way and not (until is not None and until.is_set()):
            await anyio.sleep(0.001)  # in real time, as the answer comes
        alone = len(self._sleepers) == 1 and len(anyio.get_running_tasks()) == 1
        for _ in range(1 if alone else _IDLE_TURNS):
            await anyio.lowlevel.checkpoint()
            if until is not None and until.is_set():
                return False
        return (self._count, self._now) == seen and not self._under_way

    def _move_to(self, time: float) -> None:
        with self._lock:
            self._now = max(self._now, time)

    @contextmanager
    def used(self) -> Iterator[None]:
        counted = net.open_async.wrap(
            lambda opened: lambda settings: self._counting(opened(settings))
        )
        try:
            with super().used():
                yield
        finally:
            net.open_async.reset(counted)

    def __enter__(self) -> Self:
        use = self.used()
        use.__enter__()
        self._uses.append(use)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._uses:
            self._uses.pop().__exit__(kind, error, traceback)

    def _counting(self, inner: AsyncTransport) -> AsyncTransport:
        """Return a transport whose requests this clock waits for."""
        send = inner.send

        async def counted(request: Request, end: float) -> Answer:
            self._under_way += 1
            try:
                return await send(request, end)
            finally:
                self._under_way -= 1

        inner.send = counted  # type: ignore[method-assign]
        return inner


@attrs.frozen
class Reply:
    """A response of a script."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def reply(status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply. A `body` of bytes is sent unchanged, None is empty, and anything else becomes
    JSON."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Reply(status, raw, tuple((headers or {}).items()))


@attrs.frozen
class Sent:
    """A request that a script received."""

    time: float
    method: str
    target: str


Handler = Callable[[Request], "Reply | OpwatchError"]


class Script:
    """A scripted service that replaces the network.

    `replies` maps the end of a request's target to a list of replies, which are used in order; the
    last one repeats, and a single one needs no list. An error in the list (a `TransportError`, for
    example) is raised. Instead of a mapping, `replies` can be a function that takes the request.
    Raises `TypeError` for anything else.
    """

    def __init__(
        self,
        replies: Mapping[str, Reply | OpwatchError | Iterable[Reply | OpwatchError]] | Handler,
    ) -> None:
        self._handler = replies if callable(replies) else None
        self._replies = {} if callable(replies) else {k: _list(v) for k, v in replies.items()}
        if empty := [end for end, found in self._replies.items() if not found]:
            raise ValueError(
                f"a script needs at least one reply for each target, but has none for {empty}"
            )
        self._uses: list[ExitStack] = []
        self._lock = threading.Lock()
        self.sent: list[Sent] = []
        """Every request, in order."""

    def answer(self, request: Request, time: float) -> Answer:
        """Return the reply to a request made at `time`, or raise what the script says."""
        self.sent.append(Sent(time, request.method, request.target))
        if self._handler is None:
            with self._lock:
                found = self._next(request.target)
        else:
            found = _checked(self._handler(_plain(request)))
        if isinstance(found, OpwatchError):
            raise copy.copy(found)  # each wait notes on its error which job it was about
        headers = tuple((name.lower().encode(), value.encode()) for name, value in found.headers)
        return Answer(found.status, headers, found.body, secrets=request.secrets)

    def _next(self, target: str) -> Reply | OpwatchError:
        for end, replies in self._replies.items():
            if target.endswith(end):
                return replies.pop(0) if len(replies) > 1 else replies[0]
        raise AssertionError(f"the script has no reply for {target}; it has {[*self._replies]}")

    def __enter__(self) -> Self:
        scripted: list[tuple[Current[Any], Callable[[Any], Any]]] = [
            (net.open_blocking, lambda settings: _Scripted(settings, self)),
            (net.open_async, lambda settings: _AsyncScripted(settings, self)),
            (net.open_websocket, lambda settings: _no_websocket),
        ]
        use = ExitStack()
        for opener, opened in scripted:
            use.callback(opener.reset, opener.set(opened))
        self._uses.append(use)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._uses:
            self._uses.pop().close()


def _list(replies: Any) -> list[Reply | OpwatchError]:
    is_one = isinstance(replies, (Reply, OpwatchError, Mapping, str, bytes))
    return [_checked(one) for one in ([replies] if is_one else replies)]


def _checked(found: Any) -> Reply | OpwatchError:
    if isinstance(found, (Reply, OpwatchError)):
        return found
    raise TypeError(f"a script's replies must be made by reply() or be errors, not {found!r:.60}")


def _no_websocket(*how: Any) -> Any:
    raise TransportError("a script has no WebSocket; call client.nudge()", transient=False)


def _plain(request: Request) -> Request:
    """Return the request as a server would see it, credentials included."""
    headers = tuple((name, _text(value)) for name, value in request.headers)
    body = request.body.encode() if isinstance(request.body, Secret) else request.body
    return Request(request.method, request.address, request.target, headers, body)


def _text(value: str | Secret) -> str:
    return value.encode().decode("utf-8", "surrogatepass") if isinstance(value, Secret) else value


class _Scripted(Transport):
    def __init__(self, settings: Any, script: Script) -> None:
        super().__init__(settings)
        self._script = script
        self._clock = clocks.current.get()

    def send(self, request: Request, end: float) -> Answer:
        return self._script.answer(request, self._clock.now())


class _AsyncScripted(AsyncTransport):
    def __init__(self, settings: Any, script: Script) -> None:
        super().__init__(settings)
        self._script = script
        self._clock = clocks.current.get()

    async def send(self, request: Request, end: float) -> Answer:
        await anyio.lowlevel.checkpoint()
        return self._script.answer(request, self._clock.now())


from opwatch.testing.contract import conformance  # noqa: E402 (which uses all of the above)
