"""For the navigation: pages that another tool writes are listed where they are.

`make bench` writes two pages, the tests of the network one. mkdocs calls `on_config` with what
mkdocs.yml says, before it looks for pages.
"""

from pathlib import Path
from typing import Any

WRITTEN = frozenset({"benchmarks.md", "cost.md", "what-happens-when.md"})


def on_config(config: Any) -> Any:
    """The settings, without the entries of pages that are not written yet."""
    config.nav = present(config.nav, Path(config.docs_dir))
    return config


def present(nav: Any, docs: Path) -> Any:
    """A navigation, or a part of it, without the pages of `WRITTEN` that `docs` does not have."""
    if isinstance(nav, dict):
        return {title: present(entry, docs) for title, entry in nav.items()}
    if isinstance(nav, list):
        kept = (
            entry
            for entry in nav
            if not (isinstance(entry, str) and entry in WRITTEN) or (docs / entry).is_file()
        )
        return [present(entry, docs) for entry in kept]
    return nav
