"""Text from outside, made safe to show."""

from __future__ import annotations


def printable(text: str, limit: int = 500) -> str:
    """Return `text` as one line of at most `limit` printable characters, safe for a terminal."""
    line = " ".join(text[: 10 * limit].split())
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= limit else line[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
