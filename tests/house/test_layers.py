"""The layering of pyproject.toml can fail: each rule is broken once, in a copy of the source."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BROKEN = [
    ("opwatch/polling.py", "import opwatch.transport", "Each file imports only what lies below it"),
    ("opwatch/progress.py", "import opwatch", "Each file imports only what lies below it"),
    ("opwatch/client.py", "import opwatch.cli", "Each file imports only what lies below it"),
    ("opwatch/new.py", "", "Each file imports only what lies below it"),
    (
        "opwatch/auth/ctn1.py",
        "import opwatch.auth.flows",
        "The signatures know nothing of how they are sent",
    ),
    (
        "opwatch/transport/exchange.py",
        "import opwatch.transport.blocking",
        "The transport: each file imports only what lies below it",
    ),
    ("opwatch/services/itwin.py", "import opwatch.services.apig", "No service knows another"),
    ("opwatch_api/itwin/types.py", "import opwatch_api.apig", "The generated clients stand alone"),
    (
        "opwatch_api/itwin/types.py",
        "import opwatch.errors",
        "The generated code knows nothing of the facade",
    ),
    ("opwatch/reading.py", "import httpx", "Only the transport sends"),
    ("opwatch/cli/__init__.py", "import httpcore", "Only the transport sends"),
    ("opwatch/waiting.py", "import click", "The core needs no extra"),
    ("opwatch/services/itwin.py", "import opwatch_api.wire.itwin", "The core needs no extra"),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages and the rules."""
    folder = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", folder)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "opwatch", folder / "opwatch", ignore=ignored)
    shutil.copytree(ROOT / "generated" / "opwatch_api", folder / "opwatch_api", ignore=ignored)
    return folder


def broken_rules(tree: Path) -> list[str]:
    """The names of the rules that import-linter finds broken."""
    code = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--no-logo"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    broken = re.findall(r"^(.+) BROKEN\b", done.stdout, re.MULTILINE)
    assert (done.returncode != 0) is bool(broken), done.stdout + done.stderr
    return broken


def test_the_source_keeps_every_rule(tree: Path) -> None:
    """Unchanged, the source breaks none."""
    assert broken_rules(tree) == []


@pytest.mark.parametrize(("file", "line", "rule"), BROKEN)
def test_a_rule_that_is_broken_is_reported(tree: Path, file: str, line: str, rule: str) -> None:
    """One import too many, or a file that stands nowhere in the order, breaks its rule."""
    path = tree / file
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.write_text(f"{before or ''}\n{line}\n", encoding="utf-8")
    try:
        assert rule in broken_rules(tree)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, encoding="utf-8")
