"""Rules for every test: none leaves this machine, and none depends on its speed.

A shell starts its background jobs with SIGINT ignored, and the processes that a test starts and
interrupts would inherit that, so it is reset here. If Python is told not to write bytecode, each of
these processes would compile opwatch again, so they are allowed to write it. The engines of
tests/engines have their own environments, without Hypothesis.
"""

import contextlib
import gc
import ipaddress
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    at_any_speed: Any = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
    settings.register_profile("opwatch", max_examples=25, **at_any_speed)
    settings.register_profile("slow", max_examples=1000, **at_any_speed)  # make test-slow
    settings.register_profile("fuzz", max_examples=5000, **at_any_speed)  # make fuzz
    settings.load_profile("opwatch")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keep the garbage collector off what lives to the end, and let it run less often.

    Eight thousand collected tests are a quarter of a million objects, and each full collection in
    any test would look at all of them again: 2 to 12 % of the processor's time, as measured. What
    a test leaves behind is a few thousand: to look for cycles after each 700 took another 5 %.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Two more than there are processors: a fifth of the time is waiting for time limits."""
    return (yield) + 2


@pytest.fixture(scope="session")
def made_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, Callable[[Path], None]], Path]:
    """Makes a folder that all of pytest's processes use, and returns it."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def of(name: str, make: Callable[[Path], None]) -> Path:
        if not (root / name).exists():
            made = Path(tempfile.mkdtemp(dir=root))
            make(made)
            with contextlib.suppress(OSError):  # another process was faster
                made.rename(root / name)
        return root / name

    return of


@pytest.fixture(autouse=True)
def no_thread_remains() -> Iterator[None]:
    """What a test starts is closed in it, and a closed client or simulator ends its thread."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("opwatch"):
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} is still running"


def stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: asking for another machine, by name or address, is an error."""
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else host
    if name and not is_here(name):
        raise RuntimeError(f"a test asked for {name}; tests stay on this machine")


def is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


sys.addaudithook(stay_here)
