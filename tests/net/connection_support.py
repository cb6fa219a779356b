"""A server that answers as a test says, and the clients that ask it."""

from __future__ import annotations

import pytest
from fault_server import FaultServer
from net_support import MODES

every_mode = pytest.mark.parametrize("mode", MODES)

GRACE = 10.0


def shape(server: FaultServer) -> list[int]:
    """Return which connection each request came on."""
    return [request.connection for request in server.requests]
