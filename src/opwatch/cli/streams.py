"""The standard streams of a run, and what happens if output can't be written.

When a write fails, Python, click and rich each end the process in their own way: with exit code 1
or 120, or with a traceback. Exit code 1 means that a job failed, so they must not see the error: a
failed write to standard output raises `OutputLost` instead of OSError, and a failed write to
standard error raises nothing. Output to a stream that was closed from the start (`>&-`) is
discarded.
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
    """Standard output can't be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"can't write to standard output: {error.strerror or error}")
        self.nobody_reads = error.errno == errno.EPIPE
        """Whether the reader closed the pipe, as `head` does, which isn't an error."""


@contextmanager
def guarded() -> Iterator[None]:
    """Replace `sys.stdout` and `sys.stderr` with streams that fail as described above."""
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
    """Replace characters that the terminal can't show, instead of raising an error."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


class _Guarded:
    """A text stream, or its underlying byte stream, to which click sometimes writes."""

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
        """Leave nothing buffered that would fail again when the process exits."""
        try:
            self._stream.flush()
        except OSError:
            self._silence()

    def _try(self, act: Callable[..., object], *arguments: str | bytes) -> None:
        try:
            act(*arguments)
        except OSError as error:
            # Nothing catches what a drawing thread raises; the main thread's next write fails, too.
            if self._raises and threading.current_thread() is threading.main_thread():
                raise OutputLost(error) from None

    def _silence(self) -> None:
        """Discard what is still buffered."""
        with suppress(OSError, ValueError):
            number = self._stream.fileno()
            with _nowhere() as nowhere:
                os.dup2(nowhere.fileno(), number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
