"""What `opwatch generate` writes: a client with the credentials of its spec, which shows none."""

import base64
from typing import Any

import pytest
from generating_tools import Change, Generate, operation, wait
from package_support import BEARER, OAUTH2, header, secured, sent_by

from opwatch import ClientCredentials, Fault
from opwatch.errors import ConfigurationError, OpwatchError
from opwatch.testing import Script, reply

KEY = secured({"type": "apiKey", "in": "header", "name": "X-Key"})
BASIC = secured({"type": "http", "scheme": "basic"})
CODE = {"authorizationUrl": "https://id.example/a", "tokenUrl": "https://id.example/t"}
SIGNED_IN = secured({"type": "oauth2", "flows": {"authorizationCode": CODE | {"scopes": {}}}})
OPEN_ID = secured({"type": "openIdConnect", "openIdConnectUrl": "https://id.example/c"})

BASIC_HEADER = f"Basic {base64.b64encode('a-user:a pass wörd'.encode()).decode()}"


@pytest.mark.parametrize(
    ("change", "auth", "variables", "name", "value"),
    [
        (BEARER, "a-token", {"TOKEN": "a-token"}, "Authorization", "Bearer a-token"),
        (BEARER, lambda: "a-token", {"TOKEN": "a-token"}, "Authorization", "Bearer a-token"),
        (SIGNED_IN, "a-token", {"TOKEN": "a-token"}, "Authorization", "Bearer a-token"),
        (OPEN_ID, "a-token", {"TOKEN": "a-token"}, "Authorization", "Bearer a-token"),
        (KEY, "a-key", {"API_KEY": "a-key"}, "X-Key", "a-key"),
        (
            BASIC,
            ("a-user", "a pass wörd"),
            {"USERNAME": "a-user", "PASSWORD": "a pass wörd"},
            "Authorization",
            BASIC_HEADER,
        ),
        (
            OAUTH2,
            ("an-id", "a-secret"),
            {"CLIENT_ID": "an-id", "CLIENT_SECRET": "a-secret"},
            "Authorization",
            "Bearer a-fresh-token",
        ),
        (
            OAUTH2,
            ClientCredentials("an-id", "a-secret", token_url="https://id.example/token"),
            {"ACCESS_TOKEN": "a-fresh-token"},
            "Authorization",
            "Bearer a-fresh-token",
        ),
        (None, None, {}, "Authorization", None),
    ],
)
def test_credentials(
    change: Change | None,
    auth: Any,
    variables: dict[str, str],
    name: str,
    value: str | None,
    generate: Generate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each kind of `securitySchemes` is an argument, or variables, and the header that it says."""
    made = generate(change)
    assert header(sent_by(lambda: made.Press(auth)), name) == value
    for variable, text in variables.items():
        monkeypatch.setenv(f"PRESS_{variable}", text)
    requests = sent_by(made.Press.from_env)
    assert header(requests, name) == value
    assert requests[-1].address.origin == "https://press.example"
    if len(requests) > 1:
        assert (requests[0].address.origin, requests[0].target) == ("https://id.example", "/token")
        assert b"scope=print" in requests[0].body


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (BEARER, "PRESS_TOKEN"),
        (KEY, "PRESS_API_KEY"),
        (BASIC, "PRESS_USERNAME, PRESS_PASSWORD"),
        (OAUTH2, "PRESS_CLIENT_ID, PRESS_CLIENT_SECRET (or set PRESS_ACCESS_TOKEN instead)"),
    ],
)
def test_missing_variables_are_named(change: Change, missing: str, generate: Generate) -> None:
    """All of them, at once."""
    with pytest.raises(ConfigurationError, match=r"^not set in the environment: ") as caught:
        generate(change).Press.from_env()
    assert str(caught.value).endswith(missing)


@pytest.mark.parametrize(
    ("change", "auth", "text"),
    [
        (None, "a-token", "`auth` must be left out: the service takes no credentials"),
        (BASIC, "a-user", "`auth` must be a tuple of username and password, not str"),
        (BASIC, ("a-user",), "`auth` must be a tuple of username and password"),
        (BASIC, ("a:user", "p"), "`username` must not contain a colon"),
        (BASIC, ("a-user", ""), "`password` must be a non-empty string"),
        (OAUTH2, ("an-id", ""), "`client_secret` must not be empty"),
        (BEARER, None, "`auth` must be credentials, a token (str), or a callable"),
    ],
)
def test_credentials_of_another_kind_are_refused(
    change: Change | None, auth: Any, text: str, generate: Generate
) -> None:
    """The error names the argument."""
    with pytest.raises(ConfigurationError) as caught:
        generate(change).Press(auth)
    assert str(caught.value).startswith(text)


def test_optional_credentials(generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them, nothing is sent; with them, they are."""
    made = generate(
        secured({"type": "http", "scheme": "bearer", "x-env": {"token": "INK"}}, optional=True)
    )
    assert header(sent_by(made.Press), "Authorization") is None
    assert header(sent_by(made.Press.from_env), "Authorization") is None
    monkeypatch.setenv("INK", "a-token")
    assert header(sent_by(made.Press.from_env), "Authorization") == "Bearer a-token"


def test_an_address_is_needed_if_the_spec_has_none(
    generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with a variable or a relative address can't be guessed."""
    made = generate(lambda spec: spec.update(servers=[{"url": "/api"}]))
    with pytest.raises(ConfigurationError, match="`base_url` must be passed: the spec has no"):
        made.Press()
    monkeypatch.setenv("PRESS_BASE_URL", "https://other.example/v2")
    [request] = sent_by(made.Press.from_env)
    assert (request.address.origin, request.target) == ("https://other.example", "/v2/prints/p1")


AUTHORIZATION = secured({"type": "apiKey", "in": "header", "name": "Authorization"})


@pytest.mark.parametrize("auth", ["Bearer a-key", lambda: "Bearer a-key"])
def test_a_key_is_sent_as_it_is(auth: Any, generate: Generate) -> None:
    """A key in `Authorization` may begin with a scheme, which is a part of it."""
    requests = sent_by(lambda: generate(AUTHORIZATION).Press(auth))
    assert header(requests, "Authorization") == "Bearer a-key"


@pytest.mark.parametrize(
    ("change", "text"),
    [(OAUTH2, "must have a `token_url`"), (BEARER, "must have a"), (KEY, "must be a key")],
)
def test_credentials_of_another_token_endpoint(
    change: Change, text: str, generate: Generate
) -> None:
    """Client credentials without a `token_url` are iTwin's, and are sent to nobody else's service:
    nor is another service's secret sent to iTwin."""
    with Script({}) as script, pytest.raises(ConfigurationError, match=text):
        generate(change).Press(ClientCredentials("an-id", "a-secret"))
    assert script.sent == []


@pytest.mark.parametrize("status", [200, 400, 418, 500])
def test_a_password_that_an_answer_quotes_is_erased(status: int, generate: Generate) -> None:
    """Not only in the form in which it was sent."""
    words = {"state": "jammed by hunter2-hunter2", "code": "no hunter2-hunter2"}
    with Script({"/p1": [reply(status, words)]}):
        try:
            said = repr(generate(BASIC).Press(("a-user", "hunter2-hunter2")).progress("p1"))
        except OpwatchError as error:
            said = f"{error!r} {error}"
    assert "hunter2-hunter2" not in said


TOKEN = "sk-AbCdEf0123456789xyzQWERTY"


@pytest.mark.parametrize("echo", [TOKEN.upper(), TOKEN[:20], f"bad token {TOKEN[:12].lower()}..."])
@pytest.mark.parametrize(
    "answer", [("state", 200), ("shop", 200), ("at", 200), ("code", 400), ("code", 500)]
)
def test_an_echo_in_another_case_or_cut_off_does_not_show(
    echo: str, answer: tuple[str, int], generate: Generate, caplog: pytest.LogCaptureFixture
) -> None:
    """Not as a state, a step, a reason or an error's code; the model alone has it as it came."""

    def change(spec: dict[str, Any]) -> None:
        BEARER(spec)
        wait(spec)["fault"] = {"code": "/shop", "message": "/shop"}
        wait(spec)["step"] = "/at"
        wait(spec)["errors"]["message"] = "/code"

    name, status = answer
    caplog.set_level("DEBUG", "opwatch")
    with Script({"/p1": [reply(status, {"state": "jammed", name: echo})]}):
        try:
            found = generate(change).Press(TOKEN).progress("p1")
        except OpwatchError as error:
            said = f"{error!r} {error}"
        else:
            said = f"{found!r} {found.fault}"
            assert found.wire.to_dict()[name] == echo
    said += "".join(record.getMessage() for record in caplog.records)
    assert TOKEN[:8].lower() not in said.lower()
    assert "***" in said


def test_a_word_that_begins_like_a_secret_shows(generate: Generate) -> None:
    """A service has words of its own: up to 11 characters of a secret may be one."""

    def change(spec: dict[str, Any]) -> None:
        BEARER(spec)
        wait(spec)["fault"] = {"code": "/shop"}

    with Script({"/p1": [reply(200, {"state": "jammed", "shop": "Simulated"})]}):
        found = generate(change).Press("simulated-token-of-a-press").progress("p1")
    assert found.fault == Fault("Simulated")


def test_the_scopes_that_the_operation_names(generate: Generate) -> None:
    """Not all that its flow has, and each as it is written."""
    flow = {"tokenUrl": "https://id.example/token", "scopes": {"read": "", "a=true": "", "b": ""}}

    def change(spec: dict[str, Any]) -> None:
        secured({"type": "oauth2", "flows": {"clientCredentials": flow}})(spec)
        operation(spec)["security"] = [{"one": ["a=true", "b"]}]

    first = sent_by(lambda: generate(change).Press(("an-id", "a-secret")))[0]
    assert b"scope=a%3Dtrue+b" in first.body
    assert b"read" not in first.body


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (BEARER, "PRESS_TOKEN, PRESS_BASE_URL"),
        (KEY, "PRESS_API_KEY, PRESS_BASE_URL"),
        (BASIC, "PRESS_USERNAME, PRESS_PASSWORD, PRESS_BASE_URL"),
        (lambda spec: None, "PRESS_BASE_URL"),
    ],
)
def test_a_missing_address_is_named_with_the_rest(
    change: Change, missing: str, generate: Generate
) -> None:
    """Not only when all else is set."""

    def without_server(spec: dict[str, Any]) -> None:
        change(spec)
        del spec["servers"]

    with pytest.raises(ConfigurationError) as caught:
        generate(without_server).Press.from_env()
    assert str(caught.value) == f"not set in the environment: {missing}"
