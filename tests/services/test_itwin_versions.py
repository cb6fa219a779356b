"""iTwin v1 and v2: mix-ups, and the simulator of each."""

from typing import Any

import pytest
from itwin_support import APIS, TOKEN, V2, progress, script
from service_tools import WAYS, wait

from opwatch import AsyncITwin, Fault, ITwin, ITwinV2, Phase, Schedule
from opwatch.errors import (
    BadResponse,
    ConfigurationError,
    JobFailed,
    JobGone,
    NotFound,
    OpwatchError,
)
from opwatch.simulator import Frame, Polls, Simulator
from opwatch.testing import FakeClock, Script, reply

V1 = (ITwin, AsyncITwin)


# --- mix-ups --------------------------------------------------------------------------------------

ANSWERS = {
    V1: reply(200, {"jobProgress": {"percentage": 5, "state": "Active", "step": "x"}}),
    V2: progress("Active"),
}
BENTLEY = "https://api.bentley.com"


def cure(clients: tuple[type, type], origin: str = BENTLEY) -> str:
    """What the error says that names the cure, at the same origin."""
    if clients is V1:
        use = f"use ITwinV2 (service itwin-v2), or {origin}/contextcapture for ITwin"
        return f"`base_url` (ITWIN_BASE_URL) is an address of iTwin's API v2: {use}"
    use = f"use ITwin (service itwin), or {origin} for ITwinV2"
    return f"`base_url` (ITWIN_BASE_URL) is an address of iTwin's API v1: {use}"


MIXED = [(V1, api) for api in APIS] + [(V2, "contextcapture")]
ODDLY = [(V1, "Reality-Modeling"), (V1, "x/reality-analysis/jobs"), (V2, "ContextCapture/")]


@pytest.mark.parametrize("origin", [BENTLEY, "https://qa-api.bentley.com", "https://[::1]:8443"])
@pytest.mark.parametrize(("clients", "path"), MIXED)
@pytest.mark.parametrize("way", WAYS)
def test_the_other_version_answers(
    clock: FakeClock, way: str, clients: tuple[type, type], path: str, origin: str
) -> None:
    """If an address answers as the other version does, the first response ends the wait."""
    other = V2 if clients is V1 else V1
    how = TOKEN | {"base_url": f"{origin}/{path}"}
    answers = {"/progress": [ANSWERS[other]]}
    with Script(answers) as sent, pytest.raises(ConfigurationError) as caught:
        wait(way, clients, "j1", how)
    assert len(sent.sent) == 1
    assert (caught.value.argument, caught.value.job_id) == ("base_url", "j1")
    assert str(caught.value).endswith(f": {cure(clients, origin)}")


@pytest.mark.parametrize(("clients", "path"), MIXED)
@pytest.mark.parametrize("way", WAYS)
def test_the_other_version_finds_nothing(
    sim: Simulator, way: str, clients: tuple[type, type], path: str
) -> None:
    """If an address refuses the version that is asked for, the first response ends the wait."""
    service = "itwin" if clients is V1 else "itwin-v2"
    for each in ("itwin", "itwin-v2"):
        sim.add(each, "j1", Frame("running"))
    how = sim.arguments(service) | {"base_url": f"{sim.url}/{path}"}
    with pytest.raises(NotFound) as caught:
        wait(way, clients, "j1", how)
    assert [one.operation for one in sim.requests] == ["token", "progress"]
    assert str(caught.value).endswith(f"; {cure(clients, sim.url)}")


@pytest.mark.parametrize(("clients", "path"), MIXED + ODDLY)
@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((404, "JobNotFound"), (404, "JobProgressNotFound"), (404, "ResourceNotFound")),
        *((status, None) for status in (400, 404, 405, 406, 415, 422)),
    ],
)
def test_no_job_is_gone_at_the_other_versions_address(
    clock: FakeClock, clients: tuple[type, type], path: str, status: int, code: str | None
) -> None:
    """Whatever a refusal says there, it is the address that is wrong."""
    answer = reply(status, {"error": {"code": code, "message": "not available"}})
    how = TOKEN | {"base_url": f"https://api.bentley.com/{path}/"}
    with Script({"/progress": [answer]}) as sent, pytest.raises(NotFound) as caught:
        wait("blocking", clients, "j1", how)
    assert len(sent.sent) == 1
    assert str(caught.value).endswith(f"; {cure(clients)}")


@pytest.mark.parametrize("host", ["api.bentley.com", "qa-api.bentley.com", "127.0.0.1:8080"])
@pytest.mark.parametrize("code", ["JobNotFound", "ResourceNotFound", None])
def test_the_platforms_bare_address(clock: FakeClock, host: str, code: str | None) -> None:
    """It is one that `ITwinV2` takes, and `ITwin` needs a path: each 404 there says so.

    At another host than the platform's own, it may be a proxy's: there a job can be gone.
    """
    answer = reply(404, {"error": {"code": code, "message": "not available"}})
    with Script(lambda _: answer), pytest.raises(OpwatchError) as caught:
        ITwin("t", base_url=f"https://{host}").wait("j1", timeout=600)
    is_gone = code == "JobNotFound" and "bentley" not in host
    assert type(caught.value) is (JobGone if is_gone else NotFound)
    assert str(caught.value).endswith(
        "; check `base_url` (ITWIN_BASE_URL): iTwin's API v1 needs a path; use ITwinV2 "
        f"(service itwin-v2), or https://{host}/contextcapture for ITwin"
    )


def test_the_first_versions_address_in_any_case(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `ITWIN_BASE_URL`, `ITwinV2` uses the host alone."""
    monkeypatch.setenv("ITWIN_ACCESS_TOKEN", "t")
    monkeypatch.setenv("ITWIN_BASE_URL", "https://api.bentley.com/ContextCapture//")
    with script([progress("Active")]) as sent:
        ITwinV2.from_env().progress("j1")
    assert sent.sent[0].target == "/reality-modeling/jobs/j1/progress"


@pytest.mark.parametrize("error", ["x", ["x"], 5, {"code": "c"}, {"code": {}, "details": [5]}])
def test_a_success_beside_an_error_is_unknown(
    client: Any, caplog: pytest.LogCaptureFixture, error: Any
) -> None:
    """It is never a success: the wait continues, and one warning says why."""
    both = reply(200, {"error": error, "progress": {"state": "Success"}})
    empty = reply(200, {"error": None, "progress": {"state": "Success"}})
    with script([both, both, empty]):
        seen = [one.phase for one in client().watch("j1", timeout=600)]
    assert seen == [Phase.UNKNOWN, Phase.UNKNOWN, Phase.SUCCEEDED]
    assert ["success and an error (`error`)" in one for one in caplog.messages] == [True]


def test_one_mix_up_ends_each_job_of_many(clock: FakeClock) -> None:
    """Each of many jobs ends with the error; none waits."""
    with Script({"/progress": [ANSWERS[V2]]}) as sent:
        many = ITwin("t", base_url="https://api.bentley.com/reality-analysis").watch_many(
            ["j1", "j2"], timeout=None
        )
        assert list(many) == []
    assert [type(error) for error in many.errors.values()] == [ConfigurationError] * 2
    assert len(sent.sent) == 2


@pytest.mark.parametrize("body", [{"jobProgress": None}, {"jobProgress": []}, {}, [], "x", None])
def test_an_answer_of_neither_version_is_retried(client: Any, body: Any) -> None:
    """What is no response of either version is a bad response, as before."""
    with script([reply(200, body), progress("Success")]) as sent:
        assert client().wait("j1", timeout=None).phase is Phase.SUCCEEDED
    assert len(sent.sent) == 2


def test_a_field_of_the_other_version_changes_nothing(client: Any) -> None:
    """A response of this version may have fields of that name."""
    both = reply(200, {"jobProgress": {"state": "Over"}, "progress": {"state": "Success"}})
    with script([both]):
        assert client().progress("j1").phase is Phase.SUCCEEDED


def test_never_guess_succeeded(client: Any) -> None:
    """100 % isn't a success, and neither is a response without a state."""
    states: list[Any] = ["Active", "", None, "succeeded?", True]
    for state in states:
        with script([progress(state, 100)]):
            assert not client().progress("j1").phase.is_final


# --- the simulator --------------------------------------------------------------------------------


def test_the_simulator_fails_a_job_with_its_reason(sim: Simulator) -> None:
    """A scripted reason arrives through the messages, also after a refusal of theirs."""
    fault = Fault("InputData_Invalid", "no scene")
    failed = Frame("failed", percent=20, fault=fault)
    frames = [Frame("pending"), Frame("failed", percent=20, lookup=Frame(status=503)), failed]
    sim.add("itwin-v2", "j1", Polls(frames))
    with pytest.raises(JobFailed) as caught:
        sim.client("itwin-v2").wait("j1", timeout=600)
    assert caught.value.fault == Fault("InputData_Invalid", "Job failed: no scene")
    assert [(one.operation, one.status) for one in sim.requests[1:]] == [
        ("progress", 200),
        ("progress", 200),
        ("job", 503),
        ("job", 200),
    ]


def test_the_simulator_has_no_end_without_an_outcome(sim: Simulator) -> None:
    """The second version always says how a job ended."""
    with pytest.raises(ConfigurationError, match="no state for ended"):
        sim.add("itwin-v2", "j1", Frame("ended"))


def test_the_simulator_takes_each_others_tokens(sim: Simulator) -> None:
    """One identity service issues the tokens of both versions."""
    sim.add("itwin-v2", "j1", Frame("running"))
    for service in ("itwin", "itwin-v2"):
        client = sim.client("itwin-v2", auth=sim.token(service))
        assert client.progress("j1").phase is Phase.RUNNING


def test_a_bad_response_names_what_is_missing(client: Any) -> None:
    """A single call raises it."""
    with script([reply(200, {"other": 1})]), pytest.raises(BadResponse, match="object `progress`"):
        client(schedule=Schedule((1,))).progress("j1")


def test_no_answer_breaks_the_client(client: Any) -> None:
    """Whatever the messages hold, a user sees a failed job."""
    odd: list[Any] = [None, 0, "x", [], {}, [[]], [{}], {"code": [], "message": {}, "params": {}}]
    for errors in odd:
        told = reply(200, {"messages": {"errors": errors, "warnings": errors}})
        answers = [told, reply(403, None)]
        with script([progress("Failed")], answers), pytest.raises(OpwatchError) as caught:
            client(max_failures=1).wait("j1", timeout=None)
        assert type(caught.value) is JobFailed
