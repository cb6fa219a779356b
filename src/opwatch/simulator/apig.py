"""APIG, simulated: the gateways and the identity service.

API Gateway API reference, "Querying the Creation Progress of a Dedicated Gateway" and "Querying
Dedicated Gateway Details"; Identity and Access Management, "Obtaining a User Token". Where the
documents name a code and no text, the text is made up.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import attrs
from opwatch_api.wire import apig as wire
from pydantic import AwareDatetime, BaseModel, ConfigDict, StrictInt, StrictStr
from starlette.routing import BaseRoute, Route

from opwatch.auth.iam import IamPassword
from opwatch.errors import ConfigurationError
from opwatch.progress import Fault, Phase
from opwatch.simulator import signatures
from opwatch.simulator.app import Endpoint, answer
from opwatch.simulator.signatures import KeyPair, project_of_signature
from opwatch.simulator.simulation import Demo, Exchange, Handler, Refused, Reply
from opwatch.simulator.state import Job, State, Token
from opwatch.simulator.timeline import Frame, Timed

USERNAME = "simulated-user"
PASSWORD = "simulated-password"  # noqa: S105 (made up)
DOMAIN_NAME = "OTC-SIMULATED-DOMAIN"
DOMAIN_ID = "d0ma1n00000000000000000000000000"
PROJECT_NAME = "eu-de_simulated"
PROJECT_ID = "51a0000000000000000000000000c0de"
ACCESS_KEY = "SIMULATEDACCESSKEY00"
SECRET_KEY = "simulated-secret-key"  # noqa: S105 (made up)
TEMPORARY_ACCESS_KEY = "SIMULATEDTEMPORARY00"
TEMPORARY_SECRET_KEY = "simulated-temporary-secret-key"  # noqa: S105 (made up)
SECURITY_TOKEN = "simulated-security-token"  # noqa: S105 (made up)

TOKEN_LIFE = 86_400.0
TOKEN_BYTES = 3000
"""A real one is kilobytes long."""
LOCK_AFTER = signatures.LOCK_AFTER
LOCK_TIME = signatures.LOCK_TIME

ERRORS = {
    "APIC.7100": (401, "Authentication failed"),
    "APIC.7101": (401, "The token has expired"),
    "APIC.7102": (401, "Incorrect token or token resolution failed"),
    "APIC.7103": (401, "The authentication information is incomplete"),
    "APIC.7105": (401, "The authentication information is of another region"),
    "APIC.7107": (401, "The account is not allowed to authenticate"),
    "APIG.1000": (401, "Authentication failed"),
    "APIG.1001": (401, "The authentication information is missing"),
    "APIG.1002": (401, "Incorrect token or token resolution failed"),
    "APIG.1003": (401, "The authentication information is incomplete"),
    "APIG.1009": (401, "The AppKey or AppSecret is invalid"),
    "APIG.0301": (401, "Incorrect IAM authentication information"),
    "APIG.0307": (401, "The token must be updated."),
    "APIC.7106": (403, "No permissions to request for the method"),
    "APIC.7109": (403, "The account is frozen"),
    "APIC.7110": (403, "The account is restricted"),
    "APIC.7111": (403, "The service is not subscribed to"),
    "APIC.7130": (403, "No permissions for the enterprise project"),
    "APIC.7300": (403, "No permissions to access the instance"),
    "APIC.7302": (404, "Instance not found"),
    "APIG.3030": (404, "The instance does not exist"),
    "APIG.0101": (404, "The API does not exist or has not been published in the environment"),
    "APIG.0308": (429, "The throttling threshold has been reached"),
    "APIC.9000": (500, "Failed to request internal service"),
    "APIC.9100": (500, "The internal service failed"),
    "APIC.9999": (500, "System error"),
    "APIG.9008": (500, "Too many requests"),
    "APIG.0201": (503, "The backend is not available"),
}
CREATION_ERRORS = {
    "APIC.9218": "create failed: insufficient quota",
    "APIC.9219": "create failed: insufficient resources",
    "APIC.9206": "create failed",
}
IAM_ERRORS = {
    "Bad Request": (400, "The request body is invalid."),
    "Unauthorized": (401, "The username or password is wrong."),
    "Forbidden": (403, "You are not authorized to perform the requested action."),
    "Not Found": (404, "The resource could not be found."),
    "Too Many Requests": (429, "Too many requests."),
    "Internal Server Error": (500, "An unexpected error prevented the server from answering."),
    "Service Unavailable": (503, "The service is unavailable."),
}
_DOMAIN = {"id": DOMAIN_ID, "name": DOMAIN_NAME}
_NO_DOMAIN = "Expecting to find domain in project."
"""The beginning of Keystone's text."""
_WORDS = {
    Phase.PENDING: "creating",
    Phase.RUNNING: "creating",
    Phase.SUCCEEDED: "success",
    Phase.FAILED: "failed",
}
_GATEWAY_WORDS = {
    Phase.PENDING: "Creating",
    Phase.RUNNING: "Creating",
    Phase.SUCCEEDED: "Running",
    Phase.FAILED: "CreateFail",
}
_PERCENT = {Phase.PENDING: 0, Phase.SUCCEEDED: 100, Phase.FAILED: 0}


class _Named(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: StrictStr
    name: StrictStr


class _Owned(_Named):
    domain: _Named


class _Token(BaseModel):
    model_config = ConfigDict(extra="forbid")
    expires_at: AwareDatetime
    issued_at: AwareDatetime
    methods: list[StrictStr]
    project: _Owned
    user: _Owned
    roles: list[_Named]
    catalog: list[dict[str, Any]] = []


class TokenAnswer(BaseModel):
    """Identity and Access Management, "Obtaining a User Token": the body."""

    model_config = ConfigDict(extra="forbid")
    token: _Token


class _Refusal(BaseModel):
    model_config = ConfigDict(extra="forbid")
    code: StrictInt
    message: StrictStr
    title: StrictStr


class TokenRefusal(BaseModel):
    """An error of the identity service, in Keystone's form."""

    model_config = ConfigDict(extra="forbid")
    error: _Refusal


class _Apig:
    name = "apig"
    demo = Demo(
        "9a7e0000000000000000000000000001",
        Timed(
            (
                Frame("running", percent=0),
                Frame("running", at=4, percent=30),
                Frame("running", at=9, percent=50),
                Frame("running", at=15, percent=80),
                Frame("failed", at=20),
            )
        ),
        Phase.FAILED,
    )

    def routes(self, state: State) -> Sequence[BaseRoute]:
        def route(path: str, operation: str, handler: Handler) -> Route:
            return Route(path, Endpoint(self, state, operation, handler))

        gateway = "/v2/{project_id}/apigw/instances/{job_id}"
        keys = {
            ACCESS_KEY: KeyPair(SECRET_KEY, PROJECT_ID),
            TEMPORARY_ACCESS_KEY: KeyPair(TEMPORARY_SECRET_KEY, PROJECT_ID, SECURITY_TOKEN),
        }
        return [
            route("/v3/auth/tokens", "token", self._token(state)),
            route(f"{gateway}/progress", "progress", self._progress(state, keys)),
            route(gateway, "job", self._gateway(state, keys)),
            route("/v2/{rest:path}", "other", _nothing_there),
        ]

    def environ(self, url: str) -> dict[str, str]:
        return {
            "APIG_ENDPOINT": url,
            "OS_AUTH_URL": f"{url}/v3",
            "OS_USERNAME": USERNAME,
            "OS_PASSWORD": PASSWORD,
            "OS_USER_DOMAIN_NAME": DOMAIN_NAME,
            "OS_PROJECT_NAME": PROJECT_NAME,
        }

    def arguments(self, url: str) -> dict[str, Any]:
        auth = IamPassword(
            f"{url}/v3", USERNAME, PASSWORD, domain_name=DOMAIN_NAME, project_name=PROJECT_NAME
        )
        return {"endpoint": url, "auth": auth}

    def body(self, frame: Frame, job: Job | None, operation: str) -> Any:
        if operation == "job":
            return _gateway(frame, job)
        word = frame.state or _WORDS.get(frame.phase or Phase.UNKNOWN)
        if word is None:
            raise ConfigurationError(f"APIG has no state for {frame.phase}; pass state='...'")
        percent = frame.percent
        if percent is None and frame.phase is not None:
            percent = _PERCENT.get(frame.phase)
        code: str | None = None
        message: str | None = None
        if frame.phase is Phase.FAILED:
            given = frame.fault or Fault()
            code = given.code or "APIC.9218"
            message = given.message or CREATION_ERRORS.get(code, "create failed")
        started = 0.0 if job is None else job.started_at or 0.0
        ended = None if job is None else job.ended_at
        return {
            "start_time": int(started * 1000),
            # As in the document's sample, it is there before the end and says nothing then.
            "end_time": int((started if ended is None else ended) * 1000),
            "progress": int(percent)
            if percent is not None and percent == int(percent)
            else percent,
            "status": word,
            "error_code": code,
            "error_msg": message,
        }

    def refusal(self, frame: Frame, operation: str) -> tuple[int, Any]:
        table = IAM_ERRORS if operation == "token" else ERRORS
        code = frame.error or _code(table, frame.status)
        known = table.get(code)
        status = frame.status or (known and known[0])
        if status is None:
            raise ConfigurationError(f"APIG documents no error {code!r}; also pass its status")
        message = frame.message or (known[1] if known else "An undocumented error")
        if operation == "token":
            return status, {"error": {"code": status, "message": message, "title": code}}
        return status, {"error_code": code, "error_msg": message}

    def token(self, state: State) -> str:
        return self._issue(state).text

    def _issue(self, state: State) -> Token:
        return state.issue(self.name, size=TOKEN_BYTES, life=TOKEN_LIFE, project_id=PROJECT_ID)

    def rate_limit(self, operation: str) -> Frame:
        return Frame(error="APIG.0308")

    def model(self, operation: str, status: int) -> type[BaseModel]:
        if operation == "token":
            return TokenAnswer if status == 201 else TokenRefusal
        if status != 200:
            return wire.ErrorResponse
        return wire.Gateway if operation == "job" else wire.InstanceProgress

    def headers(self, operation: str, status: int) -> dict[str, str]:
        return {"X-Request-Id": secrets.token_hex(16)}

    def _progress(self, state: State, keys: Mapping[str, KeyPair]) -> Handler:
        def handle(exchange: Exchange) -> Reply:
            job = self._authorized(exchange, state, keys)
            return answer(self, state, job.poll(), "progress", job)

        return handle

    def _gateway(self, state: State, keys: Mapping[str, KeyPair]) -> Handler:
        def handle(exchange: Exchange) -> Reply:
            job = self._authorized(exchange, state, keys)
            frame = job.look() or Frame(Phase.RUNNING)
            own = attrs.evolve(frame, state=None)  # the word for it is the progress's
            return answer(self, state, frame.lookup or own, "job", job)

        return handle

    def _authorized(self, exchange: Exchange, state: State, keys: Mapping[str, KeyPair]) -> Job:
        if exchange.method != "GET":
            raise Refused(Frame(error="APIG.0101"))
        project_id: str | None
        if exchange.header("x-auth-token") is not None:
            project_id = self._project_of_token(exchange, state)
        else:
            project_id = project_of_signature(exchange, state, keys)
        if project_id != exchange.params["project_id"]:
            raise Refused(Frame(error="APIC.7106"))
        job = state.job(self.name, exchange.params["job_id"])
        if job is None:
            raise Refused(Frame(error="APIC.7302"))
        return job

    def _project_of_token(self, exchange: Exchange, state: State) -> str:
        token = state.token(self.name, exchange.header("x-auth-token") or "")
        if token is None:
            raise Refused(Frame(error="APIC.7102"))
        if not state.is_good(token):
            raise Refused(Frame(error="APIC.7101"))
        project_id: str = token.claims["project_id"]
        return project_id

    def _token(self, state: State) -> Handler:
        def handle(exchange: Exchange) -> Reply:
            _check_login(exchange, state.strict_domains)
            token = self._issue(state)
            catalog = "nocatalog" not in parse_qs(exchange.query)
            return Reply(
                status=201,
                body={"token": _token_body(state.epoch(), token.life, catalog)},
                model=TokenAnswer,
                headers={**self.headers("token", 201), "X-Subject-Token": token.text},
            )

        return handle


def _gateway(frame: Frame, job: Job | None) -> dict[str, Any]:
    status = frame.state or _GATEWAY_WORDS.get(frame.phase or Phase.UNKNOWN)
    if status is None:
        raise ConfigurationError(f"a gateway has no status for {frame.phase}; pass state='...'")
    started = 0.0 if job is None else job.started_at or 0.0
    usable = status == _GATEWAY_WORDS[Phase.SUCCEEDED]
    return {
        "id": None if job is None else job.id,
        "project_id": PROJECT_ID,
        "instance_name": "a simulated gateway",
        "status": status,
        "create_time": int(started * 1000),
        "eip_address": "192.0.2.10" if usable else None,
        "ingress_ip": "192.168.0.10" if usable else None,
    }


def _nothing_there(exchange: Exchange) -> Reply:
    raise Refused(Frame(error="APIG.0101"))


def _code(table: Mapping[str, tuple[int, str]], status: int | None) -> str:
    return next((code for code, (of, _) in table.items() if of == status), "Error")


# --- the identity service -------------------------------------------------------------------------


def _check_login(exchange: Exchange, strict_domains: bool) -> None:
    kind = (exchange.header("content-type") or "").partition(";")[0].strip().lower()
    if exchange.method != "POST":
        raise Refused(Frame(error="Not Found"))
    if kind != "application/json":
        raise Refused(Frame(error="Bad Request"))
    try:
        auth = json.loads(exchange.body)["auth"]
        methods = auth["identity"]["methods"]
        user = auth["identity"]["password"]["user"]
        given = (user["name"], user["password"])
        project = auth["scope"]["project"]
        scope = (project.get("name"), project.get("id"))
        if strict_domains and "name" in project and "domain" not in project:
            raise Refused(Frame(error="Bad Request", message=_NO_DOMAIN))
        domains = [user["domain"], project.get("domain", _DOMAIN)]
        is_known = all(domain.items() <= _DOMAIN.items() for domain in domains)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise Refused(Frame(error="Bad Request")) from None
    is_formed = all(domains) and all(isinstance(part, str) for part in given)
    if methods != ["password"] or not is_formed:
        raise Refused(Frame(error="Bad Request"))
    right = (USERNAME, PASSWORD)
    if not is_known or not all(
        hmac.compare_digest(a.encode("utf-8", "surrogatepass"), b.encode())
        for a, b in zip(given, right, strict=True)
    ):
        raise Refused(Frame(error="Unauthorized"))
    if scope not in ((PROJECT_NAME, None), (None, PROJECT_ID)):
        message = "The user has no access to the project."
        raise Refused(Frame(error="Unauthorized", message=message))


def _token_body(epoch: float, life: float, catalog: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "expires_at": _iso(epoch + life),
        "issued_at": _iso(epoch),
        "methods": ["password"],
        "project": {"id": PROJECT_ID, "name": PROJECT_NAME, "domain": _DOMAIN},
        "user": {"id": "05e70000000000000000000000000000", "name": USERNAME, "domain": _DOMAIN},
        "roles": [{"id": "0", "name": "apig_adm"}],
    }
    if catalog:
        body["catalog"] = [{"id": "apig", "name": "apig", "type": "apig", "endpoints": []}]
    return body


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


SIMULATION = _Apig()
