"""Specs match their documents: a change in only one of them is found, with its place and fix."""

import copy
import dataclasses
import hashlib
import re
from typing import Any

import documents
import pytest
import spec_generation
import spec_rules

SPECS = {path.stem: spec_rules.read(path) for path in spec_generation.specs()}
TRANSCRIBED = [name for name, spec in SPECS.items() if spec.document]
CATENIS = "paths /messages/{ephemeralMessageId}/progress get"
ITWIN = "paths /jobs/{id}/progress get"
APIG = "paths /v2/{project_id}/apigw/instances/{instance_id}/progress get"
SCHEMAS = "components schemas"
PROGRESS = f"{SCHEMAS} InstanceProgress properties"
FINISHED = f"{SCHEMAS} MessageProgress then"


def found(name: str, content: Any = None, document: str | None = None) -> list[tuple[str, str]]:
    """The rule and the text of each finding about a spec and its document, whose hash is right."""
    spec = SPECS[name]
    if document is not None:
        digest = hashlib.sha256(document.encode()).hexdigest()
        spec = dataclasses.replace(spec, document=document, sums=f"{digest}  {name}.txt\n")
    if content is not None:
        spec = dataclasses.replace(spec, content=content)
    names = [*filter(re.compile("document|sample|description").match, spec_rules.RULES)]
    rules = {name: spec_rules.RULES[name] for name in names}
    return [(name, text) for name, rule in rules.items() for _, text in rule(spec)]


DOCUMENTS = [
    ("apig", '"progress" : 50', '"progress" : ' + "[" * 9999, "sample", "can't be read as JSON"),
    ("apig", "Function\n", "At most 5 requests.\n\nFunction\n", "document-line", "'At most 5 req"),
    (
        "itwin",
        "itwin-platform.v1+json",
        "itwin-platform.v3+json",
        "document-value",
        "v1+json isn't",
    ),
    (
        "catenis",
        "//sandbox.",
        "//box.",
        "document-value",
        "https://sandbox.catenis.io/api/0.7 isn't",
    ),
    (
        "apig",
        "-  Gateway created.",
        "-  Gateway made.",
        "sample",
        "calls this sample 'Gateway made.'",
    ),
    (
        "itwin",
        "If the percentage changes",
        "If the step changes",
        "document-value",
        "'If the step ch",
    ),
    ("itwin", "[15,30,60,120]", "[15,30,60,90]", "document-words", "[15,30,60,120]"),
    ("itwin", "after 30 days", "after 60 days", "document-words", "30 days"),
    ("itwin", "Response 404 Not Found", "Response 410 Gone", "document-value", "status 410"),
    ("itwin", "Response 404 Not Found", "Response 410 Gone", "document-value", "status 404"),
    ("itwin", '"Over" ], "desc', '"Done" ], "desc', "document-value", "Unsubmitted, Active, Done"),
    ("itwin", '"required": [ "jobProgress" ],', "", "document-value", "'jobProgress' is required"),
    ("itwin", '"required": [ "code", "m', '"required": [ "target", "m', "document-value", "target"),
    ("itwin", '"step": { "type"', '"phase": { "type"', "document-value", "field 'phase'"),
    ("itwin", '"title": "Job progress", ', '"title": "A job", ', "document-value", "title 'A job'"),
    (
        "itwin",
        '"type": "string", "description": "Step',
        '"type": "string", "format": "x", "description": "Step',
        "document-value",
        "the document says x; add it as format",
    ),
    (
        "itwin",
        "Number of seconds to wait",
        "Number of minutes to wait",
        "document-words",
        "seconds",
    ),
    ("catenis", "One of: `log`, `send`, or", "One of: `log`, or", "document-value", "log, read"),
    ("catenis", "`done` | Boolean", "`done` | String", "document-value", "string in the document"),
    ("catenis", "`done` | Boolean", "`done` | Whatever", "document-value", "Whatever"),
    (
        "catenis",
        "| `data` | Object | ",
        "| `data` | Object | *(only returned if asked)* ",
        "document-value",
        "'data' is required here",
    ),
    ("catenis", "`finishDate` | String", "`endDate` | String", "document-value", "field 'endDate'"),
    (
        "catenis",
        "`finishDate` | String",
        "`endDate` | String",
        "document-value",
        "no field 'finish",
    ),
    ("catenis", "| 503 |", "| 502 |", "document-value", "status 502 isn't here"),
    ("catenis", ">Progress not available<", ">No progress<", "document-value", "'No progress'"),
    ("catenis", ">Progress not available<", ">No progress<", "document-value", "'Progress not av"),
    ("catenis", "GET /messages/`", "POST /messages/`", "document-value", "POST /messages/{mess"),
    ("catenis", "<li>`ephemeralMessageId`", "<li>`messageId`", "document-value", "'messageId'"),
    ("catenis", "Total number of bytes", "Number of kilobytes", "document-words", "Total number"),
    ("catenis", "#error_msg_80", "#error_msg_81", "document-link", "`#error_msg_81`"),
    ("apig", "Unit: %", "Unit: permille", "document-words", "Unit: %"),
    ("apig", "-  **failed** ", "-  **broken** ", "document-value", "creating, success, broken"),
    (
        "apig",
        "| start_time            | Long   ",
        "| start_time            | Integer",
        "document-value",
        "int32",
    ),
    ("apig", "| project_id  | Yes  ", "| project_id  | No   ", "document-value", "says false"),
    ("apig", "| instance_id |", "| gateway_id  |", "document-value", "parameter 'gateway_id'"),
    ("apig", "| instance_id |", "| gateway_id  |", "document-value", "no parameter 'instance_id'"),
    ("apig", "| X-Auth-Token |", "| X-Token      |", "document-value", "header X-Token"),
    ("apig", "403         Forbidden", "409         Conflict ", "document-value", "status 409"),
    (
        "apig",
        "500         Internal Server Error",
        "500         Server fault",
        "document-value",
        "Server fault",
    ),
    ("apig", "GET /v2/", "GET /v3/", "document-value", "GET /v3/{project_id}"),
    (
        "apig",
        "| error_msg             |",
        "| error_text            |",
        "document-value",
        "error_text",
    ),
    ("apig", "GET /v2/", "GEX /v2/", "document-value", "the document has no route"),
    ("apig", ":original_name: Show", ":original_name: List", "document-value", "calls it List"),
    (
        "apig",
        "| X-Auth-Token | Yes  ",
        "| X-Auth-Token | No   ",
        "document-value",
        "doesn't require the header X-Auth-Token",
    ),
    (
        "apig",
        "| X-Auth-Token | Yes       | String",
        "| X-Auth-Token | Yes       | Long  ",
        "document-value",
        "type integer, not string",
    ),
    ("apig", "X-Subject-Token in", "X-Subject-Token at", "document-value", "X-Subject-Token at"),
    (
        "apig",
        "| progress              | Integer  ",
        "| progress              | String   ",
        "document-value",
        "type integer here, string in the document",
    ),
    (
        "apig",
        "**Status code: 403**\n\n.. table::",
        "**Status code: 402**\n\n.. table::",
        "document-value",
        "402",
    ),
    (
        "apig",
        "**Status code: 403**\n\n.. table::",
        "Status code: 403\n\n.. table::",
        "document-value",
        "the document gives it no body",
    ),
    (
        "apig",
        "**Status code: 404**\n\nNot Found",
        "**Status code: 403**\n\nNot Found",
        "sample",
        "isn't an example of status 403",
    ),
    ("apig", '"progress" : 50,', '"progress" : 50', "sample", "can't be read as JSON"),
    ("apig", '"progress" : 50,', '"progress" : 55,', "sample", "isn't an example of status 200"),
    ("apig", '"progress" : 50,', '"progress" : 55,', "sample", "isn't a sample of the document"),
    ("apig", "Request header parameters", "Path Parameters  ", "document-value", "X-Auth-Token"),
    ("apig", "3** Response body parameters", "3** Path Parameters", "sample", "as a table"),
    ("itwin", "Response 404 Not Found", "Response 404 Gone", "document-value", "says 'Gone'"),
    (
        "itwin",
        '"additionalProperties": true',
        '"additionalProperties": false',
        "document-value",
        "additionalProperties: False",
    ),
    (
        "itwin",
        ', "additionalProperties": true',
        "",
        "document-value",
        "allows more properties",
    ),
    (
        "itwin",
        '"jobProgress" ], "additionalProperties": false',
        '"jobProgress" ], "additionalProperties": true',
        "document-value",
        "additionalProperties: True",
    ),
    (
        "itwin",
        '"percentage": { "type": "number"',
        '"percentage": { "type": "string"',
        "document-value",
        "type number here, string in the document",
    ),
    ("itwin", "schemas/jobProgress-state", "schemas/step", "document-value", "calls it step"),
    (
        "itwin",
        '"step": { "type": "string", "description": "Step of the job" }',
        '"step": { "type": "string", "description": "" }',
        "document-value",
        "the document doesn't describe it",
    ),
    (
        "itwin",
        '"step": { "type": "string"',
        '"step": { "nullable": true, "type": "string"',
        "document-mark",
        "nothing differs",
    ),
    ("itwin", '"state": "Active"', '"state": Active', "sample", "can't be read as JSON"),
    (
        "catenis",
        "`success` | Boolean | *(only returned if processing has already been finished)*",
        "`success` | Boolean | ",
        "document-value",
        "'success' isn't required here, and is",
    ),
    (
        "catenis",
        "`finishDate` | String | *(only returned if processing has already been finished)*",
        "`finishDate` | String | *(only returned if processing finished with error)*",
        "document-value",
        "the document has no 'finishDate' if done is true and success is true",
    ),
    ("catenis", ">ISO 8601</a>", ">RFC 2822</a>", "document-words", "ISO 8601"),
    ("catenis", "GET /api/0.7/messages", "GET /api/0.8/messages", "document-words", "a sample"),
    ("catenis", '"bytesProcessed": 28', '"bytesProcessed": 29', "sample", "isn't an example"),
    ("catenis", "`:messageId`", "`:ephemeralMessageId`", "document-mark", "nothing differs"),
]


@pytest.mark.parametrize(("name", "old", "new", "rule", "text"), DOCUMENTS)
def test_a_change_of_the_document_is_found(
    name: str, old: str, new: str, rule: str, text: str
) -> None:
    """Another number, member, status, type, field or `required` in the document is named."""
    document = SPECS[name].document
    assert old in document
    lines = found(name, document=document.replace(old, new))
    assert [line for line in lines if line[0] == rule and text in line[1]], lines


def node(content: Any, keys: str) -> Any:
    for key in keys.split():
        content = content[int(key) if isinstance(content, list) else key]
    return content


CHANGES: list[tuple[str, str, Any, str, str]] = [
    ("itwin", f"{ITWIN} description", "OK", "document-line", "'Client should query with a backoff"),
    ("itwin", f"{ITWIN} summary", "", "description", "is empty"),
    (
        "itwin",
        f"{ITWIN} x-wait restart-on-change",
        "/jobProgress/step",
        "document-value",
        "restarted",
    ),
    ("itwin", f"{ITWIN} x-wait", {}, "document-value", "the sequence is restarted"),
    (
        "itwin",
        f"{SCHEMAS} JobProgress properties percentage type",
        ["integer", "null"],
        "document-value",
        "type integer here, number in the document",
    ),
    (
        "itwin",
        f"{SCHEMAS} JobProgress properties percentage x-strict",
        {"minimum": 0, "maximum": 1000},
        "document-value",
        "maximum 1000 isn't the document's",
    ),
    (
        "itwin",
        f"{SCHEMAS} JobProgress properties step type",
        "string",
        "document-value",
        "a mark says that it may be null",
    ),
    (
        "catenis",
        "servers 0 url",
        "http://sandbox.catenis.io/api/{version}",
        "document-value",
        "http:",
    ),
    (
        "catenis",
        "servers 0 variables version default",
        "0.8",
        "document-value",
        "0.8 isn't in the doc",
    ),
    ("catenis", "info version", "0.8", "document-value", "0.8 isn't in the document"),
    (
        "catenis",
        f"{SCHEMAS} MessageAction enum",
        ["send", "log", "read"],
        "document-value",
        "log, send",
    ),
    (
        "catenis",
        f"{SCHEMAS} MessageProgressResponse properties status x-strict",
        {"enum": ["failure"]},
        "document-value",
        "the document has success; correct it",
    ),
    (
        "catenis",
        f"{SCHEMAS} MessageProgress properties bytesProcessed minimum",
        1,
        "document-value",
        "minimum 1 isn't the document's",
    ),
    (
        "catenis",
        f"{SCHEMAS} MessageProgress properties bytesProcessed",
        {"type": "integer", "x-deviation": "An integer (int64), at least 0."},
        "document-value",
        "it names 0, which isn't here",
    ),
    (
        "catenis",
        f"{SCHEMAS} MessageProgress properties success type",
        ["boolean", "string", "null"],
        "document-value",
        "boolean or string here, boolean in the document",
    ),
    (
        "catenis",
        f"{SCHEMAS} MessageProgress description",
        "Current, processing; status?",
        "document-words",
        "'status?' isn't in the document",
    ),
    ("apig", f"{PROGRESS} progress maximum", 200, "document-value", "maximum 200 isn't"),
    (
        "apig",
        f"{PROGRESS} error_code type",
        "string",
        "document-value",
        "a mark says that it may be",
    ),
    (
        "apig",
        "components securitySchemes token in",
        "query",
        "document-value",
        "is a header; correct",
    ),
    (
        "apig",
        f"{APIG} responses 200 content application/json examples created summary",
        "Gateway is being created.",
        "sample",
        "calls this sample 'Gateway created.'",
    ),
    (
        "itwin",
        f"{ITWIN} description",
        "Client should query with [15,30,60,90] seconds.",
        "document-words",
        "mark it with x-own",
    ),
    (
        "itwin",
        f"{SCHEMAS} JobProgressState enum",
        ["Unsubmitted", "Active"],
        "document-value",
        "Unsubmitted, Active, Over",
    ),
    ("itwin", f"{SCHEMAS} Error required", ["code"], "document-value", "'message' isn't required"),
    ("itwin", f"{SCHEMAS} JobProgress required", ["step"], "document-value", "'step' is required"),
    (
        "itwin",
        f"{SCHEMAS} JobProgress properties other",
        {"type": "string"},
        "document-value",
        "no field 'other'; name its source",
    ),
    (
        "itwin",
        f"{SCHEMAS} Error properties target type",
        "string",
        "document-value",
        "null or string in the document",
    ),
    ("itwin", f"{ITWIN} responses 418", {"description": "OK"}, "document-value", "status 418"),
    ("itwin", f"{SCHEMAS} Error properties target maxLength", 5, "document-value", "maxLength"),
    (
        "itwin",
        "components headers RetryAfter x-own",
        True,
        "document-words",
        "remove x-own",
    ),
    (
        "catenis",
        f"{SCHEMAS} MessageProgress required",
        ["done"],
        "document-value",
        "bytesProcessed",
    ),
    (
        "catenis",
        f"{SCHEMAS} MessageProgress properties done type",
        "string",
        "document-value",
        "boolean in the document",
    ),
    (
        "catenis",
        f"{SCHEMAS} MessageAction enum",
        ["log", "send"],
        "document-value",
        "log, send, read",
    ),
    (
        "catenis",
        f"{SCHEMAS} ProcessingError properties message format",
        "uri",
        "document-value",
        "format uri isn't the document's",
    ),
    ("catenis", f"{CATENIS} x-own", ["Nobody said so."], "document-words", "'Nobody said so.'"),
    ("catenis", f"{CATENIS} x-own", "yes", "document-words", "must be true, or a list"),
    ("catenis", "servers 0 x-own", False, "document-words", "must be true, or a list"),
    (
        "apig",
        f"{PROGRESS} progress description",
        "Gateway creation progress. Unit: ‰",
        "document-words",
        "Unit: ‰",
    ),
    ("apig", f"{PROGRESS} start_time format", "int32", "document-value", "format int32 isn't"),
    ("apig", f"{PROGRESS} end_time description", "Time.", "document-value", "quote it"),
    ("apig", f"{APIG} responses 404 description", "OK", "document-value", "says 'Not Found'"),
    ("apig", "components securitySchemes token name", "X-Token", "document-value", "X-Auth-Token"),
    ("apig", f"{SCHEMAS} InstanceStatus enum", ["creating", "success"], "document-value", "failed"),
    ("apig", f"{PROGRESS} progress type", "string", "document-value", "type string here, integer"),
    ("apig", f"{PROGRESS} status anyOf", [{"type": "string"}], "document-value", "enumeration"),
    ("apig", f"{PROGRESS} status description", "", "description", "has no description"),
    ("apig", "security", [{"token": []}, {}], "document-value", "requires the header X-Auth-Token"),
    ("apig", "components securitySchemes token description", "", "description", "no description"),
    (
        "apig",
        f"{APIG} operationId",
        "ShowDetailsOfInstanceProgressV2_1",
        "document-mark",
        "nothing",
    ),
    (
        "apig",
        f"{APIG} responses 404 content application/json examples instanceNotFound value",
        {"error_code": "APIC.7303"},
        "sample",
        "isn't a sample of the document",
    ),
    ("itwin", f"{SCHEMAS} JobProgress type", "array", "document-value", "array here, object"),
    ("itwin", f"{SCHEMAS} JobProgress properties step type", "number", "document-value", "string"),
    ("itwin", f"{SCHEMAS} Error additionalProperties", False, "document-value", "additionalProp"),
    ("itwin", "components parameters JobId description", "", "description", "has no description"),
    ("itwin", "components responses NotFound description", " ", "description", "no description"),
    ("itwin", f"{ITWIN} description", "", "description", "has no description"),
    (
        "itwin",
        f"{SCHEMAS} JobProgressResponse additionalProperties",
        False,
        "document-mark",
        "nothing differs from the document here; remove the mark",
    ),
    (
        "catenis",
        f"{FINISHED} required",
        ["success"],
        "document-value",
        "'finishDate' if done is tr",
    ),
    ("catenis", f"{FINISHED} else", {}, "document-value", "'error' if done is true and success is"),
    ("catenis", f"{SCHEMAS} MessageProgress else", {}, "document-value", "if done is false"),
    ("catenis", f"{SCHEMAS} MessageProgressData if", {}, "document-value", "returns all fields"),
    (
        "catenis",
        f"{SCHEMAS} MessageProgress properties bytesProcessed type",
        "boolean",
        "document-value",
        "type boolean here, number in the document",
    ),
    ("catenis", f"{SCHEMAS} DateTime anyOf", [{"type": "string"}], "document-value", "date-time"),
    ("catenis", f"{SCHEMAS} ProcessingError description", "", "description", "no description"),
    ("catenis", f"{CATENIS} x-codeSamples 0 source", "GET /b", "document-words", "isn't a sample"),
]


@pytest.mark.parametrize(("name", "keys", "value", "rule", "text"), CHANGES)
def test_a_change_of_the_spec_is_found(
    name: str, keys: str, value: Any, rule: str, text: str
) -> None:
    """So is one in the spec, unless it carries a mark."""
    content = copy.deepcopy(SPECS[name].content)
    above, _, last = keys.rpartition(" ")
    node(content, above)[last] = value
    lines = found(name, content)
    assert [line for line in lines if line[0] == rule and text in line[1]], lines


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_a_mark_excuses_no_more_than_it_says(name: str) -> None:
    """Without its marks, a spec is full of findings: each of them is needed."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: bare(v) for k, v in value.items() if not re.fullmatch("x-(own|dev.*)", k)}
        return [bare(each) for each in value] if isinstance(value, list) else value

    rules = {rule for rule, _ in found(name, bare(SPECS[name].content))}
    assert {"document-words", "document-value"} <= rules


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_another_document_is_found_by_its_hash(name: str) -> None:
    """One more space in a document is found, and the finding gives the hash to write down."""
    spec = dataclasses.replace(SPECS[name], document=SPECS[name].document + " ")
    ((rule, text),) = [(each.rule, each.text) for each in spec_rules.check(spec)]
    assert rule == "document"
    assert hashlib.sha256(spec.document.encode()).hexdigest() in text


def test_the_words_of_a_text() -> None:
    """Markup, white space and punctuation don't count; words, numbers and units do."""
    same = " The progress error_code in % 15 30 "
    assert documents.words("The *progress*, **error_code** in % [15,30]") == same
    assert documents.words("The <b>progress</b>&nbsp;`error_code`\n in %: 15, 30.") == same
    assert documents.words("the :ref:`progress <label>`") == " the progress "
    assert documents.words("<br>...") == "  "


def test_the_three_notations_are_read() -> None:
    """Tables of Markdown and of reStructuredText, and schemas, give what they say."""
    read = {name: documents.read(SPECS[name].document) for name in TRANSCRIBED}
    assert read["catenis"].path == "GET /messages/{messageId}/progress"
    assert [*read["catenis"].statuses] == ["200", "400", "500", "503"]
    assert read["catenis"].messages["500"] == ["Internal server error"]
    data = read["catenis"].bodies["200"]["properties"]["data"]
    assert data["required"] == ["action", "progress"]
    assert data["properties"]["progress"]["properties"]["error"]["required"] == ["code", "message"]
    assert read["itwin"].statuses["429"] == "Too many requests"
    assert len(read["itwin"].schemas) == 5
    assert [*read["apig"].bodies] == ["200", "401", "403", "404", "500"]
    assert read["apig"].bodies["200"]["properties"]["progress"]["enum"] == [30, 50, 80, 90, 100]
    assert read["apig"].parameters["instance_id"]["required"] is True
    assert read["apig"].links == ["apig-api-180713009", "errorcode"]


def test_a_link_leads_to_an_operation() -> None:
    """The progress of an iTwin job links to the job: an operation there is, with its parameter."""
    content = SPECS["itwin"].content
    (link,) = node(content, ITWIN)["responses"]["200"]["links"].values()
    operations = {each["get"]["operationId"]: each["get"] for each in content["paths"].values()}
    (given,) = operations[link["operationId"]]["parameters"]
    parameter = content["components"]["parameters"][given["$ref"].rpartition("/")[2]]
    assert link["parameters"] == {parameter["name"]: "$request.path.id"}
