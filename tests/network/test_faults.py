"""Whatever a server does to a poll: a correct `Progress` or one of our errors, in time."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from fault_plays import Scenario
from fault_scenarios import SCENARIOS
from fault_server import FaultServer, nobody
from fault_services import EVERY_MODE, MODES, SAMPLES, Outcome, Sample, ask, wait
from scales import at_some_scale

from opwatch import Phase, Progress
from opwatch.errors import OpwatchError, ServiceError, WaitTimeout
from opwatch.testing import FakeClock

GRACE = 10.0
"""Seconds that a slow machine may take over a time limit."""


def check(scenario: Scenario, sample: Sample, outcome: Outcome) -> None:
    expected = scenario.gives
    if isinstance(expected.what, Phase):
        assert isinstance(outcome, Progress), outcome
        assert outcome.phase is expected.what
        assert outcome.job_id == sample.job_id
        assert_shows(outcome)
        return
    assert type(outcome) is expected.what, repr(outcome)
    assert (outcome.service, outcome.job_id) == (sample.name, sample.job_id)
    assert getattr(outcome, "status", None) == expected.status or expected.status is None
    assert expected.says in str(outcome)
    if isinstance(outcome, ServiceError):
        assert outcome.retry_after == expected.retry_after
    line = str(outcome)
    assert line.isprintable()
    assert len(line) < 1000
    assert "made-up-token" not in line
    assert str(pickle.loads(pickle.dumps(outcome))) == line


def assert_shows(progress: Progress[object]) -> None:
    """What a service sent as text can be written anywhere."""
    for text in (str(progress), progress.step, str(progress.fault)):
        (text or "").encode()


every_scenario = pytest.mark.parametrize(
    ("scenario", "sample"),
    [
        pytest.param(scenario, sample, id=f"{scenario.name}-{sample.name}")
        for scenario in SCENARIOS
        for sample in SAMPLES
        if not scenario.slow
    ],
)


@contextmanager
def named(mode: str) -> Iterator[None]:
    """Says in which mode a test failed."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"mode: {mode}")
        raise


@every_scenario
def test_one_query(scenario: Scenario, sample: Sample) -> None:
    """In every mode, a poll ends as the table says, in time, and is sent once."""
    for mode in EVERY_MODE:
        if mode != "trio" or scenario.on_trio:
            with named(mode):
                query(scenario, sample, mode)


@every_scenario
def test_a_wait(scenario: Scenario, sample: Sample) -> None:
    """A wait retries what may pass, up to `max_failures`, and never ends as succeeded."""
    for mode in MODES:
        with named(mode):
            wait_for(scenario, sample, mode, most=2)


@pytest.mark.parametrize("mode", EVERY_MODE)
def test_one_query_to_a_server_that_does_not_come_to_an_end(mode: str) -> None:
    """The same where only the time limit ends it; all at once, since each takes that long."""
    at_once(lambda scenario, sample, scale: query(scenario, sample, mode, scale))


@pytest.mark.parametrize("mode", EVERY_MODE)
def test_a_wait_for_a_server_that_does_not_come_to_an_end(mode: str) -> None:
    """The same for a wait."""
    at_once(lambda scenario, sample, scale: wait_for(scenario, sample, mode, 1, scale))


def at_once(run: Callable[[Scenario, Sample, int], None]) -> None:
    scaled: Callable[..., None] = at_some_scale(run)
    slow = [(scenario, sample) for scenario in SCENARIOS if scenario.slow for sample in SAMPLES]
    with ThreadPoolExecutor(len(slow)) as threads:
        running = [threads.submit(scaled, scenario, sample) for scenario, sample in slow]
    assert len(slow) >= 30
    for future in running:
        future.result()


def query(scenario: Scenario, sample: Sample, mode: str, scale: int = 1) -> None:
    began = time.monotonic()
    if scenario.play is None:
        with nobody() as address:
            [outcome] = ask(sample, mode, address, **scenario.options(scale))
    else:
        play = scenario.play
        with FaultServer(lambda peer: play(peer, sample)) as server:
            [outcome] = ask(sample, mode, scenario.at(server), **scenario.options(scale))
        assert len(server.requests) <= 1
        assert server.connections == 1
    assert time.monotonic() - began < scenario.limit * scale + GRACE
    check(scenario, sample, outcome)


def wait_for(scenario: Scenario, sample: Sample, mode: str, most: int, scale: int = 1) -> None:
    with FakeClock(), ExitStack() as stack:
        url = stack.enter_context(nobody()) if scenario.play is None else ""
        if scenario.play is not None:
            play = scenario.play
            server = stack.enter_context(FaultServer(lambda peer: play(peer, sample)))
            url = scenario.at(server)
        options = scenario.options(scale)
        outcome = wait(sample, mode, url, timeout=60, max_failures=most, **options)
    expected = scenario.gives.what
    assert type(outcome) is (WaitTimeout if isinstance(expected, Phase) else expected)
    assert isinstance(outcome, OpwatchError)
    assert outcome.token is not None
    if not isinstance(expected, Phase) and scenario.gives.is_final:
        assert not outcome.transient
    if scenario.play is not None and not scenario.is_answered:
        lives_on = outcome.transient and scenario.gives.retry_after is None  # 90 s are too many
        asked = max(server.connections, len(server.requests))
        expected_most = most if lives_on else 1
        assert asked <= expected_most
        # On a busy machine, a short time limit may pass before the server accepts a connection.
        assert scenario.slow or asked == expected_most
