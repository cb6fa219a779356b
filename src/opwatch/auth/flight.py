"""Single flight: one caller makes a request, and the others wait for it to land.

No lock is held while a request is made, and none at all in between: a dictionary's `setdefault`
decides who takes off. So an interrupt, a cancelled task or a fork leaves nothing locked.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from opwatch.errors import OpwatchError
from opwatch.net import fork

T = TypeVar("T")


class Flight:
    """A request in flight. It lands with a result, a failure, or (if it was given up) neither."""

    def __init__(self) -> None:
        self.result: Any = None
        self.failure: OpwatchError | None = None
        """Why it brought no result, for all who waited."""
        self.has_landed = False
        self._wakes: list[Callable[[], object]] = []

    def land(self) -> None:
        """Wake all who wait. Has no effect the second time."""
        self.has_landed = True
        while self._wakes:
            with suppress(RuntimeError, IndexError):  # the loop is closed, so nothing waits there
                self._wakes.pop()()

    def on_landing(self, wake: Callable[[], object]) -> None:
        """Call `wake` when it has landed: at once, if it has."""
        self._wakes.append(wake)
        if self.has_landed:
            self.land()


class Single(dict[str, T]):
    """At most one thing, under an empty name. A child process starts with none."""

    after_fork = dict.clear

    def __init__(self) -> None:
        fork.watch(self)


class Pilot:
    """Whoever needs the request. One's own flight lands when a pilot is dropped, at the latest."""

    def __init__(self, flights: Single[Flight]) -> None:
        self._flights = flights
        self._own = Flight()
        self.flight = flights.setdefault("", self._own)
        """One's own, or the one that is in flight already."""
        self.is_flying = self.flight is self._own

    def land(self) -> None:
        if self._flights.get("") is self._own:
            self._flights.pop("", None)
        self._own.land()

    def __del__(self) -> None:
        if hasattr(self, "_own"):  # not if an interrupt came before
            self.land()
