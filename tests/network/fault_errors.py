"""Every error that the three services are known to respond with, and what the user gets.

The documents' own samples and what their sources add. Like the scenarios, a table: the tests prove
it, and `docs/every-case.md` is written from it.
"""

from __future__ import annotations

from typing import Any

import attrs
from fault_services import APIG, CATENIS, ITWIN, ITWIN_V2, Sample

from opwatch.errors import (
    AuthenticationError,
    JobGone,
    NotFound,
    OpwatchError,
    PermissionDenied,
    RateLimited,
    ServiceError,
    Unavailable,
)

UUID = "4f3e8d0c-92ab-4c1f-8e57-6b0a1d2c3e4f"
OWN_WORDS = {401: "the credentials were refused", 403: "the credentials don't permit this"}
"""What the error says instead of the response, whose text may be made of the credentials."""
QUOTED = (
    "You must be logged in to do this.",
    "Authorization failed; authorization value not well formed",
    "Authorization failed; invalid device or signature",
    "Authorization failed; missing required HTTP headers",
    "Authorization failed; signature date not well formed",
    "Authorization failed; signature date out of bounds",
    "Authorization failed; timestamp not well formed",
    "Authorization failed; timestamp not within acceptable time variation",
    "Incorrect token or token resolution failed",
    "The token must be updated.",
    "No permissions to request for the method",
    "No permissions to access the instance",
)
"""The texts of 401 and 403 responses that are known not to be."""


@attrs.frozen
class Refusal:
    """One error response of a service."""

    sample: Sample
    status: int
    body: Any
    kind: type[OpwatchError]
    code: str | None = None
    message: str | None = None
    headers: dict[str, str] = attrs.field(factory=dict)
    request_id: str | None = None
    retry_after: float | None = None

    @property
    def says(self) -> str:
        """How the error's message begins."""
        own = OWN_WORDS.get(self.status)
        return own if own is not None and self.message not in QUOTED else self.message or ""

    def __str__(self) -> str:
        words = [self.sample.name, self.status, self.code or self.message]
        return "-".join(str(word) for word in words if word).replace(" ", "_")


def _catenis(status: int, message: str, kind: type[OpwatchError]) -> Refusal:
    body = {"status": "error", "message": message}
    return Refusal(CATENIS, status, body, kind, message=message)


def _itwin(status: int, code: str, message: str, kind: type[OpwatchError], **more: Any) -> Refusal:
    body = {"error": {"code": code, "message": message}}
    headers = {"x-correlation-id": UUID}
    return Refusal(ITWIN, status, body, kind, code, message, headers, UUID, **more)


def _apig(status: int, code: str, message: str, kind: type[OpwatchError]) -> Refusal:
    body = {"error_code": code, "error_msg": message}
    return Refusal(APIG, status, body, kind, code, message, {"X-Request-Id": UUID}, UUID)


CATENIS_REFUSALS = (
    _catenis(400, "Device is deleted", PermissionDenied),
    _catenis(400, "Device is not active", PermissionDenied),
    _catenis(400, "Invalid or expired ephemeral message", JobGone),
    _catenis(400, "Progress not available", Unavailable),
    _catenis(400, "Invalid parameters", ServiceError),
    _catenis(400, "Invalid parameters: messageId", ServiceError),
    *(_catenis(401, text, AuthenticationError) for text in QUOTED[:8]),
    _catenis(500, "Internal server error", Unavailable),
    _catenis(503, "System currently not available; please try again at a later time", Unavailable),
)
ITWIN_REFUSALS = (
    _itwin(
        401,
        "HeaderNotFound",
        "Header Authorization was not found in the request. Access denied.",
        AuthenticationError,
    ),
    _itwin(401, "Unauthorized", "Access denied.", AuthenticationError),
    _itwin(403, "InsufficientPermissions", "The user has no permission.", PermissionDenied),
    _itwin(404, "JobNotFound", "Requested job is not available.", JobGone),
    _itwin(404, "ResourceNotFound", "Requested resource is not available.", NotFound),
    attrs.evolve(
        _itwin(
            429,
            "RateLimitExceeded",
            "The client sent more requests than allowed by this API for the current tier of the "
            "client.",
            RateLimited,
            retry_after=30.0,
        ),
        headers={"x-correlation-id": UUID, "Retry-After": "30"},
    ),
    _itwin(429, "TooManyRequests", "More requests were received than allowed.", RateLimited),
    _itwin(500, "InternalServerError", "Something went wrong.", Unavailable),
)
ITWIN_V2_REFUSALS = (
    *(attrs.evolve(one, sample=ITWIN_V2) for one in ITWIN_REFUSALS if one.status != 404),
    attrs.evolve(
        _itwin(404, "JobProgressNotFound", "Requested job progress is not available.", JobGone),
        sample=ITWIN_V2,
    ),
    *(attrs.evolve(one, sample=ITWIN_V2) for one in ITWIN_REFUSALS if one.status == 404),
)
_NEW_TOKEN = {
    "APIC.7101": "Token expired",
    "APIC.7102": "Incorrect token or token resolution failed",
    "APIG.0307": "The token must be updated.",
}
_NO_TOKEN = ("APIC.7100", "APIC.7103", "APIC.7105", "APIC.7107")
_KEYS = ("APIG.1000", "APIG.1001", "APIG.1002", "APIG.1003", "APIG.1009", "APIG.0301")
_FORBIDDEN = ("APIC.7106", "APIC.7109", "APIC.7110", "APIC.7111", "APIC.7130", "APIC.7300")
APIG_REFUSALS = (
    *(_apig(401, code, text, AuthenticationError) for code, text in _NEW_TOKEN.items()),
    *(_apig(401, code, "Not allowed", AuthenticationError) for code in (*_NO_TOKEN, *_KEYS)),
    *(_apig(403, code, "No permissions", PermissionDenied) for code in _FORBIDDEN),
    *(_apig(403, "APIC.7106", text, PermissionDenied) for text in QUOTED[-2:]),
    _apig(404, "APIC.7302", "Instance not found", JobGone),
    _apig(404, "APIG.3030", "The instance does not exist", JobGone),
    _apig(404, "APIG.0101", "The API does not exist", NotFound),
    _apig(429, "APIG.0308", "The throttling threshold has been reached", RateLimited),
    _apig(500, "APIC.9000", "Failed to request internal service", Unavailable),
    _apig(500, "APIC.9100", "Internal error", Unavailable),
    _apig(500, "APIC.9999", "System error", Unavailable),
    _apig(500, "APIG.9008", "Too many requests", RateLimited),
    _apig(502, "APIG.0201", "Bad gateway", Unavailable),
    _apig(503, "APIG.0201", "Backend unavailable", Unavailable),
    _apig(504, "APIG.0201", "Backend timeout", Unavailable),
    Refusal(
        APIG,
        403,
        {"error_code": "APIC.7106", "error_msg": "No permissions", "request_id": UUID},
        PermissionDenied,
        "APIC.7106",
        "No permissions",
        request_id=UUID,
    ),
    Refusal(
        APIG,
        401,
        {"error": {"code": 401, "message": "The token is gone.", "title": "Unauthorized"}},
        AuthenticationError,
        message="The token is gone.",
    ),
)
REFUSALS = (*CATENIS_REFUSALS, *ITWIN_REFUSALS, *ITWIN_V2_REFUSALS, *APIG_REFUSALS)

ESCAPES = "\x1b]0;owned\a\x1b[2J\x1b[31mred \u202egnp.exe\u2066 \x00\x7f\x9b1m"
FOREIGN: dict[str, bytes] = {
    "html": b"<!doctype html>\n<html>\n<title>502 Bad Gateway</title>\n" + b"<br>\n" * 500,
    "word": b'"boom"',
    "null": b"null",
    "list": b'[{"error": 1}]',
    "number": b"42",
    "empty": b"",
    "empty-object": b"{}",
    "nulls": b'{"error": null, "message": null, "error_code": null, "error_msg": null}',
    "partly-null": b'{"error": {"code": null, "message": null, "target": null}}',
    "error-as-text": b'{"error": "invalid_request", "error_description": "what?"}',
    "error-as-list": b'{"error": ["a", "b"], "message": ["c"], "error_code": [], "error_msg": {}}',
    "deep": b'{"error": {"code": {"a": 1}, "message": {"b": [2]}}}',
    "keystone": b'{"error": {"code": 401, "message": "The request is wrong.", "title": "Wrong"}}',
    "text": b"upstream connect error or disconnect/reset before headers",
    "escapes": ESCAPES.encode(),
    "escapes-quoted": b'{"error": {"code": "\\u001b[2J", "message": "\\u001b[31mred\\u202e\\n"},'
    b'"message": "\\u001b[31mred\\u202e\\nblue", "error_code": "\\u001b", "error_msg": "\\u0007"}',
    "surrogate": b'{"error": {"message": "\\ud800"}, "message": "\\ud800", "error_msg": "\\udfff"}',
    "binary": bytes(range(256)),
    "utf-16": '{"message": "Invalid"}'.encode("utf-16"),
    "not-utf-8": b'{"message": "M\xfcll"}',
    "long": b'{"error": {"code": "%s", "message": "%s"}, "message": "%s"}'
    % (b"c" * 10_000, b"m" * 100_000, b"m" * 100_000),
    "long-lines": b"<p>\n" * 200_000,
    "nested": b'{"error": ' * 5000 + b"1" + b"}" * 5000,
}
FOREIGN_STATUSES: dict[int, type[ServiceError]] = {
    400: ServiceError,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    429: RateLimited,
    500: Unavailable,
    503: Unavailable,
}
