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
def written(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Callable[[str], Written]:
    """Generates the package of a spec, once."""

    def of(name: str) -> Written:
        def make(folder: Path) -> None:
            out = folder / "out"
            with redirect_stdout(io.StringIO()) as output:
                assert main(["generate", str(SPECS / f"{name}.yaml"), "--out", str(out)]) == 0
            said = output.getvalue().replace(str(out), "OUT")
            (folder / "said.txt").write_text(said, encoding="utf-8")

        folder = made_once(f"example-{name}", make)
        return Written(folder / "out", (folder / "said.txt").read_text(encoding="utf-8"))

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
