"""Whatever one server does to a query: a right `Progress` or one of our errors, within its time."""

from __future__ import annotations

import pickle
import time

import pytest
from fault_scenarios import SCENARIOS, Scenario
from fault_server import FaultServer, nobody
from fault_services import MODES, SAMPLES, Outcome, Sample, ask

from opwatch import Phase, Progress
from opwatch.errors import ServiceError

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


def every(modes: tuple[str, ...]) -> list[object]:
    return [
        pytest.param(scenario, sample, mode, id=f"{scenario.name}-{sample.name}-{mode}")
        for scenario in SCENARIOS
        for sample in SAMPLES
        for mode in modes
        if mode != "trio" or scenario.on_trio
    ]


@pytest.mark.parametrize(("scenario", "sample", "mode"), every((*MODES, "trio")))
def test_one_query(scenario: Scenario, sample: Sample, mode: str) -> None:
    """One query ends as the table says, in time, and a server is asked once."""
    began = time.monotonic()
    if scenario.play is None:
        with nobody() as address:
            [outcome] = ask(sample, mode, address, **scenario.options())
    else:
        play = scenario.play
        with FaultServer(lambda peer: play(peer, sample)) as server:
            [outcome] = ask(sample, mode, scenario.at(server), **scenario.options())
        assert len(server.requests) <= 1
        assert server.connections == 1
    assert time.monotonic() - began < scenario.limit + GRACE
    check(scenario, sample, outcome)
