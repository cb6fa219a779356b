"""CTN1: no request is refused that could be accepted, at any date, midnight or clock."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime

import anyio
import pytest
from auth_support import (
    API_SECRET,
    CATENIS_RUNNING,
    CTN1,
    DEVICE,
    Request,
    ctn1_date_fault,
    ctn1_fault,
)
from hypothesis import given
from hypothesis import strategies as st

from opwatch import AsyncCatenis, Catenis, net
from opwatch.auth import ctn1
from opwatch.auth.signing import measured_skew
from opwatch.errors import AuthenticationError
from opwatch.net.blocking import Transport
from opwatch.net.message import Answer
from opwatch.net.message import Request as Outgoing
from opwatch.testing import FakeClock, Reply, Script, reply

FIRST = datetime(2026, 2, 20, 0, 2, 30, tzinfo=UTC)
"""30 days from here pass the end of a month; every 288th step is 150 s before midnight."""
STEPS = 30 * 24 * 12 + 1
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC).timestamp()


# --- dates ----------------------------------------------------------------------------------------


def sign_at(timestamp: datetime, sign_date: date | None = None) -> tuple[str, str]:
    """Return the timestamp and the sign date of a request that is signed then."""
    headers = ctn1.sign(
        method="GET",
        target="/p",
        host="h",
        body=b"",
        device_id=DEVICE,
        secret=API_SECRET,
        timestamp=timestamp,
        sign_date=sign_date,
    )
    found = CTN1.fullmatch(headers["Authorization"])
    assert found is not None
    return headers["X-BCoT-Timestamp"], found[2]


def refusals(skew: int, sign_date=lambda local: None) -> list[str]:
    """Return why the server refused requests of a client whose clock is off by `skew` seconds.

    It sends one every five minutes for 30 days: 8,641 of them.
    """
    found = []
    for step in range(STEPS):
        server = FIRST + timedelta(minutes=5 * step)
        local = server + timedelta(seconds=skew)
        fault = ctn1_date_fault(*sign_at(local, sign_date(local)), server)
        if fault is not None:
            found.append(fault)
    return found


@pytest.mark.parametrize("skew", [0, 290, -290])
def test_no_request_of_30_days_is_refused(skew):
    """The date of five minutes ago is accepted whenever the timestamp is."""
    assert refusals(skew) == []


@pytest.mark.parametrize("skew", [-301, 301])
def test_a_clock_beyond_the_window_is_refused(skew):
    """A clock that is off by five minutes and a second is refused, so the check above can fail."""
    assert refusals(skew) == ["timestamp"] * STEPS


@given(
    moment=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    skew=st.floats(-299, 299),
)
def test_no_request_of_any_moment_is_refused(moment, skew):
    """No request is refused at any moment if the clock is off by less than five minutes."""
    assert ctn1_date_fault(*sign_at(moment + timedelta(seconds=skew)), moment) is None


def test_today_as_the_sign_date_is_refused_at_midnight():
    """A clock that is 290 s fast and signs with its own date is refused at the end of each day."""
    assert refusals(290, lambda local: local.date()) == ["sign date"] * 30


def test_a_key_kept_for_seven_days_is_refused_on_the_last():
    """A key kept as the official clients keep it is refused from 00:00 UTC of day 7."""
    begun = FIRST.replace(hour=6, minute=0)
    kept = begun.date()
    moments = [begun + timedelta(minutes=5 * step) for step in range(7 * 24 * 12)]
    faults = [ctn1_date_fault(*sign_at(moment, kept), moment) for moment in moments]
    assert faults == [None] * (6 * 288 + 216) + ["sign date"] * 72


def test_one_client_signs_correctly_for_30_days():
    """A client that is used for a month is never refused."""
    refused = []

    def catenis(request: Outgoing) -> Reply:
        now = datetime.fromtimestamp(clock.epoch(), UTC)
        fault = ctn1_fault(received(request), API_SECRET, now)
        refused.extend([fault] if fault else [])
        return reply(200, CATENIS_RUNNING)

    with FakeClock(epoch=FIRST.timestamp()) as clock, Script(catenis) as script:
        client = Catenis(DEVICE, API_SECRET)
        for _ in range(30 * 24):
            client.progress("j")
            clock.advance(3600)
    assert refused == []
    assert len(script.sent) == 720


# --- a wrong clock --------------------------------------------------------------------------------


def received(request: Outgoing) -> Request:
    """Return the request as a server would receive it."""
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {request.address.host}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    return Request("\r\n".join([*lines, "", ""]).encode(), request.body)


class Server:
    """Catenis with a clock of its own, which is `ahead` seconds ahead of the client's."""

    def __init__(self, clock: FakeClock, ahead: float, **headers: str) -> None:
        self._clock = clock
        self.ahead = ahead
        self.headers = headers
        self.faults: list[str | None] = []
        self.stamps: list[str] = []

    def __call__(self, request: Outgoing) -> Reply:
        now = datetime.fromtimestamp(self._clock.epoch() + self.ahead, UTC)
        fault = ctn1_fault(received(request), API_SECRET, now)
        self.faults.append(fault)
        self.stamps.append(dict(request.headers)["X-BCoT-Timestamp"])
        headers = {"Date": format_datetime(now, usegmt=True)} | self.headers
        headers = {name: value for name, value in headers.items() if value}
        body = {"status": "error", "message": f"Authorization failed; {fault}"}
        return reply(401, body, headers) if fault else reply(200, CATENIS_RUNNING, headers)


@contextmanager
def skewed(ahead: float, **headers: str) -> Iterator[tuple[FakeClock, Server, Catenis]]:
    with FakeClock(epoch=MIDNIGHT - 100) as clock:
        server = Server(clock, ahead, **headers)
        with Script(server):
            yield clock, server, Catenis(DEVICE, API_SECRET)


@pytest.mark.parametrize("ahead", [301, 3600, 86_000, -301, -3600, -86_000])
def test_a_clock_that_is_off_is_corrected_once(ahead):
    """A refused request is signed again with the server's time, and the next ones at once."""
    with skewed(ahead) as (_, server, client):
        client.progress("j")
        client.progress("j")
    assert server.faults == ["timestamp", None, None]


@pytest.mark.parametrize("ahead", [86_500, -86_500, 10**9])
def test_a_wild_date_is_not_believed(ahead):
    """A `Date` that is more than a day off isn't used to sign anything."""
    with skewed(ahead) as (_, server, client), pytest.raises(AuthenticationError):
        client.progress("j")
    assert server.faults == ["timestamp"]


@pytest.mark.parametrize("jump", [86_500, -(10**9)])
def test_a_clock_that_jumps_for_a_while_is_no_refusal_of_the_secret(jump):
    """The error says to check the clock, and once that is right, the same client works again."""
    with skewed(0) as (clock, server, client):
        client.progress("j")
        clock.jump(jump)
        server.ahead = -jump
        for _ in range(2):
            with pytest.raises(AuthenticationError, match="check this machine's clock"):
                client.progress("j")
        clock.jump(-jump)
        server.ahead = 0
        client.progress("j")
    assert server.faults == [None, "timestamp", "timestamp", None]


def test_a_date_that_a_cache_kept_is_not_believed():
    """A response with `Age` was written some time ago, so its `Date` says nothing."""
    with skewed(3600, Age="3600") as (_, server, client), pytest.raises(AuthenticationError):
        client.progress("j")
    assert server.faults == ["timestamp"]


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Foo 2026 00:00:00 GMT"])
def test_without_a_date_nothing_is_corrected(date):
    """A refusal without a valid `Date` isn't retried."""
    with skewed(3600, Date=date) as (_, server, client), pytest.raises(AuthenticationError):
        client.progress("j")
    assert server.faults == ["timestamp"]


@pytest.mark.parametrize("base_url", [None, "https://proxy.example.com/api/0.7"])
def test_a_refusal_names_the_host_header(base_url):
    """A reverse proxy that rewrites `Host` breaks every signature: the error says so."""
    refused = reply(401, {"status": "error", "message": "Authorization failed; x"})
    with Script({"/progress": [refused]}), pytest.raises(AuthenticationError) as raised:
        Catenis(DEVICE, API_SECRET, base_url=base_url).progress("p" + "x" * 19)
    assert "a reverse proxy in between must preserve the `Host` header" in str(raised.value)


def test_a_refusal_with_the_clocks_in_step_is_not_repeated():
    """A wrong secret is sent once if the clocks agree."""
    with skewed(0) as (_, server, _), pytest.raises(AuthenticationError) as caught:
        Catenis(DEVICE, "another made up secret").progress("j")
    assert server.faults == ["signature"]
    assert caught.value.status == 401


def test_a_refusal_after_the_correction_is_the_answer():
    """A wrong secret on a machine with a wrong clock is sent twice, and never again."""
    with skewed(3600) as (_, server, _):
        client = Catenis(DEVICE, "another made up secret")
        for _ in range(3):
            with pytest.raises(AuthenticationError):
                client.progress("j")
    assert server.faults == ["signature"] * 2


def test_the_correction_is_dropped_once_the_clock_is_right():
    """Once this machine's clock is right, requests are signed with exactly its time."""
    with skewed(3600) as (clock, server, client):
        client.progress("j")
        clock.jump(3600)
        server.faults.clear()
        server.ahead = 1
        client.progress("j")
        client.progress("j")
        assert server.faults == ["timestamp", None, None]
        now = datetime.fromtimestamp(clock.epoch(), UTC)
        assert server.stamps[-2:] == [now.strftime("%Y%m%dT%H%M%SZ")] * 2


def test_the_correction_follows_a_clock_that_jumps_again():
    """Each jump of the clock costs one refusal."""
    with skewed(0) as (clock, server, client):
        for jump in (4000, -8000, 4000):
            clock.jump(jump)
            server.ahead -= jump
            client.progress("j")
    assert server.faults == ["timestamp", None] * 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_many_callers_with_a_wrong_clock_all_get_their_answer(backend):
    """A refused request is signed again even if another has corrected the clock meanwhile."""
    callers = 16
    percents = []

    async def ask(client: AsyncCatenis) -> None:
        percents.append((await client.progress("j")).bytes_processed)

    async def main() -> None:
        client = AsyncCatenis(DEVICE, API_SECRET, max_in_flight=callers)
        async with client, anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(ask, client)

    with skewed(3600) as (_, server, _):
        anyio.run(main, backend=backend)
    assert percents == [1] * callers
    assert sorted(server.faults, key=str) == [None] * callers + ["timestamp"] * callers


@pytest.mark.parametrize(
    ("elapsed", "expected"), [(0.0, 100.0), (60.0, 130.0)], ids=["at once", "after a minute"]
)
def test_the_skew_is_measured_against_the_middle_of_the_request(elapsed, expected):
    """The `Date` of a slow answer was written halfway between the request and its end."""
    assert measured_skew(refused(MIDNIGHT + 100, elapsed), MIDNIGHT) == expected


def test_a_slow_answer_does_not_look_like_a_wrong_clock():
    """A refusal that took nine minutes, and was written in the middle, isn't retried."""
    sent = []

    class Slow(Transport):
        def send(self, request: Outgoing, end: float) -> Answer:
            sent.append(request)
            clock.advance(540)
            return refused(MIDNIGHT + 270, elapsed=540)

    with FakeClock(epoch=MIDNIGHT) as clock:
        before = net.open_blocking.set(Slow)
        client = Catenis(DEVICE, API_SECRET)
        net.open_blocking.reset(before)
        with pytest.raises(AuthenticationError):
            client.progress("j")
    assert len(sent) == 1


def refused(date: float, elapsed: float) -> Answer:
    written = format_datetime(datetime.fromtimestamp(date, UTC), usegmt=True)
    return Answer(401, ((b"date", written.encode()),), elapsed=elapsed)


def test_threads_that_share_a_key_all_sign_correctly():
    """Any number of threads can sign at once, with several secrets, on several days."""
    secrets = [API_SECRET, "another made up secret"]

    def fault(number: int) -> str | None:
        moment, secret = FIRST + timedelta(days=number % 3), secrets[number % 2]
        headers = ctn1.sign(
            method="GET",
            target="/p",
            host="h",
            body=b"%d" % number,
            device_id=DEVICE,
            secret=secret,
            timestamp=moment,
        )
        lines = ["GET /p HTTP/1.1", "Host: h", *map(": ".join, headers.items()), "", ""]
        return ctn1_fault(Request("\r\n".join(lines).encode(), b"%d" % number), secret, moment)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(fault, range(600))) == {None}
