"""The signals that end a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def ending_signals() -> list[signal.Signals]:
    """Return the signals that end a run, without those that are ignored, as under nohup."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    found: list[signal.Signals] = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def handled(handler: Callable[[int, Any], object] = signal.default_int_handler) -> Iterator[None]:
    """Call the handler at each ending signal; by default, raise KeyboardInterrupt, as Ctrl-C does.

    In another thread than the main one, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, signal.SIG_DFL if handler_before is None else handler_before)


class Interrupt:
    """A handler that stops a run at the first signal. It ignores later ones, which would end the
    process before its last line; only another Ctrl-C is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.came = False
        self.stop: Callable[[], object] | None = None

    def __call__(self, number: int, frame: object) -> None:
        if self.came and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.came = True
        if self.stop is not None:
            self.stop()


def ignore() -> None:
    """Ignore SIGTERM and SIGHUP from now on: the process is about to exit."""
    for number in ending_signals():
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_IGN)
