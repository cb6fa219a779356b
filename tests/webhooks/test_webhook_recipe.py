"""The recipe for webhooks and the simulator's webhooks: an end is detected when it is posted."""

import hashlib
import hmac
import importlib.util
import json
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from agenda import Agenda

from opwatch.errors import ConfigurationError, InvalidWebhook
from opwatch.simulator import Frame, Polls, Simulator
from opwatch.testing import FakeClock
from opwatch.webhooks import itwin

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "webhooks" / "receive.py"
SECRET = "a made-up secret of thirty-two or more characters"
JOB = "5d5b1f0e-2f5a-4a1c-9d5c-1f6f0a3f7b21"
ENDS = 3 * 3600.0 - 47
FRAMES = [
    *(Frame("running", at=step * ENDS / 100, percent=float(step)) for step in range(100)),
    Frame("succeeded", at=ENDS, percent=100.0),
]


@contextmanager
def receiver(*statuses: int) -> Iterator[tuple[str, "queue.Queue[Any]"]]:
    """A server that takes webhooks: its address, and what was posted. The last status repeats."""
    posted: queue.Queue[Any] = queue.Queue()
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.put((self.path, self.headers, body))
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", posted
        finally:
            server.shutdown()
            thread.join()


# --- the simulator's webhooks ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "given", "version"),
    [("itwin", None, 1), ("itwin-v2", None, 2), ("itwin", 2, 2), ("itwin-v2", 1, 1)],
)
def test_the_simulator_posts_an_end(service: str, given: Any, version: int) -> None:
    """What it posts is what `verify` takes; a job that ends later is posted later."""
    with receiver(200) as (url, posted), Simulator() as sim:
        sim.webhook(service, f"{url}/hooks", secret=SECRET, version=given)
        sim.add(service, JOB, Polls([Frame("running"), Frame("failed")]))
        client = sim.client(service)
        client.progress(JOB)
        client.progress(JOB)
        path, headers, body = posted.get()
        event = itwin.verify(body, headers, SECRET)
    assert path == "/hooks"
    assert event.type == f"realityModeling.jobCompleted.v{version}"
    assert event.job_id == JOB
    assert event.enqueued is not None
    assert posted.empty()


def test_a_delivery_that_is_not_taken_is_repeated() -> None:
    """Up to three times, each the same."""
    with receiver(500, 503, 200) as (url, posted), Simulator() as sim:
        sim.webhook("itwin", url, secret=SECRET)
        sim.add("itwin", JOB, Frame("succeeded"))
        sim.client("itwin").progress(JOB)
        bodies = {posted.get()[2] for _ in range(3)}
    assert len(bodies) == 1
    assert posted.empty()


def test_a_webhook_can_be_stopped() -> None:
    """It delivers nothing more; another one does."""
    with receiver(200) as (url, posted), Simulator() as sim:
        sim.webhook("itwin", f"{url}/first", secret=SECRET).stop()
        sim.webhook("itwin", f"{url}/second", secret=SECRET)
        sim.add("itwin", JOB, Frame("succeeded"))
        sim.client("itwin").progress(JOB)
        assert posted.get()[0] == "/second"
    assert posted.empty()


def test_signatures_that_are_wrong_or_stale() -> None:
    """A webhook with another secret signs wrongly, and a skewed clock makes old events."""
    with receiver(200) as (url, posted), Simulator() as sim:
        wrong = sim.webhook("itwin", url, secret="another made-up secret")
        sim.add("itwin", "job-1", Frame("succeeded"))
        sim.client("itwin").progress("job-1")
        _, headers, body = posted.get()
        with pytest.raises(InvalidWebhook, match="doesn't match its body"):
            itwin.verify(body, headers, SECRET)
        wrong.stop()
        sim.webhook("itwin", url, secret=SECRET)
        sim.skew = -2 * 86_400
        sim.add("itwin", "job-2", Frame("succeeded"))
        sim.client("itwin").progress("job-2")
        _, headers, body = posted.get()
        with pytest.raises(InvalidWebhook, match="stale"):
            itwin.verify(body, headers, SECRET)


def test_a_delivery_that_is_never_taken(caplog: pytest.LogCaptureFixture) -> None:
    """A warning says why; otherwise a receiver that refuses looks like an event never sent."""
    with receiver(401) as (url, posted), Simulator() as sim:
        sim.webhook("itwin", url, secret=SECRET)
        sim.add("itwin", JOB, Frame("succeeded"))
        sim.client("itwin").progress(JOB)
        for _ in range(3):
            posted.get()
    (warning,) = caplog.messages
    assert (
        warning == f"webhook to {url}: an event was not delivered: the receiver responded with 401"
    )


def test_a_receiver_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """It is no problem of the simulator's, which logs a warning."""
    with socket.socket() as taken, Simulator() as sim:
        taken.bind(("127.0.0.1", 0))  # no other test's server gets it meanwhile
        sim.webhook("itwin", f"http://127.0.0.1:{taken.getsockname()[1]}", secret=SECRET)
        sim.add("itwin", JOB, Frame("succeeded"))
        sim.client("itwin").progress(JOB)
    assert sim.problems == []


def test_a_webhook_that_can_not_be() -> None:
    """A service without webhooks, an address that isn't this machine's, and another version."""
    with Simulator() as sim:
        with pytest.raises(ConfigurationError, match="apig has no webhooks"):
            sim.webhook("apig", "http://127.0.0.1:1", secret=SECRET)
        for url in ("http://example.com", "https://example.invalid/x", "nonsense", "", "/hooks"):
            with pytest.raises(ConfigurationError, match="`url`"):
                sim.webhook("itwin", url, secret=SECRET)
        with pytest.raises(ConfigurationError, match="`version`"):
            sim.webhook("itwin", "http://127.0.0.1:1", secret=SECRET, version=3)  # type: ignore[arg-type]


# --- the recipe -----------------------------------------------------------------------------------


def recipe(monkeypatch: pytest.MonkeyPatch, sim: Simulator) -> Any:
    """The module of the example, set up for a simulator."""
    for name, value in {**sim.environ, "ITWIN_WEBHOOK_SECRET": SECRET}.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("receive", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_three_hours(
    backend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a webhook and a poll every two minutes: 92 polls at most, and no delay at the end.

    The schedule of iTwin's document takes hundreds, and notices the end up to 132 s late.
    """
    with Agenda() as clock, Simulator() as sim, receiver(200) as (url, posted):
        began = clock.epoch()
        sim.add("itwin", JOB, FRAMES)
        sim.webhook("itwin", url, secret=SECRET)
        module = recipe(monkeypatch, sim)

        async def main() -> None:
            app = module.app
            transport = httpx.ASGITransport(app)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=transport, base_url="http://app") as http,
            ):

                async def deliver() -> None:
                    _, headers, body = posted.get()  # as the simulator posted it
                    signature = {"Signature": headers["Signature"]}
                    forged = await http.post(
                        "/webhooks/itwin", content=body + b" ", headers=signature
                    )
                    taken = await http.post("/webhooks/itwin", content=body, headers=signature)
                    assert (forged.status_code, taken.status_code) == (401, 200)

                clock.at(ENDS, deliver)
                assert (await http.post(f"/jobs/{JOB}")).status_code == 202
                while "succeeded" not in (printed := capsys.readouterr().out):
                    await anyio.sleep(0.001)
                assert printed == f"{JOB} succeeded\n"

        anyio.run(main, backend=backend)
        polls = [one.time - began for one in sim.requests if one.operation == "progress"]
    assert len(polls) <= 92
    assert polls[-1] - ENDS < 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_refused_is_logged(
    backend: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The sender learns nothing but 401. An event whose job ID is none is no error of the app's."""
    event = {"eventType": "x", "content": {"jobId": "../x"}}
    with FakeClock() as clock, Simulator() as sim:
        now = datetime.fromtimestamp(clock.epoch(), UTC).isoformat()
        body = json.dumps(event | {"enqueuedDateTime": now}).encode()
        module = recipe(monkeypatch, sim)

        async def main() -> list[httpx.Response]:
            app = module.app
            transport = httpx.ASGITransport(app)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=transport, base_url="http://app") as http,
            ):
                digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
                return [
                    await http.post("/webhooks/itwin", content=body, headers=headers)
                    for headers in ({}, {"Signature": f"sha256={digest}"})
                ]

        unsigned, signed = anyio.run(main, backend=backend)
    assert (unsigned.status_code, unsigned.json()) == (401, {"detail": "Unauthorized"})
    assert signed.status_code == 200
    (logged,) = [one.getMessage() for one in caplog.records if one.name == "receive"]
    assert logged.startswith("refused a webhook: itwin: the request has no `Signature` header")


def test_three_hours_by_the_schedule_alone() -> None:
    """What the webhook saves: the document's own schedule takes almost three times the polls."""
    with Agenda(), Simulator() as sim:
        sim.add("itwin", JOB, FRAMES)
        sim.client("itwin").wait(JOB, timeout=None)
        polls = [one for one in sim.requests if one.operation == "progress"]
    assert len(polls) > 250
