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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from opwatch import reading
from opwatch.cli.generating import client, rules, security, spec, waits
from opwatch.cli.generating.spec import Finding, Problem
from opwatch.client import Plugin
from opwatch.errors import ConfigurationError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MARK = "# Written by `opwatch generate`."
_AUTH = {
    "none": "It takes no credentials.",
    "token": "`auth` is the token or API key, or a callable that returns one.",
    "basic": "`auth` is a tuple of the user name and the password.",
    "oauth2": "`auth` is a tuple of the client ID and secret, an access token, or a callable that\n"
    "    returns one.",
}


class Invalid(ConfigurationError):
    """A spec that breaks rules; `findings` says which, and where."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        super().__init__("\n".join(map(str, findings)))


def write(path: Path, out: Path, name: str | None = None) -> tuple[str, str, list[str]]:
    """Write the package of a spec to the folder `out`; return the service's name, the form of its
    IDs, and the environment variables that its client needs.

    Raises `Invalid` for a spec that isn't valid, and `ConfigurationError` for a folder that holds
    something else, or a `name` that can't be a service's.
    """
    name = _checked_name(path, name)
    content = _checked(path, name)
    if out.exists() and not _is_ours(out):
        problem = "isn't empty, and `opwatch generate` didn't write it; give a new folder"
        raise ConfigurationError(f"{out} {problem}")
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary) / "fresh"
        _generate(path, content, name, fresh, Path(temporary))
        shutil.rmtree(out / f"opwatch_{_module(name)}", ignore_errors=True)
        shutil.copytree(fresh, out, dirs_exist_ok=True)
    return name, _form(content), _variables(name, content)


def plugin(path: Path, folder: Path, name: str | None = None) -> Plugin:
    """Return the service of a spec, written to an empty `folder` that must stay for its use."""
    name, _, _ = write(path, folder, name)
    sys.path.insert(0, str(folder))
    found: Plugin = importlib.import_module(f"opwatch_{_module(name)}").PLUGIN
    return found


# --- what must hold -------------------------------------------------------------------------------


def _checked_name(path: Path, name: str | None) -> str:
    found = name or re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    if not _NAME.fullmatch(found):
        problem = f"{found!r:.40} can't name a service: use lower case letters, digits and hyphens"
        raise ConfigurationError(f"{problem}, such as --name press")
    if found in ("apig", "catenis", "itwin", "itwin-v2"):
        raise ConfigurationError(f"{found!r} is a service of opwatch's own; give another --name")
    return found


def _checked(path: Path, name: str) -> dict[str, Any]:
    """Return what a spec holds; raise `Invalid` if it breaks a rule."""
    try:
        content, lines = spec.load(path)
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} isn't UTF-8; save it as UTF-8") from None
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise ConfigurationError(f"{path} isn't YAML: {text}") from None
    groups: list[dict[str, Any]] = [
        {"structure": spec.structure},
        {"wait-form": rules.form, "security": security.variables_exist},
        {"wait-use": _uses},
        {"wait-pointer": rules.pointers_exist, "wait-phase": rules.states_have_phases},
        {"wait-example": lambda content: rules.examples_are_read(name, content, labelled=False)},
    ]
    for group in groups:
        findings = []
        for rule, problems in group.items():
            findings += _found(path, lines, rule, lambda: problems(content))  # noqa: B023
        if findings:
            raise Invalid(findings)
    found: dict[str, Any] = content
    return found


def _found(path: Path, lines: Any, rule: str, problems: Any) -> list[Finding]:
    try:
        return spec.found(str(path), lines, rule, problems())
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        text = f"can't be checked ({type(error).__name__}: {error}); is a $ref wrong?"
        return [Finding(str(path), 1, "#", rule, text)]


def _uses(content: dict[str, Any]) -> Iterator[Problem]:
    """The spec has what a package needs beside its wait."""
    found = waits.waited(content)
    if not found:
        yield (), "no operation has an x-wait block; docs/x-wait.md says what it holds"
    for operation in found:
        block = operation.content["x-wait"]
        others = [
            n for n in operation.parameters if n not in waits.listed(block["id"]["parameter"])
        ]
        if others:
            text = f"the path also needs {', '.join(others)}; make it a part of the ID"
            yield (*operation.place, "x-wait", "id", "parameter"), text
        if not security.arguments("", content, waits.security_of(content, operation)):
            text = f"none of these is supported: opwatch has {security.SUPPORTED}"
            place = operation.place if "security" in operation.content else ()
            yield (*place, "security"), text
        for each in filter(None, (operation, waits.follow_up(content, block))):
            place = (*each.place, "responses", "200", "content", each.media_type)
            if not re.fullmatch(r"application/(.+\+)?json\b.*", each.media_type):
                yield place, "the first media type must be JSON; put it first"
            elif "$ref" not in each.schema:
                yield place, "the schema must be a $ref to components/schemas, which gives a class"
            elif not _is_object(waits.referred(content, each.schema)):
                yield place, "the schema must be that of one object, which gives a class"
            yield from _arguments(content, each)


def _is_object(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "object" or not {"properties", "allOf"}.isdisjoint(schema)


def _arguments(content: dict[str, Any], operation: waits.Operation) -> Iterator[Problem]:
    """What opwatch would have to send, and doesn't know."""
    for place in (operation.place[:2], operation.place):
        for n, one in enumerate(waits.at(content, place).get("parameters", [])):
            parameter = waits.referred(content, one)
            schema = waits.referred(content, parameter.get("schema", {}))
            if parameter["in"] != "path" and parameter.get("required") and "default" not in schema:
                what = f"the {parameter['in']} parameter {parameter['name']!r} is required"
                fix = "give its schema a default, which is sent"
                yield (*place, "parameters", n), f"{what}, and opwatch has no value; {fix}"
    if waits.referred(content, operation.content.get("requestBody", {})).get("required"):
        yield (*operation.place, "requestBody"), "opwatch sends no body; name another operation"


def _is_ours(out: Path) -> bool:
    if not out.is_dir():
        raise ConfigurationError(f"{out} is a file; give a folder")
    project = out / "pyproject.toml"
    is_ours = project.is_file() and project.read_text(encoding="utf-8").startswith(_MARK)
    return is_ours or not any(out.iterdir())


# --- what is written ------------------------------------------------------------------------------


def _generate(path: Path, content: dict[str, Any], name: str, out: Path, home: Path) -> None:
    module = _module(name)
    package = out / f"opwatch_{module}"
    package.mkdir(parents=True)
    opened = home / "opened.json"
    opened.write_text(
        json.dumps(_opened(content) | {"info": content["info"]}, default=str), encoding="utf-8"
    )
    client.generate_client(opened, package / "client", home)
    source = waits.compiled(name, content, f"opwatch_{module}.client", path.name)
    files = {
        "pyproject.toml": _project(name, path),
        "README.md": _readme(name, content, path),
        path.name: path.read_text(encoding="utf-8"),
        f"opwatch_{module}/__init__.py": _package(name, content, path),
        f"opwatch_{module}/wait.py": source,
        f"opwatch_{module}/py.typed": "",
        f"tests/test_{module}.py": _test(name, content),
    }
    for file, text in files.items():
        target = out / file
        target.parent.mkdir(exist_ok=True)
        target.write_text(text or "", encoding="utf-8")
    client.format_folder(out, home, f"opwatch_{module}")


_FORMATS = ("date", "date-time", "uuid")
_VALUES = ("default", "enum", "example", "examples", "x-wait")


def _opened(node: Any) -> Any:
    """Return a spec whose models also take a text or number that isn't listed, and a text
    that is no date.

    Otherwise they couldn't be made of an answer with a state that is newer than the spec. A class
    is named for its component alone: a schema's title is left out, as it may be anything.
    """
    if isinstance(node, list):
        return [_opened(item) for item in node]
    if not isinstance(node, dict):
        return node
    listed = node["enum"] if isinstance(node.get("enum"), list) else []
    is_dated = node.get("type") == "string" and node.get("format") in _FORMATS
    if is_dated or any(isinstance(value, str) for value in listed):
        return {"anyOf": [node, {"type": "string"}]}
    if any(type(value) is int for value in listed):
        return {"anyOf": [node, {"type": "integer"}]}
    return {
        key: value if key in _VALUES else _opened(value)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str))
    }


def _module(name: str) -> str:
    return name.replace("-", "_")


def _class(name: str) -> str:
    return "".join(map(str.capitalize, name.split("-")))


def _scheme(name: str, content: dict[str, Any]) -> dict[str, Any]:
    needed = waits.security_of(content, waits.waited(content)[0])
    return security.arguments(name, content, needed)


def _variables(name: str, content: dict[str, Any]) -> list[str]:
    """Return the environment variables that a client needs."""
    scheme = _scheme(name, content)
    needed = {"token": ["auth"], "basic": ["username", "password"]}
    needed["oauth2"] = ["client_id", "client_secret"]
    kind = "none" if scheme.get("optional") else scheme["kind"]
    found = [scheme["variables"][each] for each in needed.get(kind, [])]
    return found if security.base_url(content) else [*found, scheme["variables"]["base_url"]]


def _form(content: dict[str, Any]) -> str:
    """Return what stands for a job's ID in a command: ID, or OWNER/REPO/RUN_ID."""
    parts = waits.listed(waits.waited(content)[0].content["x-wait"]["id"]["parameter"])
    return "/".join(parts).upper() if len(parts) > 1 else "ID"


def _project(name: str, path: Path) -> str:
    return f"""{_MARK}
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "opwatch-{name}"
version = "0.1.0"
description = "Watch what {path.name} describes, with opwatch."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["opwatch", "attrs", "httpx"]

[project.entry-points."opwatch.services"]
{name} = "opwatch_{_module(name)}:PLUGIN"
"""


def _readme(name: str, content: dict[str, Any], path: Path) -> str:
    sets = "".join(f"export {variable}=...\n" for variable in _variables(name, content))
    return f"""# opwatch-{name}

Watches the jobs that `{path.name}` describes, with opwatch.
`opwatch generate` wrote this package from it; change the spec and generate again.

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


def _package(name: str, content: dict[str, Any], path: Path) -> str:
    made = _class(name)
    title = " ".join(str(content["info"]["title"]).replace('"', "'").split())
    scheme = _scheme(name, content)
    model = f"models.{waits.waited(content)[0].model}"  # `Batch` may be that of the client, too
    variable = scheme["variables"]["base_url"]
    count = len(waits.listed(waits.waited(content)[0].content["x-wait"]["id"]["parameter"]))
    parts = f", id_parts={count}" if count > 1 else ""
    optional = " It may be left out." if scheme.get("optional") else ""
    return f'''"""Watches the jobs of {title}. Generated from {path.name}: never edit."""

from opwatch.described import AsyncClient, Client, Described, Plugin

from opwatch_{_module(name)} import wait
from opwatch_{_module(name)}.client import models

__all__ = ["PLUGIN", "Async{made}", "{made}"]


class _{made}(Described[{model}]):
    """Watches the jobs of {title}.

    {_AUTH[scheme["kind"]]}{optional}
    `base_url` is the address in front of the paths of the spec. Raises `ConfigurationError` for
    an invalid argument.
    """

    _service = wait.service(address_help="check `base_url` ({variable})")
    _scheme = wait.SCHEME
    _base_url = wait.BASE_URL


class {made}(_{made}, Client[{model}]):
    __doc__ = _{made}.__doc__


class Async{made}(_{made}, AsyncClient[{model}]):
    __doc__ = _{made}.__doc__


PLUGIN = Plugin("{name}", {made}, Async{made}{parts})
'''


def _test(name: str, content: dict[str, Any]) -> str:
    operation = waits.waited(content)[0]
    parts = len(waits.listed(operation.content["x-wait"]["id"]["parameter"]))
    samples = [
        (example["x-phase"], _of_job_one(example["value"], operation.content["x-wait"]))
        for _, example in rules.examples_of(operation)
        if "x-phase" in example and "outcome" not in operation.content["x-wait"]
    ]
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
        job_id={json.dumps("/".join(["1"] * parts))},
        samples=SAMPLES,
    )
'''


def _of_job_one(value: Any, block: dict[str, Any]) -> Any:
    """Return an example about the job that the test watches: each part of its ID is 1."""
    found = copy.deepcopy(value)
    for pointer in block.get("same", {}):
        *above, last = waits.keys_of(pointer)
        holder = found
        for key in above:
            holder = reading.object_in(holder.get(key))
        if holder.get(last) is not None:
            holder[last] = type(holder[last])(1)
    return found
