"""Runs in separate processes: interrupts, closed pipes, the simulator, the demo."""

import io
import json
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import attrs
import pytest
from cli_tools import ANY_RUN, LIMIT, Connect, Run, Running, environment, killed, run_apart

from opwatch.cli import main
from opwatch.cli.state import StateFile
from opwatch.progress import Phase
from opwatch.simulator import Frame, Polls, Simulator
from opwatch.simulator.itwin import SIMULATION
from opwatch.testing import FakeClock

RUNNING = Frame("running", percent=40)
_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
every_mix = pytest.mark.parametrize("mix", [[signal.SIGTERM], _SIGNALS], ids=["one", "all"])


# --- interrupts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", _SIGNALS)
def test_interrupted(real_sim: Simulator, number: signal.Signals) -> None:
    """An interrupt exits with 130 and says which job is still running and how to watch it."""
    real_sim.add("itwin", "j1", RUNNING)
    with Running("watch", "itwin", "j1", env=real_sim.environ) as running:
        running.until("running")
        running.send(number)
        done = running.end()
    assert done.code == 130
    assert done.err == (
        "opwatch: interrupted; itwin j1 is still running; run the same command to start over; "
        "to be able to resume, use --state FILE from the start\n"
    )


@every_mix
@pytest.mark.parametrize(
    ("words", "code", "last"),
    [
        ("watch itwin j1", 130, "opwatch: interrupted; itwin j1 is still running; run the same "),
        ("watch --json itwin j1", 130, "opwatch: interrupted; itwin j1 is still running; run the "),
        ("demo", 130, "opwatch: interrupted\n"),
        ("simulate", 0, ""),
    ],
    ids=["watch", "json", "demo", "simulate"],
)
def test_interrupted_again(
    real_sim: Simulator, mix: list[signal.Signals], words: str, code: int, last: str
) -> None:
    """Signals that come while a run stops change neither its last line nor its exit code."""
    real_sim.add("itwin", "j1", RUNNING)
    with Running(*words.split(), env=real_sim.environ) as running:
        running.until("running" if "j1" in words else "watch")
        running.send_until_the_end(*mix)
        done = running.end()
    assert done.code == code
    assert done.err.startswith(last)
    assert len(done.err.splitlines()) == bool(last)


@every_mix
def test_a_single_poll_interrupted_again(real_sim: Simulator, mix: list[signal.Signals]) -> None:
    """Neither do they for `progress`."""
    real_sim.add("itwin", "j1", Frame(silent=True))
    with Running("progress", "itwin", "j1", env=real_sim.environ) as running:
        real_sim.wait_for_requests(2, timeout=LIMIT)
        running.send_until_the_end(*mix)
        done = running.end()
    assert (done.code, done.err) == (130, "opwatch: interrupted\n")


@every_mix
@pytest.mark.parametrize("words", ["watch", "watch --json", "progress"])
def test_interrupted_at_the_end(real_sim: Simulator, words: str, mix: list[signal.Signals]) -> None:
    """Signals after the last line of a run that was over are too late, or an interrupt."""
    real_sim.add("itwin", "j1", [Frame("succeeded")])
    with Running(*words.split(), "itwin", "j1", env=real_sim.environ) as running:
        running.until("succeeded")
        running.send_until_the_end(*mix)
        done = running.end()
    assert done.code in (0, 130)
    assert [line[:20] for line in done.err.split("\n") if line] == (
        ["opwatch: interrupted"] if done.code else []
    )


def test_ctrl_c_cuts_short_what_takes_long(real_sim: Simulator) -> None:
    """If a run doesn't stop, another Ctrl-C ends it, with the same exit code; no other signal."""
    real_sim.add("itwin", "j1", RUNNING)
    code = """
import os, signal
from opwatch.cli import signals
from opwatch.cli.watching import Crew
def stop(crew):
    came, note = os.pipe()
    os.set_blocking(note, False)
    signal.set_wakeup_fd(note)
    print("stopping", flush=True)
    while os.read(came, 1):
        print("still stopping", flush=True)
signals.PATIENCE = 0.0
Crew.close = stop
"""
    with Running("watch", "itwin", "j1", env=real_sim.environ, code=code) as running:
        running.until("running")
        running.send(signal.SIGTERM)
        running.until("stopping")
        running.send(signal.SIGTERM)
        running.until("still stopping")
        running.send(signal.SIGINT)
        done = running.end()
    assert (done.code, done.err) == (130, "")


def test_interrupted_while_a_name_is_looked_up(real_sim: Simulator) -> None:
    """An interrupt does not wait for a name server that does not answer."""
    code = """
import socket, threading
def getaddrinfo(*args, **kwargs):
    print("looking up", flush=True)
    threading.Event().wait()
socket.getaddrinfo = getaddrinfo
"""
    variables = {
        name: value.replace("http://127.0.0.1", "http://localhost")
        for name, value in real_sim.environ.items()
    }
    with Running("watch", "itwin", "j1", env=variables, code=code) as running:
        running.until("looking up")
        running.send(signal.SIGTERM)
        done = running.end()
    assert done.code == 130
    assert done.err.startswith("opwatch: interrupted; itwin j1 is still running; run the same ")


def test_interrupted_before_a_wait_begins(real_sim: Simulator, tmp_path: Path) -> None:
    """Each wait begins and is interrupted, without a poll, so the state file resumes it."""
    jobs, state = ["itwin:j1", "itwin:j2", "apig:g1"], tmp_path / "state"
    code = """
import anyio, signal
run = anyio.run
anyio.run = lambda *args: (signal.raise_signal(signal.SIGTERM), run(*args))
"""
    words = ("watch", "--json", "--state", state)
    done = run_apart(*words, *jobs, env=real_sim.environ, code=code)
    assert done.code == 130
    assert done.err == (
        "opwatch: interrupted; itwin j1 and 2 more jobs are still running; "
        f"to resume: opwatch watch --state {state}\n"
    )
    events = [json.loads(line) for line in done.lines]
    kinds = [(event["event"], event.get("outcome")) for event in events]
    assert kinds == [("start", None)] * 3 + [("result", "interrupted")] * 3
    assert sorted(f"{service}:{job_id}" for service, job_id in StateFile(state).tokens) == sorted(
        jobs
    )
    assert not real_sim.requests


# --- in a program ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [("watch itwin j1", 130), ("progress itwin j1", 0), ("demo", 130), ("simulate", 0)],
)
def test_the_handlers_of_a_program(
    real_sim: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch, words: str, code: int
) -> None:
    """A run in a program leaves its handlers and its signal mask as they were."""
    real_sim.add("itwin", "j1", RUNNING)
    connect(real_sim)
    own = signal.SIG_IGN, lambda *_: None, signal.SIG_DFL
    before = [signal.signal(*pair) for pair in zip(_SIGNALS, own, strict=True)]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    monkeypatch.setattr("sys.stdout", _Interrupting())
    try:
        ended = main(words.split())
        after = tuple(map(signal.getsignal, _SIGNALS)), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        for pair in zip(_SIGNALS, before, strict=True):
            signal.signal(*pair)
    assert (after, ended) == ((own, mask), code)


class _Interrupting(io.StringIO):
    """Standard output: whatever is written is followed by two signals."""

    def write(self, text: str) -> int:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        return super().write(text)


def test_a_run_in_another_thread(real_sim: Simulator, connect: Connect) -> None:
    """A run in another thread than the main one takes no signals."""
    real_sim.add("itwin", "j1", [Frame("succeeded")])
    connect(real_sim)
    handlers: list[object] = []
    codes: list[int] = []

    def work() -> None:
        codes.append(main(["watch", "itwin", "j1"]))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        handlers.append(signal.getsignal(signal.SIGTERM))
        thread.join(0.001)
    assert codes == [0]
    assert set(handlers) == {before}


# --- one interrupt --------------------------------------------------------------------------------


def test_interrupted_while_a_request_is_under_way(real_sim: Simulator) -> None:
    """An interrupt does not wait for a service that does not answer."""
    real_sim.add("itwin", "j1", Frame(silent=True))
    with Running("watch", "itwin", "j1", env=real_sim.environ) as running:
        real_sim.wait_for_requests(2, timeout=LIMIT)
        running.send(signal.SIGINT)
        assert running.end().code == 130


def test_interrupted_with_json(real_sim: Simulator) -> None:
    """With `--json` an interrupt is the last event of each job that is still running."""
    real_sim.add("itwin", "good", [Frame("succeeded")])
    real_sim.add("itwin", "slow", RUNNING)
    with Running("watch", "--json", "itwin", "good", "slow", env=real_sim.environ) as running:
        running.until_all('"outcome": "succeeded"', '"percent": 40')
        running.send(signal.SIGINT)
        done = running.end()
    last = json.loads(done.lines[-1])
    assert (last["job_id"], last["event"], last["outcome"]) == ("slow", "result", "interrupted")
    assert (done.code, last["exit_code"]) == (130, 130)


def test_interrupted_with_an_env_file(real_sim: Simulator, tmp_path: Path) -> None:
    """What continues after an interrupt names the env file too, quoted for a shell."""
    real_sim.add("itwin", "j1", RUNNING)
    path, state = tmp_path / "my env", tmp_path / "state"
    lines = [f"{name}={value}" for name, value in real_sim.environ.items()]
    path.write_text("\n".join(lines), "utf-8")
    with Running("watch", "itwin", "j1", "--state", state, "--env-file", path) as running:
        running.until("running")
        running.send(signal.SIGINT)
        done = running.end()
    assert done.err.endswith(f"; to resume: opwatch watch --state {state} --env-file '{path}'\n")


def test_interrupted_with_an_env_file_that_is_a_pipe(real_sim: Simulator, tmp_path: Path) -> None:
    """It can't be read again, so what resumes leaves its name open."""
    real_sim.add("itwin", "j1", RUNNING)
    path, state = tmp_path / "pipe", tmp_path / "state"
    os.mkfifo(path)
    with Running("watch", "itwin", "j1", "--state", state, "--env-file", path) as running:
        lines = [f"{name}={value}" for name, value in real_sim.environ.items()]
        path.write_text("\n".join(lines), "utf-8")
        running.until("running")
        running.send(signal.SIGINT)
        done = running.end()
    assert done.err.endswith(f"; to resume: opwatch watch --state {state} --env-file FILE\n")


def test_a_signal_that_is_ignored_stays_ignored(real_sim: Simulator) -> None:
    """Started with SIGINT ignored, as shells start background jobs, a wait ignores it."""
    real_sim.add("itwin", "j1", RUNNING)
    script = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv"
    words = [ANY_RUN[0], "-c", f"{script}(sys.argv[1], sys.argv[1:])", *ANY_RUN]
    process = subprocess.Popen(
        [*words, "watch", "--schedule", "100ms", "itwin", "j1"],
        stdout=subprocess.PIPE,
        env=environment(real_sim.environ),
    )
    with killed(process):
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        real_sim.wait_for_requests(len(real_sim.requests) + 3, timeout=LIMIT)
        real_sim.job("itwin", "j1").play([Frame("succeeded")])
        assert b"succeeded" in process.stdout.read()
        assert process.wait(LIMIT) == 0


# --- closed pipes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--json"], ["--verbose"]], ids=["lines", "json", "log"])
def test_a_pipe_that_is_closed(real_sim: Simulator, words: list[str]) -> None:
    """When nobody reads any more the watching ends: no trace of it, exit code 130."""
    frames = [Frame("running", percent=n % 90) for n in range(2000)]
    real_sim.add("itwin", "j1", Polls(frames))
    process = subprocess.Popen(
        [*ANY_RUN, "watch", "--schedule", "20ms", *words, "itwin", "j1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(real_sim.environ),
        text=True,
    )
    with killed(process):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = [line for line in process.stderr if not re.match("opwatch: (GET|POST) ", line)]
        assert process.wait(LIMIT) == 130
    assert errors == []


# --- the simulator, the demonstration -------------------------------------------------------------


def test_simulate(tmp_path: Path) -> None:
    """`simulate` prints what reaches it, serves until Ctrl-C, and exits with 0."""
    with Running("simulate") as simulator:
        last = simulator.until("opwatch watch")
        words = last.removeprefix("# opwatch ").split()
        path = tmp_path / "sim.env"
        path.write_text("".join(simulator.seen), "utf-8")
        jobs = [word.split(":") for word in words if ":" in word]
        assert [service for service, _ in jobs] == ["apig", "catenis", "itwin", "itwin-v2"]
        jobs.append(["apig", "eddc4d25480b4cd6b512f270a1b8b341"])  # the README's
        for service, job_id in jobs:
            with Running("progress", "--env-file", path, service, job_id) as asked:
                assert asked.end().code == 0
        simulator.send(signal.SIGINT)
        assert simulator.end().code == 0


def test_simulate_at_a_port_that_is_taken(run: Run, real_sim: Simulator) -> None:
    """A port that is taken is one line and exit code 2."""
    port = real_sim.url.rpartition(":")[2]
    done = run("simulate", "--port", port)
    assert done.code == 2
    assert done.err == f"opwatch: can't listen on port {port}: Address already in use\n"


def test_the_demonstration(run: Run, clock: FakeClock) -> None:
    """`demo` watches one job of each service to the end of its script and exits with 0."""
    done = run("demo")
    assert (done.code, done.err) == (0, "")
    assert done.lines[-1] == "Each job ended as scripted."
    ends = [line.split(" ", 2)[1:] for line in done.lines if "succeeded" in line or "fail" in line]
    assert sorted((service, text.partition(" ")[2]) for service, text in ends) == [
        ("apig", "failed, 0 %: APIC.9218: create failed: insufficient quota"),
        ("catenis", "succeeded, 4.19 MB"),
        ("itwin", "succeeded, 100 %"),
    ]
    assert "rate limited (429)" in done.out
    assert clock.now() < 60


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    "change",
    [
        {"ending": Phase.FAILED},
        {"timeline": Polls([Frame("succeeded"), Frame(error="RateLimitExceeded")])},
        {"timeline": Polls([Frame(error="JobNotFound")])},
    ],
    ids=["another ending", "no rate limit", "no end"],
)
def test_a_demonstration_that_goes_wrong(
    run: Run, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    """`demo` exits with 1 and names the job that did not end as scripted."""
    monkeypatch.setattr(type(SIMULATION), "demo", attrs.evolve(SIMULATION.demo, **change))
    done = run("demo")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "opwatch: the itwin job did not end as scripted"
