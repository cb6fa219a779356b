"""Any status, headers and body: a correct `Progress` or one of our errors, for each service.

`--hypothesis-seed` repeats a run. Whether a
service called a job a success is judged here from the bytes, and not by the code under test.
"""

from __future__ import annotations

import copy
import gzip
import json
import math
import pickle
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from counts import counts
from fault_errors import FOREIGN
from fault_server import FaultServer, Peer
from fault_services import APIG, CATENIS, ITWIN, SAMPLES, Outcome, Sample, ask, wait
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opwatch import Phase, Progress
from opwatch.errors import BadResponse, JobGone, OpwatchError, ServiceError
from opwatch.net.message import Request
from opwatch.testing import FakeClock, Reply, Script

URL = "http://127.0.0.1:9"
fuzz = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


# --- what may come --------------------------------------------------------------------------------

WORDS = (
    *("success", "Success", "failed", "creating", "error", "Over", "over", "Active", "active"),
    *("Unsubmitted", "cancelled", "log", "true", "", "0", "100", "NaN", "1e999", "\ud800"),
    *("JobNotFound", "APIC.7302", "APIG.0308", "APIC.7101", "Progress not available", "\x1b[2J"),
    *("Invalid or expired ephemeral message", "2019-03-13T14:09:10.121Z", "2019-13-99", "é\u202e"),
    "x" * 3000,
)
NAMES = (
    *("status", "data", "action", "progress", "bytesProcessed", "done", "success", "error", "code"),
    *("message", "finishDate", "result", "messageId", "jobProgress", "percentage", "state", "step"),
    *("job", "executionInformation", "errors", "title", "endedDateTime", "startedDateTime", "id"),
    *("error_code", "error_msg", "start_time", "end_time", "request_id", "details", "extra"),
)
NUMBERS = (0, 1, 100, -1, 10**18, 10**400, 1597390224911, float("nan"), float("inf"), 1e308)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(NUMBERS)
    | st.text(st.characters(exclude_categories=()), max_size=20)
    | st.sampled_from(WORDS)
)
KEYS = st.sampled_from(NAMES) | st.text(max_size=5)


def _containers(inner: Any) -> Any:
    pairs = st.lists(st.tuples(st.sampled_from(NAMES), inner).map(list), max_size=4)
    return st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5) | pairs


JSON = st.recursive(SCALARS, _containers, max_leaves=15)
Draw = Callable[[Any], Any]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value: what holds it, and under which name or number."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in list(inner):
        yield value, key
        if isinstance(one, (dict, list)):
            yield from _places(one)


def _spoil(root: list[Any], draw: Draw, chance: Random) -> None:
    """Do one thing to one place."""
    container, key = chance.choice(list(_places(root)))
    value = container[key]
    how = chance.choice(["replace", "replace", "word", "word", "drop", "add", "list", "pairs"])
    if how == "replace":
        container[key] = draw(JSON)
    elif how == "word":
        container[key] = chance.choice([*WORDS, *NUMBERS, True, False, None])
    elif how == "drop" and isinstance(container, dict):
        del container[key]
    elif how == "add" and isinstance(value, dict):
        value[chance.choice(NAMES)] = draw(JSON)
    elif how == "pairs" and isinstance(value, dict):
        container[key] = [list(pair) for pair in value.items()]
    else:
        container[key] = [value]


def _mangled(raw: bytes, chance: Random) -> bytes:
    """`raw` with some bytes replaced, left out, or added."""
    at, skipped = chance.randint(0, len(raw)), chance.randint(0, 5)
    return raw[:at] + chance.randbytes(chance.randint(0, 5)) + raw[at + skipped :]


CODECS = ("utf-8",) * 12 + ("utf-8-sig", "utf-16", "utf-32")


def _encoded(value: Any, chance: Random) -> bytes:
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5)
    return text.encode(chance.choice(CODECS), "surrogatepass")


@st.composite
def bodies(draw: Draw, sample: Sample) -> bytes:
    """A body of the service's, spoilt more or less; somebody else's; or no JSON at all."""
    chance: Random = draw(st.randoms(use_true_random=True))
    kind = chance.randint(0, 19)
    if kind == 0:
        return bytes(draw(st.binary(max_size=300)))
    if kind == 1:
        return chance.choice(sorted(FOREIGN.values()))
    if kind == 2:
        return _encoded(draw(JSON), chance)
    ended = [body for bodies in sample.ended.values() for body in bodies]
    root = [copy.deepcopy(chance.choice([json.loads(sample.body()), *ended]))]
    for _ in range(chance.choice([0, 1, 1, 1, 2, 2, 3, 8])):
        if root:
            _spoil(root, draw, chance)
    raw = _encoded(root[0], chance)
    return _mangled(raw, chance) if kind == 3 else raw


HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "Date", "X-Request-Id", "x-correlation-id", "Age", "Location"]),
    st.sampled_from(["90", "-1", "nan", "1e400", "Fri, 15 Jan 2027 08:01:30 GMT", "é\x1b[2J"])
    | st.text(max_size=30),
    max_size=3,
)


def _status(chance: Random) -> int:
    if chance.random() < 0.75:
        return 200
    return chance.choice([400, 401, 403, 404, 429, 500, 503, chance.randint(0, 999)])


@st.composite
def replies(draw: Draw, sample: Sample) -> Reply:
    chance: Random = draw(st.randoms(use_true_random=True))
    return Reply(_status(chance), draw(bodies(sample)), tuple(draw(HEADERS).items()))


# --- what is right --------------------------------------------------------------------------------


def _word(value: Any) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


def _says_success(sample: Sample, body: bytes) -> bool:
    """Whether a body of status 200 calls the job a success, as the documents say it is called."""
    try:
        found = json.loads(body)
        if sample is CATENIS:
            progress = found["data"]["progress"]
            done = progress["done"] is True and progress["success"] is True
            return done and _word(found["status"]) == "success"
        if sample is ITWIN:
            inner = found["jobProgress"] if "jobProgress" in found else found["job"]
            return _word(inner["state"]) == "success"
        return _word(found["status"]) == "success"
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def _check_progress(progress: Progress[Any], sample: Sample) -> None:
    assert progress.job_id == sample.job_id
    assert progress.percent is None or 0 <= progress.percent <= 100
    count = progress.bytes_processed
    assert count is None or (type(count) is int and count >= 0)
    for time in (progress.started_at, progress.finished_at):
        assert time is None or time.utcoffset() is not None
    assert progress.phase.is_final or progress.finished_at is None
    for text in (progress.step, str(progress.fault), repr(progress)):
        (text or "").encode()
    assert repr(pickle.loads(pickle.dumps(progress))) == repr(progress)


def _check_error(error: OpwatchError, sample: Sample, status: int | None) -> None:
    assert (error.service, error.job_id) == (sample.name, sample.job_id)
    line = str(error)
    assert line.isprintable()
    assert len(line) < 1500
    assert str(pickle.loads(pickle.dumps(error))) == line
    if isinstance(error, (ServiceError, BadResponse)) and status is not None:
        assert error.status == status
    if isinstance(error, ServiceError):
        assert error.retry_after is None or 0 <= error.retry_after < math.inf


def _check(outcome: Outcome, sample: Sample, status: int | None = None) -> None:
    if isinstance(outcome, Progress):
        assert status in (200, None)
        _check_progress(outcome, sample)
    else:
        # A response of the service's other API version isn't the service's.
        is_elsewhere = sample.name == "itwin" and "is an address of iTwin's API v2" in str(outcome)
        assert status != 200 or type(outcome) is BadResponse or is_elsewhere
        known = isinstance(outcome, (ServiceError, BadResponse, JobGone)) or is_elsewhere
        assert known or status is None
        _check_error(outcome, sample, status)


# --- the properties -------------------------------------------------------------------------------


@counts(60, 10_000)
@every_sample
def test_any_answer(sample: Sample, count: int) -> None:
    """Blocking and async give the same, it is ours, and success is the service's own word."""

    @settings(fuzz, max_examples=count)
    @given(first=replies(sample), second=replies(sample))
    def holds(first: Reply, second: Reply) -> None:
        said = [_says_success(sample, one.body) for one in (first, second) if one.status == 200]

        def handle(request: Request) -> Reply:
            return first if request.target.endswith("/progress") else second

        with FakeClock(), Script(handle) as script:
            [blocking] = ask(sample, "sync", URL)
            [asynchronous] = ask(sample, "asyncio", URL)
            waited = wait(sample, "sync", URL, timeout=100, max_failures=3)
        assert len(script.sent) < 100
        _check(blocking, sample, first.status)
        assert type(blocking) is type(asynchronous)
        assert str(blocking) == str(asynchronous)
        for outcome in (blocking, waited):
            if isinstance(outcome, Progress) and outcome.phase is Phase.SUCCEEDED:
                assert any(said)
            if isinstance(outcome, OpwatchError):
                _check_error(outcome, sample, None)

    holds()


@st.composite
def responses(draw: Draw, sample: Sample) -> tuple[bytes, bytes]:
    """The bytes of a response, framed well or badly, and then mangled or not; and its body."""
    body = said = draw(bodies(sample))
    chance: Random = draw(st.randoms(use_true_random=True))
    version = chance.choice([b"1.1", b"1.1", b"1.0", b"2.0"])
    lines = [b"HTTP/%s %03d Some Reason" % (version, _status(chance))]
    for name, value in draw(HEADERS).items():
        lines.append(name.encode() + b": " + value.encode("utf-8", "replace"))
    framing = chance.choice(["length", "length", "length", "none", "chunked", "wrong", "gzip"])
    if framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    elif framing == "wrong":
        lines.append(b"Content-Length: %d" % max(len(body) + chance.randint(-9, 9), 0))
    elif framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "gzip":
        body = gzip.compress(body, mtime=0) if chance.random() < 0.7 else body
        lines.append(b"Content-Encoding: " + chance.choice([b"gzip", b"gzip", b"br", b"deflate"]))
    raw = b"\r\n".join([*lines, b"", body])
    for _ in range(chance.choice([0, 0, 0, 1, 1, 2, 5])):
        raw = _mangled(raw, chance)
    return raw, said


@counts(30, 3_000)
@every_sample
def test_any_bytes(sample: Sample, count: int) -> None:
    """The same through a socket: whatever bytes come before the connection is closed."""
    sent = [b""]

    def play(peer: Peer) -> None:
        if peer.request():
            peer.send(sent[0])

    with FaultServer(play) as server:

        @settings(fuzz, max_examples=count)
        @given(response=responses(sample) | st.tuples(st.binary(max_size=200), st.just(b"")))
        def holds(response: tuple[bytes, bytes]) -> None:
            sent[0], said = response
            for mode in ("sync", "asyncio"):
                before = len(server.requests)
                [outcome] = ask(sample, mode, server.url)
                _check(outcome, sample)
                if isinstance(outcome, Progress) and outcome.phase is Phase.SUCCEEDED:
                    assert b"success" in said.replace(b"\0", b"").lower()
                assert len(server.requests) - before <= (2 if sample is ITWIN else 1)

        holds()


def test_the_judge_knows_success() -> None:
    """What the services' own samples of success say is judged to be one, and no other is."""
    for sample in (CATENIS, ITWIN, APIG):
        for phase, bodies in sample.ended.items():
            said = _says_success(sample, json.dumps(bodies[-1]).encode())
            assert said is (phase is Phase.SUCCEEDED)
