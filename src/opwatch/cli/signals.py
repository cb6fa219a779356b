"""The signals that end a run.

One handler takes them from the start of a run to its end, so none finds Python's own, which would
end the process with another exit code. The first signal stops the run: by an exception while a run
checks its arguments, by cancellation while it polls. In between it is only noted, since an
exception could end anything there, such as a file that is half written, or get lost in a `__del__`.
Later signals do nothing. If the run takes longer than `PATIENCE` to stop, Ctrl-C ends it at once.
"""

from __future__ import annotations

import atexit
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from opwatch import exits

T = TypeVar("T")
PATIENCE = 1.0
"""Seconds after which another Ctrl-C cuts short what the first signal began: longer than a key
that is held down takes to repeat."""
_ALL: list[signal.Signals] = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)  # Windows has no SIGHUP
]


def _raise_interrupt() -> None:
    """Stop as Ctrl-C does."""
    raise KeyboardInterrupt


class Interrupt:
    """The handler of a run. It takes no lock: the thread that it interrupts may hold it."""

    def __init__(self, cut_short: Callable[[], object] = _raise_interrupt) -> None:
        self.came = False
        """Whether a signal came."""
        self.stop: Callable[[], object] | None = None
        """What the first signal does. With None, it is only noted."""
        self._cut_short = cut_short
        self.patient_until = math.inf

    def __call__(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if not self.came:
            self.patient_until = now + PATIENCE
            self.came = True
            if self.stop is not None:
                self.stop()
        elif number == signal.SIGINT and now > self.patient_until:
            self._cut_short()

    def raises(self) -> None:
        """From now on, the first signal raises KeyboardInterrupt; one that came does so now."""
        self.stop = _raise_interrupt
        if self.came:
            raise KeyboardInterrupt

    def only_notes(self) -> None:
        """From now on, signals are only noted."""
        self.stop = None

    def heeds(self, number: signal.Signals) -> None:
        """Handle this signal even if it was ignored at the start."""
        if _may_handle():
            signal.signal(number, self)


current: ContextVar[Interrupt] = ContextVar("interrupt", default=Interrupt())  # noqa: B039
"""The handler of this run."""


@contextmanager
def handled(*, until_exit: bool) -> Iterator[Interrupt]:
    """Handle the signals of a run, except those that are ignored, as under nohup.

    Afterwards, the handlers are the caller's again. With `until_exit`, they stay: the process is
    about to exit. In another thread than the main one, no signal arrives.
    """
    interrupt = Interrupt(_exit if until_exit else _raise_interrupt)
    if not _may_handle():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in _ALL}
    try:
        for number, handler in before.items():
            if handler not in (signal.SIG_IGN, None):  # None: not Python's, so it can't be restored
                signal.signal(number, interrupt)
        if until_exit:
            atexit.register(_ignore)  # after the last thread has ended
        yield interrupt
    finally:
        if not until_exit:
            interrupt.only_notes()
            interrupt.patient_until = math.inf
            _restore(before)


async def until_signal(work: Callable[[], Awaitable[T]]) -> T | None:
    """Return what the work returns, or None if a signal cancelled it."""
    import asyncio  # here, since they cost more than all of --version

    import anyio

    interrupt, loop = current.get(), asyncio.get_running_loop()
    with anyio.CancelScope() as scope:
        interrupt.stop = lambda: loop.call_soon_threadsafe(scope.cancel)
        try:
            if interrupt.came:
                scope.cancel()
            return await work()
        finally:
            interrupt.only_notes()
    return None


def _may_handle() -> bool:
    return threading.current_thread() is threading.main_thread()


def _restore(before: Mapping[signal.Signals, Any]) -> None:
    """Restore handlers; what arrives meanwhile is for them."""
    can_block = hasattr(signal, "pthread_sigmask")  # Windows can't
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL) if can_block else set()
    for number, handler in before.items():
        if handler is not None:
            signal.signal(number, handler)
    if can_block:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _ignore() -> None:
    """Ignore the signals while the interpreter shuts down, when no handler can run."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None  # it would be told of one that arrives right now
    for number in _ALL:
        if isinstance(signal.getsignal(number), Interrupt):
            signal.signal(number, signal.SIG_IGN)
    sys.unraisablehook = hook


def _exit() -> None:
    """End the process, without anything that it still has to do."""
    os._exit(exits.INTERRUPTED)
