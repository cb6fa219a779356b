"""APIG with `until="usable"`: a created gateway is polled until it is running."""

import copy
import json
import logging
import pickle
from typing import Any

import pytest
from opwatch_api.apig.models import Gateway, GatewayStatus
from service_tools import WAYS, wait

from opwatch import AkSk, Apig, AsyncApig, Fault, Phase
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    ConfigurationError,
    JobFailed,
    JobGone,
    NotFound,
    OpwatchError,
    PermissionDenied,
    WaitStalled,
    WaitTimeout,
)
from opwatch.simulator import Frame, Polls, Simulator, apig
from opwatch.testing import FakeClock, Script, reply

CLIENTS = (Apig, AsyncApig)
HOW = {"endpoint": "https://apig", "auth": "t", "project_id": "p1", "until": "usable"}
CREATING = reply(200, {"status": "creating", "progress": 50})
CREATED = reply(200, {"status": "success", "progress": 100, "end_time": 1597390224911})
FAILED = reply(200, {"status": "failed", "progress": 0, "error_code": "APIC.9218"})
FAILURES = {
    *("CreateFail", "CreateTimeout", "InitingFailed", "InitTimeout", "RegisterFailed"),
    *("RegisterTimeout", "InstallFailed", "InstallTimeout", "UpdateFailed", "UpdateTimeout"),
    *("RollbackFailed", "RollbackTimeout", "RestartFail", "RestartTimeout", "ResizeFailed"),
    *("ResizeTimeout", "DeleteFailed", "DeleteTimeout", "UnRegisterFailed", "UnregisterTimeout"),
}


def gateway(status: Any, **more: Any) -> Any:
    return reply(200, {"id": "g", "status": status} | more)


def script(gateways: list[Any], progress: list[Any] | None = None) -> Script:
    return Script({"/g/progress": progress or [CREATED], "/instances/g": gateways})


def asked(sent: Script) -> list[str]:
    return [one.target.rpartition("/")[2] for one in sent.sent]


@pytest.fixture
def client(clock: FakeClock) -> Any:
    """Makes a client inside a script's block."""
    return lambda **how: Apig(**(HOW | how))


@pytest.mark.parametrize("way", WAYS)
def test_created_and_then_running(clock: FakeClock, way: str) -> None:
    """`CreateSuccess` is not the end; `Running` is, and the progress isn't requested again."""
    gateways = [gateway("CreateSuccess"), gateway("Initing"), gateway("Running", ingress_ip="::1")]
    with script(gateways, [CREATING, CREATED]) as sent:
        found = wait(way, CLIENTS, "g", HOW)
    assert asked(sent) == ["progress", "progress", "g", "g", "g"]
    assert [one.time for one in sent.sent] == [0, 20, 20, 40, 60]
    assert {one.target.removesuffix("/progress") for one in sent.sent} == {
        "/v2/p1/apigw/instances/g"
    }
    assert (found.phase, found.percent, found.step) == (Phase.SUCCEEDED, 100, None)
    assert str(found.finished_at) == "2020-08-14 07:30:24.911000+00:00"
    assert isinstance(found.details, Gateway)
    assert (found.details.ingress_ip, found.wire.progress) == ("::1", 100)


def test_what_is_seen_on_the_way(client: Any) -> None:
    """In between the gateway is running a step, and not finished."""
    with script([gateway("CreateSuccess"), gateway("Running")], [CREATING, CREATED]):
        seen = list(client().watch("g", timeout=None))
    assert [(one.phase, one.step, one.percent) for one in seen] == [
        (Phase.RUNNING, None, 50),
        (Phase.RUNNING, "CreateSuccess", 100),
        (Phase.SUCCEEDED, None, 100),
    ]
    assert [one.finished_at is None for one in seen] == [True, True, False]
    assert [one.details and one.details.status for one in seen] == [
        *(None, GatewayStatus.CREATESUCCESS, GatewayStatus.RUNNING)
    ]
    assert pickle.loads(pickle.dumps(seen[1])) == copy.copy(seen[1]) == seen[1]


@pytest.mark.parametrize("how", [{}, {"until": "created"}])
def test_created_is_the_default(client: Any, how: Any) -> None:
    """Without `until`, the creation's success is the end, as the document says."""
    with Script({"/g/progress": [CREATED]}) as sent:
        found = Apig("https://apig", "t", project_id="p1", **how).wait("g", timeout=None)
    assert (found.phase, found.details, asked(sent)) == (Phase.SUCCEEDED, None, ["progress"])


@pytest.mark.parametrize("status", GatewayStatus)
def test_each_status(client: Any, status: GatewayStatus) -> None:
    """Failures end the wait as failed, `Running` as succeeded, and no other status ends it."""
    with script([gateway(status.value)]):
        found = client().progress("g")
    expected = Phase.FAILED if status.value in FAILURES else Phase.RUNNING
    assert found.phase is (Phase.SUCCEEDED if status.value == "Running" else expected)
    assert found.fault == (Fault(status.value) if status.value in FAILURES else None)


def test_every_failure_is_listed() -> None:
    """The failures above are statuses that the spec lists."""
    assert {status.value for status in GatewayStatus} >= FAILURES


def test_a_failure_ends_the_wait(client: Any) -> None:
    """The fault is the gateway's status, in the service's words."""
    gateways = [gateway("Installing"), gateway("InstallFailed")]
    with script(gateways), pytest.raises(JobFailed, match="failed: InstallFailed") as caught:
        client().wait("g", timeout=None)
    assert caught.value.last.details.status == "InstallFailed"


def test_a_creation_that_fails_needs_no_gateway(client: Any) -> None:
    """A failed creation is the end; the gateway isn't requested."""
    with script([gateway("Running")], [FAILED]) as sent, pytest.raises(JobFailed) as caught:
        client().wait("g", timeout=None)
    assert (caught.value.fault.code, asked(sent)) == ("APIC.9218", ["progress"])


@pytest.mark.parametrize("way", WAYS)
def test_a_gateway_that_may_not_be_read(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """An account that may not read the gateway ends as created, with one warning."""
    refusal = reply(403, {"error_code": "APIC.7106", "error_msg": "No permissions"})
    with script([refusal]) as sent, caplog.at_level(logging.WARNING, "opwatch"):
        found = wait(way, CLIENTS, "g", HOW)
    assert (found.phase, found.details, asked(sent)) == (Phase.SUCCEEDED, None, ["progress", "g"])
    (warning,) = caplog.messages
    assert vars(caplog.records[0])["service"] == "apig"
    told = "apig g succeeded, but whether its result can be used is unknown: "
    assert warning.startswith(told)
    assert "APIC.7106" in warning


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(404, {"error_code": "APIC.7302", "error_msg": "x"}), JobGone),
        (reply(404, {"error_code": "APIG.0101", "error_msg": "x"}), NotFound),
        (reply(401, {"error_code": "APIC.7100", "error_msg": "x"}), AuthenticationError),
        (reply(403, b"<html>blocked</html>"), PermissionDenied),
        (reply(403, {}), PermissionDenied),
        (reply(403, {"error_code": "APIC.7109", "error_msg": "x"}), PermissionDenied),
        (reply(403, {"error_code": "WAF.1", "error_msg": "No permissions"}), PermissionDenied),
    ],
)
def test_another_refusal_is_never_a_success(client: Any, answer: Any, error: type) -> None:
    """Whatever else ends the wait is raised: nobody said that the gateway is usable."""
    with script([answer]), pytest.raises(OpwatchError) as caught:
        client().wait("g", timeout=None)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "answer",
    [
        reply(503, {"error_code": "APIG.0201", "error_msg": "x"}),
        reply(429, {"error_code": "APIG.0308", "error_msg": "x"}, {"Retry-After": "7"}),
        reply(200, b"<html>"),
        reply(200, []),
        reply(200, {"id": "another", "status": "Running"}),
        reply(200, {"id": None, "status": "Running"}),
        reply(200, {"status": "Running", "service": "nginx"}),
    ],
)
def test_a_passing_fault_is_retried(client: Any, answer: Any) -> None:
    """The wait goes on with the next poll, and ends with a response about this gateway."""
    with script([answer, gateway("Running")]) as sent:
        assert client().wait("g", timeout=None).phase is Phase.SUCCEEDED
    assert asked(sent).count("g") == 2


def test_a_gateway_that_may_no_longer_be_read(client: Any) -> None:
    """Once its status was read and wasn't `Running`, no refusal makes it a success."""
    refusal = reply(403, {"error_code": "APIC.7106", "error_msg": "No permissions"})
    with script([gateway("Initing"), refusal]), pytest.raises(PermissionDenied) as caught:
        client().wait("g", timeout=None)
    assert (caught.value.last.phase, caught.value.last.step) == (Phase.RUNNING, "Initing")


def test_a_running_gateway_with_an_error(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The response contradicts itself: it is unknown, with a warning, and the wait continues."""
    both = gateway("Running", error_code="APIC.9218")
    with script([both, gateway("Running", error_code=None)]):
        seen = [one.phase for one in client().watch("g", timeout=None)]
    assert seen == [Phase.UNKNOWN, Phase.SUCCEEDED]
    text = "reports both success and an error (`error_code`) in one response; the wait continues"
    assert caplog.messages == [f"apig g {text}"]
    assert [(one.service, one.job_id) for one in caplog.records] == [("apig", "g")]


def test_a_fault_that_stays_is_raised(client: Any) -> None:
    """When retrying doesn't help, the error is raised: the gateway isn't known to be usable."""
    answer = reply(200, {"id": "another", "status": "Running"})
    with script([answer]), pytest.raises(BadResponse, match="isn't about this gateway"):
        client(max_failures=3).wait("g", timeout=None)


@pytest.mark.parametrize("status", [None, "Melted", 7, [], ""])
def test_an_unknown_status_keeps_waiting(
    client: Any, caplog: pytest.LogCaptureFixture, status: Any
) -> None:
    """A status that this version doesn't know is named once, and is not the end."""
    with script([gateway(status)] * 3 + [gateway("Running")]) as sent:
        assert client().wait("g", timeout=None).phase is Phase.SUCCEEDED
    assert asked(sent) == ["progress", "g", "g", "g", "g"]
    assert len(caplog.messages) == 1


def test_a_gateway_that_never_runs(client: Any) -> None:
    """The wait's own limits hold."""
    with script([gateway("CreateSuccess")]):
        with pytest.raises(WaitTimeout) as caught:
            client().wait("g", timeout=100)
        with pytest.raises(WaitStalled):
            client().wait("g", timeout=None, stall_timeout=60)
    assert caught.value.last.step == "CreateSuccess"


def test_a_wait_in_steps(client: Any) -> None:
    """Another process starts with the progress again, and comes to the same end."""
    gateways = [gateway("CreateSuccess"), gateway("Registering"), gateway("Running")]
    with script(gateways) as sent:
        step = client().start("g", timeout=None)
        while step.delay is not None:
            another = client()
            another._clock.sleep(step.delay)
            step = another.step(step.token)
    assert step.progress.phase is Phase.SUCCEEDED
    assert asked(sent) == ["progress", "g"] * 3


def test_many_gateways_share_a_client(client: Any) -> None:
    """Each goes its own way."""
    answers = {
        "/g1/progress": [CREATED],
        "/g2/progress": [CREATING, CREATED],
        "/instances/g1": [gateway(name, id="g1") for name in ("CreateSuccess", "Running")],
        "/instances/g2": [gateway(name, id="g2") for name in ("Initing", "InitingFailed")],
    }
    with Script(answers):
        many = client().watch_many(["g1", "g2"], timeout=None)
        last = {one.job_id: one.phase for one in many}
    assert last == {"g1": Phase.SUCCEEDED, "g2": Phase.FAILED}


def paused(answer: Any, seconds: int = 30) -> Any:
    return reply(answer.status, json.loads(answer.body), {"Retry-After": str(seconds)})


@pytest.mark.parametrize("way", WAYS)
def test_a_creation_that_asks_for_a_pause(clock: FakeClock, way: str) -> None:
    """Only the gateway is requested after the pause, however often the creation asks for one."""
    with script([gateway("Initing"), gateway("Running")], [paused(CREATED)]) as sent:
        found = wait(way, CLIENTS, "g", HOW)
    assert (found.phase, found.percent) == (Phase.SUCCEEDED, 100)
    assert [(one.time, asked(sent)[n]) for n, one in enumerate(sent.sent)] == [
        *((0, "progress"), (30, "g"), (50, "g"))
    ]


def test_many_creations_that_ask_for_a_pause(client: Any) -> None:
    """Each creation is requested until it has succeeded, and not again."""
    answers = {"/progress": [paused(CREATED)]}
    answers |= {
        f"/instances/{name}": [reply(200, {"id": name, "status": "Running"})] for name in "gh"
    }
    with Script(answers) as sent:
        many = client().watch_many(["g", "h"], timeout=None)
        assert {one.job_id: one.phase for one in many} == dict.fromkeys("gh", Phase.SUCCEEDED)
    assert asked(sent).count("progress") == 2


def test_steps_after_a_creation_that_asks_for_a_pause(client: Any, clock: FakeClock) -> None:
    """The client that made the last step requests only the gateway in the next one."""
    with script([gateway("Running")], [paused(CREATED)]) as sent:
        same = client()
        step = same.start("g", timeout=None)
        assert (step.progress, step.delay) == (None, 30)
        clock.advance(30)
        assert same.step(step.token).progress.phase is Phase.SUCCEEDED
    assert asked(sent) == ["progress", "g"]


def test_progress_of_a_creation_that_asks_for_a_pause(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What is known is returned, and a warning says that the gateway wasn't requested."""
    with script([gateway("Running")], [paused(CREATED)]):
        found = client().progress("g")
    assert (found.phase, found.percent, found.finished_at) == (Phase.RUNNING, 100, None)
    assert caplog.messages[0].startswith("apig g may have ended: ")
    assert "asked for a pause (Retry-After) that ends in 30 s" in caplog.messages[0]


@pytest.mark.parametrize("answer", [reply(503), reply(404, {"error_code": "APIG.0101"})])
def test_the_last_answer_if_only_the_gateway_fails(client: Any, answer: Any) -> None:
    """The error has the creation's answer, which isn't a success of what is waited for."""
    with script([answer]) as sent, pytest.raises(OpwatchError) as caught:
        client(max_failures=3).wait("g", timeout=None)
    last = caught.value.last
    assert (last.phase, last.wire.status, last.finished_at) == (Phase.RUNNING, "success", None)
    assert asked(sent).count("progress") == 1
    with script([reply(503)]), pytest.raises(WaitTimeout, match="before the job finished"):
        client().wait("g", timeout=5)


@pytest.mark.parametrize("until", ["running", "", None, 7, ["usable"]])
def test_an_unknown_until(until: Any) -> None:
    """It is refused where the client is made."""
    with pytest.raises(ConfigurationError, match=r"^`until` must be 'created' or 'usable', not "):
        Apig("https://apig", "t", project_id="p1", until=until)


def test_until_from_the_environment(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """`APIG_UNTIL` says it for the command."""
    for name, value in (sim.environ | {"APIG_UNTIL": "usable"}).items():
        monkeypatch.setenv(name, value)
    sim.add("apig", "g", Frame("succeeded"))
    with Apig.from_env() as client:
        assert client.progress("g").details.status == "Running"
    with Apig.from_env(until="created") as client:
        assert client.progress("g").details is None
    with pytest.raises(ConfigurationError, match=r"^`until` must be 'created' or 'usable'"):
        Apig.from_env(until="now")  # type: ignore[arg-type]
    monkeypatch.setenv("APIG_UNTIL", "now")
    with pytest.raises(ConfigurationError, match=r"^APIG_UNTIL must be 'created' or 'usable'"):
        Apig.from_env()


# --- the simulator --------------------------------------------------------------------------------


def test_a_simulated_gateway(sim: Simulator) -> None:
    """A frame's `lookup` is what the gateway says meanwhile; without one, it agrees."""
    between = Frame("running", state="CreateSuccess")
    frames = [Frame("running"), Frame("succeeded", lookup=between), Frame("succeeded")]
    sim.add("apig", "g", Polls(frames))
    found = sim.client("apig", until="usable").wait("g", timeout=600)
    assert (found.phase, found.details.eip_address) == (Phase.SUCCEEDED, "192.0.2.10")
    assert [one.operation for one in sim.requests[1:]] == ["progress", "progress", "job", "job"]


def test_a_simulated_gateway_by_time(sim: Simulator, clock: FakeClock) -> None:
    """By time as well, and with keys instead of a token."""
    between = Frame("running", state="Installing")
    sim.add("apig", "g", [Frame("succeeded", lookup=between), Frame("failed", at=100)])
    keys = AkSk(apig.ACCESS_KEY, apig.SECRET_KEY)
    client = sim.client("apig", auth=keys, project_id=apig.PROJECT_ID, until="usable")
    with pytest.raises(JobFailed) as caught:
        client.wait("g", timeout=600)
    assert (caught.value.fault, clock.now()) == (Fault("CreateFail"), 100)


def test_a_simulated_gateway_that_may_not_be_read(sim: Simulator) -> None:
    """A `lookup` may be a refusal too."""
    sim.add("apig", "g", Frame("succeeded", lookup=Frame(error="APIC.7300")))
    found = sim.client("apig", until="usable").wait("g", timeout=600)
    assert (found.phase, found.details) == (Phase.SUCCEEDED, None)


def test_a_simulated_gateway_has_a_status_for_its_phase(sim: Simulator) -> None:
    """A phase that a gateway has no status for needs the word for it."""
    with pytest.raises(ConfigurationError, match="no status for cancelled"):
        sim.add("apig", "g", Frame("succeeded", lookup=Frame("cancelled")))
