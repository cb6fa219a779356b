"""What `opwatch generate` writes: a client that waits as its spec says, with its credentials."""

import base64
import copy
import importlib
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
import yaml
from generating_tools import Change, Generate, changed, operation, wait

from opwatch import ClientCredentials, Fault, Phase
from opwatch.cli.generating import package
from opwatch.errors import (
    BadResponse,
    ConfigurationError,
    JobFailed,
    OpwatchError,
    RateLimited,
    WaitTimeout,
)
from opwatch.net.message import Request
from opwatch.testing import FakeClock, Reply, Script, conformance, reply

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
RUNNING, DONE = reply(200, {"state": "printing"}), reply(200, {"state": "done"})


def secured(scheme: dict[str, Any], *, optional: bool = False) -> Change:
    def change(spec: dict[str, Any]) -> None:
        spec["components"]["securitySchemes"] = {"one": scheme}
        spec["security"] = [{"one": []}, {}] if optional else [{"one": []}]

    return change


BEARER = secured({"type": "http", "scheme": "bearer"})
KEY = secured({"type": "apiKey", "in": "header", "name": "X-Key"})
BASIC = secured({"type": "http", "scheme": "basic"})
OAUTH2 = secured(
    {
        "type": "oauth2",
        "flows": {
            "clientCredentials": {"tokenUrl": "https://id.example/token", "scopes": {"print": "p"}}
        },
    }
)


def sent_by(client: Any) -> list[Request]:
    """The requests of one poll."""
    requests = []

    def answer(request: Request) -> Reply:
        requests.append(request)
        if request.method == "POST":
            return reply(200, {"access_token": "a-fresh-token", "expires_in": 60})
        return RUNNING

    with FakeClock(), Script(answer):
        assert client().progress("p1").phase == "running"
    return requests


def header(requests: list[Request], name: str) -> str | None:
    found = [value for key, value in requests[-1].headers if key.lower() == name.lower()]
    return str(found[0]) if found else None


BASIC_HEADER = f"Basic {base64.b64encode('a-user:a pass wörd'.encode()).decode()}"


@pytest.mark.parametrize(
    ("change", "auth", "variables", "name", "value"),
    [
        (BEARER, "a-token", {"TOKEN": "a-token"}, "Authorization", "Bearer a-token"),
        (BEARER, lambda: "a-token", {"TOKEN": "a-token"}, "Authorization", "Bearer a-token"),
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
    with pytest.raises(ConfigurationError, match="`base_url` must be passed: the spec names no"):
        made.Press()
    monkeypatch.setenv("PRESS_BASE_URL", "https://other.example/v2")
    [request] = sent_by(made.Press.from_env)
    assert (request.address.origin, request.target) == ("https://other.example", "/v2/prints/p1")


def several_parts(spec: dict[str, Any]) -> None:
    spec["paths"] = {"/shops/{shop}/prints/{id}": spec["paths"]["/prints/{id}"]}
    operation(spec)["parameters"].append(
        {"name": "shop", "in": "path", "required": True, "schema": {"type": "string"}}
    )
    wait(spec)["id"] = {"parameter": ["shop", "id"], "called": "print"}
    wait(spec)["same"] = {"/shop": "shop"}


def test_an_id_of_several_parts(generate: Generate) -> None:
    """Each part is a path parameter, quoted by itself; a wait is resumed by the complete ID."""
    made = generate(several_parts)
    with FakeClock(), Script({"/shops/a%20b/prints/p1": [RUNNING, DONE]}):
        step = made.Press().start("a b/p1", timeout=None)
        assert made.Press().resume(step.token).phase == "succeeded"
    for bad in ("p1", "a/b/c", "a/", "/b", "a/..", "a%2Fb/c"):
        with Script({}) as script, pytest.raises(ConfigurationError):
            made.Press().progress(bad)
        assert not script.sent
    other = Script({"/p1": [reply(200, {"state": "done", "shop": "another"})]})
    with other, pytest.raises(BadResponse, match="another job"):
        made.Press().progress("shop/p1")


def test_another_status_and_headers(generate: Generate) -> None:
    """A 202 is a response if the spec says so, and the headers are sent with each request."""

    def change(spec: dict[str, Any]) -> None:
        wait(spec)["statuses"] = [200, 202]
        wait(spec)["headers"] = {"X-Version": 7}

    made = generate(change)
    with FakeClock(), Script({"/p1": [reply(202, {"state": "printing"}), DONE]}) as script:
        assert made.Press().wait("p1", timeout=None).phase == "succeeded"
        assert [sent.time for sent in script.sent] == [0, 5]
    assert header(sent_by(made.Press), "X-Version") == "7"
    plain = generate()
    with Script({"/p1": [reply(202, {"state": "printing"})]}), pytest.raises(BadResponse):
        plain.Press().progress("p1")


LIMIT = {"x-left": "0", "x-reset": "1800001000"}


def pausing(spec: dict[str, Any]) -> None:
    wait(spec)["again"] = [
        {"header": "wait-ms", "as": "milliseconds"},
        {"header": "pause"},
        {"header": "x-reset", "as": "epoch", "when": {"x-left": 0}},
        {"at": "/next"},
        {"at": "/next_ms", "as": "milliseconds"},
    ]
    case = {"is": "rate limited", "status": 403, "header": {"x-left": 0}}
    wait(spec)["errors"]["cases"] = [case]


def running(**fields: Any) -> Reply:
    """A response; its `headers`, and its fields."""
    headers = fields.pop("headers", None)
    return reply(200, {"state": "printing", **fields}, headers)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (running(headers={"wait-ms": "45000"}), 45),
        (reply(503, {}, {"wait-ms": "45000"}), 45),
        (Reply(200, b'{"state": "printing"}', (("pause", "1"), ("pause", "45"))), 45),
        (running(headers={"pause": "45"}), 45),
        (running(headers={"pause": "-45"}), 5),
        (running(headers={"pause": "45", "Retry-After": "60"}), 60),
        (reply(403, {}, LIMIT), 1000),
        (running(headers=LIMIT), 1000),
        (running(headers=LIMIT | {"x-left": "1"}), 5),
        (running(next=45), 45),
        (running(next_ms=45_000), 45),
        (running(next="soon"), 5),
        (running(next="\u00b2"), 5),
        (running(next="4_5"), 5),
        (running(headers={"Retry-After": "4_5"}), 5),
        (Reply(200, b'{"state": "printing"}', (("pause", "\u00b2"),)), 5),
        (running(next=45, headers={"pause": "50"}), 50),
    ],
)
def test_pauses_are_never_undercut(first: Reply, second: float, generate: Generate) -> None:
    """The next poll is sent when the response said, and not before the schedule."""
    made = generate(pausing)
    with FakeClock(epoch=1_800_000_000), Script({"/p1": [first, DONE]}) as script:
        made.Press().wait("p1", timeout=None)
        assert [sent.time for sent in script.sent] == [0, second]


def test_a_pause_of_one_job_holds_no_other(generate: Generate) -> None:
    """A field is about its job; a header is about the service."""
    made = generate(pausing)
    slow = reply(200, {"state": "printing", "next": 100})
    with FakeClock(), Script({"/slow": [slow, DONE], "/quick": [RUNNING, DONE]}) as script:
        assert len([*made.Press().watch_many(["slow", "quick"], timeout=None)]) == 4
        times = {(sent.target.rpartition("/")[2], sent.time) for sent in script.sent}
    assert times == {("slow", 0), ("quick", 0), ("quick", 5), ("slow", 100)}


def test_a_pause_beyond_the_deadline_ends_the_wait(generate: Generate) -> None:
    """As `Retry-After` does."""
    made = generate(pausing)
    held = reply(200, {"state": "printing"}, {"pause": "3600"})
    with FakeClock() as clock, Script({"/p1": [held]}):
        with pytest.raises((RateLimited, WaitTimeout)):
            made.Press().wait("p1", timeout=60)
        assert clock.now() <= 60


def test_conditions_with_lists_and_null(generate: Generate) -> None:
    """A list means any of its values, and null what is null or absent."""

    def change(spec: dict[str, Any]) -> None:
        wait(spec)["state"] = [
            {"is": "pending", "when": {"/state": None}},
            {"is": "running", "when": {"/state": ["Printing", "binding"]}},
            {"is": "failed", "when": {"/state": ["jammed", "torn"], "/shop": ["a", None]}},
            {"is": "succeeded", "when": {"/state": "done"}},
            {"is": "ended", "when": {"/state": "jammed"}},
        ]

    made = generate(change)
    expected = {
        None: "pending",
        "printing": "running",
        "BINDING": "running",
        "torn": "failed",
        "done": "succeeded",
        "folded": "unknown",
    }
    for state, phase in expected.items():
        with Script({"/p1": [reply(200, {"state": state})]}):
            assert made.Press().progress("p1").phase == phase
    with Script({"/p1": [reply(200, {"state": "jammed", "shop": "b"})]}):
        assert made.Press().progress("p1").phase == "ended"


def test_what_the_spec_does_not_list(generate: Generate) -> None:
    """A state that is newer than the spec keeps the wait going, and an odd date is only text."""
    made = generate()
    answers = [
        reply(200, {"state": "folding", "at": "yesterday"}),
        reply(200, {"state": "jammed", "at": "2026-01-01T00:00:00Z"}),
    ]
    with FakeClock(), Script({"/p1": answers}) as script:
        seen = [*made.Press().watch("p1", timeout=None)]
    assert [(one.phase.value, str(one.wire.at)) for one in seen] == [
        ("unknown", "yesterday"),
        ("failed", "2026-01-01 00:00:00+00:00"),
    ]
    assert [sent.time for sent in script.sent] == [0, 5]
    with FakeClock(), Script({"/p1": answers[1:]}), pytest.raises(JobFailed):
        made.Press().wait("p1", timeout=None)


def test_required_fields_that_the_wait_does_not_read(generate: Generate) -> None:
    """A response without them, or with something else, is one; without its state, it isn't."""

    def change(spec: dict[str, Any]) -> None:
        schemas = spec["components"]["schemas"]
        schemas["Print"]["required"] = [*schemas["Print"]["properties"], "shelf"]
        shelf = {"type": "object", "properties": {"row": {"type": "string"}}, "required": ["row"]}
        books = {"type": "array", "items": shelf}
        schemas["Print"]["properties"] |= {"shelf": shelf, "books": books}

    made = generate(change)
    for more in (
        {},
        {"shelf": {}},
        {"shelf": None},
        {"shelf": []},
        {"shelf": "a"},
        {"books": None},
    ):
        with FakeClock(), Script({"/p1": [reply(200, {"state": "done"} | more)]}):
            assert made.Press().progress("p1").phase is Phase.SUCCEEDED
    told = {"state": "done", "shelf": {"row": "a"}, "books": [{"row": "b"}]}
    with FakeClock(), Script({"/p1": [reply(200, told)]}):
        wire = made.Press().progress("p1").wire
    assert (wire.shelf.row, wire.books[0].row) == ("a", "b")
    with FakeClock(), Script({"/p1": [reply(200, {"shop": "a"})]}), pytest.raises(BadResponse):
        made.Press().progress("p1")


def test_a_required_object_around_what_the_wait_reads(generate: Generate) -> None:
    """A response without it isn't one, whatever else it lacks."""

    def change(spec: dict[str, Any]) -> None:
        schemas = spec["components"]["schemas"]
        properties = {"print": {"$ref": "#/components/schemas/Print"}, "shop": {"type": "string"}}
        schemas["Answer"] = {"type": "object", "properties": properties}
        schemas["Answer"]["required"] = ["print", "shop"]
        body = operation(spec)["responses"]["200"]["content"]["application/json"]
        del body["examples"]
        body["schema"] = {"$ref": "#/components/schemas/Answer"}
        wait(spec)["state"]["at"] = "/print/state"

    made = generate(change)
    with FakeClock(), Script({"/p1": [reply(200, {"print": {"state": "done"}})]}):
        assert made.Press().progress("p1").phase is Phase.SUCCEEDED
    with (
        FakeClock(),
        Script({"/p1": [reply(200, {"shop": "a"})]}),
        pytest.raises(BadResponse, match="contains no object print"),
    ):
        made.Press().progress("p1")


def test_states_that_are_numbers(generate: Generate) -> None:
    """A block names them as text; one that isn't listed keeps the wait going."""

    def change(spec: dict[str, Any]) -> None:
        properties = spec["components"]["schemas"]["Print"]["properties"]
        properties["state"] = {"type": "integer", "enum": [0, 1]}
        wait(spec)["state"]["is"] = {"0": "running", "1": "succeeded"}
        del operation(spec)["responses"]["200"]["content"]["application/json"]["examples"]

    made = generate(change)
    with FakeClock(), Script({"/p1": [reply(200, {"state": n}) for n in (0, 7, 1)]}):
        seen = [*made.Press().watch("p1", timeout=None)]
    assert [one.phase.value for one in seen] == ["running", "unknown", "succeeded"]


@pytest.mark.parametrize("change", [None, several_parts], ids=["one part", "two parts"])
def test_the_contract(change: Change | None, generate: Generate) -> None:
    """A generated service keeps what opwatch promises of every service."""
    made = generate(change)
    job_id = "p1" if change is None else "shop/p1"
    samples = [("running", {"state": "printing"}), ("succeeded", {"state": "done"})]
    conformance(made.PLUGIN, lambda client: client(), job_id=job_id, samples=samples)


def test_the_async_client(generate: Generate) -> None:
    """It is the same class with `await`."""
    made = generate(BEARER)

    async def main() -> str:
        async with made.AsyncPress("a-token") as client:
            return str((await client.wait("p1", timeout=None)).phase)

    with FakeClock(), Script({"/p1": [RUNNING, DONE]}):
        assert anyio.run(main) == "succeeded"


def test_the_package_is_the_same_each_time(generate: Generate, tmp_path: Path) -> None:
    """Another generation, in a process of its own, gives the same bytes."""
    made = folder(generate(several_parts))
    package.write(made.parent / "press.json", tmp_path)

    def content(folder: Path) -> dict[Path, bytes]:
        files = [path for path in folder.rglob("*") if path.suffix != ".pyc" and path.is_file()]
        return {path.relative_to(folder): path.read_bytes() for path in files}

    assert content(tmp_path) == content(made)
    package.write(made.parent / "press.json", tmp_path)
    assert content(tmp_path) == content(made)


@pytest.mark.typing
def test_the_package_is_typed(generate: Generate, tmp_path: Path) -> None:
    """mypy --strict finds nothing to say."""
    out = folder(generate(several_parts))
    mypy = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    written = [str(out / "opwatch_press" / name) for name in ("__init__.py", "wait.py")]
    assert said([*mypy, "--cache-dir", str(tmp_path / "mypy"), *written], out)[0] == 0


def test_the_packages_own_test_passes(generate: Generate) -> None:
    """What was generated is tested by what was generated."""
    out = folder(generate(OAUTH2))
    code, text = said([*PYTEST, "tests"], out)
    assert (code, "1 passed" in text) == (0, True), text


def folder(made: ModuleType) -> Path:
    return Path(str(made.__file__)).parents[1]


def said(command: list[str], folder: Path) -> tuple[int, str]:
    """The exit code of a command run in the package's folder, and what it printed."""
    env = {**os.environ, "PYTHONPATH": "."}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_yaml_is_read_as_openapi_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A status and a date need no quotes, and `on` and `off` are no booleans."""
    spec = changed(lambda spec: None)
    responses = operation(spec)["responses"]
    body = responses["200"]["content"]["application/json"]
    body["examples"]["printing"]["value"] = {"state": "off", "at": date(2026, 1, 1)}
    operation(spec)["responses"] = {int(status): said for status, said in responses.items()}
    spec["components"]["schemas"]["Print"]["properties"]["state"]["enum"] = ["on", "off"]
    wait(spec)["state"]["is"] = {"on": "succeeded", "off": "running"}
    wait(spec)["headers"] = {"X-Version": date(2022, 11, 28)}
    text = yaml.safe_dump(spec).replace("'on'", "on").replace("'off'", "off")
    assert {"200:", "off:", "at:", "2022-11-28"} <= set(text.split())
    (tmp_path / "inks.yaml").write_text(text, encoding="utf-8")
    package.write(tmp_path / "inks.yaml", tmp_path / "out")
    code, output = said([*PYTEST, "tests"], tmp_path / "out")
    assert (code, "1 passed" in output) == (0, True), output
    monkeypatch.syspath_prepend(str(tmp_path / "out"))
    inks = importlib.import_module("opwatch_inks")
    with FakeClock(), Script({"/p1": [reply(200, {"state": "on"})]}):
        assert inks.Inks().wait("p1", timeout=None).phase == "succeeded"


def referred(spec: dict[str, Any]) -> None:
    answer = operation(spec)["responses"]["200"]
    spec["components"]["responses"] = {"Where": answer}
    operation(spec)["responses"]["200"] = {"$ref": "#/components/responses/Where"}


def renamed(name: str) -> Change:
    def change(spec: dict[str, Any]) -> None:
        schemas = spec["components"]["schemas"]
        schemas[name] = {**schemas.pop("Print"), "title": "where the print stands"}
        body = operation(spec)["responses"]["200"]["content"]["application/json"]
        body["schema"] = {"$ref": f"#/components/schemas/{name}"}

    return change


def parameter_with_default(spec: dict[str, Any]) -> None:
    for place in ("query", "header"):
        schema = {"type": "string", "default": "7"}
        parameter = {"name": "version", "in": place, "required": True, "schema": schema}
        operation(spec)["parameters"].append(parameter)


@pytest.mark.parametrize(
    "change",
    [referred, renamed("print-status"), renamed("Press"), renamed("print"), parameter_with_default],
    ids=["200 by $ref", "a name with a hyphen", "the client's name", "Python's", "a parameter"],
)
def test_what_published_specs_do(change: Change, generate: Generate) -> None:
    """Their answers are references, and their components aren't named as classes are."""
    made = generate(change)
    samples = [("running", {"state": "printing"}), ("succeeded", {"state": "done"})]
    conformance(made.PLUGIN, lambda client: client(), job_id="p1", samples=samples)
    expected = "?version=7" if change is parameter_with_default else ""
    assert sent_by(made.Press)[-1].target == f"/api/prints/p1{expected}"


OURS = ["turn", "operation", "session", "closer", "fields", "self", "in"]


@pytest.mark.parametrize("names", [*([name] for name in OURS), ["job_id", *OURS]], ids="-".join)
def test_a_parameter_of_any_name(names: list[str], generate: Generate) -> None:
    """It can't be mixed up with what the generated code calls its own."""

    def change(spec: dict[str, Any]) -> None:
        spec["paths"] = {f"/{{{'}/{'.join(names)}}}": spec["paths"]["/prints/{id}"]}
        text = {"type": "string"}
        operation(spec)["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": text} for name in names
        ]
        properties = spec["components"]["schemas"]["Print"]["properties"]
        properties |= {f"its {name}": text for name in names}
        wait(spec)["id"] = {"parameter": names, "called": "print"}
        wait(spec)["same"] = {f"/its {name}": name for name in names}

    made = generate(change)
    job_id = "/".join(map(str, range(len(names))))
    fields = {f"its {name}": str(n) for n, name in enumerate(names)}
    with Script({f"/{job_id}": [reply(200, {"state": "done", **fields})]}):
        assert made.Press().progress(job_id).phase == "succeeded"
    for name in names:
        other = reply(200, {"state": "done", **fields, f"its {name}": "another"})
        with Script({f"/{job_id}": [other]}), pytest.raises(BadResponse, match="another job"):
            made.Press().progress(job_id)


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


@pytest.mark.parametrize("after", ["ended", "succeeded"])
def test_a_pause_that_a_job_which_is_over_asks_for(after: str, generate: Generate) -> None:
    """The request for how it ended waits, too, and is sent once the pause is over."""
    made = generate(with_outcome if after == "ended" else with_result)
    over = reply(200, {"state": "done", "next": 60})
    there = reply(200, {"state": "done", "shop": "p1"})
    with FakeClock(), Script({"/prints/p1": [over], "/results/p1": [there]}) as script:
        found = made.Press().wait("p1", timeout=None)
        assert [(sent.target[:12], sent.time) for sent in script.sent] == [
            ("/api/prints/", 0),
            ("/api/results", 60),
        ]
    assert found.phase == "succeeded"


def test_a_result_that_is_not_there_yet(generate: Generate) -> None:
    """After a success, the result alone is polled until it is there."""
    made = generate(with_result)
    coming, there = (reply(200, {"state": word, "shop": "P1"}) for word in ("printing", "done"))
    answers = {"/prints/p1": [DONE], "/results/p1": [coming, reply(503, {}), there]}
    with FakeClock(), Script(answers) as script:
        seen = list(made.Press().watch("p1", timeout=None))
    assert [one.phase for one in seen] == [Phase.RUNNING, Phase.SUCCEEDED]
    assert seen[-1].details.state == "done"
    assert [sent.target.rpartition("/")[0] for sent in script.sent] == [
        *("/api/prints", "/api/results", "/api/results", "/api/results")
    ]


@pytest.mark.parametrize("shop", ["p2", None, 7])
def test_the_result_of_another_job_is_none(generate: Generate, shop: Any) -> None:
    """Nor is one that doesn't say whose it is."""
    answers = {
        "/prints/p1": [DONE],
        "/results/p1": [reply(200, {"state": "done", "shop": shop})],
    }
    with FakeClock(), Script(answers), pytest.raises(BadResponse, match="isn't about this print"):
        generate(with_result).Press(max_failures=2).wait("p1", timeout=None)


@pytest.mark.parametrize("shop", [0, "0"])
def test_the_result_of_job_0(shop: Any, generate: Generate) -> None:
    """Its ID is one, as a number too."""
    answers = {
        "/prints/0": [DONE],
        "/results/0": [reply(200, {"state": "done", "shop": shop})],
    }
    with FakeClock(), Script(answers):
        assert generate(with_result).Press().wait("0", timeout=60).phase == "succeeded"


def test_the_reason_of_another_job_is_none(generate: Generate, caplog: Any) -> None:
    """The job has failed all the same, and a warning says why there is no reason."""

    def change(spec: dict[str, Any]) -> None:
        with_result(spec)
        outcome = {"operation": "getResult", "after": "failed", "fault": {"message": "/shop"}}
        wait(spec)["outcome"] = outcome | {"same": {"/shop": "id"}}

    jammed = reply(200, {"state": "jammed"})
    answers = {"/prints/p1": [jammed], "/results/p1": [reply(200, {"shop": "p2"})]}
    with FakeClock(), Script(answers) as script, pytest.raises(JobFailed) as failed:
        generate(change).Press().wait("p1", timeout=None)
    assert failed.value.fault is None
    assert len(script.sent) < 10
    assert "the reason is unknown: the response about the outcome is about another" in caplog.text


@pytest.mark.parametrize(
    ("count", "total", "percent"), [(1, 2, 50), (-1, -2, None), (1, 0, None), ("1_0", 20, None)]
)
def test_a_share_of_a_total(count: Any, total: Any, percent: Any, generate: Generate) -> None:
    """Neither is negative, and a text is a number as JSON writes it."""

    def change(spec: dict[str, Any]) -> None:
        wait(spec)["percent"] = {"count": "/next", "total": "/next_ms"}

    with Script({"/p1": [reply(200, {"state": "printing", "next": count, "next_ms": total})]}):
        assert generate(change).Press().progress("p1").percent == percent


def test_an_operation_replaces_the_parameters_of_its_path(generate: Generate) -> None:
    """By their name and place: what the path requires may be optional, or have another default."""

    def query(name: str, default: str, *, required: bool = True) -> dict[str, Any]:
        schema = {"type": "string", "default": default}
        return {"name": name, "in": "query", "required": required, "schema": schema}

    def change(spec: dict[str, Any]) -> None:
        [item] = spec["paths"].values()
        item["parameters"] = [query("a", "path"), query("b", "path"), query("c", "path")]
        own = [query("a", "own"), query("b", "own", required=False)]
        operation(spec)["parameters"] += own

    with Script(lambda _: DONE) as script:
        generate(change).Press().progress("p1")
    assert script.sent[0].target == "/api/prints/p1?a=own&c=path"


def test_why_a_job_failed(generate: Generate) -> None:
    """Another operation says so; a reason that is known already stays if it doesn't."""

    def change(spec: dict[str, Any]) -> None:
        with_result(spec)
        wait(spec)["fault"] = {"code": "/state"}
        fault = {"message": "/shop", "params": "/next"}
        wait(spec)["outcome"] = {"operation": "getResult", "after": "failed", "fault": fault}

    made = generate(change)
    jammed = reply(200, {"state": "jammed"})
    said = reply(200, {"shop": "tray %1", "next": [2]})
    with FakeClock(), Script({"/prints/p1": [jammed], "/results/p1": [said]}):
        assert made.Press().progress("p1").fault == Fault(None, "tray 2")


def with_result(spec: dict[str, Any]) -> None:
    with_outcome(spec)
    wait(spec)["state"]["is"]["done"] = "succeeded"
    wait(spec)["outcome"] |= {"after": "succeeded", "same": {"/shop": "id"}}
    result = spec["paths"]["/results/{id}"]["get"]["responses"]["200"]["content"]
    result["application/json"].pop("examples")


def with_outcome(spec: dict[str, Any]) -> None:
    pausing(spec)
    result = copy.deepcopy(operation(spec))
    del result["x-wait"]
    result["operationId"] = "getResult"
    spec["paths"]["/results/{id}"] = {"get": result}
    states = {"printing": "running", "done": "ended", "jammed": "failed"}
    wait(spec)["state"] = {"at": "/state", "is": states}
    wait(spec)["outcome"] = {
        "operation": "getResult",
        "state": {"at": "/state", "is": states | {"done": "succeeded"}},
    }


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
