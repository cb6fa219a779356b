"""Ports of this machine: one that is free, and one that takes no further connection."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from random import SystemRandom

import pytest


def free_port() -> int:
    """Return one below those that systems give to connections, so that none takes it meanwhile."""
    for port in SystemRandom().sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("", port)):
            return port
    pytest.fail("there is no free port")


@contextmanager
def full() -> Iterator[int]:
    """A port of loopback that takes no further connection and refuses none."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
