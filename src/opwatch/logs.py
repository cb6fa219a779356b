"""Log records with attributes of their own."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("opwatch")


def log(level: int, text: str, *words: object, extra: dict[str, Any]) -> None:
    """Log with `extra` as attributes of the record, unless the program sets one of them itself."""
    try:
        logger.log(level, text, *words, extra=extra, stacklevel=2)
    except KeyError:  # a record factory has set `service`, for example
        logger.log(level, text, *words, stacklevel=2)
