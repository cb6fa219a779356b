"""Run the command in this process, with a fake clock, against a simulator."""

import os
from collections.abc import Iterator

import pytest
from cli_tools import Connect, Result, Run
from state_support import path

from opwatch.cli import main
from opwatch.simulator import Simulator
from opwatch.testing import FakeClock

__all__ = ["path"]

_HEEDED = ("CATENIS_", "ITWIN_", "APIG_", "OS_", "HUAWEICLOUD_", "OPWATCH_")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of this machine reaches a run, and none that a run sets outlives its test."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in [*os.environ]:
        if name.startswith(_HEEDED) or name in ("CI", "NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `opwatch` in this process."""

    def run(*words: object) -> Result:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """A clock that nobody sleeps by, for the command and the simulator alike."""
    with FakeClock() as clock:
        yield clock


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Lets the command reach a simulator, by the environment."""

    def connect(simulator: Simulator) -> None:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)

    return connect


@pytest.fixture
def sim(clock: FakeClock, connect: Connect) -> Iterator[Simulator]:
    """A simulator without jobs, which the command reaches."""
    with Simulator() as simulator:
        connect(simulator)
        yield simulator


@pytest.fixture
def real_sim() -> Iterator[Simulator]:
    """A simulator whose time is the wall clock's, for runs in separate processes."""
    with Simulator() as simulator:
        yield simulator
