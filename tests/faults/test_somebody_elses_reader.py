"""If another package's reader raises, only the job that it was reading ends."""

import copy
import pickle
from collections.abc import Iterator

import pytest
from faults_support import Blocking, outcome
from parcel.service import RAISES, AsyncParcelClient, ParcelClient
from parcel.types import UNSET

from opwatch import Phase
from opwatch.errors import BadResponse, JobGone
from opwatch.testing import Script, reply

STATES = ["lost", *RAISES]


def client(driver, **options):
    kind = ParcelClient if isinstance(driver, Blocking) else AsyncParcelClient
    return kind("a made-up token", **options)


@pytest.fixture(params=STATES)
def broken(request) -> Iterator[Script]:
    """One job that the reader fails on, between two that it reads."""

    def handle(sent):
        state = request.param if sent.target.endswith("/b") else "there"
        return reply(200, {"state": state, "note": "a secret note"})

    with Script(handle) as script:
        yield script


def test_the_other_jobs_go_on(driver, clock, broken):
    """`watch_many` tells the ends of the others, and the error of that one."""

    async def scenario(driver):
        async with driver.opened(client(driver, max_failures=2)) as opened:
            many = opened.watch_many(["a", "b", "c"], timeout=600)
            return [p.job_id for p in await driver.collect(many)], many.errors

    ended, errors = driver.run(scenario)
    assert sorted(ended) == ["a", "c"]
    assert list(errors) == ["b"]
    assert type(errors["b"]) is BadResponse


def test_the_error_says_where_and_quotes_nothing(driver, clock, broken):
    """Which error, which file, which line; not its text, which may be made of the response."""

    async def scenario(driver):
        async with driver.opened(client(driver)) as opened:
            return await outcome(driver, opened.progress, "b")

    error = driver.run(scenario)
    assert type(error) is BadResponse
    assert "reading the response raised " in str(error)
    assert "(service.py, line " in str(error)
    assert error.__cause__ is error.__context__ is None
    assert "lost" not in str(error)


def test_a_reader_of_errors_that_raises(driver, clock):
    """The same for a service's reader of errors."""

    async def scenario(driver):
        async with driver.opened(client(driver)) as opened:
            return await outcome(driver, opened.progress, "b")

    with Script(lambda request: reply(404, {})):
        assert type(driver.run(scenario)) is BadResponse
    with Script(lambda request: reply(404, {"code": "x"})):
        assert type(driver.run(scenario)) is JobGone


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]
)
def test_what_was_not_sent_stays_unset(clock, again):
    """A plugin's answer is equal after it was pickled, without a line in the plugin."""
    with Script(lambda request: reply(200, {"state": "moving"})):
        progress = ParcelClient("a made-up token").progress("a")
    assert progress.phase is Phase.RUNNING
    assert progress.wire.note is UNSET
    assert again(progress) == progress
    assert again(progress).wire.note is UNSET
