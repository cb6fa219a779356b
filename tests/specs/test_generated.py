"""generated/ matches the specs, is the same on every machine, and is what the facade relies on."""

import ast
import asyncio
import functools
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import httpx
import opwatch_api.itwin.client
import pytest
import spec_generation
from opwatch_api import apig, catenis, itwin, itwin_v2
from opwatch_api.apig.api.instances import (
    show_details_of_instance_progress_v2,
    show_details_of_instance_v2,
)
from opwatch_api.catenis.api.messages import retrieve_message_progress
from opwatch_api.itwin.api.jobs import get_job, get_job_progress
from opwatch_api.itwin_v2.api.jobs import get_job_messages
from opwatch_api.itwin_v2.api.jobs import get_job_progress as get_job_progress_v2

import specs

ROOT = spec_generation.ROOT
PACKAGE = spec_generation.GENERATED / spec_generation.PACKAGE
RUFF_TOML = "line-length = 40\n[lint]\nselect = ['ALL']\n[format]\nquote-style = 'single'\n"
PYPROJECT_TOML = """
[tool.ruff]
line-length = 40
[tool.black]
line-length = 40
skip-string-normalization = true
[tool.isort]
known_first_party = ['pydantic']
"""


def run(root: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "tools" / "specs.py"), command],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_generated_is_what_the_specs_give_whatever_is_near(tmp_path: Path) -> None:
    """To the byte: with another ruff, other settings, locale, seed, folder and .gitignore."""
    root = tmp_path / "build" / "venv"
    shutil.copytree(ROOT / "tools", root / "tools")
    shutil.copytree(ROOT / "specs", root / "specs")
    shutil.copy(ROOT / "pyproject.toml", root)
    near = {"ruff.toml": RUFF_TOML, "pyproject.toml": PYPROJECT_TOML, ".gitignore": "*\n"}
    for name, text in near.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (root / "ruff.toml").write_text(RUFF_TOML, encoding="utf-8")
    (tmp_path / ".git").mkdir()
    scratch = tmp_path / "dist"
    scratch.mkdir()
    fake = tmp_path / "bin" / "ruff"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    fake.chmod(0o755)
    path = os.pathsep.join([str(fake.parent), os.environ["PATH"]])
    done = run(
        root,
        "generate",
        PATH=path,
        PYTHONHASHSEED="2",
        LC_ALL="C",
        TZ="Asia/Tokyo",
        TMPDIR=str(scratch),
        COLUMNS="40",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert spec_generation.compare(root / "generated", spec_generation.GENERATED) == []


def test_no_drift_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` ends well where what is generated is what is committed."""
    monkeypatch.setattr(spec_generation, "_generate", copied)
    monkeypatch.setattr(sys, "argv", ["specs.py", "check"])
    assert specs.main() == 0
    assert capsys.readouterr().err == ""


def test_a_validation_without_findings_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`validate` says how many specs it looked at."""
    monkeypatch.setattr(sys, "argv", ["specs.py", "validate"])
    assert specs.main() == 0
    assert capsys.readouterr() == (f"{len(spec_generation.specs())} specs: no findings\n", "")


def copied(target: Path, home: Path) -> None:
    """In place of the generators: what is committed, which is what they give."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(spec_generation.GENERATED, target, dirs_exist_ok=True, ignore=ignored)


def test_drift_is_named_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` fails and names each file that was changed, added or deleted, and no other."""
    monkeypatch.setattr(spec_generation, "_generate", copied)
    package = tmp_path / "generated" / spec_generation.PACKAGE
    copied(package.parent, tmp_path)
    with (package / "itwin" / "models" / "job.py").open("a", encoding="utf-8") as file:
        file.write("# edited by hand\n")
    (package / "itwin" / "extra.py").touch()
    (package / "wire" / "apig.py").unlink()
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "left.pyc").touch()
    drift = functools.partial(spec_generation.drift, package.parent)
    monkeypatch.setattr(spec_generation, "drift", drift)
    monkeypatch.setattr(sys, "argv", ["specs.py", "check"])
    assert specs.main() == 1
    assert capsys.readouterr().err.splitlines() == [
        "generated/: new: opwatch_api/itwin/extra.py",
        "generated/: changed: opwatch_api/itwin/models/job.py",
        "generated/: deleted: opwatch_api/wire/apig.py",
        "generated/ doesn't match specs/: run `make generate`",
    ]


def test_a_link_to_the_generated_folder_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays a link, and the folder that it leads to is written; a file there is an error."""
    monkeypatch.setattr(spec_generation, "_generate", copied)
    link, elsewhere = tmp_path / "generated", tmp_path / "elsewhere"
    copied(elsewhere, tmp_path)
    (elsewhere / "extra.txt").touch()
    link.symlink_to(elsewhere)
    assert spec_generation.drift(link) == ["new: extra.txt"]
    assert spec_generation.write(link) == []
    assert (link.is_symlink(), spec_generation.drift(link)) == (True, [])
    (tmp_path / "file").touch()
    with pytest.raises(spec_generation.GenerationError, match="file isn't a folder; delete it"):
        spec_generation.write(tmp_path / "file")


def test_a_failing_generator_leaves_the_tree_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spec that the generator refuses is an error that says why, and nothing is written."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "broken.yaml").write_text("openapi: 3.1.0\n", encoding="utf-8")
    monkeypatch.setattr(spec_generation, "SPECS", tmp_path / "specs")
    kept = tmp_path / "generated" / "kept.py"
    kept.parent.mkdir()
    kept.touch()
    with pytest.raises(spec_generation.GenerationError, match=r"broken\.yaml"):
        spec_generation.write(kept.parent)
    assert kept.exists()


@pytest.mark.parametrize("service", ["catenis", "itwin", "itwin_v2", "apig"])
def test_clients_need_only_httpx_and_attrs(service: str) -> None:
    """A generated client imports httpx, the anyio that it brings, and attrs, and nothing else."""
    assert imported(PACKAGE / service) - sys.stdlib_module_names == {"httpx", "attrs", "anyio"}


def test_wire_models_need_only_pydantic() -> None:
    """The strict models import pydantic and the standard library, and nothing else."""
    assert imported(PACKAGE / "wire") - sys.stdlib_module_names == {"pydantic"}


def imported(folder: Path) -> set[str]:
    nodes = [
        node
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    ]
    absolute = {
        node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level
    }
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {str(name).partition(".")[0] for name in absolute | plain}


def test_everything_but_the_client_classes_imports_without_httpx() -> None:
    """Only `client.py` loads httpx: no endpoint, model or other shared module does."""
    modules = [
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        for service in ("apig", "catenis", "itwin", "itwin_v2")
        for file in sorted((PACKAGE / service).rglob("*.py"))
        if file.name not in ("client.py", "__init__.py")
    ]
    code = f"import sys, {', '.join(modules)}; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_package_loads_its_client_classes_when_they_are_used() -> None:
    """The classes are those of `client.py`, a star import finds them, and no other name exists."""
    assert itwin.Client is opwatch_api.itwin.client.Client
    assert itwin.AuthenticatedClient is opwatch_api.itwin.client.AuthenticatedClient
    names: dict[str, object] = {}
    exec("from opwatch_api.itwin import *", names)
    assert {"Client", "AuthenticatedClient"} <= names.keys()
    with pytest.raises(AttributeError, match=r"'opwatch_api\.itwin' has no attribute 'Clinet'"):
        getattr(itwin, "Clinet")  # noqa: B009


ENDPOINTS = [
    (catenis, retrieve_message_progress, {"ephemeral_message_id": "a/b"}, "/messages/a%2Fb"),
    (itwin, get_job_progress, {"id": "a b"}, "/jobs/a%20b"),
    (itwin, get_job, {"id": "ä"}, "/jobs/%C3%A4"),
    (
        apig,
        show_details_of_instance_progress_v2,
        {"project_id": "p", "instance_id": "..;"},
        "/p/apigw/instances/..%3B",
    ),
    (
        apig,
        show_details_of_instance_v2,
        {"project_id": "p", "instance_id": "a b"},
        "/p/apigw/instances/a%20b",
    ),
    (itwin_v2, get_job_progress_v2, {"id": "a b"}, "/jobs/a%20b/progress"),
    (itwin_v2, get_job_messages, {"id": "a/b"}, "/jobs/a%2Fb/messages"),
]


@pytest.mark.parametrize(("service", "module", "ids", "path"), ENDPOINTS)
def test_the_generated_functions_work_with_httpx(
    service: ModuleType, module: ModuleType, ids: dict[str, str], path: str
) -> None:
    """Sync or async, each sends its ids percent-encoded, and parses what is documented."""
    targets: list[bytes] = []

    def respond(request: httpx.Request) -> httpx.Response:
        targets.append(request.url.raw_path)
        return httpx.Response(401, json={"error": None, "status": "error", "message": "no"})

    transport = httpx.MockTransport(respond)
    client = service.Client("http://x.test/v", httpx_args={"transport": transport})
    signed = service.AuthenticatedClient("http://x.test", "t", httpx_args={"transport": transport})
    answers = [module.sync_detailed(client=client, **ids)]
    answers.append(asyncio.run(module.asyncio_detailed(client=signed, **ids)))
    parsed = [module.sync(client=signed, **ids), asyncio.run(module.asyncio(client=client, **ids))]
    assert [answer.status_code for answer in answers] == [401, 401]
    for body in parsed + [answer.parsed for answer in answers]:
        assert type(body) is service.models.ErrorResponse
    assert len(targets) == 4
    assert all(path.encode() in target for target in targets)


@pytest.mark.parametrize(("service", "module", "ids", "path"), ENDPOINTS)
def test_functions_take_the_ids_and_a_plain_client(
    service: ModuleType, module: ModuleType, ids: dict[str, str], path: str
) -> None:
    """A generated function takes the ids of its path and a client that need hold no token."""
    for name in ("sync_detailed", "asyncio_detailed"):
        signature = inspect.signature(getattr(module, name))
        assert list(signature.parameters) == [*ids, "client"]
        assert signature.parameters["client"].annotation == "AuthenticatedClient | Client"


def test_the_package_is_typed() -> None:
    """Type checkers can see that the package has types."""
    assert (PACKAGE / "py.typed").exists()
