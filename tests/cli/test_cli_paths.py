"""The files that a user names: none is overwritten by mistake, and none is read without end."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli_tools import ANY_RUN, LIMIT, Run, environment, run_apart

from opwatch.cli.values import load_environment
from opwatch.simulator import Frame, Simulator

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
    side = "from" if stream == "stdin" else "to"
    problem = f"would overwrite the file that {stream} is redirected {side}; use another file"
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
