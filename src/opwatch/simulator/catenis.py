"""Catenis, simulated: signatures are checked as by its server, then the message's state is sent.

Catenis API documentation, "Retrieve Message Progress" and "Authentication". The order of the checks
and the texts of the refusals are those of Catenis's server.
"""

from __future__ import annotations

import hmac
import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import attrs
from opwatch_api.wire import catenis as wire
from pydantic import BaseModel
from starlette.routing import BaseRoute, Route, WebSocketRoute

from opwatch.auth import ctn1
from opwatch.errors import ConfigurationError
from opwatch.progress import Phase
from opwatch.reading import any_json
from opwatch.simulator.app import Endpoint, answer
from opwatch.simulator.channel import Channel
from opwatch.simulator.simulation import Demo, Exchange, Handler, Refused, Reply
from opwatch.simulator.state import Job, State, fault_of
from opwatch.simulator.timeline import Frame, Timed

DEVICE_ID = "dSimulatedDevice0001"
API_ACCESS_SECRET = "simulated-api-access-secret"  # noqa: S105 (made up)

ERRORS = {
    "Device is deleted": 400,
    "Device is not active": 400,
    "Invalid or expired ephemeral message": 400,
    "Progress not available": 400,
    "Invalid parameters": 400,
    "Invalid parameters: messageId": 400,
    "You must be logged in to do this.": 401,
    "Authorization failed; authorization value not well formed": 401,
    "Authorization failed; invalid device or signature": 401,
    "Authorization failed; missing required HTTP headers": 401,
    "Authorization failed; signature date not well formed": 401,
    "Authorization failed; signature date out of bounds": 401,
    "Authorization failed; timestamp not well formed": 401,
    "Authorization failed; timestamp not within acceptable time variation": 401,
    "Internal server error": 500,
    "System currently not available; please try again at a later time": 503,
}
_TEXTS = {
    400: "Invalid parameters",
    401: "You must be logged in to do this.",
    500: "Internal server error",
    503: "System currently not available; please try again at a later time",
}
"""The text for a status alone."""
KEY_LIFE = timedelta(days=7)
"""How long a signature's date is valid, in full days, UTC."""
KEPT = {"p": 24 * 3600.0, "h": 3600.0}
"""Seconds a processed message is kept: provisional ones, and cached ones that nobody read."""
_VERSIONS = frozenset(f"0.{minor}" for minor in range(7, 14))
"""Those of the API that have both routes."""
_AUTHORIZATION = re.compile(
    rf"{ctn1.ALGORITHM}\s+Credential=(\w{{20}})/([^/,]+)/{ctn1.SCOPE}\s*,\s*Signature=([0-9a-f]{{64}})",
    re.ASCII,
)


class _Catenis:
    name = "catenis"
    demo = Demo(
        "pDemoMessage00000001",
        Timed(
            (
                Frame("running", bytes_processed=0),
                Frame("running", at=3, bytes_processed=262_144),
                Frame("running", at=6, bytes_processed=917_504),
                Frame("running", at=9, bytes_processed=1_572_864),
                Frame("running", at=13, bytes_processed=2_490_368),
                Frame("running", at=17, bytes_processed=3_407_872),
                Frame("succeeded", at=21, bytes_processed=4_194_304),
            )
        ),
        Phase.SUCCEEDED,
    )

    def routes(self, state: State) -> Sequence[BaseRoute]:
        path = "/api/{version}/messages/{job_id}/progress"
        channel = Channel(
            self,
            state,
            subprotocol="notify.catenis.io",
            is_served=lambda exchange: exchange.params["version"] in _VERSIONS,
            refusal=lambda exchange, hello: _refusal(exchange, hello, state),
            confirmation="NOTIFICATION_CHANNEL_OPEN",
            event=self._event,
        )
        return [
            Route(path, Endpoint(self, state, "progress", self._progress(state))),
            WebSocketRoute("/api/{version}/notify/ws/final-msg-progress", channel),
        ]

    def environ(self, url: str) -> dict[str, str]:
        return {
            "CATENIS_DEVICE_ID": DEVICE_ID,
            "CATENIS_API_ACCESS_SECRET": API_ACCESS_SECRET,
            "CATENIS_BASE_URL": f"{url}/api/0.7",
        }

    def arguments(self, url: str) -> dict[str, Any]:
        return {
            "device_id": DEVICE_ID,
            "api_access_secret": API_ACCESS_SECRET,
            "base_url": f"{url}/api/0.7",
        }

    def body(self, frame: Frame, job: Job | None, operation: str) -> Any:
        message_id = "" if job is None else job.id
        action = frame.step or ("read" if message_id.startswith("h") else "send")
        data: dict[str, Any] = {"action": action, "progress": _progress(frame, job)}
        if frame.phase is Phase.SUCCEEDED:
            data["result"] = _result(message_id, action)
        return {"status": "success", "data": data}

    def refusal(self, frame: Frame, operation: str) -> tuple[int, Any]:
        text = frame.error or _TEXTS.get(frame.status or 0, "An error")
        status = frame.status or ERRORS.get(text)
        if status is None:
            raise ConfigurationError(f"Catenis documents no error {text!r}; also pass its status")
        return status, {"status": "error", "message": frame.message or text}

    def token(self, state: State) -> str:
        raise ConfigurationError("Catenis has no tokens: each request is signed")

    def rate_limit(self, operation: str) -> Frame:
        """A rate limit, as from a proxy: Catenis documents none."""
        return Frame(status=429, message="Too many requests")

    def model(self, operation: str, status: int) -> type[BaseModel]:
        return wire.MessageProgressResponse if status == 200 else wire.ErrorResponse

    def headers(self, operation: str, status: int) -> dict[str, str]:
        return {}

    def _event(self, job: Job) -> Reply:
        """Return what Catenis reports about a processed message."""
        frame = job.now()
        assert frame is not None
        data = {"ephemeralMessageId": job.id, **self.body(frame, job, "progress")["data"]}
        return Reply(status=200, body=data, model=wire.FinalMessageProgressEvent)

    def _progress(self, state: State) -> Handler:
        def handle(exchange: Exchange) -> Reply:
            if exchange.method != "GET" or exchange.params["version"] not in _VERSIONS:
                raise Refused(Frame(raw=b"<html><body>Not found</body></html>", status=404))
            if (refusal := check_signature(exchange, state)) is not None:
                raise Refused(Frame(error=refusal))
            job = state.job(self.name, exchange.params["job_id"])
            if job is None or job.has_ended_for(KEPT.get(job.id[:1], math.inf)):
                raise Refused(Frame(error="Invalid or expired ephemeral message"))
            return answer(self, state, job.poll(), "progress", job)

        return handle


def _refusal(exchange: Exchange, hello: str | None, state: State) -> str | None:
    """Return what is wrong with a channel's authentication: a signed GET of its address."""
    if hello is None:
        return "Failed to receive authentication message"
    fields = any_json(hello.encode())
    names = ("x-bcot-timestamp", "authorization")
    if not isinstance(fields, dict) or not all(isinstance(fields.get(n), str) for n in names):
        return "Invalid authentication message"
    headers = (*exchange.headers, *((name, fields[name]) for name in names))
    return check_signature(attrs.evolve(exchange, headers=headers), state)


def check_signature(exchange: Exchange, state: State) -> str | None:
    """Return what is wrong with a request's signature, in the server's words, or None."""
    stamp, authorization = exchange.header("x-bcot-timestamp"), exchange.header("authorization")
    host = exchange.header("host")
    if not stamp or not authorization or not host:
        return "Authorization failed; missing required HTTP headers"
    now = datetime.fromtimestamp(state.epoch(), UTC)
    timestamp = _time(stamp)
    if timestamp is None:
        return "Authorization failed; timestamp not well formed"
    if abs(timestamp - now) > ctn1.CLOCK_TOLERANCE:
        return "Authorization failed; timestamp not within acceptable time variation"
    credential = _AUTHORIZATION.fullmatch(authorization)
    if credential is None:
        return "Authorization failed; authorization value not well formed"
    device_id, day, signature = credential.groups()
    sign_date = _date(day)
    if sign_date is None:
        return "Authorization failed; signature date not well formed"
    if not sign_date <= now.date() < sign_date + KEY_LIFE:
        return "Authorization failed; signature date out of bounds"
    expected = ctn1.sign(
        method=exchange.method,
        target=exchange.target,
        host=host,
        body=exchange.body,
        device_id=DEVICE_ID,
        secret=API_ACCESS_SECRET,
        timestamp=timestamp,
        sign_date=sign_date,
    )["Authorization"]
    good = hmac.compare_digest(expected.rpartition("=")[2], signature)
    if device_id != DEVICE_ID or not good:
        return "Authorization failed; invalid device or signature"
    return None


def _time(stamp: str) -> datetime | None:
    if not re.fullmatch(r"\d{8}T\d{6}Z", stamp, re.ASCII):
        return None
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _date(day: str) -> date | None:
    if not re.fullmatch(r"\d{8}", day, re.ASCII):
        return None
    try:
        return datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None


def _progress(frame: Frame, job: Job | None) -> dict[str, Any]:
    if frame.state is not None or frame.phase in (Phase.CANCELLED, Phase.UNKNOWN):
        raise ConfigurationError("Catenis has no such state; use body or raw instead")
    progress: dict[str, Any] = {
        "bytesProcessed": frame.bytes_processed or 0,
        "done": frame.phase in (Phase.SUCCEEDED, Phase.FAILED, Phase.ENDED),
    }
    if not progress["done"]:
        return progress
    if frame.phase is not Phase.ENDED:
        progress["success"] = frame.phase is Phase.SUCCEEDED
    if frame.phase is Phase.FAILED:
        reason = fault_of(frame, "500", "Internal server error")
        progress["error"] = {"code": _code(reason.code), "message": reason.message}
    ended = 0.0 if job is None else job.ended_at or 0.0
    progress["finishDate"] = (
        datetime.fromtimestamp(ended, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
    return progress


def _code(code: str | None) -> int:
    if code is None or not code.isdecimal():
        raise ConfigurationError(f"Catenis's error codes must be integers, not {code!r}")
    return int(code)


def _result(message_id: str, action: str) -> dict[str, str]:
    result = {"messageId": f"m{message_id[1:]}"}
    if action == "read":
        result["continuationToken"] = f"k{message_id[1:]}"
    return result


SIMULATION = _Catenis()
