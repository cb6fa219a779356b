"""What the tests of this folder share: clients of each kind, and finding secrets."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.from_thread
from counts import LONG_RUN
from hardness_server import TOKEN_WORD

from opwatch import (
    AkSk,
    Apig,
    AsyncApig,
    AsyncCatenis,
    AsyncITwin,
    Catenis,
    ClientCredentials,
    ITwin,
    Progress,
)

HERE = str(Path(__file__).parent)

MODES = ("sync", "asyncio", "trio")
ASYNC_MODES = ("asyncio", "trio")


def times(usual: int) -> int:
    """How many random attempts a test makes in this run."""
    return LONG_RUN or usual


# --- clients --------------------------------------------------------------------------------------
CLIENT_SECRET = "ApricotSecretOfTheClient"
API_ACCESS_SECRET = "CranberrySecretOfTheDevice"
SECRET_KEY = "DamsonSecretOfTheKeys"
TOKEN = "ElderberryTokenOfTheUser"
SECRETS = re.compile(
    f"{CLIENT_SECRET[:13]}|{TOKEN_WORD[:14]}|{API_ACCESS_SECRET[:15]}|{SECRET_KEY[:12]}"
    f"|{TOKEN[:15]}|Signature=[0-9a-f]{{20}}"
)
"""The beginning of each: a secret that was cut off is one too."""


class Kind(NamedTuple):
    """One way of authenticating with one service."""

    name: str
    blocking: Callable[..., Any]
    asynchronous: Callable[..., Any]
    number: Callable[[Progress[Any]], float | None]
    """The number of the job's ID, as the client reports it."""


def _itwin(kind: Any) -> Callable[..., Any]:
    def make(url: str, **options: Any) -> Any:
        auth = ClientCredentials("a-client", CLIENT_SECRET, token_url=f"{url}/token")
        return kind(auth, base_url=url, **options)

    return make


def _catenis(kind: Any) -> Callable[..., Any]:
    def make(url: str, **options: Any) -> Any:
        return kind("made0up0device0id000", API_ACCESS_SECRET, base_url=f"{url}/api", **options)

    return make


def _apig(kind: Any) -> Callable[..., Any]:
    def make(url: str, **options: Any) -> Any:
        return kind(url, AkSk("an-access-key", SECRET_KEY), project_id="a-project", **options)

    return make


ITWIN = Kind("itwin", _itwin(ITwin), _itwin(AsyncITwin), lambda progress: progress.percent)
CATENIS = Kind(
    "catenis", _catenis(Catenis), _catenis(AsyncCatenis), lambda progress: progress.bytes_processed
)
APIG = Kind("apig", _apig(Apig), _apig(AsyncApig), lambda progress: progress.percent)
KINDS = (ITWIN, CATENIS, APIG)


class Asker:
    """One iTwin client with a token, blocking or on an event loop of its own, called alike."""

    def __init__(self, call: Callable[..., Any], start: Callable[..., Future[Any]]) -> None:
        self._call = call
        self._start = start

    def ask(self, job_id: str) -> Progress[Any]:
        progress: Progress[Any] = self._call(job_id)
        return progress

    def together(self, job_ids: Iterable[str]) -> list[Progress[Any]]:
        return [future.result(120) for future in [self._start(job_id) for job_id in job_ids]]


@contextmanager
def asking(mode: str, url: str, **options: Any) -> Iterator[Asker]:
    """An open client of the server at `url`."""
    if mode == "sync":
        with ITwin(TOKEN, base_url=url, **options) as client, ThreadPoolExecutor(16) as pool:
            yield Asker(client.progress, lambda job_id: pool.submit(client.progress, job_id))
        return
    alike = AsyncITwin(TOKEN, base_url=url, **options)
    with anyio.from_thread.start_blocking_portal(mode) as portal:
        try:
            yield Asker(
                lambda job_id: portal.call(alike.progress, job_id),
                lambda job_id: portal.start_task_soon(alike.progress, job_id),
            )
        finally:
            portal.call(alike.aclose)


# --- secrets --------------------------------------------------------------------------------------
def leaks(error: BaseException) -> list[str]:
    """Where a secret stands in an error: in its texts, or in the locals of a frame of any error
    that it came from. Frames of this folder's own are left out."""
    found, seen, waiting = [], set(), [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kind = type(one).__name__
        shown = [str(one), repr(one), repr(getattr(one, "__notes__", ""))]
        if any(map(SECRETS.search, shown)):
            found.append(f"the text of {kind}")
        for frame, line in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename.startswith(HERE):
                continue
            where = f"{Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
            found += [
                f"{name} in {where} under {kind}"
                for name, value in frame.f_locals.items()
                if any(map(SECRETS.search, _texts(value)))
            ]
        inner: Iterable[BaseException] = getattr(one, "exceptions", ())
        waiting += [more for more in (one.__cause__, one.__context__, *inner) if more]
    return found


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """What a value shows, and what is in it."""
    if isinstance(value, memoryview):
        with suppress(ValueError):  # it was released
            value = value.tobytes()
    try:
        yield repr(value)
    except Exception:  # somebody else's half-made object
        return
    if depth > 5:
        return
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        for one in [*value]:
            yield from _texts(one, depth + 1)


def in_one(backend: str, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine function on an event loop of its own; asyncio's also in a forked child, whose
    parent is in one (anyio would refuse that)."""
    if backend == "asyncio":
        return asyncio.run(function())
    return anyio.run(function, backend=backend)
