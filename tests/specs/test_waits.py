"""What the compiler generates from an `x-wait` block with combinations that our services don't
use."""

import copy
import re
from typing import Any

import pytest

from opwatch.cli.generating import rules, waits
from opwatch.errors import AuthenticationError, JobGone, PermissionDenied, RateLimited, Unavailable
from opwatch.net.message import Answer
from opwatch.progress import Fault, Phase


def objects(**schemas: Any) -> dict[str, Any]:
    return {
        name: {"type": "object", "properties": properties} for name, properties in schemas.items()
    }


def body(name: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"description": name, "content": {"application/vnd.press+json": {"schema": schema}}}


TEXT, NUMBER, FLAG = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
WAIT = {
    "id": {"parameter": "printId", "called": "print"},
    "schedule": [0.5, 2],
    "restart-on-change": "/print/pages/done",
    "percent": {"count": "/print/pages/done", "total": "/print/pages/of"},
    "same": {"/print/id": "printId"},
    "state": [
        {"is": "pending", "when": {"/print/state": "Queued"}},
        {"is": "failed", "when": {"/print/state": "done", "/print/jammed": True}},
        {"is": "succeeded", "when": {"/print/state": "done"}},
    ],
    "step": "/print/step",
    "fault": {"at": "/print/jam", "code": "/code", "title": "/title", "message": "/text"},
    "started": {"at": "/print/times/began", "as": "milliseconds"},
    "finished": "/print/times/ended",
    "errors": {
        "code": ["/code", "/problem/code"],
        "message": "/detail",
        "cases": [
            {"is": "gone", "status": [404, 410], "code": ["NoSuchPrint", 'A "quoted" code']},
            {"is": "rate limited", "status": 403, "header": {"X-Left": 0}},
            {"is": "unavailable", "message": ["try later", "busy"]},
            {"is": "forbidden", "status": 400},
            {"is": "refused", "status": 401, "code": "NoSuchKey"},
        ],
        "advice": {"not found": "check the shop", "gone": 'say \u001b[2J "please"'},
        "known": ["Closed", ["NotYours"]],
    },
}
SPEC = {
    "openapi": "3.1.0",
    "info": {"title": "Press", "version": "1"},
    "paths": {
        "/shops/{shop}/prints/{printId}": {
            "get": {
                "operationId": "getPrint",
                "tags": ["prints"],
                "x-wait": WAIT,
                "responses": {"200": body("Answer"), "404": body("Problem")},
            }
        }
    },
    "components": {
        "schemas": objects(
            Answer={"print": {"$ref": "#/components/schemas/Print"}},
            Print={
                "id": TEXT,
                "state": TEXT,
                "jammed": FLAG,
                "step": TEXT,
                "jam": {"$ref": "#/components/schemas/Jam"},
                "pages": {"$ref": "#/components/schemas/Pages"},
                "times": {"$ref": "#/components/schemas/Times"},
            },
            Jam={"code": TEXT, "title": TEXT, "text": TEXT},
            Pages={"done": NUMBER, "of": NUMBER},
            Times={"began": NUMBER, "ended": TEXT},
            Problem={"code": TEXT, "detail": TEXT, "problem": {"$ref": "#/components/schemas/Jam"}},
        )
    },
}


class Session:
    """Notes the warnings."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def unknown(self, state: object) -> Phase:
        self.told.append(str(state))
        return Phase.UNKNOWN


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    source = waits.compiled("press", SPEC)
    assert source is not None
    names: dict[str, Any] = {}
    exec(re.sub(r"^from opwatch_api\..*\n", "", source, flags=re.MULTILINE), names)
    return names


def read(compiled: dict[str, Any], told: Any, session: Session | None = None) -> Any:
    return compiled["read"](session or Session(), "p1", {"print": told}, None)


def test_the_block_is_valid() -> None:
    """What these tests compile keeps the rules."""
    assert list(rules.form(SPEC)) == []
    assert list(rules.pointers_exist(SPEC)) == []


@pytest.mark.parametrize(
    ("told", "phase"),
    [
        ({"state": "queued"}, Phase.PENDING),
        ({"state": "DONE"}, Phase.SUCCEEDED),
        ({"state": "done", "jammed": True}, Phase.FAILED),
        ({"state": "done", "jammed": "true"}, Phase.SUCCEEDED),
        ({"state": "done", "jammed": 1}, Phase.SUCCEEDED),
        ({"state": "lost"}, Phase.UNKNOWN),
        ({}, Phase.UNKNOWN),
        ([], Phase.UNKNOWN),
        (None, Phase.UNKNOWN),
    ],
)
def test_a_condition_of_texts_and_booleans(compiled: Any, told: Any, phase: Phase) -> None:
    """Texts are compared without case, booleans with booleans alone; nothing is guessed."""
    assert read(compiled, told).phase is phase


def test_what_is_unknown_is_named(compiled: Any) -> None:
    """The warning names each field that the conditions test."""
    session = Session()
    read(compiled, {"state": "lost", "jammed": []}, session)
    assert session.told == ["state: lost, jammed: list"]


def test_a_fault_of_an_object(compiled: Any) -> None:
    """It is read of a failed job that has that object; its title stands in front."""
    failed = {"state": "done", "jammed": True}
    jam = {"code": 7, "title": "Jam", "text": "tray 2"}
    assert read(compiled, failed | {"jam": jam}).fault == Fault("7", "Jam: tray 2")
    assert read(compiled, failed | {"jam": {"title": "Jam"}}).fault == Fault(None, "Jam")
    assert read(compiled, failed | {"jam": "tray 2"}).fault is None
    assert read(compiled, {"state": "done", "jam": jam}).fault is None


@pytest.mark.parametrize(
    ("pages", "percent"),
    [
        ({"done": 3, "of": 12}, 25),
        ({"done": "3", "of": "12"}, 25),
        ({"done": 0, "of": 12}, 0),
        ({"done": 13, "of": 12}, None),
        ({"done": 0, "of": 0}, None),
        ({"done": 1e308, "of": 1e-308}, None),
        ({"done": 3}, None),
        ([3, 12], None),
    ],
)
def test_a_count_of_a_total(compiled: Any, pages: Any, percent: float | None) -> None:
    """It is a percentage, and what restarts the schedule; nothing if it makes no sense."""
    progress = read(compiled, {"state": "queued", "pages": pages})
    assert progress.percent == percent
    assert compiled["SERVICE"].marker(progress) == percent


def test_times_of_both_kinds(compiled: Any) -> None:
    """`finished` is read once the job is over."""
    times = {"began": 1_600_000_000_000, "ended": "2020-09-13T12:30:00Z"}
    running = read(compiled, {"state": "queued", "times": times})
    assert (str(running.started_at), running.finished_at) == ("2020-09-13 12:26:40+00:00", None)
    ended = read(compiled, {"state": "done", "times": times})
    assert str(ended.finished_at) == "2020-09-13 12:30:00+00:00"


@pytest.mark.parametrize(
    ("told", "is_one"), [("p1", True), ("P1", True), (None, True), ("p2", False)]
)
def test_an_answer_about_another_job(compiled: Any, told: Any, is_one: bool) -> None:
    """It is none."""
    problem = compiled["_problem"]({"print": {"id": told}}, "p1")
    assert (problem is None) is is_one


@pytest.mark.parametrize(
    ("status", "fields", "headers", "kind"),
    [
        (404, {"code": "nosuchprint"}, (), JobGone),
        (410, {"problem": {"code": 'A "quoted" code'}}, (), JobGone),
        (404, {"code": "NoSuchShop"}, (), None),
        (409, {"code": "NoSuchPrint"}, (), None),
        (403, {}, ((b"x-left", b"0"),), RateLimited),
        (403, {}, ((b"x-left", b"10"),), None),
        (500, {"detail": "We are BUSY."}, (), Unavailable),
        (400, {"detail": "try later"}, (), Unavailable),
        (400, {}, (), PermissionDenied),
        (401, {"code": "nosuchkey"}, (), AuthenticationError),
        (401, {"code": "Expired"}, (), None),
        (500, {}, (), None),
    ],
)
def test_a_case(compiled: Any, status: int, fields: Any, headers: Any, kind: Any) -> None:
    """The first case that fits says which error it is; without one, the status does."""
    assert compiled["complaint"](Answer(status, headers, b""), fields).kind is kind


def test_other_parameters_of_the_path_are_the_clients(compiled: Any) -> None:
    """The ID is the block's; what else the path needs, the client was given."""
    source = waits.compiled("press", SPEC) or ""
    shop = "shop=await session.parameter('shop', turn)"
    assert f"poll_operation, {shop}, print_id=job_id)" in source
    service = compiled["SERVICE"]
    assert service.accept == "application/vnd.press+json"
    assert (service.schedule.delays, service.id_name) == ((0.5, 2), "print")
    assert service.outcome is None


def test_what_to_check_after_an_error(compiled: Any) -> None:
    """It is the spec's own text, and without one, the address; the codes that a case gives to
    refused credentials may be quoted."""
    service = compiled["SERVICE"]
    assert service.address_help == "check the shop"
    assert service.help == {JobGone: 'say \N{REPLACEMENT CHARACTER}[2J "please"'}
    assert service.known == {"Closed", "NotYours", "NoSuchKey"}
    content = copy.deepcopy(SPEC)
    del content["paths"]["/shops/{shop}/prints/{printId}"]["get"]["x-wait"]["errors"]["advice"]
    assert "`base_url` (PRESS_BASE_URL)" in (waits.compiled("press", content) or "")


def test_a_spec_without_a_wait_has_no_module() -> None:
    """It is a typed client and no more."""
    content = copy.deepcopy(SPEC)
    del content["paths"]["/shops/{shop}/prints/{printId}"]["get"]["x-wait"]
    assert waits.compiled("press", content) is None
