"""Every test of the built wheel, on each Python that opwatch supports: `make nox`.

Beside the names `python3.12` and so on, a Python is also found where pyenv keeps it. One that is
not installed is an error: `make nox` says what was really tested.
"""

import os
import shutil
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True


def show_pyenv() -> None:
    """Let nox find the Pythons that pyenv has installed: its shims alone do not run them."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [str(max(root.glob(f"versions/{version}.*/bin"), default="")) for version in PYTHONS]
    os.environ["PATH"] = os.pathsep.join([*filter(None, found), os.environ["PATH"]])


if shutil.which("pyenv"):
    show_pyenv()


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Install the wheel beside the pins, and run what stands on the command line after `--`."""
    session.install("--quiet", "--require-hashes", "-r", "requirements/dev.txt")
    wheels = Path(session.create_tmp())
    for old in wheels.glob("*.whl"):
        old.unlink()
    build = ("python", "-m", "build", "--no-isolation", "--wheel", "--outdir", str(wheels))
    session.run(*build, silent=True)
    session.install("--no-deps", "--no-index", *map(str, wheels.glob("*.whl")))
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)
