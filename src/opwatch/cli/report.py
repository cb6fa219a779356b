"""`opwatch report`: one page with a timeline of each job, from the events of `--json`.

The page is a single file that loads and runs nothing: inline style, inline SVG, and a content
security policy that forbids everything else. All text in it is escaped. Times are those of the
events, so the events of several runs of one wait make one timeline.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import attrs

from opwatch import exits
from opwatch.cli import complain
from opwatch.cli.files import check_target, limited, refused
from opwatch.errors import ConfigurationError
from opwatch.events import VERSION
from opwatch.reading import number, parse_time
from opwatch.text import printable
from opwatch.words import duration, held, size, started

Fields = dict[str, Any]


def write(source: Path, output: Path | None) -> int:
    """Make the page from a file of events and print its path; "-" prints the page itself."""
    if str(source) == "-":
        if output is None:
            raise ConfigurationError("--output is required if EVENTS is standard input")
        name = "standard input"
        found = read(_decoded(_standard_input()), name)
    else:
        name = str(source)
        with refused("read", source), source.open("rb") as file:
            content = limited(file, name)
        found = read(_decoded(content), name)
    if not found:
        raise ConfigurationError(f"{name} contains no events from opwatch watch --json")
    if str(output) == "-":
        # Escaped, since the output may have another encoding than the page declares.
        print(page(found).encode("ascii", "xmlcharrefreplace").decode(), end="")
        return exits.SUCCEEDED
    path = output or source.with_suffix(".html")
    check_target("--output", path, ("the events", source))
    save(found, path)
    print(path)
    return exits.SUCCEEDED


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise ConfigurationError("standard input is closed")
    try:
        return limited(sys.stdin.buffer, "standard input")
    except OSError as error:
        raise ConfigurationError(f"can't read standard input: {error.strerror}") from None


def _decoded(content: bytes) -> list[str]:
    """Return the lines of a text in UTF-8, or in UTF-16 as written by PowerShell's `>`."""
    encoding = json.detect_encoding(content[:4])
    return content.decode(encoding, "replace").split("\n")


def read(lines: Sequence[str], name: str) -> list[Fields]:
    """Return the events of a file; raise `ConfigurationError` for the first invalid line.

    A last line without its end was cut off by a crash or a full disk; it is skipped with a warning.
    """
    found = []
    for place, text in enumerate(lines, 1):
        if text.strip():
            event = _event(text)
            if event is None and place == len(lines):
                complain(f"{name}, line {place}: skipped the last event, which is cut off")
                continue
            if event is None:
                raise ConfigurationError(
                    f"{name}, line {place}: not an event from opwatch watch --json"
                )
            found.append(event)
    return found


def _event(text: str) -> Fields | None:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or fields.get("v") != VERSION:
        return None
    named = all(isinstance(fields.get(name), str) for name in ("event", "service", "job_id"))
    return fields if named and parse_time(fields.get("time")) is not None else None


def save(events: list[Fields], path: Path) -> None:
    """Write the page; raise `ConfigurationError` if it can't be written."""
    with refused("write the report", path):
        path.write_text(page(events), "utf-8")


# --- what the events say --------------------------------------------------------------------------


@attrs.frozen
class Point:
    """One event of a job, with the time as seconds on the page's axis."""

    at: float
    fields: Fields

    @property
    def kind(self) -> str:
        return printable(self.fields["event"])

    def number(self, name: str) -> float | None:
        value = self.fields.get(name)
        return None if isinstance(value, str) else number(value)

    def words(self, name: str) -> str | None:
        value = self.fields.get(name)
        return printable(value, 1000) if isinstance(value, str) else None


@attrs.frozen
class Job:
    """All events of one job, in order."""

    service: str
    job_id: str
    points: list[Point]

    @property
    def outcome(self) -> str:
        results = [point for point in self.points if point.kind == "result"]
        return (results[-1].words("outcome") if results else None) or "not finished"

    @property
    def reason(self) -> str | None:
        """Why the job didn't succeed, in the service's words or ours."""
        last = self.points[-1].fields
        error, fault = last.get("error"), last.get("fault")
        if isinstance(error, dict):
            return printable(str(error.get("message")), 1000)
        if isinstance(fault, dict):
            parts = [str(fault[name]) for name in ("code", "message") if fault.get(name)]
            return printable(": ".join(parts), 1000) or None
        return None

    def of(self, *kinds: str) -> list[Point]:
        return [point for point in self.points if point.kind in kinds]


def _jobs(events: list[Fields]) -> tuple[list[Job], float, datetime | None]:
    """Return the jobs, the length of the time axis in seconds, and when it begins."""
    times = [_time(event) for event in events]
    begin = min(times, default=None)
    found: dict[tuple[str, str], Job] = {}
    for event, time in sorted(zip(events, times, strict=True), key=lambda pair: pair[1]):
        assert begin is not None
        key = (event["service"], event["job_id"])
        job = found.setdefault(key, Job(printable(key[0]), printable(key[1]), []))
        job.points.append(Point((time - begin).total_seconds(), event))
    end = max((job.points[-1].at for job in found.values()), default=0.0)
    return list(found.values()), max(end, 1.0), begin


def _time(event: Fields) -> datetime:
    time = parse_time(event["time"])
    assert time is not None
    return time


# --- one chart ------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 760.0, 170.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 748.0, 12.0, 112.0
_MARKS = 126.0
"""Where the row of marks is."""
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)


@attrs.frozen
class Scale:
    """Converts seconds and amounts to coordinates in a chart."""

    end: float
    top: float
    unit: str
    """`percent` or `bytes_processed`."""

    @classmethod
    def of(cls, job: Job, end: float) -> Scale:
        """Return a scale in bytes for a job that reports only those, otherwise in percent."""
        counts = [count for point in job.points if (count := point.number("bytes_processed"))]
        if counts and not any(point.number("percent") is not None for point in job.points):
            return cls(end, max(counts), "bytes_processed")
        return cls(end, 100.0, "percent")

    def x(self, seconds: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * min(max(seconds / self.end, 0.0), 1.0)

    def y(self, amount: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(max(amount / self.top, 0.0), 1.0)

    def label(self, amount: float) -> str:
        return f"{amount:g} %" if self.unit == "percent" else size(round(amount))


def _chart(job: Job, end: float) -> str:
    """Return the timeline, or an empty string for a job that has only its end to draw."""
    if not job.of("progress", "trouble", "held"):
        return ""
    scale = Scale.of(job, end)
    title = f"{job.service} {job.job_id}: {job.outcome}"
    parts = [
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(title)}">',
        *_grid(scale),
        *_bands(job, scale),
        *_line(job, scale),
        *_marks(job, scale),
        "</svg>",
    ]
    return "\n".join(parts)


def _grid(scale: Scale) -> Iterable[str]:
    for part in (0.0, 0.5, 1.0):
        y = scale.y(part * scale.top)
        yield f'<path class="grid" d="M{_LEFT:g} {y:.1f}H{_RIGHT:g}"/>'
        label = escape(scale.label(part * scale.top))
        yield f'<text x="{_LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    step = next((step for step in _STEPS if scale.end / step <= 6), scale.end / 6)
    for n in range(int(scale.end // step) + 1):
        x = scale.x(n * step)
        yield f'<path class="grid" d="M{x:.1f} {_BOTTOM:g}v4"/>'
        yield (
            f'<text x="{x:.1f}" y="{_HEIGHT - 8:g}" text-anchor="middle">'
            f"{duration(n * step)}</text>"
        )


def _bands(job: Job, scale: Scale) -> Iterable[str]:
    """Yield the times when a rate limit or another error delayed polls."""
    for point in job.of("trouble", "held"):
        left = scale.x(point.at)
        right = scale.x(point.at + (point.number("next_query_in") or 0.0))
        yield (
            f'<rect class="band" x="{left:.1f}" y="{_TOP:g}" width="{max(right - left, 1.0):.1f}"'
            f' height="{_BOTTOM - _TOP:g}"><title>{escape(_told(point))}</title></rect>'
        )


def _line(job: Job, scale: Scale) -> Iterable[str]:
    """Yield the progress that is known at each moment: the last answer, until the next one."""
    known = [
        (scale.x(point.at), scale.y(amount))
        for point in job.points
        if (amount := point.number(scale.unit)) is not None
    ]
    if not known:
        return
    (first, y), last = known[0], scale.x(job.points[-1].at)
    path = f"M{first:.1f} {y:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in known[1:])
    path += f"H{last:.1f}"
    yield f'<path class="area" d="{path}V{_BOTTOM:g}H{first:.1f}Z"/>'
    yield f'<path class="line" d="{path}"/>'


def _marks(job: Job, scale: Scale) -> Iterable[str]:
    """Yield one mark for each poll, and one for the end, at the height of the last progress."""
    amounts = [n for point in job.points if (n := point.number(scale.unit)) is not None]
    came = scale.y(amounts[-1] if amounts else 0.0)
    for point in job.points:
        x, told = scale.x(point.at), f"<title>{escape(_told(point))}</title>"
        if point.kind == "progress":
            yield f'<path class="poll" d="M{x:.1f} {_MARKS - 5:g}v10">{told}</path>'
        elif point.kind == "trouble":
            yield (f'<path class="retry" d="M{x:.1f} {_MARKS - 6:g}l5 10h-10z">{told}</path>')
        elif point.kind == "held":
            yield f'<circle class="held" cx="{x:.1f}" cy="{_MARKS:g}" r="3.5">{told}</circle>'
        elif point.kind == "result":
            yield f'<path class="end {_tone(job.outcome)}" d="M{x:.1f} {_TOP:g}V{_MARKS + 5:g}"/>'
            yield (
                f'<circle class="dot {_tone(job.outcome)}" cx="{x:.1f}" cy="{came:.1f}" r="5">'
                f"{told}</circle>"
            )


_LABELS = {"trouble": "failed poll", "held": "paused"}
"""What the table calls an event, if not by its name: the words of the legend."""


def _told(point: Point) -> str:
    """Return an event in words, for a mark and for the table."""
    fields = point.fields
    if point.kind == "start":
        return started(resumed=bool(fields.get("resumed")))
    error = fields.get("error")
    if isinstance(error, dict):
        status = f" ({error['status']})" if error.get("status") else ""
        text = f"{error.get('type')}{status}: {error.get('message')}"
    elif point.kind == "held":
        text = held(resumed=bool(fields.get("resumed")))
    else:
        percent, count = point.number("percent"), point.number("bytes_processed")
        amount = f"{percent:g} %" if percent is not None else ""
        amount = amount or ("" if count is None else size(round(count)))
        text = ", ".join(filter(None, (point.words("phase"), amount, point.words("step"))))
    delay = point.number("next_query_in")
    return printable(text, 1000) + (f"; next poll in {delay:.0f} s" if delay is not None else "")


def _tone(outcome: str) -> str:
    if outcome == "succeeded":
        return "good"
    return "open" if outcome in ("not finished", "ended", "interrupted", "timed out") else "bad"


# --- the page -------------------------------------------------------------------------------------

_STYLE = """
:root { color-scheme: light dark; --text: #1c2430; --dim: #5d6b7c; --page: #f5f6f8; --card: #fff;
  --edge: #dfe3e8; --line: #2563a8; --good: #1a7f4b; --bad: #b3261e; --open: #8a5a00;
  --warn: #c77700; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ee; --dim: #9aa6b5; --page: #14181e;
  --card: #1c222b; --edge: #323b47; --line: #6aa9ee; --good: #58c48c; --bad: #ff8a80;
  --open: #e0b050; --warn: #f0a63c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 16px; max-width: 860px; background: var(--page);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 21px; margin: 0; }
h2 { font-size: 15px; margin: 0; overflow-wrap: anywhere; font-weight: 600; }
h2 span { font-family: ui-monospace, monospace; font-weight: 400; }
p { margin: 4px 0 0; overflow-wrap: anywhere; }
.dim, summary { color: var(--dim); }
section { background: var(--card); border: 1px solid var(--edge); border-radius: 8px;
  padding: 14px 16px; margin-top: 16px; }
header { display: flex; gap: 12px; align-items: baseline; justify-content: space-between; }
b.good, b.bad, b.open { white-space: nowrap; }
b.good { color: var(--good); } b.bad { color: var(--bad); } b.open { color: var(--open); }
svg { display: block; width: 100%; height: auto; margin: 10px 0 4px; }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim); }
.grid { stroke: var(--edge); fill: none; }
.line { stroke: var(--line); stroke-width: 2; fill: none; stroke-linejoin: round; }
.area { fill: var(--line); opacity: .12; }
.band { fill: var(--warn); opacity: .22; }
.poll { stroke: var(--line); stroke-width: 2; }
.retry, .held { fill: var(--warn); }
.end { stroke-dasharray: 3 3; fill: none; }
.end.good { stroke: var(--good); } .end.bad { stroke: var(--bad); }
.end.open { stroke: var(--open); }
.dot.good { fill: var(--good); } .dot.bad { fill: var(--bad); } .dot.open { fill: var(--open); }
.legend svg { display: inline-block; width: 14px; height: 14px; margin: 0 4px 0 0;
  vertical-align: -2px; }
.legend span { margin-right: 16px; white-space: nowrap; }
details { margin-top: 6px; font-size: 13px; }
summary { cursor: pointer; }
table { border-collapse: collapse; width: 100%; margin-top: 6px; }
td { border-top: 1px solid var(--edge); padding: 3px 8px 3px 0; vertical-align: top;
  overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; color: var(--dim); width: 1%; }
"""

_LEGEND = """<p class="legend dim">
<span><svg viewBox="0 0 14 14"><path class="poll" d="M7 2v10"/></svg>successful poll</span>
<span><svg viewBox="0 0 14 14"><path class="retry" d="M7 1l6 11H1z"/></svg>failed poll</span>
<span><svg viewBox="0 0 14 14"><circle class="held" cx="7" cy="7" r="4"/></svg>paused</span>
<span><svg viewBox="0 0 14 14"><path class="band" d="M0 0h14v14H0z"/></svg>retry delay</span>
</p>"""


def page(events: list[Fields]) -> str:
    """Return the complete page."""
    jobs, end, begin = _jobs(events)
    when = "No events yet."
    if begin is not None:
        when = f"From {begin:%Y-%m-%d %H:%M:%S UTC}, for {duration(end)}."
    count = _counted(len(jobs), "job")
    cards = "\n".join(_card(job, end) for job in jobs)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>opwatch: {count}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>opwatch: {count}</h1>
<p class="dim">{when}</p>
{_LEGEND}
{cards}
</body>
</html>
"""


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _card(job: Job, end: float) -> str:
    outcome = job.outcome
    answers, errors = len(job.of("progress")), len(job.of("trouble"))
    length = duration(job.points[-1].at - job.points[0].at)
    facts = f"{_counted(answers, 'response')}, {_counted(errors, 'error')}, in {length}"
    reason = f"<p>{escape(job.reason)}</p>" if job.reason and outcome != "succeeded" else ""
    rows = "\n".join(
        f"<tr><td>{duration(point.at)}</td><td>{escape(_LABELS.get(point.kind, point.kind))}</td>"
        f"<td>{escape(_told(point))}</td></tr>"
        for point in job.points
    )
    return f"""<section>
<header><h2>{escape(job.service)} <span>{escape(job.job_id)}</span></h2>
<b class="{_tone(outcome)}">{escape(outcome)}</b></header>
{reason}
{_chart(job, end)}
<details><summary>{facts}</summary>
<table>
{rows}
</table></details>
</section>"""
