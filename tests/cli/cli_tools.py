"""What the tests of the command line share: runs in separate processes, read line by line."""

import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from opwatch.simulator import Simulator

LIMIT = 120.0
"""Seconds for anything that has to happen: generous, since machines are busy."""
ANY_RUN = [sys.executable, str(Path(__file__).with_name("impatient.py"))]


@attrs.frozen
class Result:
    """What a run came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Result]
Connect = Callable[[Simulator], None]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a run: nothing of this machine's that opwatch would heed, and `more`."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "PYTHONPATH")
        if name in os.environ
    }
    return {**kept, "COLUMNS": "80", **(more or {})}


def after(code: str) -> list[str]:
    """The words that start `opwatch` in a process where `code` is run first."""
    start = "sys.argv[0] = 'opwatch'; from opwatch.cli import main; sys.exit(main())"
    return [sys.executable, "-c", f"import sys\n{code}\n{start}"]


class Running:
    """`opwatch` in a process of its own, read line by line. A context manager: killed then.

    With `code`, that is run there first, and opwatch is as patient as anywhere.
    """

    def __init__(
        self,
        *words: object,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        code: str = "",
    ) -> None:
        self._process = subprocess.Popen(
            [*(after(code) if code else ANY_RUN), *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
            cwd=cwd,
            text=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._read_out, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        self.seen: list[str] = []
        """The lines of standard output that were read so far."""
        for thread in self._threads:
            thread.start()

    def until(self, text: str) -> str:
        """The next line of standard output that holds `text`."""
        while True:
            line = self._lines.get(timeout=LIMIT)
            if line is None:
                raise AssertionError(f"no line with {text!r}; {self.seen} {self._errors}")
            self.seen.append(line)
            if text in line:
                return line

    def until_all(self, *texts: str) -> None:
        """Until each text was in some line, in any order."""
        left = set(texts) - {text for text in texts if text in "".join(self.seen)}
        while left:
            line = self.until("")
            left -= {text for text in left if text in line}

    def send_until_the_end(self, *numbers: signal.Signals) -> None:
        """Send the signals again and again, several times a millisecond: between any two steps."""
        limit, turn = time.monotonic() + LIMIT, itertools.cycle(numbers)
        while self._process.poll() is None and time.monotonic() < limit:
            self._process.send_signal(next(turn))
            time.sleep(0.0001)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Without a chance to clean up, and until it is gone."""
        self._process.kill()
        self._process.wait(LIMIT)

    def end(self) -> Result:
        """Wait for the end; all that was written."""
        code = self._process.wait(LIMIT)
        for thread in self._threads:
            thread.join(LIMIT)
        while (line := self._lines.get(timeout=LIMIT)) is not None:
            self.seen.append(line)
        return Result(code, "".join(self.seen), "".join(self._errors))

    def _read_out(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(LIMIT)
        for thread in self._threads:
            thread.join(LIMIT)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()


@contextmanager
def killed(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    """The process, killed at the end: the `with` of a Popen would wait for one that runs on."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def run_apart(*words: object, env: Mapping[str, str] | None = None, code: str = "pass") -> Result:
    """A whole run in a process of its own; `code` is run there first."""
    done = subprocess.run(
        [*after(code), *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(env),
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)
