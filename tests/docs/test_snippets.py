"""The documentation does what it says: every block of code runs, and prints what the page shows.

The blocks of a page run in their order, in one namespace, against the simulator (docs_stage). A
`bash` block runs in a shell, a minute after the block before it, in the page's own folder.
"""

import doctest
import io
import json
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

import attrs
import docs_stage
import pytest
import yaml
from docs_blocks import DOCS, OTHER, RUN, Block, blocks, pages

from opwatch.simulator import Simulator

UNSTAGED = {"adding-a-service.md", "recipes/checking-a-spec.md", "testing.md"}
"""Pages whose processes bring their own clock and simulator."""

CONTINUED = {"recipes/checking-a-spec.md": "adding-a-service.md"}
"""Pages that need the files of another one, which is run first."""

NOT_RUN: dict[str, set[str]] = {
    "adding-a-service.md": {"it installs packages"},
    "cli.md": {"it changes the shell it is run in", "jq isn't installed with opwatch"},
    "compare.md": {"the library isn't installed with opwatch"},
    "index.md": {"it installs packages"},
    "recipes/airflow.md": {"it installs packages"},
    "recipes/celery.md": {"it installs packages"},
    "recipes/fastapi.md": {
        "it needs the server; the tests of the example run it",
        "it serves until it is stopped; the tests of the example run it",
    },
    "recipes/notebook.md": {
        "it installs packages",
        "it needs the page as a notebook; the tests of the page run it",
    },
    "recipes/opentelemetry.md": {"it installs packages"},
    "recipes/webhooks.md": {"it serves until it is stopped; the tests of the example run it"},
    "testing.md": {"it installs packages"},
    "specs.md": {"the tests of the specs run it, and it writes into the repository"},
    "typed-clients.md": {"it installs packages"},
}
"""Why a block of a page is not run; these and no others."""

INCLUDED: dict[str, set[str]] = {
    "cli.md": {"events.schema.json"},
    "recipes/airflow.md": {"model_dag.py"},
    "recipes/celery.md": {"begin_wait.py", "watch_jobs.py", "worker.sh"},
    "recipes/cron.md": {"watch_job.py"},
    "recipes/webhooks.md": {"receive.py"},
    "recipes/fastapi.md": {"app.py"},
    "recipes/github-actions.md": {"wait.yml"},
    "recipes/many-jobs.md": {"watch_all.py"},
}
"""Files that a page shows, and which have tests of their own."""

PAGES = [page.relative_to(DOCS).as_posix() for page in pages()]


@attrs.define
class Page:
    """A page while its blocks are run."""

    clock: docs_stage.SharedClock
    environment: dict[str, str]
    folder: Path
    names: dict[str, object] = attrs.field(factory=lambda: {"__name__": "__main__"})
    printed: str = ""

    def run(self, block: Block) -> None:
        if block.is_output:
            self._compare(block)
        elif block.included:
            for file in block.included:
                shutil.copy(file, self.folder)
        elif block.is_file:
            (self.folder / str(block.title)).write_text(block.code, "utf-8")
        elif block.language == "python":
            self._python(block)
        else:
            self._bash(block)

    def _python(self, block: Block) -> None:
        out = io.StringIO()
        code = compile("\n" * (block.line - 1) + block.code, str(block.page), "exec")
        with redirect_stdout(out), pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "sleep", self.clock.sleep)
            exec(code, self.names)
        self.printed = out.getvalue()

    def _bash(self, block: Block) -> None:
        self.clock.advance(60)
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", block.code],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if done.returncode != block.exit_code:
            said = f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
            pytest.fail(f"{block.where}: {said}", pytrace=False)
        self.printed = done.stdout + done.stderr

    def _compare(self, block: Block) -> None:
        checker, flags = doctest.OutputChecker(), doctest.ELLIPSIS
        if not checker.check_output(block.code, self.printed, flags):
            pytest.fail(
                f"{block.where}: printed\n{self.printed}\nand not\n{block.code}", pytrace=False
            )


@pytest.fixture
def page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Page]:
    file, folder = tmp_path / "clock", tmp_path / "page"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with ExitStack() as stack:
        clock = stack.enter_context(docs_stage.SharedClock(file))
        stack.callback(clock.close)
        simulator = stack.enter_context(Simulator(clock=clock))
        stack.enter_context(docs_stage.network())
        stack.enter_context(docs_stage.httpx_network())
        name = request.getfixturevalue("name")
        docs_stage.jobs(simulator)
        monkeypatch.setenv(docs_stage.URL, simulator.url)
        for variable, value in docs_stage.variables(simulator).items():
            monkeypatch.setenv(variable, value)
        staged = name not in UNSTAGED
        yield Page(clock, docs_stage.child_environment(file, simulator, staged=staged), folder)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.timeout(300)
def test_every_block_of_a_page_does_what_the_page_says(name: str, page: Page) -> None:
    """Code runs, files are run by a later block, and what is shown as output is what is printed."""
    has_run = False
    before = blocks(DOCS / CONTINUED[name]) if name in CONTINUED else []
    for block in (*before, *blocks(DOCS / name)):
        is_data = block.is_file and "/" not in str(block.title)
        is_code = block.language in RUN
        if (block.is_output and has_run) or is_data or (is_code and block.not_run is None):
            page.run(block)
        has_run = block.not_run is None if is_code else has_run


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_what_it_is(name: str) -> None:
    """A block is of a language that is run, checked, or known to be neither, and in one fence."""
    assert not re.search(r"^ *~~~|<pre", (DOCS / name).read_text("utf-8"), re.MULTILINE)
    for block in blocks(DOCS / name):
        assert block.language in RUN | OTHER, block.where
        _check_data(block)


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_a_page_gives_is_run_by_it(name: str) -> None:
    """A block with the name of a file comes before one that runs it or imports it."""
    found = blocks(DOCS / name)
    for number, block in enumerate(found):
        if block.is_file and not _is_excused(block) and block.language in RUN:
            title = str(block.title)
            uses = {"bash": title, "python": f"from {Path(title).stem} import"}
            later = found[number + 1 :]
            assert any(
                uses[other.language] in other.code for other in later if other.language in uses
            ), block.where


def test_the_blocks_that_are_not_run_are_the_listed_ones() -> None:
    """No block is left out by a mark that nobody looked at."""
    found: dict[str, set[str]] = {}
    for name in PAGES:
        for block in blocks(DOCS / name):
            if block.not_run is not None:
                found.setdefault(name, set()).add(block.not_run)
    assert found == NOT_RUN


def test_the_files_that_pages_show_are_the_listed_ones() -> None:
    """A file that a page shows exists, and is listed because it has tests of its own."""
    found: dict[str, set[str]] = {}
    for name in PAGES:
        for file in (file for block in blocks(DOCS / name) for file in block.included):
            assert file.is_file(), f"{name} shows {file}"
            found.setdefault(name, set()).add(file.name)
    assert found == INCLUDED


def _is_excused(block: Block) -> bool:
    return block.not_run is not None or bool(block.included)


def _check_data(block: Block) -> None:
    if block.included:
        return
    if block.language == "json":
        json.loads(block.code)
    elif block.language == "toml":
        tomllib.loads(block.code)
    elif block.language == "yaml":
        yaml.safe_load(block.code)
