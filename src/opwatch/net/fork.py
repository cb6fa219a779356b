"""What must happen in the child after a fork. Nothing registered here outlives its client."""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import ref

# Not a WeakSet: its callbacks are Python code, in which an interrupt would be swallowed.
_watched: list[ref[Any]] = []
_lock = threading.Lock()


def watch(what: Any) -> None:
    """Call `what.after_fork()` in every child: it drops the parent's sockets, locks and threads."""
    with _lock:
        count = len(_watched)
        if count & (count - 1) == 0:  # at each power of two, so that the dead are half at most
            _watched[:] = [each for each in _watched if each() is not None]
        _watched.append(ref(what))


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for each in list(_watched):
        if (what := each()) is not None:
            what.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
