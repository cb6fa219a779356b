"""iTwin v2: its states, the reason for a failure, its schedule and credentials."""

import itertools
import logging
from typing import Any

import pytest
from itwin_support import APIS, INVALID_INPUT, TOKEN, V2, messages, progress, script
from service_tools import WAYS, call, wait

from opwatch import AsyncITwinV2, Fault, ITwin, ITwinV2, Phase
from opwatch.errors import ConfigurationError, JobCancelled, JobFailed, JobGone
from opwatch.simulator import Frame, Simulator
from opwatch.testing import FakeClock, Script, reply

READ = Fault("InputData_Invalid", 'Invalid input data: Please check the documentation. ("Scene")')


# --- states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("Queued", Phase.PENDING),
        ("Active", Phase.RUNNING),
        ("TerminatingOnCancel", Phase.RUNNING),
        ("TerminatingOnFailure", Phase.RUNNING),
        ("Success", Phase.SUCCEEDED),
        ("Failed", Phase.FAILED),
        ("Cancelled", Phase.CANCELLED),
        ("cancelled", Phase.CANCELLED),
        ("Paused", Phase.UNKNOWN),
        (None, Phase.UNKNOWN),
        (7, Phase.UNKNOWN),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_a_state(clock: FakeClock, way: str, state: Any, phase: Phase) -> None:
    """Each of the seven states has a phase, without regard to case; any other is unknown."""
    with script([progress(state)]):
        found = call(way, V2, TOKEN, lambda client: client.progress("j1"))
    assert (found.service, found.phase, found.percent) == ("itwin-v2", phase, 50)
    assert found.wire.progress.percentage == 50


@pytest.mark.parametrize("way", WAYS)
def test_a_wait_from_the_queue_to_the_end(clock: FakeClock, way: str) -> None:
    """The progress says how the job ended: a success needs no second request."""
    answers = [progress("Queued", 0), progress("Active", 10), progress("Active", 10)]
    with script([*answers, progress("Success", 100)]) as sent:
        assert wait(way, V2, "j1", TOKEN).phase is Phase.SUCCEEDED
    assert [one.time for one in sent.sent] == [0, 15, 30, 60]
    assert {one.target for one in sent.sent} == {"/reality-modeling/jobs/j1/progress"}


def test_a_cancelled_job_keeps_running_until_it_is(client: Any) -> None:
    """A job that is being cancelled isn't over, and no messages are requested of it."""
    answers = [progress("TerminatingOnCancel")] * 8 + [progress("Cancelled")]
    with script(answers) as sent, pytest.raises(JobCancelled) as caught:
        client().wait("j1", timeout=None)
    assert (caught.value.last.phase, len(sent.sent)) == (Phase.CANCELLED, 9)


@pytest.mark.parametrize("state", ["Queued", "TerminatingOnCancel", "TerminatingOnFailure"])
def test_the_first_version_knows_the_new_states(clock: FakeClock, state: str) -> None:
    """The first version's client reads them in both of its answers, and keeps waiting."""
    phase = Phase.PENDING if state == "Queued" else Phase.RUNNING
    answers = [reply(200, {"jobProgress": {"state": word}}) for word in (state, "Over")]
    jobs = [reply(200, {"job": {"id": "j1", "state": word}}) for word in (state, "success")]
    with Script({"/progress": answers, "/jobs/j1": jobs}) as sent:
        seen = [one.phase for one in ITwin("t").watch("j1", timeout=600)]
    assert seen == [phase, Phase.SUCCEEDED]
    assert [one.target.rpartition("/")[2] for one in sent.sent] == [
        *("progress", "progress", "j1", "j1")
    ]


# --- why a job failed -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_why_a_job_failed(clock: FakeClock, way: str) -> None:
    """The messages say why, with the parameters in their places."""
    with script([progress("Failed")]) as sent, pytest.raises(JobFailed) as caught:
        wait(way, V2, "j1", TOKEN)
    assert caught.value.fault == READ
    assert [one.target.rpartition("/")[2] for one in sent.sent] == ["progress", "messages"]


@pytest.mark.parametrize(
    ("errors", "fault"),
    [
        ([], None),
        ([INVALID_INPUT, {"code": "Other", "message": "more"}], f"{READ}; more"),
        ([{"code": "A", "message": "%2 of %1%", "params": ["x", 3]}], "A: 3 of x%"),
        ([{"code": "A", "message": "%1 %2 %0 %", "params": ["x"]}], "A: x %2 %0 %"),
        ([{"code": "A", "message": "%1", "params": "x"}], "A: %1"),
        ([{"code": "A", "message": "%1", "params": [{}]}], "A: %1"),
        ([{"code": None, "title": None, "message": None}], "no reason given"),
        ([None, 7, "text"], None),
    ],
)
def test_reasons_of_every_form(client: Any, errors: list[Any], fault: str | None) -> None:
    """Several are put together; what isn't one is left out."""
    with script([progress("Failed")], [messages(*errors)]):
        found = client().progress("j1")
    assert (found.phase, found.fault and str(found.fault)) == (Phase.FAILED, fault)


@pytest.mark.parametrize(
    "wrong",
    [
        reply(503, {"error": None}),
        reply(429, {"error": {"code": "RateLimitExceeded", "message": "x"}}, {"Retry-After": "40"}),
        reply(200, b"<html>"),
        reply(200, {"messages": []}),
    ],
)
def test_a_reason_that_comes_later(client: Any, wrong: Any) -> None:
    """If the messages can't be had now, the wait retries them alone."""
    told = [wrong, messages(INVALID_INPUT)]
    with script([progress("Failed")], told) as sent, pytest.raises(JobFailed) as caught:
        client().wait("j1", timeout=600)
    assert caught.value.fault == READ
    asked = [one.target.rpartition("/")[2] for one in sent.sent]
    assert asked == ["progress", "messages", "messages"]
    assert sent.sent[-1].time >= (40 if wrong.status == 429 else 0)


@pytest.mark.parametrize("wrong", [reply(503, {"error": None}), reply(200, b"<html>")])
@pytest.mark.parametrize(("max_failures", "tries"), [(10, 3), (3, 3), (2, 2), (1, 1)])
@pytest.mark.parametrize("way", WAYS)
def test_a_reason_that_never_comes(
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    way: str,
    wrong: Any,
    max_failures: int,
    tries: int,
) -> None:
    """After a few tries, or fewer if no more may fail, the job has failed all the same.

    One warning says why there is no reason.
    """
    how = TOKEN | {"max_failures": max_failures}
    with script([progress("Failed")], [wrong]) as sent, pytest.raises(JobFailed) as caught:
        wait(way, V2, "j1", how)
    assert (caught.value.fault, caught.value.last.phase) == (None, Phase.FAILED)
    assert len(sent.sent) == 1 + tries
    assert clock.now() < 60
    (warning,) = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert warning.startswith("itwin-v2 j1 failed, but the reason is unknown: ")


def test_a_reason_that_never_comes_to_steps(client: Any, clock: FakeClock) -> None:
    """The tries are counted from process to process."""
    with script([progress("Failed")], [reply(503, {"error": None})]) as sent:
        step = client().start("j1", timeout=None)
        while step.delay is not None:
            clock.advance(step.delay)
            step = client().step(step.token)
    assert (step.progress.phase, step.progress.fault) == (Phase.FAILED, None)
    assert len(sent.sent) == 6


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_reason_that_may_not_be_read(
    client: Any, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """A call that can't read the messages warns once, and the job has failed all the same."""
    refusal = reply(status, {"error": {"code": "InsufficientPermissions", "message": "no"}})
    with script([progress("Failed")], [refusal]), caplog.at_level(logging.WARNING, "opwatch"):
        found = client().progress("j1")
    assert (found.phase, found.fault) == (Phase.FAILED, None)
    (warning,) = caplog.messages
    assert warning.startswith("itwin-v2 j1 failed, but the reason is unknown: ")


def test_a_step_brings_the_reason(client: Any) -> None:
    """A wait in steps ends with the reason too, though another process makes the next step."""
    told = [reply(503, {"error": None}), messages(INVALID_INPUT)]
    with script([progress("Active"), progress("Failed")], told):
        step = client().start("j1", timeout=None)
        while step.delay is not None:
            time = step.delay
            fresh = client()
            fresh._clock.sleep(time)
            step = fresh.step(step.token)
    assert (step.progress.phase, step.progress.fault) == (Phase.FAILED, READ)


# --- the schedule, the address, the credentials ---------------------------------------------------


def test_the_schedule(client: Any) -> None:
    """It is the first version's: 15, 30, 60, 120, 120 seconds, restarted by the percentage."""
    answers = [progress("Active", 1)] * 6 + [progress("Active", 0)] * 2 + [progress("Success")]
    with script(answers) as sent:
        client().wait("j1", timeout=None)
    times = [one.time for one in sent.sent]
    delays = [after - before for before, after in itertools.pairwise(times)]
    assert delays == [15, 30, 60, 120, 120, 120, 15, 30]


def test_the_request(clock: FakeClock) -> None:
    """It asks for the second version and brings the token."""
    headers: dict[str, Any] = {}

    def answer(request: Any) -> Any:
        headers.update(request.headers)
        return progress("Active")

    with Script(answer):
        ITwinV2("Bearer a made-up token").progress("j1")
    assert headers["Accept"] == "application/vnd.bentley.itwin-platform.v2+json"
    assert headers["Authorization"] == "Bearer a made-up token"


@pytest.mark.parametrize(
    ("how", "target"),
    [
        ({}, "/reality-modeling/jobs/j1/progress"),
        ({"api": "reality-analysis"}, "/reality-analysis/jobs/j1/progress"),
        ({"api": "reality-conversion"}, "/reality-conversion/jobs/j1/progress"),
        (
            {"api": "reality-analysis", "base_url": "https://qa-api.bentley.com/"},
            "/reality-analysis/jobs/j1/progress",
        ),
        ({"base_url": "https://proxy.example.com/itwin/v2"}, "/itwin/v2/jobs/j1/progress"),
    ],
)
def test_an_address(client: Any, how: Any, target: str) -> None:
    """`api` is added to the platform's address; an address with a path is used as it is."""
    with script([progress("Active")]) as sent:
        client(**how).progress("j1")
    assert sent.sent[0].target == target


@pytest.mark.parametrize("api", ["contextcapture", "Reality-Modeling", "", None, ["x"]])
def test_an_unknown_api(api: Any) -> None:
    """It is refused where the client is made, and the error names those there are."""
    with pytest.raises(ConfigurationError) as caught:
        ITwinV2("t", api=api)
    assert caught.value.argument == "api"
    assert all(repr(known) in str(caught.value) for known in APIS)


def test_an_api_from_the_environment(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """`from_env` takes the first version's variables as they are, and `ITWIN_API`."""
    for name, value in sim.environ.items():
        monkeypatch.setenv(name, value)
    assert sim.environ["ITWIN_BASE_URL"].endswith("/contextcapture")
    sim.add("itwin-v2", "j1", Frame("running"))
    for api in APIS:
        monkeypatch.setenv("ITWIN_API", api)
        with ITwinV2.from_env() as client:
            client.progress("j1")
        assert sim.requests[-1].target == f"/{api}/jobs/j1/progress"
    with ITwinV2.from_env(api="reality-modeling") as client:
        client.progress("j1")
    assert sim.requests[-1].target == "/reality-modeling/jobs/j1/progress"
    with pytest.raises(ConfigurationError, match=r"^`api` must be 'reality-modeling', "):
        ITwinV2.from_env(api="contextcapture")  # type: ignore[arg-type]
    monkeypatch.setenv("ITWIN_API", "contextcapture")
    with pytest.raises(ConfigurationError, match=r"^ITWIN_API must be 'reality-modeling', "):
        ITwinV2.from_env()


def test_missing_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, with what would do instead."""
    for name in ("ITWIN_CLIENT_ID", "ITWIN_CLIENT_SECRET", "ITWIN_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError) as caught:
        AsyncITwinV2.from_env()
    assert "ITWIN_CLIENT_ID, ITWIN_CLIENT_SECRET (or set ITWIN_ACCESS_TOKEN" in str(caught.value)


def test_a_token_of_the_other_version_is_not_resumed(client: Any) -> None:
    """The two versions are two services: a wait of one can't be continued by the other."""
    with script([progress("Active")]):
        token = client().start("j1", timeout=None).token
        with pytest.raises(ConfigurationError, match="is for the service 'itwin-v2', not 'itwin'"):
            ITwin("t").step(token)


@pytest.mark.parametrize("code", ["JobNotFound", "JobProgressNotFound"])
def test_a_job_that_is_gone(client: Any, code: str) -> None:
    """Both codes say so. It may be a job of another API: the error says what to check."""
    answer = reply(404, {"error": {"code": code, "message": "x"}})
    with script([answer]), pytest.raises(JobGone) as caught:
        client().wait("j1", timeout=None)
    advice = "check the job ID, `api` and `base_url` (ITWIN_API, ITWIN_BASE_URL)"
    assert caught.value.advice == advice


@pytest.mark.parametrize("path", ["reality-modeling", "x/Reality-Modeling/", "reality-conversion"])
def test_an_api_and_the_address_of_another(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """They contradict each other, so neither is polled."""
    monkeypatch.setenv("ITWIN_ACCESS_TOKEN", "t")
    base_url = f"https://qa-api.bentley.com/{path}"
    with pytest.raises(ConfigurationError, match=r"`api` is 'reality-analysis', but `base_url` "):
        ITwinV2("t", api="reality-analysis", base_url=base_url)
    monkeypatch.setenv("ITWIN_BASE_URL", base_url)
    with pytest.raises(ConfigurationError, match=r"`api` is 'reality-analysis', but `base_url` "):
        ITwinV2.from_env(api="reality-analysis")
    monkeypatch.setenv("ITWIN_API", "reality-analysis")
    with pytest.raises(ConfigurationError, match=r"^ITWIN_API is 'reality-analysis', but `base_"):
        ITwinV2.from_env()


def test_an_address_may_name_the_api(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """If `api` isn't set, or is the same, the address counts; the default doesn't contradict it."""
    monkeypatch.setenv("ITWIN_ACCESS_TOKEN", "t")
    monkeypatch.setenv("ITWIN_BASE_URL", "https://api.bentley.com/reality-analysis")
    for api in ("", "reality-analysis"):
        monkeypatch.setenv("ITWIN_API", api)
        with script([progress("Active")]) as sent:
            ITwinV2.from_env().progress("j1")
        assert sent.sent[0].target == "/reality-analysis/jobs/j1/progress"
    monkeypatch.setenv("ITWIN_API", "reality-modeling")
    with pytest.raises(ConfigurationError, match=r"^ITWIN_API is 'reality-modeling', but "):
        ITwinV2.from_env()
