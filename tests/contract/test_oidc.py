"""iTwin's client credentials against `oidc-provider`, a certified OAuth2 server.

The API beside it asks the provider about each token that it is sent, as a real one does. `make
contract` runs these tests; they need Node and no network.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import anyio
import pytest
from node_processes import lines_of

from opwatch import AsyncITwin, ClientCredentials, ITwin, Phase
from opwatch.errors import AuthenticationError

pytestmark = pytest.mark.contract

CLIENT, SECRET, SCOPE = "opwatch-tests", "a made-up secret: with + and %", "itwin-platform"
JOB = "cc3d35cc-416a-4262-9714-b359da70b419"


class Api(ThreadingHTTPServer):
    """An API whose tokens the provider issues."""

    provider: str
    tokens: list[str]
    """Those that it was sent, each once."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/contextcapture"

    def ask(self, what: str, token: str) -> Any:
        """Ask the provider about a token, or tell it to revoke one."""
        body = urlencode({"token": token, "client_id": CLIENT, "client_secret": SECRET})
        with urlopen(Request(f"{self.provider}/token/{what}", body.encode())) as answer:
            return json.loads(answer.read() or "null")


class Progress(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        token = str(self.headers["Authorization"]).removeprefix("Bearer ")
        if token not in self.server.tokens:
            self.server.tokens.append(token)
        found = self.server.ask("introspection", token)
        if found["active"] and found.get("scope") == SCOPE:
            status, body = 200, {"jobProgress": {"percentage": 50, "state": "Active", "step": ""}}
        else:
            status, body = 401, {"error": {"code": "Unauthorized", "message": "Invalid token"}}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """The address of a provider."""
    with lines_of("oidc_server.mjs", CLIENT, SECRET, SCOPE) as lines:
        yield f"http://127.0.0.1:{next(lines)['port']}"


@pytest.fixture
def api(provider: str) -> Iterator[Api]:
    with Api(("127.0.0.1", 0), Progress) as server:
        server.provider, server.tokens = provider, []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def credentials(api: Api, *, secret: str = SECRET, **options: Any) -> ClientCredentials:
    client = f"{CLIENT}-basic" if options.get("basic") else CLIENT
    return ClientCredentials(client, secret, token_url=f"{api.provider}/token", **options)


@pytest.mark.parametrize("basic", [False, True])
def test_a_token_is_issued_and_used(api: Api, basic: bool) -> None:
    """A real token server issues our client a token, and finds it active in our request."""
    with ITwin(credentials(api, basic=basic), base_url=api.url) as client:
        assert [client.progress(JOB).phase for _ in range(3)] == [Phase.RUNNING] * 3
    assert len(api.tokens) == 1


def test_the_async_client_is_issued_one_too(api: Api) -> None:
    """So it does the async client, once for polls at the same time."""

    async def main() -> None:
        async with (
            AsyncITwin(credentials(api), base_url=api.url) as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(5):
                group.start_soon(client.progress, JOB)

    anyio.run(main)
    assert len(api.tokens) == 1


def test_a_revoked_token_is_replaced(api: Api) -> None:
    """After the provider revoked a token, one request fails, and a new token is issued."""
    with ITwin(credentials(api), base_url=api.url) as client:
        client.progress(JOB)
        api.ask("revocation", api.tokens[0])
        assert client.progress(JOB).phase is Phase.RUNNING
    assert len(api.tokens) == 2


@pytest.mark.parametrize(
    ("wrong", "code"),
    [({"secret": "wrong"}, "invalid_client"), ({"scope": "another"}, "invalid_scope")],
)
def test_what_the_provider_refuses_is_named(api: Api, wrong: dict[str, str], code: str) -> None:
    """A wrong secret or scope is an error with the provider's own code, and no secret."""
    with (
        ITwin(credentials(api, **wrong), base_url=api.url) as client,
        pytest.raises(AuthenticationError, match=code) as caught,
    ):
        client.progress(JOB)
    assert SECRET not in str(caught.value)
    assert api.tokens == []
