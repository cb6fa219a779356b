"""`opwatch.bars`: what is drawn at each width, and what `bar()` does if it can't draw."""

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cli_tools import run_apart
from rich.console import Console

from opwatch import bars, words
from opwatch.errors import JobGone, RateLimited, TransportError, WaitTimeout
from opwatch.events import Ended, Event, Retrying
from opwatch.progress import Fault, Phase, Progress
from opwatch.simulator import Frame, Polls, Simulator

ITWIN = ("itwin", "4d1f0000-0000-4000-8000-000000000001")


class Now:
    """A clock to set."""

    time = 0.0

    def __call__(self) -> float:
        return self.time


def answer(
    job: tuple[str, str] = ITWIN, phase: str = "running", **fields: object
) -> Progress[None]:
    service, job_id = job
    return Progress(service=service, job_id=job_id, phase=Phase(phase), wire=None, **fields)  # type: ignore[arg-type]


def event(kind: type[Event[None]], job: tuple[str, str] = ITWIN, **fields: object) -> Event[None]:
    return kind(service=job[0], job_id=job[1], time=datetime.now(UTC), **fields)  # type: ignore[arg-type]


def drawn(what: object, *, width: int = 80, height: int = 24) -> list[str]:
    """The lines as a terminal without colors shows them."""
    out = io.StringIO()
    console = Console(
        file=out, width=width, height=height, force_terminal=True, no_color=True, highlight=False
    )
    console.print(what)
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    return [line.rstrip() for line in text.splitlines()]


def test_a_row() -> None:
    """A row shows the job, the bar, the amount, the step, the time, and the next poll."""
    now = Now()
    board = bars.Board(now)
    board.answered(ITWIN, answer(percent=50.0, step="Reconstruction"), 15)
    now.time = 5
    assert drawn(board) == [
        "  itwin 4d1f0…000001 ━━━━━━          50 % Reconstruction        0:05 in 10 s"
    ]


def test_bytes_have_no_end() -> None:
    """A count of bytes fills no bar, and shows in units of 1000."""
    board = bars.Board(Now())
    board.answered(("catenis", "p1"), answer(("catenis", "p1"), bytes_processed=1_234_567), 1)
    [row] = drawn(board)
    assert "1.23 MB" in row
    assert "━━━" in row


def test_a_notice_takes_the_place_of_the_step() -> None:
    """Trouble is shown until the next answer."""
    board = bars.Board(Now())
    board.answered(ITWIN, answer(percent=50.0, step="Reconstruction"), 15)
    board.show(event(Retrying, error=RateLimited("slowly", status=429), next_poll_in=30))
    [row] = drawn(board)
    assert row.startswith("! itwin")
    assert "rate limited (429)" in row
    assert row.endswith("in 30 s")
    board.answered(ITWIN, answer(percent=50.0, step="Reconstruction"), 15)
    assert "rate limited" not in drawn(board)[0]


@pytest.mark.parametrize("width", [20, 30, 40, 60, 71, 72, 80, 100, 200])
def test_a_row_is_one_line(width: int) -> None:
    """At any width a row is one line, however long its texts are."""
    board = bars.Board(Now())
    board.answered(ITWIN, answer(percent=33.333, step="A very long step " * 20), 1800)
    board.answered(("a-service-of-a-long-name", "x" * 300), answer(), 100_000)
    rows = drawn(board, width=width)
    assert len(rows) == 2
    assert all(len(row) <= width - 3 for row in rows)


@pytest.mark.parametrize(("width", "whole"), [(100, False), (120, True), (160, True)])
def test_a_long_job_id_is_whole_if_there_is_room(width: int, whole: bool) -> None:
    """A bar and a few words leave the rest of a row to the job's ID."""
    board = bars.Board(Now())
    board.answered(ITWIN, answer(percent=50.0, step="Reconstruction"), 15)
    [row] = drawn(board, width=width)
    assert (ITWIN[1] in row) is whole
    assert "50 % Reconstruction" in row


def test_a_rate_limit_is_whole_at_80_columns() -> None:
    """The words of the most frequent retries have room beside a long job ID."""
    board = bars.Board(Now())
    error = RateLimited("slowly", status=429)
    when = datetime(2026, 3, 1, 12, tzinfo=UTC)
    board.show(Retrying(service=ITWIN[0], job_id=ITWIN[1], time=when, error=error, next_poll_in=15))
    [row] = drawn(board, width=80)
    assert "rate limited (429)" in row


def test_more_jobs_than_lines() -> None:
    """Running jobs come first; those that do not fit are counted."""
    board = bars.Board(Now())
    for n in range(30):
        job = ("itwin", f"job-{n:02}")
        over = n < 20
        board.answered(job, answer(job, "succeeded" if over else "running", percent=float(n)), None)
    rows = drawn(board, height=14)
    assert len(rows) == 12
    assert [row.split()[1] for row in rows[:10]] == [f"job-{n}" for n in range(20, 30)]
    assert rows[-1] == "  and 19 more: 19 succeeded"


def test_failed_jobs_are_never_hidden_by_others() -> None:
    """They come before running ones, and those that succeeded are counted first."""
    board = bars.Board(Now())
    for n, phase in enumerate(["succeeded"] * 20 + ["running"] * 20 + ["failed"] * 2):
        job = ("itwin", f"job-{n:02}")
        board.answered(job, answer(job, phase, percent=float(n)), None)
    rows = drawn(board, height=14)
    found = [word for row in rows[:11] for word in row.split() if word.startswith("job-")]
    assert found == ["job-40", "job-41", *(f"job-{n}" for n in range(20, 29))]
    assert rows[-1] == "  and 31 more: 20 succeeded, 11 running"


def test_text_of_a_service_is_no_markup() -> None:
    """Markup and control characters in a step or a reason are shown, not obeyed."""
    board = bars.Board(Now())
    board.answered(ITWIN, answer(percent=1.0, step="[red]hot[/red]\x1b[31m"), 15)
    assert "[red]hot[/red]" in drawn(board, width=120)[0]
    board.answered(ITWIN, answer(phase="failed", fault=Fault("E", "[blink]no\x1b]0;x\x07")), None)
    assert drawn(board.summary())[-1] == f"itwin {ITWIN[1]}: E: [blink]no�]0;x�"


def test_the_summary() -> None:
    """The table at the end has the whole id, the outcome, the time watched and the polls."""
    now = Now()
    board = bars.Board(now)
    board.answered(ITWIN, answer(percent=10.0), 15)
    board.show(event(Retrying, error=TransportError("no answer"), next_poll_in=15, attempt=2))
    now.time = 3700
    board.answered(ITWIN, answer(phase="succeeded"), None)
    board.row(("apig", "g1"))
    board.show(event(Ended, ("apig", "g1"), error=WaitTimeout("not over at the deadline")))
    now.time = 9999
    assert [row.split() for row in drawn(board.summary())] == [
        ["service", "job", "outcome", "watched", "polls"],
        ["─" * 75],
        ["✓", "itwin", ITWIN[1], "succeeded", "1:01:40", "3"],
        ["✗", "apig", "g1", "timed", "out", "0:00", "0"],
        [],
        ["apig", "g1:", "not", "over", "at", "the", "deadline"],
    ]


@pytest.mark.parametrize(
    ("width", "heads", "row"),
    [
        (80, 5, f"✓  itwin    {ITWIN[1]}  succeeded     0:00      2"),
        (60, 5, "✓  itwin    4d1f0000-0…0000000001  succeeded     0:00      2"),
        (50, 4, "✓  itwin    4d1f0000…000000001  succeeded     0:00"),
        (40, 3, "✓  itwin    4d1f0000…00000001  succeeded"),
    ],
)
def test_the_summary_in_little_room(width: int, heads: int, row: str) -> None:
    """Where an id does not fit its middle is left out; where it hardly does, columns are."""
    board = bars.Board(Now())
    board.answered(ITWIN, answer(percent=10.0), 15)
    board.answered(ITWIN, answer(phase="succeeded"), None)
    head, _, shown = drawn(board.summary(), width=width)
    assert len(head.split()) == heads
    assert shown == row


def test_every_query_counts() -> None:
    """A poll that an error answered, and that ended the wait, is one too."""
    board = bars.Board(Now())
    board.answered(ITWIN, answer(percent=10.0), 15)
    gone = JobGone("no such job", status=404, code="Gone")
    board.show(event(Ended, error=gone, attempt=2))
    board.show(event(Ended, ("apig", "g1"), error=WaitTimeout("not over")))
    rows = drawn(board.summary())
    assert [row.split()[-1] for row in rows[2:4]] == ["2", "0"]
    assert rows[-2:] == [f"itwin {ITWIN[1]}: no such job (404 Gone)", "apig g1: not over"]


def test_without_unicode() -> None:
    """A terminal that has ASCII alone gets marks and bars of it."""
    board = bars.Board(Now())
    board.answered(ITWIN, answer(phase="succeeded", percent=100.0), None)
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    console = Console(file=out, width=80, force_terminal=True, no_color=True, legacy_windows=False)
    console.print(board)
    console.print(board.summary())
    out.flush()
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.buffer.getvalue().decode())  # type: ignore[attr-defined]
    row, *_, last = text.splitlines()
    assert row.split()[:4] == ["+", "itwin", "4d1f0..00001", "-" * 12]
    assert last.split()[:2] == ["+", "itwin"]
    assert "?" not in text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *[(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1500, "1.5 kB"), (999_499, "999 kB")],
        *[(999_500, "1 MB"), (4_194_304, "4.19 MB"), (10**12, "1 TB"), (10**16, "1e+04 TB")],
    ],
)
def test_sizes(count: int, text: str) -> None:
    """Bytes are shown in the nearest unit, in three digits."""
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0:00"), (0.9, "0:00"), (61, "1:01"), (3599, "59:59"), (3600, "1:00:00")],
)
def test_durations(seconds: float, text: str) -> None:
    """Times are minutes and seconds, and hours if there are any."""
    assert words.duration(seconds) == text


# --- bar() ----------------------------------------------------------------------------------------


def test_bar_in_a_pipe(sim: Simulator) -> None:
    """Where nothing can be drawn, `bar()` writes one line for each change."""
    frames = [Frame("running", percent=10), Frame("running", percent=10), Frame("succeeded")]
    sim.add("itwin", "j1", Polls(frames))
    out = io.StringIO()
    sim.client("itwin").wait("j1", timeout=None, on_progress=bars.bar(out))
    assert out.getvalue() == "itwin j1 running, 10 %\nitwin j1 succeeded, 100 %\n"


def test_bar_shows_events(sim: Simulator) -> None:
    """With `on_event`, a line also says what went wrong and how the wait ended."""
    limit = Frame(error="RateLimitExceeded", retry_after=20, message="slowly")
    sim.add("itwin", "j1", Polls([Frame("running", percent=10), limit, Frame("running")]))
    out = io.StringIO()
    with pytest.raises(WaitTimeout):
        sim.client("itwin").wait("j1", timeout=60, on_event=bars.bar(out))
    assert out.getvalue().splitlines() == [
        "itwin j1 watching",
        "itwin j1 running, 10 %",
        "itwin j1 rate limited (429): slowly",
        "itwin j1 running",
        "itwin j1 timed out before the job finished; the job continues",
    ]


def test_a_board_shows_events(sim: Simulator) -> None:
    """The rows and the table are those of the events; each poll counts once."""
    limit = Frame(error="RateLimitExceeded", retry_after=20)
    sim.add("itwin", "j1", Polls([Frame("running", percent=10), limit, Frame("succeeded")]))
    board, rows = bars.Board(Now()), []

    def show(what: Event[object]) -> None:
        board.show(what)
        rows.append(drawn(board)[0])

    sim.client("itwin").wait("j1", timeout=None, on_event=show)
    assert [row.split()[0] for row in rows] == ["itwin", "itwin", "!", "itwin", "✓"]
    assert "rate limited (429)" in rows[2]
    assert drawn(board.summary())[-1].split() == ["✓", "itwin", "j1", "succeeded", "0:00", "3"]


def test_bar_as_a_context_manager() -> None:
    """`with bar()` gives what `on_progress` takes."""
    out = io.StringIO()
    with bars.bar(out) as on_progress:
        on_progress(answer(percent=1.0))
    assert out.getvalue() == f"itwin {ITWIN[1]} running, 1 %\n"


def test_bar_in_a_pipe_needs_no_rich() -> None:
    """Lines need no extra; a terminal without rich is told what to install."""
    code = (
        "import sys; sys.modules['rich'] = None; sys.modules['rich.console'] = None\n"
        "from opwatch import bars; bars.bar()\n"
        "bars.is_live = lambda file: True\n"
        "try: bars.bar()\n"
        "except ImportError as error: print(error)\n"
        "sys.exit()"
    )
    assert run_apart(code=code).out == "bars require rich: pip install 'opwatch[cli]'\n"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
        ({"TERM": "xterm", "CI": "true"}, False),
        ({"TERM": "xterm", "CI": "false"}, True),
    ],
)
def test_where_bars_are_drawn(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: bool
) -> None:
    """Bars need a terminal that moves its cursor, outside a log of CI."""
    monkeypatch.delenv("TERM")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    class Terminal(io.StringIO):
        isatty: Callable[[], bool] = lambda self: True  # type: ignore[assignment]

    assert bars.is_live(Terminal()) is expected
    assert bars.is_live(io.StringIO()) is False
