"""The layers in pyproject.toml are enforced: each rule is broken in a copy of the source."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BROKEN = [
    (
        "opwatch/reading.py",
        "import opwatch.core.polling",
        "Each file imports only what lies below it",
    ),
    ("opwatch/clock.py", "import opwatch.net.fork", "Each file imports only what lies below it"),
    ("opwatch/progress.py", "import opwatch", "Each file imports only what lies below it"),
    ("opwatch/client.py", "import opwatch.cli", "Each file imports only what lies below it"),
    ("opwatch/new.py", "", "Each file imports only what lies below it"),
    (
        "opwatch/core/polling.py",
        "import opwatch.core.session",
        "Waiting: each file imports only what lies below it",
    ),
    (
        "opwatch/core/run.py",
        "import opwatch.core.loop",
        "Waiting: each file imports only what lies below it",
    ),
    ("opwatch/core/new.py", "", "Waiting: each file imports only what lies below it"),
    (
        "opwatch/auth/ctn1.py",
        "import opwatch.auth.tokens",
        "The signatures don't know how they are sent",
    ),
    (
        "opwatch/net/exchange.py",
        "import opwatch.net.blocking",
        "The network: each file imports only what lies below it",
    ),
    ("opwatch/net/new.py", "", "The network: each file imports only what lies below it"),
    ("opwatch/services/itwin.py", "import opwatch.services.apig", "No service knows another"),
    ("opwatch_api/itwin/types.py", "import opwatch_api.apig", "The generated clients stand alone"),
    (
        "opwatch_api/itwin/types.py",
        "import opwatch.errors",
        "The generated code knows nothing of the facade",
    ),
    (
        "opwatch_api/itwin/types.py",
        "import opwatch_waits.itwin",
        "The generated code knows nothing of the facade",
    ),
    ("opwatch_waits/itwin.py", "import opwatch_waits.apig", "No compiled wait knows another"),
    (
        "opwatch_waits/itwin.py",
        "import opwatch.client",
        "The compiled waits use the facade's vocabulary, and only the services use them",
    ),
    (
        "opwatch/reading.py",
        "import httpx",
        "The facade has its own HTTP exchange, and h11 stays in it",
    ),
    (
        "opwatch/cli/__init__.py",
        "import httpcore",
        "The facade has its own HTTP exchange, and h11 stays in it",
    ),
    (
        "opwatch/net/connection.py",
        "import h11",
        "The facade has its own HTTP exchange, and h11 stays in it",
    ),
    ("opwatch/core/loop.py", "import click", "The core needs no extra"),
    ("opwatch/core/channel.py", "import wsproto", "The core needs no extra"),
    ("opwatch/services/itwin.py", "import opwatch_api.wire.itwin", "The core needs no extra"),
]


def copied(folder: Path) -> Path:
    """The packages and the rules."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "opwatch", folder / "opwatch", ignore=ignored)
    for name in ("opwatch_api", "opwatch_waits"):
        shutil.copytree(ROOT / "generated" / name, folder / name, ignore=ignored)
    return folder


def broken_rules(tree: Path) -> dict[str, str]:
    """The rules that import-linter finds broken, and what it says of each."""
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
    _, _, said = done.stdout.partition("Broken contracts")
    sections = re.split(r"^(.+)\n-+\n", said, flags=re.MULTILINE)[1:]
    found = dict(zip(sections[::2], sections[1::2], strict=True))
    assert sorted(found) == sorted(broken)
    return found


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of a copy that is broken in every way at once."""
    tree = copied(tmp_path_factory.mktemp("broken"))
    for file, line, _ in BROKEN:
        path = tree / file
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(f"{before}\n{line}\n", encoding="utf-8")
    return broken_rules(tree)


def test_the_source_keeps_every_rule(tmp_path: Path) -> None:
    """Unchanged, the source breaks none."""
    assert broken_rules(copied(tmp_path)) == {}


@pytest.mark.parametrize(("file", "line", "rule"), BROKEN)
def test_a_rule_that_is_broken_is_reported(
    broken: dict[str, str], file: str, line: str, rule: str
) -> None:
    """One import too many, or a file that stands nowhere in the order, is told under its rule."""
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    imported = line.removeprefix("import ")
    told = rf"- +{module} -> {imported} \(" if line else rf"not listed as layers:\n\n- {module}\n"
    assert re.search(told, broken[rule])
