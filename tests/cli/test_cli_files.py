"""The files that a user names: their content is checked, and a kill damages none."""

import itertools
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_tools import LIMIT, Run, Running, run_apart

from opwatch.cli.state import StateFile
from opwatch.errors import ConfigurationError
from opwatch.simulator import Frame, Polls, Simulator

JOB = ("itwin", "j1")
RUNNING = Frame("running", percent=40)
HARM = {"escape": "a\x1b[2Jb", "bidi": "a\u202eb", "newline": "a\nopwatch: itwin j1 succeeded"}
ANSWER: dict[str, Any] = {
    "phase": "failed",
    "percent": 40,
    "step": None,
    "bytes_processed": None,
    "fault": {"code": "E1", "message": "no photos"},
    "started_at": None,
    "finished_at": None,
}


def entry(**what: Any) -> dict[str, Any]:
    return {"service": "itwin", "job_id": "j1", **what}


def state_of(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"opwatch_state": 1, "jobs": entries}), "utf-8")
    return path


# --- what is in a state file ----------------------------------------------------------------------


FIELDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "stopped": lambda text: entry(stopped=text),
    "service": lambda text: entry(stopped="gone") | {"service": text},
    "job_id": lambda text: entry(stopped="gone") | {"job_id": text},
    "job_id of an answer": lambda text: entry(answer=ANSWER) | {"job_id": text},
    "phase": lambda text: entry(answer=ANSWER | {"phase": text}),
    "step": lambda text: entry(answer=ANSWER | {"phase": "ended", "step": text}),
    "fault": lambda text: entry(answer=ANSWER | {"fault": {"code": text, "message": text}}),
    "token": lambda text: entry(token=text),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("words", [(), ("itwin", "j2")], ids=["its jobs", "another job"])
def test_nothing_in_a_state_file_reaches_the_terminal_raw(
    run: Run, sim: Simulator, tmp_path: Path, field: str, harm: str, words: tuple[str, ...]
) -> None:
    """Whatever field holds a control character, it is refused or made printable."""
    sim.add("itwin", "j2", [Frame("succeeded")])
    path = state_of(tmp_path / "state", FIELDS[field](HARM[harm]))
    done = run("watch", "--state", path, *words)
    lines = [*done.out.splitlines(), *done.err.splitlines()]
    assert [line for line in lines if not line.isprintable()] == []
    assert [line for line in lines if line.startswith("opwatch: itwin j1 succeeded")] == []
    assert done.code != 0 or words


def test_an_outcome_that_nobody_knows(run: Run, tmp_path: Path) -> None:
    """A word that no opwatch writes makes a file a damaged one."""
    path = state_of(tmp_path / "state", entry(stopped="succeeded, trust me"))
    done = run("watch", "--state", path)
    assert done.code == 2
    assert "an outcome that opwatch doesn't know" in done.err


def test_an_id_that_cannot_be_one(run: Run, tmp_path: Path) -> None:
    """An ID from the file is checked as one from the command line is."""
    path = state_of(tmp_path / "state", entry(stopped="gone") | {"job_id": "../j1"})
    assert run("watch", "--state", path).code == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "garbage",
        lambda text: text + "garbage\n",
        lambda text: text.rstrip() + "garbage",
        lambda text: text.rstrip() + '{"service": "itwin", "job_id": "j1", "stopped": "gone"}',
        lambda text: text.replace(": 1,", ": true,", 1),
        lambda text: text.replace(": 1,", ": 1.0,", 1),
    ],
)
def test_a_file_that_opwatch_did_not_write(
    run: Run, tmp_path: Path, change: Callable[[str], str]
) -> None:
    """Text behind the object that is no line of opwatch, or a version that is no integer."""
    path = state_of(tmp_path / "state", entry(answer=ANSWER))
    path.write_text(change(path.read_text("utf-8") + "\n"), "utf-8")
    done = run("watch", "--state", path)
    assert (done.code, done.out) == (2, "")
    assert f"the state file {path} is damaged" in done.err


# --- one state file, one run ----------------------------------------------------------------------


def test_a_second_run_is_refused(real_sim: Simulator, tmp_path: Path) -> None:
    """While a run uses a state file, another run is refused, and the first loses nothing."""
    path = tmp_path / "state"
    real_sim.add("itwin", "j1", RUNNING)
    real_sim.add("itwin", "j2", RUNNING)
    words = ("watch", "--state", path, "--schedule", "100ms")
    with Running(*words, "itwin", "j1", env=real_sim.environ) as first:
        first.until("running")
        for more in ((), ("itwin", "j2")):
            done = run_apart("watch", "--state", path, *more, env=real_sim.environ)
            assert (done.code, done.out) == (2, "")
            assert done.err == (
                f"opwatch: the state file {path} is in use by another run of opwatch; "
                "stop that run, or use another file\n"
            )
        first.send(signal.SIGINT)
        assert first.end().code == 130
    assert StateFile(path).tokens.keys() == {JOB}


@pytest.mark.skipif(os.name != "posix", reason="a renamed file can't be locked elsewhere")
def test_two_runs_that_begin_at_once(tmp_path: Path) -> None:
    """The second run to create a state file is refused because the file is in use."""
    path = tmp_path / "state"
    first, second = StateFile(path), StateFile(path)
    first.write()
    with pytest.raises(ConfigurationError, match="is in use by another run of opwatch; stop that"):
        second.write()
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_was_killed_leaves_no_lock(real_sim: Simulator, tmp_path: Path) -> None:
    """The lock ends with the process, however that ends."""
    path = tmp_path / "state"
    real_sim.add("itwin", "j1", RUNNING)
    words = ("watch", "--state", path, "--schedule", "100ms", "itwin", "j1")
    with Running(*words, env=real_sim.environ) as first:
        first.until("running")
        first.kill()
    real_sim.job("itwin", "j1").play([Frame("succeeded")])
    with Running("watch", "--state", path, env=real_sim.environ) as second:
        assert second.end().code == 0


# --- killed at any moment -------------------------------------------------------------------------


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_loses_nothing_and_no_poll_comes_early(
    run: Run, sim: Simulator, tmp_path: Path, clock: Any, step: int
) -> None:
    """At each size the file had while it was written, it resumes every job, and none too early.

    A kill leaves a file that was appended to up to some byte: a slow test tries each.
    """
    path, copies = tmp_path / "state", set()

    def keep(_: object) -> None:
        copies.add(path.read_bytes())

    with Simulator(on_request=keep) as watched:
        for name, value in watched.environ.items():
            os.environ[name] = value
        for n in range(3):
            frames = [Frame("running", percent=n), Frame("running", percent=n), Frame("succeeded")]
            watched.add("itwin", f"j{n}", Polls(frames))
        assert run("watch", "--state", path, "itwin", "j0", "j1", "j2").code == 0
        polls = [one for one in watched.requests if one.operation == "progress"]
    longest = max(copies, key=len)
    assert len(copies) >= 3  # at least one for each round of polls
    for cut in range(len(longest) - 600, len(longest), step):
        state_of_then = tmp_path / f"cut-{cut}"
        state_of_then.write_bytes(longest[:cut])
        kept = StateFile(state_of_then)
        assert kept.tokens.keys() | kept.ended.keys() == {("itwin", f"j{n}") for n in range(3)}
    for content in copies:
        state_of_then = tmp_path / "then"
        state_of_then.write_bytes(content)
        appended = content.decode().split("]\n}\n")[1].splitlines(keepends=True)
        lines = [json.loads(line) for line in appended if line.endswith("\n")]
        asked = {line["job_id"]: line["sent"] for line in lines if "sent" in line}
        for (_, job_id), token in StateFile(state_of_then).tokens.items():
            answered = [line for line in lines if line["job_id"] == job_id][-1:]
            if answered and "sent" in answered[0]:
                assert json.loads(token)["due"] >= asked[job_id] + 15
    assert len(polls) == 9


@pytest.mark.parametrize(
    "moment", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(17) if n != 1)]
)
def test_sigkill(real_sim: Simulator, tmp_path: Path, moment: int) -> None:
    """Killed again and again, at whatever it was doing, a run ends as it would have."""
    path, delays = tmp_path / "state", "50ms,100ms"
    frames = [Frame("running", percent=n // 2) for n in range(20 + 3 * moment)]
    for n in range(4):
        real_sim.add("itwin", f"j{n}", Polls([*frames, Frame("succeeded")]))
    words = ("watch", "--json", "--state", path, "--schedule", delays)
    kills, jobs = 0, [f"itwin:j{n}" for n in range(4)]
    while kills < 3:
        with Running(*words, *jobs, env=real_sim.environ) as killed:
            for _ in range(5 + 3 * moment + kills):
                killed.until('"event"')
            killed.kill()
        kills += 1
    with Running(*words, *jobs, env=real_sim.environ) as last:
        assert last.end().code == 0
    assert StateFile(path).ended.keys() == {("itwin", f"j{n}") for n in range(4)}
    assert (path.stat().st_mode & 0o777) == 0o600
    for n in range(4):
        asked = [
            one.time
            for one in real_sim.requests
            if (one.operation, one.job_id) == ("progress", f"j{n}")
        ]
        assert all(after - before >= 0.045 for before, after in itertools.pairwise(asked))


def test_a_save_costs_the_same_for_many_jobs(tmp_path: Path) -> None:
    """What is written for each poll doesn't grow with the number of jobs."""
    written = {}
    for count in (10, 10_000):
        path = tmp_path / f"state-{count}"
        state = StateFile(path)
        token = "x" * 400
        for n in range(count):
            state.tokens["itwin", f"job-{n:05}"] = token
        state.write()
        whole, total = path.stat(), 0
        for n in range(2 * count + 1000):
            size, inode = path.stat().st_size, path.stat().st_ino
            state.waits(("itwin", f"job-{n % count:05}"), token)
            now = path.stat()
            total += now.st_size if now.st_ino != inode else now.st_size - size
        written[count] = total / (2 * count + 1000)
        assert whole.st_size < path.stat().st_size < 3 * max(whole.st_size, 64 * 1024)
        state.close()
    assert written[10_000] <= 2 * written[10] + len(token)


# --- what a report reads --------------------------------------------------------------------------


def events_of(run: Run, sim: Simulator) -> str:
    sim.add("itwin", "j1", Polls([RUNNING, Frame("succeeded")]))
    return run("watch", "--json", "itwin", "j1").out


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_events_in_the_encodings_of_powershell(
    run: Run, sim: Simulator, tmp_path: Path, encoding: str
) -> None:
    """UTF-8 with a byte order mark, and UTF-16, are read."""
    path, text = tmp_path / "events.jsonl", events_of(run, sim).replace("\n", "\r\n")
    path.write_bytes(text.encode(encoding))
    assert run("report", path).code == 0
    assert "succeeded" in path.with_suffix(".html").read_text("utf-8")


@pytest.mark.parametrize("field", ["percent", "bytes_processed", "next_query_in", "elapsed"])
def test_a_number_of_400_digits(run: Run, sim: Simulator, tmp_path: Path, field: str) -> None:
    """A number that no float holds is left out; the page is written."""
    path = tmp_path / "events.jsonl"
    events = [json.loads(line) for line in events_of(run, sim).splitlines()]
    for event in events:
        event[field] = 10**400
    path.write_text("\n".join(map(json.dumps, events)), "utf-8")
    done = run("report", path)
    assert (done.code, done.err) == (0, "")


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_opwatch_progress(number: signal.Signals) -> None:
    """`opwatch progress` ends with 130 at each signal that ends a run."""
    arrived, released = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        arrived.set()
        released.wait(LIMIT)

    with Simulator(on_request=hold) as sim:
        sim.add("itwin", "j1", RUNNING)
        with Running("progress", "itwin", "j1", env=sim.environ) as running:
            assert arrived.wait(LIMIT)
            running.send(number)
            done = running.end()
            released.set()
    assert (done.code, done.err.strip()) == (130, "opwatch: interrupted")
