"""httpx clients with credentials of opwatch's, and what they send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import pytest
from auth_support import Request
from opwatch_api import apig, catenis, itwin
from opwatch_api.apig.api.instances import show_details_of_instance_progress_v2 as gateway
from opwatch_api.catenis.api.messages import retrieve_message_progress as message
from opwatch_api.itwin.api.jobs import get_job_progress as job

from opwatch import AkSk, ClientCredentials, Ctn1, IamPassword, httpx_auth
from opwatch.simulator import Frame, Simulator
from opwatch.simulator import apig as simulated_apig
from opwatch.simulator import catenis as simulated_catenis
from opwatch.simulator import itwin as simulated_itwin
from opwatch.testing import FakeClock

JOB = "p" + "j" * 19
SERVICE, TOKENS = "https://service.test", "https://tokens.test/connect/token"
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock() as found:
        yield found


@pytest.fixture
def sim(clock: FakeClock) -> Iterator[Simulator]:
    with Simulator() as found:
        for service in found.services:
            found.add(service, JOB, Frame("running", percent=50))
        yield found


def oauth(secret: str = simulated_itwin.CLIENT_SECRET, url: str = TOKENS) -> ClientCredentials:
    return ClientCredentials(simulated_itwin.CLIENT_ID, secret, token_url=url)


def iam(url: str = "https://tokens.test") -> IamPassword:
    return IamPassword(
        f"{url}/v3",
        simulated_apig.USERNAME,
        simulated_apig.PASSWORD,
        domain_name=simulated_apig.DOMAIN_NAME,
        project_name=simulated_apig.PROJECT_NAME,
    )


def keys(secret: str = simulated_apig.SECRET_KEY) -> httpx.Auth:
    project_id = simulated_apig.PROJECT_ID
    return httpx_auth(AkSk(simulated_apig.ACCESS_KEY, secret), project_id=project_id)


Way = tuple[httpx.Auth, ModuleType, str, ModuleType, dict[str, str]]


def way(name: str, sim: Simulator) -> Way:
    """An auth; the package, base URL, operation and arguments of the service it is for."""
    at = {"project_id": simulated_apig.PROJECT_ID, "instance_id": JOB}
    if name == "ctn1":
        device = Ctn1(simulated_catenis.DEVICE_ID, simulated_catenis.API_ACCESS_SECRET)
        path = f"{sim.url}/api/0.7"
        return httpx_auth(device), catenis, path, message, {"ephemeral_message_id": JOB}
    if name == "oauth2":
        auth = httpx_auth(oauth(url=sim.environ["ITWIN_TOKEN_URL"]))
        return auth, itwin, sim.environ["ITWIN_BASE_URL"], job, {"id": JOB}
    auth = keys() if name == "aksk" else httpx_auth(iam(sim.url))
    return auth, apig, sim.url, gateway, at


class Server:
    """httpx's mock transport, blocking and async: responses by `handler`, and keeps the
    requests."""

    def __init__(self, *handlers: Handler) -> None:
        self.requests: list[httpx.Request] = []
        self._handlers = list(handlers)
        self.transport = httpx.MockTransport(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        handler = self._handlers.pop(0) if len(self._handlers) > 1 else self._handlers[0]
        return handler(request)

    @property
    def seen(self) -> list[str]:
        return [f"{each.method} {each.url.host}" for each in self.requests]

    def client(self, auth: httpx.Auth, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=SERVICE, auth=auth, transport=self.transport, **options)


def reply(status: int, body: Any = None, **headers: str) -> Handler:
    return lambda request: httpx.Response(status, json=body, headers=headers)


def token(value: str, **more: Any) -> Handler:
    return reply(200, {"access_token": value, "token_type": "Bearer", "expires_in": 3600, **more})


def received(request: httpx.Request) -> Request:
    """The request as the checks of signatures want it."""
    lines = [f"{request.method} {request.url.raw_path.decode()} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return Request("\r\n".join(lines).encode(), request.content)
