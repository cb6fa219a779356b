"""APIG, simulated: the gateways, the identity service, and the check of AK/SK signatures.

API Gateway API reference, "Querying the Creation Progress of a Dedicated Gateway"; Identity and
Access Management, "Obtaining a User Token"; "AK/SK authentication". Where the documents name a code
and no text, the text is made up.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import attrs
from opwatch_api.wire import apig as wire
from pydantic import AwareDatetime, BaseModel, ConfigDict, StrictInt, StrictStr
from starlette.routing import BaseRoute, Route

from opwatch.auth import aksk
from opwatch.auth.iam import IamPassword
from opwatch.errors import ConfigurationError
from opwatch.progress import Fault, Phase
from opwatch.simulator.app import Endpoint, answer
from opwatch.simulator.simulation import Demo, Exchange, Handler, Refused, Reply
from opwatch.simulator.state import Job, State, Token
from opwatch.simulator.timeline import Frame, Timed

USERNAME = "simulated-user"
PASSWORD = "simulated-password"  # noqa: S105 (made up)
DOMAIN_NAME = "OTC-SIMULATED-DOMAIN"
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
CLOCK_TOLERANCE = timedelta(minutes=15)
LOCK_AFTER = 5
"""Failed signatures in a row; one more locks the pair of keys."""
LOCK_TIME = 300.0

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
_WORDS = {
    Phase.PENDING: "creating",
    Phase.RUNNING: "creating",
    Phase.SUCCEEDED: "success",
    Phase.FAILED: "failed",
}
_PERCENT = {Phase.PENDING: 0, Phase.SUCCEEDED: 100, Phase.FAILED: 0}
_AUTHORIZATION = re.compile(
    rf"{aksk.ALGORITHM} Access=([^,\s]+), SignedHeaders=([^,\s]+), Signature=([0-9a-f]{{64}})"
)


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


@attrs.define
class KeyPair:
    """An access key, and how often it was used wrongly."""

    secret_key: str
    security_token: str | None = None
    failures: int = 0
    """In a row."""
    locked_until: float = 0.0


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

        progress = "/v2/{project_id}/apigw/instances/{job_id}/progress"
        return [
            route("/v3/auth/tokens", "token", self._token(state)),
            route(progress, "progress", self._progress(state)),
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
        word = frame.state or _WORDS.get(frame.phase or Phase.UNKNOWN)
        if word is None:
            raise ConfigurationError(f"APIG has no word for {frame.phase}: give state='...'")
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
            raise ConfigurationError(f"APIG documents no error {code!r}; give its status too")
        message = frame.message or (known[1] if known else "An error of the service's own")
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
        return wire.InstanceProgress if status == 200 else wire.ErrorResponse

    def headers(self, operation: str, status: int) -> dict[str, str]:
        return {"X-Request-Id": secrets.token_hex(16)}

    def _progress(self, state: State) -> Handler:
        keys = {
            ACCESS_KEY: KeyPair(SECRET_KEY),
            TEMPORARY_ACCESS_KEY: KeyPair(TEMPORARY_SECRET_KEY, SECURITY_TOKEN),
        }

        def handle(exchange: Exchange) -> Reply:
            if exchange.method != "GET":
                return _nothing_there(exchange)
            project_id: str | None
            if exchange.header("x-auth-token") is not None:
                project_id = self._project_of_token(exchange, state)
            else:
                project_id = _project_of_signature(exchange, state, keys)
            if project_id != exchange.params["project_id"]:
                raise Refused(Frame(error="APIC.7106"))
            job = state.job(self.name, exchange.params["job_id"])
            if job is None:
                raise Refused(Frame(error="APIC.7302"))
            return answer(self, state, job.poll(), "progress", job)

        return handle

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
            _check_login(exchange)
            token = self._issue(state)
            catalog = "nocatalog" not in parse_qs(exchange.query)
            return Reply(
                status=201,
                body={"token": _token_body(state.epoch(), token.life, catalog)},
                model=TokenAnswer,
                headers={**self.headers("token", 201), "X-Subject-Token": token.text},
            )

        return handle


def _nothing_there(exchange: Exchange) -> Reply:
    raise Refused(Frame(error="APIG.0101"))


def _code(table: Mapping[str, tuple[int, str]], status: int | None) -> str:
    return next((code for code, (of, _) in table.items() if of == status), "Error")


# --- AK/SK ----------------------------------------------------------------------------------------


def _project_of_signature(
    exchange: Exchange, state: State, keys: Mapping[str, KeyPair]
) -> str | None:
    """The project that a signed request is for; refused where the signature is not good."""
    authorization = exchange.header("authorization")
    if authorization is None:
        raise Refused(Frame(error="APIG.0301"))
    parts = _AUTHORIZATION.fullmatch(authorization)
    if parts is None:
        raise _unsigned("the Authorization header is not well formed")
    access_key, names, _ = parts.groups()
    pair = keys.get(access_key)
    if pair is None:
        raise _unsigned("the access key does not exist")
    with state.lock:
        now = state.clock.now()
        if now < pair.locked_until:
            raise _unsigned("the access key is locked after too many failures")
        wrong = _wrong(exchange, state, access_key, pair, names.split(";"))
        pair.failures = 0 if wrong is None else pair.failures + 1
        if pair.failures > LOCK_AFTER:
            pair.failures, pair.locked_until = 0, now + LOCK_TIME
    if wrong is not None:
        raise _unsigned(wrong)
    return exchange.header("x-project-id")


def _unsigned(why: str) -> Refused:
    return Refused(
        Frame(error="APIG.0301", message=f"Incorrect IAM authentication information: {why}")
    )


def _wrong(
    exchange: Exchange, state: State, access_key: str, pair: KeyPair, names: list[str]
) -> str | None:
    """What is wrong with a signature; None where nothing is."""
    must = {"host", "x-sdk-date", "x-project-id"}
    if pair.security_token is not None:
        must.add("x-security-token")
    if missing := sorted(must - set(names)):
        return f"not signed: {', '.join(missing)}"
    signed = {name: exchange.header(name) for name in names}
    if absent := sorted(name for name, value in signed.items() if value is None):
        return f"signed and not sent: {', '.join(absent)}"
    headers = {name: value for name, value in signed.items() if value is not None}
    stamp = _time(headers["x-sdk-date"])
    if stamp is None:
        return "X-Sdk-Date is not well formed"
    if abs(stamp - datetime.fromtimestamp(state.epoch(), UTC)) > CLOCK_TOLERANCE:
        return "X-Sdk-Date is too far from the service's time"
    if pair.security_token is not None and headers["x-security-token"] != pair.security_token:
        return "the security token is wrong"
    expected = aksk.sign(
        method=exchange.method,
        target=exchange.target,
        host=headers["host"],
        headers={name: value for name, value in headers.items() if name not in _OWN},
        body=exchange.body,
        access_key=access_key,
        secret_key=pair.secret_key,
        timestamp=stamp,
        project_id=headers["x-project-id"],
        security_token=headers.get("x-security-token"),
    )["Authorization"]
    given = exchange.header("authorization") or ""
    return None if hmac.compare_digest(expected.encode(), given.encode()) else "verify failed"


_OWN = frozenset({"host", "x-sdk-date", "x-project-id", "x-security-token"})
"""Headers that the signing function adds by itself."""


def _time(stamp: str) -> datetime | None:
    if not re.fullmatch(r"\d{8}T\d{6}Z", stamp, re.ASCII):
        return None
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


# --- the identity service -------------------------------------------------------------------------


def _check_login(exchange: Exchange) -> None:
    kind = (exchange.header("content-type") or "").partition(";")[0].strip().lower()
    if exchange.method != "POST":
        raise Refused(Frame(error="Not Found"))
    if kind != "application/json":
        raise Refused(Frame(error="Bad Request"))
    try:
        auth = json.loads(exchange.body)["auth"]
        methods = auth["identity"]["methods"]
        user = auth["identity"]["password"]["user"]
        given = (user["name"], user["password"], user["domain"]["name"])
        project = auth["scope"]["project"]
        scope = (project.get("name"), project.get("id"))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Refused(Frame(error="Bad Request")) from None
    if methods != ["password"] or not all(isinstance(part, str) for part in given):
        raise Refused(Frame(error="Bad Request"))
    right = (USERNAME, PASSWORD, DOMAIN_NAME)
    if not all(
        hmac.compare_digest(a.encode(), b.encode()) for a, b in zip(given, right, strict=True)
    ):
        raise Refused(Frame(error="Unauthorized"))
    if scope not in ((PROJECT_NAME, None), (None, PROJECT_ID)):
        raise Refused(Frame(error="Unauthorized", message="The project is not yours."))


def _token_body(epoch: float, life: float, catalog: bool) -> dict[str, Any]:
    domain = {"id": "d0ma1n00000000000000000000000000", "name": DOMAIN_NAME}
    body: dict[str, Any] = {
        "expires_at": _iso(epoch + life),
        "issued_at": _iso(epoch),
        "methods": ["password"],
        "project": {"id": PROJECT_ID, "name": PROJECT_NAME, "domain": domain},
        "user": {"id": "05e70000000000000000000000000000", "name": USERNAME, "domain": domain},
        "roles": [{"id": "0", "name": "apig_adm"}],
    }
    if catalog:
        body["catalog"] = [{"id": "apig", "name": "apig", "type": "apig", "endpoints": []}]
    return body


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


SIMULATION = _Apig()
