"""FastAPI: a job's progress as server-sent events, to any number of browsers.

    uvicorn app:app

    const source = new EventSource("/jobs/JOB_ID/events")
    source.addEventListener("progress", (message) => show(JSON.parse(message.data)))
    source.addEventListener("result", (message) => source.close())

Needs opwatch, FastAPI 0.135 or newer, uvicorn, and credentials in the environment (`from_env`). All
browsers that watch the same job share one wait, so the service is polled only once per delay of its
schedule.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.sse import EventSourceResponse, ServerSentEvent

from opwatch import AsyncITwin
from opwatch.errors import ConfigurationError, OpwatchError
from opwatch.events import Event


class Wait:
    """One wait, and its events so far."""

    def __init__(self, client: AsyncITwin, job_id: str) -> None:
        self._events: list[Event[Any]] = []
        self._news = asyncio.Event()
        self._is_over = False
        watch = client.watch(job_id, timeout=24 * 3600, on_event=self._note)
        self.task = asyncio.create_task(self._run(watch))

    async def _run(self, watch: AsyncIterator[Any]) -> None:
        try:
            with suppress(OpwatchError):  # the last event has the error
                async for _ in watch:
                    pass
        finally:
            self._is_over = True
            self._wake()

    def _note(self, event: Event[Any]) -> None:
        self._events.append(event)
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def events(self) -> AsyncIterator[Event[Any]]:
        """Yield all events from the beginning."""
        seen = 0
        while True:
            while seen < len(self._events):
                yield self._events[seen]
                seen += 1
            if self._is_over:
                return
            await self._news.wait()


waits: dict[str, Wait] = {}
"""The waits that haven't ended. A later request starts a new one, which takes one poll."""


async def wait_for(job_id: str) -> Wait:
    if (wait := waits.get(job_id)) is None:
        try:
            wait = waits[job_id] = Wait(app.state.client, job_id)
        except ConfigurationError as error:  # the ID isn't valid
            raise HTTPException(422, error.message) from None
        wait.task.add_done_callback(lambda _: waits.pop(job_id))
    return wait


def end_waits() -> None:
    for wait in waits.values():
        wait.task.cancel()


@contextmanager
def streams_end_at_signals() -> Iterator[None]:
    """End all streams on Ctrl-C and SIGTERM. Otherwise, the server would wait for them.

    The browsers reconnect automatically when the server is back.
    """
    if threading.current_thread() is not threading.main_thread():  # in tests with a TestClient
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(end_waits)
        if callable(servers_own := before[signal.Signals(number)]):
            servers_own(number, frame)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, servers_own in before.items():
            signal.signal(number, servers_own)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncITwin.from_env() as client:
        app.state.client = client
        with streams_end_at_signals():
            yield
        end_waits()
        await asyncio.gather(*(wait.task for wait in waits.values()), return_exceptions=True)


app = FastAPI(lifespan=lifespan)


@app.get("/jobs/{job_id}/events", response_class=EventSourceResponse)
async def events(wait: Annotated[Wait, Depends(wait_for)]) -> AsyncIterator[ServerSentEvent]:
    async for event in wait.events():
        yield ServerSentEvent(event=event.kind, data=event.to_dict())
