"""`opwatch generate` and `watch --spec`: what they refuse, and how they say so."""

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from generating_tools import Change, changed, operation, wait

from opwatch.cli import main
from opwatch.testing import FakeClock, Script, reply

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in an empty folder: its exit code, output and errors."""
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


def inline(content: dict[str, Any]) -> None:
    body = operation(content)["responses"]["200"]["content"]["application/json"]
    body["schema"] = content["components"]["schemas"]["Print"]


def nowhere(content: dict[str, Any]) -> None:
    body = operation(content)["responses"]["200"]["content"]["application/json"]
    body["schema"] = {"$ref": "#/components/schemas/Prnt"}


def union(content: dict[str, Any]) -> None:
    schemas = content["components"]["schemas"]
    schemas["Either"] = {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in schemas]}
    body = operation(content)["responses"]["200"]["content"]["application/json"]
    body["schema"] = {"$ref": "#/components/schemas/Either"}


def of_text(content: dict[str, Any]) -> None:
    answer = operation(content)["responses"]["200"]
    answer["content"] = {"text/html": {"schema": {"type": "string"}}, **answer["content"]}


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
    content["paths"]["/prints/{id}"] = {"post": operation(content)}
    body = {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}
    content["paths"]["/prints/{id}"]["post"]["requestBody"] = body


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_wait, "wait-use: no operation has an x-wait block"),
        (another_parameter, "wait-use: the path also needs shop; make it a part of the ID"),
        (cookie, "wait-use: none of these is supported: opwatch has a bearer token"),
        (unnamed_variable, "security: 'tokn' isn't an argument of this scheme; name one of token"),
        (inline, "wait-use: the schema must be a $ref to components/schemas"),
        (union, "wait-use: the schema must be that of one object"),
        (of_text, "wait-use: the first media type must be JSON; put it first"),
        (unnamed, "wait-form: has an x-wait block and no operationId; add one"),
        (required("query"), "wait-use: the query parameter 'version' is required, and opwatch has"),
        (required("header"), "wait-use: the header parameter 'version' is required"),
        (above, "wait-use: the query parameter 'v' is required"),
        (with_body, "wait-use: opwatch sends no body; name another operation"),
        (nowhere, "structure: #/components/schemas/Prnt isn't in this file"),
        (mislabelled, "wait-example: is read as running, not succeeded"),
        (set_at("percent", value="/percent"), "wait-pointer: /percent isn't in Print"),
        (set_at("state", "is", value={"done": "succeeded"}), "'printing' of /state has no phase"),
        (set_at("id", "parameter", value="job"), "'job' isn't a parameter of the path"),
        (set_at("same", value={"/shop": "shop"}), "'shop' is no part of the ID; name one of id"),
        (set_at("headers", value={"Authorization": "x"}), "Authorization is opwatch's own"),
        (
            set_at("polling", value=[1]),
            "'polling' is no key here; known are id, statuses",
        ),
        (set_at("schedule", value=[]), "wait-form: "),
        (
            set_at("step", value="state"),
            "wait-form: 'state' is no JSON Pointer; write one like /st",
        ),
        (
            set_at("errors", "cases", value=[{"is": "gone"}]),
            "wait-form: {'is': 'gone'} says too little; add one of status, code, message, header",
        ),
        (example("done"), "wait-example: is read as no JSON object, not running"),
        (old_null, "structure: ['string', 'null'] is not"),
        (blank_variable, "security: 'INK TOKEN' can't be a variable; write one like PRESS_TOKEN"),
        (wildcard, "wait-example: can't be read; give it a value, and its own status"),
        (loop, "can't be checked (RecursionError"),
        (lambda content: content.update(openapi="2.0"), "structure: must be OpenAPI 3.0 or 3.1"),
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


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "structure: must be OpenAPI 3.0 or 3.1"),
        (b"- a list", "structure: must be OpenAPI 3.0 or 3.1"),
        (b"openapi: [", "press.yaml isn't YAML: "),
        (b"title: caf\xe9", "press.yaml isn't UTF-8; save it as UTF-8"),
        (b"a: 1\n\tb: 2", "press.yaml isn't YAML: "),
    ],
)
def test_a_file_that_is_no_spec(data: bytes, said: str, run: Run) -> None:
    """One line says what is wrong, and it isn't a traceback."""
    Path("press.yaml").write_bytes(data)
    code, out, err = run("generate", "press.yaml", "--out", "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_spec_that_is_not_there(run: Run) -> None:
    """It is named."""
    code, _, err = run("generate", "press.yaml", "--out", "out")
    assert (code, err) == (2, "opwatch: can't read press.yaml: No such file or directory\n")


@pytest.mark.parametrize("name", ["Press", "2press", "a_b", "a--b", "-", "itwin", "itwin-v2"])
def test_a_name_that_a_service_cannot_have(name: str, run: Run) -> None:
    """The error says what would do."""
    code, _, err = run("generate", spec(), "--out", "out", f"--name={name}")
    assert code == 2
    assert "--name" in err


def test_a_folder_that_holds_something_else(run: Run) -> None:
    """Nothing of the user's is overwritten; what was generated before is."""
    Path("out").mkdir()
    Path("out/diary.txt").write_text("mine", encoding="utf-8")
    code, _, err = run("generate", spec(), "--out", "out")
    assert (code, "isn't empty" in err) == (2, True)
    assert run("generate", spec(), "--out", "new")[0] == 0
    Path("new/opwatch_press/old.py").touch()
    assert run("generate", spec(), "--out", "new")[0] == 0
    assert not Path("new/opwatch_press/old.py").exists()


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


def test_what_the_client_generator_refuses(run: Run) -> None:
    """Its words are passed on, without a traceback."""

    def change(content: dict[str, Any]) -> None:
        content["paths"] = {"/prints/{x.y}": content["paths"]["/prints/{id}"]}
        operation(content)["parameters"][0]["name"] = "x.y"
        wait(content)["id"]["parameter"] = "x.y"

    code, out, err = run("generate", spec(change), "--out", "out")
    assert (code, out) == (2, "")
    assert err.startswith("opwatch: no client can be generated from the spec:")
    assert "Incorrect path templating" in err
    assert "Traceback" not in err
    assert not Path("out").exists()
