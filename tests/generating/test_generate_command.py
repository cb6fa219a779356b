"""`opwatch generate` and `watch --spec`: what they refuse, and with which message."""

import copy
import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from generating_tools import Change, changed, operation, run_here, wait

from opwatch.cli import main
from opwatch.cli.generating import client
from opwatch.testing import FakeClock, Script, reply

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in an empty folder: its exit code, output and errors.

    The tests of examples/specs run it with a client generator in a process of its own.
    """
    monkeypatch.setattr(client, "run", run_here)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def of(*words: str) -> tuple[int, str, str]:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(words)
        for name in [name for name in sys.modules if name.startswith("opwatch_press")]:
            del sys.modules[name]
        return code, out.getvalue(), err.getvalue()

    return of


def spec(change: Change | None = None, name: str = "press.json") -> str:
    Path(name).write_text(json.dumps(changed(change), indent=1), encoding="utf-8")
    return name


def set_at(*keys: str, value: Any) -> Change:
    """A change of the block."""

    def change(content: dict[str, Any]) -> None:
        node = wait(content)
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    return change


def without_wait(content: dict[str, Any]) -> None:
    del operation(content)["x-wait"]


def another_parameter(content: dict[str, Any]) -> None:
    content["paths"] = {"/shops/{shop}/prints/{id}": content["paths"]["/prints/{id}"]}
    parameter = {"name": "shop", "in": "path", "required": True, "schema": {"type": "string"}}
    operation(content)["parameters"].append(parameter)


def cookie(content: dict[str, Any]) -> None:
    content["security"] = [{"one": []}]
    scheme = {"type": "apiKey", "in": "cookie", "name": "session"}
    content["components"]["securitySchemes"] = {"one": scheme}


def unnamed_variable(content: dict[str, Any]) -> None:
    cookie(content)
    scheme = {"type": "http", "scheme": "bearer", "x-env": {"tokn": "A"}}
    content["components"]["securitySchemes"] = {"one": scheme}


def nowhere(content: dict[str, Any]) -> None:
    body = operation(content)["responses"]["200"]["content"]["application/json"]
    body["schema"] = {"$ref": "#/components/schemas/Prnt"}


def refers(*keys: str, target: str) -> Change:
    """A reference somewhere in the components or, if no keys say where, in the default response."""

    def change(content: dict[str, Any]) -> None:
        node = content["components"] if keys else operation(content)["responses"]
        for key in keys:
            node = node.setdefault(key, {})
        node["default"] = {"$ref": target}

    return change


def union(content: dict[str, Any]) -> None:
    schemas = content["components"]["schemas"]
    schemas["Either"] = {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in schemas]}
    body = operation(content)["responses"]["200"]["content"]["application/json"]
    body["schema"] = {"$ref": "#/components/schemas/Either"}


def of_text(content: dict[str, Any]) -> None:
    answer = operation(content)["responses"]["200"]
    answer["content"] = {"text/html": {"schema": {"type": "string"}}}


def unnamed(content: dict[str, Any]) -> None:
    del operation(content)["operationId"]


def required(place: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        parameter = {"name": "version", "in": place, "required": True, "schema": {"type": "string"}}
        operation(content)["parameters"].append(parameter)

    return change


def above(content: dict[str, Any]) -> None:
    content["components"]["parameters"] = {
        "Version": {"name": "v", "in": "query", "required": True, "schema": {"type": "string"}}
    }
    [item] = content["paths"].values()
    item["parameters"] = [{"$ref": "#/components/parameters/Version"}]


def with_body(content: dict[str, Any]) -> None:
    body = {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}
    operation(content)["requestBody"] = body


def posted(content: dict[str, Any]) -> None:
    content["paths"]["/prints/{id}"] = {"post": operation(content)}


def example(value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        body = operation(content)["responses"]["200"]["content"]["application/json"]
        body["examples"]["printing"]["value"] = value

    return change


def old_null(content: dict[str, Any]) -> None:
    content["openapi"] = "3.0.3"
    content["components"]["schemas"]["Print"]["properties"]["state"]["type"] = ["string", "null"]


def blank_variable(content: dict[str, Any]) -> None:
    unnamed_variable(content)
    content["components"]["securitySchemes"]["one"]["x-env"] = {"token": "INK TOKEN"}


def wildcard(content: dict[str, Any]) -> None:
    responses = operation(content)["responses"]
    responses["4XX"] = responses.pop("404")
    body = responses["4XX"]["content"]["application/json"]
    body["examples"] = {"gone": {"value": {}, "x-error": "NotFound"}}


def loop(content: dict[str, Any]) -> None:
    schemas = content["components"]["schemas"]
    schemas["Print"] = {"type": "object", "anyOf": [{"$ref": "#/components/schemas/Print"}]}


def mislabelled(content: dict[str, Any]) -> None:
    body = operation(content)["responses"]["200"]["content"]["application/json"]
    body["examples"]["printing"]["x-phase"] = "succeeded"


def outcome_of(method: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        result = copy.deepcopy(operation(content))
        del result["x-wait"]
        result["operationId"] = "getResult"
        content["paths"]["/results/{id}"] = {method: result}
        state = wait(content)["state"]
        wait(content)["outcome"] = {"operation": "getResult", "state": copy.deepcopy(state)}

    return change


def elsewhere(content: dict[str, Any]) -> None:
    outcome_of("get")(content)
    content["paths"]["/results/{id}"]["servers"] = [{"url": "https://other.example"}]


def outcome_with(**content: Any) -> Change:
    """A follow-up to a job that has ended, of which this is said beside what is usual."""

    def change(spec: dict[str, Any]) -> None:
        with_scheme({"type": "http", "scheme": "bearer"})(spec)
        spec["components"]["securitySchemes"]["two"] = {"type": "http", "scheme": "basic"}
        outcome_of("get")(spec)
        wait(spec)["state"]["is"]["done"] = "ended"
        spec["paths"]["/results/{id}"]["get"] |= content

    return change


def parameter(**content: Any) -> Change:
    """Another required parameter, with a default, of a spec with a key in X-Key."""

    def change(spec: dict[str, Any]) -> None:
        key_in("X-Key")(spec)
        schema = {"type": "string", "default": "a"}
        given = {"name": "a", "in": "query", "required": True, "schema": schema} | content
        operation(spec)["parameters"].append(given)

    return change


def matrix(spec: dict[str, Any]) -> None:
    operation(spec)["parameters"][0]["style"] = "matrix"


def headers(**values: str) -> Change:
    def change(spec: dict[str, Any]) -> None:
        key_in("X-Key")(spec)
        wait(spec)["headers"] = {name.replace("_", "-"): value for name, value in values.items()}

    return change


def media_type(name: str) -> Change:
    def change(spec: dict[str, Any]) -> None:
        bodies = operation(spec)["responses"]["200"]["content"]
        bodies[name] = bodies.pop("application/json")

    return change


def boolean_state(content: dict[str, Any]) -> None:
    content["components"]["schemas"]["Print"]["properties"]["state"] = {"type": "boolean"}
    wait(content)["state"]["is"] = {"true": "succeeded", "false": "running"}
    del operation(content)["responses"]["200"]["content"]["application/json"]["examples"]


def set_path(path: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["paths"] = {path: content["paths"]["/prints/{id}"]}

    return change


def undefined_scheme(content: dict[str, Any]) -> None:
    content["security"] = [{"tokn": []}]


def with_scheme(scheme: dict[str, Any]) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["security"] = [{"one": []}]
        content["components"]["securitySchemes"] = {"one": scheme}

    return change


def key_in(header: str) -> Change:
    return with_scheme({"type": "apiKey", "in": "header", "name": header})


def tokens_at(url: str) -> Change:
    flow = {"tokenUrl": url, "scopes": {}}
    return with_scheme({"type": "oauth2", "flows": {"clientCredentials": flow}})


def variables_are(value: Any) -> Change:
    return with_scheme({"type": "http", "scheme": "bearer", "x-env": value})


def at_server(url: str) -> Change:
    return lambda content: content.update(servers=[{"url": url}])


def no_schema(content: dict[str, Any]) -> None:
    body = operation(content)["responses"]["200"]["content"]["application/json"]
    del body["schema"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_wait, "wait-use: no operation has an x-wait block"),
        (another_parameter, "wait-use: the path also needs shop; make it a part of the ID"),
        (cookie, "wait-use: none of these is supported; opwatch supports a bearer token"),
        (unnamed_variable, "security: 'tokn' isn't an argument of this scheme; name one of token"),
        (undefined_scheme, "security: no scheme is called 'tokn'; add it to components"),
        (union, "wait-use: the schema must describe one object"),
        (of_text, "wait-use: no media type is JSON; add application/json"),
        (unnamed, "wait-form: has an x-wait block but no operationId; add one"),
        (required("query"), "wait-use: the query parameter 'version' is required, and opwatch has"),
        (required("header"), "wait-use: the header parameter 'version' is required"),
        (above, "wait-use: the query parameter 'v' is required"),
        (posted, "wait-form: opwatch sends only GET, not POST; name another"),
        (with_body, "wait-use: opwatch sends no body; name another operation"),
        (nowhere, "structure: #/components/schemas/Prnt isn't in this file"),
        (refers(target="http://127.0.0.1:9/a"), "http://127.0.0.1:9/a isn't in this file; copy it"),
        (refers(target="file:///dev/zero"), "file:///dev/zero isn't in this file; copy it here"),
        (refers("responses", target="#/nope"), "#/nope isn't in this file; copy it here"),
        (refers(target="#"), "# isn't in this file; copy it here"),
        (refers("schemas", "Print", "patternProperties", target="a.yaml"), "a.yaml isn't in this"),
        (mislabelled, "wait-example: is read as running, not succeeded"),
        (set_at("percent", value="/percent"), "wait-pointer: /percent isn't in Print"),
        (
            set_at("state", "is", value={"done": "succeeded"}),
            "'printing', 'jammed' of /state has",
        ),
        (set_at("id", "parameter", value="job"), "'job' isn't a parameter of the path"),
        (set_at("same", value={"/shop": "shop"}), "'shop' isn't part of the ID; name one of id"),
        (set_at("headers", value={"Authorization": "x"}), "Authorization is set by opwatch"),
        (
            set_at("polling", value=[1]),
            "unknown key 'polling'; the keys are id, statuses",
        ),
        (set_at("schedule", value=[]), "wait-form: "),
        (
            set_at("step", value="state"),
            "wait-form: 'state' isn't a JSON Pointer; write one like /st",
        ),
        (
            set_at("errors", "cases", value=[{"is": "gone"}]),
            "wait-form: {'is': 'gone'} is incomplete; add one of status, code, message, header",
        ),
        (example("done"), "wait-example: is read as no JSON object, not running"),
        (old_null, "structure: ['string', 'null'] is not"),
        (blank_variable, "security: 'INK TOKEN' isn't a variable name; write one like PRESS_TOKEN"),
        (wildcard, "wait-example: can't be checked; give it a value and a specific status"),
        (loop, "wait-pointer: /state isn't in Print"),
        (lambda content: content.update(openapi="2.0"), "structure: must be OpenAPI 3.0 or 3.1"),
        (outcome_of("put"), "wait-form: opwatch sends only GET, not PUT; name another"),
        (set_at("state", "is", value={"": "succeeded"}), "wait-form: '' can't be a state"),
        (set_at("state", "is", value={" done": "failed"}), "wait-form: ' done' can't be a state"),
        (
            set_at("state", "is", value={"Done": "succeeded", "done": "failed"}),
            "wait-form: 'done' has two phases (ignoring case); keep one",
        ),
        (boolean_state, "wait-phase: /state is a boolean; write conditions"),
        (set_at("schedule", value=[float("inf")]), "wait-form: "),
        (
            set_at("schedule", value=[5, 0.5]),
            "x-wait/schedule/1: wait-form: 0.5 is less than a second between two polls; write 1 or",
        ),
        (set_at("schedule", value=[0]), "wait-form: 0 is less than a second"),
        (
            set_at("state", "is", value={"printing": "running", "done": "pending"}),
            "wait-phase: no state is final; map at least one to succeeded, failed, cancelled or",
        ),
        (
            outcome_of("get"),
            "wait-phase: no state is ended, so this is never requested; add one, or remove the ",
        ),
        (set_at("schedule", value=[float("nan")]), "wait-form: "),
        (set_at("id", "parameter", value=["id", "id"]), "wait-form: 'id' is named twice"),
        (
            set_at("headers", value={"X-A": "a\nb"}),
            "wait-form: 'a\\nb' can't be the value of a head",
        ),
        (set_at("headers", value={"X-A": "ä"}), "wait-form: 'ä' can't be the value of a header"),
        (set_at("headers", value={"Expect": "x"}), "wait-form: Expect belongs to the connection"),
        (set_at("headers", value={"Transfer-Encoding": "x"}), "belongs to the connection"),
        (set_path("/a#/{id}"), "wait-use: the path isn't a valid URL path"),
        (set_path("/a/../{id}"), "wait-use: the path isn't a valid URL path"),
        (set_path("/a b/{id}"), "wait-use: the path isn't a valid URL path"),
        (key_in("X-Schlüssel"), "security: 'X-Schlüssel' isn't a valid header name"),
        (key_in("X-K\r\nX-A: 1"), "isn't a valid header name"),
        (key_in("Host"), "security: Host belongs to the connection, and opwatch sets it"),
        (key_in("Content-Length"), "security: Content-Length belongs to the connection"),
        (tokens_at("/token"), "security: must be a complete URL, such as https://press.example"),
        (tokens_at("http://id.example/token"), "security: must be an https URL"),
        (tokens_at("https://id.example/token?a=b"), "security: must be a URL like https://exa"),
        (at_server("http://press.example"), "wait-use: must be an https URL"),
        (at_server("https://press.example/?a=b"), "wait-use: must be a URL like https://exa"),
        (at_server("https://a:b@press.example"), "wait-use: must be a URL like https://exa"),
        (at_server("https://press.example/a b"), "wait-use: must be a URL like https://exa"),
        (variables_are(["token"]), "security: must be a map, such as {token: PRESS_TOKEN}"),
        (variables_are("TOKEN"), "security: must be a map, such as {token: PRESS_TOKEN}"),
        (variables_are({"token": True}), "security: True isn't a variable name; write one like"),
        (variables_are({"token": None}), "security: None isn't a variable name; write one like"),
        (variables_are({"token": 'A=B "x'}), "isn't a variable name; write one like PRESS_TOKEN"),
        (elsewhere, "is at 'https://other.example', unlike the one with x-wait"),
        (no_schema, "wait-use: no schema; describe the response"),
        (outcome_with(security=[{"two": []}]), "security: wait-use: takes different credentials"),
        (
            outcome_with(servers=[{"url": "/v2"}]),
            "wait-use: is at '/v2', unlike the one with x-wait",
        ),
        (key_in("accept"), "security: accept is set by opwatch; name another header"),
        (headers(x_key="a"), "wait-use: the credentials are sent in x-key; leave it out"),
        (headers(X_A="a", x_a="b"), "wait-form: x-a appears twice (ignoring case); keep one"),
        (
            parameter(**{"in": "header", "name": "x-KEY"}),
            "wait-use: the credentials are sent in x-KEY; leave it out",
        ),
        (
            parameter(**{"in": "cookie", "name": "a;b\r\nX-Evil: 1"}),
            "can't be sent as it is; use printable ASCII without semicolons",
        ),
        (
            parameter(**{"in": "cookie", "schema": {"type": "string", "default": "b; c=d"}}),
            "wait-use: the cookie parameter 'a' can't be sent as it is",
        ),
        (media_type('application/json; a="\x07\u00e9"'), "wait-use: no media type is JSON"),
        (matrix, "wait-use: the path parameter 'id' has the style matrix; opwatch sends simple on"),
        (
            set_at("state", value=[{"is": "succeeded", "when": {"/shop": [None, "a"]}}]),
            "state/0: wait-phase: success only because fields are missing; also test one",
        ),
    ],
)
def test_a_spec_that_breaks_a_rule(change: Change, said: str, run: Run) -> None:
    """The finding names file, line, place, rule and fix; nothing is written."""
    code, out, err = run("generate", spec(change), "--out", "out")
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert any(said in line for line in lines), err
    assert all(line.removeprefix("opwatch: ").startswith("press.json:") for line in lines), err
    assert not Path("out").exists()


def test_each_finding_is_a_line(run: Run) -> None:
    """All that is wrong is said at once."""

    def change(content: dict[str, Any]) -> None:
        wait(content)["percent"], wait(content)["step"] = "/a", "/b"

    _, _, err = run("generate", spec(change), "--out", "out")
    first, second = err.splitlines()
    assert first.startswith("opwatch: press.json:")
    assert second.startswith("press.json:")
    assert ("/a isn't in Print" in first, "/b isn't in Print" in second) == (True, True)


def test_many_booleans_take_no_time(run: Run) -> None:
    """Not each of their combinations is checked, of which there are 16 million."""

    def change(content: dict[str, Any]) -> None:
        names = [f"flag{n}" for n in range(24)]
        flags = {name: {"type": "boolean"} for name in names}
        content["components"]["schemas"]["Print"]["properties"] |= flags
        wait(content)["state"] = [{"is": "running", "when": {f"/{name}": True}} for name in names]

    code, _, err = run("generate", spec(change), "--out", "out")
    assert (code, "/flag0 False has no phase" in err) == (2, True)


def of_print(**properties: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["components"]["schemas"]["Print"]["properties"] |= properties

    return change


def doubling(content: dict[str, Any]) -> None:
    schemas = content["components"]["schemas"]
    for n in range(40):
        schemas[f"A{n}"] = {"allOf": [{"$ref": f"#/components/schemas/A{n + 1}"}] * 2}
    schemas["A40"] = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    of_print(deep={"$ref": "#/components/schemas/A0"})(content)


@pytest.mark.parametrize(
    "change",
    [
        doubling,
        of_print(a={"type": "string", "pattern": "^(a+)+$", "default": "a" * 40 + "!"}),
        of_print(a={"$dynamicRef": "file:///dev/zero", "default": 1}),
        of_print(a={"type": "array", "uniqueItems": True, "default": [[n] for n in range(9000)]}),
    ],
)
def test_nothing_that_a_spec_says_is_run(change: Change, run: Run) -> None:
    """No pattern is tried, nothing outside the file is read, and nothing is read twice."""

    def both(content: dict[str, Any]) -> None:
        change(content)
        wait(content)["percent"], wait(content)["step"] = "/deep/a", "/nothing"

    code, _, err = run("generate", spec(both), "--out", "out")
    assert (code, "/nothing isn't in Print" in err) == (2, True)
    assert ("/deep/a isn't in Print" in err) == (change is not doubling)


LAUGHS = b"\n".join(
    [b"a0: &a0 ha", *(b"a%d: &a%d [%b]" % (n, n, b"*a%d, " % (n - 1) * 10) for n in range(1, 12))]
)
"""Aliases of aliases: a few lines that stand for a hundred thousand million words."""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: &a [*a]", "press.yaml:1: #/a/0: yaml: contains itself"),
        (b"a: 1\na: 2", "press.yaml:2: #/a: yaml: a second key 'a', which hides the first"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, "press.yaml:1: #: yaml: nested too deeply; write it"),
        (b"a: 0x_", "press.yaml has a value that can't be read"),
        (
            b'{"a":\n {"b": 1, "b": 2}}',
            "press.yaml:2: #/a/b: yaml: a second key 'b', which hides the first; remove one",
        ),
        (b'{"a": 1, "a": "\x7f"}', "can't be read: a second key 'a', which hides the first; remo"),
        (b"{a: 1, a: 2}", "press.yaml:1: #/a: yaml: a second key 'a', which hides the first"),
        (b'{"a": "\\ud800"}', "press.yaml contains half of a surrogate pair"),
        (b"", "press.yaml:1: #: yaml: must be an OpenAPI document"),
        (b"- a list", "press.yaml:1: #: yaml: must be an OpenAPI document"),
        (b"openapi: [", "press.yaml:2: #: yaml: while parsing a flow"),
        (b"title: caf\xe9", "press.yaml:1: #: utf-8: byte 0xe9 isn't UTF-8; save"),
        (b"a: 1\n\tb: 2", "press.yaml:2: #: yaml: while scanning a plain scalar, found a tab"),
        pytest.param(
            LAUGHS,
            "press.yaml:7: #: file: more than 1,000,000 values, with aliases; keep",
            id="aliases",
        ),
        pytest.param(
            b"{" + LAUGHS.replace(b"\n", b", ") + b"}",
            "press.yaml:1: #: file: more than 1,000,000",
            id="aliases in flow",
        ),
        pytest.param(
            b"a: [" + b"{}," * 1_000_001 + b"]",
            "press.yaml:1: #: file: more than 1,000,000 values",
            id="many values",
        ),
        pytest.param(
            b"#" * (16 * 1024**2 + 1),
            "press.yaml:1: #: file: is larger than 16 MiB; keep only what the",
            id="a large file",
        ),
    ],
)
def test_a_file_that_is_no_spec(data: bytes, said: str, run: Run) -> None:
    """One line says what is wrong, and it isn't a traceback."""
    Path("press.yaml").write_bytes(data)
    code, out, err = run("generate", "press.yaml", "--out", "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_spec_in_a_pipe(run: Run) -> None:
    """It is read once, and is complete in the package."""
    os.mkfifo("press.json")
    text = json.dumps(changed())
    threading.Thread(target=Path("press.json").write_text, args=(text,), daemon=True).start()
    code, _, err = run("generate", "press.json", "--out", "out")
    assert (code, err) == (0, "")
    assert Path("out/opwatch_press/press.json").read_text(encoding="utf-8") == text


def test_a_spec_that_is_not_there(run: Run) -> None:
    """It is named."""
    code, _, err = run("generate", "press.yaml", "--out", "out")
    assert (code, err) == (2, "opwatch: can't read press.yaml: No such file or directory\n")


def test_json_is_read_as_json(run: Run) -> None:
    """Also what no YAML can be; and a mistake in it is a line."""

    def change(content: dict[str, Any]) -> None:
        content["info"]["title"] = "\x7f \N{GRINNING FACE}"
        content["paths"]["/" + 1100 * "a"] = {}
        wait(content)["percent"] = "/nothing"

    text = json.dumps(changed(change), indent="\t")
    Path("press.json").write_text(text, encoding="utf-8-sig")
    code, _, err = run("generate", "press.json", "--out", "out")
    assert (code, "wait-pointer: /nothing isn't in Print" in err) == (2, True), err
    Path("press.json").write_text('{"openapi": "3.1.0",\n}', encoding="utf-8")
    code, _, err = run("generate", "press.json", "--out", "out")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("opwatch: press.json isn't JSON: ")


@pytest.mark.parametrize("name", ["Press", "2press", "a_b", "a--b", "-", "itwin", "itwin-v2"])
def test_a_name_that_a_service_cannot_have(name: str, run: Run) -> None:
    """The error says what would do."""
    code, _, err = run("generate", spec(), "--out", "out", f"--name={name}")
    assert code == 2
    assert "--name" in err


def test_a_folder_that_holds_something_else(run: Run) -> None:
    """Nothing of the user's is overwritten; only the package's own folder is replaced."""
    Path("out").mkdir()
    Path("out/diary.txt").write_text("mine", encoding="utf-8")
    code, _, err = run("generate", spec(), "--out", "out")
    assert (code, "isn't empty" in err) == (2, True)
    assert run("generate", spec(), "--out", "new")[0] == 0
    mine = [Path("new", name) for name in ("README.md", "pyproject.toml", "tests/test_press.py")]
    for path in mine:
        path.write_text(path.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    Path("new/opwatch_press/old.py").touch()
    Path("new/mine.py").touch()
    assert run("generate", spec(), "--out", "new")[0] == 0
    assert not Path("new/opwatch_press/old.py").exists()
    assert Path("new/mine.py").exists()
    assert all(path.read_text(encoding="utf-8").endswith("# mine\n") for path in mine)
    code, _, err = run("generate", spec(), "--out", "new", "--name", "other")
    assert (code, "contains another service's package" in err) == (2, True), err


@pytest.mark.parametrize("name", ["opwatch_press", "README.md", "pyproject.toml", "tests"])
def test_a_link_is_not_followed(name: str, run: Run) -> None:
    """What it leads to is somebody else's."""
    Path("out").mkdir()
    Path("elsewhere").mkdir()
    Path("out/pyproject.toml").write_text('a = "opwatch_press:PLUGIN"', encoding="utf-8")
    Path("out", name).unlink(missing_ok=True)
    Path("out", name).symlink_to("../elsewhere")
    code, _, err = run("generate", spec(), "--out", "out")
    assert (code, "is a link; choose a new folder" in err) == (2, True), err
    assert not [*Path("elsewhere").iterdir()]


def file(path: Path) -> None:
    path.touch()


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def not_utf8(path: Path) -> None:
    path.mkdir()
    (path / "pyproject.toml").write_bytes(b"\xff")


@pytest.mark.parametrize("make", [file, dangling, not_utf8])
@pytest.mark.parametrize("out", ["out", "out/inner"])
def test_a_place_that_is_no_folder_for_it(make: Callable[[Path], None], out: str, run: Run) -> None:
    """It is one line that says so."""
    make(Path("out"))
    code, _, err = run("generate", spec(), "--out", out)
    if make is not_utf8 and out != "out":
        assert code == 0
    else:
        assert (code, err.count("\n")) == (2, 1), err


@pytest.mark.parametrize("name", ["itwin", "api", "waits", "none", "3d"])
def test_the_advice_is_one_that_can_be_followed(name: str, run: Run) -> None:
    """`watch` has no --name, so the file needs another one."""
    code, _, err = run("watch", "--spec", spec(name=f"{name}.json"), "p1")
    assert (code, "rename the file" in err, "--name" in err) == (2, True, False), err
    code, _, err = run("generate", f"{name}.json", "--out", "out")
    assert (code, "--name" in err, "rename" in err) == (2, True, False), err


@pytest.mark.parametrize("state", ["done", "jammed"])
def test_watching_a_spec(state: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--spec` watches without a package: the exit code and the lines are those of any service."""
    answers = [reply(200, {"state": "printing"}), reply(200, {"state": state})]
    with FakeClock(), Script({"/prints/p1": answers, "/prints/p2": answers}):
        code, out, err = run("watch", "--spec", spec(name="a-press.json"), "p1", "p2")
    assert (code, err) == ({"done": 0, "jammed": 1}[state], "")
    ends = [line for line in out.splitlines() if "succeeded" in line or "failed" in line]
    assert [line.split()[1:3] for line in ends] == [["a-press", "p1"], ["a-press", "p2"]]


def test_a_state_file_of_a_spec(run: Run) -> None:
    """`--spec` with `--state` and no ID continues what the file holds."""
    file = spec()
    running = [reply(200, {"state": "printing"})]
    with FakeClock(), Script({"/prints/p1": running}):
        words = ["watch", "--spec", file, "--state", "state.json", "--timeout", "1s"]
        assert run(*words, "p1")[0] == 124
    with FakeClock(), Script({"/prints/p1": [reply(200, {"state": "done"})]}):
        code, out, _ = run("watch", "--spec", file, "--state", "state.json", "press:p1")
        assert (code, "succeeded" in out) == (0, True)
