"""A fake clock and a simulator for the tests of single services."""

from collections.abc import Iterator

import pytest
from itwin_support import client

from opwatch.simulator import Simulator
from opwatch.testing import FakeClock

__all__ = ["client"]


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock() as clock:
        yield clock


@pytest.fixture
def sim(clock: FakeClock) -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator
