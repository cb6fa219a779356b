"""What an error quotes of a response: documented fields, but never a secret that the server echoes.

Of a refusal (401, 403), and of any response of a token endpoint, only documented codes and known
texts are quoted; `tests/faults` has more about these. Elsewhere documented fields are quoted, and
each secret of 8 or more characters is replaced, as it is and percent-encoded. An excerpt of another
body isn't shown at all if it holds the beginning of a secret.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from auth_support import DEVICE
from hypothesis import assume, given
from hypothesis import strategies as st
from opwatch_waits import apig, catenis, itwin

from opwatch import AkSk, Apig, Catenis, ClientCredentials, IamPassword, ITwin
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    JobFailed,
    OpwatchError,
    PermissionDenied,
    ServiceError,
)
from opwatch.net.message import Answer, Request, Secret
from opwatch.reading import any_json
from opwatch.testing import FakeClock, Script, reply

SECRET = "MIIFabcd/efgh+ijkl~%41&<mn>op=="
UUID = "c0ffee00-1234-4abc-8def-0123456789ab"
APIG = "https://apig.example.com"

CLIENTS: dict[str, Callable[[str], Any]] = {
    "token": ITwin,
    "callable": lambda secret: ITwin(lambda: secret),
    "APIG token": lambda secret: Apig(APIG, secret, project_id="p"),
    "secret key": lambda secret: Apig(APIG, AkSk("AK", secret), project_id="p"),
    "security token": lambda secret: Apig(
        APIG, AkSk("AK", "made up key", security_token=secret), project_id="p"
    ),
    "API access secret": lambda secret: Catenis(DEVICE, secret),
}


def said(message: str, code: str = "SomeCode") -> dict[str, Any]:
    """Return an error as all three services document theirs."""
    return {
        "message": message,
        "error": {"code": code, "title": code, "message": message},
        "error_code": code,
        "error_msg": message,
    }


def error_of(build: Callable[[], Any], answer: Any) -> Any:
    """Return the error that a response to a client becomes."""
    with Script(lambda request: answer), pytest.raises(OpwatchError) as caught:
        build().progress("j")
    return caught.value


def client(way: str) -> Callable[[], Any]:
    return partial(CLIENTS[way], SECRET)


# --- documented fields ----------------------------------------------------------------------------

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded but for slashes": quote,
    "percent-encoded in lower case": lambda text: re.sub(
        "%..", lambda found: found[0].lower(), quote(text, safe="")
    ),
}
WAYS_TO_WRITE_JSON: dict[str, Callable[[str], str]] = {
    "plainly": str,
    "with escaped slashes": lambda text: text.replace("/", "\\/"),
    "with escaped characters": lambda text: re.sub(
        "[+<>&=/]", lambda found: f"\\u{ord(found[0]):04x}", text
    ),
}


def written(fields: Any, how: str) -> bytes:
    return WAYS_TO_WRITE_JSON[how](json.dumps(fields)).encode()


@pytest.mark.parametrize("how", WAYS_TO_WRITE_JSON)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", CLIENTS)
def test_a_secret_in_an_error_message_is_replaced(way, form, how):
    """A documented message is quoted without the secret, however JSON writes it."""
    body = written(said(f"before <{FORMS[form](SECRET)}> after"), how)
    error = error_of(client(way), reply(400, body))
    assert error.message == "before <***> after"


@pytest.mark.parametrize("way", CLIENTS)
def test_a_secret_in_a_code_or_request_id_is_replaced(way):
    """The service's code and request ID are reported without the secret."""
    fields = said("no", code=f"<{SECRET}>") | {"request_id": f"<{SECRET}>"}
    error = error_of(client(way), reply(409, fields, {"X-Correlation-Id": f"<{SECRET}>"}))
    assert error.code in ("<***>", None)
    assert error.request_id in ("<***>", None)
    assert (error.code, error.request_id) != (None, None) or way == "API access secret"


@pytest.mark.parametrize("name", ["secret key", "API access secret"])
def test_a_signature_in_an_error_message_is_replaced(name):
    """The signature of a request is a secret too."""

    def echo(request: Request):
        signature = dict(request.headers)["Authorization"].rpartition("Signature=")[2]
        assert len(signature) == 64
        return reply(500, said(f"before {signature} after"))

    with Script(echo), pytest.raises(ServiceError) as caught:
        CLIENTS[name](SECRET).progress("j")
    assert caught.value.message == "before *** after"


@pytest.mark.parametrize("how", WAYS_TO_WRITE_JSON)
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_in_a_good_answer_is_replaced(form, how):
    """A step, and the reason of a failure, are reported without the secret."""
    echo = f"before <{FORMS[form](SECRET)}> after"
    active = {"jobProgress": {"percentage": 7, "state": "Active", "step": echo}}
    with Script(lambda request: reply(200, written(active, how))):
        progress = ITwin(SECRET).progress("j")
    assert (progress.step, progress.percent) == ("before <***> after", 7)
    failed = {"status": "failed", "error_code": "APIG.1", "error_msg": echo}
    with (
        Script(lambda request: reply(200, written(failed, how))),
        pytest.raises(JobFailed) as caught,
    ):
        Apig(APIG, SECRET, project_id="p").wait("g", timeout=60)
    assert str(caught.value) == "apig g: failed: APIG.1: before <***> after"


def test_a_secret_that_begins_with_another_is_replaced_first():
    """If one secret begins with another, no end of the longer one is left."""
    auth = AkSk("AK", "made-up-key", security_token="made-up-key-and-a-session")
    text = "made-up-key-and-a-session made-up-key"
    error = error_of(lambda: Apig(APIG, auth, project_id="p"), reply(400, said(text)))
    assert error.message == "*** ***"


@given(st.text("abc123", min_size=8), st.text(), st.text())
def test_only_the_secret_is_replaced(secret, before, after):
    """Whatever is around a secret stays as it is."""
    assume(secret not in before + after)
    answer = Answer(400, secrets=(Secret(secret),))
    assert answer.erased(f"{before}\0{secret}\0{after}") == f"{before}\0***\0{after}"


def test_a_letter_that_is_written_by_its_place_hides_no_secret():
    """A sigma in lower case depends on what follows it."""
    secret = "PASSWORΣX-and-more"
    body = json.dumps({"step": f"<{secret}>"}, ensure_ascii=False).encode()
    assert any_json(body, Answer(200, secrets=(Secret(secret),))) == {"step": "<***>"}


# --- excerpts -------------------------------------------------------------------------------------


def excerpt_of(body: bytes, way: str = "token") -> str:
    error = error_of(client(way), reply(200, body))
    assert type(error) is BadResponse
    return error.excerpt


def test_the_beginning_of_a_body_that_is_no_answer_is_shown():
    """An excerpt shows 200 characters on one line, with the secret replaced."""
    page = f"<html>\n  <p>Sign in {SECRET}</p>" + "x" * 500
    found = excerpt_of(page.encode())
    assert found.startswith("<html> <p>Sign in ***</p>xxx")
    assert len(found) == 200


@pytest.mark.parametrize(
    "echo",
    [
        SECRET[:8],
        SECRET[:12],
        SECRET.upper(),
        SECRET.lower(),
        SECRET.replace("/", "\\/"),
        SECRET.replace("&", "&amp;"),
        f"{SECRET[:10]}\n{SECRET[10:]}",
    ],
)
@pytest.mark.parametrize("way", CLIENTS)
def test_an_excerpt_that_holds_the_beginning_of_a_secret_is_not_shown(way, echo):
    """A secret that was cut off or written in another way hides the excerpt."""
    body = f"<html>you sent {echo} and more".encode()
    assert excerpt_of(body, way) == ""


def test_an_excerpt_with_the_beginning_of_a_secret_further_on_is_not_shown():
    """The excerpt is hidden even if the echo comes after what would be shown."""
    assert excerpt_of(b"x" * 4000 + SECRET[:9].encode()) == ""


@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_error_without_a_documented_field_is_shown_by_its_excerpt(status):
    """The excerpt of an error follows the same rules."""
    error = error_of(client("token"), reply(status, f"<p>{SECRET}</p>".encode()))
    assert error.message == 'the response was "<p>***</p>"'
    error = error_of(client("token"), reply(status, f"<p>{SECRET[:9]}</p>".encode()))
    assert error.message == "the response was empty"


@pytest.mark.parametrize("text", ["\\" * 1_000_000, "%25" * 300_000, SECRET * 30_000, '"' * 10**6])
@pytest.mark.parametrize("status", [200, 400])
def test_no_answer_takes_long_to_quote(status, text):
    """A hostile response of 1 MiB takes less than a second of CPU time."""
    began = time.process_time()
    error_of(client("token"), reply(status, said(text)))
    error_of(client("token"), reply(status, text.encode()))
    assert time.process_time() - began < 1


# --- refusals -------------------------------------------------------------------------------------

ANY_TEXT = st.text(min_size=1).filter(str.strip)
KNOWN = apig.SERVICE.known | catenis.SERVICE.known | itwin.SERVICE.known
"""The texts and codes that the specs quote."""
OWN_WORDS = {
    401: (AuthenticationError, "the credentials were refused"),
    403: (PermissionDenied, "the credentials don't permit this"),
    407: (ServiceError, "a proxy requires credentials"),
}


@given(st.sampled_from([*OWN_WORDS]), st.sampled_from([*CLIENTS]), ANY_TEXT)
def test_an_unknown_text_of_a_refusal_is_not_quoted(status, way, text):
    """A refusal is in our own words, whatever the response says."""
    assume(text not in KNOWN)
    fields = said(text, code=text) | {"request_id": text}
    error = error_of(client(way), reply(status, fields))
    assert (type(error), error.message) == OWN_WORDS[status]
    assert (error.code, error.request_id) == (None, None)
    error = error_of(client(way), reply(status, text.encode("utf-8", "replace")))
    assert (type(error), error.message) == OWN_WORDS[status]


@pytest.mark.parametrize(
    ("way", "status", "message"),
    [
        ("API access secret", 401, "Authorization failed; invalid device or signature"),
        ("APIG token", 401, "Incorrect token or token resolution failed"),
        ("secret key", 403, "No permissions to access the instance"),
    ],
)
def test_a_known_text_of_a_refusal_is_quoted(way, status, message):
    """Texts that are known to contain nothing of the request are quoted."""
    fields = said(message)
    del fields["error"]  # the identity service's form
    assert error_of(client(way), reply(status, fields)).message == message


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("way", ["token", "APIG token", "secret key"])
def test_a_request_id_of_a_refusal_must_be_a_uuid(way, status):
    """The service's support can find a refusal if its request ID is a UUID."""
    for given_id, expected in ((UUID, UUID), (UUID.replace("-", ""), UUID.replace("-", ""))):
        headers = {"X-Request-Id": given_id, "X-Correlation-Id": given_id}
        assert error_of(client(way), reply(status, b"", headers)).request_id == expected
    for other in (f"{UUID}0", UUID[:-1], "request-1", SECRET):
        headers = {"X-Request-Id": other, "X-Correlation-Id": other}
        assert error_of(client(way), reply(status, b"", headers)).request_id is None


ENDPOINTS: dict[str, Callable[[], Any]] = {
    "OAuth": lambda: ITwin(ClientCredentials("a-client", SECRET)),
    "IAM": lambda: Apig(
        APIG, IamPassword("https://iam", "u", SECRET, domain_name="d", project_id="p")
    ),
}


@given(
    st.sampled_from([*ENDPOINTS]),
    st.sampled_from([200, 201, 302, 400, 401, 403, 404, 409, 429, 500, 503]),
    ANY_TEXT,
)
def test_no_text_of_a_token_endpoint_is_quoted(which, status, text):
    """An error of a token endpoint is the same whatever text is in the response."""

    def shown(word: str) -> tuple[Any, ...]:
        fields = said(word) | {"error_description": word, "request_id": word, "detail": [word]}
        with FakeClock():
            error = error_of(ENDPOINTS[which], reply(status, fields))
        return type(error), str(error), error.args, getattr(error, "excerpt", "")

    assert shown(text) == shown("another text")
