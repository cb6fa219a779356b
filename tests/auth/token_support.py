"""Token endpoints and services for the tests of tokens."""

from __future__ import annotations

from functools import partial

from auth_support import APIG_CREATING, ITWIN_ACTIVE

from opwatch import ClientCredentials, IamPassword
from opwatch.net.message import Request
from opwatch.testing import Script, reply

TOKEN = "/connect/token"
PROGRESS = "/jobs/j/progress"
CREDENTIALS = ClientCredentials("a-client", "a made up client secret")
LOGIN = "/v3/auth/tokens?nocatalog=true"
GATEWAY = "/v2/a-project/apigw/instances/g/progress"

USER = partial(IamPassword, "https://iam/v3", "a-user", "a made up password", domain_name="a-dom")


def granted(token="made-up-token-1", **fields):
    return reply(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600} | fields)


def logged_in(token="made-up-token-1", *, date="", **fields):
    body = {"token": {"project": {"id": "a-project"}, **fields}}
    return reply(201, body, {"X-Subject-Token": token} | ({"Date": date} if date else {}))


ACTIVE = reply(200, ITWIN_ACTIVE)
CREATING = reply(200, APIG_CREATING)


class Recorder:
    """Answer as a script does, and keep the requests."""

    def __init__(self, **replies) -> None:
        self.requests: list[Request] = []
        self._replies = {end: list(found) for end, found in replies.items()}

    def __call__(self, request: Request):
        self.requests.append(request)
        for end, found in self._replies.items():
            if request.target.endswith(end):
                return found.pop(0) if len(found) > 1 else found[0]
        raise AssertionError(request.target)

    def headers(self, number: int) -> dict[str, str]:
        return {name.lower(): value for name, value in self.requests[number].headers}

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.requests]


def script(**replies) -> Recorder:
    ends = {"token": TOKEN, "progress": PROGRESS, "login": LOGIN, "gateway": GATEWAY}
    return Recorder(**{ends[name]: found for name, found in replies.items()})


def requests_for_tokens(played: Script) -> int:
    return sum(sent.method == "POST" for sent in played.sent)
