"""What the command prints (lines, JSON, bars) and logs, and where variables come from."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from cli_tools import ANY_RUN, LIMIT, Result, Run, environment, run_apart
from openapi_schema_validator import OAS31Validator

import opwatch.cli
from opwatch.cli.values import load_environment
from opwatch.errors import ConfigurationError
from opwatch.progress import Fault
from opwatch.simulator import Frame, Polls, Simulator

SCHEMA = json.loads((Path(opwatch.cli.__file__).parent / "events.schema.json").read_text("utf-8"))
EVIL = "\x1b[31mred\x07 [bold]not bold[/bold]\u202e\nnext"
HARMLESS = "�[31mred� [bold]not bold[/bold]� next"


def events(done: Result) -> list[dict[str, object]]:
    """The objects that a run printed, each checked against the schema in the package."""
    found = [json.loads(line) for line in done.lines]
    for event in found:
        OAS31Validator(SCHEMA).validate(event)
    return found


def told(done: Result) -> list[str]:
    """The lines without their times."""
    return [line.partition(" ")[2] for line in done.lines]


# --- lines ----------------------------------------------------------------------------------------


def test_progress_prints_one_line(run: Run, sim: Simulator) -> None:
    """One poll prints one line: the job, its progress, and why it failed."""
    sim.add("itwin", "j1", Frame("running", percent=62.5, step="Reconstruction"))
    sim.add("apig", "g1", [Frame("failed", fault=Fault("APIC.9218", "no quota left"))])
    assert run("progress", "itwin:j1").out == "itwin j1 running, 62.5 %, Reconstruction\n"
    assert run("progress", "apig", "g1").out == "apig g1 failed, 0 %: APIC.9218: no quota left\n"


def test_lines_in_a_pipe(run: Run, sim: Simulator) -> None:
    """In a pipe each change is one plain line, and what stays the same none."""
    frames = [
        *[Frame("running", percent=10, step="Import")] * 2,
        Frame("running", percent=40, step="Import"),
        Frame(error="RateLimitExceeded", retry_after=20, message="slow down"),
        Frame("succeeded", percent=100),
    ]
    sim.add("itwin", "j1", Polls(frames))
    done = run("watch", "itwin", "j1", "--schedule", "5s,5s")
    assert told(done) == [
        "itwin j1 watching",
        "itwin j1 running, 10 %, Import (next poll in 5 s)",
        "itwin j1 running, 40 %, Import (next poll in 5 s)",
        "itwin j1 rate limited (429): slow down (next poll in 20 s)",
        "itwin j1 succeeded, 100 %",
    ]
    assert "\x1b" not in done.out
    assert done.err == ""


def test_a_job_that_stands_still_is_told_once_a_minute(run: Run, sim: Simulator) -> None:
    """A line is printed at least once a minute, so a log shows that the wait continues."""
    sim.add("itwin", "j1", [Frame("running", percent=10), Frame("succeeded", at=200)])
    done = run("watch", "itwin", "j1", "--schedule", "10s")
    assert told(done)[1:-1] == ["itwin j1 running, 10 % (next poll in 10 s)"] * 4


def test_an_outcome_that_is_not_known(run: Run, sim: Simulator) -> None:
    """A job that is over without an outcome is reported as such, never as succeeded."""
    sim.add("itwin", "j1", [Frame("ended")])
    assert told(run("watch", "itwin", "j1"))[-1] == (
        "itwin j1 ended, the service does not say how it ended"
    )


def test_quiet(run: Run, sim: Simulator) -> None:
    """`--quiet` prints nothing of what goes well, and one line of what does not."""
    sim.add("itwin", "good", [Frame("succeeded")])
    sim.add("apig", "bad", [Frame("failed", fault=Fault("APIC.9218", "no quota left"))])
    done = run("watch", "--quiet", "itwin:good", "apig:bad")
    assert done.out == ""
    assert done.err == "opwatch: apig bad: failed, 0 %: APIC.9218: no quota left\n"


@pytest.mark.parametrize("command", ["progress", "watch"])
def test_text_of_a_service_is_harmless(run: Run, sim: Simulator, command: str) -> None:
    """Control characters, line ends and markup that a service sends do nothing at a terminal."""
    sim.add("apig", "bad", [Frame("failed", fault=Fault("E", EVIL))])
    sim.add("itwin", "odd", Frame(error="InternalServerError", message=EVIL))
    for job in ("apig:bad", "itwin:odd"):
        done = run(command, job)
        text = done.out + done.err
        assert HARMLESS in text
        assert [char for char in text if not char.isprintable() and char != "\n"] == []


def test_text_that_a_terminal_cannot_show(real_sim: Simulator) -> None:
    """Where the output's encoding lacks a character, another stands for it and nothing ends."""
    real_sim.add("itwin", "j1", Frame("running", step="Übersicht"))
    done = run_apart(
        "progress", "itwin", "j1", env={**real_sim.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert (done.code, done.out) == (0, "itwin j1 running, ?bersicht\n")


def test_a_missing_state_is_warned_of_in_one_line(run: Run, sim: Simulator) -> None:
    """A response without a state is a line on standard error that doesn't show Python's `None`."""
    odd = Frame(body={"jobProgress": {"percentage": 1, "step": ""}})
    sim.add("itwin", "j1", Polls([odd, odd, Frame("succeeded")]))
    done = run("watch", "itwin", "j1")
    assert (done.code, done.err) == (
        0,
        "opwatch: itwin j1 has no valid state in the response; the wait continues\n",
    )


def test_an_unknown_state_is_warned_of_in_one_line(run: Run, sim: Simulator) -> None:
    """A state that this version does not know is a line on standard error; the wait continues."""
    odd = Frame("unknown", state="Dreaming", percent=1)
    sim.add("itwin", "j1", Polls([odd, odd, Frame("succeeded")]))
    done = run("watch", "itwin", "j1")
    assert done.code == 0
    assert done.err == (
        "opwatch: itwin j1 reports a state that opwatch doesn't know: 'dreaming'; "
        "the wait continues\n"
    )


# --- JSON -----------------------------------------------------------------------------------------


def test_json_of_a_whole_wait(run: Run, sim: Simulator) -> None:
    """`--json` prints one object of the schema for each event, in their order."""
    frames = [
        Frame("running", percent=10, step="Import"),
        Frame(error="RateLimitExceeded", retry_after=20),
        Frame("failed", percent=40, fault=Fault("E1", "no photos")),
    ]
    sim.add("itwin", "j1", Polls(frames))
    done = run("watch", "itwin", "j1", "--json")
    found = events(done)
    assert [event["event"] for event in found] == [
        *("start", "progress", "trouble", "progress", "result"),
    ]
    start, first, trouble, last, result = found
    assert start["resumed"] is False
    assert (first["phase"], first["percent"], first["step"]) == ("running", 10, "Import")
    assert first["next_query_in"] == 15
    assert trouble["error"]["type"] == "RateLimited"  # type: ignore[index]
    assert trouble["error"]["retry_after"] == 20  # type: ignore[index]
    assert trouble["percent"] == 10
    assert last["next_query_in"] is None
    assert result["fault"] == {"code": "E1", "message": "Job failed: no photos"}
    assert (result["outcome"], result["exit_code"]) == ("failed", done.code) == ("failed", 1)


@pytest.mark.parametrize(
    ("frame", "words", "outcome"),
    [
        (Frame("running"), ["--timeout", "60"], "timed out"),
        (Frame("running"), ["--stall-timeout", "60"], "stalled"),
        (Frame("ended"), [], "ended"),
        (Frame("cancelled"), [], "cancelled"),
        (Frame(error="JobNotFound"), [], "gone"),
        (Frame(error="Unauthorized"), [], "refused"),
        (Frame(error="ServiceUnavailable"), [], "service error"),
    ],
)
def test_json_of_each_outcome(
    run: Run, sim: Simulator, frame: Frame, words: list[str], outcome: str
) -> None:
    """The last object of a job tells how its watching ended, and the exit code."""
    sim.add("itwin", "j1", frame)
    done = run("watch", "itwin", "j1", "--json", *words)
    result = events(done)[-1]
    assert (result["event"], result["outcome"]) == ("result", outcome)
    assert result["exit_code"] == done.code


def test_json_when_a_rate_limit_holds_others(run: Run, sim: Simulator) -> None:
    """A rate limit that one job met holds the others, and the events say so."""
    moving = [Frame("running", percent=1), Frame("running", percent=2)]  # polled at 0, 15, 30 s
    limited = Frame(error="RateLimitExceeded", retry_after=60)
    sim.add("itwin", "j1", Polls([*moving, limited, Frame("succeeded")]))
    sim.add("itwin", "j2", [Frame("running", percent=5), Frame("succeeded", at=90)])  # 0, 15, 45 s
    found = events(run("watch", "itwin", "j2", "j1", "--json"))
    held = [event for event in found if event["event"] == "held"]
    assert {event["job_id"] for event in held} == {"j2"}
    assert all(event["error"] is None for event in held)
    assert held[0]["next_query_in"] >= 45  # type: ignore[operator]


def test_json_of_one_query(run: Run, sim: Simulator) -> None:
    """`progress --json` prints one object of the same schema."""
    sim.add("catenis", "pJob0000000000000001", Frame("running", bytes_processed=1024))
    [event] = events(run("progress", "catenis", "pJob0000000000000001", "--json"))
    assert (event["event"], event["phase"], event["bytes_processed"]) == (
        *("progress", "running"),
        1024,
    )


@pytest.mark.parametrize(
    ("frame", "outcome", "kind"),
    [
        (Frame(error="JobNotFound"), "gone", "JobGone"),
        (Frame(error="Unauthorized"), "refused", "AuthenticationError"),
        (Frame(error="ServiceUnavailable"), "service error", "Unavailable"),
    ],
)
def test_json_of_one_query_without_an_answer(
    run: Run, sim: Simulator, frame: Frame, outcome: str, kind: str
) -> None:
    """`progress --json` prints one object also for an error, with the exit code beside it."""
    sim.add("itwin", "j1", frame)
    done = run("progress", "itwin", "j1", "--json")
    [event] = events(done)
    assert (event["event"], event["outcome"], event["phase"]) == ("result", outcome, None)
    assert event["exit_code"] == done.code
    assert event["error"]["type"] == kind  # type: ignore[index]
    assert event["error"]["code"] == frame.error  # type: ignore[index]
    assert done.err.startswith("opwatch: itwin j1: ")


def test_json_of_one_query_without_credentials(run: Run) -> None:
    """What is wrong with the configuration is the object too."""
    done = run("progress", "itwin", "j1", "--json")
    [event] = events(done)
    assert (event["outcome"], event["exit_code"], done.code) == ("misconfigured", 2, 2)


def test_errors_beside_json(run: Run, sim: Simulator) -> None:
    """A wait that ends by an error tells it on standard error too: the JSON may go to a file."""
    sim.add("itwin", "j1", Frame(error="Unauthorized"))
    done = run("watch", "itwin", "j1", "--json")
    assert done.err.startswith("opwatch: itwin j1: the credentials were refused (401 Unauthorized)")


def test_what_to_check_is_said_everywhere(run: Run, sim: Simulator, tmp_path: Path) -> None:
    """An error's advice is on standard error, in the JSON and in the report."""
    sim.add("itwin", "j1", Frame(error="ResourceNotFound"))
    report = tmp_path / "report.html"
    done = run("watch", "itwin", "j1", "--json", "--report", report)
    check = "check `base_url` (ITWIN_BASE_URL)"
    result = events(done)[-1]
    assert result["error"]["message"].endswith(f"; {check}")  # type: ignore[index]
    assert check in done.err
    assert check in report.read_text("utf-8")


# --- the log --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["progress", "watch"])
def test_the_request_log(run: Run, sim: Simulator, command: str) -> None:
    """`--verbose` logs method, address, status and seconds of each request."""
    sim.add("itwin", "j1", [Frame("failed")])
    done = run(command, "--verbose", "itwin", "j1")
    logged = [line.rsplit(" ", 2)[0] for line in done.err.splitlines()]
    assert logged == [
        f"opwatch: POST {sim.url}/connect/token 200",
        f"opwatch: GET {sim.url}/contextcapture/jobs/j1/progress 200",
        f"opwatch: GET {sim.url}/contextcapture/jobs/j1 200",
    ]


@pytest.mark.parametrize("service", ["apig", "catenis", "itwin"])
def test_the_request_log_shows_no_credential(run: Run, sim: Simulator, service: str) -> None:
    """Neither a secret nor a header nor a query is in the log."""
    sim.add(service, "pJob0000000000000001", [Frame("succeeded")])
    done = run("watch", "--verbose", service, "pJob0000000000000001")
    secret = [
        value for name, value in sim.environ.items() if "PASSWORD" in name or "SECRET" in name
    ]
    assert len(secret) == 3
    assert "nocatalog" not in done.err
    assert [value for value in secret if value in done.err + done.out] == []
    assert "uthorization" not in done.err


def test_the_request_log_of_what_fails(
    run: Run, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that got no response is logged with the reason."""
    sim.add("apig", "g1", Frame("running"))
    sim.disturb("apig", Frame(raw=b"x" * 100, cut=True), times=1)
    done = run("progress", "--verbose", "apig", "g1")
    assert done.code == 6
    why = f"{sim.url} closed the connection before its response was complete"
    assert f"/progress {why} 0." in done.err


# --- files of variables ---------------------------------------------------------------------------


def test_an_env_file(
    run: Run, sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--env-file` sets what the clients need, with or without quotes and `export`."""
    sim.add("itwin", "j1", [Frame("succeeded")])
    lines = ["# the simulator", ""]
    for name, value in sim.environ.items():
        monkeypatch.delenv(name)
        lines.append(f"export {name}='{value}'" if "SECRET" in name else f"  {name} = {value}  ")
    path = tmp_path / "sim.env"
    path.write_text("\n".join(lines), "utf-8")
    assert run("watch", "itwin", "j1").code == 2
    assert run("watch", "--env-file", path, "itwin", "j1").code == 0
    assert run("progress", "--env-file", path, "itwin", "j1").code == 0


def test_an_env_file_wins(run: Run, sim: Simulator, tmp_path: Path) -> None:
    """What the file says wins over the environment, since it was named on purpose."""
    sim.add("itwin", "j1", [Frame("succeeded")])
    path = tmp_path / "other.env"
    path.write_text("ITWIN_CLIENT_SECRET=wrong\n", "utf-8")
    assert run("progress", "--env-file", path, "itwin", "j1").code == 4


def test_a_line_that_is_no_variable(run: Run, tmp_path: Path) -> None:
    """A malformed line is named by its number and not shown: it may hold a secret."""
    path = tmp_path / "bad.env"
    path.write_text("A=1\nhunter2\n", "utf-8")
    done = run("progress", "--env-file", path, "itwin", "j1")
    assert done.code == 2
    assert done.err == f"opwatch: {path}, line 2: expected NAME=value\n"


QUOTES = "unexpected text after the closing quote; put comments on their own lines"
COMMENT = (
    "a # after a space doesn't start a comment here; put the comment on its own line, "
    "or quote the value"
)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("A='hunter2", "the quote ' is not closed"),
        ('A="hunter2', 'the quote " is not closed'),
        ("A=\"hunter2'", 'the quote " is not closed'),
        ('A="', 'the quote " is not closed'),
        ('A="hunter2" # mine', QUOTES),
        ('A="hunter2" # "mine"', QUOTES),
        ("A='hunter'2", QUOTES),
        ("A=hunter2 # mine", COMMENT),
        ("A=hunter2\t#mine", COMMENT),
        ("A= # mine", COMMENT),
    ],
)
def test_a_value_that_may_be_read_in_two_ways(
    run: Run, tmp_path: Path, line: str, wrong: str
) -> None:
    """Half a quote and what may be a comment are named by their line and not shown."""
    path = tmp_path / "bad.env"
    path.write_text(f"# one\n{line}\n", "utf-8")
    done = run("progress", "--env-file", path, "itwin", "j1")
    assert (done.code, done.err) == (2, f"opwatch: {path}, line 2: {wrong}\n")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=a#b", "a#b"),
        ("A=#b", "#b"),
        ("A='a # b'", "a # b"),
        ("A='it's'", "it's"),
        ('A=it"s', 'it"s'),
        ("A=''", ""),
        ("A=", ""),
        ("\ufeffA=1", "1"),
    ],
)
def test_values_of_an_env_file(tmp_path: Path, line: str, value: str) -> None:
    """A value is what stands there, less quotes around it; a byte order mark is not of it."""
    path = tmp_path / "good.env"
    path.write_text(f"{line}\n", "utf-8")
    load_environment(path)
    assert os.environ["A"] == value


def test_an_env_file_that_is_a_pipe(real_sim: Simulator) -> None:
    """What a shell's `<(…)` gives is read like a file."""
    real_sim.add("itwin", "j1", [Frame("succeeded")])
    lines = "".join(f"{name}={value}\n" for name, value in real_sim.environ.items())
    words = f"{shlex.join(ANY_RUN)} progress itwin j1 --env-file <(cat)"
    done = subprocess.run(
        ["bash", "-c", words],
        input=lines,
        capture_output=True,
        env=environment(),
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("size", "code"), [(1024 * 1024, 0), (1024 * 1024 + 1, 2)])
def test_an_env_file_that_is_large(
    run: Run, sim: Simulator, tmp_path: Path, size: int, code: int
) -> None:
    """More than 1 MiB is refused: a device has no end."""
    sim.add("itwin", "j1", [Frame("succeeded")])
    path = tmp_path / "large.env"
    path.write_text("#" * size, "utf-8")
    done = run("progress", "--env-file", path, "itwin", "j1")
    assert done.code == code
    assert done.err == (f"opwatch: the env file {path} is larger than 1024 KiB\n" if code else "")


def test_an_env_file_that_is_no_text(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused."""
    path = tmp_path / "bad.env"
    path.write_bytes(b"A=\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_environment(path)
