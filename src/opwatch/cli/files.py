"""Files that a user names: which paths are valid, and which files must not be overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opwatch.errors import ConfigurationError, OpwatchError

Named = tuple[str, Path | None]
"""What the user calls a file ("the state file"), and its path."""


@contextmanager
def refused(doing: str, path: Path) -> Iterator[None]:
    """Turn any system error about a path into a `ConfigurationError`: "can't read …"."""
    try:
        yield
    except OpwatchError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # a link loop, a null character
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"can't {doing} {path}: {why}") from None


def check_target(option: str, path: Path | None, *others: Named) -> None:
    """Raise `ConfigurationError` if the file to write is one of the others, by any path."""
    for what, other in others:
        if path is not None and other is not None and is_same(path, other):
            raise ConfigurationError(f"{option} {path} would overwrite {what}; use another file")


def is_same(one: Path, other: Path) -> bool:
    """Return whether two paths name the same file, even if it doesn't exist yet."""
    try:
        return one.samefile(other)
    except OSError:
        pass  # one of them doesn't exist
    try:
        return one.resolve() == other.resolve()
    except (OSError, RuntimeError):
        return one == other
