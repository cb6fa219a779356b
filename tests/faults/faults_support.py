"""What the tests in this folder share: one driver for each kind of client, the services with their
credentials, and a server on loopback.

A scenario is written once, as a coroutine that calls a client through a driver: the blocking driver
runs it without ever suspending it, the others in an event loop.
"""

from __future__ import annotations

import json
import re
import socketserver
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

import anyio
import anyio.to_thread

from opwatch import (
    AkSk,
    Apig,
    AsyncApig,
    AsyncCatenis,
    AsyncITwin,
    Catenis,
    ClientCredentials,
    IamPassword,
    ITwin,
    Schedule,
)
from opwatch.errors import OpwatchError
from opwatch.testing import FakeClock, reply

PATIENCE = 120.0
"""Seconds after which a test that waits for something on another thread has failed."""
MINUTE = Schedule((60,), jitter=0)
TEN = Schedule((10,), jitter=0)

# --- drivers --------------------------------------------------------------------------------------


class Blocking:
    """Calls blocking clients."""

    clients: ClassVar[dict[str, Any]] = {"itwin": ITwin, "catenis": Catenis, "apig": Apig}

    def run(self, scenario: Callable[[Any], Any]) -> Any:
        coroutine = scenario(self)
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value
        finally:
            coroutine.close()
        raise AssertionError("a scenario of blocking calls was suspended")

    @asynccontextmanager
    async def opened(self, client: Any) -> AsyncIterator[Any]:
        with client:
            yield client

    async def call(self, function: Callable[..., Any], *args: Any, **how: Any) -> Any:
        return function(*args, **how)

    async def collect(self, many: Any) -> list[Any]:
        return list(many)

    async def at_once(self, function: Callable[[str], Any], names: list[str]) -> list[Result]:
        """Call `function` with each name, all at the same time, in threads."""
        ready = threading.Barrier(len(names))

        def one(name: str) -> Result:
            ready.wait(PATIENCE)
            begun = time.monotonic()
            try:
                outcome = function(name)
            except OpwatchError as error:
                outcome = error
            return Result(outcome, time.monotonic() - begun)

        with ThreadPoolExecutor(len(names)) as pool:
            return list(pool.map(one, names, timeout=PATIENCE))

    async def beside(
        self, first: Callable[[], Any], second: Callable[[], Any], until: threading.Event
    ) -> tuple[Any, Any]:
        """Call `first` and, once `until` is set, `second` beside it; what both came to."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(_attempt, first)
            assert until.wait(PATIENCE)
            other = _attempt(second)
            return future.result(PATIENCE), other


class InLoop:
    """Calls async clients, on asyncio or trio."""

    clients: ClassVar[dict[str, Any]] = {
        "itwin": AsyncITwin,
        "catenis": AsyncCatenis,
        "apig": AsyncApig,
    }

    def __init__(self, backend: str) -> None:
        self._backend = backend

    def run(self, scenario: Callable[[Any], Any]) -> Any:
        return anyio.run(scenario, self, backend=self._backend)

    @asynccontextmanager
    async def opened(self, client: Any) -> AsyncIterator[Any]:
        async with client:
            yield client

    async def call(self, function: Callable[..., Any], *args: Any, **how: Any) -> Any:
        return await function(*args, **how)

    async def collect(self, many: Any) -> list[Any]:
        return [progress async for progress in many]

    async def at_once(self, function: Callable[[str], Any], names: list[str]) -> list[Result]:
        """Call `function` with each name, all at the same time, in tasks."""
        results: dict[str, Result] = {}

        async def one(name: str) -> None:
            begun = time.monotonic()
            outcome = await _awaited(lambda: function(name))
            results[name] = Result(outcome, time.monotonic() - begun)

        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(one, name)
        return [results[name] for name in names]

    async def beside(
        self, first: Callable[[], Any], second: Callable[[], Any], until: threading.Event
    ) -> tuple[Any, Any]:
        """Call `first` and, once `until` is set, `second` beside it; what both came to."""
        found = []

        async def lead() -> None:
            found.append(await _awaited(first))

        async with anyio.create_task_group() as group:
            group.start_soon(lead)
            assert await anyio.to_thread.run_sync(until.wait, PATIENCE)
            other = await _awaited(second)
        return found[0], other


class Result(NamedTuple):
    """What one of many calls came to, and in how many seconds."""

    outcome: Any
    seconds: float


DRIVERS: dict[str, Blocking | InLoop] = {
    "blocking": Blocking(),
    "asyncio": InLoop("asyncio"),
    "trio": InLoop("trio"),
}


def _attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except OpwatchError as error:
        return error


async def _awaited(call: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await call()
    except OpwatchError as error:
        return error


async def outcome(driver: Any, function: Callable[..., Any], *args: Any, **how: Any) -> Any:
    """What a call returns, or the error that it raises."""
    try:
        return await driver.call(function, *args, **how)
    except OpwatchError as error:
        return error


# --- services -------------------------------------------------------------------------------------


def polled_at_once(driver: Any, client: Any, jobs: list[str]) -> list[Any]:
    """What concurrent polls, one for each job, come to."""

    async def scenario(driver: Any) -> list[Result]:
        async with driver.opened(client) as opened:
            found: list[Result] = await driver.at_once(opened.progress, jobs)
            return found

    return [result.outcome for result in driver.run(scenario)]


def state(name: str, percentage: float = 10, **headers: str) -> Any:
    """A response of iTwin's progress."""
    fields = {"jobProgress": {"state": name, "percentage": percentage}}
    return reply(200, fields, {key.replace("_", "-"): text for key, text in headers.items()})


ACTIVE, SUCCESS, OVER = state("Active"), state("success", 100), state("Over", 100)


class Kit(NamedTuple):
    """A service that takes tokens, with credentials that fetch them."""

    name: str
    active: Any
    success: Any
    unauthorized: Any
    """What it answers to a token that it refuses."""

    def client(self, driver: Any, auth: Any = None, **options: Any) -> Any:
        auth = auth or self.credentials()
        if self.name == "itwin":
            return driver.clients["itwin"](auth, **options)
        endpoint = options.pop("base_url", "https://apig.example.com")
        return driver.clients["apig"](endpoint, auth, project_id="a-project", **options)

    def credentials(self, url: str = "https://login.example.com") -> Any:
        if self.name == "itwin":
            return ClientCredentials("a-client", "a made-up secret", token_url=f"{url}/token")
        return IamPassword(
            f"{url}/v3", "a-user", "a made-up word", domain_name="d", project_id="a-project"
        )

    @property
    def header(self) -> str:
        """The header with the token."""
        return "Authorization" if self.name == "itwin" else "X-Auth-Token"

    def token(self, clock: Any, life: float = 3600, value: str = "an-access-token") -> Any:
        """What its token endpoint answers."""
        if self.name == "itwin":
            return reply(200, {"access_token": value, "expires_in": life})
        end = datetime.fromtimestamp(clock.epoch() + life, UTC).isoformat()
        fields = {"token": {"expires_at": end, "project": {"id": "a-project"}}}
        return reply(201, fields, {"X-Subject-Token": value})

    def refusals(self) -> list[Any]:
        """What its token endpoint answers to credentials that it doesn't know."""
        if self.name == "itwin":
            fields = {"error": "invalid_client", "error_description": "unknown client"}
            return [reply(400, fields), reply(401, fields)]
        fields = {"code": 401, "title": "Unauthorized", "message": "no such user"}
        return [reply(401, {"error": fields})]


KITS = {
    "itwin": Kit(
        "itwin",
        ACTIVE,
        SUCCESS,
        reply(401, {"error": {"code": "Unauthorized", "message": "refused"}}),
    ),
    "apig": Kit(
        "apig",
        reply(200, {"progress": 30, "status": "creating"}),
        reply(200, {"progress": 100, "status": "success"}),
        reply(401, {"error_code": "APIC.7102", "error_msg": "Incorrect token"}),
    ),
}

DEVICE = "made0up0device0id000"
KEYS = {"access_key": "a-key", "secret_key": "a made-up secret key"}


def signing(driver: Any, keys: AkSk | None = None, **options: Any) -> Any:
    """An APIG client that signs by access key."""
    endpoint = options.pop("base_url", "https://apig.example.com")
    auth = keys or AkSk(**KEYS)
    return driver.clients["apig"](endpoint, auth, project_id="a-project", **options)


def times(sent: Iterable[Any], method: str | None = None, end: str = "") -> list[float]:
    """When the requests of a script were sent."""
    return [
        request.time
        for request in sent
        if method in (None, request.method) and request.target.endswith(end)
    ]


# --- a server -------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A request that a server received."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    time: float


def answer(status: int, body: Any = b"", headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A complete HTTP response; a `body` that isn't bytes is sent as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Answer", f"Content-Length: {len(raw)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + raw


class Server:
    """Answers each request on loopback with the bytes that `handler` returns."""

    def __init__(self, handler: Callable[[Asked], bytes], clock: FakeClock | None = None) -> None:
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        self._now = clock.now if clock is not None else time.monotonic
        self._handler = handler
        server = self

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                server._converse(self)

        class Listening(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        self._server = Listening(("127.0.0.1", 0), Conversation)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def _converse(self, connection: socketserver.StreamRequestHandler) -> None:
        try:
            while (request := self._read(connection.rfile)) is not None:
                with self._lock:
                    self.asked.append(request)
                connection.wfile.write(self._handler(request))
        except OSError:
            return  # the client has gone

    def _read(self, stream: Any) -> Asked | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (line := stream.readline()):
                return None
            head += line
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        body = stream.read(int(length[1])) if length else b""
        return Asked(method, target, headers, body, self._now())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)
