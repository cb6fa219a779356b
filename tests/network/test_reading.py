"""Reading single fields: any form is tolerated, and no value is invented."""

from __future__ import annotations

import pytest

from opwatch.reading import count, text
from opwatch.text import printable


def test_a_count_is_exact_however_large() -> None:
    """A whole number that came as one is not rounded on the way."""
    assert count(2**53 + 1) == 2**53 + 1


@pytest.mark.parametrize("value", [-1, 1.5, "much", None, True, [], 10**400, float("nan")])
def test_what_is_no_count_is_none(value: object) -> None:
    """Anything but a whole number of at least 0 is None."""
    assert count(value) is None


def test_text_can_be_written_anywhere() -> None:
    """Half a surrogate pair, which JSON can hold, is replaced; all other text stays."""
    assert text("Schritt \ud800 é \N{GRINNING FACE}") == "Schritt ? é \N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("one\r\ntwo\tthree\u2028four", "one two three four"),
        ("\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
        ("a\u202egnp.exe", "a\ufffdgnp.exe"),
        ("nul\0 bell\a del\x7f", "nul\ufffd bell\ufffd del\ufffd"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("x" * 50, "x" * 19 + "…"),
        (" " * 50, ""),
    ],
)
def test_a_printable_line_is_safe_to_show(value: str, line: str) -> None:
    """No line break, control character, direction mark or escape sequence is left."""
    assert printable(value, 20) == line
