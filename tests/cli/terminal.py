"""A terminal for tests: a pseudo-terminal, and the screen it would show."""

import fcntl
import os
import pty
import queue
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping

from cli_tools import LIMIT, environment

_TOKEN = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")

# What the new session's leader does first, so that Ctrl-C reaches it as a signal.
_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Screen:
    """What stands on a terminal: text, cursor movements up and down, erased lines.

    As on any terminal, text continues in the next row where a row is full.
    """

    def __init__(self, columns: int = 80) -> None:
        self._columns = columns
        self.rows: list[str] = [""]
        self.row = self.column = 0
        self.widest = 0
        self.cursor_shown = True
        self.unknown: list[str] = []

    def feed(self, text: str) -> None:
        for match in _TOKEN.finditer(text):
            arguments, command, control, plain = match.groups()
            if plain:
                self._write(plain)
            elif control == "\n":
                self._down()
            elif control == "\r":
                self.column = 0
            else:
                self._command(command, arguments)

    def _write(self, text: str) -> None:
        while text:
            if self.column == self._columns:
                self._down()
            part, text = text[: self._columns - self.column], text[self._columns - self.column :]
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + part + row[self.column + len(part) :]
            self.column += len(part)
            self.widest = max(self.widest, self.column)

    def _down(self) -> None:
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.rows):
            self.rows.append("")

    def _command(self, command: str, arguments: str) -> None:
        if command == "A":
            self.row -= int(arguments or 1)
        elif command == "K" and arguments == "2":
            self.rows[self.row] = ""
        elif command in "hl" and arguments == "?25":
            self.cursor_shown = command == "h"
        elif command != "m":
            self.unknown.append(arguments + command)

    def __str__(self) -> str:
        return "\n".join(row.rstrip() for row in self.rows).strip("\n")


class Terminal:
    """A Python process on a terminal of its own. A context manager: killed at the end."""

    def __init__(
        self, *words: object, env: Mapping[str, str] | None = None, columns: int = 80
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        variables = {"TERM": "xterm-256color", **environment(env)}
        if "COLUMNS" not in (env or {}):
            del variables["COLUMNS"]  # the terminal itself says how wide it is
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *map(str, words)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=variables,
            start_new_session=True,
        )
        os.close(slave)
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.screen = Screen(columns)
        self.raw = ""

    def until(self, text: str) -> str:
        """Wait until the screen shows `text`; the screen."""
        while text not in str(self.screen):
            if not self._take():
                raise AssertionError(f"{text!r} was not shown:\n{self.screen}")
        return str(self.screen)

    def more(self) -> str:
        """Wait until more is written; the screen."""
        assert self._take(), f"nothing more was shown:\n{self.screen}"
        return str(self.screen)

    def send(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Wait for the end; the exit code."""
        while self._take():
            pass
        return self._process.wait(LIMIT)

    def _take(self) -> bool:
        chunk = self._chunks.get(timeout=LIMIT)
        text = chunk.decode("utf-8", "replace")
        self.raw += text
        self.screen.feed(text)
        return chunk != b""

    def _read(self) -> None:
        """Hand on what came, less a control sequence or a character that may not be whole yet."""
        left = b""
        while True:
            try:
                chunk = os.read(self._master, 65_536)
            except OSError:  # how Linux says that the other side is closed
                chunk = b""
            whole = left + chunk
            cut = len(whole) if not chunk else max(whole.rfind(b"\x1b"), whole.rfind(b"\n") + 1)
            left = whole[cut:]
            if cut:
                self._chunks.put(whole[:cut])
            if not chunk:
                self._chunks.put(b"")
                return

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(LIMIT)
        self._thread.join(LIMIT)
        os.close(self._master)
