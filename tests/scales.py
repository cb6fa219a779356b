"""Time limits in tests: short ones first, and longer ones if this machine is too slow for those."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest

SCALES = (1, 4, 16)


def at_some_scale(test: Callable[..., None]) -> Callable[..., None]:
    """Repeat a test that fails, with limits four times as long.

    The test takes a `scale`, by which it multiplies each number of seconds. On a busy machine any
    process may stand still for longer than a short limit lasts; a fault is one at each scale.
    """

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        for scale in SCALES:
            try:
                return test(*arguments, scale=scale, **named)
            except (Exception, pytest.fail.Exception):
                if scale == SCALES[-1]:
                    raise
        return None

    signature = inspect.signature(test)
    kept = [one for one in signature.parameters.values() if one.name != "scale"]
    run.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return run
