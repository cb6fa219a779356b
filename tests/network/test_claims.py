"""What looks like success but isn't: a wait ends as SUCCEEDED only if the service says so."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from fault_claims import CLAIMS, DONE, OVER, gateway, message, progress, resolved
from fault_plays import Gives
from fault_services import APIG, CATENIS, ITWIN, ITWIN_V2, MODES, SAMPLES, Sample, ask, wait

from opwatch import Phase, Progress
from opwatch.errors import WaitTimeout
from opwatch.net.message import Request
from opwatch.testing import FakeClock, Reply, Script, reply

URL = "http://127.0.0.1:9"
SPELLINGS = ("success", "Success", "SUCCESS", " success ")
"""States are compared without regard to case: services were seen to change it."""


def script(sample: Sample, answers: Any) -> Script:
    """Answers the poll with the first response, and iTwin's look at the job with the second."""
    several = answers if isinstance(answers, list) else [answers]
    replies = [one if isinstance(one, Reply) else reply(200, one) for one in several]

    def handle(request: Request) -> Reply:
        looks_at_job = sample is ITWIN and not request.target.endswith("/progress")
        if looks_at_job and len(replies) == 1:  # the closer look at a job that stands still
            return reply(503)
        return replies[1 if looks_at_job else 0]

    return Script(handle)


def pickled(value: object) -> object:
    return pickle.loads(pickle.dumps(value))


every_claim = pytest.mark.parametrize(
    ("sample", "answers", "gives", "mode"),
    [
        pytest.param(sample, answers, gives, mode, id=f"{sample.name}-{name}-{mode}")
        for sample in (*SAMPLES, ITWIN_V2)
        for name, (answers, gives) in CLAIMS[sample.name].items()
        for mode in MODES
    ],
)


@every_claim
def test_one_query_believes_only_what_is_said(
    sample: Sample, answers: Any, gives: Gives, mode: str
) -> None:
    """A `Progress` has the phase that the service named, in its own words."""
    with FakeClock(), script(sample, answers):
        [outcome] = ask(sample, mode, URL)
    found = outcome.phase if isinstance(outcome, Progress) else type(outcome)
    assert found == gives.what


@every_claim
def test_a_wait_believes_only_what_is_said(
    sample: Sample, answers: Any, gives: Gives, mode: str
) -> None:
    """A wait continues, ends with an error, or ends as over with the outcome unknown."""
    with FakeClock(), script(sample, answers) as service:
        outcome = wait(sample, mode, URL, timeout=1800)
    if gives.what is Phase.ENDED:
        assert isinstance(outcome, Progress)
        assert outcome.phase is Phase.ENDED
        looks = [sent for sent in service.sent if not sent.target.endswith("/progress")]
        assert len(service.sent) - len(looks) == 1
        assert len(looks) == (10 if gives.asks_again else sample is ITWIN)
    else:
        assert type(outcome) is (WaitTimeout if isinstance(gives.what, Phase) else gives.what)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_success_is_said_without_regard_to_case(spelling: str) -> None:
    """The service's own word for success counts however it is written."""
    said = [
        (CATENIS, message(spelling, **DONE)),
        (ITWIN, [OVER, resolved(spelling)]),
        (ITWIN_V2, progress(spelling)),
        (APIG, gateway(spelling)),
    ]
    for sample, answers in said:
        with FakeClock(), script(sample, answers):
            outcome = wait(sample, "sync", URL)
        assert isinstance(outcome, Progress)
        assert outcome.phase is Phase.SUCCEEDED


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_an_answer_that_went_elsewhere_is_the_same(
    sample: Sample, again: Callable[[object], object]
) -> None:
    """Copied, or pickled to another process: equal, and what was not sent is still `UNSET`."""
    answer = json.loads(sample.body())
    for fields in (answer, answer.get("jobProgress", {})):
        fields.pop("end_time", None)
        fields.pop("step", None)
    with script(sample, answer):
        [progress] = ask(sample, "sync", URL)
    assert isinstance(progress, Progress)
    assert again(progress) == progress
    assert "=UNSET" in repr(progress.wire)
    assert repr(again(progress)) == repr(progress)
