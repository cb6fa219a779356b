"""The clients, blocking and async, and a fake clock."""

from collections.abc import Iterator
from typing import Any

import pytest
from faults_support import DRIVERS, KITS

from opwatch.testing import FakeClock


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Any:
    return DRIVERS[request.param]


@pytest.fixture(params=KITS)
def kit(request: pytest.FixtureRequest) -> Any:
    return KITS[request.param]


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock() as clock:
        yield clock
