"""A response that contradicts itself or is about another job is never a success."""

import logging

import pytest
from faults_support import OVER, outcome, times

from opwatch import AsyncITwin, AsyncITwinV2, Fault, ITwinV2, Phase
from opwatch.errors import BadResponse, JobFailed, JobGone, RateLimited
from opwatch.simulator import Frame, Polls, Simulator
from opwatch.testing import Script, reply


def job(job_id="mine", state="success", **more):
    fields = {"state": state, **more} if job_id is None else {"id": job_id, "state": state, **more}
    return reply(200, {"job": fields})


def catenis(driver):
    return driver.clients["catenis"]("d" * 20, "a made-up secret")


def apig(driver):
    return driver.clients["apig"]("apig.test", "a made-up token", project_id="p")


def itwin(driver, **options):
    return driver.clients["itwin"]("a made-up token", **options)


def itwin_v2(driver):
    kind = AsyncITwinV2 if driver.clients["itwin"] is AsyncITwin else ITwinV2
    return kind("a made-up token")


def called(driver, client, method, *args, **how):
    """What one call of one client came to."""

    async def scenario(driver):
        async with driver.opened(client) as opened:
            return await outcome(driver, getattr(opened, method), *args, **how)

    return driver.run(scenario)


# --- another job ----------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["theirs", "", 7, ["mine"], {"id": "mine"}])
@pytest.mark.parametrize("state", ["success", "failed", "active"])
def test_how_another_job_ended_is_no_answer(driver, clock, other, state):
    """The job is over, and the look at how it ended brings another job: `BadResponse`."""
    with Script({"/progress": [OVER], "/jobs/mine": [job(other, state)]}):
        error = called(driver, itwin(driver), "progress", "mine")
    assert type(error) is BadResponse
    assert (error.job_id, error.last.phase) == ("mine", Phase.ENDED)
    assert "for another job" in str(error)


def test_a_wait_retries_an_answer_about_another_job(driver, clock):
    """It may have been a mistake of the moment; if it stays, the wait ends with it."""
    with Script({"/progress": [OVER], "/jobs/mine": [job("theirs"), job("mine")]}):
        assert called(driver, itwin(driver), "wait", "mine", timeout=60).phase is Phase.SUCCEEDED
    with Script({"/progress": [OVER], "/jobs/mine": [job("theirs")]}) as script:
        error = called(driver, itwin(driver, max_failures=3), "wait", "mine", timeout=None)
    assert type(error) is BadResponse
    assert len(times(script.sent, end="/jobs/mine")) == 3


@pytest.mark.parametrize("same", ["mine", "MINE", None])
def test_the_same_job_in_another_case_is_the_same(driver, clock, same):
    """IDs are GUIDs, which services write in either case; and the schema doesn't require one."""
    with Script({"/progress": [OVER], "/jobs/mine": [job(same)]}):
        assert called(driver, itwin(driver), "progress", "mine").phase is Phase.SUCCEEDED


# --- success beside an error ----------------------------------------------------------------------

ENDED_WELL = {"done": True, "success": True, "bytesProcessed": 5}
ERROR = {"code": 500, "message": "Internal server error"}
CONTRADICTIONS = {
    "catenis": (
        catenis,
        {"status": "success", "data": {"action": "log", "progress": ENDED_WELL | {"error": ERROR}}},
    ),
    "apig": (apig, {"status": "success", "progress": 100, "error_code": "APIC.9218"}),
    "apig, the message alone": (apig, {"status": "success", "error_msg": "quota exceeded"}),
    "itwin": (itwin, {"jobProgress": {"state": "success"}, "error": ERROR}),
    "itwin-v2": (itwin_v2, {"progress": {"state": "Success"}, "error": ERROR}),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_success_beside_an_error_is_unknown(driver, clock, caplog, name):
    """It is never a success: the wait continues, and one warning says why."""
    make, body = CONTRADICTIONS[name]
    caplog.set_level(logging.WARNING, "opwatch")
    client = make(driver)
    with Script({"/progress": [reply(200, body)]}):
        client = make(driver)
        first = called(driver, client, "progress", "j")
        last = called(driver, client, "wait", "j", timeout=300)
    assert first.phase is Phase.UNKNOWN
    assert type(last).__name__ == "WaitTimeout"
    [record] = caplog.records
    assert "success and an error" in record.getMessage()


@pytest.mark.parametrize("error", [ERROR, "text", [ERROR], 7])
def test_how_a_job_ended_beside_an_error_is_unknown(driver, clock, caplog, error):
    """A job that is over ends without an outcome, and one warning says why."""
    both = reply(200, {"job": {"id": "mine", "state": "success"}, "error": error})
    caplog.set_level(logging.WARNING, "opwatch")
    with Script({"/progress": [OVER], "/jobs/mine": [both]}) as script:
        found = called(driver, itwin(driver), "wait", "mine", timeout=None)
    assert found.phase is Phase.ENDED
    assert len(times(script.sent, end="/progress")) == 1
    [record] = caplog.records
    said = record.getMessage()
    assert said.startswith("itwin mine ended, but its outcome is unknown: ")
    assert "both success and an error (`error`)" in said


def test_how_a_job_ended_is_read_once_it_is_consistent(driver, clock):
    """The contradiction may have been one of the moment."""
    both = reply(200, {"job": {"id": "mine", "state": "success"}, "error": ERROR})
    with Script({"/progress": [OVER], "/jobs/mine": [both, job()]}):
        found = called(driver, itwin(driver), "wait", "mine", timeout=None)
    assert found.phase is Phase.SUCCEEDED


@pytest.mark.parametrize("nothing", [None, "", {}])
def test_an_empty_error_contradicts_nothing(driver, clock, nothing):
    """Services send the field with nothing in it."""
    body = {"status": "success", "progress": 100, "error_code": nothing}
    with Script({"/progress": [reply(200, body)]}):
        assert called(driver, apig(driver), "progress", "j").phase is Phase.SUCCEEDED


# --- why a job failed -----------------------------------------------------------------------------

ISSUE = {"code": "A", "title": "Missing photos", "message": "12 could not be read"}


@pytest.mark.parametrize("stray", [None, "text", 5, [], [ISSUE]])
@pytest.mark.parametrize("first", [True, False])
def test_a_stray_value_among_the_errors_loses_no_reason(driver, clock, stray, first):
    """What is no object is left out; the reason stays."""
    errors = [stray, ISSUE] if first else [ISSUE, stray]
    told = job(state="failed", executionInformation={"errors": errors})
    with Script({"/progress": [OVER], "/jobs/mine": [told]}):
        error = called(driver, itwin(driver), "wait", "mine", timeout=60)
    assert type(error) is JobFailed
    assert error.fault == Fault("A", "Missing photos: 12 could not be read")


def test_the_parameters_of_a_reason(driver, clock):
    """They are in their places in the message."""
    issue = {"code": "A", "message": "{0} of {1} photos, {2}", "params": ["12", 20]}
    told = job(state="failed", executionInformation={"errors": [issue]})
    with Script({"/progress": [OVER], "/jobs/mine": [told]}):
        error = called(driver, itwin(driver), "wait", "mine", timeout=60)
    assert error.fault == Fault("A", "12 of 20 photos, {2}")


def test_parameters_that_would_fill_the_memory(driver, clock):
    """They are cut off, and so is the reason."""
    issue = {"code": "A", "message": "%1" * 20_000, "params": ["x" * 50_000]}
    told = job(state="failed", executionInformation={"errors": [issue]})
    with Script({"/progress": [OVER], "/jobs/mine": [told]}):
        error = called(driver, itwin(driver), "wait", "mine", timeout=60)
    assert error.fault == Fault("A", "x" * 10_000)


@pytest.mark.parametrize("error", [{"code": 500}, {"message": "boom"}])
def test_an_error_that_lacks_a_required_field_is_told(driver, clock, error):
    """Half a reason is better than none."""
    progress = {"bytesProcessed": 5, "done": True, "success": False, "error": error}
    body = {"status": "success", "data": {"action": "log", "progress": progress}}
    with Script({"/progress": [reply(200, body)]}):
        fault = called(driver, catenis(driver), "progress", "j").fault
    code = error.get("code")
    assert fault == Fault(None if code is None else str(code), error.get("message"))


# --- the look at how a job ended ------------------------------------------------------------------

LIMITED = reply(429, {"error": {"code": "RateLimitExceeded", "message": "too many"}})


def test_behind_a_limit_that_takes_one_request_at_a_time(driver, clock):
    """Once the job is known to be over, only how it ended is asked, one backoff later."""
    last = None

    def handle(request):
        nonlocal last
        if last is not None and clock.now() - last < 1:
            return LIMITED
        last = clock.now()
        return OVER if request.target.endswith("/progress") else job()

    with Script(handle) as script:
        found = called(driver, itwin(driver), "wait", "mine", timeout=3600)
    assert found.phase is Phase.SUCCEEDED
    assert times(script.sent, end="/progress") == [0]
    assert times(script.sent, end="/jobs/mine") == [0, 15]


def test_behind_a_limit_of_the_simulator(clock):
    """The same with `Simulator.limit`: it ended `ended` after 1,065 s once."""
    with Simulator() as simulator:
        simulator.add("itwin", "mine", Polls([Frame("succeeded", percent=100)]))
        simulator.limit("itwin", 1, seconds=1)
        with simulator.client("itwin") as client:
            assert client.wait("mine", timeout=3600).phase is Phase.SUCCEEDED
    assert clock.now() <= 20


@pytest.mark.parametrize(
    "answer", [LIMITED, reply(503), reply(403), reply(404), reply(200, b"<p>")]
)
def test_progress_says_that_it_could_not_look(driver, clock, caplog, answer):
    """`progress` returns that the job is over, and a warning says why not how."""
    caplog.set_level(logging.WARNING, "opwatch")
    with Script({"/progress": [OVER], "/jobs/mine": [answer]}):
        assert called(driver, itwin(driver), "progress", "mine").phase is Phase.ENDED
    [record] = caplog.records
    assert "itwin mine ended, but its outcome is unknown: " in record.getMessage()


def test_a_job_that_is_gone_once_it_is_over_has_ended(driver, clock):
    """What no retry fixes ends the wait with what is known."""
    gone = reply(404, {"error": {"code": "JobNotFound", "message": "gone"}})
    with Script({"/progress": [OVER], "/jobs/mine": [LIMITED, gone]}) as script:
        assert called(driver, itwin(driver), "wait", "mine", timeout=3600).phase is Phase.ENDED
    assert len(times(script.sent, end="/progress")) == 1


def test_the_closer_look_ignores_another_job(driver, clock):
    """A job that makes no progress isn't over because another one is."""
    active = reply(200, {"jobProgress": {"state": "Active", "percentage": 7}})
    with Script({"/progress": [active], "/jobs/mine": [job("theirs")]}) as script:
        error = called(driver, itwin(driver), "wait", "mine", timeout=3600)
    assert type(error).__name__ == "WaitTimeout"
    assert len(times(script.sent, end="/jobs/mine")) == 1


# --- the identity service in front of APIG --------------------------------------------------------


def test_the_identity_services_error_is_read(driver, clock):
    """Its shape is another than the service's own; both are in the spec."""
    body = {"error": {"code": 400, "title": "Bad Request", "message": "Expecting a project"}}
    with Script({"/progress": [reply(400, body)]}):
        error = called(driver, apig(driver), "progress", "j")
    assert (error.code, error.message) == ("Bad Request", "Expecting a project")


@pytest.mark.parametrize("code", ["APIC.7302", "APIG.3030"])
def test_a_gateway_that_is_gone(driver, clock, code):
    with Script({"/progress": [reply(404, {"error_code": code, "error_msg": "no"})]}):
        assert type(called(driver, apig(driver), "progress", "j")) is JobGone


def test_too_many_requests_told_by_a_500(driver, clock):
    with Script({"/progress": [reply(500, {"error_code": "APIG.9008"})]}):
        assert type(called(driver, apig(driver), "progress", "j")) is RateLimited
