"""The guard of tests/conftest.py: a test that would leave this machine fails."""

import socket

import pytest


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.com"])
def test_another_machine_is_refused(host: str) -> None:
    """Neither an address nor a name of another machine is asked for."""
    with pytest.raises(RuntimeError, match="tests stay on this machine"):
        socket.create_connection((host, 9), timeout=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_not(host: str) -> None:
    """A server on loopback is reached."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((host, port), timeout=30) as reached:
            assert reached.getpeername()[:2] == ("127.0.0.1", port)
