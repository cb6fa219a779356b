"""The page of `opwatch report` is complete, harmless, and true to the events."""

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Run, run_apart
from hypothesis import given
from hypothesis import strategies as st

from opwatch.cli.report import page
from opwatch.progress import Fault
from opwatch.simulator import Frame, Polls, Simulator

EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
_VOID = {"meta", "br"}


class Page(HTMLParser):
    """A page as read: its elements, its text; fails where a tag is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    def count(self, name: str, class_: str = "") -> int:
        """How many elements of that name (and class) there are."""
        found = [attrs for tag, attrs in self.tags if tag == name]
        return sum(not class_ or class_ in (it.get("class") or "").split() for it in found)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


BEGIN = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def event(kind: str, at: float = 0.0, **fields: Any) -> dict[str, Any]:
    time = (BEGIN + timedelta(seconds=at)).isoformat()
    start = {"v": 1, "time": time, "event": kind, "service": "itwin", "job_id": "j1"}
    return {**start, **fields}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_page_on_standard_output(tmp_path: Path, encoding: str) -> None:
    """`--output -` prints the page and makes no file, in whatever encoding the output has."""
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(event("progress", phase="running", step="Übersicht")), "utf-8")
    env = {"PYTHONIOENCODING": encoding}
    code = f"import os; os.chdir({str(tmp_path)!r})"
    done = run_apart("report", path, "--output", "-", env=env, code=code)
    assert (done.code, done.err) == (0, "")
    assert "Übersicht" in Page(done.out).text
    assert [entry.name for entry in tmp_path.iterdir()] == ["events.jsonl"]


def watched(run: Run, sim: Simulator, tmp_path: Path) -> Path:
    """The events of three jobs: one after a rate limit, one that fails, one of bytes."""
    limit = Frame(error="RateLimitExceeded", retry_after=30)
    running = [Frame("running", percent=n) for n in (10, 40)]
    sim.add("itwin", "j1", Polls([*running, limit, Frame("succeeded")]))
    sim.add("apig", "g1", Polls([Frame("failed", fault=Fault("APIC.9218", EVIL))]))
    messages = [Frame("running", bytes_processed=5000), Frame("succeeded", bytes_processed=9000)]
    sim.add("catenis", "pJob0000000000000001", Polls(messages))
    path = tmp_path / "events.jsonl"
    words = ("itwin:j1", "apig:g1", "catenis:pJob0000000000000001")
    path.write_text(run("watch", "--json", *words).out, "utf-8")
    return path


def test_the_page(run: Run, sim: Simulator, tmp_path: Path) -> None:
    """The page has a chart for each job, with its outcome, its reason and a mark each poll."""
    path = watched(run, sim, tmp_path)
    done = run("report", path)
    assert (done.code, done.out) == (0, f"{tmp_path / 'events.html'}\n")
    found = Page((tmp_path / "events.html").read_text("utf-8"))
    for text in ("itwin j1 succeeded", "apig g1 failed", "catenis pJob0000000000000001 succeeded"):
        assert text in found.text
    assert f"APIC.9218: {EVIL}" in found.text
    assert "RateLimited (429)" in found.text
    legend = {"svg": 4, "poll": 1, "retry": 1}
    assert found.count("svg") == 3 + legend["svg"]
    assert found.count("path", "poll") == 3 + 1 + 2 + legend["poll"]
    assert found.count("path", "retry") == 1 + legend["retry"]
    assert found.count("path", "line") == 3
    assert found.count("path", "end") == 3


def test_the_page_loads_and_runs_nothing(run: Run, sim: Simulator, tmp_path: Path) -> None:
    """No script, no address, no file beside it: whatever a service sent is text."""
    text = page([json.loads(line) for line in watched(run, sim, tmp_path).read_text().splitlines()])
    found = Page(text)
    tags = {tag for tag, _ in found.tags}
    attributes = {name for _, attrs in found.tags for name in attrs}
    assert tags & {"script", "img", "link", "iframe", "object", "base", "form", "a", "use"} == set()
    assert [name for name in attributes if name.startswith("on")] == []
    assert attributes & {"src", "href", "style", "action", "srcset", "xlink:href"} == set()
    assert re.findall(r"url\(|@import|://|javascript:", text) == []
    [policy] = [attrs["content"] for _, attrs in found.tags if "http-equiv" in attrs]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert "prefers-color-scheme: dark" in text


def test_every_text_is_escaped() -> None:
    """Whatever field holds markup, the page has it as text."""
    error = {"type": EVIL, "message": EVIL, "status": EVIL}
    fields = {"service": EVIL, "job_id": EVIL, "step": EVIL, "phase": EVIL, "outcome": EVIL}
    kinds = ("start", "progress", "trouble", "held", "result", EVIL)
    text = page([event(kind) | fields | {"error": error} for kind in kinds])
    text += page([event(kind) | fields | {"fault": {"code": EVIL}} for kind in kinds])
    assert "<script" not in text
    assert "<img" not in text
    found = Page(page([event("result") | fields]))
    assert all(attrs.get("class") != EVIL for _, attrs in found.tags)


def test_watch_makes_the_page_too(run: Run, sim: Simulator, tmp_path: Path) -> None:
    """`watch --report` writes the same page at the end, also where the wait ends by an error."""
    sim.add("itwin", "j1", Frame("running", percent=40))
    path = tmp_path / "wait.html"
    assert run("watch", "itwin", "j1", "--timeout", "60", "--report", path).code == 124
    assert "itwin j1 timed out timed out before the job finished; the job continues" in (
        Page(path.read_text("utf-8")).text
    )


def test_the_line_tells_what_was_known_when() -> None:
    """The line holds each response until the next one, in proportion to time and percent."""
    text = page(
        [
            event("start"),
            event("progress", 0, phase="running", percent=0),
            event("progress", 50, phase="running", percent=50),
            event("progress", 100, phase="succeeded", percent=100),
            event("result", 100, phase="succeeded", percent=100, outcome="succeeded"),
        ]
    )
    [path] = re.findall(r'<path class="line" d="([^"]*)"', text)
    assert path == "M62.0 112.0H405.0V62.0H748.0V12.0H748.0V12.0H748.0"


def test_the_events_of_several_runs() -> None:
    """A resumed wait is one timeline; the last outcome counts."""
    found = Page(
        page(
            [
                event("start"),
                event("result", 5, outcome="interrupted", error={"message": "stopped"}),
                event("start", 60, resumed=True),
                event("result", 90, phase="succeeded", outcome="succeeded"),
            ]
        )
    )
    assert found.count("section") == 1
    assert "itwin j1 succeeded" in found.text
    assert "for 1:30" in found.text


def test_a_job_that_is_not_over() -> None:
    """Events that stop in the middle are shown as far as they go."""
    found = Page(page([event("start"), event("progress", 3, phase="running", percent=20)]))
    assert "itwin j1 not finished" in found.text


@pytest.mark.parametrize(
    "line", ["not JSON", "[]", "{}", '{"v": 2}', json.dumps(event("start") | {"time": "noon"})]
)
def test_a_line_that_is_no_event(run: Run, tmp_path: Path, line: str) -> None:
    """A line that `watch --json` does not write is named by its number."""
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(event("start")) + "\n\n" + line + "\n", "utf-8")
    done = run("report", path)
    assert done.code == 2
    assert done.err == f"opwatch: {path}, line 3: not an event from opwatch watch --json\n"


@pytest.mark.parametrize("cut", [1, 60, -2])
def test_a_last_line_that_is_cut_off(run: Run, tmp_path: Path, cut: int) -> None:
    """A crash or a full disk cuts it off: the page shows the events before it."""
    path = tmp_path / "events.jsonl"
    whole, last = (json.dumps(event(kind)) for kind in ("start", "result"))
    path.write_text(f"{whole}\n{last[:cut]}", "utf-8")
    done = run("report", path)
    assert done.code == 0
    assert done.err == f"opwatch: {path}, line 2: skipped the last event, which is cut off\n"
    assert "itwin j1 not finished" in Page(path.with_suffix(".html").read_text("utf-8")).text


def test_no_event_at_all(run: Run, tmp_path: Path) -> None:
    """An empty file is refused rather than made an empty page."""
    path = tmp_path / "events.jsonl"
    path.write_text("\n", "utf-8")
    assert (
        run("report", path).err == f"opwatch: {path} contains no events from opwatch watch --json\n"
    )


def test_the_page_never_replaces_its_events(run: Run, tmp_path: Path) -> None:
    """A file of events that is called .html needs another name for the page."""
    path = tmp_path / "events.html"
    path.write_text(json.dumps(event("start")), "utf-8")
    assert run("report", path).code == 2
    assert run("report", path, "-o", tmp_path / "page.html").code == 0


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2)
    ),
    max_leaves=4,
)
_FIELDS = (
    "phase",
    "percent",
    "step",
    "bytes_processed",
    "fault",
    "error",
    "next_query_in",
    "outcome",
)


@given(
    st.lists(
        st.builds(
            lambda kind, time, fields: event(kind) | {"time": time.isoformat()} | fields,
            st.sampled_from(["start", "progress", "trouble", "held", "result", "new"]),
            st.datetimes(timezones=st.just(UTC)),
            st.dictionaries(st.sampled_from(_FIELDS), _VALUES),
        ),
        max_size=5,
    )
)
def test_any_values_make_a_page(events: list[dict[str, Any]]) -> None:
    """Whatever stands in the fields of events, the page is whole and of a reasonable length."""
    text = page(events)
    Page(text)
    assert len(text) < 30_000


# --- what a chart shows ---------------------------------------------------------------------------


def drawn(*events: dict[str, Any]) -> Page:
    """The page of those events."""
    return Page(page([*events]))


def heights(found: Page) -> dict[str, float]:
    """Where the grid's lines and the end's mark are: y by the label beside it, and `mark`."""
    lines = [attrs["d"] for tag, attrs in found.tags if tag == "path" and "d" in attrs]
    grid = [float(d.split()[1].split("H")[0]) for d in lines if re.fullmatch(r"M62 [\d.]+H748", d)]
    labels = [word for word in found.words if re.fullmatch(r"[\d.]+ (%|B|kB)", word.strip())]
    [mark] = [attrs for tag, attrs in found.tags if "dot" in (attrs.get("class") or "").split()]
    return dict(zip(labels[:3], grid, strict=True)) | {"mark": float(mark["cy"] or 0)}


def ended(outcome: str, at: float = 30, **fields: Any) -> dict[str, Any]:
    return event("result", at, outcome=outcome, **fields)


def test_a_job_of_percent_has_no_axis_of_bytes() -> None:
    """Not even before its first percentage, or if it never had one."""
    for percent in (None, 40):
        shown = heights(drawn(event("progress", percent=percent, phase="running"), ended("failed")))
        assert shown.keys() == {"0 %", "50 %", "100 %", "mark"}
    shown = heights(drawn(event("progress", bytes_processed=2000), ended("succeeded")))
    assert shown.keys() == {"0 B", "1 kB", "2 kB", "mark"}


@pytest.mark.parametrize("outcome", ["failed", "timed out", "gone", "interrupted"])
def test_the_mark_of_an_end_is_as_high_as_the_job_came(outcome: str) -> None:
    """A job that failed at 50 % has its mark there, and not at 100 %."""
    answers = [event("progress", at, percent=at * 5, phase="running") for at in (0, 10)]
    shown = heights(drawn(*answers, ended(outcome, percent=50)))
    assert shown["mark"] == shown["50 %"]
    shown = heights(drawn(event("progress", phase="running"), ended(outcome)))
    assert shown["mark"] == shown["0 %"]


def test_a_job_that_was_gone_at_once() -> None:
    """No empty chart: its outcome and the reason."""
    error = {"type": "JobGone", "message": "no such job", "status": 404}
    found = drawn(event("start"), ended("gone", 0, error=error))
    assert "itwin j1 gone no such job" in found.text
    assert found.count("svg") == drawn().count("svg")


@pytest.mark.parametrize("evil", ["\x1b[2J", "a\x9bb", "a\u202eb"])
def test_nothing_in_the_events_reaches_the_terminal_raw(
    run: Run, sim: Simulator, tmp_path: Path, evil: str
) -> None:
    """`-o -` prints the page: whatever field of an event holds a control character."""
    failed = Frame("failed", fault=Fault("E", "no"))
    sim.add("itwin", "j1", Polls([Frame("running", percent=1), failed]))
    lines = [json.loads(line) for line in run("watch", "--json", "itwin", "j1").lines]
    path = tmp_path / "events"
    for field in [name for name in lines[-1] if name not in ("v", "time")]:
        value = {"code": evil, "message": evil} if field in ("fault", "error") else evil
        path.write_text("\n".join(json.dumps(line | {field: value}) for line in lines), "utf-8")
        done = run("report", path, "-o", "-")
        assert done.code == 0
        assert [line for line in done.lines if not line.isprintable()] == []
        assert "&#8238;" not in done.out
