"""Bars on a real terminal, and what is printed instead if there is none."""

import os
import pty
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from cli_tools import ANY_RUN, LIMIT, environment, killed
from terminal import Terminal

from opwatch.progress import Fault
from opwatch.simulator import Frame, Polls, Simulator

CLI = ANY_RUN[1:]
ID = "5d5b1f0e-2f5a-4a1c-9d5c-1f6f0a3f7b21"
COLOR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")


def test_bars_from_the_first_query_to_the_table(real_sim: Simulator) -> None:
    """A row for each running job; at the end a table, with the reason of each failure."""
    real_sim.add("itwin", "j1", Frame("running", percent=40, step="Reconstruction"))
    real_sim.add("apig", "g1", Frame("running", percent=30))
    words = ("watch", "--schedule", "200ms", "itwin:j1", "apig:g1")
    with Terminal(*CLI, *words, env=real_sim.environ) as terminal:
        terminal.until("40 % Reconstruction")
        frame = terminal.until("30 % running").splitlines()
        real_sim.job("itwin", "j1").play([Frame("succeeded")])
        real_sim.job("apig", "g1").play([Frame("failed", fault=Fault("E", "[red]no quota"))])
        code = terminal.end()
    assert [row.split()[:2] for row in frame] == [["itwin", "j1"], ["apig", "g1"]]
    assert code == 1
    assert [row.split()[:4] for row in str(terminal.screen).splitlines()] == [
        ["service", "job", "outcome", "watched"],
        ["─" * len(str(terminal.screen).splitlines()[1])],
        ["✓", "itwin", "j1", "succeeded"],
        ["✗", "apig", "g1", "failed"],
        [],
        ["apig", "g1:", "E:", "[red]no"],
    ]
    assert terminal.screen.widest < 80
    assert terminal.screen.cursor_shown
    assert terminal.screen.unknown == []
    assert COLOR.search(terminal.raw)


def test_a_rate_limit_is_shown(real_sim: Simulator) -> None:
    """While a rate limit holds a job, its row says so and when the next poll is."""
    limit = Frame(error="RateLimitExceeded", retry_after=100)
    real_sim.add("itwin", "j1", Polls([Frame("running", percent=40), limit]))
    words = ("watch", "--schedule", "100ms", "itwin:j1")
    with Terminal(*CLI, *words, env=real_sim.environ) as terminal:
        row = terminal.until("rate limited (429)")
    assert row.split()[0] == "!"
    assert re.search(r" in \d+ s$", row)


def test_ctrl_c_on_a_terminal(real_sim: Simulator) -> None:
    """Ctrl-C gives the terminal back, shows where the jobs stood, and says how to continue."""
    real_sim.add("itwin", "j1", Frame("running", percent=40))
    with Terminal(*CLI, "watch", "itwin", "j1", env=real_sim.environ) as terminal:
        terminal.until("40 %")
        terminal.send("\x03")
        code = terminal.end()
    assert code == 130
    shown = str(terminal.screen)
    assert ["✗", "itwin", "j1", "interrupted"] in [row.split()[:4] for row in shown.splitlines()]
    text = shown.replace("\n", "")  # the line is longer than a row
    assert (
        "opwatch: interrupted; itwin j1 is still running; run the same command to start over"
        in text
    )
    words = ("is still running;", "was stopped", "interrupted")
    assert [shown.count(word) for word in words] == [1, 0, 2]
    assert terminal.screen.cursor_shown


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("job_ids", [[ID], [ID, "j2"]], ids=["one job", "two jobs"])
def test_ctrl_c_that_the_terminal_echoes(
    real_sim: Simulator, columns: int, job_ids: list[str]
) -> None:
    """The ^C behind the last row makes none wrap: nothing of the bars is left above the table."""
    for job_id in job_ids:
        real_sim.add("itwin", job_id, Frame("running", percent=40, step="Aerotriangulation" * 5))
    words = (*CLI, "watch", "itwin", *job_ids)
    with Terminal(*words, env=real_sim.environ, columns=columns) as terminal:
        for _ in job_ids:
            terminal.until("40 %")
        terminal.send("\x03")
        assert terminal.end() == 130
    assert "^C" in terminal.raw
    head, rule, *rows = str(terminal.screen).splitlines()
    assert head.split()[:3] == ["service", "job", "outcome"]
    assert set(rule) == {"─"}
    assert [row.split()[0] for row in rows[: len(job_ids)]] == ["✗"] * len(job_ids)
    assert rows[len(job_ids)].startswith("opwatch: interrupted; itwin ")


def test_a_terminal_that_is_closed(real_sim: Simulator, tmp_path: Path) -> None:
    """A terminal that hangs up is an interrupt: 130, and what is written elsewhere ends as such."""
    real_sim.add("itwin", "j1", Frame("running", percent=40))
    page, log = tmp_path / "wait.html", tmp_path / "log"
    master, slave = pty.openpty()
    words = [*ANY_RUN, "watch", "--report", str(page), "itwin", "j1"]
    variables = {**environment(real_sim.environ), "TERM": "xterm-256color"}
    how = {"stdin": slave, "stdout": slave, "start_new_session": True, "env": variables}
    with log.open("w") as errors, killed(subprocess.Popen(words, stderr=errors, **how)) as process:
        os.close(slave)
        while b"40 %" not in os.read(master, 65_536):
            pass
        os.close(master)
        process.send_signal(signal.SIGHUP)
        assert process.wait(LIMIT) == 130
    assert log.read_text("utf-8") == (
        "opwatch: interrupted; itwin j1 is still running; run the same command to start over; "
        "to be able to resume, use --state FILE from the start\n"
    )
    assert "interrupted" in page.read_text("utf-8")


def test_a_report_that_cannot_be_written_at_last(real_sim: Simulator, tmp_path: Path) -> None:
    """The terminal is given back and the table shown all the same; the exit code is 2."""
    real_sim.add("itwin", "j1", Frame("running", percent=40))
    folder = tmp_path / "folder"
    folder.mkdir()
    words = (*CLI, "watch", "--report", str(folder / "wait.html"), "itwin", "j1")
    with Terminal(*words, env=real_sim.environ) as terminal:
        terminal.until("40 %")
        shutil.rmtree(folder)
        terminal.send("\x03")
        assert terminal.end() == 2
    assert terminal.screen.cursor_shown
    assert "✗  itwin    j1" in str(terminal.screen)
    assert "can't write the report" in str(terminal.screen)


@pytest.mark.parametrize(
    ("columns", "job_id", "reason"),
    [
        (120, ID, f"itwin {ID}: gone. (404 JobNotFound) [request "),
        (80, ID, f"itwin {ID}: gone. (404 JobNotFound)"),
        (60, ID, f"itwin {ID}: gone."),
    ],
)
def test_the_reason_of_a_job_that_is_gone(
    real_sim: Simulator, columns: int, job_id: str, reason: str
) -> None:
    """The table counts the poll; below it stands what the service said, as far as it fits."""
    real_sim.add("itwin", job_id, Frame(error="JobNotFound", message="gone."))
    words = (*CLI, "watch", "itwin", job_id)
    with Terminal(*words, env=real_sim.environ, columns=columns) as terminal:
        assert terminal.end() == 5
    rows = str(terminal.screen).splitlines()
    assert rows[2].split()[-2:] == ["0:00", "1"]
    assert rows[-1].startswith(reason)
    assert rows[-1].count("[request") == (columns == 120)
    assert rows[-2:-1] == [""]


@pytest.mark.parametrize(
    ("words", "variables"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"})], ids=["option", "env"]
)
def test_no_color(real_sim: Simulator, words: list[str], variables: dict[str, str]) -> None:
    """Without colors the bars are the same and no color is sent."""
    real_sim.add("itwin", "j1", [Frame("succeeded")])
    env = {**real_sim.environ, **variables}
    with Terminal(*CLI, "watch", "itwin", "j1", *words, env=env) as terminal:
        assert terminal.end() == 0
    assert "succeeded" in str(terminal.screen)
    assert COLOR.search(terminal.raw) is None


@pytest.mark.parametrize(
    "variables",
    [
        *({"TERM": "dumb"}, {"CI": "true"}, {"COLUMNS": "0"}, {"FORCE_COLOR": ""}),
        *({"TTY_INTERACTIVE": "0"}, {"TTY_COMPATIBLE": "0"}),
    ],
    ids=str,
)
def test_where_bars_cannot_be_drawn(real_sim: Simulator, variables: dict[str, str]) -> None:
    """On a dumb terminal, in a log of CI, and if rich is told not to draw, there are lines."""
    real_sim.add("itwin", "j1", [Frame("succeeded")])
    env = {**real_sim.environ, **variables}
    with Terminal(*CLI, "watch", "itwin", "j1", env=env) as terminal:
        assert terminal.end() == 0
    assert [row.split()[2:] for row in str(terminal.screen).splitlines()] == [
        ["j1", "watching"],
        ["j1", "succeeded,", "100", "%"],
    ]
    assert "\x1b" not in terminal.raw


def test_warnings_stand_above_the_bars(real_sim: Simulator) -> None:
    """A line on standard error does not tear the bars."""
    real_sim.add("itwin", "j1", Frame("unknown", state="Dreaming", percent=7))
    words = ("watch", "--verbose", "--schedule", "100ms", "itwin", "j1")
    with Terminal(*CLI, *words, env=real_sim.environ) as terminal:
        terminal.until("7 % unknown")
        rows = terminal.until("that opwatch doesn't know").splitlines()
        while "%" not in rows[-1]:  # the bar is being drawn again
            rows = terminal.more().splitlines()
    assert [row for row in rows if "%" in row] == [rows[-1]]


# --- opwatch.bars by itself -----------------------------------------------------------------------

_WAIT = """
import asyncio, sys
from opwatch import AsyncITwin, ITwin, Schedule, bars
from opwatch.errors import OpwatchError
how = {"timeout": None, "on_progress": bars.bar()}
try:
    if sys.argv[1] == "asyncio":
        asyncio.run(AsyncITwin.from_env(schedule=Schedule((0.1,))).wait("j1", **how))
    else:
        ITwin.from_env(schedule=Schedule((0.1,))).wait("j1", **how)
except OpwatchError as error:
    print(type(error).__name__)
print("after")
"""


@pytest.mark.parametrize("client", ["blocking", "asyncio"])
def test_bar_at_a_terminal(real_sim: Simulator, client: str) -> None:
    """`bar()` draws a bar and leaves it standing when the job is over."""
    frames = [Frame("running", percent=40), Frame("succeeded", percent=100)]
    real_sim.add("itwin", "j1", Polls(frames))
    with Terminal("-c", _WAIT, client, env=real_sim.environ) as terminal:
        assert terminal.end() == 0
    rows = str(terminal.screen).splitlines()
    assert [rows[0].split()[:3], rows[1:]] == [["✓", "itwin", "j1"], ["after"]]
    assert terminal.screen.cursor_shown


@pytest.mark.parametrize("client", ["blocking", "asyncio"])
def test_bar_of_a_wait_that_raises(real_sim: Simulator, client: str) -> None:
    """A wait that ends by an error gives the terminal back: nothing draws over what follows."""
    real_sim.add("itwin", "j1", Polls([Frame("running", percent=40), Frame(error="JobNotFound")]))
    with Terminal("-c", _WAIT, client, env=real_sim.environ) as terminal:
        assert terminal.end() == 0
    rows = str(terminal.screen).splitlines()
    assert [rows[0].split()[:2], rows[1:]] == [["itwin", "j1"], ["JobGone", "after"]]
    assert terminal.screen.cursor_shown
