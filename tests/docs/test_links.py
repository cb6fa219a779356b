"""All links work, on the pages and on the built site."""

import re
from pathlib import Path

import check_site
import docs_nav
import pytest
import yaml
from docs_blocks import DOCS, ROOT, pages

LINK = re.compile(r"(?<!!)\[[^]]*\]\(([^)\s]+)\)|!\[[^]]*\]\(([^)\s]+)\)")
PAGES = [page.relative_to(DOCS).as_posix() for page in pages()]


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    text = page.read_text("utf-8")
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Those that the headings of a page give, as Python-Markdown makes them."""
    headings = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    names = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[-\s]+", "-", name) for name in names}


def links(page: Path) -> list[str]:
    return [
        first or second for first, second in LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))
    ]


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_to_a_page_and_its_heading(name: str) -> None:
    """Relative links name a file that is there, and an anchor that a heading of it gives."""
    page = DOCS / name
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_navigation_once() -> None:
    """A page that nobody can find is none; one that another tool has yet to write is no entry."""

    def names(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        children = entry.values() if isinstance(entry, dict) else entry
        return [name for child in children for name in names(child)]  # type: ignore[union-attr]

    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    nav = docs_nav.present(settings["nav"], DOCS)
    assert sorted(names(nav)) == sorted(PAGES)


def test_only_pages_of_other_tools_may_be_missing(tmp_path: Path) -> None:
    """An entry without a page stays, so that the build fails; but for the pages to be written."""
    (tmp_path / "benchmarks.md").touch()
    nav = ["index.md", {"More": ["every-case.md", "benchmarks.md", "gone.md"]}]
    expected = ["index.md", {"More": ["benchmarks.md", "gone.md"]}]
    assert docs_nav.present(nav, tmp_path) == expected


def test_the_repository_is_a_plain_link_in_the_footer() -> None:
    """If the project names its repository, each page links to it; otherwise there is no link."""
    (link,) = docs_nav.repository({"Repository": "https://git.example/opwatch"})
    assert link["link"] == "https://git.example/opwatch"
    assert docs_nav.repository({}) == []


def test_a_link_out_of_the_documentation_is_text_on_the_site() -> None:
    """A checkout has the files; the site shows them on the page itself."""
    page = "See [`app.py`](../../examples/fastapi/app.py) and [events](../events.md)."
    assert docs_nav.on_page_markdown(page) == "See `app.py` and [events](../events.md)."


@pytest.mark.parametrize("name", PAGES)
def test_a_file_that_a_page_includes_is_linked(name: str) -> None:
    """The page alone, unrendered, leads to each file that it includes."""
    page = DOCS / name
    targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page)}
    included = re.findall(r'^ *--8<-- "(.+)"', page.read_text("utf-8"), re.MULTILINE)
    assert {ROOT / file for file in included} <= targets


def test_no_page_asks_for_a_font() -> None:
    """The theme would fetch its fonts from another host."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert settings["theme"]["font"] is False


# --- the check of the built site ------------------------------------------------------------------


def built(site: Path, body: str, **files: str) -> list[str]:
    """What the check finds in a site of one page and some files."""
    (site / "index.html").write_text(f"<html><body>{body}</body></html>", "utf-8")
    for name, text in files.items():
        (site / name.replace("_", ".")).write_text(text, "utf-8")
    return list(check_site.faults(site))


def test_a_site_whose_links_lead_somewhere_has_no_fault(tmp_path: Path) -> None:
    """Files, folders with an index, anchors, and links that a reader may follow to elsewhere."""
    body = (
        '<h1 id="top">x</h1><a href="#top">x</a><a href=".">x</a><a href="other.html#there">x</a>'
        '<a href="https://elsewhere.example/">x</a><img src="picture.png">'
        '<img src="data:image/png;base64,AA"><link rel="canonical" href="https://a.example/">'
    )
    files = {"other_html": '<p id="there">', "picture_png": "", "style_css": "p { color: red }"}
    assert built(tmp_path, body, **files) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="gone.html">x</a>', "no such file"),
        ('<a href="#gone">x</a>', "no such anchor"),
        ('<a href="/index.html">x</a>', "an absolute path"),
        ('<img src="gone.png">', "no such file"),
        ('<script src="https://elsewhere.example/a.js"></script>', "is loaded from another host"),
        ('<script src="//elsewhere.example/a.js"></script>', "is loaded from another host"),
        (
            '<link rel="stylesheet" href="https://fonts.example/a.css">',
            "is loaded from another host",
        ),
        ('<link rel="preconnect" href="https://fonts.example">', "is loaded from another host"),
        ('<iframe src="https://elsewhere.example/"></iframe>', "is loaded from another host"),
    ],
)
def test_a_fault_of_a_site_is_found(tmp_path: Path, body: str, fault: str) -> None:
    """A link inside that leads nowhere, and anything that is loaded from another host."""
    [found] = built(tmp_path, body)
    assert found.endswith(fault)


@pytest.mark.parametrize(
    "sheet",
    [
        "@import 'https://fonts.example/a.css';",
        "@font-face { src: url(https://fonts.example/a.woff2) }",
        'p { background: url("//elsewhere.example/a.png") }',
    ],
)
def test_a_style_sheet_that_loads_from_elsewhere_is_found(tmp_path: Path, sheet: str) -> None:
    """A font or a picture of another host is no less a request than a script."""
    [found] = built(tmp_path, "", style_css=sheet)
    assert found == "style.css: loads something from another host"


def test_an_empty_site_is_a_fault(tmp_path: Path) -> None:
    """A build that wrote nothing passes no check."""
    assert list(check_site.faults(tmp_path)) == [f"{tmp_path}: no page"]
