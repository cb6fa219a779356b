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


def test_a_client_is_never_deleted_silently(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its spec, `generate` writes nothing, and `check` says to restore the spec."""
    generated = folder.parent / "generated"
    shutil.copytree(spec_generation.GENERATED, generated)
    before = {file: file.read_bytes() for file in generated.rglob("*.py")}
    monkeypatch.setattr(spec_generation, "SPECS", folder)
    for function in (spec_generation.write, spec_generation.drift, spec_generation.lost):
        monkeypatch.setattr(function, "__defaults__", (generated,))
    monkeypatch.setattr(spec_generation, "_generate", _all_but_itwin)
    (folder / "itwin.yaml").unlink()
    monkeypatch.setattr(spec_rules, "check_all", lambda folder: [])
    assert run(monkeypatch, "generate") == 1
    assert capsys.readouterr().err.startswith("the spec of itwin is missing; restore it, or delete")
    assert {file: file.read_bytes() for file in generated.rglob("*.py")} == before
    assert run(monkeypatch, "check") == 1
    printed = capsys.readouterr().err.splitlines()
    assert "generated/: new: opwatch_api/itwin/client.py" in printed
    assert printed[-1].endswith("restore the spec of itwin, or delete the files generated from it")


def _all_but_itwin(target: Path, home: Path) -> None:
    shutil.copytree(spec_generation.GENERATED, target)
    for path in [*target.rglob("itwin"), *target.rglob("itwin.py")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
