"""The files that a user names: what a path may be, and which must not be overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opwatch.errors import ConfigurationError, OpwatchError

Named = tuple[str, Path | None]
"""What a file is to the user ("the state file"), and its path."""


@contextmanager
def refused(doing: str, path: Path) -> Iterator[None]:
    """Turn whatever the system says about a path into a `ConfigurationError`: "cannot read …"."""
    try:
        yield
    except OpwatchError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # a link loop, a null character
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"cannot {doing} {path}: {why}") from None


def check_target(option: str, path: Path | None, *others: Named) -> None:
    """Refuse a file to write that is one of the others, by whatever path."""
    for what, other in others:
        if path is not None and other is not None and is_same(path, other):
            raise ConfigurationError(f"{option} {path} would overwrite {what}; give another file")


def is_same(one: Path, other: Path) -> bool:
    """Return whether two paths are one file, or would be."""
    try:
        return one.samefile(other)
    except OSError:
        pass  # one of them isn't there
    try:
        return one.resolve() == other.resolve()
    except (OSError, RuntimeError):
        return one == other
