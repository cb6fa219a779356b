"""What generated/ is: what the specs give, the same everywhere, as the facade relies on it."""

import ast
import functools
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import spec_generation
from opwatch_api.apig.api.instances import show_details_of_instance_progress_v2
from opwatch_api.catenis.api.messages import retrieve_message_progress
from opwatch_api.itwin.api.jobs import get_job, get_job_progress

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


def copied(target: Path, home: Path) -> None:
    """In place of the generators: what is committed, which is what they give."""
    shutil.copytree(PACKAGE, target / spec_generation.PACKAGE)


def test_drift_is_named_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` fails and names each file that was changed, added or deleted, and no other."""
    monkeypatch.setattr(spec_generation, "_generate", copied)
    package = tmp_path / "generated" / spec_generation.PACKAGE
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
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
        "generated/ is not what specs/ gives: make generate",
    ]


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


@pytest.mark.parametrize("service", ["catenis", "itwin", "apig"])
def test_clients_need_only_httpx_and_attrs(service: str) -> None:
    """A generated client imports httpx, attrs and the standard library, and nothing else."""
    assert imported(PACKAGE / service) - sys.stdlib_module_names == {"httpx", "attrs"}


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


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (retrieve_message_progress, ["ephemeral_message_id", "client"]),
        (get_job_progress, ["id", "client"]),
        (get_job, ["id", "client"]),
        (show_details_of_instance_progress_v2, ["project_id", "instance_id", "client"]),
    ],
)
def test_functions_take_the_ids_and_a_plain_client(
    module: ModuleType, arguments: list[str]
) -> None:
    """A generated function takes the ids of its path and a client that need hold no token."""
    for name in ("sync_detailed", "asyncio_detailed"):
        signature = inspect.signature(getattr(module, name), eval_str=True)
        assert list(signature.parameters) == arguments
        assert "| opwatch_api" in str(signature.parameters["client"].annotation)


def test_the_package_is_typed() -> None:
    """Type checkers are told that the package has types."""
    assert (PACKAGE / "py.typed").exists()
