"""The packages of examples/specs, as `opwatch generate` writes them."""

import functools
import importlib
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from opwatch.cli import main

SPECS = Path(__file__).resolve().parents[2] / "examples" / "specs"


class Written(NamedTuple):
    """A package, and what the command said about it."""

    folder: Path
    said: str


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Written]:
    """Generates the package of a spec, once."""

    @functools.cache
    def of(name: str) -> Written:
        folder = tmp_path_factory.mktemp(name)
        with redirect_stdout(io.StringIO()) as output:
            assert main(["generate", str(SPECS / f"{name}.yaml"), "--out", str(folder)]) == 0
        return Written(folder, output.getvalue())

    return of


@pytest.fixture(scope="session")
def package_of(written: Callable[[str], Written]) -> Iterator[Callable[[str], ModuleType]]:
    """Imports the package of a spec."""
    path = [*sys.path]

    @functools.cache
    def of(name: str) -> ModuleType:
        sys.path.insert(0, str(written(name).folder))
        importlib.invalidate_caches()
        return importlib.import_module(f"opwatch_{name.replace('-', '_')}")

    yield of
    sys.path[:] = path
