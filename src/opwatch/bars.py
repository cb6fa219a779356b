"""Bars at a terminal, lines elsewhere: `client.wait(job_id, timeout=3600, on_event=bars.bar())`.

A board (`board`) is redrawn a few times a second by rich (extra `cli` or `notebook`, imported only
if there is a terminal or a notebook to draw on). In a pipe, in a log of a CI run and on a dumb
terminal, `bar()` writes one line for each change. Nothing here sends a request, and what a service
sent is made printable before it is shown.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import weakref
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from opwatch.board import Board
from opwatch.events import Ended, Event
from opwatch.progress import Progress
from opwatch.text import printable
from opwatch.words import stand, told

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

__all__ = ["Bar", "Board", "bar"]

REFRESH = 8
"""Drawings a second: enough for a countdown and a pulse."""
NOTEBOOK_WIDTH = 100
"""Columns of a frame in a notebook."""
_DUMB = frozenset({"", "dumb", "unknown"})


def bar(file: TextIO | None = None) -> Bar:
    """Return a callback for `on_event` that shows each job as a progress bar.

    In a terminal, it needs rich (the extra `cli`) and raises ImportError without it. In a notebook,
    it draws if rich is installed (the extra `notebook`). Anywhere else, it writes lines to `file`
    (default: standard output). The final bar stays and shows how the wait ended.

    It also works as `on_progress`, but then it shows only progress: no retries, and nothing if the
    wait ends before the job. If you call it yourself, for example in `for progress in
    client.watch(...)`, end it with `with bar() as show:` or `close()`.
    """
    return Bar(file if file is not None else sys.stdout)


def is_live(file: TextIO) -> bool:
    """Return whether bars can be drawn: a terminal that moves its cursor, and no log of a CI."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return False
    if os.environ.get("TERM", "") in _DUMB and os.name != "nt":
        return False
    if not getattr(file, "isatty", lambda: False)():
        return False
    if find_spec("rich") is None:
        return True  # drawing says what is missing
    # rich has its own variables that turn drawing off (TTY_INTERACTIVE, COLUMNS=0).
    found = console(file)
    return found.is_terminal and found.is_interactive and found.width > 0


class Bar:
    """See `bar`. Thread-safe."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._shown: dict[tuple[str, str], str] = {}
        self._waiting: set[str] = set()
        self._drawing: Drawing | Frame | None = None
        if _in_notebook():
            if find_spec("rich") is not None:
                self._drawing = Frame(Board())
        elif is_live(file):
            self._drawing = Drawing(Board(), console(file))
            weakref.finalize(self, self._drawing.stop)  # at the end of the process at the latest

    def __call__(self, what: Event[Any] | Progress[Any]) -> None:
        """Show an event, or an answer."""
        with self._lock:
            drawing = self._drawing
            if drawing is None:
                self._write(what)
                return
            if isinstance(what, Event):
                drawing.board.show(what)
                is_end = isinstance(what, Ended)
            else:
                self._waiting.add(what.job_id)
                drawing.board.answered((what.service, what.job_id), what)
                is_end = True
            drawing.start()
            if is_end and drawing.board.is_over:
                drawing.stop()

    def _write(self, what: Event[Any] | Progress[Any]) -> None:
        """Write a line if something changed."""
        text = told(what) if isinstance(what, Event) else stand(what)
        job = (what.service, what.job_id)
        if self._shown.get(job) != text:
            self._shown[job] = text
            print(f"{job[0]} {printable(job[1])} {text}", file=self._file, flush=True)

    def _opwatch_wait_over(self, job_id: str) -> None:
        """Note that a client's wait for this job is over, though the job may still be running."""
        with self._lock:
            self._waiting.discard(job_id)
            if self._drawing is not None and not self._waiting:
                self._drawing.stop()

    def close(self) -> None:
        """Stop updating the bar, and leave its last state visible."""
        with self._lock:
            if self._drawing is not None:
                self._drawing.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _in_notebook() -> bool:
    """Whether this runs in a notebook's kernel, which has IPython loaded."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


# --- drawing it -----------------------------------------------------------------------------------


def console(file: TextIO, *, color: bool = True) -> Console:
    """Return a rich console on `file` that respects `NO_COLOR`."""
    try:
        from rich.console import Console
    except ModuleNotFoundError as error:
        raise ImportError("bars require rich: pip install 'opwatch[cli]'", name="rich") from error
    return Console(file=file, no_color=None if color else True, highlight=False)


class Drawing:
    """A board kept up to date at the bottom of a terminal."""

    def __init__(self, board: Board, console: Console, *, leave: bool = True) -> None:
        self.board = board
        self.console = console
        self._leave = leave
        """Whether the last drawing stays."""
        self._live: Live | None = None

    def start(self) -> None:
        """Start drawing, unless it has started."""
        if self._live is not None:
            return
        from rich.live import Live

        self._live = Live(
            self.board,
            console=self.console,
            refresh_per_second=REFRESH,
            transient=not self._leave,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Draw a last time and restore the terminal."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()


class Frame:
    """A board in a notebook: one output that is replaced with each event."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._handle: Any = None
        self._is_over = False

    def start(self) -> None:
        """Show the board as it is now."""
        self._is_over = False
        for row in self.board.rows.values():
            row.due = None  # a countdown wouldn't move until the next event
        self._show()

    def stop(self) -> None:
        """Show the last frame: how each job ended, and why."""
        if not self._is_over:
            self._is_over = True
            self._show(*self.board.reasons(NOTEBOOK_WIDTH))

    def _show(self, *more: Any) -> None:
        from rich.console import Console

        drawn = Console(
            file=io.StringIO(),
            width=NOTEBOOK_WIDTH,
            record=True,
            force_jupyter=False,
            force_terminal=True,
            highlight=False,
            legacy_windows=False,
        )
        drawn.print(self.board, *more, sep="\n")
        html = drawn.export_html(inline_styles=True, code_format=_PRE, clear=False)
        frame = {"text/plain": drawn.export_text(), "text/html": html}
        if self._handle is None:
            display = import_module("IPython.display").display  # a notebook has it
            self._handle = display(frame, raw=True, display_id=True)
        else:
            self._handle.update(frame, raw=True)


_PRE = '<pre style="line-height: 1.3; margin: 0; overflow-x: auto">{code}</pre>'
