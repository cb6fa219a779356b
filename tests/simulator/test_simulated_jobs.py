"""The clients against the simulator, blocking and async: each service, from the first poll to the
end."""

from typing import Any

import pytest
from simulator_tools import SERVICES, Send, samples, statuses

from opwatch import Fault, Phase, Schedule
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    JobCancelled,
    JobFailed,
    JobGone,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServiceError,
    TransportError,
    Unavailable,
)
from opwatch.services import find
from opwatch.simulator import Frame, Polls, Simulator
from opwatch.testing import FakeClock

FAULTS = {
    "apig": Fault("APIC.9218", "create failed: insufficient quota"),
    "catenis": Fault("500", "Internal server error"),
    "itwin": Fault("Simulated", "Job failed: The job failed, as scripted."),
    "itwin-v2": Fault("Simulated", "Job failed: The job failed, as scripted."),
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_job_is_watched_to_its_success(sim: Simulator, service: str) -> None:
    """A blocking client waits for a job by the service's own schedule, to its success."""
    sim.add(service, "job-1", [Frame("running", percent=30), Frame("succeeded", at=100)])
    progress = sim.client(service).wait("job-1", timeout=600)
    assert progress.phase is Phase.SUCCEEDED
    assert sim.job(service, "job-1").polls > 2


@pytest.mark.anyio
@pytest.mark.parametrize("service", SERVICES)
async def test_a_job_is_watched_by_an_async_client(sim: Simulator, service: str) -> None:
    """An async client does the same, on asyncio and on trio."""
    sim.add(service, "job-1", [Frame("running", percent=30), Frame("succeeded", at=100)])
    async with sim.async_client(service) as client:
        progress = await client.wait("job-1", timeout=600)
    assert progress.phase is Phase.SUCCEEDED
    assert sim.job(service, "job-1").polls > 2


@pytest.mark.parametrize("service", SERVICES)
def test_sync_and_async_ask_the_same(sim: Simulator, clock: FakeClock, service: str) -> None:
    """Both clients send the same requests at the same times, to the second."""
    import anyio

    async def wait() -> None:
        async with sim.async_client(service) as client:
            await client.wait("job-1", timeout=600)

    job = sim.add(service, "job-1", [Frame("running", percent=30), Frame("succeeded", at=100)])

    def transcript(start: float, first: int) -> list[tuple[float, str, str, int | None]]:
        return [
            (one.time - start, one.method, one.target, one.status) for one in sim.requests[first:]
        ]

    start = clock.epoch()
    sim.client(service).wait("job-1", timeout=600)
    blocking = transcript(start, 0)
    job.restart()
    start = clock.epoch()
    anyio.run(wait)
    assert blocking == transcript(start, len(blocking))


@pytest.mark.parametrize("service", SERVICES)
def test_real_time_goes_by_itself(service: str) -> None:
    """Without a fake clock a job plays in real time, here within a few milliseconds."""
    with Simulator() as sim:
        sim.add(service, "job-1", [Frame("running"), Frame("succeeded", at=0.02)])
        progress = sim.client(service).wait("job-1", timeout=30, schedule=Schedule((0.005,)))
    assert progress.phase is Phase.SUCCEEDED


@pytest.mark.parametrize("service", SERVICES)
def test_a_failed_job_has_its_reason(sim: Simulator, service: str) -> None:
    """A failed job gives the service's own reason where the script gives none."""
    sim.add(service, "job-1", Frame("failed"))
    with pytest.raises(JobFailed) as caught:
        sim.client(service).wait("job-1", timeout=10)
    assert FAULTS[service] == caught.value.fault


@pytest.mark.parametrize("service", SERVICES)
def test_a_failed_job_has_the_reason_of_its_script(sim: Simulator, service: str) -> None:
    """The reason that a script gives is the one that the client reads."""
    sim.add(service, "job-1", Frame("failed", fault=Fault("404", "no such thing")))
    fault = sim.client(service).progress("job-1").fault
    assert fault is not None
    assert (fault.code, str(fault.message).removeprefix("Job failed: ")) == ("404", "no such thing")


@pytest.mark.parametrize("service", SERVICES)
def test_an_unknown_job_is_gone(sim: Simulator, service: str) -> None:
    """A job that was not added is one the service does not know."""
    with pytest.raises(JobGone):
        sim.client(service).progress("job-1")


@pytest.mark.parametrize(
    ("service", "frame", "expected"),
    [
        ("catenis", Frame("pending"), (Phase.RUNNING, None, "send", 0)),
        ("catenis", Frame("running", bytes_processed=28), (Phase.RUNNING, None, "send", 28)),
        ("catenis", Frame("running", step="log"), (Phase.RUNNING, None, "log", 0)),
        ("catenis", Frame("ended"), (Phase.ENDED, None, "send", 0)),
        ("itwin", Frame("pending"), (Phase.PENDING, None, None, None)),
        (
            "itwin",
            Frame("running", percent=5.5, step="Reconstruction"),
            (Phase.RUNNING, 5.5, "Reconstruction", None),
        ),
        ("itwin", Frame("succeeded"), (Phase.SUCCEEDED, 100, None, None)),
        ("itwin", Frame("cancelled", percent=5), (Phase.CANCELLED, 5, None, None)),
        ("itwin", Frame("ended"), (Phase.ENDED, None, None, None)),
        ("itwin", Frame("unknown", state="Paused"), (Phase.UNKNOWN, None, None, None)),
        ("itwin", Frame("running", state="active"), (Phase.RUNNING, None, None, None)),
        ("itwin-v2", Frame("pending"), (Phase.PENDING, 0, None, None)),
        ("itwin-v2", Frame("running", percent=5.5), (Phase.RUNNING, 5.5, None, None)),
        ("itwin-v2", Frame("succeeded"), (Phase.SUCCEEDED, 100, None, None)),
        ("itwin-v2", Frame("cancelled", percent=5), (Phase.CANCELLED, 5, None, None)),
        ("itwin-v2", Frame("unknown", state="Paused"), (Phase.UNKNOWN, None, None, None)),
        ("apig", Frame("pending"), (Phase.RUNNING, 0, None, None)),
        ("apig", Frame("running"), (Phase.RUNNING, None, None, None)),
        ("apig", Frame("running", percent=80), (Phase.RUNNING, 80, None, None)),
        ("apig", Frame("succeeded"), (Phase.SUCCEEDED, 100, None, None)),
        ("apig", Frame("failed"), (Phase.FAILED, 0, None, None)),
        ("apig", Frame("unknown", state="deleting"), (Phase.UNKNOWN, None, None, None)),
    ],
)
def test_a_state_is_said_in_the_service_s_words(
    sim: Simulator, service: str, frame: Frame, expected: tuple[Any, ...]
) -> None:
    """What a frame says in the words of `Progress` is what the client reads."""
    sim.add(service, "job-1", frame)
    found = sim.client(service).progress("job-1")
    assert expected == (found.phase, found.percent, found.step, found.bytes_processed)


def test_the_times_of_a_gateway_are_those_of_the_clock(sim: Simulator, clock: FakeClock) -> None:
    """A gateway began when it was first asked for, and ended when its script says."""
    sim.add("apig", "job-1", [Frame("running"), Frame("succeeded", at=100)])
    began = clock.epoch()
    found = sim.client("apig").wait("job-1", timeout=600)
    assert found.started_at is not None
    assert found.finished_at is not None
    assert (began, began + 100) == (found.started_at.timestamp(), found.finished_at.timestamp())


def test_the_times_of_a_job_are_those_of_the_clock(sim: Simulator, clock: FakeClock) -> None:
    """An iTwin job says the same times when the job itself is asked."""
    sim.add("itwin", "job-1", [Frame("running"), Frame("succeeded", at=100)])
    began = clock.epoch()
    found = sim.client("itwin").wait("job-1", timeout=600)
    assert found.started_at is not None
    assert found.finished_at is not None
    assert (began, began + 100) == (found.started_at.timestamp(), found.finished_at.timestamp())


def test_a_read_message_can_be_gone_on_with(sim: Simulator) -> None:
    """A cached message that was read has a message id and a token to continue with."""
    sim.add("catenis", "hSimulatedMessage001", Frame("succeeded", bytes_processed=28))
    result = sim.client("catenis").progress("hSimulatedMessage001").wire.data.result
    expected = ("mSimulatedMessage001", "kSimulatedMessage001")
    assert expected == (result.message_id, result.continuation_token)


def test_a_cancelled_job_may_still_read_active(sim: Simulator) -> None:
    """A job that stays "Active" without progress is found out by a look at the job itself."""
    sim.add("itwin", "job-1", Frame("cancelled", state="Active", percent=30))
    with pytest.raises(JobCancelled):
        sim.client("itwin").wait("job-1", timeout=3600)


def test_how_a_job_ended_may_be_in_trouble_for_a_while(sim: Simulator) -> None:
    """While the job itself cannot be asked, its end is known and its outcome is not."""
    trouble = Frame("succeeded", lookup=Frame(error="ServiceUnavailable"))
    sim.add("itwin", "job-1", Polls([Frame("running"), trouble, Frame("succeeded")]))
    progress = sim.client("itwin").wait("job-1", timeout=600)
    assert progress.phase is Phase.SUCCEEDED
    assert statuses(sim, "job") == [503, 200]


def test_the_job_itself_can_be_asked_before_its_progress(sim: Simulator, send: Send) -> None:
    """A look at a job is not a poll: it stands at the beginning until its progress is asked."""
    job = sim.add("itwin", "job-1", Polls([Frame("pending"), Frame("succeeded")]))
    headers = {"Accept": "application/vnd.bentley.itwin-platform.v1+json"}
    headers["Authorization"] = f"Bearer {sim.token('itwin')}"
    for _ in range(2):
        found = send("GET", "/contextcapture/jobs/job-1", headers)
        assert (found.status, found.json["job"]["state"]) == (200, "unsubmitted")
    assert job.polls == 0


def test_a_look_at_a_job_is_of_the_state_it_is_in(
    sim: Simulator, clock: FakeClock, send: Send
) -> None:
    """By time, a job moves on for a look at it; while its polls fail, it is in its last state."""
    frames = [Frame("pending"), Frame("running", at=5), Frame(status=503, at=10)]
    sim.add("itwin", "job-1", [*frames, Frame("succeeded", at=20)])
    client = sim.client("itwin")
    client.progress("job-1")
    headers = {"Accept": "application/vnd.bentley.itwin-platform.v1+json"}
    headers["Authorization"] = f"Bearer {sim.token('itwin')}"
    states = []
    for _ in range(5):
        found = send("GET", "/contextcapture/jobs/job-1", headers)
        states.append(found.json["job"]["state"])
        clock.advance(5)
    assert states == ["unsubmitted", "active", "active", "active", "success"]


# --- refusals -------------------------------------------------------------------------------------

REFUSALS = [
    ("catenis", "Device is deleted", PermissionDenied, 400),
    ("catenis", "Device is not active", PermissionDenied, 400),
    ("catenis", "Invalid or expired ephemeral message", JobGone, 400),
    ("catenis", "Progress not available", Unavailable, 400),
    ("catenis", "Invalid parameters", ServiceError, 400),
    ("catenis", "Invalid parameters: messageId", ServiceError, 400),
    ("catenis", "You must be logged in to do this.", AuthenticationError, 401),
    ("catenis", "Internal server error", Unavailable, 500),
    (
        "catenis",
        "System currently not available; please try again at a later time",
        Unavailable,
        503,
    ),
    ("itwin", "HeaderNotFound", AuthenticationError, 401),
    ("itwin", "Unauthorized", AuthenticationError, 401),
    ("itwin", "InsufficientPermissions", PermissionDenied, 403),
    ("itwin", "JobNotFound", JobGone, 404),
    ("itwin", "ResourceNotFound", NotFound, 404),
    ("itwin", "RateLimitExceeded", RateLimited, 429),
    ("itwin", "TooManyRequests", RateLimited, 429),
    *[
        ("apig", code, AuthenticationError, 401)
        for code in (
            *("APIC.7100", "APIC.7101", "APIC.7102", "APIC.7103", "APIC.7105", "APIC.7107"),
            *("APIG.1000", "APIG.1001", "APIG.1002", "APIG.1003", "APIG.1009"),
            *("APIG.0301", "APIG.0307"),
        )
    ],
    *[
        ("apig", code, PermissionDenied, 403)
        for code in ("APIC.7106", "APIC.7109", "APIC.7110", "APIC.7111", "APIC.7130", "APIC.7300")
    ],
    ("apig", "APIC.7302", JobGone, 404),
    ("apig", "APIG.3030", JobGone, 404),
    ("apig", "APIG.0101", NotFound, 404),
    ("apig", "APIG.0308", RateLimited, 429),
    ("apig", "APIC.9000", Unavailable, 500),
    ("apig", "APIC.9100", Unavailable, 500),
    ("apig", "APIC.9999", Unavailable, 500),
    ("apig", "APIG.9008", RateLimited, 500),
    ("apig", "APIG.0201", Unavailable, 503),
]


@pytest.mark.parametrize(("service", "error", "kind", "status"), REFUSALS)
def test_every_documented_error_is_read_as_what_it_means(
    sim: Simulator, service: str, error: str, kind: type[ServiceError], status: int
) -> None:
    """A scripted error comes with its documented status, and the client knows what it is."""
    sim.add(service, "job-1", Frame(error=error))
    with pytest.raises(ServiceError) as caught:
        sim.client(service).progress("job-1")
    assert (kind, status) == (type(caught.value), caught.value.status)


@pytest.mark.parametrize("service", SERVICES)
def test_the_rest_of_a_refusal_can_be_scripted(sim: Simulator, service: str) -> None:
    """A status of no documented error, its text, and headers go as they are given."""
    frame = Frame(error="Odd", status=418, message="no coffee", headers={"X-Extra": "1"})
    sim.add(service, "job-1", frame)
    with pytest.raises(ServiceError, match="no coffee") as caught:
        sim.client(service).progress("job-1")
    assert caught.value.status == 418


@pytest.mark.parametrize("service", SERVICES)
def test_an_answer_may_be_a_proxy_s(sim: Simulator, service: str) -> None:
    """Raw bytes are sent as they are: HTML with a status, or with 200."""
    page = b"<html><body>Bad gateway</body></html>"
    sim.add(service, "job-1", Polls([Frame(raw=page, status=502), Frame(raw=page)]))
    client = sim.client(service)
    with pytest.raises(Unavailable, match="Bad gateway"):
        client.progress("job-1")
    with pytest.raises(BadResponse, match="isn't a JSON object"):
        client.progress("job-1")


@pytest.mark.parametrize("service", SERVICES)
def test_an_answer_may_break_off(sim: Simulator, service: str) -> None:
    """A cut answer is one whose connection closes halfway."""
    sim.add(service, "job-1", Frame("running", cut=True))
    with pytest.raises(TransportError):
        sim.client(service).progress("job-1")


def test_an_answer_may_not_come_at_all(sim: Simulator) -> None:
    """A silent job keeps a client waiting for as long as it has patience."""
    sim.add("catenis", "job-1", Frame(silent=True))
    client = sim.client("catenis", request_timeout=0.5)
    with pytest.raises(TransportError, match=r"within 0\.5 s"):
        client.progress("job-1")
    sim.wait_for_requests(1)
    assert statuses(sim) == [None]


# --- the documents' samples -----------------------------------------------------------------------

EXPECTED: dict[str, list[Any]] = {
    "catenis": [Phase.SUCCEEDED],
    "itwin": [Phase.RUNNING, AuthenticationError, JobGone, RateLimited],
    "apig": [
        *(Phase.SUCCEEDED, Phase.RUNNING, Phase.FAILED, Phase.FAILED, Phase.FAILED),
        *(AuthenticationError, PermissionDenied, JobGone, Unavailable),
    ],
}
STATUS = {"HeaderNotFound": 401, "JobNotFound": 404, "RateLimitExceeded": 429}
STATUS |= {"APIC.7102": 401, "APIC.7106": 403, "APIC.7302": 404, "APIC.9000": 500}
SAMPLES = [
    (service, body, expected)
    for service in EXPECTED
    for body, expected in zip(samples(service), EXPECTED[service], strict=True)
]


@pytest.mark.parametrize(("service", "body", "expected"), SAMPLES)
def test_a_sample_of_a_document_is_served_and_read(
    sim: Simulator, service: str, body: Any, expected: Any
) -> None:
    """Each sample passes the wire model, and the client reads it as what the document calls it."""
    code = body.get("error_code") or (body.get("error") or {}).get("code")
    status = STATUS.get(code) if "progress" not in body else None
    sim.add(service, "job-1", Frame(body=body, status=status))
    client = sim.client(service)
    if isinstance(expected, Phase):
        assert expected is client.progress("job-1").phase
    else:
        with pytest.raises(expected):
            client.progress("job-1")


# --- credentials ----------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_a_client_from_the_environment_reaches_it(
    sim: Simulator, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables in `environ` are all that `from_env` needs, for every service at once."""
    for name, value in sim.environ.items():
        monkeypatch.setenv(name, value)
    sim.add(service, "job-1", Frame("running"))
    with find(service).client.from_env() as client:  # type: ignore[attr-defined]
        assert client.progress("job-1").phase is Phase.RUNNING


@pytest.mark.parametrize("service", SERVICES)
def test_one_token_and_one_connection_do_for_a_wait(sim: Simulator, service: str) -> None:
    """A wait of many polls asks for a token once at most, all on one connection."""
    sim.add(service, "job-1", [Frame("running"), Frame("succeeded", at=1000)])
    sim.client(service).wait("job-1", timeout=3600)
    assert {200} == set(statuses(sim))
    assert len(statuses(sim, "token")) == (0 if service == "catenis" else 1)
    assert len({one.connection for one in sim.requests}) == 1
