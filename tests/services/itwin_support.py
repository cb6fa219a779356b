"""Responses of iTwin v2."""

from typing import Any

import pytest

from opwatch import AsyncITwinV2, ITwinV2
from opwatch.testing import FakeClock, Script, reply

V2 = (ITwinV2, AsyncITwinV2)
APIS = ("reality-modeling", "reality-analysis", "reality-conversion")
TOKEN = {"auth": "a made-up token"}
INVALID_INPUT = {
    "code": "InputData_Invalid",
    "title": "Invalid input data",
    "message": 'Please check the documentation. ("%1")',
    "params": ["Scene"],
}


def progress(state: Any, percentage: float | None = 50) -> Any:
    return reply(200, {"progress": {"percentage": percentage, "state": state}})


def messages(*errors: Any) -> Any:
    return reply(200, {"messages": {"errors": list(errors), "warnings": []}})


def script(answers: list[Any], told: list[Any] | None = None) -> Script:
    return Script({"/progress": answers, "/messages": told or [messages(INVALID_INPUT)]})


@pytest.fixture
def client(clock: FakeClock) -> Any:
    """Makes a client inside a script's block."""
    return lambda **how: ITwinV2(**TOKEN, **how)
