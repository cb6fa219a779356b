"""Both signatures, compared with known results of the official clients (tests/vectors/, made-up
keys)."""

import base64
import gc
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from opwatch.auth import aksk, ctn1
from opwatch.net.message import Secret

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
ADDED = {"host", "x-sdk-date", "x-project-id", "x-security-token"}

Signer = Callable[..., dict[str, str]]


def load(name: str) -> list[dict[str, Any]]:
    vectors = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))["vectors"]
    return list(vectors)


CTN1 = load("ctn1")
AKSK = load("aksk")


def ctn1_arguments(vector: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": vector["method"],
        "target": vector["target"],
        "host": vector["host"],
        "body": base64.b64decode(vector["body_base64"]),
        "device_id": vector["device_id"],
        "secret": vector["api_access_secret"],
        "timestamp": datetime.fromisoformat(vector["now"]),
        "sign_date": datetime.fromisoformat(vector["sign_date"]).date(),
    }


def aksk_arguments(vector: dict[str, Any]) -> dict[str, Any]:
    sent = vector["headers_sent"]
    signed = vector["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    others = set(signed) - ADDED
    return {
        "method": vector["method"],
        "target": vector["request_uri"],
        "host": sent["Host"],
        "headers": {name: value for name, value in sent.items() if name.lower() in others},
        "body": base64.b64decode(vector["body_b64"] or ""),
        "access_key": vector["ak"],
        "secret_key": vector["sk"],
        "timestamp": datetime.fromisoformat(sent["X-Sdk-Date"]),
        "project_id": vector["project_id"],
        "security_token": vector["security_token"],
    }


@pytest.mark.parametrize("vector", CTN1, ids=[vector["id"] for vector in CTN1])
def test_ctn1_signs_as_the_official_client_does(vector: dict[str, Any]) -> None:
    """Each request of the official Catenis client gets the signature and timestamp it got there."""
    assert ctn1.sign(**ctn1_arguments(vector)) == {
        "X-BCoT-Timestamp": vector["timestamp"],
        "Authorization": vector["authorization"],
    }


@pytest.mark.parametrize("vector", AKSK, ids=[vector["name"] for vector in AKSK])
def test_aksk_signs_as_the_official_client_does(vector: dict[str, Any]) -> None:
    """Each request of the official Huawei Cloud client gets the headers it got there."""
    sent = vector["headers_sent"]
    given = {"X-Sdk-Date", "Authorization"}
    given |= {"X-Project-Id"} if vector["project_id"] else set()
    given |= {"X-Security-Token"} if vector["security_token"] else set()
    assert aksk.sign(**aksk_arguments(vector)) == {name: sent[name] for name in given}


def test_the_vectors_cover_what_can_be_signed() -> None:
    """No vector was lost: bodies, queries, ports, temporary keys and odd characters are there."""
    assert (len(CTN1), len(AKSK)) == (30, 21)
    assert {vector["group"] for vector in CTN1} == {
        *("host", "path-encoding", "body", "rotation", "version"),
        *("timestamp", "secret", "query", "websocket"),
    }
    assert any(vector["security_token"] for vector in AKSK)
    assert any(vector["body_b64"] for vector in AKSK)


def flipped(value: Any) -> Any:
    """The same kind of value, other in one place."""
    if isinstance(value, dict):
        return {name: flipped(text) for name, text in value.items()}
    if isinstance(value, bytes):
        return value[:-1] + b"!"
    if isinstance(value, str):
        return value[:-1] + "!"
    return value.replace(day=value.day + 1)


def signature(headers: dict[str, str]) -> str:
    return headers["Authorization"].rsplit("Signature=", 1)[1]


def base_of(vectors: list[dict[str, Any]], arguments: Callable[..., Any]) -> dict[str, Any]:
    """One vector's arguments, with a body and a query, so that there is something to change."""
    return arguments(vectors[0]) | {"body": b'{"a": 1}', "target": "/v1/things/x?limit=1"}


@pytest.mark.parametrize(
    "part", ["method", "target", "host", "body", "secret", "timestamp", "sign_date"]
)
def test_ctn1_signs_every_part(part: str) -> None:
    """A change of any signed part changes the signature."""
    base = base_of(CTN1, ctn1_arguments)
    assert signature(ctn1.sign(**base | {part: flipped(base[part])})) != signature(
        ctn1.sign(**base)
    )


@pytest.mark.parametrize(
    "part",
    [
        *("method", "target", "host", "headers", "body", "secret_key"),
        *("timestamp", "project_id", "security_token"),
    ],
)
def test_aksk_signs_every_part(part: str) -> None:
    """A change of any signed part changes the signature."""
    base = base_of(AKSK, aksk_arguments) | {"security_token": "a made-up token"}
    assert signature(aksk.sign(**base | {part: flipped(base[part])})) != signature(
        aksk.sign(**base)
    )


@pytest.mark.parametrize("byte", range(len("/v1/things/x?limit=1")))
@pytest.mark.parametrize(
    ("sign", "base"),
    [
        (ctn1.sign, base_of(CTN1, ctn1_arguments)),
        (aksk.sign, base_of(AKSK, aksk_arguments)),
    ],
    ids=["ctn1", "aksk"],
)
def test_each_byte_of_the_target_is_signed(sign: Signer, base: dict[str, Any], byte: int) -> None:
    """Whichever byte of the path or query changes, the signature does."""
    target = base["target"]
    other = target[:byte] + "z" + target[byte + 1 :]
    assert signature(sign(**base | {"target": other})) != signature(sign(**base))


def test_ctn1_names_the_device_and_the_day() -> None:
    """The device is named beside the signature, with the scope's day."""
    base = ctn1_arguments(CTN1[0])
    credential = ctn1.sign(**base | {"device_id": "d2"})["Authorization"].split(", ")[0]
    assert credential == "CTN1-HMAC-SHA256 Credential=d2/20190318/ctn1_request"


def test_no_module_keeps_a_secret_in_plain_text() -> None:
    """What is kept from one signature for the next holds neither key nor token."""
    secrets = "".join(["a-made-up", "-secret-key"]), "".join(["a-made-up", "-security-token"])
    base = base_of(AKSK, aksk_arguments)
    aksk.sign(**base | {"secret_key": secrets[0], "security_token": secrets[1]})
    ctn1.sign(**base_of(CTN1, ctn1_arguments) | {"secret": secrets[0]})
    seen: set[int] = set()
    to_see: list[Any] = [*vars(aksk).values(), *vars(ctn1).values()]
    while to_see:
        found = to_see.pop()
        if id(found) in seen or isinstance(found, (Secret, ModuleType, type, FunctionType)):
            continue
        seen.add(id(found))
        if isinstance(found, (str, bytes)):
            assert not any(secret in str(found) for secret in secrets)
        to_see += gc.get_referents(found)
    assert len(seen) > 100
