"""The fixtures of several files."""

import pytest
from many_support import watch_many

from opwatch.testing import FakeClock

__all__ = ["watch_many"]


@pytest.fixture
def clock():
    with FakeClock() as clock:
        yield clock


@pytest.fixture(params=["asyncio", "trio"])
def backend(request):
    return request.param
