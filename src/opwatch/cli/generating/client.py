"""Run the generators: the same bytes on every machine.

They, and the ruff that formats what they write, come from the environment of the running
interpreter; nothing of the caller's reaches them, so that no setting, locale or other version can
change the output.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from opwatch.cli.generating import security
from opwatch.cli.generating import spec as files

SETTINGS = Path(__file__).with_name("client.yaml")
TEMPLATES = Path(__file__).with_name("templates")
"""Those of the client generator's templates that are replaced; the rest are its own."""
RUFF = ["--isolated", "--no-cache", "--no-respect-gitignore", "--target-version", "py311"]
RUFF += ["--config", 'required-version = "==0.17.6"', "--config", "line-length = 100"]


class GenerationError(Exception):
    """A generator failed; the text is what it printed."""


def generate_client(spec: Path, output: Path, home: Path, content: Any = None) -> None:
    """Write the typed client of one spec to `output`; `home` is an empty folder to run in, and
    `content` is what the spec holds, if it was read already."""
    templates = home / "templates"
    shutil.copytree(TEMPLATES, templates, dirs_exist_ok=True)
    header, prefix = security.token_header(content or files.load(spec)[0])
    text = f"{{% set token_header, token_prefix = {json.dumps(header)}, {json.dumps(prefix)} %}}\n"
    (templates / "service.jinja").write_text(text, encoding="utf-8")
    arguments = ["generate", "--path", str(spec), "--output-path", str(output), "--meta", "none"]
    arguments += ["--config", str(SETTINGS), "--custom-template-path", str(templates)]
    run("openapi_python_client", [*arguments, "--fail-on-warning"], home)
    for model in output.glob("models/*.py"):  # dict() takes an empty array for an object
        text = model.read_text("utf-8").replace("d = dict(src_dict)", "d = {**src_dict}")
        model.write_text(text.replace("cast(list[Any], data)", "data"), "utf-8")  # already one


def format_folder(folder: Path, home: Path, first_party: str) -> None:
    """Lay out the files of a folder, and leave out the imports that they don't use."""
    imports = f'lint.isort.known-first-party = ["{first_party}"]'
    rules = ["--select", "F401,I", "--config", imports, "--fix-only", "--quiet"]
    run("ruff", ["check", *RUFF, *rules, str(folder)], home)
    run("ruff", ["format", *RUFF, "--quiet", str(folder)], home)


def run(module: str, arguments: list[str], home: Path, folder: Path | None = None) -> None:
    """Run a generator in `folder`, or else in `home`."""
    # -P, -s: neither the current folder nor the user's own packages can replace a generator.
    command = [sys.executable, "-P", "-s", "-m", module, *arguments]
    done = subprocess.run(  # noqa: S603 (a generator of ours)
        command,
        cwd=folder or home,
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
