"""Build the wheel and use it as a new user would: in an empty environment, without extras.

This shows what the source tree can't: that the wheel is complete, that the core runs without the
extras, and that a user's type checkers understand it. Every dependency is pinned
(requirements/core.txt); the build uses the hatchling of this environment and no network.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
CONSUMERS = [ROOT / "tests" / "house" / name for name in ("consumer.py", "typed_consumer.py")]
PYRIGHT = ROOT / "node_modules" / ".bin" / "pyright"

IMPORTS = """\
import sys
import opwatch, opwatch.errors
from opwatch_api.itwin.models import JobProgressResponse
for name in opwatch.__all__:
    getattr(opwatch, name)
assert opwatch.__file__.startswith(sys.prefix), opwatch.__file__
from opwatch.services import names
assert {"apig", "catenis", "itwin"} <= set(names()), names()
"""
PYRIGHT_CONFIG = {"typeCheckingMode": "strict", "reportUnnecessaryTypeIgnoreComment": True}


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Show a command and run it; exit if it fails."""
    print("  $", *command, flush=True)
    if code := subprocess.run(command, cwd=cwd, env=environment(), check=False).returncode:
        sys.exit(f"failed with {code}")


def environment() -> dict[str, str]:
    """Return our environment, without variables that would let another Python find the source."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def build() -> Path:
    """Build the wheel from the source distribution, and return it."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST)
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(DIST.iterdir()))
    (wheel,) = DIST.glob("*.whl")
    return wheel


def install(wheel: Path, where: Path) -> Path:
    """Return the Python of a new environment with the wheel and its dependencies."""
    venv.create(where, with_pip=True)
    python = where / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "install", "--require-hashes", "-r", ROOT / "requirements" / "core.txt")
    run(*pip, "install", "--no-deps", "--no-index", wheel)
    run(*pip, "check")
    return python


def check_command(python: Path, cwd: Path) -> None:
    """Check that the command without its extra says what to install."""
    command = (python.with_name("opwatch"), "--help")
    done = subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )
    print(f"  $ opwatch --help\n{done.stderr.strip()}", flush=True)
    if done.returncode != 2 or "opwatch[cli]" not in done.stderr or "Traceback" in done.stderr:
        sys.exit(f"without its extra, `opwatch` must name it and exit with 2: {done}")


def check_types(python: Path, folder: Path) -> None:
    """Check that a user's files pass both type checkers in strict mode."""
    for file in CONSUMERS:
        shutil.copy(file, folder)
    (folder / "pyrightconfig.json").write_text(json.dumps(PYRIGHT_CONFIG), encoding="utf-8")
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", "cache")
    run(*mypy, "--python-executable", python, ".", cwd=folder)
    run(PYRIGHT, "--pythonpath", python, cwd=folder)


def main() -> None:
    """Build, install, import, run, type-check."""
    wheel = build()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = install(wheel, folder / "venv")
        (folder / "imports.py").write_text(IMPORTS, encoding="utf-8")
        run(python, "-I", "-W", "error", "imports.py", cwd=folder)
        check_command(python, folder)
        (folder / "user").mkdir()
        check_types(python, folder / "user")


if __name__ == "__main__":
    main()
