"""Files that a user names: which paths are valid, and which files must not be overwritten."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from opwatch.errors import ConfigurationError, OpwatchError

Named = tuple[str, Path | None]
"""What the user calls a file ("the state file"), and its path."""
LARGEST = 256 * 1024 * 1024
"""The most bytes that are read: a device has no end."""


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


def limited(file: BinaryIO, what: str) -> bytes:
    """Return the content of a file; raise `ConfigurationError` if it is over `LARGEST`."""
    content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ConfigurationError(f"{what} is larger than {LARGEST // 1024**2} MiB")
    return content


def check_target(option: str, path: Path | None, *others: Named) -> None:
    """Raise `ConfigurationError` if the file to write is one of the others, or a standard
    stream, by any path."""
    if path is None:
        return
    found = [what for what, other in others if other is not None and is_same(path, other)]
    for what in ("stdin", "stdout", "stderr"):
        with suppress(OSError, ValueError, AttributeError):  # closed, or no file at all
            stream = os.fstat(getattr(sys, what).fileno())
            if stat.S_ISREG(stream.st_mode) and os.path.samestat(stream, path.stat()):
                side = "from" if what == "stdin" else "to"
                found.append(f"the file that {what} is redirected {side}")
    if found:
        raise ConfigurationError(f"{option} {path} would overwrite {found[0]}; use another file")


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
