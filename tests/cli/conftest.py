"""A run of the command in this process, with a clock that nobody sleeps by, against a simulator."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from cli_tools import Connect, Result, Run

from opwatch import transport
from opwatch.cli import main
from opwatch.simulator import Simulator
from opwatch.testing import FakeClock
from opwatch.wire import Answer, Outgoing

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


class PatientClock(FakeClock):
    """Stands still while a request is under way.

    A simulator answers in real time, as late as a busy machine lets it: with several jobs at once,
    the time would otherwise be moved on to one job's next query before another's answer came.
    """

    under_way = 0

    async def _is_idle(self, until: Any) -> bool:
        return await super()._is_idle(until) and self.under_way == 0


class _Counted:
    """A transport that tells a clock how many requests are under way."""

    def __init__(self, inner: Any, clock: PatientClock) -> None:
        self._inner = inner
        self._clock = clock
        self.limits = inner.limits
        self.aclose = inner.aclose

    async def send(self, outgoing: Outgoing) -> Answer:
        self._clock.under_way += 1
        try:
            return await self._inner.send(outgoing)
        finally:
            self._clock.under_way -= 1


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """A clock that nobody sleeps by, for the command and the simulator alike."""
    opened: Any = transport.open_async.get()
    with PatientClock() as clock:
        before = transport.open_async.set(lambda limits: _Counted(opened(limits), clock))
        yield clock
        transport.open_async.reset(before)


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
    """A simulator whose time is the wall clock's, for runs in processes of their own."""
    with Simulator() as simulator:
        yield simulator
