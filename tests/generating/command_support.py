"""Runs the command in an empty folder."""

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from generating_tools import Change, changed, run_here

from opwatch.cli import main
from opwatch.cli.generating import client

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in an empty folder: its exit code, output and errors.

    The tests of examples/specs run it with a client generator in a process of its own.
    """
    monkeypatch.setattr(client, "run", run_here)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def of(*words: str) -> tuple[int, str, str]:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(words)
        for name in [name for name in sys.modules if name.startswith("opwatch_press")]:
            del sys.modules[name]
        return code, out.getvalue(), err.getvalue()

    return of


def spec(change: Change | None = None, name: str = "press.json") -> str:
    Path(name).write_text(json.dumps(changed(change), indent=1), encoding="utf-8")
    return name
