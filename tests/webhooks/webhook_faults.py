"""An event of iTwin's, how it is signed, and what is refused."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

SECRET = "a made-up secret of a webhook, with 32 characters or more"
NOW = datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()
JOB = "cc3d35cc-416a-4262-9714-b359da70b419"
EVENT: dict[str, Any] = {
    "content": {"jobId": JOB},
    "eventType": "realityModeling.jobCompleted.v1",
    "iTwinId": "ce40a55a-6954-4de3-85c7-f796c3e423d9",
    "messageId": "32369e4b-c9ff-47e4-b422-83b97247ce5b",
    "webhookId": "7da4ba7e-3a35-4d97-a1b0-6d453aa97493",
    "enqueuedDateTime": "2027-01-15T07:59:30Z",
}


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json", "Signature": f"sha256={digest}"}


BODY = json.dumps(EVENT).encode()
REFUSED: dict[str, tuple[bytes, dict[str, str], str]] = {
    "no `Signature` header": (
        BODY,
        {"Content-Type": "application/json"},
        "has no `Signature` header",
    ),
    "an empty signature": (
        BODY,
        {"Signature": ""},
        "header isn't sha256= followed by 64 hexadecimal digits",
    ),
    "a signature with another algorithm": (
        BODY,
        {"Signature": "sha1=" + "0" * 40},
        "header isn't sha256= followed by 64 hexadecimal digits",
    ),
    "a signature that isn't hexadecimal": (
        BODY,
        {"Signature": "sha256=" + "x" * 64},
        "header isn't sha256= followed by 64 hexadecimal digits",
    ),
    "two signatures": (
        BODY,
        {**signed(BODY), "signature": "sha256="},
        "header isn't sha256= followed by 64 hexadecimal digits",
    ),
    "a wrong signature": (BODY, {"Signature": "sha256=" + "0" * 64}, "doesn't match its body"),
    "a signature with another secret": (BODY, signed(BODY, "x" * 64), "doesn't match its body"),
    "a body that was changed": (BODY + b" ", signed(BODY), "doesn't match its body"),
    "a signed body that isn't JSON": (
        b"<html>",
        signed(b"<html>"),
        "body isn't an iTwin event",
    ),
    "a signed body that isn't an object": (b"[]", signed(b"[]"), "body isn't an iTwin event"),
    "a signed event without a type": (b"{}", signed(b"{}"), "body isn't an iTwin event"),
    "an empty signed body": (b"", signed(b""), "body isn't an iTwin event"),
    "signed JSON that is nested too deeply": (
        b"[" * 100_000,
        signed(b"[" * 100_000),
        "body isn't an iTwin event",
    ),
}
"""By what it is: the body, the headers, and words of the error."""
