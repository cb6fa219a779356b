"""Write generated/ from specs/, the same bytes on every machine.

For each spec: a typed client (openapi-python-client) in `opwatch_api/{service}/`, and strict
pydantic models (datamodel-code-generator) in `opwatch_api/wire/{service}.py`. A spec with an
`x-wait` block also becomes `opwatch_waits/{service}.py`. `opwatch.cli.generating` runs the
generators and compiles the block.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import spec_file
import yaml
from strict import booleans, strict

from opwatch.cli.generating import client, document, waits
from opwatch.cli.generating.client import GenerationError as GenerationError

ROOT = Path(__file__).resolve().parents[1]
SPECS = ROOT / "specs"
GENERATED = ROOT / "generated"
PACKAGE = "opwatch_api"
WAITS = "opwatch_waits"
COPIED = {"opwatch_api.md": "README.md", "wire_types.py": "wire/_types.py"}
"""What is in the package as it is in tools/."""
README = ROOT / "tools" / "opwatch_api.md"

DOCSTRINGS = {
    "__init__.py": "Typed clients and models of the services. Generated from specs/: never edit.",
    "wire/__init__.py": "Strict models of the services. Generated from specs/: never edit.",
    f"../{WAITS}/__init__.py": (
        "What each service's answers say about a job. Generated from specs/: never edit."
    ),
}


def specs() -> list[Path]:
    """Return the specs, one per service, sorted by name."""
    return sorted(SPECS.glob("*.yaml"))


def lost(target: Path = GENERATED) -> list[str]:
    """Return the packages in `target` that have no spec, sorted by name."""
    found = {path.parent.name for path in target.glob(f"{PACKAGE}/*/client.py")}
    found |= {path.stem for path in target.glob(f"{PACKAGE}/wire/[!_]*.py")}
    return sorted(found - {document.package_of(spec.stem) for spec in specs()})


def write(target: Path = GENERATED) -> None:
    """Replace `target` with newly generated code. It is left unchanged if it is up to date, if
    there is an error, or if a client would disappear."""
    for name in lost(target):
        text = f"the spec of {name} is missing; restore it, or delete the files generated from it"
        where = f"{PACKAGE}/{name}, {PACKAGE}/wire/{name}.py, {WAITS}/{name}.py"
        raise GenerationError(f"{text}: {where}")
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary) / "generated"
        _generate(fresh, home=Path(temporary))
        if compare(fresh, target):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(fresh, target)


def drift(target: Path = GENERATED) -> list[str]:
    """Return one line for each file of `target` that generating again would change, remove or
    add."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh_folder = Path(temporary) / "generated"
        write(fresh_folder)
        return compare(fresh_folder, target)


def compare(fresh_folder: Path, target: Path) -> list[str]:
    """Return one line for each file that differs, is only in `target`, or is only in
    `fresh_folder`."""
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
    for source, name in COPIED.items():
        shutil.copyfile(ROOT / "tools" / source, package / name)
    for folder in (PACKAGE, WAITS):
        (target / folder / "py.typed").touch()
    for spec in specs():
        name = document.package_of(spec.stem)
        client.generate_client(spec, package / name, home)
        _generate_wire_models(spec, package / "wire" / f"{name}.py", home)
        _compile_wait(spec, target / WAITS / f"{name}.py")
    client.format_folder(target / WAITS, home, "opwatch")


def _generate_wire_models(spec: Path, output: Path, home: Path) -> None:
    made = home / "strict" / spec.name
    made.parent.mkdir(exist_ok=True)
    content = strict(spec_file.read(spec).content)
    made.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    # Its settings are in pyproject.toml, which it finds from ROOT.
    arguments = ["--input", str(made), "--output", str(output)]
    client.run("datamodel_code_generator", arguments, home, ROOT)
    output.write_text(booleans(output.read_text(encoding="utf-8")), encoding="utf-8")


def _compile_wait(spec: Path, output: Path) -> None:
    if text := waits.compiled(spec.stem, spec_file.read(spec).content):
        output.write_text(text, encoding="utf-8")
