"""A spec that watches the printing of books, and the package that is generated from it."""

import copy
import functools
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opwatch.cli.generating import package

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


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Generates the package of a spec once, and returns its folder."""

    @functools.cache
    def of(text: str, name: str = "press.json") -> Path:
        folder = tmp_path_factory.mktemp("generated")
        (folder / name).write_text(text, encoding="utf-8")
        package.write(folder / name, folder / "out")
        return folder / "out"

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
