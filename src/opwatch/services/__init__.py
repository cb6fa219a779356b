"""The services, found by name through the entry points `opwatch.services`.

Each other file in this folder defines everything about one service: its constructor and
credentials, how to read an answer, how to read an error.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from opwatch.errors import ConfigurationError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

    from opwatch.client import Plugin

GROUP = "opwatch.services"
_added: ContextVar[tuple[Plugin, ...]] = ContextVar("added", default=())


def names() -> list[str]:
    """The services that are installed, ours and other packages', and those that were added."""
    return sorted({found.name for found in (*_entries(), *_added.get())})


def add(plugin: Plugin) -> None:
    """Add a service that isn't installed, for the current context."""
    _added.set((plugin, *_added.get()))


def find(name: str) -> Plugin:
    """The service of that name; `ConfigurationError` lists those there are."""
    for added in _added.get():
        if added.name == name:
            return added
    for entry in _entries():
        if entry.name == name:
            plugin: Plugin = entry.load()
            return plugin
    raise ConfigurationError(f"unknown service {name!r}; the services are {', '.join(names())}")


def _entries() -> EntryPoints:
    from importlib.metadata import entry_points  # takes 20 ms, and a client does not need it

    return entry_points(group=GROUP)
