"""The files that a user names: their content is checked, and none is overwritten by mistake."""

import itertools
import json
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_tools import ANY_RUN, LIMIT, Run, Running, environment, run_apart

from opwatch.cli.state import StateFile
from opwatch.cli.values import load_environment
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
        lines = [json.loads(line) for line in content.decode().split("]\n}\n")[1].splitlines()]
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


# --- files that must not be overwritten -----------------------------------------------------------


@pytest.fixture
def secrets(tmp_path: Path, sim: Simulator) -> Path:
    path = tmp_path / "itwin.env"
    path.write_text("".join(f"{n}={v}\n" for n, v in sim.environ.items()), "utf-8")
    return path


def ways_to(path: Path, way: str) -> Path:
    """Another path of the same file."""
    other = path.parent / f"other-{way}"
    if way == "link":
        other.symlink_to(path)
    elif way == "hard link":
        other.hardlink_to(path)
    elif way == "dots":
        (path.parent / "folder").mkdir()
        other = path.parent / "folder" / ".." / path.name
    return path if way == "itself" else other


@pytest.mark.parametrize("way", ["itself", "link", "hard link", "dots"])
@pytest.mark.parametrize("what", ["env", "state"])
def test_a_report_does_not_overwrite(
    run: Run, sim: Simulator, secrets: Path, tmp_path: Path, what: str, way: str
) -> None:
    """`--report` that is the env file or the state file is refused, by whatever path."""
    sim.add("itwin", "j1", [Frame("succeeded")])
    state = tmp_path / "state"
    run("watch", "--state", state, "itwin", "j1")
    target = secrets if what == "env" else state
    before = target.read_bytes()
    options = ("--env-file", secrets, "--state", state, "--report", ways_to(target, way))
    done = run("watch", *options, "itwin", "j1")
    assert (done.code, done.out) == (2, "")
    assert f"would overwrite the {what} file; use another file" in done.err
    assert target.read_bytes() == before


def test_a_report_and_a_new_state_file(run: Run, sim: Simulator, tmp_path: Path) -> None:
    """Two files that aren't there yet may still be one."""
    sim.add("itwin", "j1", [Frame("succeeded")])
    (tmp_path / "link").symlink_to(tmp_path)
    one, other = tmp_path / "new", tmp_path / "link" / "new"
    assert run("watch", "--state", one, "--report", other, "itwin", "j1").code == 2
    assert not one.exists()


@pytest.mark.parametrize("way", ["itself", "link", "hard link", "dots"])
@pytest.mark.parametrize("option", ["--state", "--report"])
def test_nothing_overwrites_the_spec(run: Run, tmp_path: Path, option: str, way: str) -> None:
    """An option that names the file of `--spec` is refused, by whatever path."""
    spec = tmp_path / "spec"
    spec.write_text("openapi: 3.1.0\n", "utf-8")
    done = run("watch", "--spec", spec, option, ways_to(spec, way), "p1")
    assert (done.code, done.out) == (2, "")
    assert "would overwrite the spec; use another file" in done.err
    assert spec.read_text("utf-8") == "openapi: 3.1.0\n"


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
@pytest.mark.parametrize("command", ["watch", "report"])
def test_a_page_does_not_overwrite_a_standard_stream(
    run: Run, sim: Simulator, tmp_path: Path, command: str, stream: str
) -> None:
    """`opwatch report - -o F < F` and `opwatch watch --report F > F` lose nothing."""
    sim.add("itwin", "j1", [Frame("succeeded")])
    path = tmp_path / "events"
    events = run("watch", "--json", "itwin", "j1").out
    path.write_text(events, "utf-8")
    words = ["report", "-", "-o"] if command == "report" else ["watch", "itwin", "j1", "--report"]
    with path.open("r+", encoding="utf-8") as file:
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        streams[stream] = file
        begun = subprocess.Popen(
            [*ANY_RUN, *words, str(path)], env=environment(sim.environ), text=True, **streams
        )
        out, err = begun.communicate(None if stream == "stdin" else events, timeout=LIMIT)
    problem = f"would overwrite the file that {stream} is redirected to; use another file"
    assert begun.returncode == 2
    if stream == "stderr":  # a line in place of the first one: only the message was written
        assert problem in path.read_text("utf-8")
    else:
        assert (out or "", path.read_text("utf-8")) == ("", events)
        assert problem in err


def test_a_state_file_does_not_overwrite_the_env_file(
    run: Run, sim: Simulator, secrets: Path
) -> None:
    """`--state` that is the env file is refused."""
    before = secrets.read_bytes()
    assert run("watch", "--env-file", secrets, "--state", secrets, "itwin", "j1").code == 2
    assert secrets.read_bytes() == before


@pytest.mark.parametrize("way", ["itself", "link", "hard link", "dots"])
def test_a_page_does_not_overwrite_its_events(
    run: Run, sim: Simulator, tmp_path: Path, way: str
) -> None:
    """`-o` that is the source is refused, by whatever path."""
    sim.add("itwin", "j1", [Frame("succeeded")])
    events = tmp_path / "events"
    events.write_text(run("watch", "--json", "itwin", "j1").out, "utf-8")
    before = events.read_bytes()
    done = run("report", events, "-o", ways_to(events, way))
    assert (done.code, done.out) == (2, "")
    assert "would overwrite the events" in done.err
    assert events.read_bytes() == before


# --- files without an end -------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="needs a file system with holes")
@pytest.mark.parametrize("words", [("watch", "--state"), ("report",)])
def test_a_file_that_is_too_large(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    """One line says so, before it fills the memory."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(256 * 1024**2 + 1)
    done = run(*words, path)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(f"{path} is larger than 256 MiB\n")
    assert len(done.err.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="needs /dev/zero and named pipes")
def test_devices_and_pipes(run: Run, sim: Simulator, tmp_path: Path) -> None:
    """What has no end is read up to a limit, and no pipe without a reader is waited for."""
    sim.add("itwin", "j1", [Frame("succeeded")])
    assert "larger than 256 MiB" in run("report", "/dev/zero", "-o", tmp_path / "page").err
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = run("watch", "itwin", "j1", "--report", pipe)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"opwatch: the report {pipe} is not a regular file\n"


# --- paths that can't be --------------------------------------------------------------------------


def odd_path(tmp_path: Path, kind: str) -> Path:
    if kind == "a name of 300 characters":
        return tmp_path / ("x" * 300)
    if kind == "a link loop":
        (tmp_path / "loop").symlink_to(tmp_path / "pool")
        (tmp_path / "pool").symlink_to(tmp_path / "loop")
        return tmp_path / "loop"
    if kind == "a file for a folder":
        (tmp_path / "file").write_text("", "utf-8")
        return tmp_path / "file" / "name"
    return tmp_path / "nowhere" / "name"


@pytest.mark.parametrize(
    "kind", ["a name of 300 characters", "a link loop", "a file for a folder", "no such folder"]
)
@pytest.mark.parametrize("option", ["--state", "--report", "--env-file", "EVENTS", "--output"])
def test_a_path_that_the_system_refuses(
    run: Run, sim: Simulator, tmp_path: Path, option: str, kind: str
) -> None:
    """For each option that takes a path: one line, and exit code 2."""
    sim.add("itwin", "j1", [Frame("succeeded")])
    path = odd_path(tmp_path, kind)
    if option == "EVENTS":
        done = run("report", path)
    elif option == "--output":
        events = tmp_path / "events"
        events.write_text(run("watch", "--json", "itwin", "j1").out, "utf-8")
        done = run("report", events, "-o", path)
    else:
        done = run("watch", option, path, "itwin", "j1")
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("opwatch: can't ")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may enter any folder")
def test_a_folder_that_one_may_not_enter(run: Run, sim: Simulator, tmp_path: Path) -> None:
    """The same for a folder without the right to enter it."""
    folder = tmp_path / "folder"
    folder.mkdir(0o600)
    done = run("watch", "--state", folder / "state", "itwin", "j1")
    assert (done.code, len(done.err.splitlines())) == (2, 1)


@pytest.mark.parametrize("option", ["--state", "--report", "--env-file"])
def test_a_working_folder_that_vanished(real_sim: Simulator, tmp_path: Path, option: str) -> None:
    """A relative path leads nowhere then."""
    command = shlex.join([*ANY_RUN, "watch", option, "name", "itwin", "j1"])
    done = subprocess.run(
        ["sh", "-c", f"mkdir gone && cd gone && rmdir ../gone && exec {command}"],
        cwd=tmp_path,
        env=environment(real_sim.environ),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("opwatch: can't ")
    assert len(done.stderr.splitlines()) == 1


def test_a_standard_input_that_is_closed(tmp_path: Path) -> None:
    """`opwatch report - <&-` is answered in one line."""
    code = "sys.stdin = None"
    done = run_apart("report", "-", "-o", tmp_path / "page.html", code=code)
    assert (done.code, done.err) == (2, "opwatch: standard input is closed\n")


def test_a_folder_that_cannot_be_synced(
    run: Run, sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that can't open or sync a folder keeps a state file all the same."""
    sim.add("itwin", "j1", [Frame("succeeded")])
    real = os.open

    def refuse(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if Path(os.fsdecode(path)).is_dir():
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    done = run("watch", "--state", tmp_path / "state", "itwin", "j1")
    assert (done.code, done.err) == (0, "")


# --- env files and credentials --------------------------------------------------------------------


@pytest.mark.parametrize(
    "char", ["\u2028", "\u2029", "\x85", "\x1c", "\x1d", "\x1e", "\x0c", "\x0b", "\r"]
)
def test_only_a_newline_ends_a_line(tmp_path: Path, char: str) -> None:
    """No other character of a value sets a second variable."""
    path = tmp_path / "env"
    path.write_bytes(f"OPWATCH_ONE=a{char}OPWATCH_TWO=b\r\nOPWATCH_THREE=c\n".encode())
    load_environment(path)
    assert os.environ["OPWATCH_ONE"] == f"a{char}OPWATCH_TWO=b"
    assert os.environ["OPWATCH_THREE"] == "c"
    assert "OPWATCH_TWO" not in os.environ


def test_a_value_that_the_locale_cannot_encode(tmp_path: Path) -> None:
    """One line names the variable, not its value, and nothing is set."""
    path = tmp_path / "env"
    path.write_text("OPWATCH_ONE=a\nOPWATCH_TWO=s\xe4cret\n", "utf-8")
    after = "import atexit, os; atexit.register(lambda: print(os.environ.get('OPWATCH_ONE')))"
    done = run_apart(
        *("progress", "--env-file", path, "itwin", "j1"),
        env={"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX"},
        code=after,
    )
    assert (done.code, done.out) == (2, "None\n")
    assert done.err == (
        f"opwatch: {path}, line 2: the locale can't encode the value of OPWATCH_TWO; "
        "set LC_ALL=C.UTF-8 or PYTHONUTF8=1\n"
    )


def test_all_that_is_missing_is_named(run: Run) -> None:
    """Jobs of several services without credentials: one line names the variables of each."""
    done = run("watch", "catenis:a", "itwin:b", "apig:c")
    assert (done.code, done.out) == (2, "")
    for name in ("CATENIS_DEVICE_ID", "ITWIN_CLIENT_ID", "APIG_ENDPOINT"):
        assert name in done.err
    assert len(done.err.splitlines()) == 1


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
