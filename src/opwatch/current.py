"""A value that tests replace for the whole process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
Change: TypeAlias = Callable[[T], T]


class Current(Generic[T]):
    """A value that can be replaced. Every thread and task sees the latest one, as it would not see
    that of a context variable."""

    def __init__(self, usual: T) -> None:
        self._usual = usual
        self._changes: list[Change[T]] = []

    def get(self) -> T:
        value = self._usual
        for change in tuple(self._changes):
            value = change(value)
        return value

    def set(self, value: T) -> Change[T]:
        """Replace the value; return what `reset` takes to undo that, in any order."""
        return self.wrap(lambda below: value)

    def wrap(self, change: Change[T]) -> Change[T]:
        """Change the value, whatever it is at the time; return what `reset` takes to undo that."""

        def once(below: T) -> T:  # equal to no other, even if `change` is the same
            return change(below)

        self._changes.append(once)
        return once

    def reset(self, change: Change[T]) -> None:
        self._changes.remove(change)
