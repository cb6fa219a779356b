"""A user's program with `opwatch_api` alone: one test runs it, and `make wheel` checks its types.

It takes the addresses of the three services and two tokens from the environment, and prints what it
was answered. It knows nothing of opwatch itself.
"""

import asyncio
import os
from typing import assert_type

import httpx
from opwatch_api import apig, catenis, itwin
from opwatch_api.apig.api.instances import show_details_of_instance_progress_v2 as show_gateway
from opwatch_api.apig.models import InstanceProgress, InstanceStatus
from opwatch_api.apig.types import Unset as NotSent
from opwatch_api.catenis.api.messages import retrieve_message_progress as show_message
from opwatch_api.catenis.models import ErrorResponse as Complaint
from opwatch_api.itwin import errors
from opwatch_api.itwin.api.jobs import get_job, get_job_progress
from opwatch_api.itwin.models import (
    ErrorResponse,
    JobProgressResponse,
    JobProgressState,
    JobResponse,
)
from opwatch_api.itwin.types import Response, Unset

ITWIN, ITWIN_TOKEN = os.environ["ITWIN_BASE_URL"], os.environ["ITWIN_TOKEN"]
CATENIS = os.environ["CATENIS_BASE_URL"]
PROJECT = os.environ["OS_PROJECT_ID"]
APIG, APIG_TOKEN = os.environ["APIG_ENDPOINT"], os.environ["APIG_TOKEN"]
JOB = "p" + "j" * 19


def show_job(parsed: ErrorResponse | JobProgressResponse | None) -> None:
    if isinstance(parsed, JobProgressResponse):
        progress = parsed.job_progress
        assert_type(progress.percentage, float | None | Unset)
        assert_type(progress.state, JobProgressState | str | None | Unset)
        print("itwin", progress.state, progress.percentage)


def blocking() -> None:
    with itwin.AuthenticatedClient(ITWIN, ITWIN_TOKEN, timeout=10) as client:
        response = get_job_progress.sync_detailed(JOB, client=client)
        assert_type(response, Response[ErrorResponse | JobProgressResponse])
        assert_type(response.status_code, int)
        show_job(response.parsed)
    with client.with_timeout(httpx.Timeout(5, connect=1)) as hasty:
        job = get_job.sync(JOB, client=hasty)
        if isinstance(job, JobResponse):
            print("itwin", job.job.state)
    with catenis.Client(CATENIS) as nobody:
        answer = show_message.sync(JOB, client=nobody)
        if isinstance(answer, Complaint):
            print("catenis", answer.message)


async def asynchronous() -> None:
    async with apig.AuthenticatedClient(APIG, token=APIG_TOKEN) as client:
        gateway = await show_gateway.asyncio(PROJECT, JOB, client=client)
        if isinstance(gateway, InstanceProgress):
            assert_type(gateway.status, InstanceStatus | str | None | NotSent)
            print("apig", gateway.status, gateway.progress)


def failing() -> None:
    def proxy(request: httpx.Request) -> httpx.Response:
        status = int(request.url.path.split("/")[-2])
        return httpx.Response(status, html="<h1>Sorry</h1>", headers={"Location": "/"})

    client = itwin.Client("https://x.test", httpx_args={"transport": httpx.MockTransport(proxy)})
    for status in ("200", "302", "499", "520"):
        try:
            get_job_progress.sync(status, client=client)
        except errors.ResponseError as error:
            assert_type(error.status_code, int)
            assert_type(error.content, bytes)
            print(type(error).__name__, error.status_code)
    client = itwin.Client(ITWIN, httpx_args={"transport": httpx.MockTransport(never)})
    try:
        get_job_progress.sync(JOB, client=client)
    except httpx.TimeoutException as error:
        print(error)


def never(request: httpx.Request) -> httpx.Response:
    limit = request.extensions["timeout"]["read"]
    raise httpx.ReadTimeout(f"gave up after {limit} s", request=request)


def on_your_own() -> None:
    client = httpx.Client(base_url=ITWIN, headers={"Authorization": f"Bearer {ITWIN_TOKEN}"})
    response = client.request(**get_job_progress.build_request(JOB))
    client.close()
    parsed = get_job_progress.parse_response(response)
    assert_type(parsed, ErrorResponse | JobProgressResponse | None)
    show_job(parsed)


def mistakes(client: itwin.Client, plain: httpx.Client) -> None:
    get_job_progress.sync(1, client=client)  # type: ignore[arg-type]
    get_job_progress.sync(JOB)  # type: ignore[call-arg]
    get_job_progress.sync(JOB, client=plain)  # type: ignore[arg-type]
    itwin.AuthenticatedClient(ITWIN)  # type: ignore[call-arg]
    itwin.Client(ITWIN, timeout="10")  # type: ignore[arg-type]


if __name__ == "__main__":
    blocking()
    asyncio.run(asynchronous())
    asyncio.run(asynchronous())
    failing()
    on_your_own()
