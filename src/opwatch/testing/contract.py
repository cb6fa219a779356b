"""What every service must keep: `opwatch.testing.conformance`.

Checks it through the clients, and by passing the service's readers what no service should send.
"""

from __future__ import annotations

import itertools
import math
import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any
from urllib.parse import unquote

import anyio

from opwatch.client import AsyncClient, Plugin
from opwatch.core.run import Step
from opwatch.core.session import MISREAD, Complaint
from opwatch.errors import BadResponse, ConfigurationError, JobGone, OpwatchError, error_kind
from opwatch.net.message import Answer
from opwatch.testing import FakeClock, Reply, Script, reply

_ODD: tuple[Any, ...] = (None, True, -1, 1e308, "", "odd", "\ud800", [], [{}], {}, {"odd": 1})
_BODIES = (b"", b"null", b"[]", b"{}", b'{"a":', b"\xff", b"<html>", b"[" * 100_000)
_WORD = "a-word-that-nobody-knows"
_WRONG: tuple[Any, ...] = (_WORD, -1, 1e308, "\ud800", [{}], {"odd": 1})
"""What is neither empty nor true: no response is a success because of it."""
_MOST = 300  # variants of a sample
_STATUSES = (200, 302, 400, 401, 403, 404, 407, 409, 410, 422, 429, 500, 502, 503)
_ODD_TEXTS = ("", "odd", "-1", "nan", "1e400", "9" * 400, "\u00b2", "1, 2")
_BAD_IDS = ("", " ", ".", "..", "a?b", "a#b", "a%2Fb", "a\nb", "a\\b")


def conformance(
    plugin: Plugin,
    make: Callable[[Any], Any],
    *,
    job_id: str,
    samples: Iterable[tuple[str, Any]] = (),
) -> None:
    """Check that a service keeps opwatch's promises, with the blocking and the async client.

    `make` creates a client from its class, with made-up credentials that need no request:
    `lambda client: client("a token")`. `samples` are the service's responses about the job, each
    with its phase. Raises `AssertionError` for the first of these promises that is broken: each
    sample is read as its phase, unknown and damaged values are never a success, the right job is
    polled, an invalid ID sends nothing, results can be pickled, waits can be resumed, and no
    response, error or pause raises anything but an `OpwatchError`.
    """
    given = list(samples)
    for kind in (plugin.client, plugin.async_client):
        service = make(kind)._session.service
        assert service.name == plugin.name, (
            f"the client's service is named {service.name!r}, but the plugin is named "
            f"{plugin.name!r}"
        )
        parts = (service.id_parts, plugin.id_parts)
        assert parts[0] == parts[1], (
            f"the client's service has `id_parts` {parts[0]}, but the plugin has {parts[1]}"
        )
        _check_readers(service)
        status = service.statuses[0]
        poll = partial(_polled, make, kind, job_id)
        for phase, value in given:
            _check_sample(make, kind, job_id, phase, partial(reply, status), value)
            for odd in _some(_odd(value)):
                poll(reply(status, odd))
        for body in _BODIES:
            found = poll(Reply(status, body))
            assert getattr(found, "phase", None) != "succeeded", (
                f"{body[:20]!r} is read as a success"
            )
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
    assert told == other, f"progress({other!r}) returned the progress of {told!r}"
    assert found.service == client._session.service.name, repr(found)
    _check_progress(client._session.service, found)
    wrong = _some(_odd(value, _WRONG)) if phase != "succeeded" else []
    for odd in [*wrong, _all_replaced(value)]:
        told = getattr(_polled(make, kind, job_id, answer(odd)), "phase", None)
        assert told != "succeeded", f"{odd!r} is read as a success, but isn't documented"


def _check_progress(service: Any, found: Any) -> None:
    """What a poll returned has a valid percentage, can be pickled, and says what restarts the
    schedule."""
    percent = found.percent
    is_share = percent is None or (isinstance(percent, (int, float)) and 0 <= percent <= 100)
    assert is_share, f"the percentage of {found!r} is neither a number from 0 to 100 nor None"
    for what, function in (("pickling", pickle.dumps), ("the service's `marker`", service.marker)):
        try:
            made = function(found)
        except Exception as error:
            raise AssertionError(f"{what} raises {error!r} for {found!r}") from error
        if what == "pickling":
            assert pickle.loads(made) == found, f"pickling changes {found!r}"  # noqa: S301


class _Holding(dict[str, Any]):
    """A JSON object that holds a value under each name."""

    def __init__(self, value: Any) -> None:
        super().__init__(odd=value)

    def __missing__(self, name: str) -> Any:
        return self["odd"]

    def __contains__(self, name: object) -> bool:
        return True

    def get(self, name: str, default: Any = None) -> Any:
        return self["odd"]


class _Headed(Answer):
    """An answer that has each header, with one value."""

    def all(self, name: str) -> list[str]:
        return [self.body.decode()]


def _check_readers(service: Any) -> None:
    """What reads an error reads any, and what reads a pause finds a number of seconds or none."""
    objects = [{}, *map(_Holding, _ODD), _Holding(_Holding("odd")), _Holding(_Holding(None))]
    for status, odd in itertools.product(_STATUSES, objects):
        what = f"reading an error ({status} with {odd!r})"
        found = _read(what, service.complaint, _Headed(status, (), b"odd"), odd)
        is_one = isinstance(found, Complaint) and all(
            part is None or isinstance(part, str) for part in found._replace(kind=None)
        )
        assert is_one, f"{what} returns {found!r}, not a Complaint of strings"
    if (pause := service.pause) is None:
        return
    for text in _ODD_TEXTS:
        what = f"reading a pause ({text[:20]!r} in each header)"
        found = _read(what, pause, _Headed(200, (), text.encode()), 1_800_000_000.0)
        is_pause = found is None or (isinstance(found, (int, float)) and 0 <= found < math.inf)
        assert is_pause, f"{what} returns {found!r}, not a number of seconds"


def _read(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        raise AssertionError(f"{what} raises {error!r}") from error


def _check_error(service: Any, status: int, found: Any) -> None:
    """An error answer is the error that its status says, unless the service says another."""
    assert isinstance(found, OpwatchError), f"{status} with {{}} is read as {found!r}"
    assert status < 500 or not isinstance(found, JobGone), f"{status} is read as a JobGone"
    own = service.complaint(Answer(status, (), b"{}"), {}).kind
    expected = own or error_kind(status) or OpwatchError
    is_right = isinstance(found, expected) or status in (400, 403, 404, 410)
    assert is_right, f"{status} is read as {type(found).__name__}, not {expected.__name__}"


def _check_ids(make: Callable[[Any], Any], kind: Any, job_id: str) -> None:
    """An invalid ID sends nothing, and another valid one is the one that is polled."""
    for bad in (*_BAD_IDS, f"{job_id}/more"):
        with Script(lambda _: reply(200, {})) as script:
            found = _call(make(kind), "progress", bad)
        assert isinstance(found, ConfigurationError), f"{bad!r} is accepted as an ID: {found!r}"
        assert not script.sent, f"the ID {bad!r} was sent"
    other = f"{job_id} \u00fc"
    with Script(lambda _: reply(200, {})) as script:
        _call(make(kind), "progress", other)
    targets = [sent.target for sent in script.sent]
    assert all(target.isascii() and " " not in target for target in targets), targets
    last = other.rpartition("/")[2]
    assert any(last in unquote(target) for target in targets), (
        f"a poll of {other!r} requested {targets}, without the ID"
    )


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
            assert found in (phase, None), f"after resuming, {phase} is read as {found}"


def _polled(make: Callable[[Any], Any], kind: Any, job_id: str, found: Reply) -> Any:
    with FakeClock(), Script(lambda _: found):
        told = _call(make(kind), "progress", job_id)
    is_misread = isinstance(told, BadResponse) and told.message.startswith(MISREAD)
    assert not is_misread, f"{told.message}: {found.status} with {found.body[:500]!r}"
    return told


def _call(client: Any, method: str, *arguments: Any, **named: Any) -> Any:
    """Return what a method returns, or the `OpwatchError` that it raises."""
    function = partial(getattr(client, method), *arguments, **named)
    try:
        return anyio.run(function) if isinstance(client, AsyncClient) else function()
    except OpwatchError as error:
        return error
    except Exception as error:
        raise AssertionError(
            f"{method}{arguments} raises {error!r}, not an OpwatchError"
        ) from error


def _some(values: Iterable[Any]) -> list[Any]:
    """Return as many of the values as are tried, the same each time."""
    found = list(itertools.islice(values, 100 * _MOST))
    return found if len(found) <= _MOST else random.Random(0).sample(found, _MOST)  # noqa: S311


def _all_replaced(value: Any) -> Any:
    """A JSON value with each value in it replaced by a word."""
    if isinstance(value, dict):
        return {name: _all_replaced(part) for name, part in value.items()}
    return [_all_replaced(part) for part in value] if isinstance(value, list) else _WORD


def _odd(value: Any, others: tuple[Any, ...] = _ODD) -> Iterator[Any]:
    """A JSON value with each part of it replaced by something odd or, if null is, left out."""
    yield from others
    if isinstance(value, dict):
        for name, part in value.items():
            if None in others:
                yield {key: one for key, one in value.items() if key != name}
            for odd in _odd(part, others):
                yield value | {name: odd}
    if isinstance(value, list):
        for n, part in enumerate(value):
            for odd in _odd(part, others):
                yield [*value[:n], odd, *value[n + 1 :]]
