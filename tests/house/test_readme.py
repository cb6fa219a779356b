"""The README's code runs against the simulator and prints what the README shows."""

import doctest
import io
import re
import subprocess
from contextlib import closing, redirect_stdout
from itertools import pairwise
from pathlib import Path

import docs_stage
import pytest
from docs_blocks import ROOT, Block, blocks

from opwatch import AkSk, Apig, Catenis, IamPassword, ITwin, ITwinV2
from opwatch.cli import commands
from opwatch.cli.simulating import add_examples
from opwatch.simulator import Simulator
from opwatch.testing import FakeClock

README = ROOT / "README.md"
BLOCKS = blocks(README)
PYTHON = [pair for pair in pairwise(BLOCKS) if pair[0].language == "python"]
CONSOLE = [block for block in BLOCKS if block.language == "console"]


def check_printed(shown: str, printed: str) -> None:
    """Fail if the output isn't what the README shows; `...` matches anything."""
    if not doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS):
        pytest.fail(f"printed\n{printed}\nand not\n{shown}", pytrace=False)


def test_there_is_code_for_every_service() -> None:
    """Every service has a block, async too, and there is a console; output follows each block."""
    code = "\n".join(block.code for block, _ in PYTHON)
    for name in ("ITwin", "Catenis", "Apig", "AsyncITwin"):
        assert f"{name}.from_env()" in code
    assert {output.language for _, output in PYTHON} == {"text"}
    assert len(CONSOLE) == 1


@pytest.mark.parametrize(("block", "output"), PYTHON, ids=[pair[0].where for pair in PYTHON])
def test_python_prints_what_is_shown(
    block: Block, output: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block runs on its own against the jobs of `opwatch simulate` and prints what's shown."""
    printed = io.StringIO()
    with FakeClock() as clock, Simulator(clock=clock) as simulator:
        add_examples(simulator)
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        code = compile("\n" * (block.line - 1) + block.code, str(README), "exec")
        with redirect_stdout(printed):
            exec(code, {"__name__": "__main__"})
        assert clock.now() < 60  # as the README says
    check_printed(output.code, printed.getvalue())


@pytest.mark.parametrize("block", CONSOLE, ids=[block.where for block in CONSOLE])
def test_commands_print_what_is_shown(block: Block, tmp_path: Path) -> None:
    """Lines after `$` are commands; the other lines are what the commands print."""
    lines = block.code.splitlines(keepends=True)
    typed = "".join(line.removeprefix("$ ") for line in lines if line.startswith("$ "))
    shown = "".join(line for line in lines if not line.startswith("$ "))
    clock = docs_stage.SharedClock(tmp_path / "clock")
    with closing(clock), Simulator(clock=clock) as simulator:
        add_examples(simulator)
        done = subprocess.run(
            ["bash", "-c", typed],
            cwd=tmp_path,
            env=docs_stage.child_environment(tmp_path / "clock", simulator, staged=True),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    check_printed(shown, done.stdout)


def test_the_exit_codes_are_those_of_the_help() -> None:
    """Each row of the documented exit codes starts with the text of `watch --help`."""
    told = re.findall(r"^ +(\d+)  (.+)$", commands.watch.epilog or "", re.MULTILINE)
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    lines = re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE)
    shortened = [
        (code, text[: len(words)]) for (code, text), (_, words) in zip(lines, told, strict=True)
    ]
    assert shortened == told


@pytest.mark.parametrize("client", [Catenis, ITwin, ITwinV2, Apig])
def test_every_environment_variable_is_named(
    client: type[Catenis | ITwin | ITwinV2 | Apig],
) -> None:
    """The README names the variables that `from_env` and its class say it reads."""
    told = f"{client.__doc__} {client.from_env.__doc__}"
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", told))
    if client is Apig:
        named |= {*AkSk.variables.values(), *IamPassword.variables.values()}
    assert named
    assert named <= set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", README.read_text("utf-8")))
