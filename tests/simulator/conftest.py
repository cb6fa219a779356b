"""Simulators for the tests of this folder."""

from collections.abc import Iterator

import pytest
from simulator_tools import Send, sender

from opwatch.core import loop
from opwatch.simulator import Simulator, channel
from opwatch.testing import FakeClock


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither end of a channel gives up the other, however slow the machine is."""
    monkeypatch.setattr(loop, "PATIENCE", 3600.0)
    monkeypatch.setattr(channel, "HELLO_TIMEOUT", 3600.0)


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """A clock that nobody sleeps by, for the clients and the simulator alike."""
    with FakeClock() as clock:
        yield clock


@pytest.fixture
def sim(clock: FakeClock) -> Iterator[Simulator]:
    """A simulator without jobs, whose time is the fake clock's."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def send(sim: Simulator) -> Send:
    """Sends the simulator what no client of ours would."""
    return sender(sim)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Async tests run on both event loops."""
    backend: str = request.param
    return backend
