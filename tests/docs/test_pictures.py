"""The pictures: the diagram matches the machine, and the recording shows a complete run."""

import re
import xml.etree.ElementTree as ET

import diagram
import pytest
from docs_blocks import DOCS

from opwatch.core import polling
from opwatch.core.polling import Event, Rung, Verdict

SVG = "{http://www.w3.org/2000/svg}"
PICTURES = sorted((DOCS / "assets").glob("*.svg"))


def words(svg: str) -> list[str]:
    """Every text of a picture, in its order."""
    return [text.text or "" for text in ET.fromstring(svg).iter(f"{SVG}text")]


def test_the_diagram_is_that_of_the_machine_as_it_is() -> None:
    """The file that the page shows is what the table gives today."""
    assert diagram.FILE.read_text("utf-8") == diagram.current()


def test_the_diagram_shows_every_event_and_what_follows() -> None:
    """Each transition of the table stands beside its event."""
    shown = words(diagram.current())
    for event, (rung, verdict) in polling.TRANSITIONS.items():
        place = shown.index(event.name)
        delay = {Rung.FIRST: ": first delay", Rung.NEXT: ": next delay"}.get(rung, "")
        assert shown[place + 2] == verdict.value + delay


def test_another_table_gives_another_diagram(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows from an event is read from the table, not from the drawing's own code."""
    before = diagram.current()
    monkeypatch.setitem(polling.TRANSITIONS, Event.STILL, (Rung.NONE, Verdict.GAVE_UP))
    assert diagram.current() != before


@pytest.mark.parametrize(
    "header",
    ["", diagram.SECTION, (polling.__doc__ or "").replace("SPENT", "WASTED")],
    ids=["no header", "no list", "an event that is none"],
)
def test_a_header_that_is_not_that_of_the_table_is_refused(header: str) -> None:
    """The words beside an event are never those of another."""
    with pytest.raises(diagram.DiagramError):
        diagram.rows(header)


def test_an_event_that_the_header_leaves_out_is_refused() -> None:
    """No transition is missing from the diagram."""
    header = re.sub(r"\n +SPENT.*", "", polling.__doc__ or "")
    with pytest.raises(diagram.DiagramError):
        diagram.rows(header)


def test_the_recording_is_of_a_demo_that_came_to_its_end() -> None:
    """Each service is in it, and the last word of a good run."""
    shown = words((DOCS / "assets" / "demo.svg").read_text("utf-8"))
    assert "$ make demo" in " ".join(shown)
    assert "Each job ended as scripted." in shown
    for name in ("catenis", "itwin", "apig"):
        assert any(name in text for text in shown)


@pytest.mark.parametrize("picture", PICTURES, ids=[picture.name for picture in PICTURES])
def test_a_picture_loads_nothing(picture: object) -> None:
    """No font, image or script from elsewhere: every reference is to a part of the same file."""
    svg = picture.read_text("utf-8")  # type: ignore[attr-defined]
    references = re.findall(r'(?:href|src)="([^"]*)"', svg)
    assert [reference for reference in references if not reference.startswith("#")] == []
    assert not re.search(r"url\(|@import|<script|<image|<foreignObject", svg)
