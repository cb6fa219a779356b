"""A token endpoint that answers once all callers wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
from auth_support import ITWIN_ACTIVE, PATIENCE, Loopback, Request, answer

from opwatch import AsyncITwin, ClientCredentials, ITwin
from opwatch.errors import OpwatchError

CALLERS = 64
JOBS = [f"job-{n}" for n in range(CALLERS)]


class Service:
    """An iTwin with a token endpoint, whose answers a test may hold back."""

    def __init__(self, *, holds: int = 0) -> None:
        self.asked = threading.Semaphore(0)
        """Released at each token request."""
        self.free = threading.Event()
        """Set when the held token requests may be answered."""
        self.holds = holds
        """How many token requests are held back."""
        self.token_requests = 0
        self.life = 3600
        self.refusal: bytes | None = None
        self.revoked: set[str] = set()
        self._lock = threading.Lock()
        self._stack = ExitStack()

    def __call__(self, request: Request) -> bytes:
        if request.method == "POST":
            with self._lock:
                self.token_requests += 1
                number = self.token_requests
            self.asked.release()
            if number <= self.holds:
                assert self.free.wait(PATIENCE)
            fields = {"access_token": f"made-up-{number}", "expires_in": self.life}
            return self.refusal or answer(200, fields)
        token = (request.header("authorization") or "").removeprefix("Bearer ")
        if token in self.revoked or not token.startswith("made-up-"):
            return answer(401, {"error": {"code": "Unauthorized", "message": "expired"}})
        return answer(200, ITWIN_ACTIVE)

    def until_asked(self) -> None:
        assert self.asked.acquire(timeout=PATIENCE)

    @property
    def auth(self) -> ClientCredentials:
        url = f"{self.loopback.url}/connect/token"
        return ClientCredentials("a-client", "a made up secret", token_url=url)

    def __enter__(self) -> Service:
        self.loopback = self._stack.enter_context(Loopback(self))
        return self

    def __exit__(self, *what: object) -> None:
        self.free.set()
        self._stack.close()


def until_waiting(client: Any, callers: int) -> None:
    """Block until so many callers wait for another caller's token request."""
    for _ in range(callers):
        assert client.waiting.acquire(timeout=PATIENCE)


class Watched(ITwin):
    """A client that reports when a caller begins to wait for another caller's token request."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.auth, base_url=service.loopback.url)
        reports_waiting(self)


class AsyncWatched(AsyncITwin):
    """As `Watched`."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.auth, base_url=service.loopback.url)
        reports_waiting(self)

    async def until_waiting(self, callers: int) -> None:
        await anyio.to_thread.run_sync(until_waiting, self, callers)


def reports_waiting(client: Any) -> None:
    client.waiting = threading.Semaphore(0)
    landing = client._io.landing

    async def reported(*arguments: Any) -> None:
        client.waiting.release()
        await landing(*arguments)

    client._io.landing = reported


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except OpwatchError as error:
        return error


@contextmanager
def callers(client: ITwin, count: int = CALLERS) -> Iterator[list[Any]]:
    """Poll one job in each of `count` threads; the list has the outcomes after the block."""
    outcomes: list[Any] = []
    with ThreadPoolExecutor(count) as pool:
        ready = threading.Barrier(count)

        def ask(job: str) -> Any:
            ready.wait(PATIENCE)
            return outcome(lambda: client.progress(job))

        futures = [pool.submit(ask, job) for job in JOBS[:count]]
        yield outcomes
        outcomes += [future.result(PATIENCE) for future in futures]
