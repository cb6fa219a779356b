"""The simulated Catenis notification channel: what it checks, what it sends, and how it fails."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from wsproto import ConnectionType, WSConnection, events

from opwatch import Phase, Schedule
from opwatch.auth import ctn1
from opwatch.core import loop
from opwatch.errors import AuthenticationError, JobFailed
from opwatch.simulator import Frame, Polls, Simulator

NEVER = Schedule((3600,))
"""So that nothing but an event makes the second poll."""
ID = "pNotified00000000001"
PATH = "/api/0.7/notify/ws/final-msg-progress"
SOON = [Frame("running"), Frame("succeeded", at=0.05)]


def blocking(sim: Simulator, *jobs: str, **options: Any) -> Any:
    with sim.client("catenis", notifications=True, **options) as client:
        if len(jobs) == 1:
            return client.wait(jobs[0], timeout=60, schedule=NEVER)
        return [*client.watch_many(jobs, timeout=60, schedule=NEVER)]


def in_loop(backend: str) -> Callable[..., Any]:
    def run(sim: Simulator, *jobs: str, **options: Any) -> Any:
        async def main() -> Any:
            async with sim.async_client("catenis", notifications=True, **options) as client:
                if len(jobs) == 1:
                    return await client.wait(jobs[0], timeout=60, schedule=NEVER)
                many = client.watch_many(jobs, timeout=60, schedule=NEVER)
                return [progress async for progress in many]

        return anyio.run(main, backend=backend)

    return run


DRIVERS = {"blocking": blocking, "asyncio": in_loop("asyncio"), "trio": in_loop("trio")}


@pytest.fixture(params=DRIVERS)
def wait(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return DRIVERS[request.param]


class Raw:
    """A WebSocket client that sends what it is told to."""

    def __init__(self, sim: Simulator, path: str = PATH, protocol: str = "notify.catenis.io"):
        self._sim = sim
        self._host = host = sim.url.removeprefix("http://")
        self._sock = socket.create_connection(("127.0.0.1", int(host.partition(":")[2])), 30)
        self._frames = WSConnection(ConnectionType.CLIENT)
        self.send(events.Request(host=host, target=path, subprotocols=[protocol]))

    def send(self, event: events.Event) -> None:
        self._sock.sendall(self._frames.send(event))

    def authenticate(self) -> None:
        """Send what opens the channel, and wait until it is open."""
        arguments = self._sim.arguments("catenis")
        headers = ctn1.sign(
            method="GET",
            target=PATH,
            host=self._host,
            body=b"",
            device_id=arguments["device_id"],
            secret=arguments["api_access_secret"],
            timestamp=datetime.now(UTC),
        )
        assert isinstance(self.next(), events.AcceptConnection)
        hello = {name.lower(): value for name, value in headers.items()}
        self.send(events.TextMessage(json.dumps(hello)))
        assert self.next().data == "NOTIFICATION_CHANNEL_OPEN"

    def next(self) -> Any:
        while True:
            for event in self._frames.events():
                return event
            self._frames.receive_data(self._sock.recv(65_536) or None)

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *exc: object) -> None:
        self._sock.close()


# --- what a client gets ---------------------------------------------------------------------------


def test_an_end_is_told(wait: Any) -> None:
    """The channel is opened first; at the job's end its event makes the second poll."""
    with Simulator() as sim:
        sim.add("catenis", ID, SOON)
        assert wait(sim, ID).phase is Phase.SUCCEEDED
        operations = [(request.operation, request.status) for request in sim.requests]
    assert operations == [("notifications", 101), ("progress", 200), ("progress", 200)]


def test_a_failure_is_told_too(wait: Any) -> None:
    """An end is an end, whichever it is."""
    with Simulator() as sim:
        sim.add("catenis", ID, [Frame("running"), Frame("failed", at=0.05)])
        with pytest.raises(JobFailed):
            wait(sim, ID)


def test_each_of_many_ends_is_told(wait: Any) -> None:
    """One channel, ten jobs, two polls each."""
    jobs = [f"pNotified0000000000{n}" for n in range(10)]
    with Simulator() as sim:
        for job in jobs:
            sim.add("catenis", job, SOON)
        wait(sim, *jobs, schedule=NEVER)
        operations = [request.operation for request in sim.requests]
    assert sorted(operations) == ["notifications", *["progress"] * 20]


def test_nothing_is_kept_for_whoever_was_not_connected() -> None:
    """A message that ended before the channel opened isn't reported; one that ends afterwards is,
    once."""
    with Simulator() as sim:
        client = sim.client("catenis")
        for job in ("pEnded00000000000001", ID):
            sim.add("catenis", job, Polls([Frame("running"), Frame("succeeded")]))
            client.progress(job)
        client.progress("pEnded00000000000001")
        with Raw(sim) as raw:
            raw.authenticate()
            client.progress(ID)
            told = json.loads(raw.next().data)
    assert told.pop("ephemeralMessageId") == ID
    assert told["progress"]["done"] is told["progress"]["success"] is True


def test_a_refused_channel_leaves_polling(wait: Any, caplog: pytest.LogCaptureFixture) -> None:
    """`disturb` reaches the channel as the operation `notifications`."""
    with Simulator() as sim:
        sim.disturb("catenis", Frame(status=503), operation="notifications", times=None)
        sim.add("catenis", ID, Polls([Frame("succeeded")]))
        assert wait(sim, ID).phase is Phase.SUCCEEDED
        statuses = {r.status for r in sim.requests if r.operation == "notifications"}
    assert statuses == {503}
    assert "refused the WebSocket (503)" in caplog.text


def test_a_silent_channel_leaves_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is accepted and never confirmed."""
    monkeypatch.setattr(loop, "PATIENCE", 0.05)
    with Simulator() as sim:
        sim.disturb("catenis", Frame(silent=True), operation="notifications", times=None)
        sim.add("catenis", ID, Polls([Frame("succeeded")]))
        assert blocking(sim, ID).phase is Phase.SUCCEEDED


def test_a_wrong_secret_is_refused_on_the_channel_too(caplog: pytest.LogCaptureFixture) -> None:
    """Its signature is checked as that of a poll."""
    with Simulator() as sim:
        sim.add("catenis", ID, Polls([Frame("succeeded")]))
        with pytest.raises(AuthenticationError):
            blocking(sim, ID, api_access_secret="a wrong secret")
    assert "closed the WebSocket (1002)" in caplog.text


def test_a_simulator_that_stops_closes_its_channels_at_once() -> None:
    """It doesn't wait for them, and they are no problem of its own."""
    with Simulator() as sim:
        sim.add("catenis", ID, Polls([Frame("succeeded")]))
        client = sim.client("catenis", notifications=True)
        client.wait(ID, timeout=60)
        raw = Raw(sim)
        assert isinstance(raw.next(), events.AcceptConnection)
    assert sim.problems == []
    raw.__exit__()


def test_a_process_ends_with_its_channel_open() -> None:
    """A script that closes nothing ends at once, and without a word."""
    code = f"""
from opwatch import Catenis
from opwatch.core import loop
loop.PATIENCE = 3600.0  # as in this process
client = Catenis.from_env(notifications=True)
next(client.watch({ID!r}, timeout=None))
"""
    with Simulator() as sim:
        sim.add("catenis", ID, [Frame("running")])
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | sim.environ,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert [request.operation for request in sim.requests] == ["notifications", "progress"]
    assert (done.returncode, done.stderr) == (0, "")


def test_a_clock_that_is_off_is_corrected_for_the_channel_too() -> None:
    """It is refused until a poll's 401 tells the time, and then it opens."""
    with Simulator() as sim:
        sim.skew = 3600
        sim.add("catenis", ID, SOON)
        assert blocking(sim, ID).phase is Phase.SUCCEEDED
        channels = [one for one in sim.requests if one.operation == "notifications"]
    assert len(channels) > 1


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "protocol"),
    [
        ("/api/0.1/notify/ws/final-msg-progress", "notify.catenis.io"),
        ("/api/0.7/notify/ws/new-msg-received", "notify.catenis.io"),
        (PATH, "another"),
    ],
)
def test_what_is_not_served(path: str, protocol: str) -> None:
    """An unknown version, event or subprotocol is refused before anything is sent."""
    with Simulator() as sim, Raw(sim, path, protocol) as raw:
        assert isinstance(refused := raw.next(), events.RejectConnection)
        assert refused.status_code in (403, 404)


@pytest.mark.parametrize(
    "hello",
    [
        "{}",
        "garbage",
        "[]",
        '{"x-bcot-timestamp": 1, "authorization": 2}',
        json.dumps(
            {"x-bcot-timestamp": "20270115T080000Z", "authorization": "CTN1-HMAC-SHA256 made up"}
        ),
    ],
)
def test_a_first_message_that_does_not_authenticate(hello: str) -> None:
    """It closes the channel with 1002, as the service does."""
    with Simulator() as sim, Raw(sim) as raw:
        assert isinstance(raw.next(), events.AcceptConnection)
        raw.send(events.TextMessage(hello))
        assert isinstance(closed := raw.next(), events.CloseConnection)
        assert closed.code == 1002


def test_a_client_that_leaves_is_no_problem() -> None:
    """Before it has authenticated itself, or after."""
    with Simulator() as sim:
        for _ in range(3):
            with Raw(sim) as raw:
                raw.next()
        with Raw(sim) as raw:
            raw.authenticate()
        sim.wait_for_requests(4)
    assert sim.problems == []
