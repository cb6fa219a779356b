"""The tests of webhooks use the clock of tests/waiting, which triggers events at given times."""

import sys
from pathlib import Path

import pytest

from opwatch.simulator import webhooks

sys.path.append(str(Path(__file__).parents[1] / "waiting"))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator doesn't give up a receiver, however slow the machine is."""
    monkeypatch.setattr(webhooks, "PATIENCE", 3600.0)
