"""Record `make demo` and draw docs/assets/demo.svg: `.venv-docs/bin/python tools/record_demo.py`.

It records a real run: it types the command into a shell in a terminal of 80 by 24 (a pty), a
terminal emulator (pyte) reads the timed output, and the screens become the frames of an SVG that
plays at the speed of the run. The file loads nothing; without animation, it shows the last screen.
Needs the environments of `make demo` and `make docs`.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import pyte  # type: ignore[import-not-found] # only the environment of `make docs` has it

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "assets" / "demo.svg"
COMMAND = "make demo"
COLUMNS, ROWS = 80, 24
PROMPT = "$ "
INTERVAL = 0.5
"""Seconds between two frames."""
REDRAW = 0.03
"""Seconds of silence after which a screen is complete: a redraw comes in several pieces."""
LONGEST = 120.0
"""Seconds after which a run is aborted."""
HOLD = 6.0
"""Seconds for which the last frame stays before the recording starts over."""

WIDTH, LINE, PAD = 8.4, 19, 14
"""Pixels: a character's width, a line's height, the margin."""
COLORS = {
    "default": "#d0d7de",
    "black": "#6e7681",
    "red": "#ff7b72",
    "green": "#56d364",
    "brown": "#e3b341",
    "yellow": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#76e3ea",
    "white": "#f0f6fc",
}

Style = tuple[str, bool]
"""A color, and whether it is bold."""
Row = tuple[tuple[int, str, Style], ...]
"""Pieces of a line: column, text, style."""


class Frame(NamedTuple):
    """A screen, and the second at which it was shown."""

    time: float
    rows: tuple[Row, ...]


# --- recording ------------------------------------------------------------------------------------


def record() -> list[tuple[float, bytes]]:
    """Return the terminal's output in pieces, each with its second; RuntimeError without an end."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], _environment())
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    try:
        return list(_pieces(terminal))
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def _environment() -> dict[str, str]:
    """Return the environment of a user's terminal, without variables of the current run."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    quiet = {"BASH_SILENCE_DEPRECATION_WARNING": "1", "HISTFILE": ""}
    return {"LANG": "C.UTF-8", **kept, **quiet, "PS1": PROMPT, "TERM": "xterm-256color"}


def _pieces(terminal: int) -> Iterator[tuple[float, bytes]]:
    """Type the command at the first prompt, and end at the second."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    typed, began = False, time.monotonic()
    while time.monotonic() - began < LONGEST:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        data = os.read(terminal, 65536)
        stream.feed(data)
        yield time.monotonic() - began, data
        at_prompt = screen.display[screen.cursor.y].rstrip() == PROMPT.rstrip()
        if at_prompt and typed and screen.cursor.y > 0:
            return
        if at_prompt and not typed:
            os.write(terminal, COMMAND.encode() + b"\r")
            typed = True
    raise RuntimeError(f"{COMMAND} did not end within {LONGEST:g} s")


# --- frames ---------------------------------------------------------------------------------------


def frames(pieces: list[tuple[float, bytes]]) -> list[Frame]:
    """Yield the screens at each interval, each once, from the first to the last."""
    found: list[Frame] = []
    for frame in _whole_screens(pieces):
        if found and int(frame.time / INTERVAL) == int(found[-1].time / INTERVAL):
            found[-1] = found[-1]._replace(rows=frame.rows)
        elif not found or frame.rows != found[-1].rows:
            found.append(frame)
    return found


def _whole_screens(pieces: list[tuple[float, bytes]]) -> Iterator[Frame]:
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    ends = [when for when, _ in pieces[1:]] + [float("inf")]
    for (when, data), following in zip(pieces, ends, strict=True):
        stream.feed(data)
        if following - when >= REDRAW:
            yield Frame(when, tuple(_row(screen.buffer[y]) for y in range(ROWS)))


def _row(line: "dict[int, pyte.screens.Char]") -> Row:
    cells = [(line[x].data, (line[x].fg, line[x].bold)) for x in range(COLUMNS)]
    pieces, column = [], 0
    for style, group in groupby(cells, key=lambda cell: cell[1]):
        text = "".join(data for data, _ in group)
        if text.strip():
            start = column + len(text) - len(text.lstrip())
            pieces.append((start, text.strip(), style))
        column += len(text)
    return tuple(pieces)


# --- drawing --------------------------------------------------------------------------------------


def draw(found: list[Frame]) -> str:
    """Return the frames as a film: each distinct line once, frames below each other."""
    height = 1 + max(y for frame in found for y, row in enumerate(frame.rows) if row)
    names: dict[Row, str] = {}
    for row in (row for frame in found for row in frame.rows if row):
        names.setdefault(row, f"l{len(names)}")
    lines = "\n".join(f'<g id="{name}">{_pieces_of(row)}</g>' for row, name in names.items())
    film = "\n".join(
        f'<use href="#{names[row]}" y="{(n * height + y) * LINE}"/>'
        for n, frame in enumerate(found)
        for y, row in enumerate(frame.rows)
        if row
    )
    wide, high = round(COLUMNS * WIDTH) + 2 * PAD, height * LINE + 2 * PAD
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" role="img" '
        f'aria-label="A recording of {COMMAND}">\n<title>A recording of {COMMAND}</title>\n'
        f"<style>\n{_style(found, height)}</style>\n<defs>\n{lines}\n</defs>\n"
        f'<rect width="{wide}" height="{high}" rx="8" fill="#161b22"/>\n'
        f'<svg x="{PAD}" y="{PAD}" width="{wide - 2 * PAD}" height="{height * LINE}">\n'
        f'<g class="film">\n{film}\n</g>\n</svg>\n</svg>\n'
    )


def _style(found: list[Frame], height: int) -> str:
    """Return the style that moves the film up by one screen at the time of each frame."""
    begin = found[0].time
    length = found[-1].time - begin + HOLD
    steps = "".join(
        f" {100 * (frame.time - begin) / length:.2f}% "
        f"{{ transform: translateY({-n * height * LINE}px) }}\n"
        for n, frame in enumerate(found)
    )
    last = -(len(found) - 1) * height * LINE
    return (
        "text { font: 14px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; "
        "white-space: pre }\n"
        ".bold { font-weight: 700 }\n"
        f".film {{ transform: translateY({last}px); "
        f"animation: film {length:.1f}s step-end infinite }}\n"
        f"@keyframes film {{\n{steps} 100% {{ transform: translateY({last}px) }}\n}}\n"
        "@media (prefers-reduced-motion: reduce) { .film { animation: none } }\n"
    )


def _pieces_of(row: Row) -> str:
    return "".join(_piece(*piece) for piece in row)


def _piece(column: int, text: str, style: Style) -> str:
    """Return a piece of text that is as wide as its cells in any font."""
    color, bold = style
    weight = ' class="bold"' if bold else ""
    look = f'fill="{COLORS.get(color, f"#{color}")}"{weight}'
    place = f'x="{column * WIDTH:.1f}" y="14" textLength="{len(text) * WIDTH:.1f}"'
    return f'<text {place} lengthAdjust="spacingAndGlyphs" {look}>{escape(text)}</text>'


def cut(found: Iterable[Frame]) -> list[Frame]:
    """Return the frames from the one that shows the complete command."""
    typed = (PROMPT + COMMAND).split()
    shown = list(found)
    for n, frame in enumerate(shown):
        if " ".join(text for _, text, _ in frame.rows[0]).split() == typed:
            return shown[n:]
    raise RuntimeError(f"the command {COMMAND} was never seen")


def main() -> int:
    """Record and draw the demo, and print how long it took."""
    found = cut(frames(record()))
    FILE.write_text(draw(found), "utf-8")
    print(f"{FILE.name}: {len(found)} frames of {found[-1].time - found[0].time:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
