"""The diagram of the polling machine: `python tools/diagram.py write|check`.

Drawn from `opwatch.core.polling`: the consequences of each event come from its `TRANSITIONS`, and
the events' descriptions from its header. Writes docs/assets/machine.svg; `check` fails if that file
differs. The text has the colors of the page around it.
"""

import argparse
import re
import sys
from pathlib import Path

import attrs

from opwatch.core import polling
from opwatch.core.polling import Event, Rung, Verdict

FILE = Path(__file__).resolve().parents[1] / "docs" / "assets" / "machine.svg"

ROW, TOP, BOX = 38, 22, 28
"""Pixels: from one event to the next, above the first, and the height of a box."""
EVENTS, WORDS, RESULTS, RIGHT, WIDTH = 176, 250, 622, 810, 824
"""Pixels from the left: the events, their descriptions, the consequences, the way back, and the
total width."""
LOOP = (2, 136)
"""Pixels: left edge and width of the two boxes between which every wait alternates."""

SECTION = "`TRANSITIONS` says what follows."
GROUPS = ("a reading", "trouble")
RUNGS = {Rung.FIRST: "first delay", Rung.NEXT: "next delay"}
KINDS = {
    Verdict.WAIT: "wait",
    Verdict.ENDED: "ended",
    Verdict.TIMED_OUT: "stopped",
    Verdict.STALLED: "stopped",
    Verdict.GAVE_UP: "gave-up",
}
STYLE = """
  .om text { font: 14px system-ui, sans-serif; fill: var(--md-default-fg-color, #1f2328) }
  .om .group { font-weight: 600; font-size: 15px }
  .om .event { font: 600 13px ui-monospace, monospace }
  .om .box { fill: none; stroke: var(--md-default-fg-color, #1f2328); stroke-width: 1.4 }
  .om .line { fill: none; stroke: #808894; stroke-width: 1.4 }
  .om .arrow { fill: #808894 }
  .om .verdict { font-weight: 600; fill: #fff; text-anchor: middle }
  .om .loop { text-anchor: middle }
  .om .wait { fill: #1f6feb } .om .ended { fill: #1a7f37 }
  .om .stopped { fill: #9a6700 } .om .gave-up { fill: #b42318 }
"""


@attrs.frozen
class Row:
    """One event after a reading or after trouble, and its consequence."""

    event: Event
    words: str
    rung: Rung
    verdict: Verdict

    @property
    def result(self) -> str:
        """`wait: next delay`, `gave up`."""
        delay = RUNGS.get(self.rung)
        return f"{self.verdict.value}: {delay}" if delay else self.verdict.value


class DiagramError(Exception):
    """The header of the machine and its table disagree."""


def rows(header: str) -> dict[str, list[Row]]:
    """Return the events of each group, in the order in which they are checked.

    Raises `DiagramError` if the header's list and the table don't name the same events.
    """
    _, found, section = header.partition(SECTION)
    listed = re.findall(r"^ {4}(a reading|trouble)? +([A-Z]+) {2,}(\S.*)$", section, re.MULTILINE)
    groups: dict[str, list[Row]] = {}
    group = ""
    for named, name, words in listed:
        group = named or group
        event = Event.__members__.get(name)
        if event is None:
            raise DiagramError(f"the header lists {name}, which isn't an event")
        rung, verdict = polling.TRANSITIONS[event]
        groups.setdefault(group, []).append(Row(event, words, rung, verdict))
    events = {row.event for group_rows in groups.values() for row in group_rows}
    if not found or tuple(groups) != GROUPS or events != set(polling.TRANSITIONS):
        raise DiagramError("the list in the header doesn't match the table")
    return groups


def draw(groups: dict[str, list[Row]]) -> str:
    """Return the diagram as SVG, without empty lines, so that Markdown treats it as one block."""
    y = TOP
    parts: list[str] = []
    entries: list[int] = []
    returns: list[int] = []
    for name, group in groups.items():
        parts.append(_text(EVENTS, y - 4, name, "group"))
        y += 14
        for row in group:
            parts += _row(row, y)
            entries.append(y)
            if row.verdict is Verdict.WAIT:
                returns.append(y)
            y += ROW
        y += 26
    height = y + 10
    parts += _loop(entries, returns, height - 24)
    body = "\n".join(f"  {part}" for part in parts)
    title = "State transitions of a wait: the result of each poll and what happens next"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="om" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{title}">\n'
        f"  <title>{title}</title>\n  <style>{STYLE}  </style>\n{body}\n</svg>\n"
    )


def _row(row: Row, y: int) -> list[str]:
    width = RIGHT - RESULTS - 26
    middle = y + BOX // 2
    place = f'x="{RESULTS}" y="{y}" width="{width}" height="{BOX}" rx="14"'
    return [
        _text(EVENTS, middle + 5, row.event.name, "event"),
        _text(WORDS, middle + 5, row.words),
        *_arrow(f"M{RESULTS - 32} {middle} H{RESULTS - 8}", RESULTS - 2, middle, "right"),
        f'<rect class="{KINDS[row.verdict]}" {place}/>',
        _text(RESULTS + width // 2, middle + 5, row.result, "verdict"),
    ]


def _loop(entries: list[int], returns: list[int], bottom: int) -> list[str]:
    """Return the poll and the sleep on the left, and the way back from every verdict to wait."""
    left, width = LOOP
    middle = left + width // 2
    half = BOX // 2
    poll, sleep = entries[0] + half, bottom
    right = EVENTS - 14
    trunk = f"M{left + width} {poll} H{right} M{right} {poll} V{entries[-1] + half}"
    parts = [
        *_box(poll, "poll the service"),
        *_box(sleep, "sleep until due"),
        f'<path class="line" d="{trunk}"/>',
        *_arrow(f"M{middle} {sleep - 20} V{poll + 28}", middle, poll + 22, "up"),
    ]
    for y in entries:
        parts += _arrow(f"M{right} {y + half} H{EVENTS - 10}", EVENTS - 4, y + half, "right")
    for y in returns:
        parts.append(f'<path class="line" d="M{RIGHT - 26} {y + half} H{RIGHT}"/>')
    way = f"M{RIGHT} {returns[0] + half} V{sleep} H{left + width + 8}"
    return [*parts, *_arrow(way, left + width + 2, sleep, "left")]


def _box(y: int, words: str) -> list[str]:
    left, width = LOOP
    rect = f'<rect class="box" x="{left}" y="{y - 20}" width="{width}" height="40" rx="6"/>'
    return [rect, _text(left + width // 2, y + 5, words, "loop")]


def _arrow(path: str, x: int, y: int, way: str) -> list[str]:
    heads = {"right": "l-9 -5 v10", "left": "l9 -5 v10", "up": "l-5 9 h10"}
    head = f'<path class="arrow" d="M{x} {y} {heads[way]} z"/>'
    return [f'<path class="line" d="{path}"/>', head]


def _text(x: int, y: int, words: str, kind: str | None = None) -> str:
    mark = f' class="{kind}"' if kind else ""
    return f'<text{mark} x="{x}" y="{y}">{words}</text>'


def current() -> str:
    """Return the diagram of the current machine."""
    return draw(rows(polling.__doc__ or ""))


def main() -> int:
    """Run the given command; return 0 for success."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("write", "check"))
    if parser.parse_args().command == "write":
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(current(), "utf-8")
    elif not FILE.exists() or FILE.read_text("utf-8") != current():
        print(f"{FILE.name} is out of date; run tools/diagram.py write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
