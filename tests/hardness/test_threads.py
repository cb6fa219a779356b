"""Threads that share a client, and one that cancels an async wait."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
import trio
from counts import counts
from hardness_servers import service
from hardness_support import ITWIN

from opwatch import Progress
from opwatch.errors import OpwatchError, Unavailable, WaitCancelled

THREADS = 8


@pytest.fixture
def switching() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("switching")
@counts(60, 500)
@pytest.mark.parametrize("token_uses", [20, 60])
def test_a_token_that_others_use_up(token_uses: int, count: int) -> None:
    """A token that is used up by other threads is replaced: no poll counts it as refused. One that
    can't keep up with them is told to try again."""
    with (
        service(token_uses=token_uses) as server,
        ITWIN.blocking(server.url, max_in_flight=4, request_timeout=60) as client,
        ThreadPoolExecutor(THREADS) as pool,
    ):

        def poll() -> Counter[str]:
            found: Counter[str] = Counter()
            for _ in range(count):
                try:
                    found[client.progress("running-37").job_id] += 1
                except Unavailable:
                    found["running-37"] += 1
                except OpwatchError as error:
                    found[str(error)] += 1
            return found

        found = sum(
            (future.result() for future in [pool.submit(poll) for _ in range(THREADS)]), Counter()
        )
    assert found == {"running-37": THREADS * count}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_wait_that_another_thread_cancels(backend: str) -> None:
    """The thread sets the event through the event loop that it belongs to."""

    async def main() -> None:
        if backend == "asyncio":
            stop: Any = asyncio.Event()
            soon: Any = asyncio.get_running_loop().call_soon_threadsafe
        else:
            stop, soon = trio.Event(), trio.lowlevel.current_trio_token().run_sync_soon

        def on_progress(progress: Progress[Any]) -> None:
            threading.Thread(target=soon, args=(stop.set,), daemon=True).start()

        async with ITWIN.asynchronous(server.url) as client:
            await client.wait("running-37", timeout=3600, cancel=stop, on_progress=on_progress)

    with service() as server, pytest.raises(WaitCancelled) as caught:
        anyio.run(main, backend=backend)
    assert caught.value.last is not None
    assert caught.value.last.percent == 37
