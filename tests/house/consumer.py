"""A user's file for type checkers: `make wheel` has mypy and pyright read it at their strictest.

Nobody runs it. It knows the installed wheel alone. A line marked `type: ignore` is a mistake that
must be reported: both checkers are told to report a mark that nothing needs.
"""

import asyncio
import threading
from datetime import datetime
from typing import assert_type

import httpx
from opwatch_api.apig.models import InstanceProgress
from opwatch_api.catenis.models import MessageProgressResponse
from opwatch_api.itwin.models import JobProgressResponse
from opwatch_api.itwin_v2.models import JobProgressResponse as JobProgressResponseV2

from opwatch import (
    AkSk,
    Apig,
    AsyncApig,
    AsyncCatenis,
    AsyncITwin,
    AsyncITwinV2,
    Catenis,
    ClientCredentials,
    Ctn1,
    Fault,
    IamPassword,
    ITwin,
    ITwinV2,
    Phase,
    Progress,
    Schedule,
    Step,
    Watch,
    httpx_auth,
)
from opwatch.auth import aksk, ctn1
from opwatch.errors import JobFailed, OpwatchError, RateLimited, WaitTimeout
from opwatch.simulator import Frame, Polls, Simulator
from opwatch.testing import FakeClock, Script, reply


def show(progress: Progress[JobProgressResponse]) -> None:
    assert_type(progress.phase, Phase)
    assert_type(progress.phase.is_final, bool)
    assert_type(progress.percent, float | None)
    assert_type(progress.bytes_processed, int | None)
    assert_type(progress.started_at, datetime | None)
    assert_type(progress.fault, Fault | None)
    assert_type(progress.wire, JobProgressResponse)


def blocking(job_id: str, cancel: threading.Event) -> str | None:
    auth = ClientCredentials("id", "a made-up secret", basic=True)
    with ITwin(auth, request_timeout=10, schedule=Schedule((15, 30))) as client:
        assert_type(client.progress(job_id), Progress[JobProgressResponse])
        step = client.start(job_id, timeout=3600)
        assert_type(step, Step[JobProgressResponse])
        assert_type(client.step(step.token).delay, float | None)
        watch = client.watch(job_id, timeout=None, stall_timeout=600, cancel=cancel)
        assert_type(watch, Watch[JobProgressResponse])
        for progress in watch:
            show(progress)
        assert_type(watch.last, Progress[JobProgressResponse] | None)
        many = client.watch_many([job_id, "another"], timeout=60)
        for progress in many:
            show(progress)
        assert_type(many.errors, dict[str, OpwatchError])
        try:
            last = client.wait(job_id, timeout=3600, on_progress=show, cancel=cancel)
        except WaitTimeout as error:
            assert_type(error.token, str | None)
            return error.token
        except JobFailed as error:
            assert_type(error.fault, Fault | None)
            return None
        except RateLimited as error:
            assert_type(error.retry_after, float | None)
            return None
    return last.wire.job_progress.step or None


def other_services() -> None:
    catenis = Catenis.from_env()
    assert_type(catenis, Catenis)
    assert_type(catenis.progress("m"), Progress[MessageProgressResponse])
    Catenis("dnN3Ea43bhMTHtTvpytS", "a made-up secret", environment="production")
    password = IamPassword("https://iam.example/v3", "u", "p", domain_name="d", project_name="n")
    apig = Apig("https://apig.example", password, max_in_flight=4)
    assert_type(apig.resume("token"), Progress[InstanceProgress])
    Apig("https://apig.example", AkSk("key", "secret"), project_id="p", user_agent="mine/1")
    usable = Apig.from_env(until="usable").progress("g")
    assert_type(usable, Progress[InstanceProgress])
    print(usable.details.ingress_ip)
    second = ITwinV2("a token", api="reality-analysis")
    assert_type(second.progress("j"), Progress[JobProgressResponseV2])
    Apig("https://apig.example", lambda: "a token", project_id="p")


async def show_later(progress: Progress[JobProgressResponse]) -> None:
    show(progress)


async def asynchronous(job_id: str) -> None:
    async with AsyncITwin("a token") as client:
        assert_type(await client.progress(job_id), Progress[JobProgressResponse])
        await client.wait(job_id, timeout=60, on_progress=show)
        await client.wait(job_id, timeout=60, on_progress=show_later, cancel=asyncio.Event())
        async for progress in client.watch(job_id, timeout=60):
            show(progress)
        async for progress in client.watch_many([job_id], timeout=60):
            show(progress)
        step = await client.start(job_id, timeout=60)
        assert_type(await client.step(step.token), Step[JobProgressResponse])
    async with AsyncCatenis("dnN3Ea43bhMTHtTvpytS", "a made-up secret") as catenis:
        assert_type(await catenis.resume("token"), Progress[MessageProgressResponse])
    async with AsyncITwinV2.from_env(api="reality-conversion") as second:
        assert_type(await second.progress(job_id), Progress[JobProgressResponseV2])
    async with AsyncApig.from_env(max_failures=3) as apig:
        assert_type(await apig.wait("g", timeout=None), Progress[InstanceProgress])


def signatures(now: datetime) -> None:
    catenis = ctn1.sign(
        method="GET",
        target="/api/0.7/messages/m/progress",
        host="sandbox.catenis.io",
        body=b"",
        device_id="d",
        secret="a made-up secret",
        timestamp=now,
    )
    assert_type(catenis, dict[str, str])
    apig = aksk.sign(
        method="GET",
        target="/v2/p/apigw/instances/g/progress",
        host="apig.example",
        headers={},
        body=b"",
        access_key="key",
        secret_key="a made-up secret",
        timestamp=now,
        project_id="p",
    )
    assert_type(apig, dict[str, str])


def with_httpx() -> None:
    auth = httpx_auth(Ctn1("dnN3Ea43bhMTHtTvpytS", "a made-up secret"))
    assert_type(auth, httpx.Auth)
    httpx_auth(AkSk("key", "secret"), project_id="p")
    httpx.AsyncClient(auth=httpx_auth(ClientCredentials("id", "a made-up secret")))
    httpx_auth("a token")  # type: ignore[arg-type]


def in_tests() -> None:
    script = Script({"/jobs/j1/progress": [reply(200, {"jobProgress": {"state": "Active"}})]})
    with FakeClock() as clock, script:
        ITwin("a token").progress("j1")
        assert_type(clock.slept, list[float])
        assert_type(script.sent[0].time, float)
    with Simulator() as simulator:
        simulator.add("itwin", "by-time", [Frame("running"), Frame("succeeded", at=3)])
        simulator.add("itwin", "by-poll", Polls([Frame("running", times=2), Frame("failed")]))
        simulator.add("itwin", "for-ever", Frame("running", percent=50))
        assert_type(simulator.environ, dict[str, str])


def mistakes(client: ITwin, progress: Progress[JobProgressResponse]) -> None:
    client.wait("j")  # type: ignore[call-arg]
    client.progress(1)  # type: ignore[arg-type]
    ITwin(client_id="id")  # type: ignore[call-arg]
    ITwin("token", retries=3)  # type: ignore[call-arg]
    ITwinV2("token", api="contextcapture")  # type: ignore[arg-type]
    Apig("https://apig.example", "token", project_id="p", until="soon")  # type: ignore[arg-type]
    progress.percent = 1.0  # type: ignore[misc]
    print(progress.percentage)  # type: ignore[attr-defined]
