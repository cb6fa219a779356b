"""iTwin, simulated: the Reality Modeling jobs and the token endpoint they need.

iTwin Platform, Reality Modeling API, "Retrieve job progress", and RFC 6749 for the tokens. Stricter
than the document in one thing: `Accept`, which it only recommends, must name the API's version.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from opwatch_api.wire import itwin as wire
from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr
from starlette.routing import BaseRoute, Route

from opwatch.auth.oauth2 import ClientCredentials
from opwatch.errors import ConfigurationError
from opwatch.progress import Phase
from opwatch.simulator.app import Endpoint, answer
from opwatch.simulator.simulation import Demo, Exchange, Handler, Refused, Reply
from opwatch.simulator.state import Job, State, Token, fault_of
from opwatch.simulator.timeline import Frame, Timed

CLIENT_ID = "simulated-service-client"
CLIENT_SECRET = "simulated-client-secret"  # noqa: S105 (made up)
SCOPE = "itwin-platform"
ACCEPT = "application/vnd.bentley.itwin-platform.v1+json"
ITWIN_ID = "7a1f0000-0000-4000-8000-000000000001"
WEBHOOK_ID = "3b1f0000-0000-4000-8000-000000000001"
KEPT = 30 * 86_400.0
"""Seconds after which a job's progress is no longer available (Remarks)."""

ERRORS = {
    "HeaderNotFound": (401, "Header Authorization was not found in the request. Access denied."),
    "Unauthorized": (401, "Access denied due to an invalid access token."),
    "InsufficientPermissions": (403, "The user has insufficient permissions for the request."),
    "JobNotFound": (404, "Requested job is not available."),
    "ResourceNotFound": (404, "Requested resource was not found."),
    "RateLimitExceeded": (
        429,
        (
            "The client sent more requests than allowed by this API for the current tier of the"
            " client."
        ),
    ),
    "TooManyRequests": (429, "More requests were received than the subscription allows."),
    "InternalServerError": (500, "An unexpected error happened."),
    "ServiceUnavailable": (503, "The service is temporarily unavailable."),
}
TOKEN_ERRORS = {
    "invalid_request": (400, "The request is missing a parameter, or repeats one."),
    "invalid_client": (401, "The client is unknown, or its secret is wrong."),
    "invalid_scope": (400, "The scope is unknown, or the client isn't allowed to use it."),
    "unsupported_grant_type": (400, "Only client_credentials is supported."),
    "server_error": (500, "The authorization server encountered an unexpected condition."),
    "temporarily_unavailable": (503, "The authorization server is temporarily unavailable."),
}
_WORDS = {
    Phase.PENDING: "Unsubmitted",
    Phase.RUNNING: "Active",
    Phase.SUCCEEDED: "Over",
    Phase.FAILED: "Over",
    Phase.CANCELLED: "Over",
    Phase.ENDED: "Over",
}
_JOB_WORDS = {
    Phase.PENDING: "unsubmitted",
    Phase.RUNNING: "active",
    Phase.UNKNOWN: "active",
    Phase.SUCCEEDED: "success",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
    Phase.ENDED: "over",
}


class TokenAnswer(BaseModel):
    """RFC 6749, section 5.1."""

    model_config = ConfigDict(extra="forbid")
    access_token: StrictStr
    token_type: StrictStr
    expires_in: StrictInt
    scope: StrictStr


class TokenRefusal(BaseModel):
    """RFC 6749, section 5.2."""

    model_config = ConfigDict(extra="forbid")
    error: StrictStr
    error_description: StrictStr


class ITwinSimulation:
    """Version 1; `itwin_v2` contains the differences of version 2."""

    name = "itwin"
    version = 1
    accept = ACCEPT
    errors = ERRORS
    gone = "JobNotFound"
    """The answer to a poll of an unknown job."""
    demo = Demo(
        "4d1f0000-0000-4000-8000-000000000001",
        Timed(
            (
                Frame("pending", percent=0),
                Frame("running", at=2, percent=6, step="Import of photos"),
                Frame("running", at=5, percent=21, step="Aerotriangulation"),
                Frame("running", at=8, percent=38, step="Aerotriangulation"),
                Frame(error="RateLimitExceeded", at=10, times=1, retry_after=3),
                Frame("running", at=12, percent=56, step="Reconstruction"),
                Frame("running", at=16, percent=74, step="Reconstruction"),
                Frame("running", at=20, percent=91, step="Production"),
                Frame("succeeded", at=24, percent=100, step="Production"),
            )
        ),
        Phase.SUCCEEDED,
    )

    def routes(self, state: State) -> Sequence[BaseRoute]:
        def route(path: str, operation: str, handler: Handler) -> Route:
            return Route(path, Endpoint(self, state, operation, handler))

        return [
            route("/connect/token", "token", self._token(state)),
            route("/contextcapture/jobs/{job_id}/progress", "progress", self._progress(state)),
            route("/contextcapture/jobs/{job_id}", "job", self._job(state)),
            route("/contextcapture/{rest:path}", "other", nothing_there),
        ]

    def environ(self, url: str) -> dict[str, str]:
        return {
            "ITWIN_CLIENT_ID": CLIENT_ID,
            "ITWIN_CLIENT_SECRET": CLIENT_SECRET,
            "ITWIN_BASE_URL": f"{url}/contextcapture",
            "ITWIN_TOKEN_URL": f"{url}/connect/token",
        }

    def arguments(self, url: str) -> dict[str, Any]:
        auth = ClientCredentials(CLIENT_ID, CLIENT_SECRET, token_url=f"{url}/connect/token")
        return {"auth": auth, "base_url": f"{url}/contextcapture"}

    def body(self, frame: Frame, job: Job | None, operation: str) -> Any:
        if operation == "job":
            return {"job": _job(frame, job)}
        word = frame.state or _WORDS.get(frame.phase or Phase.UNKNOWN)
        if word is None:
            raise ConfigurationError("an unknown phase needs a state; pass state='...'")
        percent = 100 if frame.phase is Phase.SUCCEEDED and frame.percent is None else frame.percent
        fields = {"percentage": percent, "state": word, "step": frame.step or ""}
        return {"jobProgress": {name: it for name, it in fields.items() if it is not None}}

    def refusal(self, frame: Frame, operation: str) -> tuple[int, Any]:
        table = TOKEN_ERRORS if operation == "token" else self.errors
        code = frame.error or _code(table, frame.status)
        known = table.get(code)
        status = frame.status or (known and known[0])
        if status is None:
            raise ConfigurationError(f"iTwin documents no error {code!r}; also pass its status")
        message = frame.message or (known[1] if known else "An undocumented error.")
        if operation == "token":
            return status, {"error": code, "error_description": message}
        return status, {"error": {"code": code, "message": message}}

    def token(self, state: State) -> str:
        return state.issue(self.name, scope=SCOPE).text

    def rate_limit(self, operation: str) -> Frame:
        return Frame(error="RateLimitExceeded")

    def model(self, operation: str, status: int) -> type[BaseModel]:
        if operation == "token":
            return TokenAnswer if status == 200 else TokenRefusal
        if status != 200:
            return wire.ErrorResponse
        return wire.JobResponse if operation == "job" else wire.JobProgressResponse

    def headers(self, operation: str, status: int) -> dict[str, str]:
        if operation == "token":
            found = {"Cache-Control": "no-store", "Pragma": "no-cache"}
            return found | ({"WWW-Authenticate": "Basic"} if status == 401 else {})
        found = {"x-correlation-id": str(uuid.uuid4())}
        if status == 429:
            limits = {"Tier": "Simulated", "API": "Reality Modeling", "Operation": operation}
            found |= {f"ITwinPlatform-RateLimited-{name}": of for name, of in limits.items()}
            found["ITwinPlatform-RateLimited-Application"] = CLIENT_ID
        return found

    def webhook(
        self, job: Job, state: State, secret: str, version: int | None
    ) -> tuple[bytes, dict[str, str]]:
        """Return the event that a job has ended, signed with a webhook's secret.

        Its envelope is that of the Webhooks API; of `content`, only what opwatch reads is known.
        """
        event = {
            "content": {"jobId": job.id},
            "eventType": f"realityModeling.jobCompleted.v{version or self.version}",
            "enqueuedDateTime": _iso(state.epoch()),
            "iTwinId": ITWIN_ID,
            "messageId": str(uuid.uuid4()),
            "webhookId": WEBHOOK_ID,
        }
        body = json.dumps(event).encode()
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return body, {"Signature": f"sha256={digest}"}

    def _progress(self, state: State) -> Handler:
        def handle(exchange: Exchange) -> Reply:
            job = self._authorized(exchange, state, self.gone)
            if job.has_run_for(KEPT):
                raise Refused(Frame(error=self.gone))
            return answer(self, state, job.poll(), "progress", job)

        return handle

    def _job(self, state: State) -> Handler:
        def handle(exchange: Exchange) -> Reply:
            job = self._authorized(exchange, state)
            frame = job.look() or Frame(Phase.RUNNING)
            return answer(self, state, frame.lookup or frame, "job", job)

        return handle

    def _issued(self, state: State, text: str) -> Token | None:
        return state.token(self.name, text)

    def _authorized(self, exchange: Exchange, state: State, gone: str = "JobNotFound") -> Job:
        accepted = {part.partition(";")[0].strip() for part in _accept(exchange).split(",")}
        if exchange.method != "GET" or self.accept not in accepted:
            raise Refused(Frame(error="ResourceNotFound"))
        authorization = exchange.header("authorization")
        if authorization is None:
            raise Refused(Frame(error="HeaderNotFound"))
        scheme, _, text = authorization.partition(" ")
        token = self._issued(state, text) if scheme == "Bearer" else None
        if token is None or not state.is_good(token) or token.claims.get("scope") != SCOPE:
            raise Refused(Frame(error="Unauthorized"))
        job = state.job(self.name, exchange.params["job_id"])
        if job is None:
            raise Refused(Frame(error=gone))
        return job

    def _token(self, state: State) -> Handler:
        def handle(exchange: Exchange) -> Reply:
            form = _form(exchange)
            _check_client(exchange, form)
            if form.get("grant_type") != "client_credentials":
                known = "grant_type" in form
                raise _refused("unsupported_grant_type" if known else "invalid_request")
            if form.get("scope", SCOPE) != SCOPE:
                raise _refused("invalid_scope")
            token = state.issue(self.name, scope=SCOPE)
            body = {
                "access_token": token.text,
                "token_type": "Bearer",
                "expires_in": math.ceil(token.life),
                "scope": SCOPE,
            }
            headers = self.headers("token", 200)
            return Reply(status=200, body=body, model=TokenAnswer, headers=headers)

        return handle


# --- jobs -----------------------------------------------------------------------------------------


def _accept(exchange: Exchange) -> str:
    return exchange.header("accept") or ""


def nothing_there(exchange: Exchange) -> Reply:
    raise Refused(Frame(error="ResourceNotFound"))


def issues(frame: Frame) -> list[dict[str, Any]]:
    """Return why a job failed, as the service lists it."""
    reason = fault_of(frame, "Simulated", "The job failed, as scripted.")
    error = {"code": reason.code, "title": "Job failed", "message": reason.message}
    return [{**error, "params": []}]


def _job(frame: Frame, job: Job | None) -> dict[str, Any]:
    started = None if job is None else job.started_at
    ended = None if job is None else job.ended_at
    created = _iso(started or 0.0)
    found: dict[str, Any] = {
        "id": "" if job is None else job.id,
        "name": "A simulated job",
        "type": "Full",
        "state": _JOB_WORDS[frame.phase or Phase.RUNNING],
        "createdDateTime": created,
        "lastModifiedDateTime": created if ended is None else _iso(ended),
        "iTwinId": "00000000-0000-4000-8000-00000000c0de",
    }
    if frame.phase is not Phase.PENDING:
        information: dict[str, Any] = {"submittedDateTime": created, "startedDateTime": created}
        if ended is not None:
            information["endedDateTime"] = _iso(ended)
        if frame.phase is Phase.FAILED:
            information["errors"] = issues(frame)
        found["executionInformation"] = information
    return found


def _iso(epoch: float) -> str:
    when = datetime.fromtimestamp(epoch, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _code(table: dict[str, tuple[int, str]], status: int | None) -> str:
    return next((code for code, (of, _) in table.items() if of == status), "Error")


# --- tokens ---------------------------------------------------------------------------------------


def _refused(code: str, status: int | None = None) -> Refused:
    return Refused(Frame(error=code, status=status))


def _form(exchange: Exchange) -> dict[str, str]:
    kind = (exchange.header("content-type") or "").partition(";")[0].strip().lower()
    if exchange.method != "POST" or kind != "application/x-www-form-urlencoded":
        raise _refused("invalid_request")
    try:
        pairs = parse_qsl(exchange.body.decode("ascii"), keep_blank_values=True)
    except UnicodeDecodeError:
        raise _refused("invalid_request") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _refused("invalid_request")
    return form


def _check_client(exchange: Exchange, form: dict[str, str]) -> None:
    """Return the client's ID and secret, from Basic authentication or the form, never both."""
    basic = exchange.header("authorization")
    if basic is None:
        if "client_id" not in form:
            raise _refused("invalid_request")
        given, status = (form["client_id"], form.get("client_secret", "")), 400
    elif "client_secret" in form:
        raise _refused("invalid_request")
    else:
        given, status = _basic(basic), 401
    right = (CLIENT_ID, CLIENT_SECRET)
    if not all(
        hmac.compare_digest(a.encode(), b.encode()) for a, b in zip(given, right, strict=True)
    ):
        raise _refused("invalid_client", status)


def _basic(authorization: str) -> tuple[str, str]:
    """RFC 6749, section 2.3.1: both parts are form-urlencoded before they are joined."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        pair = base64.b64decode(encoded, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        pair = ""
    if scheme.lower() != "basic" or ":" not in pair:
        raise _refused("invalid_client", 401)
    client_id, _, secret = pair.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)


SIMULATION = ITwinSimulation()
