"""A generated operation's request, compared with the one that its own httpx client sends.

A client is generated, as those of the services are, from a spec whose operations use every way to
pass an argument: paths, queries, headers, cookies and bodies. Hypothesis chooses the arguments. The
generated function sends them to an httpx mock transport, and `outgoing` must give the same method,
target, headers and body.
"""

import io
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from net_support import feed

from opwatch.cli.generating import client
from opwatch.errors import ConfigurationError
from opwatch.net.message import Address, Request
from opwatch.net.operation import outgoing

TOOLS = Path(__file__).resolve().parents[2] / "tools"
ADDRESS = Address("https://x.test", "x.test", "/v1")
DEFAULTS = (("Accept", "application/json"), ("User-Agent", "opwatch"))

pytestmark = pytest.mark.filterwarnings("ignore:Setting per-request cookies:DeprecationWarning")


def parameter(where: str, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"in": where, "name": name, "required": where == "path", "schema": schema}


def operation(name: str, *parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    responses = {"204": {"description": "Done."}}
    fields = {"operationId": name, "tags": ["ops"], "responses": responses, **more}
    return fields | ({"parameters": list(parameters)} if parameters else {})


def body(media_type: str, schema: dict[str, Any], required: bool = True) -> dict[str, Any]:
    return {"required": required, "content": {media_type: {"schema": schema}}}


TEXT, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
FLAG, ANYTHING = {"type": "boolean"}, {"type": "object", "additionalProperties": True}
LIST = {"type": "array", "items": {"type": ["string", "null"]}}
NUMBERS = {"type": "array", "items": {"anyOf": [NUMBER, FLAG]}}
CHOICE = {"type": "string", "enum": ["a b", "ä"]}
FORM = {
    "type": "object",
    "properties": {
        "text": TEXT,
        "flag": FLAG,
        "list": LIST,
        "number": {"type": ["number", "null"]},
    },
}
UPLOAD = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
QUERY = {
    "text": TEXT,
    "integer": INTEGER,
    "number": NUMBER,
    "flag": FLAG,
    "list": LIST,
    "numbers": NUMBERS,
    "maybe": {"type": ["string", "null"]},
    "day": {"type": "string", "format": "date"},
    "choice": CHOICE,
    "a&b c[]": TEXT,
    "fields": ANYTHING,
}
SPEC = {
    "openapi": "3.1.0",
    "info": {"title": "Operations", "version": "1"},
    "paths": {
        "/things/{first}/é '\"~`[^_]|<%zz%41/{second}:cancel": {
            "get": operation(
                "path", parameter("path", "first", TEXT), parameter("path", "second", TEXT)
            )
        },
        "/{first}/end": {"delete": operation("root", parameter("path", "first", TEXT))},
        "/query": {
            "get": operation("query", *(parameter("query", *pair) for pair in QUERY.items()))
        },
        "/own?a=1&b=%20 ö/../#part": {
            "get": operation("own_query"),
            "post": operation("replaced_query", parameter("query", "c", TEXT)),
        },
        "/headers": {
            "get": operation(
                "headers",
                *(parameter("header", name, TEXT) for name in ("accept", "X-Text", "Content-Type")),
                parameter("header", "X-Count", INTEGER),
                parameter("header", "X-Flag", FLAG),
                parameter("cookie", "one", TEXT),
                parameter("cookie", "two", TEXT),
            )
        },
        "/json": {
            "post": operation("json", requestBody=body("application/vnd.x+json", ANYTHING)),
            "put": operation("json_list", requestBody=body("application/json", NUMBERS, False)),
        },
        "/form": {
            "post": operation("form", requestBody=body("application/x-www-form-urlencoded", FORM))
        },
        "/content": {
            "put": operation(
                "content",
                requestBody=body("application/octet-stream", UPLOAD["properties"]["file"]),
            ),
            "post": operation("nothing"),
        },
        "/upload": {"post": operation("upload", requestBody=body("multipart/form-data", UPLOAD))},
    },
}


ODD = st.text(st.characters(codec="utf-8") | st.sampled_from("/%.?#:;@&=+ `~\\{}[]\r\n\t\"'é"))
SEGMENT = ODD.filter(lambda text: text not in ("", ".", ".."))
ASCII = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.just("\t"))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALAR = st.none() | st.booleans() | st.integers() | FLOATS | ODD
LISTS = st.lists(st.none() | ODD)
JSON = st.recursive(SCALAR, lambda inner: st.lists(inner) | st.dictionaries(ODD, inner))
ARGUMENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "path": st.fixed_dictionaries({"first": SEGMENT, "second": SEGMENT}),
    "root": st.fixed_dictionaries({"first": SEGMENT}),
    "query": st.fixed_dictionaries(
        {},
        optional={
            "text": ODD,
            "integer": st.integers(),
            "number": st.floats(),
            "flag": st.booleans(),
            "list_": LISTS,
            "numbers": st.lists(st.floats() | st.booleans()),
            "maybe": st.none() | ODD,
            "day": st.dates(),
            "choice": st.sampled_from(CHOICE["enum"]),
            "ab_c": ODD,
            "fields": st.dictionaries(ODD, SCALAR | st.lists(SCALAR)),
        },
    ),
    "own_query": st.just({}),
    "replaced_query": st.fixed_dictionaries({}, optional={"c": ODD}),
    "headers": st.fixed_dictionaries(
        {},
        optional={
            "accept": ASCII,
            "x_text": ASCII,
            "content_type": ASCII,
            "x_count": st.integers(),
            "x_flag": st.booleans(),
            "one": ASCII,
            "two": ASCII,
        },
    ),
    "json": st.fixed_dictionaries({"body": st.dictionaries(ODD, JSON)}),
    "json_list": st.fixed_dictionaries({}, optional={"body": st.lists(FLOATS | st.booleans())}),
    "form": st.fixed_dictionaries(
        {
            "body": st.fixed_dictionaries(
                {},
                optional={
                    "text": ODD,
                    "flag": st.booleans(),
                    "list": LISTS,
                    "number": st.none() | st.floats(),
                    "an extra": SCALAR,
                },
            )
        }
    ),
    "content": st.fixed_dictionaries({"body": st.binary()}),
    "nothing": st.just({}),
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package that is generated from the spec."""
    folder = tmp_path_factory.mktemp("generated")
    spec = folder / "operations.yaml"
    spec.write_text(yaml.safe_dump(SPEC), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        client.generate_client(spec, folder / "operations_api", folder)
        patch.syspath_prepend(folder)
        yield import_module("operations_api")


def module_of(api: ModuleType, name: str) -> ModuleType:
    return import_module(f"{api.__name__}.api.ops.{name}")


def typed(api: ModuleType, name: str, values: dict[str, Any]) -> dict[str, Any]:
    """The values as a generated function takes them: in its models."""
    models = import_module(f"{api.__name__}.models")
    types = {
        ("query", "fields"): models.QueryFields.from_dict,
        ("query", "choice"): models.QueryChoice,
        ("json", "body"): models.JsonBody.from_dict,
        ("form", "body"): models.FormBody.from_dict,
        ("content", "body"): lambda content: file(api, content),
        ("upload", "body"): lambda content: models.UploadBody(file(api, content)),
    }
    return {key: types.get((name, key), lambda v: v)(value) for key, value in values.items()}


def file(api: ModuleType, content: bytes) -> Any:
    return import_module(f"{api.__name__}.types").File(io.BytesIO(content))


def sent_by_httpx(api: ModuleType, name: str, values: dict[str, Any]) -> httpx.Request:
    requests: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(204)

    client = api.Client(
        ADDRESS.origin + ADDRESS.prefix,
        headers=dict(DEFAULTS),
        httpx_args={"transport": httpx.MockTransport(respond)},
    )
    module_of(api, name).sync_detailed(client=client, **typed(api, name, values))
    return requests[0]


def ours(api: ModuleType, name: str, values: dict[str, Any]) -> Request:
    kwargs = module_of(api, name).build_request(**typed(api, name, values))
    return outgoing(ADDRESS, kwargs, DEFAULTS)


@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data())
def test_a_request_is_the_one_that_httpx_sends(
    api: ModuleType, name: str, data: st.DataObject
) -> None:
    """Method, target, headers and body are equal, but for the headers that a transport adds."""
    values = data.draw(ARGUMENTS[name])
    theirs, request = sent_by_httpx(api, name, values), ours(api, name, values)
    by_transport = {b"host", b"accept-encoding", b"connection", b"content-length"}
    headers = [
        (key.decode(), value.decode())
        for key, value in theirs.headers.raw
        if key.lower() not in by_transport
    ]
    assert request.address is ADDRESS
    assert (request.method, request.target) == (theirs.method, theirs.url.raw_path.decode())
    assert sorted(request.headers) == sorted(headers)
    assert request.body == theirs.content


@pytest.mark.parametrize("path", ["/a/./x", "/a/../x", "/..", "//end"])
def test_a_path_that_httpx_would_shorten_is_refused(path: str) -> None:
    """httpx would remove the segment and request another resource; opwatch requests none."""
    with pytest.raises(ConfigurationError, match=r"must not be empty, '\.' or '\.\.'"):
        outgoing(ADDRESS, {"method": "get", "url": path}, DEFAULTS)


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_path_parameter_that_names_another_resource_is_refused(
    api: ModuleType, value: str
) -> None:
    """Already by the generated function, which is also used alone."""
    with pytest.raises(ValueError, match=r"`first` must not be None, .*empty, '\.' or '\.\.'"):
        ours(api, "root", {"first": value})


@pytest.mark.parametrize("value", ["hush\r\nX-Other: 1", "hush\n", "hush\x00", "hushé"])
@pytest.mark.parametrize("argument", ["x_text", "accept", "one"])
def test_a_header_that_cannot_be_sent_is_refused(
    api: ModuleType, argument: str, value: str
) -> None:
    """When it would be sent; the error doesn't quote its value, which may be a secret."""
    with pytest.raises(ConfigurationError, match="a header contains characters") as caught:
        feed([], ours(api, "headers", {argument: value}))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("json", {"body": {"number": float("nan")}}),
        ("json", {"body": {"number": float("inf")}}),
        ("json", {"body": {"text": "\ud800"}}),
        ("json", {"body": {"text": object()}}),
        ("query", {"text": "\ud800"}),
        ("form", {"body": {"text": "\ud800"}}),
    ],
)
def test_an_argument_that_cannot_be_encoded_is_refused(
    api: ModuleType, name: str, values: dict[str, Any]
) -> None:
    """What makes httpx raise its encoder's error makes opwatch raise `ConfigurationError`."""
    with pytest.raises((TypeError, ValueError)):
        sent_by_httpx(api, name, values)
    with pytest.raises(ConfigurationError, match=f"an argument of /{name} can't be sent: "):
        ours(api, name, values)


def test_uploads_are_refused(api: ModuleType) -> None:
    """A multipart body isn't dropped silently: the error says how to send it."""
    with pytest.raises(ConfigurationError, match="call the operation's own `sync_detailed`"):
        ours(api, "upload", {"body": b"content"})
