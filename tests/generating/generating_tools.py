"""A spec that watches the printing of books, and the package that is generated from it."""

import contextlib
import copy
import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jinja2 import Environment
from openapi_python_client.cli import app

from opwatch.cli.generating import client, package

PRINTING = {"state": "printing", "at": "2026-01-01T00:00:00Z"}
SPEC: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Press", "version": "1"},
    "servers": [{"url": "https://press.example/api"}],
    "paths": {
        "/prints/{id}": {
            "get": {
                "operationId": "getPrint",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "x-wait": {
                    "id": {"parameter": "id", "called": "print ID"},
                    "schedule": [5, 10, 20],
                    "state": {
                        "at": "/state",
                        "is": {"printing": "running", "done": "succeeded", "jammed": "failed"},
                    },
                    "errors": {"code": "/code"},
                },
                "responses": {
                    "200": {
                        "description": "Where the print stands.",
                        "content": {
                            "application/json": {
                                "schema": {"$ref": "#/components/schemas/Print"},
                                "examples": {
                                    "printing": {
                                        "x-phase": "running",
                                        "value": {
                                            "state": "printing",
                                            "at": "2026-01-01T00:00:00Z",
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "404": {
                        "description": "No such print.",
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                        },
                    },
                },
            }
        }
    },
    "components": {
        "schemas": {
            "Print": {
                "type": "object",
                "properties": {
                    "state": {"type": "string", "enum": ["printing", "done", "jammed"]},
                    "at": {"type": "string", "format": "date-time"},
                    "next": {"type": "number"},
                    "next_ms": {"type": "number"},
                    "shop": {"type": "string"},
                },
            },
            "Problem": {"type": "object", "properties": {"code": {"type": "string"}}},
        }
    },
}

Change = Callable[[dict[str, Any]], None]
Generate = Callable[..., ModuleType]
MadeOnce = Callable[[str, Callable[[Path], None]], Path]


def operation(spec: dict[str, Any]) -> Any:
    """The operation that has the wait."""
    return next(iter(spec["paths"].values()))["get"]


def wait(spec: dict[str, Any]) -> Any:
    """The block."""
    return operation(spec)["x-wait"]


def changed(change: Change | None = None) -> dict[str, Any]:
    """The spec, after a change."""
    spec = copy.deepcopy(SPEC)
    if change is not None:
        change(spec)
    return spec


_compile, _templates = Environment.compile, {}


def compiled(environment: Environment, source: Any, name: str, *how: Any) -> Any:
    """A template of the client generator, compiled once: half of its time for a package."""
    if (name, source) not in _templates:
        _templates[name, source] = _compile(environment, source, name, *how)
    return _templates[name, source]


def run_here(module: str, arguments: list[str], home: Path, folder: Path | None = None) -> None:
    """Run a generator as `client.run` does, but the client generator without another Python, which
    takes two thirds of the time of a package."""
    scripts = Path(sys.executable).parent
    with contextlib.chdir(folder or home), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{scripts}{os.pathsep}{os.defpath}")
        patch.setattr(Environment, "compile", compiled)
        if module == "openapi_python_client":
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = app(arguments, standalone_mode=False)
            if code:
                raise client.GenerationError(said.getvalue())
        else:
            subprocess.run([scripts / module, *arguments], check=True)


@pytest.fixture(scope="session")
def generated(made_once: MadeOnce) -> Callable[..., Path]:
    """Generates the package of a spec once, and returns its folder, which no test may change."""

    def of(text: str, name: str = "press.json") -> Path:
        def make(folder: Path) -> None:
            (folder / name).write_text(text, encoding="utf-8")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(client, "run", run_here)
                package.write(folder / name, folder / "out")

        key = hashlib.sha256(json.dumps([name, text]).encode()).hexdigest()[:16]
        return made_once(f"generated-{key}", make) / "out"

    return of


@pytest.fixture
def generate(generated: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Generate:
    """Imports the package of a changed spec."""

    def of(change: Change | None = None) -> ModuleType:
        for loaded in [name for name in sys.modules if name.partition(".")[0] == "opwatch_press"]:
            monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.syspath_prepend(str(generated(json.dumps(changed(change)))))
        importlib.invalidate_caches()
        return importlib.import_module("opwatch_press")

    return of


def folder_of(spec: dict[str, Any], name: str, generated: Callable[..., Path]) -> Path:
    """The folder of the package of a spec in a file of that name."""
    return generated(json.dumps(spec), name)
