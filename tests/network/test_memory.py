"""What a hostile answer may cost: 64 MiB over what a plain one takes, and its own time limit.

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
from fault_scenarios import HEAD_OF_CHUNKED, MIB, SCENARIOS, Play, body, endless, http
from fault_server import FaultServer, Peer
from fault_services import ITWIN, Sample

from opwatch.transport.limits import Limit
from opwatch.wire import Address, Outgoing

MOST = 64 * MIB
GRACE = 20.0
CLIENT = Path(__file__).with_name("memory_client.py")
BY_NAME: dict[str, Any] = {scenario.name: scenario.play for scenario in SCENARIOS}


def filled(piece: str) -> Play:
    """An answer of 1 MiB that holds this, again and again, in a further field."""
    count = MIB // len(piece) - 100
    return body(lambda sample: sample.body(extra=f',"extra":[{piece * count}0]'))


def many_names(sample: Sample) -> bytes:
    names = ",".join(f'"{n:06x}":0' for n in range(MIB // 11 - 100))
    return sample.body(extra=f',"extra":{{{names}}}')


STREAMS: dict[str, tuple[Play, float]] = {
    "gzip-bomb": (BY_NAME["gzip-bomb"], 30),
    "endless": (BY_NAME["endless"], 30),
    "endless-chunks": (BY_NAME["endless-chunks"], 30),
    "small-chunks": (endless(HEAD_OF_CHUNKED, b"1\r\nx\r\n" * 5000), 1),
    "header-flood": (BY_NAME["header-flood"], 30),
    "header-huge": (BY_NAME["header-huge"], 30),
    "interim-answers": (BY_NAME["endless-interim-answers"], 0.5),
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


def test_small_chunks_are_not_kept_one_by_one() -> None:
    """A body that comes a byte at a time takes no more memory than it is long."""
    limit = Limit(30.0, Outgoing("GET", Address("http://x", "x", ""), "/"))
    tracemalloc.start()
    for _ in range(MIB // 8):
        limit.add(bytes(bytearray(b"x")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MIB // 2
