"""Specs with names from Python or opwatch, or with code as names; responses newer than their
spec."""

import json
from typing import Any

import pytest
from generating_tools import Change, Generate, changed, folder_of, operation, wait

from opwatch.errors import BadResponse
from opwatch.net.message import Request
from opwatch.testing import FakeClock, Reply, Script, reply

TEXT, NUMBER, FLAG = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
NASTY = [
    "a{__import__('os').abort()}",
    "{boom()}",
    'a"b',
    "a'b",
    "a\\",
    "\\N{DASH}",
    '"""',
    "a\nb",
    "\x7f",
    "%s{0}",
    "größe 😀",
    "",
]
OURS = [
    *("answer", "attrs", "closer", "code", "fields", "found", "job_id", "kind", "message", "phase"),
    *("problem", "progress", "query", "read", "request_id", "self", "service", "session", "since"),
    *("state", "text", "turn", "wire", "class", "None", "print", "each", "Wire", "poll_operation"),
]
MODELS = ["cast", "d", "from_dict", "to_dict", "src_dict", "additional_properties", "isoparse"]


def answer(spec: dict[str, Any]) -> Any:
    """The description of the response."""
    return operation(spec)["responses"]["200"]["content"]["application/json"]


def of_properties(spec: dict[str, Any], **properties: Any) -> None:
    """Give the response these properties, and no examples."""
    spec["components"]["schemas"]["Print"]["properties"] |= properties
    answer(spec).pop("examples", None)


def escaped(name: str) -> str:
    """The JSON Pointer of a property."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def read(made: Any, value: Any, job_id: str = "p1") -> Any:
    """What a response is read as."""
    with FakeClock(), Script(lambda _: reply(200, value)):
        return made.Press().progress(job_id)


@pytest.mark.parametrize("names", [NASTY[:-1], OURS, MODELS], ids=["code", "ours", "the models'"])
def test_names_of_fields(names: list[str], generate: Generate) -> None:
    """Each is read by its name, whatever that is, wherever the block has a pointer."""

    def change(spec: dict[str, Any]) -> None:
        inner = {"type": "object", "properties": dict.fromkeys(names, TEXT)}
        of_properties(spec, **dict.fromkeys(names, inner))
        first, *others = (escaped(a) + escaped(b) for a, b in zip(names, names[::-1], strict=True))
        block = wait(spec)
        done = {"is": "succeeded", "when": dict.fromkeys(others, "done")}
        block["state"] = [{"is": "failed", "when": {first: "{0}%s\"'\\"}}, done]
        block["step"] = block["contradiction"] = first
        block["fault"] = {"code": first, "message": others[0]}
        block["require"] = {"any": first}
        block["same"] = {others[0]: "id"}
        block["id"]["called"] = names[0]
        error = operation(spec)["responses"]["404"]["content"]["application/json"]
        error["schema"] = {"$ref": "#/components/schemas/Print"}
        case = {"is": "gone", "status": 404, "code": names[0], "message": names[1]}
        block["errors"] = {"code": others, "message": first, "known": names, "cases": [case]}
        spec["info"]["title"] = " ".join(names)

    made = generate(change)
    value: dict[str, Any] = {name: dict.fromkeys(names, "done") for name in names}
    value[names[1]][names[-2]] = "p1"
    found = read(made, value)
    assert (found.phase, found.step) == ("unknown", "done")
    value[names[0]][names[-1]] = "{0}%s\"'\\"
    found = read(made, value)
    assert (found.phase, found.fault.message) == ("failed", "p1")
    with pytest.raises(BadResponse, match="another job"):
        read(made, value, "p2")


@pytest.mark.parametrize("parts", [OURS, NASTY[:3]], ids=["ours", "code"])
def test_names_of_parts_of_an_id(parts: list[str], generate: Generate) -> None:
    """They become no variable."""
    parts = [part for part in parts if "{" not in part]

    def change(spec: dict[str, Any]) -> None:
        spec["paths"] = {f"/{{{'}/{'.join(parts)}}}": spec["paths"]["/prints/{id}"]}
        operation(spec)["parameters"] = [
            {"name": part, "in": "path", "required": True, "schema": TEXT} for part in parts
        ]
        wait(spec)["id"]["parameter"] = parts
        wait(spec)["same"] = {"/shop": parts[0]}

    made = generate(change)
    job_id = "/".join(map(str, range(len(parts))))
    assert read(made, {"state": "done", "shop": "0"}, job_id).phase == "succeeded"


CLASSES = [
    *("Progress", "Phase", "Client", "AsyncClient", "Described", "Plugin", "Seen", "Any", "Unset"),
    *(
        "Mapping",
        "TypeVar",
        "T",
        "None",
        "Press",
        "AsyncPress",
        "print-state",
        "PrintState",
        "Wire",
    ),
    *("http_status", "HTTPStatus", "Response", "File", "D", "3D"),
]


@pytest.mark.parametrize("name", ["query", "import", "Wire"])
def test_names_of_operations_and_schemas(name: str, generate: Generate) -> None:
    """They name nothing in a module of opwatch's, and no two become one."""

    def change(spec: dict[str, Any]) -> None:
        schemas = spec["components"]["schemas"]
        inner = {"type": "object", "properties": {"a": TEXT}}
        for each in CLASSES:
            schemas[each] = inner
            of_properties(spec, **{each: {"$ref": f"#/components/schemas/{each}"}})
        state = schemas["Print"]["properties"]["state"]
        schemas["Progress"] = schemas["Print"] | {
            "properties": {**inner["properties"], "state": state}
        }
        answer(spec)["schema"] = {"$ref": "#/components/schemas/Progress"}
        schemas["Progress"]["properties"] |= schemas["Print"]["properties"]
        with_outcome(spec, "getPrint", name)

    made = generate(change)
    with (
        FakeClock(),
        Script(
            {
                "/prints/p1": [reply(200, {"state": "over", "Phase": {"a": "b"}})],
                "/results/p1": [reply(200, {"state": "done"})],
            }
        ),
    ):
        found = made.Press().wait("p1", timeout=None)
    assert found.phase == "succeeded"
    assert found.wire.phase.a == "b"


def with_outcome(spec: dict[str, Any], first: str, second: str) -> None:
    result = json.loads(json.dumps(operation(spec)))
    del result["x-wait"]
    operation(spec)["operationId"], result["operationId"] = first, second
    spec["paths"]["/results/{id}"] = {"get": result}
    states = dict(wait(spec)["state"]["is"])
    wait(spec)["state"] = {"at": "/state", "is": states | {"done": "ended", "over": "ended"}}
    wait(spec)["outcome"] = {"operation": second, "state": {"at": "/state", "is": states}}


@pytest.mark.parametrize("tags", [["Print Jobs"], ["2024"], []])
def test_operations_that_would_be_one_module(tags: list[str], generate: Generate) -> None:
    """Only what the wait needs is in the client: a poll is a GET, whatever else the spec has."""

    def change(spec: dict[str, Any]) -> None:
        [item] = spec["paths"].values()
        operation(spec)["tags"] = tags
        names = {"delete": "GetPrint", "put": "get_print", "post": "get-print"}
        for method, name in names.items():
            item[method] = {
                "operationId": name,
                "tags": [tag.lower().replace(" ", "-") for tag in tags],
                "parameters": operation(spec)["parameters"],
                "responses": {"204": {"description": "Done."}},
            }
        spec["paths"]["/broken/{x.y}"] = {
            "get": {
                "parameters": [{"name": "x.y", "in": "path", "required": True, "schema": {}}],
                "responses": {"200": {"description": "", "content": {"*/*": {}}}},
            }
        }

    made = generate(change)
    requests: list[Request] = []

    def found(request: Request) -> Reply:
        requests.append(request)
        return reply(200, {"state": "done"})

    with Script(found):
        made.Press().progress("p1")
    assert [(one.method, one.target) for one in requests] == [("GET", "/api/prints/p1")]


@pytest.mark.parametrize(
    ("error", "phase"),
    [
        (None, "succeeded"),
        ({"code": "E5"}, "ended"),
        ([], "ended"),
        (True, "cancelled"),
        ("true", "ended"),
        (1, "ended"),
        ("LOST", "failed"),
        (" lost ", "failed"),
    ],
)
def test_each_condition_compares_the_value_as_it_is(
    error: Any, phase: str, generate: Generate
) -> None:
    """Null is null and no object; a boolean is a boolean, also if other conditions test a text."""

    def change(spec: dict[str, Any]) -> None:
        of_properties(spec, error={})
        wait(spec)["state"] = [
            {"is": "failed", "when": {"/error": "Lost"}},
            {"is": "cancelled", "when": {"/error": True}},
            {"is": "succeeded", "when": {"/state": "done", "/error": None}},
            {"is": "ended", "when": {"/state": "done"}},
            {"is": "running", "when": {"/state": ["printing", "jammed"]}},
        ]

    assert read(generate(change), {"state": "done", "error": error}).phase == phase


OBJECT = {"type": "object", "properties": {"code": TEXT}}


def contradicting(spec: dict[str, Any]) -> None:
    of_properties(spec, error=OBJECT)
    wait(spec)["contradiction"] = "/error/code"


def without_code(spec: dict[str, Any]) -> None:
    of_properties(spec, error=OBJECT)
    wait(spec)["state"] = [
        {"is": "succeeded", "when": {"/state": "done", "/error/code": None}},
        {"is": "failed", "when": {"/error/code": "E1"}},
        {"is": "running", "when": {"/state": ["printing", "jammed"]}},
    ]


def of_its_job(spec: dict[str, Any]) -> None:
    of_properties(spec, error=OBJECT)
    wait(spec)["same"] = {"/error/code": "id"}


@pytest.mark.parametrize("change", [contradicting, without_code, of_its_job])
@pytest.mark.parametrize("error", ["E1", ["E1"], [{"code": "E1"}], 5, True])
def test_an_error_of_another_form_is_no_success(change: Change, error: Any, generate: Any) -> None:
    """What stands in place of an object isn't a missing field."""
    made = generate(change)
    assert read(made, {"state": "done", "error": None}).phase == "succeeded"
    if change is of_its_job:
        with pytest.raises(BadResponse, match="another job"):
            read(made, {"state": "done", "error": error})
    else:
        assert read(made, {"state": "done", "error": error}).phase == "unknown"


def test_a_required_boolean(generate: Generate) -> None:
    """`require` compares it as the conditions do."""

    def change(spec: dict[str, Any]) -> None:
        of_properties(spec, ok=FLAG)
        wait(spec)["require"] = {"is": {"/ok": True}}

    made = generate(change)
    assert read(made, {"state": "done", "ok": True}).phase == "succeeded"
    for other in ({"ok": "true"}, {"ok": 1}, {"ok": False}, {}):
        with pytest.raises(BadResponse, match="the response's `ok` isn't true"):
            read(made, {"state": "done"} | other)


NEWER = {
    "colors": ({"type": "integer", "enum": [1, 4]}, 7),
    "version": ({"const": "v1"}, "v2"),
    "default": ({"type": "string", "enum": ["a"]}, "b"),
    "example": ({"type": "string", "format": "date"}, "soon"),
    "examples": ({"type": "string", "enum": ["A-b", "a_b"]}, "c"),
    "enum": ({"type": ["string", "null"], "enum": ["a", None, 3]}, 4),
    "format": ({"type": "string", "format": "binary"}, "text"),
    "title": ({"type": "string", "title": "A title", "default": "x"}, None),
    "either": ({"oneOf": [{"type": "string", "enum": ["x"]}, {"type": "integer"}]}, "y"),
    "properties": ({"type": "array", "items": {"type": "string", "enum": ["x"]}}, ["y"]),
    "map": ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": "b"}),
}


def newer(spec: dict[str, Any]) -> None:
    of_properties(spec, **{name: schema for name, (schema, _) in NEWER.items()})
    spec["components"]["schemas"]["Print"]["additionalProperties"] = False


@pytest.mark.parametrize("name", NEWER)
def test_a_value_that_is_newer_than_the_spec(name: str, generate: Generate) -> None:
    """It is read, and is in the model as it came."""
    value = NEWER[name][1]
    found = read(generate(newer), {"state": "done", name: value, "later": {"a": 1}})
    assert found.phase == "succeeded"
    assert found.wire.to_dict() == {"state": "done", name: value, "later": {"a": 1}}


def inline(spec: dict[str, Any]) -> None:
    answer(spec)["schema"] = spec["components"]["schemas"]["Print"]


def alias(spec: dict[str, Any]) -> None:
    spec["components"]["schemas"]["Alias"] = {"$ref": "#/components/schemas/Print"}
    answer(spec)["schema"] = {"$ref": "#/components/schemas/Alias"}


def all_of_one(spec: dict[str, Any]) -> None:
    answer(spec)["schema"] = {"allOf": [{"$ref": "#/components/schemas/Print"}]}


def all_of_two(spec: dict[str, Any]) -> None:
    schemas = spec["components"]["schemas"]
    schemas["Base"] = {"type": "object", "properties": {"id": TEXT}, "required": ["id"]}
    schemas["Whole"] = {"allOf": [{"$ref": "#/components/schemas/Base"}, schemas["Print"]]}
    schemas["Base"]["discriminator"] = {"propertyName": "id"}
    answer(spec)["schema"] = {"$ref": "#/components/schemas/Whole"}


def any_status(spec: dict[str, Any]) -> None:
    responses = operation(spec)["responses"]
    spec["components"]["responses"] = {"Where": responses.pop("200")}
    responses["2XX"] = {"$ref": "#/components/responses/Where"}


def xml_first(spec: dict[str, Any]) -> None:
    content = operation(spec)["responses"]["200"]["content"]
    content["application/problem+json; charset=utf-8"] = content.pop("application/json")
    operation(spec)["responses"]["200"]["content"] = {"application/xml": {}, **content}


def recursive(spec: dict[str, Any]) -> None:
    schemas = spec["components"]["schemas"]
    schemas["Loop"] = {"anyOf": [{"$ref": "#/components/schemas/Loop"}, TEXT]}
    own = {"$ref": "#/components/schemas/Print"}
    of_properties(spec, parent=own, parts={"type": "array", "items": own})
    of_properties(spec, loop={"$ref": "#/components/schemas/Loop"})


def with_examples(spec: dict[str, Any]) -> None:
    spec["components"]["examples"] = {
        "Done": {"x-phase": "succeeded", "value": {"state": "done", "$ref": "#/not/a/reference"}}
    }
    answer(spec)["examples"] |= {
        "done": {"$ref": "#/components/examples/Done"},
        "elsewhere": {"externalValue": "https://press.example/done.json"},
    }


def optional_parameters(spec: dict[str, Any]) -> None:
    for place in ("query", "header", "cookie"):
        operation(spec)["parameters"].append({"name": "id", "in": place, "schema": TEXT})


def any_schema(spec: dict[str, Any]) -> None:
    operation(spec)["parameters"][0]["schema"] = True


def loud_media_type(spec: dict[str, Any]) -> None:
    content = operation(spec)["responses"]["200"]["content"]
    content["Application/JSON"] = content.pop("application/json")


def nullable(spec: dict[str, Any]) -> None:
    spec["components"]["schemas"]["Print"]["type"] = ["object", "null"]


def shared_path(spec: dict[str, Any]) -> None:
    spec["components"]["pathItems"] = {"Job": spec["paths"]["/prints/{id}"]}
    spec["paths"]["/prints/{id}"] = {"$ref": "#/components/pathItems/Job"}


def bundled(spec: dict[str, Any]) -> None:
    """As some tools write references into a file that they make of several."""
    other = {"operationId": "other", "responses": {"200": {"description": "Another."}}}
    spec["paths"]["/shops/{id}"] = {"parameters": operation(spec)["parameters"], "get": other}
    target = "#/paths/~1shops~1%7Bid%7D/parameters/0"
    operation(spec)["parameters"] = [{"$ref": target}]


def token_header(spec: dict[str, Any]) -> None:
    wait(spec)["headers"] = {"X_Press.Version": "1"}


@pytest.mark.parametrize(
    "change",
    [
        *(inline, alias, all_of_one, all_of_two, any_status, xml_first, recursive),
        *(with_examples, optional_parameters, any_schema, loud_media_type, nullable),
        *(shared_path, bundled, token_header),
    ],
)
def test_what_a_spec_may_do(change: Change, generate: Generate) -> None:
    """Other ways to say the same."""
    made = generate(change)
    value = {"state": "done", "id": "7", "parent": {"state": "done"}}
    assert read(made, value).wire.to_dict() == value


def test_the_nearest_servers_count(generate: Generate) -> None:
    """Those of the operation, then of its path, then of the spec."""

    def change(spec: dict[str, Any]) -> None:
        [item] = spec["paths"].values()
        item["servers"] = [{"url": "https://path.example/v1"}]
        operation(spec)["servers"] = [{"url": "https://operation.example/v2"}]

    requests: list[Request] = []

    def found(request: Request) -> Reply:
        requests.append(request)
        return reply(200, {"state": "done"})

    with Script(found):
        generate(change).Press().progress("p1")
    assert requests[0].address.origin == "https://operation.example"
    assert requests[0].target == "/v2/prints/p1"


def test_what_an_operation_requires_is_sent(generate: Generate) -> None:
    """With the default of its schema: a query, a header and a cookie of any name."""

    def change(spec: dict[str, Any]) -> None:
        for place, name in (
            ("query", "quote"),
            ("query", "a{b}&"),
            ("header", "X-Of"),
            ("cookie", "c"),
        ):
            schema = {"type": "string", "default": "7 {0}"}
            parameter = {"name": name, "in": place, "required": True, "schema": schema}
            operation(spec)["parameters"].append(parameter)

    requests: list[Request] = []

    def found(request: Request) -> Reply:
        requests.append(request)
        return reply(200, {"state": "done"})

    with Script(found):
        generate(change).Press().progress("p1")
    assert requests[0].target == "/api/prints/p1?quote=7+%7B0%7D&a%7Bb%7D%26=7+%7B0%7D"
    assert {("X-Of", "7 {0}"), ("Cookie", "c=7 {0}")} <= set(requests[0].headers)


@pytest.mark.parametrize("file", ["a \"b'c\\.yaml", "a\nb.json", "pytest.json", "tests.yaml"])
def test_the_name_of_the_file(file: str, generated: Any) -> None:
    """It is in nothing that is generated."""
    out = folder_of(changed(), file, generated)
    [name] = [path.name for path in out.iterdir() if path.name.startswith("opwatch_")]
    for path in out.rglob("*.py"):
        compile(path.read_text(encoding="utf-8"), str(path), "exec")
    suffix = file.rpartition(".")[2]
    assert (out / name / f"{name.removeprefix('opwatch_').replace('_', '-')}.{suffix}").exists()
