"""Documents as they are published: mistakes in parts that no wait needs, and other ways to say the
same."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from command_support import Run, spec
from generating_tools import Change, Generate, operation, wait

from opwatch.errors import BadResponse
from opwatch.testing import FakeClock, Script, reply

TEXT = {"type": "string"}


def schemas(content: dict[str, Any]) -> Any:
    return content["components"]["schemas"]


def beside(**more: Any) -> Change:
    """A schema that has more than its own properties."""

    def change(content: dict[str, Any]) -> None:
        schemas(content)["Print"] |= more

    return change


def beside_a_reference(content: dict[str, Any]) -> None:
    """As OpenAPI 3.1 allows."""
    schemas(content)["Base"] = {"type": "object", "properties": {"shop": TEXT}}
    schemas(content)["Print"]["$ref"] = "#/components/schemas/Base"


def in_one_file(content: dict[str, Any]) -> None:
    """The path item is a reference, with a part of it beside the reference."""
    [(path, item)] = content["paths"].items()
    parameters = item["get"].pop("parameters")
    content["components"]["pathItems"] = {"Print": item}
    content["paths"][path] = {"$ref": "#/components/pathItems/Print", "parameters": parameters}


def beside_the_operation(content: dict[str, Any]) -> None:
    """The operation is beside a reference to the others of its path."""
    [item] = content["paths"].values()
    content["components"]["pathItems"] = {"Others": {"parameters": item["get"]["parameters"]}}
    item["$ref"] = "#/components/pathItems/Others"


def spaced_media_type(content: dict[str, Any]) -> None:
    answers = operation(content)["responses"]["200"]["content"]
    answers["application/json ; charset=utf-8"] = answers.pop("application/json")


@pytest.mark.parametrize(
    "change",
    [
        beside(allOf=[{"type": "object", "properties": {"shop": TEXT}}]),
        beside(anyOf=[{"required": ["shop"]}, {"required": ["next"]}]),
        beside(oneOf=[{"type": "object", "properties": {"a": TEXT}}, {"type": "object"}]),
        *(beside_a_reference, in_one_file, beside_the_operation, spaced_media_type),
    ],
)
def test_other_ways_to_say_the_same(change: Change, generate: Generate) -> None:
    made = generate(change)
    with FakeClock(), Script({"/prints/p1": reply(200, {"state": "jammed"})}):
        assert made.Press().progress("p1").phase == "failed"


def test_the_values_of_a_state_beside_alternatives(run: Run) -> None:
    """Each needs a phase."""

    def change(content: dict[str, Any]) -> None:
        state = schemas(content)["Print"]["properties"]["state"]
        state["enum"].append("lost")
        state["anyOf"] = [{"minLength": 1}, {"maxLength": 9}]

    code, _, err = run("generate", spec(change), "--out", "out")
    assert (code, "'lost' of /state has no phase" in err) == (2, True), err


def test_the_server_beside_a_reference_counts(generate: Generate) -> None:
    """A path item has what its reference leads to, and what is beside the reference."""

    def change(content: dict[str, Any]) -> None:
        in_one_file(content)
        content["paths"]["/prints/{id}"]["servers"] = [{"url": "https://path.example/v1"}]

    assert generate(change).wait.BASE_URL == "https://path.example/v1"


def unused_scheme(scheme: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["components"]["securitySchemes"] = {"old": scheme}

    return change


def unused_security(content: dict[str, Any]) -> None:
    content["security"] = [{"nowhere": []}]
    operation(content)["security"] = []


def in_a_value(at: str) -> Change:
    """What looks like a reference in a value, and a mistake in another part of the document."""

    def change(content: dict[str, Any]) -> None:
        target = {"$ref": "#/components/schemas/Nowhere"}
        value = [target] if at in ("enum", "examples") else target
        schemas(content)["Print"]["properties"]["odd"] = {at: value}
        schemas(content)["Broken"] = {"type": 5}

    return change


def in_an_extension(content: dict[str, Any]) -> None:
    operation(content)["x-code-samples"] = [{"$ref": "#/components/samples/1"}]
    schemas(content)["Broken"] = {"type": 5}


def another_method(content: dict[str, Any]) -> None:
    [item] = content["paths"].values()
    item |= {"post": None, "query": {"responses": 5}, "summary": 5}


def other_components(content: dict[str, Any]) -> None:
    content["components"] |= {"headers": None, "links": [], "definitions": {"A": {}}}


@pytest.mark.parametrize(
    "change",
    [
        *map(unused_scheme, [None, {"type": "oauth2"}, {"type": "custom"}, {"$ref": "#/no"}]),
        unused_scheme({"type": "apiKey", "in": "header", "name": "Host"}),
        *map(in_a_value, ["default", "enum", "example", "examples"]),
        *(unused_security, in_an_extension, another_method, other_components),
    ],
)
def test_a_mistake_that_no_wait_needs(change: Change, run: Run) -> None:
    code, _, err = run("generate", spec(change), "--out", "out")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("value", ["010", "1_0", "0b11", "1:30", "12:30:45", "1_0.5", "=", "<<"])
def test_text_that_yaml_1_1_reads_as_something_else(value: str, run: Run) -> None:
    """It is text in YAML 1.2, so that it is sent as it is written, and is no delay."""
    text = Path(spec()).read_text(encoding="utf-8")
    header = f'"headers": {{"X-Version": {value}}},'
    sent = text.replace('"x-wait": {', f'"x-wait": {{{header}', 1)
    Path("press.yaml").write_text(f"# not JSON\n{sent}", encoding="utf-8")
    code, _, err = run("generate", "press.yaml", "--out", "out")
    assert (code, err) == (0, "")
    assert f'("X-Version", "{value}")' in Path("out/opwatch_press/wait.py").read_text("utf-8")
    Path("press.yaml").write_text("# not JSON\n" + text.replace(" 20\n", f" {value}\n"), "utf-8")
    code, _, err = run("generate", "press.yaml", "--out", "out")
    assert (code, f'must be a number, not "{value}"' in err) == (2, True), err


def test_a_path_that_starts_with_two_slashes(run: Run) -> None:
    """No request can be sent to it: it would name another host."""

    def change(content: dict[str, Any]) -> None:
        content["paths"] = {f"/{path}": item for path, item in content["paths"].items()}

    code, _, err = run("generate", spec(change), "--out", "out")
    assert (code, "isn't a valid URL path" in err) == (2, True), err


def test_a_circle_of_a_path_item(run: Run) -> None:
    """Nothing is read in a path that the wait doesn't need."""

    def change(content: dict[str, Any]) -> None:
        content["paths"]["/all"] = {"$ref": "#/paths"}

    code, _, err = run("generate", spec(change), "--out", "out")
    assert (code, err) == (0, "")


JOB = {
    "type": "object",
    "required": ["state"],
    "properties": {"state": {"type": "string", "enum": ["printing", "done", "jammed"]}},
}


@pytest.mark.parametrize(
    ("job", "is_object"),
    [
        (JOB, True),
        ({"allOf": [JOB]}, True),
        (JOB | {"type": ["object", "null"]}, False),
        (JOB | {"nullable": True}, False),
        ({"nullable": True, "allOf": [JOB]}, False),
        ({"oneOf": [JOB, {"type": "null"}]}, False),
        ({"anyOf": [TEXT, JOB]}, False),
    ],
)
def test_an_object_that_is_required_and_may_be_null(
    job: Any, is_object: bool, generate: Generate
) -> None:
    """A response without it is valid, and has no state."""

    def change(content: dict[str, Any]) -> None:
        content["openapi"] = "3.0.3" if "nullable" in job else "3.1.0"
        required = {"type": "object", "required": ["job"], "properties": {"job": job}}
        schemas(content)["Print"] = required
        del operation(content)["responses"]["200"]["content"]["application/json"]["examples"]
        wait(content)["state"]["at"] = "/job/state"

    made, done = generate(change), {"job": {"state": "done"}}
    with FakeClock(), Script({"/prints/p1": [reply(200, {"job": None}), reply(200, done)]}):
        with nullcontext() if not is_object else pytest.raises(BadResponse):
            assert made.Press().progress("p1").phase == "unknown"
        assert made.Press().progress("p1").phase == "succeeded"


@pytest.mark.parametrize(
    ("at", "schema", "value"),
    [
        ("/errors/*", {"type": "array", "items": {"properties": {"code": TEXT}}}, [{"code": "E5"}]),
        ("/errors", {"type": "object", "properties": {"code": TEXT}}, {"code": "E5"}),
    ],
)
def test_errors_that_are_required(at: str, schema: Any, value: Any, generate: Generate) -> None:
    """Of a response, only the state is required, and the objects that contain it."""

    def change(content: dict[str, Any]) -> None:
        schemas(content)["Print"]["properties"]["errors"] = schema
        schemas(content)["Print"]["required"] = ["errors", "state"]
        del operation(content)["responses"]["200"]["content"]["application/json"]["examples"]
        wait(content)["fault"] = {"at": at, "code": "/code"}

    made = generate(change)
    for errors, code in ((value, "E5"), ([], None), (None, None)):
        found = reply(200, {"state": "jammed", "errors": errors})
        with FakeClock(), Script({"/prints/p1": found}):
            progress = made.Press().progress("p1")
        assert progress.phase == "failed"
        assert (progress.fault and progress.fault.code) == code
