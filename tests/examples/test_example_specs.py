"""Each spec of examples/specs becomes a package that keeps its promises."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SPECS = Path(__file__).resolve().parents[2] / "examples" / "specs"
NAMES = sorted(path.stem for path in SPECS.glob("*.yaml"))
Written = Callable[[str], Any]


def run(command: list[str], folder: Path) -> tuple[int, str]:
    """The exit code of a Python module, run in a folder, and what it printed."""
    command = [sys.executable, "-m", *command]
    env = {**os.environ, "PYTHONPATH": "."}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_the_package_keeps_the_contract(
    name: str, written: Written, package_of: Callable[[str], ModuleType]
) -> None:
    """Its own test passes, with a sample of each phase."""
    assert package_of(name).PLUGIN.name == name
    (test,) = (written(name).folder / "tests").glob("*.py")
    names: dict[str, Any] = {}
    exec(test.read_text(encoding="utf-8"), names)
    names["test_conformance"]()
    labels = (SPECS / f"{name}.yaml").read_text(encoding="utf-8").count("x-phase: ")
    assert len(names["SAMPLES"]) == labels > 3


@pytest.mark.typing
def test_the_packages_are_typed(written: Written, tmp_path: Path) -> None:
    """mypy --strict finds nothing to say about what was written beside the clients."""
    folders = [written(name).folder for name in NAMES]
    files = [str(file) for folder in folders for file in folder.glob("opwatch_*/*.py")]
    assert len(files) == 2 * len(NAMES)
    mypy = ["mypy", "--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path)]
    code, text = run([*mypy, *files], tmp_path)
    assert code == 0, text


@pytest.mark.parametrize(
    ("name", "variables", "job_id"),
    [
        ("batch", "it needs these variables: OPENAI_API_KEY\n", "ID"),
        ("github-actions", "", "OWNER/REPO/RUN_ID"),
        ("ogc-processes", "it needs these variables: OGC_PROCESSES_BASE_URL\n", "ID"),
    ],
)
def test_what_to_do_next_is_said(name: str, variables: str, job_id: str, written: Written) -> None:
    """The variables that must be set are named, and the form of an ID of several parts."""
    folder, said = written(name)
    assert said == (
        f"wrote a package for {name} to OUT\n"
        f"{variables}"
        f"next: pip install OUT\n"
        f"then: opwatch watch {name} {job_id}\n"
    )
    assert f"opwatch watch {name} {job_id}\n" in (folder / "README.md").read_text(encoding="utf-8")
