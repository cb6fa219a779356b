"""The signals that end a run.

The first one stops the run. Later ones change neither its last line nor its exit code: `handled`
keeps its handlers after a signal until the process ends, or until `restored` puts the old ones back
for a caller that goes on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_ALL: list[signal.Signals] = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)  # Windows has no SIGHUP
]


def ending_signals() -> list[signal.Signals]:
    """Return the signals that end a run, without those that are ignored, as under nohup."""
    return [number for number in _ALL if signal.getsignal(number) is not signal.SIG_IGN]


class Interrupt:
    """A handler that stops a run at the first signal, and ignores later ones, which would end the
    process before its last line; only another Ctrl-C is a KeyboardInterrupt."""

    def __init__(self, stop: Callable[[], object] | None = None) -> None:
        self.came = False
        self.stop = stop

    def __call__(self, number: int, frame: object) -> None:
        if self.came:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.came = True
        if self.stop is not None:
            self.stop()


def raise_interrupt() -> None:
    """Stop as Ctrl-C does."""
    raise KeyboardInterrupt


@contextmanager
def handled(interrupt: Interrupt) -> Iterator[None]:
    """Handle the ending signals with `interrupt`, and go on doing so if one came.

    In another thread than the main one, this does nothing.
    """
    if not _may_handle():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in ending_signals()}
    try:
        yield
    finally:
        if not interrupt.came:
            _restore(before)


@contextmanager
def restored() -> Iterator[None]:
    """Restore the handlers at the end, whatever came."""
    before = {number: signal.getsignal(number) for number in _ALL}
    try:
        yield
    finally:
        if _may_handle():
            _restore(before)


def ignore() -> None:
    """Ignore SIGTERM and SIGHUP if a signal came: the process is about to exit.

    They are blocked, too: Python would complain about one that arrives while it is set to ignored.
    """
    if not _may_handle():
        return
    others = [number for number in _ALL if number != signal.SIGINT]
    kept = [number for number in others if callable(signal.getsignal(number))]
    if hasattr(signal, "pthread_sigmask"):  # Windows has none
        signal.pthread_sigmask(signal.SIG_BLOCK, kept)
    for number in kept:
        signal.signal(number, signal.SIG_IGN)


def _may_handle() -> bool:
    return threading.current_thread() is threading.main_thread()


def _restore(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
