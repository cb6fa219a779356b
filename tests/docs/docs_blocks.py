"""The fenced blocks of a page of docs/, as values. Knows Markdown's fences, and no more of it.

A block's language decides what a test does with it. Three marks say more:

    ```python title="poll.py"       a file, which a later block of the page runs
    ```text title="Output"          what the block before it prints; `...` stands for anything
    <!-- not run: reason -->        on the line before a block that cannot run in a test
    <!-- exit: 124 -->              on the line before a block whose exit code is not 0
"""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RUN = frozenset({"python", "bash"})
"""The languages whose blocks are run."""
OTHER = frozenset({"text", "json", "ini", "toml", "yaml"})
"""The other languages there are."""

_FENCE = re.compile(r"(?P<indent> *)(?P<ticks>```+)(?P<info>.*)")
_TITLE = re.compile(r'title="([^"]+)"')
_MARK = re.compile(r"\s*<!-- (not run|exit): (.+) -->\s*")
_INCLUDE = re.compile(r'^--8<-- "([^":]+)', re.MULTILINE)


@attrs.frozen
class Block:
    """One fenced block."""

    page: Path
    line: int
    """That of its first line of code, from 1."""
    language: str
    title: str | None
    code: str
    not_run: str | None = None
    """Why it cannot be run."""
    exit_code: int = 0

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_output(self) -> bool:
        return self.language == "text" and self.title == "Output"

    @property
    def is_file(self) -> bool:
        return self.title is not None and not self.is_output

    @property
    def included(self) -> list[Path]:
        """The files it shows instead of code of its own."""
        return [ROOT / name for name in _INCLUDE.findall(self.code)]


def pages() -> list[Path]:
    """Every page, in a fixed order."""
    return sorted(DOCS.rglob("*.md"))


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in their order; ValueError for one that is not closed."""
    return list(_blocks(page, page.read_text("utf-8").splitlines()))


def _blocks(page: Path, lines: list[str]) -> Iterator[Block]:
    number = 0
    while number < len(lines):
        opening = _FENCE.fullmatch(lines[number])
        if opening is None:
            number += 1
            continue
        start = number + 1
        number = start
        while number < len(lines) and lines[number].strip() != opening["ticks"]:
            number += 1
        if number == len(lines):
            raise ValueError(f"{page}:{start}: a fence that is not closed")
        yield _block(page, start, opening["info"].strip(), lines[:start], lines[start:number])
        number += 1


def _block(page: Path, start: int, info: str, before: list[str], code: list[str]) -> Block:
    language = info.partition(" ")[0]
    title = _TITLE.search(info)
    marks = {}
    for line in reversed(before[:-1]):
        mark = _MARK.fullmatch(line)
        if mark is None:
            break
        marks[mark[1]] = mark[2]
    return Block(
        page,
        start + 1,
        language,
        title[1] if title else None,
        textwrap.dedent("\n".join(code)) + "\n",
        marks.get("not run"),
        int(marks.get("exit", 0)),
    )
