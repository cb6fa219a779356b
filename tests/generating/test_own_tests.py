"""The tests that a package is generated with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from generating_tools import Generate, changed, operation, wait

from opwatch.cli.generating import package


def test_examples_of_all_kinds(tmp_path: Path, generate: Generate) -> None:
    """They pass, whatever the examples hold: a job's ID, a number that JSON hasn't, a date."""

    def change(spec: dict[str, Any]) -> None:
        spec["paths"] = {"/shops/{shop}/prints/{id}": spec["paths"]["/prints/{id}"]}
        text = {"type": "string"}
        parameter = {"name": "shop", "in": "path", "required": True, "schema": text}
        operation(spec)["parameters"].append(parameter)
        wait(spec)["id"]["parameter"] = ["shop", "id"]
        spec["components"]["schemas"]["Print"]["properties"]["inner"] = {
            "type": "object",
            "properties": {"id": {"type": "integer"}},
        }
        wait(spec)["same"] = {"/inner/id": "id", "/shop": "shop"}
        body = operation(spec)["responses"]["200"]["content"]["application/json"]
        job = {"inner": {"id": 42}, "shop": "a shop"}
        other = {"inner": {"id": 43}, "shop": "another"}
        values = {"done": job, "other": other, "slash": {"shop": "a/b"}}
        body["examples"] = {
            name: {"x-phase": "succeeded", "value": {"state": "done", **value}}
            for name, value in values.items()
        }
        del body["examples"]["slash"]["x-phase"]
        value = {"state": "printing", "next": 0}
        body["examples"]["inf"] = {"x-phase": "running", "value": value}
        value = {"state": "printing", "at": "2026-01-01"}
        body["examples"]["date"] = {"x-phase": "running", "value": value}

    text = yaml.safe_dump(json.loads(json.dumps(changed(change))))
    assert "next: 0" in text
    spec = tmp_path / "press.yaml"
    text = text.replace("next: 0", "next: .inf").replace("'2026-01-01'", "2026-01-01")
    spec.write_text(text, encoding="utf-8")
    package.write(spec, tmp_path / "out")
    test = (tmp_path / "out/tests/test_press.py").read_text(encoding="utf-8")
    assert 'job_id="a shop/42"' in test
    env = {**os.environ, "PYTHONPATH": "."}
    command = [sys.executable, "-m", "pytest", "-q", "tests"]
    done = subprocess.run(
        command, cwd=tmp_path / "out", env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout
