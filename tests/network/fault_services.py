"""The three services as the faults see them: a client, a job, and the answers they would give.

Every test of a fault runs once for each `Sample`, so a fault is written down once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import attrs

from opwatch import (
    Apig,
    AsyncApig,
    AsyncCatenis,
    AsyncITwin,
    AsyncITwinV2,
    Catenis,
    ITwin,
    ITwinV2,
    Phase,
    Progress,
)
from opwatch.errors import OpwatchError

TOKEN = "a-made-up-token"
DEVICE = "madeUpDeviceId123456"
SECRET = "a-made-up-secret"
PROJECT = "made-up-project"

MODES = ("sync", "asyncio")
EVERY_MODE = ("sync", "asyncio", "trio")


@attrs.frozen(eq=False)
class Sample:
    """One service: how to make a client of it, and what it says about a job that is running."""

    name: str
    job_id: str
    make: Callable[..., Any] = attrs.field(repr=False)
    make_async: Callable[..., Any] = attrs.field(repr=False)
    template: str = attrs.field(repr=False)
    """The running job; %NUMBER% is how far it is, %TEXT% a text, %EXTRA% the place for more."""
    number: str
    text: str
    ended: dict[Phase, tuple[dict[str, Any], ...]] = attrs.field(repr=False)
    """What the service answers to one poll for a job that ended so: one body a request."""

    def body(self, number: str | None = None, text: str | None = None, extra: str = "") -> bytes:
        """The running job's answer, where wanted with another number, text, or further field."""
        body = self.template.replace("%NUMBER%", self.number if number is None else number)
        body = body.replace("%TEXT%", self.text if text is None else text)
        return body.replace("%EXTRA%", extra).encode("utf-8", "surrogatepass")

    def moved(self) -> bytes:
        """The running job's answer, a little later."""
        return self.body(number=str(int(self.number) + 1))

    def distance(self, progress: Progress[Any]) -> float | None:
        """The number in a response, as the user gets it."""
        return progress.bytes_processed if self.name == "catenis" else progress.percent


def _json(value: object) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(json.dumps(value))
    return loaded


def _catenis(success: bool | None) -> dict[str, Any]:
    progress: dict[str, Any] = {"bytesProcessed": 28, "done": success is not None}
    if success is not None:
        progress |= {"success": success, "finishDate": "2019-03-13T14:09:10.121Z"}
    if success is False:
        progress["error"] = {"code": 500, "message": "Internal server error"}
    data: dict[str, Any] = {"action": "log", "progress": progress}
    if success:
        data["result"] = {"messageId": "mt7ZYbBYpM3zcgAf3H8X"}
    return {"status": "success", "data": data}


_OVER = {"jobProgress": {"percentage": 100, "state": "Over", "step": "Done"}}


def _job(state: str) -> dict[str, Any]:
    return {"job": {"id": "j-1", "name": "n", "type": "FillImageProperties", "state": state}}


def _gateway(status: str, progress: int, code: str | None = None) -> dict[str, Any]:
    return {
        "progress": progress,
        "status": status,
        "error_code": code,
        "error_msg": None if code is None else "create failed...",
        "start_time": 1597389901161,
        "end_time": 1597390224911,
    }


def _make_catenis(kind: Any) -> Callable[..., Any]:
    return lambda url, **options: kind(DEVICE, SECRET, base_url=f"{url}/api/0.7", **options)


def _make_itwin(kind: Any) -> Callable[..., Any]:
    return lambda url, **options: kind(TOKEN, base_url=url, **options)


def _make_apig(kind: Any) -> Callable[..., Any]:
    return lambda url, **options: kind(url, TOKEN, project_id=PROJECT, **options)


CATENIS = Sample(
    "catenis",
    "p-made-up-message",
    _make_catenis(Catenis),
    _make_catenis(AsyncCatenis),
    '{"status":"success","data":{"action":%TEXT%,'
    '"progress":{"bytesProcessed":%NUMBER%,"done":false%EXTRA%}}}',
    "28",
    '"log"',
    {
        Phase.SUCCEEDED: (_catenis(True),),
        Phase.FAILED: (_catenis(False),),
    },
)
ITWIN = Sample(
    "itwin",
    "j-1",
    _make_itwin(ITwin),
    _make_itwin(AsyncITwin),
    '{"jobProgress":{"percentage":%NUMBER%,"state":"Active","step":%TEXT%%EXTRA%}}',
    "56",
    '"Reconstruction"',
    {
        Phase.SUCCEEDED: (_OVER, _job("success")),
        Phase.FAILED: (_OVER, _job("failed")),
        Phase.CANCELLED: (_OVER, _job("cancelled")),
        Phase.ENDED: (_OVER, _job("archived")),
    },
)
ITWIN_V2 = Sample(
    "itwin-v2",
    "j-1",
    _make_itwin(ITwinV2),
    _make_itwin(AsyncITwinV2),
    '{"progress":{"percentage":%NUMBER%,"state":"Active"%EXTRA%}}',
    "56",
    "",
    {
        Phase.SUCCEEDED: ({"progress": {"percentage": 100, "state": "Success"}},),
        Phase.CANCELLED: ({"progress": {"percentage": 5, "state": "Cancelled"}},),
    },
)
APIG = Sample(
    "apig",
    "made-up-gateway",
    _make_apig(Apig),
    _make_apig(AsyncApig),
    '{"progress":%NUMBER%,"status":"creating","error_code":null,"error_msg":%TEXT%,'
    '"start_time":1597389901161,"end_time":1597390224911%EXTRA%}',
    "50",
    "null",
    {
        Phase.SUCCEEDED: (_gateway("success", 100),),
        Phase.FAILED: (_gateway("failed", 0, "APIC.9218"),),
    },
)
SAMPLES = (CATENIS, ITWIN, APIG)
"""One service of each kind: what a network does is the same for both versions of iTwin."""

Outcome = Progress[Any] | OpwatchError


def ask(
    sample: Sample,
    mode: str,
    url: str,
    *,
    times: int = 1,
    between: Callable[[], None] = lambda: None,
    **options: Any,
) -> list[Outcome]:
    """What `progress()` gives, `times` times on one client. What is not ours is raised."""

    def call(client: Any) -> Any:
        return client.progress(sample.job_id)

    return _each(sample, mode, url, times, between, options, call)


def wait(sample: Sample, mode: str, url: str, *, timeout: float = 60, **options: Any) -> Outcome:
    """What `wait()` gives. What is not ours is raised."""

    def call(client: Any) -> Any:
        return client.wait(sample.job_id, timeout=timeout)

    return _each(sample, mode, url, 1, lambda: None, options, call)[0]


def _each(
    sample: Sample,
    mode: str,
    url: str,
    times: int,
    between: Callable[[], None],
    options: dict[str, Any],
    call: Callable[[Any], Any],
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    if mode == "sync":
        with sample.make(url, **options) as client:
            for turn in range(times):
                if turn:
                    between()
                try:
                    outcomes.append(call(client))
                except OpwatchError as error:
                    outcomes.append(error)
        return outcomes

    async def run() -> None:
        async with sample.make_async(url, **options) as client:
            for turn in range(times):
                if turn:
                    between()
                try:
                    outcomes.append(await call(client))
                except OpwatchError as error:
                    outcomes.append(error)

    anyio.run(run, backend=mode)
    return outcomes
