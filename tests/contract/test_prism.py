"""The clients against Prism, a mock server that only knows specs/.

Prism responds with the specs' own examples and refuses what the specs don't allow: a request
without its credentials, an `Accept` that nothing fits, an unknown path. So what the clients send is
held to the specs by somebody else's code. `make contract` runs these tests; they need Node and no
network.
"""

import re
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from opwatch import (
    AkSk,
    Apig,
    AsyncApig,
    AsyncCatenis,
    AsyncITwin,
    AsyncITwinV2,
    Catenis,
    ITwin,
    ITwinV2,
    Phase,
    net,
)
from opwatch.client import AsyncClient, Client
from opwatch.core.options import Settings
from opwatch.errors import AuthenticationError, NotFound, OpwatchError, ServiceError
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.blocking import Transport
from opwatch.net.message import Answer, Request, Secret

pytestmark = pytest.mark.contract

ROOT = Path(__file__).resolve().parents[2]
PRISM = ROOT / "node_modules" / ".bin" / "prism"
START_LIMIT = 120.0
"""Seconds after which a Prism that does not listen is ended."""
DEVICE = "dnN3Ea43bhMTHtTvpytS"
SECRET = "a made-up secret"

# What each example in the specs is to a user: a phase, or an error.
ANSWERS = {
    ("catenis", "200", "read"): "succeeded",
    ("catenis", "200", "notDone"): "running",
    ("catenis", "200", "sent"): "succeeded",
    ("catenis", "200", "failed"): "failed",
    ("catenis", "400", "deviceDeleted"): "PermissionDenied",
    ("catenis", "400", "deviceNotActive"): "PermissionDenied",
    ("catenis", "400", "invalidOrExpired"): "JobGone",
    ("catenis", "400", "notAvailable"): "Unavailable",
    ("catenis", "400", "invalidParameters"): "ServiceError",
    ("catenis", "401", "notLoggedIn"): "AuthenticationError",
    ("catenis", "429", "tooManyRequests"): "RateLimited",
    ("catenis", "500", "internalError"): "Unavailable",
    ("catenis", "503", "notAvailable"): "Unavailable",
    ("itwin", "200", "active"): "running",
    ("itwin", "200", "over"): "BadResponse",  # the details that Prism has are another job's
    ("itwin", "200", "unsubmitted"): "pending",
    ("itwin", "401", "headerNotFound"): "AuthenticationError",
    ("itwin", "403", "insufficientPermissions"): "PermissionDenied",
    ("itwin", "404", "jobNotFound"): "JobGone",
    ("itwin", "404", "resourceNotFound"): "NotFound",
    ("itwin", "429", "rateLimitExceeded"): "RateLimited",
    ("itwin-v2", "200", "queued"): "pending",
    ("itwin-v2", "200", "active"): "running",
    ("itwin-v2", "200", "terminatingOnCancel"): "running",
    ("itwin-v2", "200", "terminatingOnFailure"): "running",
    ("itwin-v2", "200", "success"): "succeeded",
    ("itwin-v2", "200", "failed"): "failed",
    ("itwin-v2", "200", "cancelled"): "cancelled",
    ("itwin-v2", "401", "headerNotFound"): "AuthenticationError",
    ("itwin-v2", "403", "insufficientPermissions"): "PermissionDenied",
    ("itwin-v2", "404", "jobProgressNotFound"): "JobGone",
    ("itwin-v2", "404", "jobNotFound"): "JobGone",
    ("itwin-v2", "404", "resourceNotFound"): "NotFound",
    ("itwin-v2", "429", "rateLimitExceeded"): "RateLimited",
    ("apig", "200", "created"): "succeeded",
    ("apig", "200", "creating"): "running",
    ("apig", "200", "insufficientQuota"): "failed",
    ("apig", "200", "insufficientResources"): "failed",
    ("apig", "200", "otherReasons"): "failed",
    ("apig", "200", "contradictoryCode"): "unknown",
    ("apig", "200", "contradictoryMessage"): "unknown",
    ("apig", "200", "empty"): "BadResponse",
    ("apig", "401", "incorrectToken"): "AuthenticationError",
    ("apig", "401", "refusedByIdentityService"): "AuthenticationError",
    ("apig", "401", "incompleteAuthentication"): "AuthenticationError",
    ("apig", "401", "unknownKey"): "AuthenticationError",
    ("apig", "403", "noPermissions"): "PermissionDenied",
    ("apig", "404", "instanceNotFound"): "JobGone",
    ("apig", "404", "apiNotFound"): "NotFound",
    ("apig", "429", "throttled"): "RateLimited",
    ("apig", "500", "internalService"): "Unavailable",
    ("apig", "502", "backendTimeout"): "Unavailable",
    ("apig", "503", "backendTimeout"): "Unavailable",
    ("apig", "504", "backendTimeout"): "Unavailable",
}


# --- Prism ----------------------------------------------------------------------------------------


@contextmanager
def prism(spec: Path) -> Iterator[str]:
    """The address of a Prism that serves a spec and refuses every request that breaks it."""
    if not PRISM.exists():
        pytest.fail("Prism is not installed: run `make contract`")
    command = [PRISM, "mock", "--host", "127.0.0.1", "--port", "0", "--errors", spec]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(
        command, stdin=null, stdout=pipe, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        limit = threading.Timer(START_LIMIT, process.kill)
        limit.start()
        reader = threading.Thread(target=process.stdout.read)  # so that Prism can continue writing
        try:
            url = listening(process.stdout)
            limit.cancel()
            reader.start()
            yield url
        finally:
            limit.cancel()
            process.terminate()
            if reader.ident is not None:
                reader.join()


def listening(printed: Iterable[str]) -> str:
    """The address in the line with which Prism says that it listens."""
    lines = []
    for line in printed:
        lines.append(line)
        if found := re.search(r"listening on (http://127\.0\.0\.1:\d+)", line):
            return found[1]
    pytest.fail(f"Prism did not start:\n{''.join(lines)}")


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    specs = ROOT / "specs"
    v2 = below_its_address(specs / "itwin-v2.yaml", tmp_path_factory.mktemp("specs"))
    with (
        prism(specs / "catenis.yaml") as catenis,
        prism(specs / "itwin.yaml") as itwin,
        prism(v2) as itwin_v2,
        prism(specs / "apig.yaml") as apig,
    ):
        yield {"catenis": catenis, "itwin": itwin, "itwin-v2": itwin_v2, "apig": apig}


def below_its_address(spec: Path, folder: Path) -> Path:
    """A spec whose paths begin as its servers' do: Prism leaves the servers out."""
    fields = yaml.safe_load(spec.read_text(encoding="utf-8"))
    fields["paths"] = {f"/reality-modeling{path}": it for path, it in fields["paths"].items()}
    written = folder / spec.name
    written.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return written


# --- clients whose requests are edited on their way -----------------------------------------------

Edit = Callable[[Request], Request]


class Edited(Transport):
    def __init__(self, settings: Settings, edit: Edit) -> None:
        super().__init__(settings)
        self._edit = edit

    def send(self, request: Request, end: float) -> Answer:
        return super().send(self._edit(request), end)


class AsyncEdited(AsyncTransport):
    def __init__(self, settings: Settings, edit: Edit) -> None:
        super().__init__(settings)
        self._edit = edit

    async def send(self, request: Request, end: float) -> Answer:
        return await super().send(self._edit(request), end)


@contextmanager
def edited(edit: Edit) -> Iterator[None]:
    """Let `edit` change each request of the clients made in the block, after it was signed."""
    blocking = net.open_blocking.set(lambda limits: Edited(limits, edit))
    asynchronous = net.open_async.set(lambda limits: AsyncEdited(limits, edit))
    try:
        yield
    finally:
        net.open_blocking.reset(blocking)
        net.open_async.reset(asynchronous)


def preferring(**examples: str) -> Edit:
    """Ask Prism for an example: by the end of the path (`progress`), or for `other` paths."""

    def edit(outgoing: Request) -> Request:
        last = outgoing.target.rsplit("/", 1)[-1]
        prefer = ("Prefer", examples.get(last, examples.get("other", "")))
        return changed(outgoing, (*outgoing.headers, prefer))

    return edit


def without(name: str) -> Edit:
    """Leave a header out."""
    return lambda outgoing: changed(
        outgoing, tuple(pair for pair in outgoing.headers if pair[0].lower() != name.lower())
    )


def changed(outgoing: Request, headers: tuple[tuple[str, str | Secret], ...]) -> Request:
    """The same request with other headers."""
    return outgoing._replace(headers=headers)


def blocking_client(service: str, url: str) -> Client[Any]:
    if service == "catenis":
        return Catenis(DEVICE, SECRET, base_url=url)
    if service == "itwin":
        return ITwin("a made-up token", base_url=url)
    if service == "itwin-v2":
        return ITwinV2("a made-up token", base_url=url)
    return Apig(url, "a made-up token", project_id="p1")


def async_client(service: str, url: str) -> AsyncClient[Any]:
    if service == "catenis":
        return AsyncCatenis(DEVICE, SECRET, base_url=url)
    if service == "itwin":
        return AsyncITwin("a made-up token", base_url=url)
    if service == "itwin-v2":
        return AsyncITwinV2("a made-up token", base_url=url)
    return AsyncApig(url, "a made-up token", project_id="p1")


def ask_blocking(service: str, url: str) -> str:
    with blocking_client(service, url) as client:
        try:
            return client.progress("j1").phase.value
        except OpwatchError as error:
            return type(error).__name__


def ask_async(service: str, url: str) -> str:
    async def ask() -> str:
        async with async_client(service, url) as client:
            try:
                return (await client.progress("j1")).phase.value
            except OpwatchError as error:
                return type(error).__name__

    return anyio.run(ask)


# --- the tests ------------------------------------------------------------------------------------


def test_every_example_is_asked_for() -> None:
    """The table above names every example of every response to a progress poll in the specs."""
    named = {
        (service, status, example)
        for service in ("catenis", "itwin", "itwin-v2", "apig")
        for status, example in examples(service)
    }
    assert named == set(ANSWERS)


def examples(service: str) -> Iterator[tuple[str, str]]:
    spec = yaml.safe_load((ROOT / "specs" / f"{service}.yaml").read_text(encoding="utf-8"))
    (path,) = [path for path in spec["paths"] if path.endswith("/progress")]
    for status, response in spec["paths"][path]["get"]["responses"].items():
        if "$ref" in response:
            response = spec["components"]["responses"][response["$ref"].rsplit("/", 1)[-1]]
        for content in response["content"].values():
            yield from ((status, name) for name in content.get("examples", {}))


@pytest.mark.parametrize("ask", [ask_blocking, ask_async])
@pytest.mark.parametrize(("service", "status", "example"), ANSWERS)
def test_each_documented_answer_is_read(
    urls: dict[str, str], service: str, status: str, example: str, ask: Callable[[str, str], str]
) -> None:
    """Each example in the specs becomes the phase or the error that it stands for."""
    with edited(preferring(progress=f"code={status}, example={example}")):
        assert ask(service, urls[service]) == ANSWERS[service, status, example]


@pytest.mark.parametrize("service", ["catenis", "apig"])
def test_a_wait_ends_with_the_example_that_has_ended(urls: dict[str, str], service: str) -> None:
    """Unedited requests are taken, and a wait returns the first example: a success."""
    with blocking_client(service, urls[service]) as client:
        assert client.wait("j1", timeout=60).phase is Phase.SUCCEEDED


def test_a_signed_request_is_taken(urls: dict[str, str]) -> None:
    """The spec's other way to authenticate, by AK/SK, passes as well."""
    with Apig(urls["apig"], AkSk("key", SECRET), project_id="p1") as client:
        assert client.progress("j1").phase is Phase.SUCCEEDED


@pytest.mark.parametrize(
    ("service", "header"),
    [
        ("catenis", "Authorization"),
        ("catenis", "X-BCoT-Timestamp"),
        ("itwin", "Authorization"),
        ("itwin-v2", "Authorization"),
        ("apig", "X-Auth-Token"),
    ],
)
def test_a_request_without_its_credentials_is_refused(
    urls: dict[str, str], service: str, header: str
) -> None:
    """Prism demands each header that authenticates: so those that are sent are the right ones."""
    with edited(without(header)), blocking_client(service, urls[service]) as client:
        with pytest.raises(AuthenticationError) as caught:
            client.progress("j1")
        assert caught.value.status == 401


@pytest.mark.parametrize("service", ["catenis", "itwin", "itwin-v2", "apig"])
def test_an_answer_in_another_form_is_not_to_be_had(urls: dict[str, str], service: str) -> None:
    """Prism demands an `Accept` that fits: so the one that is sent does."""

    def other_form(outgoing: Request) -> Request:
        bare = without("Accept")(outgoing)
        return changed(bare, (*bare.headers, ("Accept", "text/html")))

    with edited(other_form), blocking_client(service, urls[service]) as client:
        with pytest.raises(ServiceError) as caught:
            client.progress("j1")
        assert caught.value.status == 406


@pytest.mark.parametrize("service", ["catenis", "itwin", "itwin-v2", "apig"])
def test_a_wrong_address_is_not_found(urls: dict[str, str], service: str) -> None:
    """Prism knows the specs' paths alone: so those that are asked for are the right ones."""
    elsewhere = f"{urls[service]}/elsewhere"
    with blocking_client(service, elsewhere) as client, pytest.raises(NotFound):
        client.progress("j1")


@pytest.mark.parametrize(("job", "outcome"), [("succeeded", "succeeded"), ("failed", "failed")])
def test_how_a_job_ended_is_asked_of_the_job(urls: dict[str, str], job: str, outcome: str) -> None:
    """A job that is over is looked up as the spec says, and its state is the outcome."""
    fields = yaml.safe_load((ROOT / "specs" / "itwin.yaml").read_text(encoding="utf-8"))
    looked_up = fields["paths"]["/jobs/{id}"]["get"]["responses"]["200"]["content"]
    samples = looked_up["application/vnd.bentley.itwin-platform.v1+json"]["examples"]
    job_id = samples[job]["value"]["job"]["id"]  # an answer about another job is none
    prefer = preferring(progress="example=over", other=f"example={job}")
    with edited(prefer), blocking_client("itwin", urls["itwin"]) as client:
        progress = client.progress(job_id)
    assert (progress.phase.value, progress.percent) == (outcome, 100)
    assert (progress.fault and progress.fault.code) == ("NoPhotos" if job == "failed" else None)


def test_why_a_job_failed_is_asked_of_its_messages(urls: dict[str, str]) -> None:
    """A job of the second version that failed is looked up as the spec says."""
    prefer = preferring(progress="example=failed")
    with edited(prefer), blocking_client("itwin-v2", urls["itwin-v2"]) as client:
        fault = client.progress("j1").fault
    assert str(fault) == (
        "InputData_Invalid: Invalid input data: Invalid input data. Please check the "
        'documentation. ("Scene")'
    )


def test_a_gateway_is_asked_whether_it_is_usable(urls: dict[str, str]) -> None:
    """A gateway is requested as the spec says: created is not usable, running is."""
    told = {"createSuccess": Phase.RUNNING, "running": Phase.SUCCEEDED}
    gateway_id = "eddc4d25480b4cd6b512f270a1b8b341"  # that of the examples
    for example, phase in told.items():
        with edited(preferring(progress="example=created", other=f"example={example}")):
            client = Apig(urls["apig"], "a made-up token", project_id="p1", until="usable")
            with client:
                assert client.progress(gateway_id).phase is phase
