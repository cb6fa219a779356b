"""`opwatch generate`: from a spec with an `x-wait` block to an installable package.

The package holds the typed client, the compiled wait, a client class made of the two, and a test
that proves its contract. `plugin` makes one that is used once.
"""

from __future__ import annotations

import copy
import importlib
import json
import re
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from opwatch.cli.generating import checks, client, examples, reduced, security
from opwatch.cli.generating.document import keys_of, listed, security_of, waited
from opwatch.cli.generating.waits import compiled
from opwatch.client import Plugin
from opwatch.errors import ConfigurationError
from opwatch.net.address import check_id
from opwatch.reading import object_in, text

_MARK = b"# Written by `opwatch generate`."
_AUTH = {
    "none": "It takes no credentials.",
    "token": "`auth` is the token or API key, or a callable that returns one.",
    "basic": "`auth` is a tuple of the user name and the password.",
    "oauth2": "`auth` is a tuple of the client ID and secret, an access token, or a callable that\n"
    "    returns one.",
}


def write(path: Path, out: Path, name: str | None = None) -> tuple[str, str, list[str], bool]:
    """Write the package of a spec to the folder `out`; return the service's name, the form of its
    IDs, the environment variables that its client needs, and whether an example has a phase.

    This replaces `out/opwatch_{name}`; other files are only written if they don't exist.

    Raises `checks.Invalid` for a spec that isn't valid, and `ConfigurationError` for a folder that
    holds something else, or a `name` that can't be a service's.
    """
    name = checks.checked_name(path, name)
    content, data = checks.checked(path, name)
    try:
        _check_folder(out, name)
        with tempfile.TemporaryDirectory() as temporary:
            fresh = Path(temporary) / "fresh"
            _generate(path, data, content, name, fresh, Path(temporary))
            package = f"opwatch_{_module(name)}"
            shutil.rmtree(out / package, ignore_errors=True)
            for file in sorted(each for each in fresh.rglob("*") if each.is_file()):
                target = out / file.relative_to(fresh)
                if package in file.parts or not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, target)
    except OSError as error:
        what = f"can't write {error.filename or out}: {error.strerror or error}"
        raise ConfigurationError(what) from None
    found = examples.examples_of(content, waited(content)[0])
    has_phase = any("x-phase" in example for _, example in found)
    return name, _form(content), _variables(name, content), has_phase


def plugin(path: Path, folder: Path, name: str | None = None) -> Plugin:
    """Return the service of a spec, written to an empty `folder` that must stay for its use."""
    name, *_ = write(path, folder, name)
    sys.path.insert(0, str(folder))
    found: Plugin = importlib.import_module(f"opwatch_{_module(name)}").PLUGIN
    return found


# --- what is written ------------------------------------------------------------------------------


def _check_folder(out: Path, name: str) -> None:
    """Raise `ConfigurationError` unless a package can be written to `out`."""
    package = f"opwatch_{_module(name)}"
    if (out.exists() or out.is_symlink()) and not out.is_dir():
        raise ConfigurationError(f"{out} isn't a folder; choose one")
    tests = out / "tests"
    ours = (out / package, out / "README.md", out / "pyproject.toml", tests, *tests.glob("*.py"))
    for target in ours:
        if target.is_symlink():
            raise ConfigurationError(f"{target} is a link; choose a new folder")
    project = out / "pyproject.toml"
    said = project.read_bytes() if project.is_file() else b""
    if out.is_dir() and any(out.iterdir()) and f'"{package}:PLUGIN"'.encode() not in said:
        what = "contains another service's package" if said.startswith(_MARK) else "isn't empty"
        problem = (
            f"{what}, and `opwatch generate` didn't write {package} there; choose another folder"
        )
        raise ConfigurationError(f"{out} {problem}")


def _generate(
    path: Path, data: bytes, content: dict[str, Any], name: str, out: Path, home: Path
) -> None:
    module, source = _module(name), _source(name, path)
    package = out / f"opwatch_{module}"
    package.mkdir(parents=True)
    needed = reduced.reduced(name, content)
    document = home / "reduced.json"
    document.write_text(json.dumps(needed), encoding="utf-8")
    try:
        client.generate_client(document, package / "client", home, needed)
    except client.GenerationError as error:
        said = " ".join(str(error).split())[-300:]
        raise ConfigurationError(f"no client can be generated from the spec: {said}") from None
    files = {
        "pyproject.toml": _project(name, source),
        "README.md": _readme(name, content, source),
        f"opwatch_{module}/__init__.py": _package(name, needed, source),
        f"opwatch_{module}/wait.py": compiled(name, needed, f"opwatch_{module}.client", source),
        f"opwatch_{module}/py.typed": "",
        f"tests/test_{module}.py": _test(name, content),
    }
    for file, written in files.items():
        target = out / file
        target.parent.mkdir(exist_ok=True)
        target.write_text(written or "", encoding="utf-8")
    (package / source).write_bytes(data)
    client.format_folder(out, home, f"opwatch_{module}")


def _source(name: str, path: Path) -> str:
    """Return what the spec is called in its package: a name of ours, as the file's may be any."""
    return f"{name}.json" if path.suffix.lower() == ".json" else f"{name}.yaml"


def _module(name: str) -> str:
    return name.replace("-", "_")


def _class(name: str) -> str:
    return "".join(map(str.capitalize, name.split("-")))


def _scheme(name: str, content: dict[str, Any]) -> dict[str, Any]:
    needed = security_of(content, waited(content)[0])
    return security.arguments(name, content, needed)


def _variables(name: str, content: dict[str, Any]) -> list[str]:
    """Return the environment variables that a client needs."""
    scheme = _scheme(name, content)
    needed = {"token": ["auth"], "basic": ["username", "password"]}
    needed["oauth2"] = ["client_id", "client_secret"]
    kind = "none" if scheme.get("optional") else scheme["kind"]
    found = [scheme["variables"][each] for each in needed.get(kind, [])]
    place = waited(content)[0].place
    return found if security.base_url(content, place) else [*found, scheme["variables"]["base_url"]]


def _form(content: dict[str, Any]) -> str:
    """Return what stands for a job's ID in a command: ID, or OWNER/REPO/RUN_ID."""
    parts = listed(waited(content)[0].content["x-wait"]["id"]["parameter"])
    words = [re.sub("[^A-Za-z0-9]+", "_", part).upper() for part in parts]
    return "/".join(words) if len(parts) > 1 else "ID"


def _project(name: str, source: str) -> str:
    return f"""{_MARK.decode()}
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "opwatch-{name}"
version = "0.1.0"
description = "Watches the jobs described in {source}, with opwatch."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["opwatch", "attrs", "httpx"]

[project.entry-points."opwatch.services"]
{name} = "opwatch_{_module(name)}:PLUGIN"
"""


def _readme(name: str, content: dict[str, Any], source: str) -> str:
    sets = "".join(f"export {variable}=...\n" for variable in _variables(name, content))
    return f"""# opwatch-{name}

Watches the jobs that `{source}` describes, with opwatch.
`opwatch generate` wrote this package from it. To change the package, change the spec and generate
again: this replaces only the folder `opwatch_{_module(name)}`.

Install it in the environment that has opwatch:

```bash
pip install .
{sets}opwatch watch {name} {_form(content)}
```

```python
from opwatch_{_module(name)} import {_class(name)}

with {_class(name)}.from_env() as client:
    print(client.wait("{_form(content)}", timeout=3600))
```
"""


def _package(name: str, needed: dict[str, Any], source: str) -> str:
    """Return the module of the client; `needed` is the document of reduced.py."""
    made = _class(name)
    scheme = _scheme(name, needed)
    operation = waited(needed)[0]
    count = len(listed(operation.content["x-wait"]["id"]["parameter"]))
    parts = f", id_parts={count}" if count > 1 else ""
    variables = ", ".join(f"`{variable}`" for variable in sorted(scheme["variables"].values()))
    reads = textwrap.fill(f"`from_env` reads {variables}.", 96, subsequent_indent="    ")
    optional = " It is optional." if scheme.get("optional") else ""
    return f'''"""Watches the jobs of {name}.

Generated from {source}, like everything in this folder. Don't edit: it will be replaced.
"""

from opwatch import described

from opwatch_{_module(name)} import wait
from opwatch_{_module(name)}.client import models

__all__ = ["PLUGIN", "Async{made}", "{made}"]


class _{made}(described.Described[models.{operation.model}]):
    """Watches the jobs of {name}.

    {_AUTH[scheme["kind"]]}{optional}
    `base_url` is the address that the paths of the spec are appended to. Raises
    `ConfigurationError` for an invalid argument.

    {reads}
    """

    _service = wait.SERVICE
    _scheme = wait.SCHEME
    _base_url = wait.BASE_URL


class {made}(_{made}, described.Client[models.{operation.model}]): ...


class Async{made}(_{made}, described.AsyncClient[models.{operation.model}]): ...


PLUGIN = described.Plugin("{name}", {made}, Async{made}{parts})
'''


def _test(name: str, content: dict[str, Any]) -> str:
    samples, job_id = _samples(content)
    auth = {"token": '"a-token"', "basic": '("a-user", "a-password")', "none": "None"}
    given = auth.get(_scheme(name, content)["kind"], '"a-token"')
    return f'''"""The contract of every service package, and the examples of the spec."""

from opwatch.testing import conformance

from opwatch_{_module(name)} import PLUGIN

SAMPLES = {samples!r}


def test_conformance():
    conformance(
        PLUGIN,
        lambda client: client({given}, base_url="https://service.example"),
        job_id={job_id!r},
        samples=SAMPLES,
    )
'''


def _samples(content: dict[str, Any]) -> tuple[list[tuple[str, Any]], str]:
    """Return the labelled examples of an answer, and the ID of the job that they are about: that of
    the first. An example that no answer can be, or about a job that no ID names, is left out."""
    operation = waited(content)[0]
    block = operation.content["x-wait"]
    same = block.get("same", {})
    job: dict[str, Any] = {}
    found = []
    for _, example in examples.examples_of(content, operation):
        value = copy.deepcopy(example["value"])
        if "x-phase" not in example or "outcome" in block or not _is_json(value):
            continue
        if all(_can_be_sent(part) for at in same if (part := examples.named(value, at))):
            for pointer, part in same.items():
                holder, key = _holder(value, pointer)
                if holder.get(key) is not None:
                    holder[key] = job.setdefault(part, holder[key])
            found.append((example["x-phase"], value))
    parts = (text(job.get(part)) or "1" for part in listed(block["id"]["parameter"]))
    return found, "/".join(parts)


def _holder(value: Any, pointer: str) -> tuple[dict[str, Any], str]:
    """The object that has what is at a pointer, and its name there."""
    *above, last = keys_of(pointer)
    for key in above:
        value = object_in(value).get(key)
    return object_in(value), last


def _can_be_sent(part: str) -> bool:
    try:
        return bool(check_id(part, "ID"))
    except ConfigurationError:
        return False


def _is_json(value: Any) -> bool:
    try:
        return bool(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return False
