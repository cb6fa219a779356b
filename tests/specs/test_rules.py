"""Each rule for a spec: the real specs follow it, and it finds a change that breaks it."""

import copy
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spec_generation
import spec_rules

import specs as command_line

SPECS = {path.stem: spec_rules.read(path) for path in spec_generation.specs()}
TRANSCRIBED = [name for name, spec in SPECS.items() if spec.document]
Change = Callable[[Any], Any]

CATENIS = "paths /messages/{ephemeralMessageId}/progress get"
ITWIN = "paths /jobs/{id}/progress get"
ITWIN = ITWIN
APIG = "paths /v2/{project_id}/apigw/instances/{instance_id}/progress get"
EVENT = "x-websocket final-msg-progress message"
SCHEMAS = "components schemas"
CATENIS_BODY = f"{CATENIS} responses 200 content application/json"
ERROR_EXAMPLE = (
    "content application/vnd.bentley.itwin-platform.v1+json examples insufficientPermissions"
)
JOB_BODY = (
    "paths /jobs/{id} get responses 200 content application/vnd.bentley.itwin-platform.v1+json"
)
ITWIN_BODY = f"{ITWIN} responses 200 content application/vnd.bentley.itwin-platform.v1+json"
APIG_BODY = f"{APIG} responses 200 content application/json"
NAMELESS = {"type": "object", "properties": {"a": {"type": "string"}}}
ACTION = {"$ref": "#/components/schemas/MessageAction"}
STATE = {"$ref": "#/components/schemas/JobProgressState"}


def node(content: Any, keys: str) -> Any:
    for key in keys.split():
        content = content[int(key) if isinstance(content, list) else key]
    return content


def put(keys: str, value: Any) -> Change:
    """A change that puts a value at the end of these keys."""
    above, _, last = keys.rpartition(" ")
    return lambda content: node(content, above).update({last: value})


def drop(keys: str) -> Change:
    """A change that removes what is at the end of these keys."""
    above, _, last = keys.rpartition(" ")
    return lambda content: node(content, above).pop(last)


def add_header(operation: str, name: str) -> Change:
    parameter = {"name": name, "in": "header", "schema": {"type": "string"}}
    return lambda content: node(content, operation)["parameters"].append(parameter)


CHANGES: list[tuple[str, str, Change]] = [
    ("keyword", "apig", put(f"{SCHEMAS} InstanceProgress minProperty", 1)),
    ("keyword", "itwin", put(f"{SCHEMAS} Job properties name nullable", True)),
    (
        "keyword",
        "itwin",
        put(f"{SCHEMAS} JobProgress properties percentage x-strict", {"minimun": 0}),
    ),
    ("keyword", "catenis", put(f"{SCHEMAS} MessageProgress then requird", ["success"])),
    ("condition", "catenis", put(f"{SCHEMAS} MessageProgress else properties sucess", False)),
    ("component", "itwin", put(f"{SCHEMAS} Other", {"description": "Anything.", "type": "string"})),
    ("component", "itwin", put(f"{ITWIN} tags", ["job"])),
    (
        "media-type",
        "itwin-v2",
        put(f"{ITWIN} description", "Request header Accept: application/vnd.bentley.x.v3+json."),
    ),
    ("structure", "catenis", drop("info")),
    ("structure", "itwin", put("paths /jobs/{id} get operationId", "getJobProgress")),
    ("structure", "apig", put(f"{APIG} parameters", [])),
    ("structure", "apig", put(f"{SCHEMAS} ErrorResponse type", "record")),
    ("example", "catenis", put(f"{CATENIS_BODY} examples notDone value data progress done", "no")),
    ("example", "catenis", drop(f"{CATENIS_BODY} examples failed value data progress error code")),
    ("example", "catenis", put(f"{CATENIS} parameters 0 example", 5)),
    ("example", "catenis", put(f"{CATENIS_BODY} examples notDone value data progress total", 4)),
    ("example", "catenis", put(f"{SCHEMAS} ErrorResponse properties status examples", [1])),
    (
        "example",
        "catenis",
        drop(f"{EVENT} examples read value action"),
    ),
    ("document-value", "apig", put(f"{SCHEMAS} InstanceProgress properties progress maximum", 99)),
    (
        "document-value",
        "apig",
        put(f"{SCHEMAS} InstanceProgress properties error_code type", "string"),
    ),
    (
        "sample",
        "catenis",
        put(f"{CATENIS_BODY} examples read value data progress bytesProcessed", 29),
    ),
    ("sample", "itwin", put(f"{ITWIN_BODY} examples active value jobProgress percentage", 57)),
    ("sample", "itwin", put(f"{ITWIN_BODY} examples active value jobProgress percentage", 56.0)),
    ("sample", "itwin", put(f"{ITWIN_BODY} examples", {})),
    ("sample", "apig", put(f"{APIG_BODY} examples otherReasons value error_msg", "failed")),
    ("description", "itwin", drop(f"{SCHEMAS} Job description")),
    ("description", "itwin-v2", put("components parameters JobId description", "")),
    ("own-header", "catenis", add_header(CATENIS, "X-BCoT-Timestamp")),
    ("own-header", "itwin", add_header(ITWIN, "Accept")),
    ("own-header", "itwin", add_header("paths /jobs/{id} get", "AUTHORIZATION")),
    ("own-header", "apig", add_header(APIG, "x-auth-token")),
    (
        "own-header",
        "apig",
        put(
            "components parameters",
            {"Accept": {"name": "Accept", "in": "header", "schema": {"type": "string"}}},
        ),
    ),
    ("security", "catenis", put("security", [])),
    ("security", "catenis", put("security", [{"ctn2": []}])),
    ("security", "itwin", put("security", [{"oauth2": ["itwin-platfrom"]}])),
    ("security", "itwin", put(f"{ITWIN} security", [{"oauth2": ["itwin-platform"]}])),
    ("security", "apig", put(f"{APIG} security", [])),
    ("security", "catenis", put("x-websocket security", [])),
    ("named-schema", "itwin", put(f"{ITWIN_BODY} schema", {"type": "object"})),
    ("named-schema", "apig", put(f"{APIG_BODY} schema", {"type": ["object", "null"]})),
    ("named-schema", "apig", put(f"{APIG_BODY} schema", {"description": "Anything."})),
    ("named-schema", "itwin", put(f"{SCHEMAS} Job properties owner", NAMELESS)),
    ("named-schema", "itwin", put(f"{SCHEMAS} Job properties owners", {"items": NAMELESS})),
    ("named-schema", "itwin", put(f"{SCHEMAS} Job title", "A job")),
    (
        "open-enum",
        "itwin",
        put(
            f"{SCHEMAS} JobProgress properties state anyOf",
            [STATE],
        ),
    ),
    ("open-enum", "catenis", put(f"{SCHEMAS} MessageProgressData properties kind", ACTION)),
    ("open-enum", "apig", put(f"{SCHEMAS} ErrorResponse properties kind", {"enum": ["a", "b"]})),
    ("open-enum", "catenis", put(f"{SCHEMAS} ErrorResponse properties status const", "error")),
    ("wait-form", "catenis", drop(f"{CATENIS} x-wait")),
    ("wait-form", "itwin", drop(f"{ITWIN} x-wait id")),
    ("wait-form", "itwin", put(f"{ITWIN} x-wait percent", "jobProgress.percentage")),
    ("wait-form", "itwin", put(f"{ITWIN} x-wait state is Active", "busy")),
    ("wait-form", "itwin", put(f"{ITWIN} x-wait outcome operation", "getJobs")),
    ("wait-form", "itwin", drop(f"{ITWIN} x-wait outcome state")),
    ("wait-form", "itwin", put(f"{ITWIN} x-wait outcome after", "failed")),
    ("wait-form", "itwin-v2", drop(f"{ITWIN} x-wait outcome fault")),
    ("wait-form", "itwin-v2", put(f"{ITWIN} x-wait outcome after", "succeeded")),
    ("wait-form", "itwin", put("paths /jobs/{id} get x-wait", {})),
    ("wait-form", "catenis", put(f"{CATENIS} x-wait restart-on-change", "/data/progress/done")),
    ("wait-form", "catenis", put(f"{CATENIS} x-wait state 0 when", {})),
    ("wait-form", "catenis", put(f"{CATENIS} x-wait errors cases 0 is", "lost")),
    ("wait-form", "apig", put(f"{APIG} x-wait id parameter", "gateway_id")),
    ("wait-form", "apig", put(f"{APIG} x-wait schedule delays", [])),
    ("wait-form", "apig", put(f"{APIG} x-wait schedule delays", [20, 0.9])),
    ("wait-form", "apig", put(f"{APIG} x-wait until", "done")),
    ("wait-pointer", "itwin", put(f"{ITWIN} x-wait step", "/jobProgress/steps")),
    ("wait-pointer", "itwin", put(f"{ITWIN} x-wait outcome fault code", "/codes")),
    ("wait-pointer", "itwin", put(f"{ITWIN} x-wait outcome same", {"/job/jobId": "id"})),
    ("wait-pointer", "itwin", put(f"{ITWIN} x-wait outcome started", "/job/executionInformation")),
    ("wait-pointer", "itwin", put(f"{ITWIN} x-wait errors code", "/code")),
    ("wait-pointer", "itwin", put(f"{ITWIN} x-wait outcome contradiction", ["/error", "/fault"])),
    ("wait-pointer", "itwin-v2", put(f"{ITWIN} x-wait outcome fault params", "/parameters")),
    ("wait-pointer", "catenis", put(f"{CATENIS} x-wait contradiction", "/data/error")),
    ("wait-pointer", "catenis", put(f"{CATENIS} x-wait require is", {"/state": "success"})),
    ("wait-pointer", "apig", put(f"{APIG} x-wait errors request-id at", "/requestId")),
    ("wait-pointer", "apig", put(f"{APIG} x-wait errors message", ["/error_msg", "/error/msg"])),
    ("wait-phase", "itwin", drop(f"{ITWIN} x-wait state is Unsubmitted")),
    ("wait-phase", "itwin", drop(f"{ITWIN} x-wait outcome state is cancelled")),
    ("wait-phase", "apig", drop(f"{APIG} x-wait outcome state is Frozen")),
    (
        "document-value",
        "apig",
        put(f"{SCHEMAS} InstanceStatus enum", ["creating", "success", "failed", "x"]),
    ),
    ("wait-phase", "catenis", lambda content: node(content, CATENIS)["x-wait"]["state"].pop(0)),
    ("wait-example", "itwin", put(f"{ITWIN} x-wait state is Active", "pending")),
    ("wait-example", "itwin", drop(f"{ITWIN_BODY} examples active x-phase")),
    ("wait-example", "itwin", put(f"{JOB_BODY} examples failed x-phase", "ended")),
    ("wait-example", "itwin", put(f"{ITWIN} x-wait outcome state is success", "ended")),
    ("wait-example", "apig", put(f"{APIG} x-wait contradiction", "/status")),
    ("wait-example", "itwin", drop("components responses Forbidden " + ERROR_EXAMPLE + " x-error")),
    ("wait-example", "itwin", put(f"{ITWIN} x-wait errors cases 0 code", "ResourceNotFound")),
    ("wait-example", "catenis", put(f"{CATENIS} x-wait errors cases", [])),
    ("wait-source", "itwin", put(f"{ITWIN} x-wait schedule", [15, 30, 60, 90])),
    ("wait-source", "apig", put(f"{APIG} x-wait state is deleted", "cancelled")),
    ("wait-source", "apig", put(f"{APIG} x-wait schedule delays", [2])),
    ("wait-unit", "apig", put(f"{APIG} x-wait started as", "seconds")),
    ("wait-source", "catenis", put(f"{CATENIS} x-wait require is", {"/status": "SUCCESS"})),
    ("document-value", "itwin", drop("servers 0 x-inferred")),
    ("mark", "catenis", put("servers 1 x-inferred", "Somebody said catenis.io/api.")),
    ("document-value", "apig", put(f"{APIG} x-addition", "No reason given.")),
]


@pytest.mark.parametrize("name", SPECS)
def test_the_specs_keep_every_rule(name: str) -> None:
    """The specs as they are break no rule."""
    assert [str(finding) for finding in spec_rules.check(SPECS[name])] == []


@pytest.mark.parametrize(("rule", "name", "change"), CHANGES)
def test_a_rule_finds_what_breaks_it(rule: str, name: str, change: Change) -> None:
    """A change that breaks a rule is one finding of that rule, and of no other."""
    content = copy.deepcopy(SPECS[name].content)
    change(content)
    findings = spec_rules.check(dataclasses.replace(SPECS[name], content=content))
    assert [finding.rule for finding in findings] == [rule]


@pytest.mark.parametrize("name", TRANSCRIBED)
@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("document-line", '| "', '| "Not in the document: '),
        ("readme-place", "| place |", "| `#/components/schemas/Gone` |"),
        ("mark", "| x-inferred | ", "| x-inferred | As everybody knows: "),
        (
            "mark",
            "| `#/info/contact` |",
            "| `#/info` | x-addition | Not marked in the spec. |\n| `#/info/contact` |",
        ),
        ("readme-table", "| --- | --- | --- |\n", ""),
        ("readme-table", "| place | mark | text |", "| place | mark | text | more |"),
    ],
)
def test_a_rule_finds_another_readme(rule: str, old: str, new: str, name: str) -> None:
    """A change of the README that the spec does not follow is found."""
    readme = SPECS[name].readme.replace(old, new, 1)
    findings = spec_rules.check(dataclasses.replace(SPECS[name], readme=readme))
    assert {finding.rule for finding in findings} == {rule}


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_a_rule_finds_another_document(name: str) -> None:
    """A sample of the document that the spec does not hold is found."""
    document = '{"status": "a sample nobody transcribed"}\n' + SPECS[name].document
    spec = dataclasses.replace(SPECS[name], document=document)
    assert [line.number for line, _ in spec_rules.RULES["sample"](spec)] == [1]


def test_a_spec_has_its_document(tmp_path: Path) -> None:
    """A spec whose document is missing is found."""
    shutil.copytree(spec_generation.SPECS, tmp_path / "specs")
    (tmp_path / "specs" / "documents" / "apig.txt").unlink()
    (finding,) = spec_rules.check(spec_rules.read(tmp_path / "specs" / "apig.yaml"))
    text = "documents/apig.txt is missing; restore it, or say with x-addition why there is none"
    assert (finding.rule, finding.text) == ("document", text)


def test_only_an_addition_needs_no_document() -> None:
    """A spec that stands for no document says so at its root, or its document is missed."""
    additions = {name for name, spec in SPECS.items() if "x-addition" in spec.content}
    assert SPECS.keys() - set(TRANSCRIBED) == additions >= {"itwin-v2"}
    content = copy.deepcopy(SPECS["itwin-v2"].content)
    del content["x-addition"]
    findings = spec_rules.check(dataclasses.replace(SPECS["itwin-v2"], content=content))
    text = "documents/itwin-v2.txt is missing; restore it, or say with x-addition why there is none"
    assert ("document", text) in {(finding.rule, finding.text) for finding in findings}


def test_every_rule_is_broken_by_a_change() -> None:
    """No rule is without a change that breaks it."""
    shown = {rule for rule, _, _ in CHANGES} | {"readme-place", "readme-table", "document-line"}
    shown |= {"document", "document-value", "document-words", "document-link", "document-mark"}
    shown |= {"status"}  # in broken/*.yaml
    assert shown == spec_rules.RULES.keys()


def test_a_wait_claim_needs_its_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its mark, a delay that the document doesn't give is named with line and fix."""
    shutil.copytree(spec_generation.SPECS, tmp_path / "specs")
    file = tmp_path / "specs" / "apig.yaml"
    lines = file.read_text(encoding="utf-8").splitlines()
    mark = next(n for n, line in enumerate(lines) if "Both Terraform providers" in line)
    file.write_text("\n".join([*lines[:mark], *lines[mark + 1 :]]), encoding="utf-8")
    monkeypatch.setattr(spec_generation, "SPECS", tmp_path / "specs")
    assert command_line.validate() == 1
    (found,) = capsys.readouterr().err.splitlines()
    where = "#/paths/~1v2~1{project_id}~1apigw~1instances~1{instance_id}~1progress/get"
    assert found == (
        f"specs/apig.yaml:{mark}: {where}/x-wait/schedule/delays: wait-source: [20] isn't in the "
        "document; quote the document, or name the source in an x-inferred beside it"
    )


def test_a_finding_names_file_line_place_and_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`validate` fails on a broken spec, and says which line of which file breaks which rule."""
    shutil.copytree(spec_generation.SPECS, tmp_path / "specs")
    file = tmp_path / "specs" / "itwin.yaml"
    text = file.read_text(encoding="utf-8").replace("percentage: 56", "percentage: fifty-six")
    file.write_text(text, encoding="utf-8")
    monkeypatch.setattr(spec_generation, "SPECS", tmp_path / "specs")
    assert command_line.validate() == 1
    line = text[: text.index("fifty-six")].count("\n") + 1
    place = (
        "#/paths/~1jobs~1{id}~1progress/get/responses/200/content"
        "/application~1vnd.bentley.itwin-platform.v1+json/examples/active/value"
        "/jobProgress/percentage"
    )
    printed = capsys.readouterr().err
    assert f"specs/itwin.yaml:{line}: {place}: example: 'fifty-six' is not of type" in printed


def test_a_file_that_is_no_yaml_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A spec that cannot be read at all is an error with its name, not a traceback."""
    shutil.copytree(spec_generation.SPECS, tmp_path / "specs")
    (tmp_path / "specs" / "itwin.yaml").write_text("openapi: [", encoding="utf-8")
    monkeypatch.setattr(spec_generation, "SPECS", tmp_path / "specs")
    monkeypatch.setattr("sys.argv", ["specs.py", "validate"])
    assert command_line.main() == 1
    assert "itwin.yaml" in capsys.readouterr().err
