"""Interrupts at a moment or at a place of the code, a watchdog, and children that fork."""

from __future__ import annotations

import concurrent.futures._base
import contextlib
import dis
import fcntl
import functools
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

from hardness_servers import SOURCE


# --- forks ----------------------------------------------------------------------------------------
class Child:
    """A fork of this process that runs one function and ends without any ceremony."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.write(writer, json.dumps(_outcome(function)).encode())
            finally:
                os._exit(0)
        os.close(writer)

    def result(self, seconds: float = 120.0) -> Any:
        """What the function returned; fails if it raised, or has not ended in time."""
        data, end = b"", time.monotonic() + seconds
        try:
            while select.select([self._reader], [], [], max(0.0, end - time.monotonic()))[0]:
                if not (piece := os.read(self._reader, 65536)):
                    break
                data += piece
            else:
                raise AssertionError(f"the child hangs: it has not ended within {seconds:g} s")
        finally:
            os.close(self._reader)
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        returned, value = json.loads(data)
        assert returned, f"the child raised {value}"
        return value


def _outcome(function: Callable[[], Any]) -> tuple[bool, Any]:
    try:
        return True, function()
    except BaseException as error:
        return False, f"{type(error).__name__}: {error}"


# --- interrupts -----------------------------------------------------------------------------------
class Hang(BaseException):
    """A call of the main thread took far longer than it may."""


class Watchdog:
    """Raises `Hang` in the main thread when a deadline has passed, wherever it is."""

    def __init__(self) -> None:
        self._end: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        self._end = time.monotonic() + seconds
        try:
            yield
        finally:
            self._end = None

    def _watch(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while not self._over.wait(0.1):
            end = self._end
            if end is not None and time.monotonic() > end:
                signal.pthread_kill(main, signal.SIGUSR1)

    def _bark(self, number: int, frame: FrameType | None) -> None:
        if self._end is not None:
            raise Hang

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGUSR1, self._bark)
        self._thread.start()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._over.set()
        self._thread.join()
        signal.signal(signal.SIGUSR1, self._before)


class Interrupter:
    """Another process, which sends this one SIGINT when it is told to.

    A thread would do it too, but only where the interpreter lets it run: mostly right after a
    system call of the main thread.
    """

    _LATENCY = 0.0001
    """Seconds that the other process takes to wake up."""
    _PROGRAM = """
import os, signal, sys, time
for line in sys.stdin:
    time.sleep(float(line))
    os.kill(int(sys.argv[1]), signal.SIGINT)
    os.write(1, b".")
"""

    def __init__(self) -> None:
        self._sent = 0
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", self._PROGRAM, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._commands = self._process.stdin.fileno()
        self._done = self._process.stdout.fileno()

    def arm(self, delay: float) -> None:
        """Have one SIGINT sent `delay` seconds after this returns, more or less."""
        self._sent += 1
        ready = time.perf_counter() + self._LATENCY
        os.write(self._commands, b"%.7f\n" % delay)
        while time.perf_counter() < ready:
            pass

    def settle(self) -> None:
        """Return once every SIGINT that was asked for has been sent; raises what it raises."""
        end = time.monotonic() + 60
        while self._count() < self._sent:
            assert time.monotonic() < end, "no signal was sent"
            select.select([], [], [], 0.0002)
        for _ in range(1000):  # where the interpreter looks for signals
            pass

    def _count(self) -> int:
        """A byte a signal; none is taken out of the pipe: an interrupt could come in between."""
        raw = fcntl.ioctl(self._done, termios.FIONREAD, b"\0" * 4)
        count: int = struct.unpack("i", raw)[0]
        return count

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, signal.default_int_handler)
        return self

    def __exit__(self, *raised: Any) -> None:
        self._process.kill()
        self._process.communicate()
        signal.signal(signal.SIGINT, self._before)


EVERY_INSTRUCTION = bool(os.environ.get("OPWATCH_EVERY_INSTRUCTION"))
"""Inject before each instruction, not only where CPython itself may raise."""
_TRACED = (
    SOURCE,
    *(str(module.__file__) for module in (threading, contextlib, concurrent.futures._base)),
)


class Injector:
    """Raises `kind` at place number `at` of a call; 0 only counts the places.

    A place is where CPython may raise what the code did not: at the start of a function, after a
    call, where a loop jumps back. There it looks for signals. Nothing can be raised, for example,
    between the end of a `with` block and the call of its `__exit__`, and no code could cope with
    it. Traced are the frames of opwatch, and of the standard library's locks and context managers,
    which are Python too.
    """

    def __init__(
        self,
        at: int = 0,
        kind: type[BaseException] = KeyboardInterrupt,
        traced: tuple[str, ...] = _TRACED,
    ) -> None:
        self._traced = traced
        self.count = 0
        self.where = "nowhere"
        self._at = at
        self._kind = kind

    def run(self, call: Callable[[], Any]) -> Any:
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            return call()
        finally:
            sys.settrace(before)

    async def run_async(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            return await call()
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(self._traced):
            return None
        is_new = frame.f_trace is None  # an error here passes the handlers of one that continues
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if is_new:
            self._place(frame)
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode" and (EVERY_INSTRUCTION or frame.f_lasti in _places(frame.f_code)):
            self._place(frame)
        return self._step

    def _place(self, frame: FrameType) -> None:
        self.count += 1
        if self.count == self._at:
            path = Path(frame.f_code.co_filename)
            name = f"{path.parent.name}/{path.name}:{frame.f_lineno}"
            self.where = f"{name} {frame.f_code.co_name} (place {self._at})"
            raise self._kind("injected")


class Handler(Injector):
    """Calls something at every place of a call, as a signal handler would."""

    def __init__(self, handle: Callable[[], Any]) -> None:
        super().__init__()
        self._handle = handle

    def _place(self, frame: FrameType) -> None:
        self.count += 1
        self._handle()  # which isn't traced itself


@functools.cache
def _places(code: CodeType) -> frozenset[int]:
    """The offsets of the instructions after a call, and of the jumps back."""
    found, after_call = set(), False
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if after_call or name == "JUMP_BACKWARD":
            found.add(instruction.offset)
        after_call = name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX")
    return frozenset(found)
