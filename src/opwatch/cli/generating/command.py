"""`opwatch generate`, and the `--spec` of the commands that watch."""

from __future__ import annotations

import atexit
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from opwatch import exits

_NEEDED = ("openapi_python_client", "openapi_spec_validator", "ruff", "yaml")


def generate(path: Path, out: Path, name: str | None) -> int:
    """Write the package of a spec, and say how to use it."""
    package = _package()
    with _findings("give another name with --name, such as --name press"):
        called, form, variables, has_phase = package.write(path, out, name)
    folder = shlex.quote(str(out if out.is_absolute() else Path(".", out)))
    click.echo(f"wrote a package for {called} to {out}")
    if variables:
        click.echo(f"it needs these variables: {', '.join(variables)}")
    if not has_phase:
        click.echo("its test checks no responses: add an x-phase to the examples in the spec")
    click.echo(f"next: pip install {folder if '/' in folder else f'./{folder}'}")
    click.echo(f"then: opwatch watch {called} {form}")
    return exits.SUCCEEDED


def added(path: Path) -> str:
    """Let this process watch the jobs of a spec; return the name of the service."""
    from opwatch import services

    package = _package()
    folder = Path(tempfile.mkdtemp(prefix="opwatch-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with _findings("rename the file"):
        plugin = package.plugin(path, folder)
    services.add(plugin)
    name: str = plugin.name
    return name


class _Findings(click.ClickException):
    """What is wrong with a spec, in several lines."""

    def __init__(self, first: str, *more: str) -> None:
        super().__init__(first)
        self.more = more


@contextmanager
def _findings(rename: str) -> Iterator[None]:
    """Print what is wrong with a spec, one finding a line; `rename` says how to name it."""
    from opwatch.cli.generating import checks

    try:
        yield
    except checks.Invalid as error:
        raise _Findings(*map(str, error.findings)) from None
    except checks.Unnamed as error:
        raise click.ClickException(f"{error}; {rename}") from None


def _package() -> Any:
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        problem = f"this needs the generate extra (missing: {', '.join(missing)})"
        raise click.ClickException(f"{problem}; run pip install 'opwatch[generate]'")
    from opwatch.cli.generating import package

    return package
