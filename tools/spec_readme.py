"""The rules for the README of the specs, which accounts for each line of a document and each mark
of a spec. spec_rules.py applies them."""

import re
from collections.abc import Iterator

import document_words
import documents
from spec_file import Spec, at, marks, place_of

from opwatch.cli.generating.spec import Place, Problem, pointer

NOT_HERE = "not transcribed"


def tables_are_complete(spec: Spec) -> Iterator[Problem]:
    """Each row of the README's tables is there once, with one cell per column."""
    seen: set[str] = set()
    for table in re.findall(r"(?:^\|.*\n?)+", spec.readme, re.MULTILINE):
        header, *rows = table.splitlines()
        cells = header.count(" | ")
        if not rows or not re.fullmatch(r"\|( --- \|)+", rows.pop(0)):
            yield spec.in_readme(header), "no line `| --- | …` below this table's header; add it"
        for row in rows:
            if row in seen:
                yield spec.in_readme(row), f"this row appears twice; remove one: {row}"
            elif row.count(" | ") != cells or not row.endswith(" |"):
                yield spec.in_readme(row), f"must have {cells + 1} cells; correct this row"
            seen.add(row)


def marks_are_kept(spec: Spec) -> Iterator[Problem]:
    """Each part that has a mark according to the README has it."""
    present = {(pointer(place), mark) for place, mark, _ in marks(spec)}
    for place, mark, _ in _rows(spec):
        if (place, mark) not in present and not _lost(spec, place):
            text = f"{place} of {spec.name} has no {mark}; restore it, or remove this row"
            yield spec.in_readme(f"| `{place}` | {mark} |"), text


def marks_are_listed(spec: Spec) -> Iterator[Problem]:
    """The README lists each mark with its text, and no other. If a marked part has moved,
    `readme_places_exist` reports it."""
    yield from marks_are_kept(spec)
    rows = _rows(spec)
    moved = {(mark, text) for place, mark, text in rows if _lost(spec, place)}
    for place, mark, text in marks(spec):
        if (pointer(place), mark, text) not in rows and (mark, text) not in moved:
            row = f"| `{pointer(place)}` | {mark} | {text} |"
            yield place, f"README.md lacks this row; add it: {row}"


def _rows(spec: Spec) -> list[tuple[str, str, str]]:
    """The rows about marks: place, mark, text."""
    return re.findall(r"^\| `(#\S*)` \| (x-\S+) \| (.+) \|$", spec.readme, re.MULTILINE)


def readme_places_exist(spec: Spec) -> Iterator[Problem]:
    """Each place that the README names is in the spec."""
    lost: dict[Place, list[str]] = {}
    for place in re.findall(r"`(#/\S*)`", spec.readme):
        if part := _lost(spec, place):
            lost.setdefault(part, []).append(place)
    for part, places in lost.items():
        more = f", and this page names {len(places)} places there" if len(places) > 1 else ""
        text = f"{pointer(part)} isn't in {spec.name}{more}; restore it, or correct this line"
        yield spec.in_readme(f"`{places[0]}`"), text


def _lost(spec: Spec, text: str) -> Place:
    """The first part of a place that isn't in the spec; empty if all of it is there."""
    place = place_of(text)
    for length in range(1, len(place) + 1):
        try:
            at(spec.content, place[:length])
        except (LookupError, ValueError, TypeError):
            return place[:length]
    return ()


def lines_are_accounted_for(spec: Spec) -> Iterator[Problem]:
    """Each line of the document is in the spec or starts a row of the README, unless the row that
    covers it says that it isn't transcribed."""
    if not spec.document:
        return
    lines = [line.strip() for line in spec.document.splitlines()]
    starts: dict[int, str] = {}
    number = 0
    for start, row in re.findall(r'^\| "(.+?)" \|(.*)', spec.readme, re.MULTILINE):
        same = [n for n, line in enumerate(lines) if n >= number and line == start]
        found = same or [n for n, line in enumerate(lines) if n >= number and start in line]
        if not found:
            text = f"{start!r} isn't in the document after the row above; correct it"
            yield spec.in_readme(f'| "{start}" |'), text
            return
        starts[found[0] + 1] = row
        number = found[0] + 1
    said = document_words.everything(spec.content)
    is_lost = False
    for number, line in documents.prose(spec.document):
        row = next((starts[n] for n in range(number, 0, -1) if n in starts), "")
        was_lost = is_lost
        is_lost = number not in starts and NOT_HERE not in row and line.casefold() not in said
        if is_lost and not was_lost:  # the lines after it may be of one part with it
            text = f"{line.strip()!r} isn't in {spec.name}; quote it there, or say in a row of"
            yield spec.in_document(number), f"{text} README.md where it went"


def links_are_listed(spec: Spec) -> Iterator[Problem]:
    """The README names each link of the document."""
    for link in documents.read(spec.document).links:
        if f"`{link}`" not in spec.readme:
            text = f"README.md doesn't name `{link}`, to which this line links; add it"
            yield spec.in_document(documents.line_of(spec.document, link)), text
