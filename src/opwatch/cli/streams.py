"""The standard streams of a run: what becomes of output that cannot be written.

Python, click and rich each end a process in their own way when a write fails, with exit code 1 or
120, or with a traceback. Exit code 1 means that a job failed, so none of them may see it: a failed
write to standard output raises `OutputLost` instead of OSError, and one to standard error raises
nothing. A stream that is closed from the start (`>&-`) is one that nobody wants; what is written
to it goes nowhere.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TextIO, cast


class OutputLost(Exception):
    """Standard output cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {error.strerror or error}")
        self.nobody_reads = error.errno == errno.EPIPE
        """Whether the reader of a pipe went away, as `head` does: that is no mistake."""


@contextmanager
def guarded() -> Iterator[None]:
    """Replace `sys.stdout` and `sys.stderr` by streams that fail as described above."""
    before = sys.stdout, sys.stderr
    with ExitStack() as stack:
        found = [stream or stack.enter_context(_nowhere()) for stream in before]
        for stream in found:
            _tolerate_any_text(stream)
        out, err = _Guarded(found[0], raises=True), _Guarded(found[1], raises=False)
        sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            out.end()
            err.end()


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _tolerate_any_text(stream: TextIO) -> None:
    """A terminal that cannot show a character shows another; it ends nothing."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


class _Guarded:
    """A stream of text, or of the bytes below it: click writes to those where it must."""

    def __init__(self, stream: IO[Any], *, raises: bool) -> None:
        self._stream = stream
        self._raises = raises

    @property
    def buffer(self) -> _Guarded:
        return _Guarded(self.__getattr__("buffer"), raises=self._raises)

    def write(self, what: str | bytes) -> int:
        self._try(self._stream.write, what)
        return len(what)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def end(self) -> None:
        """Leave nothing behind that fails again when the process ends."""
        try:
            self._stream.flush()
        except OSError:
            self._silence()

    def _try(self, act: Callable[..., object], *arguments: str | bytes) -> None:
        try:
            act(*arguments)
        except OSError as error:
            # A thread that draws has nobody to raise to; the main thread's next write fails too.
            if self._raises and threading.current_thread() is threading.main_thread():
                raise OutputLost(error) from None

    def _silence(self) -> None:
        """What is still buffered has nowhere to go."""
        with suppress(OSError, ValueError):
            number = self._stream.fileno()
            with _nowhere() as nowhere:
                os.dup2(nowhere.fileno(), number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
