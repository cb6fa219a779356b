"""A value that tests replace for the whole process."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Current(Generic[T]):
    """A value that can be replaced. Every thread and task sees the latest one, as it would not see
    that of a context variable."""

    def __init__(self, usual: T) -> None:
        self._values = [usual]

    def get(self) -> T:
        return self._values[-1]

    def set(self, value: T) -> T:
        """Replace the value; return what `reset` takes to undo that."""
        self._values.append(value)
        return value

    def reset(self, value: T) -> None:
        self._values.remove(value)
