"""The repository's files: no trace of a machine, pinned versions, links, entry points."""

import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pathspec
import pytest

import opwatch
from opwatch import services

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("specs/README.md", "requirements/README.md"),
]
PINS = sorted((ROOT / "requirements").glob("*.txt"))

# None of these matches itself.
TRACES = {
    "a registry's host": re.compile(r"pypi\.org|pythonhosted\.org|npmjs\.(org|com)"),
    "a path of a machine": re.compile(r"(?<![\w.{}])/(root|home|work|Users)/"),
    "unfinished work": re.compile(r"\b([T]ODO|[F]IXME|[X]XX)\b"),
}


def tracked() -> Iterator[Path]:
    """Every file that .gitignore does not leave out. Needs no git."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = pathspec.GitIgnoreSpec.from_lines([*lines, "/.git/"])
    for name, folders, files in os.walk(ROOT):
        here = Path(name).relative_to(ROOT)
        folders[:] = [folder for folder in folders if not ignored.match_file(f"{here / folder}/")]
        yield from (ROOT / here / file for file in files if not ignored.match_file(here / file))


@pytest.mark.parametrize("trace", TRACES)
def test_no_file_has_a_trace(trace: str) -> None:
    """No file names a registry, a folder of one machine, or work that was left unfinished."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip():.80}"
        for path in tracked()
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if TRACES[trace].search(line)
    ]
    assert found == []


def test_no_file_names_this_checkout() -> None:
    """No file holds the folder it lies in, or this user's home."""
    here = {str(ROOT), str(Path.home())} - {"/"}
    texts = {path: path.read_text("utf-8", errors="replace") for path in tracked()}
    assert len(texts) > 100
    assert [path for path, text in texts.items() if any(f"{name}/" in text for name in here)] == []


def test_the_changelog_begins_with_this_version() -> None:
    """The newest heading of the changelog is the package's version."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", text, re.MULTILINE)[0] == opwatch.__version__


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Each link of a page to a file of the repository has that file at its end."""
    path = ROOT / page
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    files = [link for link in links if "://" not in link]
    assert [link for link in files if not (path.parent / link).exists()] == []


# --- pins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pins", PINS, ids=lambda path: path.name)
def test_each_pin_is_exact_and_hashed(pins: Path) -> None:
    """Every line is an exact version with hashes; none is an option or an address."""
    entries = pins.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    exact = re.compile(r"[a-z0-9.\-\[\],]+==\S+( ; .+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [entry for entry in entries if not exact.fullmatch(entry)] == []


def listed(name: str) -> set[str]:
    """The requirements that a .in file states itself."""
    lines = (ROOT / "requirements" / f"{name}.in").read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith(("#", "-"))}


def test_the_core_is_pinned_as_the_package_states_it() -> None:
    """requirements/core.in are the dependencies of the package, so a clean install is pinned."""
    assert listed("core") == set(PROJECT["dependencies"])


def test_the_demo_has_the_extras_it_needs() -> None:
    """requirements/demo.in holds the extras `cli` and `simulator` as the package states them."""
    extras = PROJECT["optional-dependencies"]
    assert {*extras["cli"], *extras["simulator"]} <= listed("demo")


def test_node_packages_are_pinned_without_an_address() -> None:
    """package.json names exact versions, and package-lock.json no place to fetch them from."""
    package = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    wanted = package["devDependencies"]
    assert lock["packages"][""]["devDependencies"] == wanted
    assert [version for version in wanted.values() if not re.fullmatch(r"[\d.]+", version)] == []
    assert [name for name, entry in lock["packages"].items() if "resolved" in entry] == []


# --- the house ------------------------------------------------------------------------------------


def test_each_service_file_is_an_entry_point() -> None:
    """A file in services/ is found by its own name; one in simulator/ simulates such a service."""
    stems = (path.stem for path in (ROOT / "src/opwatch/services").glob("[a-z]*.py"))
    files = {stem.replace("_", "-") for stem in stems}
    tables = PROJECT["entry-points"]
    assert set(tables["opwatch.services"]) == files
    assert set(tables["opwatch.simulators"]) <= files


def test_the_installed_services_are_those_of_the_files() -> None:
    """The entry points of the installed package load, each with the name it is found by."""
    names = services.names()
    assert set(PROJECT["entry-points"]["opwatch.services"]) <= set(names)
    assert [services.find(name).name for name in names] == names


def test_ci_calls_targets_that_exist() -> None:
    """.ci/run can be run, and what it calls are targets of the Makefile that have a help text."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    script = ROOT / ".ci" / "run"
    called = re.findall(r"^step make ([a-z-]+)$", script.read_text(encoding="utf-8"), re.MULTILINE)
    explained = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    contracts = ["contract", "contract-outside", "contract-pygeoapi"]
    assert called == [
        "test",
        "test-slow",
        "check",
        "validate",
        "check-generated",
        *contracts,
        "docs",
    ]
    assert set(called) <= set(explained)
    assert os.access(script, os.X_OK)


def test_ci_pins_its_actions_and_keeps_no_credentials() -> None:
    """Each action is named by its commit, and no checkout leaves a token in the folder."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", each)] == []
    checkouts = sum(each.startswith("actions/checkout@") for each in used)
    assert text.count("persist-credentials: false") == checkouts
