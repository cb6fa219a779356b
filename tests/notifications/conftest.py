"""The tests of notifications use the clock of tests/waiting, which triggers events at given
times."""

import sys
from pathlib import Path

import pytest

from opwatch.core import loop

sys.path.append(str(Path(__file__).parents[1] / "waiting"))

from channel_support import wait  # which needs that folder

__all__ = ["wait"]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait doesn't give up its channel, however slow the machine is."""
    monkeypatch.setattr(loop, "PATIENCE", 3600.0)


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch, patience: None) -> None:
    monkeypatch.setattr(loop, "PATIENCE", 0.05)
