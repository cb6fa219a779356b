"""What `opwatch generate` writes: a client that reads responses as its spec says."""

import importlib
import sys
from datetime import date
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from generating_tools import Change, Generate, changed, operation, wait
from package_support import BEARER, DONE, OAUTH2, RUNNING, folder, header, said, sent_by

from opwatch import Phase
from opwatch.cli.generating import package
from opwatch.errors import BadResponse, ConfigurationError, JobFailed
from opwatch.testing import FakeClock, Script, conformance, reply

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


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
        pytest.raises(BadResponse, match="has no object `print`"),
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


def list_of_anything(spec: dict[str, Any]) -> None:
    spec["components"]["schemas"]["Print"]["properties"]["pages"] = {"type": "array"}


@pytest.mark.typing
@pytest.mark.parametrize("change", [several_parts, list_of_anything])
def test_the_package_is_typed(change: Change, generate: Generate, tmp_path: Path) -> None:
    """mypy --strict finds nothing to say, of its client neither."""
    out = folder(generate(change))
    mypy = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    written = str(out / "opwatch_press")
    assert said([*mypy, "--cache-dir", str(tmp_path / "mypy"), written], out)[0] == 0


def test_the_packages_own_test_passes(generate: Generate) -> None:
    """What was generated is tested by what was generated."""
    out = folder(generate(OAUTH2))
    code, text = said([*PYTEST, "tests"], out)
    assert (code, "1 passed" in text) == (0, True), text


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
