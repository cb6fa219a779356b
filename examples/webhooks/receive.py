"""Wait for iTwin jobs with few polls: iTwin's webhook triggers the one that matters.

    uvicorn receive:app

POST /jobs/ID starts waiting for a job. iTwin posts its events to /webhooks/itwin.
"""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from fastapi import FastAPI, HTTPException, Request

from opwatch import AsyncITwin, Schedule
from opwatch.errors import InvalidWebhook, OpwatchError
from opwatch.webhooks import itwin

logger = logging.getLogger(__name__)
SECRET = os.environ["ITWIN_WEBHOOK_SECRET"]
POLLING = Schedule((120,))
"""A safety net: if an event gets lost, the end is still detected within two minutes."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncITwin.from_env(schedule=POLLING) as client, anyio.create_task_group() as waits:
        app.state.client, app.state.waits = client, waits
        yield
        waits.cancel_scope.cancel()


app = FastAPI(lifespan=lifespan)


@app.post("/webhooks/itwin")
async def receive(request: Request) -> None:
    """Respond within five seconds, or iTwin repeats the delivery."""
    try:
        event = itwin.verify(await request.body(), request.headers, SECRET)
    except InvalidWebhook as error:
        logger.warning("refused a webhook: %s", error)
        raise HTTPException(401) from error
    if event.job_id:
        app.state.client.nudge(event.job_id)


@app.post("/jobs/{job_id}", status_code=202)
async def start(job_id: str) -> None:
    app.state.waits.start_soon(wait, job_id)


async def wait(job_id: str) -> None:
    """Wait for the job, and then do your own work."""
    try:
        progress = await app.state.client.wait(job_id, timeout=24 * 3600)
        print(job_id, progress.phase)
    except OpwatchError as error:
        print(error)
