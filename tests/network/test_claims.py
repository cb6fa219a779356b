"""What sounds like success and is none: a wait ends as SUCCEEDED only where the service said so."""

from __future__ import annotations

from typing import Any

import pytest
from fault_scenarios import RIGHT, Gives
from fault_services import APIG, CATENIS, ITWIN, MODES, SAMPLES, Sample, ask, wait

from opwatch import Phase, Progress
from opwatch.errors import BadResponse, WaitTimeout
from opwatch.testing import FakeClock, Reply, Script, reply
from opwatch.wire import Outgoing

URL = "http://127.0.0.1:9"
UNKNOWN = Gives(Phase.UNKNOWN)
ENDED = Gives(Phase.ENDED)
BAD = Gives(BadResponse)


def message(status: Any = "success", data: Any = None, **progress: Any) -> dict[str, Any]:
    found = {"bytesProcessed": 28, **progress}
    return {"status": status, "data": {"action": "log", "progress": found, **(data or {})}}


DONE: dict[str, Any] = {"done": True, "success": True}
RESULT = {"result": {"messageId": "mt7ZYbBYpM3zcgAf3H8X"}}
PAIRS = [["bytesProcessed", 28], ["done", True], ["success", True]]
CATENIS_CLAIMS: dict[str, tuple[Any, Gives]] = {
    "success-before-done": (message(done=False, success=True), RIGHT),
    "result-before-done": (message(data=RESULT, done=False), RIGHT),
    "finish-date-before-done": (message(done=False, finishDate="2019-03-13T14:09:10Z"), RIGHT),
    "done-missing": (message(success=True), BAD),
    "done-null": (message(done=None, success=True), UNKNOWN),
    "done-text": (message(done="true", success=True), UNKNOWN),
    "done-number": (message(done=1, success=True), UNKNOWN),
    "done-list": (message(done=[True], success=True), UNKNOWN),
    "done-nested": (message(done=eval("[" * 90 + "]" * 90), success=True), UNKNOWN),
    "success-missing": (message(data=RESULT, done=True), ENDED),
    "success-null": (message(done=True, success=None), ENDED),
    "success-text": (message(done=True, success="true"), ENDED),
    "success-number": (message(done=True, success=1), ENDED),
    "success-spelled": ({"data": {"action": "log", "Progress": DONE}, "status": "success"}, BAD),
    "status-error": (message("error", **DONE), BAD),
    "status-missing": ({"data": message(**DONE)["data"]}, BAD),
    "status-null": (message(None, **DONE), BAD),
    "status-number": (message(200, **DONE), BAD),
    "status-true": (message(True, **DONE), BAD),
    "progress-as-pairs": ({"status": "success", "data": {"action": "log", "progress": PAIRS}}, BAD),
    "data-as-pairs": ({"status": "success", "data": [["action", "log"], ["progress", DONE]]}, BAD),
    "data-in-list": ({"status": "success", "data": [message(**DONE)["data"]]}, BAD),
    "no-envelope": ({"bytesProcessed": 28, **DONE}, BAD),
}


def job(state: Any, percentage: Any = 100, **more: Any) -> dict[str, Any]:
    return {"jobProgress": {"percentage": percentage, "state": state, "step": "Done", **more}}


def resolved(state: Any) -> dict[str, Any]:
    return {"job": {"id": "j-1", "name": "n", "type": "t", "state": state}}


OVER = job("Over")
ITWIN_CLAIMS: dict[str, tuple[Any, Gives]] = {
    "hundred-percent": (job("Active"), RIGHT),
    "more-than-hundred": (job("Active", 1000), RIGHT),
    "state-missing": ({"jobProgress": {"percentage": 100}}, UNKNOWN),
    "state-null": (job(None), UNKNOWN),
    "state-true": (job(True), UNKNOWN),
    "state-one": (job(1), UNKNOWN),
    "state-list": (job(["success"]), UNKNOWN),
    "state-object": (job({"success": True}), UNKNOWN),
    "state-succeeded": (job("Succeeded"), UNKNOWN),
    "state-successful": (job("Successful"), UNKNOWN),
    "state-complete": (job("Completed"), UNKNOWN),
    "state-done": (job("Done"), UNKNOWN),
    "state-ok": (job("OK"), UNKNOWN),
    "state-elsewhere": (job("Active", status="success"), RIGHT),
    "progress-as-pairs": ({"jobProgress": [["state", "success"]]}, BAD),
    "progress-in-list": ({"jobProgress": [{"state": "success"}]}, BAD),
    "progress-empty-list": ({"jobProgress": []}, BAD),
    "progress-spelled": ({"JobProgress": {"state": "success"}}, BAD),
    "no-envelope": ({"percentage": 100, "state": "success"}, BAD),
    "over-job-unknown": ([OVER, resolved("completed")], ENDED),
    "over-job-null": ([OVER, resolved(None)], ENDED),
    "over-job-true": ([OVER, resolved(True)], ENDED),
    "over-job-list": ([OVER, resolved(["success"])], ENDED),
    "over-job-over": ([OVER, resolved("over")], ENDED),
    "over-job-gone": ([OVER, reply(404, {"error": {"code": "JobNotFound"}})], ENDED),
    "over-job-forbidden": ([OVER, reply(403)], ENDED),
    "over-job-as-pairs": ([OVER, {"job": [["state", "success"]]}], ENDED),
    "over-job-html": ([OVER, reply(200, b"<p>")], ENDED),
    "over-job-unavailable": ([OVER, reply(503)], ENDED),
    "over-job-still-active": ([OVER, resolved("active")], ENDED),
}


def gateway(status: Any, progress: Any = 100, **more: Any) -> dict[str, Any]:
    return {"progress": progress, "status": status, "end_time": 1597390224911, **more}


APIG_CLAIMS: dict[str, tuple[Any, Gives]] = {
    "hundred-percent": (gateway("creating"), RIGHT),
    "status-missing": ({"progress": 100, "end_time": 1597390224911}, UNKNOWN),
    "status-null": (gateway(None), UNKNOWN),
    "status-one": (gateway(1), UNKNOWN),
    "status-true": (gateway(True), UNKNOWN),
    "status-list": (gateway(["success"]), UNKNOWN),
    "status-object": (gateway({"success": True}), UNKNOWN),
    "status-succeeded": (gateway("succeeded"), UNKNOWN),
    "status-successful": (gateway("successful"), UNKNOWN),
    "status-created": (gateway("created"), UNKNOWN),
    "status-running": (gateway("Running"), UNKNOWN),
    "status-ok": (gateway("ok"), UNKNOWN),
    "status-spelled": (gateway("creating", Status="success"), RIGHT),
    "in-list": ([[gateway("success")]], BAD),
    "as-pairs": ([[["status", "success"], ["progress", 100]]], BAD),
    "in-data": ({"data": gateway("success")}, BAD),
}
CLAIMS = {"catenis": CATENIS_CLAIMS, "itwin": ITWIN_CLAIMS, "apig": APIG_CLAIMS}
SPELLINGS = ("success", "Success", "SUCCESS", " success ")
"""States are compared without regard to case: services were seen to change it."""


def script(sample: Sample, answers: Any) -> Script:
    """Answers the query with the first answer, and iTwin's look at the job with the second."""
    several = answers if isinstance(answers, list) else [answers]
    replies = [one if isinstance(one, Reply) else reply(200, one) for one in several]

    def handle(request: Outgoing) -> Reply:
        looks_at_job = sample is ITWIN and not request.target.endswith("/progress")
        if looks_at_job and len(replies) == 1:  # the closer look at a job that stands still
            return reply(503)
        return replies[1 if looks_at_job else 0]

    return Script(handle)


every_claim = pytest.mark.parametrize(
    ("sample", "answers", "gives", "mode"),
    [
        pytest.param(sample, answers, gives, mode, id=f"{sample.name}-{name}-{mode}")
        for sample in SAMPLES
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
    """A wait goes on, ends with an error, or ends as over with the outcome unknown."""
    with FakeClock(), script(sample, answers):
        outcome = wait(sample, mode, URL, timeout=1800)
    if gives is ENDED:
        assert isinstance(outcome, Progress)
        assert outcome.phase is Phase.ENDED
    else:
        assert type(outcome) is (WaitTimeout if isinstance(gives.what, Phase) else gives.what)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_success_is_said_without_regard_to_case(spelling: str) -> None:
    """The service's own word for success counts however it is written."""
    said = [
        (CATENIS, message(spelling, **DONE)),
        (ITWIN, [OVER, resolved(spelling)]),
        (APIG, gateway(spelling)),
    ]
    for sample, answers in said:
        with FakeClock(), script(sample, answers):
            outcome = wait(sample, "sync", URL)
        assert isinstance(outcome, Progress)
        assert outcome.phase is Phase.SUCCEEDED
