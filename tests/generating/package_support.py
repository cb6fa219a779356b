"""Specs with credentials, pauses and results, and what their clients send."""

import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

from generating_tools import Change

from opwatch.net.message import Request
from opwatch.testing import FakeClock, Reply, Script, reply

RUNNING, DONE = reply(200, {"state": "printing"}), reply(200, {"state": "done"})


def secured(scheme: dict[str, Any], *, optional: bool = False) -> Change:
    def change(spec: dict[str, Any]) -> None:
        spec["components"]["securitySchemes"] = {"one": scheme}
        spec["security"] = [{"one": []}, {}] if optional else [{"one": []}]

    return change


BEARER = secured({"type": "http", "scheme": "bearer"})

OAUTH2 = secured(
    {
        "type": "oauth2",
        "flows": {
            "clientCredentials": {"tokenUrl": "https://id.example/token", "scopes": {"print": "p"}}
        },
    }
)


def sent_by(client: Any) -> list[Request]:
    """The requests of one poll."""
    requests = []

    def answer(request: Request) -> Reply:
        requests.append(request)
        if request.method == "POST":
            return reply(200, {"access_token": "a-fresh-token", "expires_in": 60})
        return RUNNING

    with FakeClock(), Script(answer):
        assert client().progress("p1").phase == "running"
    return requests


def header(requests: list[Request], name: str) -> str | None:
    found = [value for key, value in requests[-1].headers if key.lower() == name.lower()]
    return str(found[0]) if found else None


def folder(made: ModuleType) -> Path:
    return Path(str(made.__file__)).parents[1]


def said(command: list[str], folder: Path) -> tuple[int, str]:
    """The exit code of a command run in the package's folder, and what it printed."""
    env = {**os.environ, "PYTHONPATH": "."}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
