"""What has to happen in the child after a fork. Nothing registered here outlives its client."""

from __future__ import annotations

import os
from typing import Any
from weakref import WeakSet

_watched: WeakSet[Any] = WeakSet()


def watch(what: Any) -> None:
    """Call `what.after_fork()` in every child: it drops the parent's sockets, locks and threads."""
    _watched.add(what)


def _in_child() -> None:
    for what in list(_watched):
        what.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
