"""The state file: what may be wrong with it is one line, and is never overwritten."""

import json
import os
import shutil
from pathlib import Path

import pytest
from cli_tools import Connect, Run
from state_support import JOB, RUNNING, begun, token

from opwatch import errors, exits, services
from opwatch.cli.state import StateFile
from opwatch.errors import ConfigurationError
from opwatch.progress import Phase
from opwatch.simulator import Frame, Polls, Simulator


def test_damaged_files(run: Run, sim: Simulator, path: Path) -> None:
    """A damaged file exits with 2 and says what to do; it is left as it is, nothing is asked."""
    sim.add("itwin", "j1", RUNNING)
    good = token(sim)
    asked = len(sim.requests)
    answer = dict.fromkeys(("percent", "step", "bytes_processed", "fault"))
    answer |= {"started_at": None, "finished_at": None, "phase": "running"}
    entry = {"service": "itwin", "job_id": "j1", "token": good}
    texts = [
        *("not JSON", "[]", "null", "[" * 100_000),
        '{"opwatch_state": 1',
        '{"opwatch_state": 1, "jobs": [' + "1" * 5000 + "]}",
        '{"opwatch_state": 0, "jobs": []}',
        '{"opwatch_state": 1}',
        *(
            json.dumps({"opwatch_state": 1, "jobs": [found]})
            for found in (
                None,
                {"service": "itwin", "job_id": "j1"},
                {**entry, "token": good.replace('"rung":1', '"rung":3')},
                {**entry, "token": good[:-10]},
                {**entry, "job_id": "j2"},
                {**entry, "service": "apig"},
                {"service": "itwin", "job_id": "j1", "answer": answer},
                {"service": "itwin", "job_id": "j1", "answer": {"phase": "failed"}},
            )
        ),
    ]
    for text in texts:
        path.write_text(text, "utf-8")
        done = run("watch", "--state", path, "itwin", "j1")
        assert (done.code, done.out) == (2, ""), text
        assert done.err.startswith(f"opwatch: the state file {path} is damaged ("), text
        assert done.err.endswith("); use another file, or delete this one\n")
        assert "digits" not in done.err  # of Python, on a number that is too long
        assert len(done.err.splitlines()) == 1
        assert path.read_text("utf-8") == text
    assert len(sim.requests) == asked


@pytest.mark.parametrize("newer", ["file", "token"])
def test_a_newer_file_is_not_called_damaged(
    run: Run, sim: Simulator, path: Path, newer: str
) -> None:
    """What a newer opwatch wrote is good: nobody is told to delete it."""
    sim.add("itwin", "j1", RUNNING)
    good = token(sim)
    if newer == "token":
        good = json.dumps(json.loads(good) | {"v": 2})
    entry = {"service": "itwin", "job_id": "j1", "token": good}
    version = 2 if newer == "file" else 1
    path.write_text(json.dumps({"opwatch_state": version, "jobs": [entry]}), "utf-8")
    done = run("watch", "--state", path)
    what = "a token in the state file" if newer == "token" else "the state file"
    assert done.code == 2
    assert done.err == (
        f"opwatch: {what} {path} has format version 2, but this version of opwatch reads only "
        "version 1; use the version of opwatch that wrote it, or a newer one\n"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.JobGone, 5),
        (errors.NotFound, 5),
        (errors.AuthenticationError, 4),
        (errors.PermissionDenied, 4),
        (errors.WaitTimeout, 124),
        (errors.WaitStalled, 124),
        (errors.ConfigurationError, 2),
        (errors.Unavailable, 6),
        (errors.TransportError, 6),
    ],
)
def test_the_exit_code_of_a_wait_that_ended_is_kept(
    run: Run, path: Path, error: type[errors.OpwatchError], code: int
) -> None:
    """By the word that stands in the file it is what it was."""
    end = exits.of_error(error("no more"))
    StateFile(path).stops(JOB, end.outcome)
    assert (end.code, run("watch", "--state", path).code) == (code, code)


def test_an_empty_file_is_a_new_one(run: Run, sim: Simulator, path: Path) -> None:
    """The file of `mktemp` takes a wait, and holds its end."""
    sim.add("itwin", "j1", Polls([RUNNING, Frame("succeeded")]))
    path.touch()
    done = run("watch", "--state", path)
    assert (done.code, done.out) == (2, "")
    assert f"the state file {path} contains no jobs" in done.err
    assert path.read_text("utf-8") == ""
    assert run("watch", "--state", path, "itwin", "j1").code == 0
    assert StateFile(path).ended[JOB].phase is Phase.SUCCEEDED


def test_a_line_in_an_empty_file_can_be_read(sim: Simulator, path: Path) -> None:
    """The first save writes the whole file."""
    sim.add("itwin", "j1", RUNNING)
    path.touch()
    begun(sim, path)
    assert StateFile(path).jobs == [JOB]


def test_a_file_that_is_no_text(run: Run, path: Path) -> None:
    """Bytes that are no text are a damaged file."""
    path.write_bytes(b"\xff\xfe\x00")
    assert "is damaged" in run("watch", "--state", path, "itwin", "j1").err


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_is_no_regular_file(run: Run, sim: Simulator, path: Path, kind: str) -> None:
    """A device or a named pipe, which may be read without end, is refused and left as it is."""
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path = Path("/dev/zero")
    done = run("watch", "--state", path, "itwin", "j1")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"opwatch: the state file {path} is not a regular file\n"
    assert not path.is_file()
    assert sim.requests == []


def test_a_file_of_a_service_that_is_not_installed(run: Run, sim: Simulator, path: Path) -> None:
    """A job of a service that this installation lacks is named, with the services there are."""
    sim.add("itwin", "j1", RUNNING)
    begun(sim, path)
    fields = json.loads(path.read_text("utf-8"))
    fields["jobs"] = [
        {
            "service": "itwim",
            "job_id": "j1",
            "answer": {
                **dict.fromkeys(("percent", "step", "bytes_processed", "fault")),
                **dict.fromkeys(("started_at", "finished_at")),
                "phase": "failed",
            },
        }
    ]
    path.write_text(json.dumps(fields), "utf-8")
    done = run("watch", "--state", path)
    assert done.code == 2
    assert done.err == (
        f"opwatch: the state file {path}: unknown service 'itwim'; did you mean itwin or itwin-v2? "
        f"The services are {', '.join(services.names())}\n"
    )


def test_a_file_that_does_not_exist(run: Run, path: Path) -> None:
    """A file that is not there is said to be not there, and none is made."""
    done = run("watch", "--state", path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"opwatch: the state file {path} doesn't exist; pass SERVICE ID... ")
    assert not path.exists()


def test_a_file_whose_waits_ended_by_themselves(run: Run, sim: Simulator, path: Path) -> None:
    """After a deadline or an error the next run names the jobs, and what watches them again."""
    sim.add("itwin", "j1", RUNNING)
    assert run("watch", "--state", path, "itwin", "j1", "gone", "--timeout", "60").code == 5
    asked = len(sim.requests)
    done = run("watch", "--state", path)
    assert (done.code, done.out, len(sim.requests)) == (5, "", asked)
    [line] = done.err.splitlines()
    begin, _, command = line.partition("; to watch them again: ")
    assert begin == (
        "opwatch: these waits have ended and won't be resumed: itwin gone gone, itwin j1 timed out"
    )
    sim.job("itwin", "j1").play([Frame("succeeded")])
    assert command == f"opwatch watch --state {path} itwin:gone itwin:j1"
    assert run(*command.split()[1:]).code == 5
    assert (StateFile(path).ended.keys(), StateFile(path).stopped) == (
        {JOB},
        {("itwin", "gone"): "gone"},
    )


def test_a_file_of_which_one_wait_has_ended_by_itself(run: Run, sim: Simulator, path: Path) -> None:
    """The others continue, one line says which is not watched, and its exit code still counts."""
    sim.add("itwin", "j1", Polls([RUNNING, Frame("succeeded")]))
    assert run("watch", "--state", path, "itwin", "gone").code == 5
    begun(sim, path)
    done = run("watch", "--state", path)
    assert done.code == 5
    assert run("watch", "--state", path, "itwin", "j1").code == 0
    assert done.err == (
        "opwatch: these waits have ended and won't be resumed: itwin gone gone; "
        f"to watch them again: opwatch watch --state {path} itwin:gone\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], ""),
        (["--timeout", "1h"], "--timeout is"),
        (["--schedule", "1s", "--stall-timeout", "none"], "--stall-timeout and --schedule are"),
        (
            ["--schedule", "1s", "--timeout", "1h", "--stall-timeout", "none"],
            "--timeout, --stall-timeout and --schedule are",
        ),
    ],
    ids=["none", "timeout", "others", "all"],
)
def test_limits_that_a_resumed_wait_does_not_take(
    run: Run, sim: Simulator, path: Path, words: list[str], told: str
) -> None:
    """A limit given to a run that takes up a wait is said not to be used."""
    sim.add("itwin", "j1", Polls([RUNNING, Frame("succeeded")]))
    begun(sim, path)
    done = run("watch", "--state", path, *words)
    assert done.code == 0
    expected = f"opwatch: {told} ignored for itwin j1: a resumed wait keeps its original options\n"
    assert done.err == (expected if told else "")


def test_limits_of_a_new_wait_beside_a_state_file(run: Run, sim: Simulator, path: Path) -> None:
    """Where no wait is taken up, every option is used and nothing is said."""
    sim.add("itwin", "j1", [Frame("succeeded")])
    assert run("watch", "--state", path, "itwin", "j1", "--timeout", "1h").err == ""
    assert run("watch", "--state", path, "itwin", "j1", "--timeout", "1h").err == ""


def test_a_file_without_jobs(run: Run, path: Path) -> None:
    """A file that holds no job needs jobs on the command line."""
    StateFile(path).write()
    done = run("watch", "--state", path)
    assert done.code == 2
    assert "contains no jobs; pass SERVICE ID..." in done.err


def test_writing_is_all_or_nothing(path: Path) -> None:
    """A file that cannot be replaced stays, and no half of a new one is left beside it."""
    state = StateFile(path)
    path.mkdir()
    with pytest.raises(ConfigurationError, match="can't write the state file"):
        state.write()
    assert [entry.name for entry in path.parent.iterdir()] == ["state.json"]


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    """A state file that is a symbolic link is written where the link points."""
    path.symlink_to(tmp_path / "real.json")
    StateFile(path).write()
    assert path.is_symlink()
    assert StateFile(tmp_path / "real.json").jobs == []


@pytest.mark.usefixtures("clock")
def test_a_disk_that_fails_meanwhile(run: Run, connect: Connect, tmp_path: Path) -> None:
    """Where the file can no longer be written, one line says so and the wait continues."""
    folder = tmp_path / "folder"
    folder.mkdir()

    def remove(request: object) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    with Simulator(on_request=remove) as sim:
        connect(sim)
        sim.add("itwin", "j1", Polls([RUNNING, RUNNING, RUNNING, Frame("succeeded")]))
        done = run("watch", "--state", folder / "state.json", "itwin", "j1")
    assert done.code == 0
    assert done.err == (
        f"opwatch: can't write the state file {folder / 'state.json'}: "
        "No such file or directory; the wait continues\n"
    )
