"""What must happen in the child after a fork. Nothing registered here outlives its client."""

from __future__ import annotations

import os
from functools import partial
from typing import Any
from weakref import ref

# By id. Not a WeakSet: its callbacks are Python code, in which an interrupt would be swallowed. And
# no lock: a signal handler may create a client while another one is being created.
_watched: dict[int, ref[Any]] = {}


def watch(what: Any) -> None:
    """Call `what.after_fork()` in every child: it drops the parent's sockets, locks and threads."""
    _watched[id(what)] = ref(what, partial(_watched.pop, id(what)))


def _in_child() -> None:
    for each in list(_watched.values()):
        if (what := each()) is not None:
            what.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
