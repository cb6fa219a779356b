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
from strict import booleans, conditions, strict

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
    """Return the packages of which `target` has a file, but which have no spec, sorted by name."""
    files = {path.relative_to(target) for path in target.glob("**/[!_]*.py")}
    found = {path.parts[1] for path in files if len(path.parts) > 2} - {"wire"}
    found |= {path.stem for path in files if path.parent.name in ("wire", WAITS)}
    return sorted(found - {document.package_of(spec.stem) for spec in specs()})


def write(target: Path = GENERATED) -> list[str]:
    """Replace `target` with newly generated code, and return one line for each operation that has
    another name now. It is left unchanged if it is up to date, if there is an error, or if a client
    or an operation would disappear. A link to a folder stays one."""
    target = target.resolve()
    if target.exists() and not target.is_dir():
        raise GenerationError(f"{target} isn't a folder; delete it, and generate again")
    for name in lost(target):
        text = f"the spec of {name} is missing; restore it, or delete the files generated from it"
        where = f"{PACKAGE}/{name}, {PACKAGE}/wire/{name}.py, {WAITS}/{name}.py"
        raise GenerationError(f"{text}: {where}")
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary) / "generated"
        _generate(fresh, home=Path(temporary))
        renamed = list(_renamed(fresh, target))
        if compare(fresh, target):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(fresh, target)
        return renamed


def _renamed(fresh: Path, target: Path) -> Iterator[str]:
    """Yield one line for each module of an operation that another one replaces."""
    for spec in specs():
        pattern = f"{PACKAGE}/{document.package_of(spec.stem)}/api/*/[!_]*.py"
        new, old = (
            {path.relative_to(folder).as_posix() for path in folder.glob(pattern)}
            for folder in (fresh, target)
        )
        gone, come = sorted(old - new), sorted(new - old)
        if lost := gone[len(come) :]:
            text = f"{spec.name} no longer has the operation of {', '.join(lost)}; restore it, or"
            raise GenerationError(f"{text} delete that yourself")
        yield from (f"renamed: {a} is now {b}" for a, b in zip(gone, come, strict=False))


def drift(target: Path = GENERATED) -> list[str]:
    """Return one line for each file of `target` that generating again would change, remove or
    add."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh_folder = Path(temporary) / "generated"
        write(fresh_folder)
        return compare(fresh_folder, target)


def compare(fresh_folder: Path, target: Path) -> list[str]:
    """Return one line for each file that differs, is only in `target`, or is only in
    `fresh_folder`, and for a link or an empty folder in `target`."""
    fresh, present = dict(_contents(fresh_folder)), dict(_contents(target))
    lines = []
    for name in sorted(fresh.keys() | present.keys()):
        if name not in present:
            lines.append(f"deleted: {name}")
        elif present[name] is None:
            lines.append(f"not a regular file: {name}")
        elif name not in fresh:
            lines.append(f"new: {name}")
        elif fresh[name] != present[name]:
            lines.append(f"changed: {name}")
    return lines


def _contents(folder: Path) -> Iterator[tuple[str, bytes | None]]:
    """Yield each file with its bytes, and what is no file: a link, an empty folder and the like."""
    for path in folder.rglob("*"):
        is_file = path.is_file() and not path.is_symlink()
        is_folder = path.is_dir() and not path.is_symlink() and any(path.iterdir())
        if not is_folder and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix(), path.read_bytes() if is_file else None


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
    client.format_folder(package / "wire", home, PACKAGE)


def _generate_wire_models(spec: Path, output: Path, home: Path) -> None:
    made = home / "strict" / spec.name
    made.parent.mkdir(exist_ok=True)
    content = spec_file.read(spec).content
    made.write_text(
        yaml.safe_dump(strict(content), allow_unicode=True, sort_keys=False), encoding="utf-8"
    )
    # Its settings are in pyproject.toml, which it finds from ROOT.
    arguments = ["--input", str(made), "--output", str(output)]
    client.run("datamodel_code_generator", arguments, home, ROOT)
    source = booleans(output.read_text(encoding="utf-8")) + conditions(content)
    output.write_text(source, encoding="utf-8")


def _compile_wait(spec: Path, output: Path) -> None:
    if text := waits.compiled(spec.stem, spec_file.read(spec).content):
        output.write_text(text, encoding="utf-8")
