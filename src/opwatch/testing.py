"""For tests of code that waits: a fake clock, so tests never sleep, and a scripted service.

    with FakeClock() as clock, Script({"/jobs/j1/progress": [reply(200, {...}), ...]}) as script:
        client = ITwin("a token")
        client.wait("j1", timeout=3600)
    assert [sent.time for sent in script.sent] == [0, 15, 45]

Both work for the clients created inside the `with` block, blocking and async. Neither knows a
service; a real server on loopback is `opwatch.simulator`.
"""

from __future__ import annotations

import copy
import heapq
import itertools
import json
import pickle
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import anyio
import anyio.lowlevel
import attrs

from opwatch import clock as clocks
from opwatch import net
from opwatch.client import AsyncClient, Plugin
from opwatch.clock import AsyncCancel, Cancel, Clock
from opwatch.core.run import Step
from opwatch.errors import ConfigurationError, OpwatchError, TransportError, error_kind
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.blocking import Transport
from opwatch.net.message import Answer, Request, Secret

__all__ = ["FakeClock", "Reply", "Script", "Sent", "conformance", "reply"]

_IDLE_TURNS = 25
"""Turns of the event loop in which nothing happens before time moves on; one is enough if there is
no other task that could do anything."""


class FakeClock(Clock):
    """A clock that doesn't advance until something sleeps, and then jumps ahead at once.

    `now` starts at 0. `epoch` is the wall clock's time at that moment, and `jump` moves it alone,
    as an operator would. `jitter` is 0, or drawn from `seed`. Several async sleepers wake in the
    order of their times, and none while a request of an async client created with this clock is in
    flight: a server answers in real time. A blocking sleep takes its time at once, whatever other
    threads do.
    """

    def __init__(self, *, epoch: float = 1_800_000_000.0, seed: int | None = None) -> None:
        self._now = 0.0
        self._offset = epoch
        self._random = None if seed is None else random.Random(seed)  # noqa: S311 (for tests)
        self._lock = threading.Lock()
        self._sleepers: list[tuple[float, int]] = []
        self._count = 0
        self._under_way = 0
        self._resets: list[Callable[[], None]] = []
        self.slept: list[float] = []
        """Every sleep, in seconds."""

    def now(self) -> float:
        return self._now

    def epoch(self) -> float:
        return self._offset + self._now

    def jitter(self) -> float:
        return 0.0 if self._random is None else self._random.random()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back if `seconds` is negative."""
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

    def __enter__(self) -> Self:
        clock = clocks.current.set(self)
        opened = net.open_async.get()
        counted = net.open_async.set(lambda settings: self._counting(opened(settings)))
        self._resets = [
            lambda: net.open_async.reset(counted),
            lambda: clocks.current.reset(clock),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for reset in self._resets:
            reset()

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
    """An answer of a script."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def reply(status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply; `body` is bytes as they are, None for nothing, or anything else as JSON."""
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
    """A scripted service instead of the network.

    `replies` maps the end of a request's target to its answers, one after another; the last one is
    repeated. An answer is a reply, or an error to raise (a `TransportError`, for example). Instead
    of a mapping, it may be a function of the request.
    """

    def __init__(self, replies: Mapping[str, Iterable[Reply | OpwatchError]] | Handler) -> None:
        self._handler = replies if callable(replies) else None
        self._replies = {} if callable(replies) else {k: list(v) for k, v in replies.items()}
        if empty := [end for end, found in self._replies.items() if not found]:
            raise ValueError(
                f"a script needs at least one reply for each target, and has none for {empty}"
            )
        self._resets: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self.sent: list[Sent] = []
        """Every request, in order."""

    def answer(self, request: Request, time: float) -> Answer:
        """Return the answer to a request made at `time`, or raise what the script says."""
        with self._lock:
            self.sent.append(Sent(time, request.method, request.target))
            found = self._handler(_plain(request)) if self._handler else self._next(request.target)
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
        blocking = net.open_blocking.set(lambda settings: _Scripted(settings, self))
        asynchronous = net.open_async.set(lambda settings: _AsyncScripted(settings, self))
        websocket = net.open_websocket.set(lambda settings: _no_websocket)
        self._resets = [
            lambda: net.open_blocking.reset(blocking),
            lambda: net.open_async.reset(asynchronous),
            lambda: net.open_websocket.reset(websocket),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for reset in self._resets:
            reset()


def _no_websocket(*how: Any) -> Any:
    refused = TransportError("a script has no WebSocket; call client.nudge()")
    refused.transient = False
    raise refused


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


# --- the contract of a service --------------------------------------------------------------------

_ODD: tuple[Any, ...] = (None, True, -1, 1e308, "", "odd", "\ud800", [], [{}], {}, {"odd": 1})
_BODIES = (b"", b"null", b"[]", b"{}", b'{"a":', b"\xff", b"<html>", b"[" * 100_000)
_MOST = 300  # variants of a sample
_BAD_IDS = ("", " ", ".", "..", "a?b", "a#b", "a%2Fb", "a\nb", "a\\b")


def conformance(
    plugin: Plugin,
    make: Callable[[Any], Any],
    *,
    job_id: str,
    samples: Iterable[tuple[str, Any]] = (),
) -> None:
    """Check what opwatch promises of every service, with the blocking and the async client.

    `make` creates a client of a class with made-up credentials that need no request:
    `lambda client: client("a token")`. `samples` are answers of the service about the job, each
    with the phase that it means. Raises `AssertionError` for the first promise that isn't kept:
    that samples are read as they say, that no answer raises anything but an `OpwatchError` and no
    unknown word or nonsense is a success, that the right job is polled, that an invalid ID sends
    nothing, and that answers can be pickled and waits resumed.
    """
    given = list(samples)
    for kind in (plugin.client, plugin.async_client):
        service = make(kind)._session.service
        assert service.name == plugin.name, f"the service is {service.name}, not {plugin.name}"
        parts = (service.id_parts, plugin.id_parts)
        assert parts[0] == parts[1], f"the service's IDs have {parts[0]} parts, not {parts[1]}"
        status = service.statuses[0]
        poll = partial(_polled, make, kind, job_id)
        for phase, value in given:
            _check_sample(make, kind, job_id, phase, partial(reply, status), value)
            for odd in _some(_odd(value)):
                poll(reply(status, odd))
        for body in _BODIES:
            found = poll(Reply(status, body))
            assert getattr(found, "phase", None) != "succeeded", f"{body[:20]!r} is a success"
            if not isinstance(found, OpwatchError):
                _check_progress(service, found)
        for code in range(300, 600):
            _check_error(service, code, poll(reply(code, {})))
        _check_ids(make, kind, job_id)
        for phase, value in given:
            _check_resuming(plugin, make, kind, job_id, phase, reply(status, value))


def _check_sample(
    make: Callable[[Any], Any], kind: Any, job_id: str, phase: str, answer: Any, value: Any
) -> None:
    """A sample is read as its phase, about the job that was asked for."""
    with FakeClock(), Script(lambda _: answer(value)):
        client, other = make(kind), f"{job_id}2"
        found, second = (_call(client, "progress", one) for one in (job_id, other))
    told = getattr(found, "phase", found)
    assert told == phase, f"{value!r} is read as {told!s}, not {phase}"
    assert found.job_id == job_id, repr(found)
    told = getattr(second, "job_id", other)
    assert told == other, f"progress() of {other!r} is about {told!r}"
    assert found.service == client._session.service.name, repr(found)
    _check_progress(client._session.service, found)
    for odd in _some(_replaced(value, "a-word-that-nobody-knows")) if phase != "succeeded" else ():
        told = getattr(_polled(make, kind, job_id, answer(odd)), "phase", None)
        assert told != "succeeded", f"{odd!r} is a success, and no documented one"


def _check_progress(service: Any, found: Any) -> None:
    """What a poll returned can be pickled, and says what restarts the schedule."""
    for name, function in (("pickle", pickle.dumps), ("marker", service.marker)):
        try:
            made = function(found)
        except Exception as error:
            raise AssertionError(f"the {name} of {found!r} raises {error!r}") from error
        if name == "pickle":
            assert pickle.loads(made) == found, f"pickling changes {found!r}"  # noqa: S301


def _check_error(service: Any, status: int, found: Any) -> None:
    """An error answer is the error that its status says, unless the service says another."""
    assert isinstance(found, OpwatchError), f"{status} with {{}} is read as {found!r}"
    try:
        own = service.complaint(Answer(status, (), b"{}"), {}).kind
    except Exception:  # noqa: BLE001 (which is a BadResponse)
        own = OpwatchError
    expected = own or error_kind(status) or OpwatchError
    is_right = isinstance(found, expected) or status in (400, 403, 404, 410)
    assert is_right, f"{status} is a {type(found).__name__}, not a {expected.__name__}"


def _check_ids(make: Callable[[Any], Any], kind: Any, job_id: str) -> None:
    """An invalid ID sends nothing, and another valid one is the one that is polled."""
    for bad in (*_BAD_IDS, f"{job_id}/more"):
        with Script(lambda _: reply(200, {})) as script:
            found = _call(make(kind), "progress", bad)
        assert isinstance(found, ConfigurationError), f"{bad!r} is an ID, and gives {found!r}"
        assert not script.sent, f"the ID {bad!r} was sent"
    other = f"{job_id} \u00fc"
    with Script(lambda _: reply(200, {})) as script:
        _call(make(kind), "progress", other)
    targets = [sent.target for sent in script.sent]
    assert all(target.isascii() and " " not in target for target in targets), targets
    last = other.rpartition("/")[2]
    assert any(last in unquote(target) for target in targets), f"{other!r} polls {targets}"


def _check_resuming(
    plugin: Plugin, make: Callable[[Any], Any], kind: Any, job_id: str, phase: str, answer: Reply
) -> None:
    value = answer.body[:500]
    with FakeClock() as clock, Script(lambda _: answer):
        step = _call(make(kind), "start", job_id, timeout=86_400)
        assert isinstance(step, Step), f"start() raises {step!r} for {value!r}"
        if step.delay is None:
            return
        clock.advance(step.delay)
        for other in (plugin.client, plugin.async_client):
            again = _call(make(other), "step", step.token)
            assert isinstance(again, Step), f"step() raises {again!r} for {value!r}"
            found = again.progress and again.progress.phase
            assert found in (phase, None), f"resumed, {phase} is read as {found}"


def _polled(make: Callable[[Any], Any], kind: Any, job_id: str, found: Reply) -> Any:
    with FakeClock(), Script(lambda _: found):
        return _call(make(kind), "progress", job_id)


def _call(client: Any, method: str, *arguments: Any, **named: Any) -> Any:
    """Return what a method returns, or the `OpwatchError` that it raises."""
    function = partial(getattr(client, method), *arguments, **named)
    try:
        return anyio.run(function) if isinstance(client, AsyncClient) else function()
    except OpwatchError as error:
        return error
    except Exception as error:
        raise AssertionError(f"{method}{arguments} raises {error!r}, no OpwatchError") from error


def _some(values: Iterable[Any]) -> list[Any]:
    """Return as many of the values as are tried, the same each time."""
    found = list(itertools.islice(values, 100 * _MOST))
    return found if len(found) <= _MOST else random.Random(0).sample(found, _MOST)  # noqa: S311


def _replaced(value: Any, word: str) -> Iterator[Any]:
    """A JSON value with each text in it replaced by a word."""
    if isinstance(value, str):
        yield word
    if isinstance(value, dict):
        for name, part in value.items():
            yield from (value | {name: one} for one in _replaced(part, word))
    if isinstance(value, list):
        for n, part in enumerate(value):
            yield from ([*value[:n], one, *value[n + 1 :]] for one in _replaced(part, word))


def _odd(value: Any) -> Iterator[Any]:
    """A JSON value with each part of it replaced by something odd, or left out."""
    yield from _ODD
    if isinstance(value, dict):
        for name, part in value.items():
            yield {key: one for key, one in value.items() if key != name}
            for odd in _odd(part):
                yield value | {name: odd}
    if isinstance(value, list):
        for n, part in enumerate(value):
            for odd in _odd(part):
                yield [*value[:n], odd, *value[n + 1 :]]
