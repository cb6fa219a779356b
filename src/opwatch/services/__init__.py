"""The services, found by name through the entry points `opwatch.services`.

Each file beside this one says all there is to say about one service: its constructor and
credentials, how to read an answer, how to read an error.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opwatch.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.metadata import EntryPoints

    from opwatch.client import Plugin

GROUP = "opwatch.services"


def names() -> list[str]:
    """The services that are installed, ours and other packages'."""
    return sorted({entry.name for entry in _entries()})


def find(name: str) -> Plugin:
    """The service of that name; `ConfigurationError` lists those there are."""
    for entry in _entries():
        if entry.name == name:
            plugin: Plugin = entry.load()
            return plugin
    raise ConfigurationError(f"unknown service {name!r}; there are {', '.join(names())}")


# --- what the services' from_env have in common ---------------------------------------------------


@contextmanager
def taken_from(variables: Mapping[str, str]) -> Iterator[None]:
    """A refusal of an argument names the variable that the argument was taken from.

    The keys are the names of arguments, which is what the refusals of constructors begin with.
    """
    try:
        yield
    except ConfigurationError as error:
        name, space, rest = error.message.partition(" ")
        if name in variables:
            error.message = f"{variables[name]}{space}{rest}"
            error.args = (error.message,)
        raise


def url(variable: str, default: str = "") -> str:
    """The address in a variable; `default` where it is not set.

    Raises `ConfigurationError` for a bare word: as an address without `https://` it could be one,
    and more likely it is something else.
    """
    value = os.environ.get(variable) or default
    if value and "://" not in value and "." not in value.partition("/")[0]:
        raise ConfigurationError(f"{variable} must be an address like https://example.com/path")
    return value


def _entries() -> EntryPoints:
    from importlib.metadata import entry_points  # takes 20 ms, and a client does not need it

    return entry_points(group=GROUP)
