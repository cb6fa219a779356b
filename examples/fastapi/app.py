"""FastAPI: a job's progress as server-sent events, to any number of browsers.

    uvicorn app:app

    const source = new EventSource("/jobs/JOB_ID/events")
    source.addEventListener("progress", (message) => show(JSON.parse(message.data)))
    source.addEventListener("result", (message) => source.close())

Needs opwatch, fastapi, uvicorn, and credentials in the environment (`from_env`). All browsers that
watch the same job share one wait, so the service is polled only once per delay of its schedule.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from opwatch import AsyncITwin
from opwatch.errors import OpwatchError
from opwatch.events import Ended, Event


class Wait:
    """One wait, and its events so far."""

    def __init__(self, client: AsyncITwin, job_id: str) -> None:
        self.events: list[Event[Any]] = []
        self._news = asyncio.Condition()
        self.task = asyncio.create_task(self._wait(client, job_id))

    async def _wait(self, client: AsyncITwin, job_id: str) -> None:
        with suppress(OpwatchError):  # the last event has the error
            await client.wait(job_id, timeout=24 * 3600, on_event=self._note)

    async def _note(self, event: Event[Any]) -> None:
        async with self._news:
            self.events.append(event)
            self._news.notify_all()

    async def stream(self) -> AsyncIterator[str]:
        """Yield all events from the beginning, as server-sent events."""
        seen = 0
        while True:
            async with self._news:
                while len(self.events) == seen:
                    await self._news.wait()
            event = self.events[seen]
            seen += 1
            yield f"event: {event.kind}\ndata: {json.dumps(event.to_dict())}\n\n"
            if isinstance(event, Ended):
                return


waits: dict[str, Wait] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncITwin.from_env() as client:
        app.state.client = client
        yield
        for wait in waits.values():
            wait.task.cancel()
        await asyncio.gather(*(wait.task for wait in waits.values()), return_exceptions=True)
        waits.clear()


app = FastAPI(lifespan=lifespan)


@app.get("/jobs/{job_id}/events")
async def events(job_id: str) -> StreamingResponse:
    if job_id not in waits:
        waits[job_id] = Wait(app.state.client, job_id)
    return StreamingResponse(waits[job_id].stream(), media_type="text/event-stream")
