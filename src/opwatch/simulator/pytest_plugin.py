"""The pytest fixture `opwatch_simulator`.

pytest imports this file at every start, so it imports nothing of opwatch until the fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from opwatch.simulator.server import Simulator


@pytest.fixture
def opwatch_simulator() -> Iterator[Simulator]:
    """A running simulator without jobs; the test fails if a response violates its service's spec.

    Fails if the `simulator` extra isn't installed.
    """
    try:
        from opwatch.simulator import Simulator
    except ModuleNotFoundError as error:
        pytest.fail(f"opwatch_simulator: {error}", pytrace=False)
    with Simulator() as simulator:
        yield simulator
