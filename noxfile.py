"""Run all tests against the built wheel, on each Python that opwatch supports: `make nox`.

A Python is found by its name (`python3.12` and so on) or in pyenv's folder. A missing one is an
error, so a run that passes has tested all of them.
"""

import os
import shutil
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True


def show_pyenv() -> None:
    """Let nox find the Pythons that pyenv has installed, which its shims alone don't run."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [str(max(root.glob(f"versions/{version}.*/bin"), default="")) for version in PYTHONS]
    os.environ["PATH"] = os.pathsep.join([*filter(None, found), os.environ["PATH"]])


if shutil.which("pyenv"):
    show_pyenv()


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Install the pinned packages and the wheel, and run the tests; pytest gets the arguments after
    `--`."""
    session.install("--quiet", "--require-hashes", "-r", "requirements/dev.txt")
    wheels = Path(session.create_tmp())
    for old in wheels.glob("*.whl"):
        old.unlink()
    build = ("python", "-m", "build", "--no-isolation", "--wheel", "--outdir", str(wheels))
    session.run(*build, silent=True)
    session.install("--no-deps", "--no-index", *map(str, wheels.glob("*.whl")))
    pytest = ("python", "-m", "pytest", "-n", "auto", "--dist", "worksteal")
    session.run(*pytest, *session.posargs)
    if not session.posargs:
        session.run(*pytest, "-m", "slow")
