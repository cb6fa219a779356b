"""`opwatch generate` and `watch --spec`: which files and folders they refuse."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_support import Run, spec
from generating_tools import changed, operation, wait

from opwatch.testing import FakeClock, Script, reply

LAUGHS = b"\n".join(
    [b"a0: &a0 ha", *(b"a%d: &a%d [%b]" % (n, n, b"*a%d, " % (n - 1) * 10) for n in range(1, 12))]
)
"""Aliases of aliases: a few lines that stand for a hundred thousand million words."""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: &a [*a]", "press.yaml:1: #/a/0: yaml: contains itself"),
        (b"a: 1\na: 2", "press.yaml:2: #/a: yaml: a second key 'a', which hides the first"),
        (
            b"a: " + b"[" * 3000 + b"]" * 3000,
            "press.yaml:1: yaml: nested too deeply; flatten it",
        ),
        (b"a: " + b"1" * 5000, "press.yaml has a value that can't be read"),
        (
            b'{"a":\n {"b": 1, "b": 2}}',
            "press.yaml:2: #/a/b: yaml: a second key 'b', which hides the first one; remove one",
        ),
        (
            b'{"a": 1, "a": "\x7f"}',
            "can't be read: a second key 'a', which hides the first one; re",
        ),
        (b"{a: 1, a: 2}", "press.yaml:1: #/a: yaml: a second key 'a', which hides the first"),
        (b'{"a": "\\ud800"}', "press.yaml contains a lone surrogate"),
        (b"", "press.yaml:1: yaml: must be an OpenAPI document"),
        (b"- a list", "press.yaml:1: yaml: must be an OpenAPI document"),
        (b"openapi: [", "press.yaml:2: yaml: while parsing a flow"),
        (b"title: caf\xe9", "press.yaml:1: utf-8: byte 0xe9 isn't UTF-8; save"),
        (b"a: 1\n\tb: 2", "press.yaml:2: yaml: while scanning a plain scalar, found a tab"),
        pytest.param(
            LAUGHS,
            "press.yaml:7: file: has more than 1,000,000 values, counting aliases; keep",
            id="aliases",
        ),
        pytest.param(
            b"{" + LAUGHS.replace(b"\n", b", ") + b"}",
            "press.yaml:1: file: has more than 1,000,000",
            id="aliases in flow",
        ),
        pytest.param(
            b"a: [" + b"{}," * 1_000_001 + b"]",
            "press.yaml:1: file: has more than 1,000,000 values",
            id="many values",
        ),
        pytest.param(
            b"#" * (16 * 1024**2 + 1),
            "press.yaml:1: file: is larger than 16 MiB; keep only what the",
            id="a large file",
        ),
    ],
)
def test_a_file_that_is_no_spec(data: bytes, said: str, run: Run) -> None:
    """One line says what is wrong, and it isn't a traceback."""
    Path("press.yaml").write_bytes(data)
    code, out, err = run("generate", "press.yaml", "--out", "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_spec_in_a_pipe(run: Run) -> None:
    """It is read once, and is complete in the package."""
    os.mkfifo("press.json")
    text = json.dumps(changed())
    threading.Thread(target=Path("press.json").write_text, args=(text,), daemon=True).start()
    code, _, err = run("generate", "press.json", "--out", "out")
    assert (code, err) == (0, "")
    assert Path("out/opwatch_press/press.json").read_text(encoding="utf-8") == text


def test_a_spec_that_is_not_there(run: Run) -> None:
    """It is named."""
    code, _, err = run("generate", "press.yaml", "--out", "out")
    assert (code, err) == (2, "opwatch: can't read press.yaml: No such file or directory\n")


def test_json_is_read_as_json(run: Run) -> None:
    """Also what no YAML can be; and a mistake in it is a line."""

    def change(content: dict[str, Any]) -> None:
        content["info"]["title"] = "\x7f \N{GRINNING FACE}"
        content["paths"]["/" + 1100 * "a"] = {}
        wait(content)["percent"] = "/nothing"

    text = json.dumps(changed(change), indent="\t")
    Path("press.json").write_text(text, encoding="utf-8-sig")
    code, _, err = run("generate", "press.json", "--out", "out")
    assert (code, "wait-pointer: /nothing isn't in Print" in err) == (2, True), err
    Path("press.json").write_text('{"openapi": "3.1.0",\n}', encoding="utf-8")
    code, _, err = run("generate", "press.json", "--out", "out")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("opwatch: press.json isn't JSON: ")


def test_a_spec_without_examples(run: Run) -> None:
    """The package is written, and a line says that its test checks no responses."""

    def change(content: dict[str, Any]) -> None:
        del operation(content)["responses"]["200"]["content"]["application/json"]["examples"]

    said = "its test checks no responses: add an x-phase to the examples in the spec\n"
    assert said not in run("generate", spec(), "--out", "one")[1]
    code, out, _ = run("generate", spec(change), "--out", "two")
    assert (code, said in out) == (0, True)


@pytest.mark.parametrize("name", ["Press", "2press", "a_b", "a--b", "-", "itwin", "itwin-v2"])
def test_a_name_that_a_service_cannot_have(name: str, run: Run) -> None:
    """The error says what would do."""
    code, _, err = run("generate", spec(), "--out", "out", f"--name={name}")
    assert code == 2
    assert "--name" in err


def test_a_folder_that_holds_something_else(run: Run) -> None:
    """Nothing of the user's is overwritten; only the package's own folder is replaced."""
    Path("out").mkdir()
    Path("out/diary.txt").write_text("mine", encoding="utf-8")
    code, _, err = run("generate", spec(), "--out", "out")
    assert (code, "isn't empty" in err) == (2, True)
    assert run("generate", spec(), "--out", "new")[0] == 0
    mine = [Path("new", name) for name in ("README.md", "pyproject.toml", "tests/test_press.py")]
    for path in mine:
        path.write_text(path.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    Path("new/opwatch_press/old.py").touch()
    Path("new/mine.py").touch()
    assert run("generate", spec(), "--out", "new")[0] == 0
    assert not Path("new/opwatch_press/old.py").exists()
    assert Path("new/mine.py").exists()
    assert all(path.read_text(encoding="utf-8").endswith("# mine\n") for path in mine)
    code, _, err = run("generate", spec(), "--out", "new", "--name", "other")
    assert (code, "contains another service's package" in err) == (2, True), err


@pytest.mark.parametrize("name", ["opwatch_press", "README.md", "pyproject.toml", "tests"])
def test_a_link_is_not_followed(name: str, run: Run) -> None:
    """What it leads to is somebody else's."""
    Path("out").mkdir()
    Path("elsewhere").mkdir()
    Path("out/pyproject.toml").write_text('a = "opwatch_press:PLUGIN"', encoding="utf-8")
    Path("out", name).unlink(missing_ok=True)
    Path("out", name).symlink_to("../elsewhere")
    code, _, err = run("generate", spec(), "--out", "out")
    assert (code, "is a link; choose a new folder" in err) == (2, True), err
    assert not [*Path("elsewhere").iterdir()]


def file(path: Path) -> None:
    path.touch()


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def not_utf8(path: Path) -> None:
    path.mkdir()
    (path / "pyproject.toml").write_bytes(b"\xff")


@pytest.mark.parametrize("make", [file, dangling, not_utf8])
@pytest.mark.parametrize("out", ["out", "out/inner"])
def test_a_place_that_is_no_folder_for_it(make: Callable[[Path], None], out: str, run: Run) -> None:
    """It is one line that says so."""
    make(Path("out"))
    code, _, err = run("generate", spec(), "--out", out)
    if make is not_utf8 and out != "out":
        assert code == 0
    else:
        assert (code, err.count("\n")) == (2, 1), err


@pytest.mark.parametrize("name", ["itwin", "api", "waits", "none", "3d"])
def test_the_advice_is_one_that_can_be_followed(name: str, run: Run) -> None:
    """`watch` has no --name, so the file needs another one."""
    code, _, err = run("watch", "--spec", spec(name=f"{name}.json"), "p1")
    assert (code, "rename the file" in err, "--name" in err) == (2, True, False), err
    code, _, err = run("generate", f"{name}.json", "--out", "out")
    assert (code, "--name" in err, "rename" in err) == (2, True, False), err


@pytest.mark.parametrize("state", ["done", "jammed"])
def test_watching_a_spec(state: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--spec` watches without a package: the exit code and the lines are those of any service."""
    answers = [reply(200, {"state": "printing"}), reply(200, {"state": state})]
    with FakeClock(), Script({"/prints/p1": answers, "/prints/p2": answers}):
        code, out, err = run("watch", "--spec", spec(name="a-press.json"), "p1", "p2")
    assert (code, err) == ({"done": 0, "jammed": 1}[state], "")
    ends = [line for line in out.splitlines() if "succeeded" in line or "failed" in line]
    assert [line.split()[1:3] for line in ends] == [["a-press", "p1"], ["a-press", "p2"]]


def test_a_state_file_of_a_spec(run: Run) -> None:
    """`--spec` with `--state` and no ID continues what the file holds."""
    file = spec()
    running = [reply(200, {"state": "printing"})]
    with FakeClock(), Script({"/prints/p1": running}):
        words = ["watch", "--spec", file, "--state", "state.json", "--timeout", "1s"]
        assert run(*words, "p1")[0] == 124
    with FakeClock(), Script({"/prints/p1": [reply(200, {"state": "done"})]}):
        code, out, _ = run("watch", "--spec", file, "--state", "state.json", "press:p1")
        assert (code, "succeeded" in out) == (0, True)
