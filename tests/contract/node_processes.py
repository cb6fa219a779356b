"""Programs of Node for the tests here: one that serves, and what one prints."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
MODULES = HERE.parents[1] / "node_modules"
LIMIT = 600.0
"""Seconds after which a program is ended, whatever it does: some serve all tests of a file."""


@contextmanager
def lines_of(program: str, *arguments: str) -> Iterator[Iterator[Any]]:
    """The lines of JSON that a running program prints; it is ended at the end."""
    if not MODULES.exists():
        pytest.fail("the packages of Node aren't installed: run `make contract`")
    command = ["node", "--no-warnings", HERE / program, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        limit = threading.Timer(LIMIT, process.kill)
        limit.start()
        try:
            assert process.stdout is not None
            yield (json.loads(line) for line in process.stdout if line.startswith(("{", "[")))
        finally:
            limit.cancel()
            process.terminate()
