"""The board: one row for each job, drawn by rich.

It stores what is shown for each job and fits it into the available width. It doesn't know when it
is drawn, or on what.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import attrs

from opwatch.events import Ended, Event, Held, Retrying
from opwatch.progress import Phase, Progress
from opwatch.text import printable
from opwatch.words import amount, details, duration, in_short, reason, shortened

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.text import Text

FREE = 3
"""Cells left free at the end of a row: a terminal writes the `^C` of Ctrl-C after the last row,
and a row that wraps because of it isn't erased."""


@attrs.define
class Row:
    """What is shown for one job."""

    service: str
    job_id: str
    began: float
    progress: Progress[Any] | None = None
    due: float | None = None
    """When the next poll is due."""
    notice: str | None = None
    """Why there is no answer at the moment."""
    queries: int = 0
    ended: float | None = None
    outcome: str | None = None
    reason: str | None = None
    details: list[str] = attrs.field(factory=list)
    """Details shown after the reason if there is room."""

    @property
    def style(self) -> str:
        if self.outcome is not None:
            return {"succeeded": "green", "ended": "yellow"}.get(self.outcome, "red")
        return "yellow" if self.notice else "cyan"

    def mark(self, *, ascii_only: bool) -> str:
        if self.outcome is not None:
            good, bad = ("+", "x") if ascii_only else ("✓", "✗")
            return {"succeeded": good, "ended": "?"}.get(self.outcome, bad)
        return "!" if self.notice else " "

    @property
    def words(self) -> str:
        """The words beside the bar."""
        if self.outcome is not None or self.notice:
            return self.outcome or self.notice or ""
        if self.progress is None:
            return "first poll" if self.due is None else "watching"
        if self.progress.step and self.progress.phase is Phase.RUNNING:
            return printable(self.progress.step, 120)
        return str(self.progress.phase)

    def watched(self, now: float) -> str:
        """For how long the job has been watched, or was."""
        return duration((now if self.ended is None else self.ended) - self.began)

    def next_poll(self, now: float) -> str:
        """When the next poll is due: `in 12 s`."""
        if self.outcome is not None or (self.due is None and self.queries):
            return ""
        left = (self.due or now) - now
        if left < 0.5:
            return "polling"
        return f"in {left:.0f} s" if left < 1000 else f"in {left / 60:.0f} min"

    def why(self, width: int) -> str:
        """The reason, with as many of the details as fit into one line."""
        text = f"{self.service} {self.job_id}: {self.reason}"
        for detail in self.details:
            if len(text) + 1 + len(detail) > width:
                break
            text = f"{text} {detail}"
        return text


class Board:
    """The rows of all jobs. `now` gives seconds on a clock that only goes forward."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.rows: dict[tuple[str, str], Row] = {}

    def row(self, job: tuple[str, str]) -> Row:
        """Return the job's row; a new job's row starts now."""
        row = self.rows.get(job)
        if row is None:
            service, job_id = job
            row = self.rows[job] = Row(printable(service), printable(job_id), self.now())
        return row

    def show(self, event: Event[Any]) -> None:
        """Show what an event says about its job."""
        row = self.row(event.job)
        row.progress, row.queries = event.progress or row.progress, event.attempt
        self._next(row, event.next_poll_in)
        if isinstance(event, Retrying) and event.error is not None:
            row.notice = printable(in_short(event.error), 120)
        elif isinstance(event, Held) and not event.resumed:
            row.notice = "paused by a rate limit"
        elif isinstance(event, Ended):
            self._end(row, event.outcome, reason(event), details(event))

    def answered(
        self, job: tuple[str, str], progress: Progress[Any], delay: float | None = None
    ) -> None:
        """Show an answer; the next poll is due in `delay` seconds."""
        row = self.row(job)
        row.progress = progress
        row.queries += 1
        self._next(row, delay)
        if progress.phase.is_final:
            self._end(row, str(progress.phase), str(progress.fault) if progress.fault else None)

    def _next(self, row: Row, delay: float | None) -> None:
        row.due = None if delay is None else self.now() + delay
        row.notice = None

    def _end(self, row: Row, outcome: str, reason: str | None, details: Iterable[str] = ()) -> None:
        row.outcome, row.due = outcome, None
        row.reason = None if reason is None else printable(reason, 1000)
        row.details = [printable(detail, 200) for detail in details]
        row.ended = self.now() if row.ended is None else row.ended

    @property
    def is_over(self) -> bool:
        return all(row.outcome is not None for row in self.rows.values())

    # Drawing; rich calls the first.

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.constrain import Constrain
        from rich.text import Text

        rows = list(self.rows.values())
        room = max(console.size.height - 2, 2)
        hidden: list[Row] = []
        if len(rows) > room:
            # What needs attention first, then what runs, then what succeeded.
            rank = {None: 1, "succeeded": 2}
            rows.sort(key=lambda row: rank.get(row.outcome, 0))
            rows, hidden = rows[: room - 1], rows[room - 1 :]
        grid = _grid(rows, self.now(), options.max_width, ascii_only=options.ascii_only)
        yield Constrain(grid, options.max_width - FREE)
        if hidden:
            text = Text(f"  and {len(hidden)} more: {counted(hidden)}", style="dim", no_wrap=True)
            yield Constrain(text, options.max_width - FREE)

    def reasons(self, width: int) -> list[Text]:
        """Return why jobs didn't succeed, one line for each."""
        from rich.text import Text

        rows = [row for row in self.rows.values() if row.reason]
        return [Text(row.why(width), style=row.style) for row in rows]

    def summary(self) -> RenderableType:
        """Return a table of how each job ended, and why those that didn't succeed didn't."""
        return _Summary(self)


@attrs.frozen
class _Summary:
    """The table at the end. An ID is shortened if there is no room for it, and never wrapped."""

    board: Board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        width, ascii_only = options.max_width, options.ascii_only
        heads = ["", "service", "job", "outcome", "watched", "polls"]
        rows, now = self.board.rows.values(), self.board.now()
        cells = [
            [
                *(row.mark(ascii_only=ascii_only), row.service, row.job_id, row.outcome or ""),
                *(row.watched(now), str(row.queries)),
            ]
            for row in rows
        ]
        widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
        wanted = min(max((len(row.job_id) for row in rows), default=0), 16)
        shown, between = len(heads), 1 if ascii_only else 2
        while (
            room := width - sum(widths[:shown]) + widths[2] - between * (shown - 1)
        ) < wanted and shown > 4:
            shown -= 1  # the polls, then the time
        rule = None if ascii_only else box.SIMPLE_HEAD
        table = Table(box=rule, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for head in heads[:shown]:
            right = head in ("watched", "polls")
            table.add_column(head, no_wrap=True, justify="right" if right else "left")
        for row, texts in zip(rows, cells, strict=True):
            texts[2] = shortened(texts[2], max(room, 6), ".." if ascii_only else "…")
            styles = [row.style, "", "", row.style, "", ""]
            styled = [Text(text, style=style) for text, style in zip(texts, styles, strict=True)]
            table.add_row(*styled[:shown])
        yield table
        if reasons := self.board.reasons(width):
            yield Text("")
            yield from reasons


def counted(rows: Iterable[Row]) -> str:
    """Return how many rows are in which state: "30 running, 12 succeeded"."""
    counts = Counter(
        row.outcome or str(row.progress.phase if row.progress else Phase.PENDING) for row in rows
    )
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())


_AMOUNT, _ELAPSED, _NEXT = 7, 7, 8
_TROUBLE = len("rate limited (429)")
"""Cells for how much is done, the elapsed time and the time until the next poll."""
_BESIDE = 34
"""Cells for a bar and a few words, which a longer job ID doesn't take."""


def _grid(rows: list[Row], now: float, width: int, *, ascii_only: bool) -> RenderableType:
    """Return the rows as lines that fit into `width` cells; a row never takes two lines."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    service = min(max((len(row.service) for row in rows), default=0), 12)
    longest = max((len(row.job_id) for row in rows), default=0)
    times = [_ELAPSED, _NEXT] if width >= 72 else []
    left = max(width - FREE - (2 + service + 2 + _AMOUNT + 2 + sum(times) + len(times)), 12)
    job = min(longest, max(left * 3 // 10, left - _BESIDE, 4))
    left -= job
    words = max(left * 6 // 10, min(_TROUBLE, left - 8), 4)
    bar = max(min(left - words, 40), 4)
    grid = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    for n, cells in enumerate([1, service, job, bar, _AMOUNT, words, *times]):
        right = n in (4, 6)
        grid.add_column(
            width=cells, no_wrap=True, overflow="ellipsis", justify="right" if right else "left"
        )
    for row in rows:
        percent = row.progress.percent if row.progress else None
        if row.outcome is not None and percent is None:
            percent = 100.0 if row.outcome == "succeeded" else 0.0
        grid.add_row(
            Text(row.mark(ascii_only=ascii_only), style=row.style),
            Text(row.service),
            Text(shortened(row.job_id, job, ".." if ascii_only else "…"), style="dim"),
            ProgressBar(
                total=100.0 if percent is not None else None,
                completed=percent or 0.0,
                width=bar,
                complete_style=row.style,
                finished_style=row.style,
                pulse_style=row.style,
            ),
            Text(amount(row.progress) if row.progress else ""),
            Text(row.words, style=row.style if row.outcome or row.notice else ""),
            *(Text(text, style="dim") for text in (row.watched(now), row.next_poll(now)) if times),
        )
    return grid
