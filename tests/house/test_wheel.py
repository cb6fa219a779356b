"""The wheel that users install, and the source distribution."""

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import opwatch

ROOT = Path(__file__).resolve().parents[2]
INFO = f"opwatch-{opwatch.__version__}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, built without the network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel"]
    subprocess.run(
        [*command, "--outdir", folder], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """`opwatch`, `opwatch_api` and `opwatch_waits`; no tests, no tools, no specs."""
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"opwatch", "opwatch_api", "opwatch_waits", f"{INFO}.dist-info"}


def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    """Every module of the source tree is in it."""
    source = {
        path.relative_to(root).as_posix()
        for root in (ROOT / "src", ROOT / "generated")
        for path in root.rglob("*.py")
    }
    held = {name for name in wheel.namelist() if name.endswith(".py")}
    assert held == source


@pytest.mark.parametrize("package", ["opwatch", "opwatch_api", "opwatch_waits"])
def test_all_packages_are_typed(wheel: zipfile.ZipFile, package: str) -> None:
    """Type checkers are told that the packages carry their own types (PEP 561)."""
    assert f"{package}/py.typed" in wheel.namelist()


def test_the_metadata(wheel: zipfile.ZipFile) -> None:
    """The metadata has the version, the license, the oldest Python, and the extras."""
    metadata = Parser().parsestr(wheel.read(f"{INFO}.dist-info/METADATA").decode())
    assert metadata["Version"] == opwatch.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert {"cli", "simulator"} <= set(metadata.get_all("Provides-Extra", []))
    assert f"{INFO}.dist-info/licenses/LICENSE" in wheel.namelist()


def test_the_source_distribution_can_be_built_from(built: Path) -> None:
    """It holds the packages, the specs they come from, and what the metadata needs."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {
        *("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "specs/itwin.yaml"),
        *("src/opwatch/client.py", "generated/opwatch_api/itwin/client.py"),
    } <= names
    assert {name for name in names if name.startswith((".", "tests", "node_modules"))} <= {
        ".gitignore"
    }
