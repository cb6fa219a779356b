"""Our Catenis clients against the official emulator, an independent server with its own checks.

The emulator verifies every signature, of a poll and of a notification channel, by code that is not
ours. `make contract` runs these tests; they need Node and no network.
"""

import json
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from ports import free_port

from opwatch import AsyncCatenis, Catenis, Phase, Schedule
from opwatch.core import loop
from opwatch.errors import AuthenticationError

pytestmark = pytest.mark.contract

ROOT = Path(__file__).resolve().parents[2]
EMULATOR = ROOT / "node_modules" / "catenis-api-emulator" / "src" / "main.js"
START_LIMIT = 60.0
"""Seconds after which an emulator that doesn't listen is ended."""
DEVICE, SECRET = "drc3XdxNtzoucpw9xiRp", "a made-up secret"
ID = "pQ8mVhfK2dTz4WxLrNcb"
NEVER = Schedule((3600,))
"""So that nothing but an event makes the second poll."""


class Emulator:
    """A running emulator, whose responses are set through its second port."""

    def __init__(self, api: int, command: int) -> None:
        self.url = f"http://localhost:{api}/api/0.7"
        self._command = f"http://localhost:{command}"

    def command(self, path: str, body: Any) -> None:
        headers = {"Content-Type": "application/json"}
        data = json.dumps(body).encode()
        request = urllib.request.Request(self._command + path, data, headers)
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200

    def answer(self, **progress: Any) -> None:
        """Answer polls for the message with this progress."""
        data = {"action": "send", "progress": progress}
        if progress.get("success"):
            data["result"] = {"messageId": "mt7ZYbBYpM3zcgAf3H8X"}
        path = f"messages/{ID}/progress"
        self.command(
            "/http-context",
            {
                "expectedRequest": {
                    "httpMethod": "GET",
                    "apiMethodPath": path,
                    "authenticate": True,
                },
                "requiredResponse": {"data": json.dumps(data)},
            },
        )

    def finish(self) -> None:
        finished = "2027-01-15T08:00:00.000Z"
        self.answer(bytesProcessed=900, done=True, success=True, finishDate=finished)

    def finish_and_tell(self) -> None:
        """Let the message end, and its event be sent on every channel that is open.

        The emulator sends it when a channel opens, so one more is opened: by another client.
        """
        self.finish()
        event = {"ephemeralMessageId": ID, "action": "send", "progress": {"done": True}}
        self.command(
            "/notify-context", {DEVICE: {"final-msg-progress": {"data": json.dumps(event)}}}
        )
        with Catenis(DEVICE, SECRET, base_url=self.url, notifications=True) as another:
            another.wait(ID, timeout=60)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait doesn't give up its channel, however slow the machine is."""
    monkeypatch.setattr(loop, "PATIENCE", 3600.0)


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    if not EMULATOR.exists():
        pytest.fail("the emulator is not installed: run `make contract`")
    api, command = free_port(), free_port()
    ports = ["--api-port", str(api), "--cmd-port", str(command)]
    with subprocess.Popen(
        ["node", "--no-warnings", EMULATOR, *ports, "--api-version", "0.7"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        limit = threading.Timer(START_LIMIT, process.kill)
        limit.start()
        reader = threading.Thread(target=process.stdout.read)  # so that it can continue writing
        try:
            lines = []
            while "Command server listening" not in "".join(lines):
                if not (line := process.stdout.readline()):
                    pytest.fail(f"the emulator did not start:\n{''.join(lines)}")
                lines.append(line)
            limit.cancel()
            reader.start()
            emulator = Emulator(api, command)
            emulator.command("/device-credentials", {"deviceId": DEVICE, "apiAccessSecret": SECRET})
            yield emulator
        finally:
            limit.cancel()
            process.terminate()
            if reader.ident is not None:
                reader.join()


@pytest.fixture
def emulator(running: Emulator) -> Emulator:
    """With a message that is being processed, and no event to send."""
    running.answer(bytesProcessed=0, done=False)
    running.command("/notify-context", {})
    return running


def blocking(emulator: Emulator, tell: Callable[[], None], **how: Any) -> Any:
    """Wait; call `tell` after the first response."""
    options = {"notifications": how.pop("notifications", False)}
    with Catenis(DEVICE, SECRET, base_url=emulator.url, **options) as client:
        return client.wait(ID, timeout=120, on_progress=once(tell), **how)


def in_loop(backend: str) -> Callable[..., Any]:
    def run(emulator: Emulator, tell: Callable[[], None], **how: Any) -> Any:
        options = {"notifications": how.pop("notifications", False)}

        async def main() -> Any:
            url = emulator.url
            async with AsyncCatenis(DEVICE, SECRET, base_url=url, **options) as client:
                return await client.wait(ID, timeout=120, on_progress=once(tell), **how)

        return anyio.run(main, backend=backend)

    return run


def once(tell: Callable[[], None]) -> Callable[[Any], None]:
    calls = iter([tell])
    return lambda _: next(calls, lambda: None)()


DRIVERS = {"blocking": blocking, "asyncio": in_loop("asyncio"), "trio": in_loop("trio")}


@pytest.mark.parametrize("driver", DRIVERS)
def test_progress_by_polling(emulator: Emulator, driver: str) -> None:
    """Signed polls are answered until the message has been processed."""
    progress = DRIVERS[driver](emulator, emulator.finish, schedule=Schedule((0.01,)))
    assert (progress.phase, progress.bytes_processed) == (Phase.SUCCEEDED, 900)


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_end_by_its_notification(emulator: Emulator, driver: str) -> None:
    """A signed channel is opened before the first poll, and its event makes the second one."""
    progress = DRIVERS[driver](
        emulator, emulator.finish_and_tell, schedule=NEVER, notifications=True
    )
    assert (progress.phase, progress.bytes_processed) == (Phase.SUCCEEDED, 900)


def test_a_wrong_secret(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """The emulator refuses the channel and then the poll; the poll's error is what is raised."""
    with (
        Catenis(DEVICE, "another secret", base_url=emulator.url, notifications=True) as client,
        pytest.raises(AuthenticationError),
    ):
        client.wait(ID, timeout=60)
    assert "closed the WebSocket (1002)" in caplog.text
