"""The services, found by name through the entry points `opwatch.services`.

Each file beside this one says all there is to say about one service: its constructor and
credentials, how to read an answer, how to read an error.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from opwatch.client import Plugin
from opwatch.errors import ConfigurationError

GROUP = "opwatch.services"


def names() -> list[str]:
    """The services that are installed, ours and other packages'."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def find(name: str) -> Plugin:
    """The service of that name; `ConfigurationError` lists those there are."""
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            plugin: Plugin = entry.load()
            return plugin
    raise ConfigurationError(f"unknown service {name!r}; there are {', '.join(names())}")
