"""The state file: another run continues where the first one ended, and polls no earlier."""

import itertools
import json
import shutil
import signal
import stat
from pathlib import Path

import attrs
import pytest
from cli_tools import Connect, Run, Running
from state_support import JOB, RUNNING, begun

from opwatch import ITwin
from opwatch.cli.state import StateFile
from opwatch.progress import Fault, Phase, Progress
from opwatch.simulator import Frame, Polls, Simulator
from opwatch.testing import FakeClock, Reply, Script

# --- killed, and run again ------------------------------------------------------------------------


def test_killed_between_two_queries(real_sim: Simulator, path: Path) -> None:
    """A run that is killed between two polls is resumed: the same outcome, and no poll too
    early."""
    frames = [Frame("running", percent=n) for n in (10, 20, 20, 40)]
    real_sim.add("itwin", "j1", Polls([*frames, Frame("succeeded")]))
    words = ("watch", "--state", path, "--json")
    # The delays start over where the job moves: the long one, in which it is killed, comes once.
    how = ("itwin", "j1", "--schedule", "100ms,1s")
    with Running(*words, *how, env=real_sim.environ) as first:
        first.until('"percent": 20.0')
        first.until('"percent": 20.0')
        first.kill()
    with Running(*words, env=real_sim.environ) as second:
        done = second.end()
    events = [json.loads(line) for line in done.lines]
    assert done.code == 0
    assert (events[0]["event"], events[0]["resumed"]) == ("start", True)
    assert events[-1]["outcome"] == "succeeded"
    assert [event["percent"] for event in events if event["event"] == "progress"] == [40, 100]
    times = [one.time for one in real_sim.requests if one.operation == "progress"]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(gaps) == 4
    assert all(gap >= rung - 0.01 for gap, rung in zip(gaps, [0.1, 0.1, 1, 0.1], strict=True))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(real_sim: Simulator, path: Path, number: signal.Signals) -> None:
    """An interrupt exits with 130, says which jobs are still running, and prints how to resume."""
    real_sim.add("itwin", "j1", RUNNING)
    real_sim.add("apig", "g1", RUNNING)
    words = ("watch", "--state", path, "itwin:j1", "apig:g1")
    with Running(*words, env=real_sim.environ) as first:
        first.until_all("g1 running", "j1 running")
        first.send(number)
        done = first.end()
    assert done.code == 130
    assert done.err == (
        "opwatch: interrupted; itwin j1 and 1 more job are still running; "
        f"to resume: opwatch watch --state {path}\n"
    )
    assert sorted(StateFile(path).tokens) == [("apig", "g1"), ("itwin", "j1")]


def test_interrupted_during_a_poll(clock: FakeClock, path: Path) -> None:
    """The service may have received the poll: the file holds when the next one is due after it."""

    def answer(request: object) -> Reply:
        raise KeyboardInterrupt

    state = StateFile(path)
    with Script(answer), ITwin("a made-up token") as client:
        with pytest.raises(KeyboardInterrupt):
            client.wait("j1", timeout=None, on_event=state.on_event)
        state.close()
        assert client.step(StateFile(path).tokens[JOB]).delay == 15


def test_a_query_that_is_not_due(run: Run, sim: Simulator, clock: FakeClock, path: Path) -> None:
    """A run that comes early waits until the next poll is due, by the schedule it left off at."""
    sim.add("itwin", "j1", Polls([RUNNING, Frame("succeeded")]))
    begun(sim, path)
    clock.advance(5)
    done = run("watch", "--state", path)
    assert done.code == 0
    assert clock.slept == [10]
    assert [line.partition("j1 ")[2] for line in done.lines] == [
        "resumed",
        "waiting (next poll in 10 s)",
        "succeeded, 100 %",
    ]


def test_a_run_that_comes_late(run: Run, sim: Simulator, clock: FakeClock, path: Path) -> None:
    """A run that starts after the next poll was due polls at once."""
    sim.add("itwin", "j1", Polls([RUNNING, Frame("succeeded")]))
    begun(sim, path)
    clock.advance(1000)
    assert run("watch", "--state", path).code == 0
    assert clock.slept == []


def test_the_deadline_stays(run: Run, sim: Simulator, clock: FakeClock, path: Path) -> None:
    """A wait keeps the deadline of the run that began it, whatever a later run says."""
    sim.add("itwin", "j1", RUNNING)
    begun(sim, path, timeout=60)
    assert run("watch", "--state", path, "itwin", "j1", "--timeout", "10h").code == 124
    assert clock.now() == 60


# --- what the file holds --------------------------------------------------------------------------


def test_the_file(run: Run, sim: Simulator, path: Path) -> None:
    """The file is its owner's alone, holds no credential, and nothing is left beside it."""
    sim.add("itwin", "j1", Polls([RUNNING, Frame("failed", fault=Fault("E1", "no photos"))]))
    assert run("watch", "--state", path, "itwin", "j1").code == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["state.json"]
    text = path.read_text("utf-8")
    assert json.loads(text)["opwatch_state"] == 1
    assert [value for value in sim.environ.values() if value in text] == []


@pytest.mark.usefixtures("clock")
def test_the_file_follows_every_query(run: Run, connect: Connect, path: Path) -> None:
    """When a poll is made, the file holds where the wait stood after the one before."""
    polls = []

    def look(request: object) -> None:
        copy = shutil.copy(path, path.with_name("copy"))  # the run has locked the file itself
        tokens = StateFile(copy).tokens
        polls.append(json.loads(tokens[JOB])["polls"] if JOB in tokens else 0)

    with Simulator(on_request=look) as sim:
        connect(sim)
        sim.add("itwin", "j1", Polls([RUNNING, RUNNING, RUNNING, Frame("succeeded")]))
        assert run("watch", "--state", path, "itwin", "j1").code == 0
    assert polls == [0, 0, 1, 2, 3, 3]  # a token, four queries, and one for the outcome


def test_an_outcome_is_repeated(run: Run, sim: Simulator, path: Path) -> None:
    """A job that is over is not asked for again: its outcome and exit code are repeated."""
    sim.add("itwin", "j1", [Frame("failed", percent=30, fault=Fault("E1", "no photos"))])
    sim.add("itwin", "j2", [Frame("ended")])
    first = run("watch", "--state", path, "itwin", "j1", "j2")
    asked = len(sim.requests)
    again = run("watch", "--state", path, "itwin", "j1", "j2")
    assert (first.code, again.code) == (1, 1)
    assert len(sim.requests) == asked
    assert again.lines[1].endswith("j1 failed, 30 %: E1: Job failed: no photos")


@pytest.mark.parametrize(
    "words", [["--timeout", "60"], ["--stall-timeout", "60"]], ids=["timeout", "stall"]
)
def test_a_wait_that_ended_by_itself_begins_anew(
    run: Run, sim: Simulator, clock: FakeClock, path: Path, words: list[str]
) -> None:
    """After a deadline or a stall the next run begins a new wait, with all its time."""
    sim.add("itwin", "j1", RUNNING)
    assert run("watch", "--state", path, "itwin", "j1", *words).code == 124
    sim.job("itwin", "j1").play([RUNNING, Frame("succeeded", at=40)])
    assert run("watch", "--state", path, "itwin", "j1", *words).code == 0


def test_other_jobs_stay(run: Run, sim: Simulator, path: Path) -> None:
    """A run for some jobs of a file leaves the others in it as they are."""
    sim.add("itwin", "j1", RUNNING)
    sim.add("itwin", "j2", [Frame("succeeded")])
    begun(sim, path)
    token = StateFile(path).tokens[JOB]
    assert run("watch", "--state", path, "itwin", "j2").code == 0
    assert StateFile(path).tokens == {JOB: token}


def test_what_is_kept_of_a_job_that_is_over(path: Path) -> None:
    """Everything a person is told of a job that is over survives in the file."""
    progress: Progress[None] = Progress(
        service="apig",
        job_id="g1",
        phase=Phase.FAILED,
        percent=12.5,
        step="step",
        bytes_processed=7,
        fault=Fault("E", "why"),
        wire=None,
    )
    StateFile(path).over(("apig", "g1"), progress)
    assert StateFile(path).ended == {("apig", "g1"): progress}
    fewer = attrs.evolve(progress, percent=None, step=None, bytes_processed=None, fault=None)
    StateFile(path).over(("apig", "g1"), fewer)
    assert StateFile(path).ended == {("apig", "g1"): fewer}
