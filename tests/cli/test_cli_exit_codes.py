"""The exit code for each way in which a run can end."""

import re
import socket
from typing import Any

import pytest
from cli_tools import Run, run_apart

from opwatch import errors, exits
from opwatch.progress import Fault, Phase
from opwatch.simulator import Frame, Polls, Simulator

RUNNING = Frame("running", percent=40)


@pytest.mark.parametrize(
    ("service", "timeline", "code"),
    [
        ("itwin", [Frame("succeeded")], 0),
        ("itwin", [Frame("failed")], 1),
        ("itwin", [Frame("cancelled")], 1),
        ("itwin", [Frame("ended")], 3),
        ("itwin", Frame(error="Unauthorized"), 4),
        ("itwin", Frame(error="InsufficientPermissions"), 4),
        ("itwin", Frame(error="JobNotFound"), 5),
        ("itwin", Frame(error="ResourceNotFound"), 5),
        ("itwin", Frame(error="ServiceUnavailable"), 6),
        ("itwin", Frame(error="RateLimitExceeded"), 6),
        ("itwin", Frame(raw=b"<html>a proxy</html>", status=200), 6),
        ("catenis", [Frame("succeeded")], 0),
        ("catenis", [Frame("failed")], 1),
        ("apig", [Frame("succeeded")], 0),
        ("apig", [Frame("failed")], 1),
        ("apig", Frame(error="APIC.7302"), 5),
    ],
)
@pytest.mark.parametrize("command", ["progress", "watch"])
def test_each_end(
    run: Run, sim: Simulator, command: str, service: str, timeline: object, code: int
) -> None:
    """A poll and a wait exit with the same code for the same answer."""
    sim.add(service, "pJob0000000000000001", timeline)
    assert run(command, service, "pJob0000000000000001").code == code


def test_a_job_that_goes_on_is_no_failure(run: Run, sim: Simulator) -> None:
    """One poll for a job that is still running exits with 0."""
    sim.add("itwin", "j1", RUNNING)
    assert run("progress", "itwin", "j1").code == 0


def test_a_wait_at_its_deadline(run: Run, sim: Simulator) -> None:
    """A wait whose deadline passes exits with 124, and says where the job stood at last."""
    sim.add("itwin", "j1", RUNNING)
    done = run("watch", "itwin", "j1", "--timeout", "5m")
    assert done.code == 124
    assert done.err == ("opwatch: itwin j1: timed out before the job finished; the job continues\n")


def test_a_deadline_without_any_answer(run: Run, sim: Simulator) -> None:
    """A wait without any response claims nothing about the job, and names it once."""
    sim.add("itwin", "j1", Frame(error="ServiceUnavailable", message="closed"))
    done = run("watch", "itwin", "j1", "--timeout", "5")
    assert done.code == 124
    text = re.sub(r" \[request [^]]*\]", "", done.err)
    assert text == (
        "opwatch: itwin j1: timed out before the job's state was known "
        "(last error: closed (503 ServiceUnavailable))\n"
    )


def test_no_time_at_all(run: Run, sim: Simulator) -> None:
    """A wait of no length polls once, shows the response, and exits with 124."""
    sim.add("itwin", "j1", RUNNING)
    done = run("watch", "itwin", "j1", "--timeout", "0")
    assert done.code == 124
    assert [line.partition("j1 ")[2] for line in done.lines] == ["watching", "running, 40 %"]


def test_a_job_that_stands_still(run: Run, sim: Simulator) -> None:
    """A job that makes no progress for the stall timeout exits with 124."""
    sim.add("itwin", "j1", RUNNING)
    done = run("watch", "itwin", "j1", "--stall-timeout", "10m")
    assert done.code == 124
    assert done.err == "opwatch: itwin j1: made no progress for 600 s; the job continues\n"


def test_a_job_that_ends_at_last(run: Run, sim: Simulator) -> None:
    """A wait retries after errors and exits with what the job came to."""
    troubles = [Frame(error="ServiceUnavailable"), Frame(error="RateLimitExceeded", retry_after=7)]
    sim.add("itwin", "j1", Polls([RUNNING, *troubles, Frame("succeeded")]))
    assert run("watch", "itwin", "j1").code == 0


@pytest.mark.parametrize("command", ["progress", "watch"])
def test_wrong_credentials(
    run: Run, sim: Simulator, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Credentials that the token endpoint refuses exit with 4, and are not shown."""
    sim.add("itwin", "j1", RUNNING)
    monkeypatch.setenv("ITWIN_CLIENT_SECRET", "a wrong secret")
    done = run(command, "itwin", "j1")
    assert done.code == 4
    assert done.err.startswith("opwatch: itwin j1: ")
    assert "a wrong secret" not in done.err + done.out


@pytest.mark.parametrize("command", ["progress", "watch"])
def test_nobody_there(
    run: Run, sim: Simulator, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """An address where nobody listens exits with 6."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ITWIN_BASE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}/jobs")
        done = run(command, "itwin", "j1")
    assert done.code == 6
    assert len(done.err.splitlines()) == 1


# --- several jobs ---------------------------------------------------------------------------------


def test_all_succeeded(run: Run, sim: Simulator) -> None:
    """Several jobs exit with 0 when all succeeded."""
    for service in ("apig", "catenis", "itwin"):
        sim.add(service, "pJob0000000000000001", [Frame("running"), Frame("succeeded", at=2)])
    jobs = [f"{service}:pJob0000000000000001" for service in ("apig", "catenis", "itwin")]
    done = run("watch", *jobs)
    assert done.code == 0
    assert done.err == ""


def test_one_of_several_failed(run: Run, sim: Simulator) -> None:
    """One job that failed among others that went worse for the wait alone makes it 1."""
    sim.add("itwin", "good", [Frame("succeeded")])
    sim.add("itwin", "bad", [Frame("failed", fault=Fault("E1", "no photos"))])
    sim.add("itwin", "slow", RUNNING)
    done = run("watch", "itwin", "good", "bad", "slow", "gone", "--timeout", "60")
    assert done.code == 1
    assert sorted(line.split(" ")[2] for line in done.err.splitlines()) == ["gone:", "slow:"]


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([], 0),
        ([0, 0], 0),
        ([0, 3], 3),
        ([3, 124], 124),
        ([124, 6], 6),
        ([6, 4], 4),
        ([4, 5], 5),
        ([5, 1, 0, 3], 1),
        ([1, 2], 2),
        ([2, 130], 130),
    ],
)
def test_the_order_of_several(codes: list[int], code: int) -> None:
    """Of several jobs the first of a fixed order is the exit code."""
    assert exits.of_all(codes) == code


@pytest.mark.parametrize("code", [None, 77, "1", -2])
def test_what_is_no_exit_code_is_no_success(code: Any) -> None:
    """A job whose wait hasn't ended has none."""
    with pytest.raises(ValueError, match="must be exit codes of opwatch, not"):
        exits.of_all([0, code])


@pytest.mark.parametrize("command", ["progress", "watch"])
def test_an_error_of_opwatch_itself_is_no_failed_job(command: str) -> None:
    """Python's own exit code is 1, which says that the job failed."""
    broken = "from opwatch import services; services.names = lambda: 1 / 0"
    done = run_apart(command, "itwin", "j1", code=broken)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Traceback (most recent call last):")
    assert done.err.endswith("ZeroDivisionError: division by zero\n")


def test_every_phase_and_error_has_a_code() -> None:
    """Each phase and each error of the library is one of the documented codes."""
    phases = {phase: exits.of_phase(phase) for phase in Phase}
    assert {phase: code for phase, code in phases.items() if code} == {
        Phase.FAILED: 1,
        Phase.CANCELLED: 1,
        Phase.ENDED: 3,
    }
    found = {name: exits.of_error(getattr(errors, name)("")).code for name in errors.__all__}
    assert found == {
        "AuthenticationError": 4,
        "BadResponse": 6,
        "ConfigurationError": 2,
        "InvalidWebhook": 6,
        "JobCancelled": 1,
        "JobFailed": 1,
        "JobGone": 5,
        "NotFound": 5,
        "OpwatchError": 6,
        "PermissionDenied": 4,
        "RateLimited": 6,
        "ServiceError": 6,
        "TransportError": 6,
        "Unavailable": 6,
        "WaitCancelled": 130,
        "WaitStalled": 124,
        "WaitTimeout": 124,
    }
