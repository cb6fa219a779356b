"""The official Catenis client against the simulator: what it signs, reads and listens to.

`make contract` runs these tests; they need Node and no network.
"""

from typing import Any
from urllib.parse import urlsplit

import pytest
from node_processes import lines_of

from opwatch import Phase
from opwatch.reading import parse_time
from opwatch.simulator import Frame, Simulator, catenis

pytestmark = pytest.mark.contract

STATES = {
    "pSimulatedMessage001": Frame("pending"),
    "pSimulatedMessage002": Frame("running", bytes_processed=512),
    "pSimulatedMessage003": Frame("succeeded", bytes_processed=1024),
    "hSimulatedMessage004": Frame("succeeded", bytes_processed=1024),
    "pSimulatedMessage005": Frame("failed"),
}
GONE = "pSimulatedMessage006"


def arguments(sim: Simulator, secret: str = catenis.API_ACCESS_SECRET) -> list[str]:
    return [urlsplit(sim.url).netloc, catenis.DEVICE_ID, secret]


def polled(sim: Simulator, *ids: str, **options: Any) -> dict[str, Any]:
    """What the official client was answered about each message."""
    with lines_of("catenis_client.js", *arguments(sim, **options), "poll", *ids) as lines:
        return dict(lines)


def test_it_reads_what_we_read() -> None:
    """The simulator accepts the official client's signature, and both read the same progress."""
    with Simulator() as sim:
        for job, state in STATES.items():
            sim.add("catenis", job, state)
        found = polled(sim, *STATES)
        with sim.client("catenis") as client:
            ours = {job: client.progress(job).wire.to_dict()["data"] for job in STATES}
    assert found.keys() == STATES.keys()
    for job, data in found.items():
        ends = [each["progress"].pop("finishDate", None) for each in (data, ours[job])]
        assert data == ours[job]
        assert len({parse_time(end) for end in ends}) == 1


def test_it_is_refused_as_we_are() -> None:
    """An unknown message and a wrong secret are answered as Catenis answers them."""
    with Simulator() as sim:
        found = polled(sim, GONE) | {"wrong": polled(sim, GONE, secret="wrong")[GONE]}
    assert found[GONE] == {"status": 400, "message": "Invalid or expired ephemeral message"}
    assert found["wrong"]["status"] == 401
    assert found["wrong"]["message"].startswith("Authorization failed")


def test_it_is_notified() -> None:
    """The official client opens the simulator's WebSocket, and is told how the message ended."""
    job = "pSimulatedMessage007"
    with Simulator() as sim:
        message = sim.add("catenis", job, Frame("running"))
        with lines_of("catenis_client.js", *arguments(sim), "listen") as lines:
            assert next(lines) == {"open": True}
            message.play(Frame("succeeded"))
            with sim.client("catenis") as client:
                assert client.progress(job).phase is Phase.SUCCEEDED
            event, end = next(lines), next(lines)
    assert event["ephemeralMessageId"] == job
    assert event["progress"]["success"] is True
    assert end == {"code": 1000}
