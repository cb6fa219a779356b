"""`IamPassword` against a real Keystone: which projects it finds, by which names.

`make contract` installs it, from requirements/keystone.txt, in an environment of its own.
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from keystone_server import PASSWORD

from opwatch import Apig, IamPassword, Phase, Schedule, httpx_auth
from opwatch.errors import AuthenticationError

pytestmark = pytest.mark.contract

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / ".venv-keystone" / "bin" / "python"
START_LIMIT = 120.0
"""Seconds after which a Keystone that doesn't listen is ended."""


class Gateways(BaseHTTPRequestHandler):
    """Answers each request for a gateway; notes the path and the token."""

    seen: ClassVar[list[tuple[str, str | None]]] = []
    statuses: ClassVar[list[str]] = []
    """What the gateway `new` says next; it was created already."""

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["X-Auth-Token"]))
        answer: dict[str, Any] = {"status": "creating", "progress": 30}
        if self.path.endswith("/new/progress"):
            answer = {"status": "success", "progress": 100}
        elif self.path.endswith("/new"):
            answer = {"id": "new", "status": self.statuses.pop(0), "ingress_ip": "192.168.0.10"}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Keystone."""
    if not PYTHON.exists():
        pytest.fail("Keystone is not installed: run `make contract`")
    folder = tmp_path_factory.mktemp("keystone")
    command = [PYTHON, HERE / "keystone_server.py", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        limit = threading.Timer(START_LIMIT, process.kill)
        limit.start()
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            limit.cancel()
            assert port, "Keystone did not start"
            yield f"http://127.0.0.1:{port}/v3"
        finally:
            limit.cancel()
            process.terminate()


@pytest.fixture(scope="module")
def gateways() -> Iterator[str]:
    """The address of an APIG that has every gateway."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateways) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def projects(keystone: str) -> dict[str, str]:
    """The IDs of two projects with one name, by the name of their domain, and of the other domain.

    The user `admin` of the domain Default may use both.
    """
    user = {"name": "admin", "password": PASSWORD, "domain": {"id": "default"}}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    answer = login(keystone, user, scope)
    admin = {"X-Auth-Token": answer.headers["X-Subject-Token"]}
    user_id = answer.json()["token"]["user"]["id"]
    with httpx.Client(base_url=keystone, headers=admin) as http:
        role = http.get("/roles", params={"name": "admin"}).json()["roles"][0]["id"]
        domain = http.post("/domains", json={"domain": {"name": "Elsewhere"}}).json()["domain"]
        found = {"the other domain": domain["id"]}
        for name, domain_id in (("Default", "default"), ("Elsewhere", domain["id"])):
            project = {"name": "eu-de_x", "domain_id": domain_id}
            made = http.post("/projects", json={"project": project}).json()["project"]["id"]
            http.put(f"/projects/{made}/users/{user_id}/roles/{role}").raise_for_status()
            found[name] = made
    return found


def login(keystone: str, user: Any, scope: Any) -> httpx.Response:
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": scope}}
    return httpx.post(f"{keystone}/auth/tokens", json=body)


def test_a_project_by_its_name_alone_is_refused(keystone: str, projects: dict[str, str]) -> None:
    """What the service's document shows is not what a Keystone takes: why a domain is sent."""
    user = {"name": "admin", "password": PASSWORD, "domain": {"name": "Default"}}
    answer = login(keystone, user, {"project": {"name": "eu-de_x"}})
    assert answer.status_code == 400
    assert "Expecting to find domain in project" in answer.text


@pytest.mark.parametrize(
    ("given", "domain"),
    [
        ({"domain_name": "Default"}, "Default"),
        ({"user_domain_id": "default"}, "Default"),
        ({"domain_name": "Default", "project_domain_name": "Elsewhere"}, "Elsewhere"),
        ({"domain_name": "Default", "project_domain_id": "its ID"}, "Elsewhere"),
        ({"user_domain_id": "default", "project_domain_name": "Elsewhere"}, "Elsewhere"),
    ],
)
def test_a_project_by_its_name(
    keystone: str, gateways: str, projects: dict[str, str], given: dict[str, str], domain: str
) -> None:
    """The login is for the project of that name in the domain that is meant."""
    if "project_domain_id" in given:
        given = given | {"project_domain_id": projects["the other domain"]}
    auth = IamPassword(keystone, "admin", PASSWORD, project_name="eu-de_x", **given)
    with Apig(gateways, auth) as client:
        assert client.progress("g").phase is Phase.RUNNING
    path, token = Gateways.seen[-1]
    assert path == f"/v2/{projects[domain]}/apigw/instances/g/progress"
    checked = {"X-Auth-Token": str(token), "X-Subject-Token": str(token)}
    valid = httpx.get(f"{keystone}/auth/tokens", headers=checked)
    assert valid.json()["token"]["project"]["id"] == projects[domain]


def test_a_gateway_is_usable_once_it_runs(
    keystone: str, gateways: str, projects: dict[str, str]
) -> None:
    """`CreateSuccess` isn't the end of a wait until it is usable; `Running` is."""
    Gateways.statuses[:] = ["CreateSuccess", "Running"]
    auth = IamPassword(keystone, "admin", PASSWORD, project_name="eu-de_x", domain_name="Default")
    with Apig(gateways, auth, until="usable", schedule=Schedule((0.01,))) as client:
        phases = [(one.phase, one.step) for one in client.watch("new", timeout=60)]
    assert phases == [(Phase.RUNNING, "CreateSuccess"), (Phase.SUCCEEDED, None)]


def test_a_project_by_its_id(keystone: str, gateways: str, projects: dict[str, str]) -> None:
    """An ID needs no domain, and an openrc file that names one does no harm."""
    auth = IamPassword(
        keystone,
        "admin",
        PASSWORD,
        domain_name="Default",
        project_id=projects["Elsewhere"],
        project_domain_name="Default",
    )
    with Apig(gateways, auth) as client:
        assert client.progress("g").phase is Phase.RUNNING


@pytest.mark.parametrize(
    "given",
    [
        {"domain_name": "Elsewhere"},
        {"domain_name": "Nowhere"},
        {"domain_name": "Default", "project_domain_name": "Nowhere"},
    ],
)
def test_a_wrong_domain_is_refused(
    keystone: str, gateways: str, projects: dict[str, str], given: dict[str, str]
) -> None:
    """Keystone refuses the login, and the gateway isn't requested."""
    before = len(Gateways.seen)
    auth = IamPassword(keystone, "admin", PASSWORD, project_name="eu-de_x", **given)
    with Apig(gateways, auth) as client, pytest.raises(AuthenticationError) as caught:
        client.progress("g")
    assert (caught.value.status, len(Gateways.seen)) == (401, before)
    assert caught.value.advice.startswith("check the user and password, the user's domain")


def test_a_token_that_keystone_revoked_is_replaced(keystone: str, projects: dict[str, str]) -> None:
    """`httpx_auth` logs in once more when Keystone has revoked its token, and once only."""
    sent: list[httpx.Request] = []
    user = IamPassword(
        keystone, "admin", PASSWORD, domain_name="Default", project_id=projects["Default"]
    )
    hooks: dict[str, list[Any]] = {"request": [sent.append]}
    with httpx.Client(auth=httpx_auth(user), base_url=keystone, event_hooks=hooks) as client:
        assert client.get("/auth/projects").status_code == 200
        token = sent[-1].headers["X-Auth-Token"]
        revoked = client.delete("/auth/tokens", headers={"X-Subject-Token": token})
        assert revoked.status_code == 204
        assert client.get("/auth/projects").status_code == 200
    assert sent[-1].headers["X-Auth-Token"] != token
    assert sum(request.method == "POST" for request in sent) == 2
