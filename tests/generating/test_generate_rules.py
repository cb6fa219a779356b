"""`opwatch generate`: each rule that a spec may break, and the message about it."""

import copy
from pathlib import Path
from typing import Any

import pytest
from command_support import Run, spec
from generating_tools import Change, operation, wait


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


def two_more_parameters(content: dict[str, Any]) -> None:
    content["paths"] = {"/shops/{shop}/{floor}/prints/{id}": content["paths"]["/prints/{id}"]}
    operation(content)["parameters"] += [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("shop", "floor")
    ]


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


def labelled(**labels: Any) -> Change:
    """Other labels of the example, in a spec whose step is the wrong field of the right one."""

    def change(content: dict[str, Any]) -> None:
        body = operation(content)["responses"]["200"]["content"]["application/json"]
        body["examples"]["printing"] |= {name.replace("_", "-"): it for name, it in labels.items()}
        wait(content)["step"] = "/at"

    return change


def labelled_error(content: dict[str, Any]) -> None:
    body = operation(content)["responses"]["404"]["content"]["application/json"]
    labels = {"x-error": "NotFound", "x-reads": {"code": "a"}}
    body["examples"] = {"gone": {"value": {"code": "b"}, **labels}}


def unlabelled(content: dict[str, Any]) -> None:
    body = operation(content)["responses"]["200"]["content"]["application/json"]
    del body["examples"]["printing"]["x-phase"]
    body["examples"]["printing"]["x-reads"] = {"percent": 99}


def misspelled(content: dict[str, Any]) -> None:
    unlabelled(content)
    body = operation(content)["responses"]["200"]["content"]["application/json"]
    example = body["examples"]["printing"]
    example["x-phas"] = "failed"
    del example["x-reads"]


def unlabelled_error(content: dict[str, Any]) -> None:
    labelled_error(content)
    body = operation(content)["responses"]["404"]["content"]["application/json"]
    del body["examples"]["gone"]["x-error"]


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


def unsupported_with_variables(content: dict[str, Any]) -> None:
    cookie(content)
    content["components"]["securitySchemes"]["one"]["x-env"] = {"token": "A"}


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


def fields_are(value: Any) -> Change:
    return lambda content: content["components"]["schemas"]["Print"].update(properties=value)


def without_a_line(content: dict[str, Any]) -> None:
    """The line `schemas:` is missing, so the schemas belong to the key above it."""
    content["components"]["responses"] = content["components"].pop("schemas")


def shared_path(target: str) -> Change:
    return lambda content: content.update(paths={"/prints/{id}": {"$ref": target}})


def no_schema(content: dict[str, Any]) -> None:
    body = operation(content)["responses"]["200"]["content"]["application/json"]
    del body["schema"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_wait, "wait-use: no operation has an x-wait block"),
        (another_parameter, "wait-use: the path also needs shop; add it to the ID"),
        (two_more_parameters, "wait-use: the path also needs shop, floor; add them to the ID"),
        (cookie, "wait-use: none of these is supported; opwatch supports HTTP bearer tokens"),
        (unnamed_variable, "security: 'tokn' isn't an argument of this scheme; use one of token"),
        (unsupported_with_variables, "security: opwatch doesn't support this scheme; it supports"),
        (undefined_scheme, "security: no scheme is called 'tokn'; add it to components"),
        (union, "wait-use: the schema must describe one object; write one with `properties`"),
        (fields_are(None), "Print/properties: structure: null is not of type 'object'"),
        (fields_are(True), "Print/properties: structure: true is not of type 'object'"),
        (without_a_line, "what follows is wrong, too: a key may be missing above it"),
        (of_text, "wait-use: no media type is JSON; add application/json"),
        (unnamed, "wait-form: has an x-wait block but no operationId; add one"),
        (required("query"), "wait-use: the query parameter 'version' is required, but opwatch has"),
        (required("header"), "wait-use: the header parameter 'version' is required"),
        (
            parameter(schema={"type": "array", "items": {"type": "string"}, "default": ["a"]}),
            "opwatch has no value for it; give its schema a default (a single value), which",
        ),
        (
            shared_path(target="#/paths/~1prints~1{id}"),
            "structure: #/paths/~1prints~1{id} refers to itself; write the definition instead",
        ),
        (shared_path(target="#/openapi"), "structure: '3.1.0' is not of type 'object'"),
        (above, "wait-use: the query parameter 'v' is required"),
        (posted, "wait-form: opwatch sends only GET requests, not POST; use a GET"),
        (
            with_body,
            "wait-use: opwatch sends no request body; use an operation that doesn't require one",
        ),
        (nowhere, "structure: #/components/schemas/Prnt isn't in this file"),
        (refers(target="http://127.0.0.1:9/a"), "http://127.0.0.1:9/a isn't in this file; copy it"),
        (refers(target="file:///dev/zero"), "file:///dev/zero isn't in this file; copy it here"),
        (refers(target="#/nope"), "#/nope isn't in this file; copy it here"),
        (refers(target="#"), "# isn't in this file; copy it here"),
        (refers("schemas", "Print", "patternProperties", target="a.yaml"), "a.yaml isn't in this"),
        (labelled(x_phase="succeeded"), "x-phase: wait-example: is read as running, not succeeded"),
        (
            labelled(x_reads={}),
            'x-reads/step: wait-example: is read as "2026-01-01T00:00:00Z", not null',
        ),
        (labelled(x_reads={"percent": 1}), "x-reads/percent: wait-example: is read as null, not 1"),
        (
            labelled(x_reads=[]),
            "x-reads: wait-example: must be a map of the values that are read, such as {",
        ),
        (misspelled, "x-phas: wait-example: 'x-phas' isn't a label; write x-phase"),
        (labelled(x_phase="BadResponse"), "x-phase: wait-example: is read as running, not BadRes"),
        (set_at("headers", value={"x-inferred": "a"}), "would be a header; write this mark beside"),
        (
            set_at("errors", "cases", value=[{"is": "gone", "header": {"X-Addition": "a"}}]),
            "cases/0/header/X-Addition: wait-form: would be a header; write this mark beside",
        ),
        (
            set_at("errors", "cases", value=[{"is": "refused", "code": "a"}]),
            "cases/0: wait-form: `refused` is for status 401 alone; add it, or use another kind",
        ),
        (
            set_at("errors", "cases", value=[{"is": "gone", "status": 200}]),
            "cases/0/status: wait-form: must be at least 400; see the doc",
        ),
        (
            set_at("errors", "cases", value=[{"is": "gone", "status": 404}] * 201),
            "errors/cases: wait-form: must have at most 200 entries; see the",
        ),
        (
            set_at("errors", "cases", value=[{"is": "gone", "x-inferred": "a"}]),
            "cases/0: wait-form: has no condition; add status, code, mess",
        ),
        (
            set_at("errors", "cases", value=[{"is": "gone", "header": {"X Gone": "a"}}]),
            "header/X Gone: wait-form: 'X Gone' isn't a valid header name; use letters, digits",
        ),
        (
            set_at("errors", "cases", value=[{"is": "Gone", "status": 404}]),
            "cases/0/is: wait-form: must be 'gone' or 'rate limited' or 'unavailable' or 'forb",
        ),
        (
            set_at("fault", value={"code": "/state", "in": "any"}),
            "fault/in: wait-form: must be 'any phase', not 'any'; see the doc",
        ),
        (set_at("same", value={}), "same: wait-form: must not be empty; see the doc"),
        (
            set_at("again", value=[{"header": "Retry After"}]),
            "again/0/header: wait-form: 'Retry After' isn't a valid header name",
        ),
        (set_at("headers", value={"X A": "a"}), "headers/X A: wait-form: 'X A' isn't a valid head"),
        (
            set_at("require", value={"x-inferred": "a"}),
            "require: wait-form: has no condition; add is or any",
        ),
        (
            labelled(x_error="BadResponse", x_phase="running"),
            "x-error: wait-example: a response that isn't valid has no x-phase; remove one of",
        ),
        (
            set_at("errors", "advice", value={"gon": "a"}),
            "advice/gon: wait-form: unknown key 'gon'; the keys are not found, gone, forbidden",
        ),
        (
            set_at("errors", "request-id", value="/code"),
            'request-id: wait-form: must be a map with at, header, not "/code"; see the doc',
        ),
        (
            set_at("schedule", value="5s"),
            'schedule: wait-form: must be a list, not "5s"; see the doc',
        ),
        (
            set_at("percent", value={"count": "/next"}),
            "percent: wait-form: lacks total; add it; see the documentation of x-wait",
        ),
        (
            set_at("finished", value={"at": "/at", "as": "seconds"}),
            "finished: wait-pointer: /at is a date; remove `as: seconds`",
        ),
        (labelled_error, 'gone/x-reads/code: wait-example: is read as "b", not "a"; correct the'),
        (unlabelled, "printing: wait-example: no x-phase; add the phase that the example is read"),
        (unlabelled_error, "gone: wait-example: no x-error; add the error that the example is"),
        (set_at("percent", value="/percent"), "wait-pointer: /percent isn't in Print"),
        (
            set_at("state", "is", value={"done": "succeeded"}),
            "'printing', 'jammed' of /state have",
        ),
        (set_at("id", "parameter", value="job"), "'job' isn't a parameter of the path"),
        (
            set_at("same", value={"/shop": "shop"}),
            "'shop' isn't a parameter of the ID; its parameters are id",
        ),
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
            "cases/0: wait-form: has no condition; add status, code, mess",
        ),
        (example("done"), "wait-example: can't be read as running: it isn't a JSON object"),
        (old_null, "structure: ['string', 'null'] is not"),
        (blank_variable, "security: 'INK TOKEN' isn't a variable name; write one like PRESS_TOKEN"),
        (wildcard, "wait-example: can't be checked; give it a value and a specific status"),
        (loop, "wait-pointer: /state isn't in Print"),
        (lambda content: content.update(openapi="2.0"), "structure: must be OpenAPI 3.0 or 3.1"),
        (lambda it: it.update(openapi=None, swagger=2.0), "structure: is Swagger 2.0; convert"),
        (outcome_of("put"), "wait-form: opwatch sends only GET requests, not PUT; use a GET"),
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
            "x-wait/schedule/1: wait-form: a delay of 0.5 s is too short; use at least 1 s",
        ),
        (set_at("schedule", value=[0]), "wait-form: a delay of 0 s is too short"),
        (
            set_at("state", "is", value={"printing": "running", "done": "pending"}),
            "wait-phase: no state is final; map at least one to succeeded, failed, cancelled or",
        ),
        (
            outcome_of("get"),
            "wait-phase: no state is read as ended, so this operation is never called; add one",
        ),
        (set_at("schedule", value=[float("nan")]), "wait-form: "),
        (set_at("id", "parameter", value=["id", "id"]), "wait-form: 'id' is named twice"),
        (
            set_at("headers", value={"X-A": "a\nb"}),
            "wait-form: 'a\\nb' can't be the value of a head",
        ),
        (set_at("headers", value={"X-A": "ä"}), "wait-form: 'ä' can't be the value of a header"),
        (set_at("headers", value={"Expect": "x"}), "wait-form: Expect can't be set here"),
        (
            set_at("headers", value={"Transfer-Encoding": "x"}),
            "can't be set here, because it controls",
        ),
        (set_path("/a#/{id}"), "wait-use: the path isn't a valid URL path"),
        (set_path("/a/../{id}"), "wait-use: the path isn't a valid URL path"),
        (set_path("/a b/{id}"), "wait-use: the path isn't a valid URL path"),
        (key_in("X-Schlüssel"), "security: 'X-Schlüssel' isn't a valid header name"),
        (key_in("X-K\r\nX-A: 1"), "isn't a valid header name"),
        (key_in("Host"), "security: Host can't be set here, because it controls"),
        (key_in("Content-Length"), "security: Content-Length can't be set here"),
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
        (elsewhere, "uses the server 'https://other.example', unlike the operation with x-wait"),
        (no_schema, "wait-use: no schema; describe the response"),
        (outcome_with(security=[{"two": []}]), "security: wait-use: takes different credentials"),
        (
            outcome_with(servers=[{"url": "/v2"}]),
            "wait-use: uses the server '/v2', unlike the operation with x-wait",
        ),
        (key_in("accept"), "security: accept is set by opwatch; use another header"),
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
        (
            matrix,
            "wait-use: the path parameter 'id' has the style 'matrix', but opwatch supports",
        ),
        (
            set_at("state", value=[{"is": "succeeded", "when": {"/shop": [None, "a"]}}]),
            "state/0: wait-phase: this reports success only because fields are missing; also test",
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


def test_a_field_that_is_missing_is_one_finding(run: Run) -> None:
    """However many pointers lead to it, or through it."""

    def change(content: dict[str, Any]) -> None:
        pointers = {"percent": {"count": "/a/b", "total": "/a/c"}, "step": "/a/b"}
        wait(content).update(pointers, fault={"at": "/a", "code": "/d"})
        wait(content)["restart-on-change"] = "/a/b"

    _, _, err = run("generate", spec(change), "--out", "out")
    [line] = err.splitlines()
    assert "/a/b isn't in Print; correct it, or add it to the schema" in line


def test_many_booleans_take_no_time(run: Run) -> None:
    """Not each of their combinations is checked, of which there are 16 million."""

    def change(content: dict[str, Any]) -> None:
        names = [f"flag{n}" for n in range(24)]
        flags = {name: {"type": "boolean"} for name in names}
        content["components"]["schemas"]["Print"]["properties"] |= flags
        wait(content)["state"] = [{"is": "running", "when": {f"/{name}": True}} for name in names]

    code, _, err = run("generate", spec(change), "--out", "out")
    assert (code, "no condition matches /flag0: false" in err) == (2, True)


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


def with_mistakes_elsewhere(content: dict[str, Any]) -> None:
    """What published documents have in the parts that no wait reads."""
    lost = {"$ref": "#/components/schemas/Lost"}
    body = {"content": {"application/json": {"schema": lost}}}
    again = {"get": {"operationId": "getPrint", "responses": {"200": body}}, "post": None}
    content["paths"] |= {
        "/other": {"get": {"responses": {"200": {"$ref": "#/lost"}}, "security": [{"nope": []}]}},
        "/more": {"post": {"operationId": 3, "responses": []}},
        "/again": again,
        "/none": None,
    }
    schemas = {"Twice": {"required": ["a", "a"]}, "Old": {"minimum": 1, "exclusiveMinimum": True}}
    content["components"]["schemas"] |= schemas | {"Wrong": {"type": "text"}, "To": lost}
    content["components"]["parameters"] = {"Wrong": {"in": "path"}}
    content |= {"webhooks": {"made": {"post": 3}}, "tags": [{"description": {"$ref": "a.yml"}}]}


def test_mistakes_that_the_wait_does_not_read(run: Run) -> None:
    """Large documents have some, and whoever writes a wait for one can't correct them."""
    code, _, err = run("generate", spec(with_mistakes_elsewhere), "--out", "out")
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    "limit",
    [{"exclusiveMinimum": True}, {"pattern": ["a"]}, {"$recursiveAnchor": True}, {"minimum": "1"}],
)
@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
def test_limits_of_a_schema_are_not_read(limit: dict[str, Any], version: str, run: Run) -> None:
    """Published documents mix the versions of JSON Schema; a field may have a limit's name."""

    def change(content: dict[str, Any]) -> None:
        content["openapi"] = version
        of_print(pattern={"type": "string"}, last={"type": "number"} | limit)(content)
        wait(content)["step"] = "/pattern"

    code, _, err = run("generate", spec(change), "--out", "out")
    assert (code, err) == (0, "")


def test_errors_that_are_not_described(run: Run) -> None:
    """Many documents describe only successful responses."""

    def change(content: dict[str, Any]) -> None:
        del operation(content)["responses"]["404"]

    code, _, err = run("generate", spec(change), "--out", "out")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("number", ["1e1", "1.0e1", "100E-1"])
def test_numbers_of_yaml_1_2(number: str, run: Run) -> None:
    """YAML 1.1 reads them as text, but OpenAPI is YAML 1.2."""
    text = Path(spec()).read_text(encoding="utf-8").replace(" 20\n", f" {number}\n")
    Path("press.yaml").write_text(f"# not JSON\n{text}", encoding="utf-8")
    code, _, err = run("generate", "press.yaml", "--out", "out")
    assert (code, err) == (0, "")
    assert "10.0" in Path("out/opwatch_press/wait.py").read_text(encoding="utf-8")


def in_another_file(content: dict[str, Any]) -> None:
    operation(content)["responses"]["200"] |= {"$ref": "responses.yaml#/ok"}


def split(content: dict[str, Any]) -> None:
    operation(content).clear()
    content["paths"]["/prints/{id}"]["get"] = {"$ref": "print.yaml"}


@pytest.mark.parametrize("change", [in_another_file, split])
def test_a_document_in_several_files(change: Change, run: Run) -> None:
    """The message says how to make one of them."""
    code, _, err = run("generate", spec(change), "--out", "out")
    assert (code, "bundle the document into one file" in err) == (2, True), err


def test_a_long_chain_of_references(run: Run) -> None:
    """Each schema may lead to the next one, as in a large document."""

    def change(content: dict[str, Any]) -> None:
        schemas = content["components"]["schemas"]
        for n in range(1500):
            following = {"$ref": f"#/components/schemas/A{n + 1}"}
            schemas[f"A{n}"] = {"type": "object", "properties": {"next": following}}
        schemas["A1500"] = {"type": "string"}
        schemas["Problem"]["properties"]["first"] = {"$ref": "#/components/schemas/A0"}

    code, _, err = run("generate", spec(change), "--out", "out")
    assert (code, err) == (0, "")


def test_the_line_in_a_file_with_an_emoji(run: Run) -> None:
    """JSON escapes it as two characters, which YAML doesn't know."""

    def change(content: dict[str, Any]) -> None:
        content["info"]["title"] = "Press \U0001f5a8"
        wait(content)["step"] = "/nope"

    _, _, err = run("generate", spec(change), "--out", "out")
    lines = Path("press.json").read_text(encoding="utf-8").splitlines()
    assert "\\ud83d" in lines[3]
    assert lines[int(err.split(":")[2]) - 1].strip() == '"step": "/nope"'
