"""The Makefile on a machine with pyenv, whose shims are slow to report a missing version."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_each_interpreter_is_probed_once(tmp_path: Path) -> None:
    """The first environment says what it looks for, and asks no interpreter twice."""
    bin_folder, log = tmp_path / "bin", tmp_path / "probed"
    bin_folder.mkdir()
    for name in ("python3.11", "python3.12", "python3.13", "python3"):
        shim = bin_folder / name
        answer = f'exec {sys.executable} "$@"' if name == "python3.13" else "exit 127"
        shim.write_text(f"#!/bin/sh\necho {name} >> {log}\n{answer}\n", "utf-8")
        shim.chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS")
    }
    done = subprocess.run(
        ["make", "--dry-run", ".venv/bin/python"],
        cwd=tmp_path,
        env=environment | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Looking for Python 3.11 or newer" in done.stdout
    assert "python3.13 -m venv" in done.stdout
    assert log.read_text("utf-8").split() == ["python3.11", "python3.12", "python3.13"]
