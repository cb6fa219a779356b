"""Write generated/ from specs/, the same bytes on every machine.

For each spec: a typed client (openapi-python-client) in `opwatch_api/{service}/`, and strict
pydantic models (datamodel-code-generator) in `opwatch_api/wire/{service}.py`. A spec with an
`x-wait` block also becomes `opwatch_waits/{service}.py` (`opwatch.cli.generating`). Both
generators, and the ruff that formats what they write, come from the environment of the running
interpreter; nothing of the caller's reaches them, so that no setting, locale or other version can
change the output.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import spec_rules

from opwatch.cli.generating import waits

ROOT = Path(__file__).resolve().parents[1]
SPECS = ROOT / "specs"
GENERATED = ROOT / "generated"
PACKAGE = "opwatch_api"
WAITS = "opwatch_waits"
CLIENT_SETTINGS = ROOT / "tools" / "openapi-python-client.yaml"
CLIENT_TEMPLATES = ROOT / "tools" / "templates"
"""Those of the client generator's templates that are replaced; the rest are its own."""

DOCSTRINGS = {
    "__init__.py": "Typed clients and models of the services. Generated from specs/: never edit.",
    "wire/__init__.py": "Strict models of the services. Generated from specs/: never edit.",
    f"../{WAITS}/__init__.py": (
        "What each service's answers say about a job. Generated from specs/: never edit."
    ),
}
RUFF = ["--isolated", "--no-cache", "--no-respect-gitignore", "--target-version", "py311"]
RUFF += ["--config", 'required-version = "==0.17.6"', "--config", "line-length = 100"]
IMPORTS = 'lint.isort.known-first-party = ["opwatch"]'
"""Else ruff would look which packages stand in the current folder."""


class GenerationError(Exception):
    """A generator failed; the text is what it printed."""


def specs() -> list[Path]:
    """The specs, one a service, in the order of their names."""
    return sorted(SPECS.glob("*.yaml"))


def write(target: Path = GENERATED) -> None:
    """Replace `target` by a fresh generation. It stays as it is if it is that, or on an error."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary) / "generated"
        _generate(fresh, home=Path(temporary))
        if compare(fresh, target):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(fresh, target)


def drift(target: Path = GENERATED) -> list[str]:
    """One line for each file of `target` that a fresh generation would change, remove or add."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh_folder = Path(temporary) / "generated"
        write(fresh_folder)
        return compare(fresh_folder, target)


def compare(fresh_folder: Path, target: Path) -> list[str]:
    """One line for each file that differs, is only in `target`, or is only in `fresh_folder`."""
    fresh, present = dict(_contents(fresh_folder)), dict(_contents(target))
    lines = []
    for name in sorted(fresh.keys() | present.keys()):
        if name not in present:
            lines.append(f"deleted: {name}")
        elif name not in fresh:
            lines.append(f"new: {name}")
        elif fresh[name] != present[name]:
            lines.append(f"changed: {name}")
    return lines


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _generate(target: Path, home: Path) -> None:
    package = target / PACKAGE
    for name, docstring in DOCSTRINGS.items():
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'"""{docstring}"""\n', encoding="utf-8")
    for folder in (PACKAGE, WAITS):
        (target / folder / "py.typed").touch()
    for spec in specs():
        generate_client(spec, package / spec.stem, home)
        _generate_wire_models(spec, package / "wire" / f"{spec.stem}.py", home)
        _compile_wait(spec, target / WAITS / f"{spec.stem}.py")
    _format(target / WAITS, home)


def generate_client(spec: Path, output: Path, home: Path) -> None:
    """Write the typed client of one spec to `output`; `home` is an empty folder to run in."""
    arguments = ["generate", "--path", str(spec), "--output-path", str(output), "--meta", "none"]
    arguments += ["--config", str(CLIENT_SETTINGS), "--custom-template-path", str(CLIENT_TEMPLATES)]
    arguments.append("--fail-on-warning")
    _run("openapi_python_client", arguments, home)


def _generate_wire_models(spec: Path, output: Path, home: Path) -> None:
    # Its settings are in pyproject.toml, which it finds from ROOT.
    _run("datamodel_code_generator", ["--input", str(spec), "--output", str(output)], home)


def _compile_wait(spec: Path, output: Path) -> None:
    if text := waits.compiled(spec.stem, spec_rules.read(spec).content):
        output.write_text(text, encoding="utf-8")


def _format(folder: Path, home: Path) -> None:
    rules = ["--select", "F401,I", "--config", IMPORTS, "--fix-only", "--quiet"]
    _run("ruff", ["check", *RUFF, *rules, str(folder)], home)
    _run("ruff", ["format", *RUFF, "--quiet", str(folder)], home)


def _run(module: str, arguments: list[str], home: Path) -> None:
    # -P, -s: neither the current folder nor the user's own packages can stand in for a generator.
    command = [sys.executable, "-P", "-s", "-m", module, *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=_environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    if done.returncode != 0:
        raise GenerationError(f"{module} {' '.join(arguments)}\n{done.stdout}".rstrip())


def _environment(home: Path) -> dict[str, str]:
    # The folder of the interpreter comes first: that is where the pinned ruff is.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    python = {"PYTHONUTF8": "1", "PYTHONHASHSEED": "0"}
    return {"PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8", **python}
