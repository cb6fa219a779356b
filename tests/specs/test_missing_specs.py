"""What the commands do about a spec that is broken or missing: say so, and write nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import spec_generation
import spec_rules

import specs as command_line

Edit = Callable[[bytes], bytes]


def change(old: str, new: str) -> Edit:
    """An edit that replaces a text, which must be there, once."""

    def edit(content: bytes) -> bytes:
        assert old.encode() in content, old
        return content.replace(old.encode(), new.encode("latin-1" if "\xe9" in new else "utf-8"), 1)

    return edit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(spec_generation.SPECS, tmp_path / "specs")
    return tmp_path / "specs"


def run(monkeypatch: pytest.MonkeyPatch, command: str) -> int:
    monkeypatch.setattr("sys.argv", ["specs.py", command])
    return command_line.main()


@pytest.mark.parametrize("command", ["generate", "check"])
@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda content: b"", "yaml: must be an OpenAPI document"),
        (change("  title:", "   title:"), "yaml: "),
        (change("status.", "st\xe9tus."), "utf-8: byte 0xe9 isn't UTF-8"),
        (
            change("schemas/InstanceProgress", "schemas/Gone"),
            "structure: #/components/schemas/Gone",
        ),
        (change("creating: running", "creating: runing"), "wait-form: "),
    ],
)
def test_a_broken_spec_is_not_generated(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    edit: Edit,
    text: str,
    command: str,
) -> None:
    """`generate` and `check` say what `validate` says of it, and run no generator."""
    path = folder / "apig.yaml"
    path.write_bytes(edit(path.read_bytes()))
    monkeypatch.setattr(spec_generation, "SPECS", folder)
    monkeypatch.delattr(spec_generation, "_generate")
    assert run(monkeypatch, "validate") == run(monkeypatch, command) == 1
    printed = capsys.readouterr().err.splitlines()
    assert printed[: len(printed) // 2] == printed[len(printed) // 2 :]
    assert text in printed[0]


def test_a_deleted_spec_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While its document or its part of the README is there, `validate` asks for the spec."""
    monkeypatch.setattr(spec_generation, "SPECS", folder)
    (folder / "itwin.yaml").unlink()
    for _ in range(2):
        assert run(monkeypatch, "validate") == 1
        found = [line for line in capsys.readouterr().err.splitlines() if "itwin" in line]
        text = "is missing; restore it, or delete its document and its part of README.md"
        assert found == [f"specs/itwin.yaml:1: file: {text}"]
        (folder / "documents" / "itwin.txt").unlink(missing_ok=True)


def test_two_specs_for_one_package_are_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two specs whose names differ only in `-` and `_`, one would overwrite the other."""
    monkeypatch.setattr(spec_generation, "SPECS", folder)
    shutil.copyfile(folder / "itwin-v2.yaml", folder / "itwin_v2.yaml")
    assert run(monkeypatch, "validate") == 1
    text = "would be generated into the same package as itwin-v2.yaml; rename or remove one"
    assert capsys.readouterr().err == f"specs/itwin_v2.yaml:1: file: {text}\n"


@pytest.fixture
def generated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of generated/, and generators that give the same again."""
    generated = folder.parent / "generated"
    shutil.copytree(spec_generation.GENERATED, generated)
    monkeypatch.setattr(spec_generation, "SPECS", folder)
    for function in (spec_generation.write, spec_generation.drift, spec_generation.lost):
        monkeypatch.setattr(function, "__defaults__", (generated,))
    monkeypatch.setattr(spec_generation, "_generate", _the_same)
    return generated


def test_a_client_is_never_deleted_silently(
    folder: Path,
    generated: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without its spec, `generate` writes nothing, whatever is left of the client, and `check` says
    to restore the spec."""
    monkeypatch.setattr(spec_generation, "_generate", _all_but_itwin)
    (folder / "itwin.yaml").unlink()
    monkeypatch.setattr(spec_rules, "check_all", lambda folder: [])
    assert run(monkeypatch, "check") == 1
    printed = capsys.readouterr().err.splitlines()
    assert "generated/: new: opwatch_api/itwin/client.py" in printed
    assert printed[-1].endswith("restore the spec of itwin, or delete the files generated from it")
    for removed in (
        "opwatch_api/itwin/client.py",
        "opwatch_api/wire/itwin.py",
        "opwatch_api/itwin",
    ):
        path = generated / removed
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        before = {file: file.read_bytes() for file in generated.rglob("*.py")}
        assert run(monkeypatch, "generate") == 1
        error = capsys.readouterr().err
        assert error.startswith("the spec of itwin is missing; restore it, or delete")
        assert {file: file.read_bytes() for file in generated.rglob("*.py")} == before


def test_an_operation_is_never_deleted_silently(
    generated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`generate` names a renamed operation, and writes nothing if one would disappear."""
    jobs = generated / "opwatch_api" / "itwin" / "api" / "jobs"
    (jobs / "get_job.py").rename(jobs / "read_job.py")
    assert run(monkeypatch, "generate") == 0
    line = "opwatch_api/itwin/api/jobs/read_job.py is now opwatch_api/itwin/api/jobs/get_job.py"
    assert capsys.readouterr().out == f"generated/: renamed: {line}\n"
    (jobs / "other.py").touch()
    assert run(monkeypatch, "generate") == 1
    text = "itwin.yaml no longer has the operation of opwatch_api/itwin/api/jobs/other.py; restore"
    assert capsys.readouterr().err.startswith(text)
    assert (jobs / "other.py").exists()


def test_only_files_are_generated(
    generated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` finds a link to the right contents, and an empty folder; `generate` removes both."""
    file = generated / "opwatch_waits" / "itwin.py"
    file.rename(generated.parent / "itwin.py")
    file.symlink_to(generated.parent / "itwin.py")
    (generated / "opwatch_api" / "empty").mkdir()
    assert run(monkeypatch, "check") == 1
    assert capsys.readouterr().err.splitlines()[:2] == [
        "generated/: not a regular file: opwatch_api/empty",
        "generated/: not a regular file: opwatch_waits/itwin.py",
    ]
    assert run(monkeypatch, "generate") == run(monkeypatch, "check") == 0


def _the_same(target: Path, home: Path) -> None:
    shutil.copytree(spec_generation.GENERATED, target)


def _all_but_itwin(target: Path, home: Path) -> None:
    shutil.copytree(spec_generation.GENERATED, target)
    for path in [*target.rglob("itwin"), *target.rglob("itwin.py")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
