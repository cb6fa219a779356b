"""Ways to authenticate: signatures as pure functions, and tokens with a single flight."""

from __future__ import annotations

from typing import Any

from opwatch.errors import ConfigurationError
from opwatch.net.message import LINE_BREAK, Secret


def require(**values: Any) -> None:
    """Raise a `ConfigurationError` for the first value that can't be sent as a header."""
    for name, value in values.items():
        if fault := Secret(value).fault():
            raise ConfigurationError(fault, argument=name)


def require_text(**values: Any) -> None:
    """Raise a `ConfigurationError` for the first value that isn't a string, or is empty.

    A `Secret`, which may be a password, may consist of spaces.
    """
    for name, value in values.items():
        if fault := _text_fault(value):  # not here: a password would be a local of this frame
            raise ConfigurationError(fault, argument=name)


def _text_fault(value: Any) -> str | None:
    text = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(text, str) or not (text if isinstance(value, Secret) else text.strip()):
        return "must be a non-empty string"
    return LINE_BREAK if text.strip("\r\n") != text else None
