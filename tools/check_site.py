"""Checks the built documentation: `python tools/check_site.py site`.

Every internal link and its anchor must resolve, and no page may load anything from another host: no
font, no script, no image. Links to other sites aren't checked.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "image": "href",
    "img": "src",
    "object": "data",
    "script": "src",
    "source": "src",
    "track": "src",
    "use": "href",
    "video": "src",
}
"""The attributes whose address a browser loads automatically."""
SHEETS = frozenset({"stylesheet", "icon", "preload", "prefetch", "preconnect", "modulepreload"})
ELSEWHERE = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""", re.IGNORECASE)


class Page(HTMLParser):
    """Collects the addresses and anchors of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Record what an element names, links to, and loads."""
        found = {name: value or "" for name, value in attributes}
        if "id" in found:
            self.anchors.add(found["id"])
        if tag == "a":
            self.anchors.add(found.get("name", ""))
            self.links += [found["href"]] if "href" in found else []
        address = found.get(LOADED.get(tag, ""), "")
        if tag == "link" and SHEETS & set(found.get("rel", "").split()):
            address = found.get("href", "")
        if address and not address.startswith("data:"):
            self.loads.append(address)


def read(site: Path) -> dict[Path, Page]:
    """Return every page of a site, parsed."""
    found = {}
    for path in sorted(site.rglob("*.html")):
        page = found[path] = Page()
        page.feed(path.read_text("utf-8"))
        page.close()
    return found


def faults(site: Path) -> Iterator[str]:
    """Return the problems, one line for each."""
    pages = read(site)
    if not pages:
        yield f"{site}: no page"
    for path, page in pages.items():
        for address in page.loads:
            fault = (
                _missing(path, address, pages)
                if _is_inside(address)
                else "is loaded from another host"
            )
            if fault:
                yield f"{path.relative_to(site)}: {address}: {fault}"
        for address in filter(_is_inside, page.links):
            if fault := _missing(path, address, pages):
                yield f"{path.relative_to(site)}: {address}: {fault}"
    for sheet in sorted([*site.rglob("*.css"), *site.rglob("*.svg")]):
        if ELSEWHERE.search(sheet.read_text("utf-8")):
            yield f"{sheet.relative_to(site)}: loads something from another host"


def _is_inside(address: str) -> bool:
    parts = urlsplit(address)
    return not parts.scheme and not parts.netloc


def _missing(path: Path, address: str, pages: dict[Path, Page]) -> str | None:
    """Return why an internal address doesn't resolve, or None."""
    parts = urlsplit(address)
    if parts.path.startswith("/"):
        # Only the page for 404 doesn't know its own address.
        return None if path.name == "404.html" else "an absolute path"
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "no such file"
    page = pages.get(target)
    if parts.fragment and page is not None and unquote(parts.fragment) not in page.anchors:
        return "no such anchor"
    return None


def main() -> int:
    """Check the site named on the command line; return 0 for success."""
    found = list(faults(Path(sys.argv[1]).resolve()))
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
