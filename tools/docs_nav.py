"""The links of the documentation that mkdocs can't make: the navigation, and those out of `docs/`.

`make bench` and the network tests write some of the pages, which are only listed once they exist.
If `pyproject.toml` names a repository, a plain link in the footer leads to it, because the theme's
own widget would load the number of stars from its host. mkdocs calls `on_config` with the settings
of mkdocs.yml before it looks for pages, and `on_page_markdown` with each page.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

WRITTEN = frozenset({"benchmarks.md", "cost.md", "every-case.md"})
PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def on_config(config: Any) -> Any:
    """Return the settings with the repository and without pages that haven't been written yet."""
    config.nav = present(config.nav, Path(config.docs_dir))
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    config.extra["social"] = repository(project.get("urls", {}))
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page without its links to files that it includes: the site shows them instead."""
    return re.sub(r"\[([^]]*)\]\((?:\.\./)+(?:examples|src)/[^)]*\)", r"\1", markdown)


def repository(urls: dict[str, str]) -> list[dict[str, str]]:
    """Return the footer's links: one to the repository, if `urls` has it."""
    if "Repository" not in urls:
        return []
    return [{"icon": "material/source-repository", "name": "Source", "link": urls["Repository"]}]


def present(nav: Any, docs: Path) -> Any:
    """Return a navigation, or a part of it, without the pages of `WRITTEN` that don't exist."""
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
