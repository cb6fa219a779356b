"""Ports for servers that can't choose one by themselves."""

import socket
from contextlib import suppress
from random import SystemRandom

import pytest


def free_port() -> int:
    """Return one below those that systems give to connections, so that none takes it meanwhile."""
    for port in SystemRandom().sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("", port)):
            return port
    pytest.fail("there is no free port")
