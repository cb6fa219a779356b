"""The cost of a hostile response: at most 64 MiB more than a plain one, and its own time limit.

The client has a process of its own, in which nothing else allocates.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fault_plays import HEAD_OF_200, HEAD_OF_CHUNKED, MIB, Play, body, endless, http
from fault_scenarios import SCENARIOS
from fault_server import FaultServer, Peer
from fault_services import ITWIN, Sample

from opwatch.net.exchange import exchange
from opwatch.net.message import Address, Request, blocking

MOST = 64 * MIB
GRACE = 20.0
CLIENT = Path(__file__).with_name("memory_client.py")
BY_NAME: dict[str, Any] = {scenario.name: scenario.play for scenario in SCENARIOS}


def filled(piece: str) -> Play:
    """A response of 1 MiB that holds this, again and again, in a further field."""
    count = MIB // len(piece) - 100
    return body(lambda sample: sample.body(extra=f',"extra":[{piece * count}0]'))


def many_names(sample: Sample) -> bytes:
    names = ",".join(f'"{n:06x}":0' for n in range(MIB // 11 - 100))
    return sample.body(extra=f',"extra":{{{names}}}')


STREAMS: dict[str, tuple[Play, float]] = {
    "gzip-bomb": (BY_NAME["gzip-bomb"], 30),
    "endless": (BY_NAME["endless"], 30),
    "endless-chunks": (BY_NAME["endless-chunks"], 30),
    "small-chunks": (endless(HEAD_OF_CHUNKED, b"1\r\nx\r\n" * 5000), 0.25),
    "header-flood": (BY_NAME["header-flood"], 30),
    "header-huge": (BY_NAME["header-huge"], 30),
    "interim-answers": (BY_NAME["endless-interim-answers"], 0.25),
    "nested": (BY_NAME["json-nested"], 30),
    "error-too-long": (BY_NAME["error-too-long"], 30),
}
"""What to send, and the seconds that the client gives it."""
BODIES: dict[str, tuple[Play, float]] = {
    "lists": (filled("[],"), 30),
    "objects": (filled("{},"), 30),
    "small-objects": (filled('{"":0},'), 30),
    "texts": (filled('"\\ud83d\\ude00",'), 30),
    "numbers": (filled("1.5,"), 30),
    "names": (body(many_names), 30),
}
"""Read alike by both clients."""


def calm_at_first(bomb: Play) -> Any:
    """The first connection gets a plain answer."""

    def play(peer: Peer) -> None:
        if peer.number:
            bomb(peer, ITWIN)
        elif peer.request():
            peer.send(http(ITWIN.body()))

    return play


@pytest.mark.parametrize(
    ("mode", "bombs"),
    [("sync", STREAMS), ("asyncio", STREAMS), ("sync", BODIES)],
    ids=["streams-sync", "streams-async", "bodies"],
)
def test_no_answer_takes_much_memory_or_time(
    mode: str, bombs: dict[str, tuple[Play, float]]
) -> None:
    """Neither what Python allocates nor the process as a whole grows by 64 MiB."""
    with ExitStack() as stack:
        cases = {
            name: (stack.enter_context(FaultServer(calm_at_first(bomb))).url, limit)
            for name, (bomb, limit) in bombs.items()
        }
        command = [sys.executable, str(CLIENT), mode, json.dumps(cases)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert {name: case["ours"] for name, case in found.items()} == dict.fromkeys(bombs, True)
    for name, (_, limit) in bombs.items():
        assert found[name]["allocated"] < MOST, name
        assert found[name]["resident"] < MOST, name
        assert found[name]["seconds"] < limit + GRACE, name


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_comes_a_byte_at_a_time_is_not_kept_in_pieces(is_chunked: bool) -> None:
    """A body that comes a byte at a time takes no more memory than it is long."""
    size = MIB // 64
    head = HEAD_OF_CHUNKED if is_chunked else HEAD_OF_200 + b"Content-Length: %d\r\n\r\n" % size
    pieces = iter([head, *[b"1\r\nx\r\n" if is_chunked else b"x"] * size, b"0\r\n\r\n"])

    class Dripping:
        async def send(self, _: object) -> None: ...

        async def receive(self) -> bytes:
            return bytes(bytearray(next(pieces)))

        async def pause(self) -> None: ...

    tracemalloc.start()
    answer, _ = blocking(exchange, Request("GET", Address("http://x", "x"), "/"), Dripping())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.body == b"x" * size
    assert peak < 4 * size
