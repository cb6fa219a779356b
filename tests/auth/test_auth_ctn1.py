"""CTN1: no day, no midnight and no clock at which a request is refused that could be taken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime

import pytest
from auth_support import (
    API_SECRET,
    CATENIS_RUNNING,
    CTN1,
    DEVICE,
    PATIENCE,
    Request,
    ctn1_date_fault,
    ctn1_fault,
)
from hypothesis import given
from hypothesis import strategies as st

from opwatch import Catenis
from opwatch.auth import ctn1
from opwatch.auth.flows import Ctn1Auth, measured_skew
from opwatch.errors import AuthenticationError
from opwatch.testing import FakeClock, Reply, Script, reply
from opwatch.wire import Address, Answer, Outgoing, Secret

FIRST = datetime(2026, 2, 20, 0, 2, 30, tzinfo=UTC)
"""30 days from here pass the end of a month; every 288th step is 150 s before midnight."""
STEPS = 30 * 24 * 12 + 1
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
ADDRESS = Address("https://h", "h", "")
REQUEST = Outgoing("GET", ADDRESS, "/p")


# --- dates ----------------------------------------------------------------------------------------


def sign_at(timestamp: datetime, sign_date: date | None = None) -> tuple[str, str]:
    """The timestamp and the sign date of a request signed then."""
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
    """Why the server refused, at each of 8,641 moments of 30 days, of a client whose clock is off
    by `skew` seconds."""
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
    """The date of five minutes ago is taken at every clock that the timestamp check passes."""
    assert refusals(skew) == []


@pytest.mark.parametrize("skew", [-301, 301])
def test_a_clock_beyond_the_window_is_refused(skew):
    """The check above can fail: five minutes and a second are too much."""
    assert refusals(skew) == ["timestamp"] * STEPS


@given(
    moment=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    skew=st.floats(-299, 299),
)
def test_no_request_of_any_moment_is_refused(moment, skew):
    """Nor at any other moment, with any clock that is less than five minutes off."""
    assert ctn1_date_fault(*sign_at(moment + timedelta(seconds=skew)), moment) is None


def test_today_as_the_sign_date_is_refused_at_midnight():
    """The check above can fail: a client that is 290 s fast and signs with today is refused at
    the last step of every day."""
    assert refusals(290, lambda local: local.date()) == ["sign date"] * 30


def test_a_key_kept_for_seven_days_is_refused_on_the_last():
    """The check above can fail: what the official clients do is refused from 00:00 UTC of day 7."""
    begun = FIRST.replace(hour=6, minute=0)
    kept = begun.date()
    moments = [begun + timedelta(minutes=5 * step) for step in range(7 * 24 * 12)]
    faults = [ctn1_date_fault(*sign_at(moment, kept), moment) for moment in moments]
    assert faults == [None] * (6 * 288 + 216) + ["sign date"] * 72


def test_one_client_signs_rightly_for_30_days():
    """A client that lives for a month is never refused, each day with that day's key."""
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
    """A request as it would come over the wire."""
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {request.address.host}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    return Request("\r\n".join([*lines, "", ""]).encode(), request.body)


class Server:
    """Catenis with a clock of its own, `ahead` seconds of the client's."""

    def __init__(self, clock: FakeClock, ahead: float, **headers: str) -> None:
        self._clock = clock
        self.ahead = ahead
        self.headers = headers
        self.faults: list[str | None] = []

    def __call__(self, request: Outgoing) -> Reply:
        now = datetime.fromtimestamp(self._clock.epoch() + self.ahead, UTC)
        fault = ctn1_fault(received(request), API_SECRET, now)
        self.faults.append(fault)
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
    """Refused, the request is signed again with the server's time; the next ones at once."""
    with skewed(ahead) as (_, server, client):
        client.progress("j")
        client.progress("j")
    assert server.faults == ["timestamp", None, None]


@pytest.mark.parametrize("ahead", [86_500, -86_500, 10**9])
def test_a_wild_date_is_not_believed(ahead):
    """A `Date` more than a day off is no reason to sign anything with it."""
    with skewed(ahead) as (_, server, client), pytest.raises(AuthenticationError):
        client.progress("j")
    assert server.faults == ["timestamp"]


def test_a_date_that_a_cache_kept_is_not_believed():
    """An answer with `Age` was written some time ago: its `Date` says nothing."""
    with skewed(3600, Age="3600") as (_, server, client), pytest.raises(AuthenticationError):
        client.progress("j")
    assert server.faults == ["timestamp"]


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Foo 2026 00:00:00 GMT"])
def test_without_a_date_nothing_is_corrected(date):
    """A refusal that does not tell the time is the answer."""
    with skewed(3600, Date=date) as (_, server, client), pytest.raises(AuthenticationError):
        client.progress("j")
    assert server.faults == ["timestamp"]


def test_a_refusal_with_the_clocks_in_step_is_not_repeated():
    """A wrong secret stays wrong: one request, one refusal."""
    with skewed(0) as (_, server, _), pytest.raises(AuthenticationError) as caught:
        Catenis(DEVICE, "another made up secret").progress("j")
    assert server.faults == ["signature"]
    assert caught.value.status == 401


def test_a_refusal_after_the_correction_is_the_answer():
    """A wrong secret on a machine with a wrong clock: two requests, no loop; then one each."""
    with skewed(3600) as (_, server, _):
        client = Catenis(DEVICE, "another made up secret")
        for expected in (2, 3, 4):
            with pytest.raises(AuthenticationError):
                client.progress("j")
            assert len(server.faults) == expected


def test_the_correction_is_dropped_when_the_clock_is_mended():
    """Once this machine's clock is right, a correction is refused and taken back."""
    with skewed(3600) as (clock, server, client):
        client.progress("j")
        clock.jump(3600)
        server.ahead = 0
        server.faults.clear()
        client.progress("j")
        client.progress("j")
        assert server.faults == ["timestamp", None, None]
        assert client._session.auth._skew == 0


def test_the_correction_follows_a_clock_that_jumps_again():
    """Each jump of the clock costs one refusal."""
    with skewed(0) as (clock, server, client):
        for jump in (4000, -8000, 4000):
            clock.jump(jump)
            server.ahead -= jump
            client.progress("j")
    assert server.faults == ["timestamp", None] * 3


def test_many_callers_with_a_wrong_clock_all_come_through():
    """What one caller learns of the clock does not make another's refusal final."""
    callers = 16
    with skewed(3600) as (_, server, client):
        auth = client._session.auth
        flows = [auth.flow(REQUEST) for _ in range(callers)]
        signed = [next(flow) for flow in flows]
        answers = [answer_of(server(request)) for request in signed]
        again = [flow.send(answer) for flow, answer in zip(flows, answers, strict=True)]
        assert [server(request).status for request in again] == [200] * callers


def answer_of(sent: Reply) -> Answer:
    headers = tuple((name.encode(), value.encode()) for name, value in sent.headers)
    return Answer(sent.status, headers, sent.body)


@pytest.mark.parametrize(
    ("elapsed", "expected"), [(0.0, 100.0), (60.0, 130.0)], ids=["at once", "after a minute"]
)
def test_the_skew_is_measured_against_the_middle_of_the_request(elapsed, expected):
    """A slow answer's `Date` was written halfway between the request and its end."""
    date = format_datetime(datetime.fromtimestamp(MIDNIGHT + 100, UTC), usegmt=True)
    answer = Answer(401, ((b"date", date.encode()),), elapsed=elapsed)
    assert measured_skew(answer, MIDNIGHT) == expected


def test_a_slow_answer_does_not_look_like_a_wrong_clock():
    """A refusal that took nine minutes, written in the middle, shows no skew beyond the window."""
    with FakeClock(epoch=MIDNIGHT) as clock:
        flow = Ctn1Auth(DEVICE, Secret(API_SECRET), clock).flow(REQUEST)
        next(flow)
        clock.advance(540)
        date = format_datetime(datetime.fromtimestamp(MIDNIGHT + 270, UTC), usegmt=True)
        with pytest.raises(StopIteration) as stop:
            flow.send(Answer(401, ((b"date", date.encode()),), elapsed=540))
    assert stop.value.value.status == 401


def test_the_key_of_a_day_is_made_once():
    """A day's requests share one key, from any number of threads."""
    ctn1._keyed.cache_clear()
    threads = [threading.Thread(target=sign_at, args=(FIRST,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert ctn1._keyed.cache_info().currsize == 1
    sign_at(FIRST - timedelta(hours=1))
    assert ctn1._keyed.cache_info().currsize == 1
    sign_at(FIRST + timedelta(days=1))
    assert ctn1._keyed.cache_info().currsize == 2
