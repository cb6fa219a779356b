"""What `opwatch generate` writes: a client that waits as its spec says."""

import copy
from typing import Any

import pytest
from generating_tools import Generate, operation, wait
from package_support import DONE, RUNNING

from opwatch import Fault, Phase
from opwatch.errors import (
    BadResponse,
    JobFailed,
    JobGone,
    NotFound,
    OpwatchError,
    RateLimited,
    ServiceError,
    WaitTimeout,
)
from opwatch.testing import FakeClock, Reply, Script, reply

LIMIT = {"x-left": "0", "x-reset": "1800001000"}


def pausing(spec: dict[str, Any]) -> None:
    wait(spec)["again"] = [
        {"header": "wait-ms", "as": "milliseconds"},
        {"header": "pause"},
        {"header": "x-reset", "as": "epoch", "when": {"x-left": 0}},
        {"at": "/next"},
        {"at": "/next_ms", "as": "milliseconds"},
    ]
    case = {"is": "rate limited", "status": 403, "header": {"x-left": 0}}
    wait(spec)["errors"]["cases"] = [case]


def running(**fields: Any) -> Reply:
    """A response; its `headers`, and its fields."""
    headers = fields.pop("headers", None)
    return reply(200, {"state": "printing", **fields}, headers)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (running(headers={"wait-ms": "45000"}), 45),
        (reply(503, {}, {"wait-ms": "45000"}), 45),
        (Reply(200, b'{"state": "printing"}', (("pause", "1"), ("pause", "45"))), 45),
        (running(headers={"pause": "45"}), 45),
        (running(headers={"pause": "-45"}), 5),
        (running(headers={"pause": "45", "Retry-After": "60"}), 60),
        (reply(403, {}, LIMIT), 1000),
        (running(headers=LIMIT), 1000),
        (running(headers=LIMIT | {"x-left": "1"}), 5),
        (running(next=45), 45),
        (running(next_ms=45_000), 45),
        (running(next="soon"), 5),
        (running(next="\u00b2"), 5),
        (running(next="4_5"), 5),
        (running(headers={"Retry-After": "4_5"}), 5),
        (Reply(200, b'{"state": "printing"}', (("pause", "\u00b2"),)), 5),
        (running(next=45, headers={"pause": "50"}), 50),
    ],
)
def test_pauses_are_never_undercut(first: Reply, second: float, generate: Generate) -> None:
    """The next poll is sent when the response said, and not before the schedule."""
    made = generate(pausing)
    with FakeClock(epoch=1_800_000_000), Script({"/p1": [first, DONE]}) as script:
        made.Press().wait("p1", timeout=None)
        assert [sent.time for sent in script.sent] == [0, second]


def test_a_pause_of_one_job_holds_no_other(generate: Generate) -> None:
    """A field is about its job; a header is about the service."""
    made = generate(pausing)
    slow = reply(200, {"state": "printing", "next": 100})
    with FakeClock(), Script({"/slow": [slow, DONE], "/quick": [RUNNING, DONE]}) as script:
        assert len([*made.Press().watch_many(["slow", "quick"], timeout=None)]) == 4
        times = {(sent.target.rpartition("/")[2], sent.time) for sent in script.sent}
    assert times == {("slow", 0), ("quick", 0), ("quick", 5), ("slow", 100)}


def test_a_pause_beyond_the_deadline_ends_the_wait(generate: Generate) -> None:
    """As `Retry-After` does."""
    made = generate(pausing)
    held = reply(200, {"state": "printing"}, {"pause": "3600"})
    with FakeClock() as clock, Script({"/p1": [held]}):
        with pytest.raises((RateLimited, WaitTimeout)):
            made.Press().wait("p1", timeout=60)
        assert clock.now() <= 60


def test_conditions_with_lists_and_null(generate: Generate) -> None:
    """A list means any of its values, and null what is null or absent."""

    def change(spec: dict[str, Any]) -> None:
        wait(spec)["state"] = [
            {"is": "pending", "when": {"/state": None}},
            {"is": "running", "when": {"/state": ["Printing", "binding"]}},
            {"is": "failed", "when": {"/state": ["jammed", "torn"], "/shop": ["a", None]}},
            {"is": "succeeded", "when": {"/state": "done"}},
            {"is": "ended", "when": {"/state": "jammed"}},
        ]

    made = generate(change)
    expected = {
        None: "pending",
        "printing": "running",
        "BINDING": "running",
        "torn": "failed",
        "done": "succeeded",
        "folded": "unknown",
    }
    for state, phase in expected.items():
        with Script({"/p1": [reply(200, {"state": state})]}):
            assert made.Press().progress("p1").phase == phase
    with Script({"/p1": [reply(200, {"state": "jammed", "shop": "b"})]}):
        assert made.Press().progress("p1").phase == "ended"


@pytest.mark.parametrize("after", ["ended", "succeeded"])
def test_a_pause_that_a_job_which_is_over_asks_for(after: str, generate: Generate) -> None:
    """The request for how it ended waits, too, and is sent once the pause is over."""
    made = generate(with_outcome if after == "ended" else with_result)
    over = reply(200, {"state": "done", "next": 60})
    there = reply(200, {"state": "done", "shop": "p1"})
    with FakeClock(), Script({"/prints/p1": [over], "/results/p1": [there]}) as script:
        found = made.Press().wait("p1", timeout=None)
        assert [(sent.target[:12], sent.time) for sent in script.sent] == [
            ("/api/prints/", 0),
            ("/api/results", 60),
        ]
    assert found.phase == "succeeded"


def test_a_result_that_is_not_there_yet(generate: Generate) -> None:
    """After a success, the result alone is polled until it is there."""
    made = generate(with_result)
    coming, there = (reply(200, {"state": word, "shop": "P1"}) for word in ("printing", "done"))
    answers = {"/prints/p1": [DONE], "/results/p1": [coming, reply(503, {}), there]}
    with FakeClock(), Script(answers) as script:
        seen = list(made.Press().watch("p1", timeout=None))
    assert [one.phase for one in seen] == [Phase.RUNNING, Phase.SUCCEEDED]
    assert seen[-1].details.state == "done"
    assert [sent.target.rpartition("/")[0] for sent in script.sent] == [
        *("/api/prints", "/api/results", "/api/results", "/api/results")
    ]


@pytest.mark.parametrize("shop", ["p2", None, 7])
def test_the_result_of_another_job_is_none(generate: Generate, shop: Any) -> None:
    """Nor is one that doesn't say whose it is."""
    answers = {
        "/prints/p1": [DONE],
        "/results/p1": [reply(200, {"state": "done", "shop": shop})],
    }
    with FakeClock(), Script(answers), pytest.raises(BadResponse, match="isn't about this print"):
        generate(with_result).Press(max_failures=2).wait("p1", timeout=None)


@pytest.mark.parametrize("status", [202, 301, 400, 401, 403, 404, 407, 409, 418, 429, 500, 503])
def test_only_a_403_means_that_a_result_may_not_be_read(
    status: int, generate: Generate, caplog: Any
) -> None:
    """Whatever the case of the spec makes of another response, it isn't a success."""

    def change(spec: dict[str, Any]) -> None:
        with_result(spec)
        wait(spec)["errors"]["cases"] = [{"is": "forbidden", "code": "NoRead"}]

    made = generate(change)
    answers = {"/prints/p1": DONE, "/results/p1": reply(status, {"code": "NoRead"})}
    with FakeClock(), Script(answers):
        if status == 403:
            assert made.Press().wait("p1", timeout=600).phase is Phase.SUCCEEDED
            assert "press p1 succeeded, but whether its result can be used is unk" in caplog.text
        else:
            with pytest.raises(OpwatchError):
                made.Press().wait("p1", timeout=600)


@pytest.mark.parametrize(("kind", "more"), [("rate limited", 0), ("unavailable", 0), ("gone", 1)])
def test_a_401_that_means_something_else_is_no_refusal(
    kind: str, more: int, generate: Generate
) -> None:
    """The credentials are used for the other jobs, and after a pause."""

    def change(spec: dict[str, Any]) -> None:
        spec["security"] = [{"token": []}]
        spec["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        wait(spec)["errors"]["cases"] = [{"is": kind, "status": 401, "code": "Else"}]

    made = generate(change)
    answers = {"/p1": [reply(401, {"code": "Else"}), DONE], "/p2": DONE, "/p3": DONE}
    with FakeClock(), Script(answers) as script:
        many = made.Press("a-token").watch_many(["p1", "p2", "p3"], timeout=600)
        ended = {one.job_id for one in many if one.phase is Phase.SUCCEEDED}
    assert (len(ended), len(many.errors), len(script.sent)) == (3 - more, more, 4 - more)


def test_what_to_check_ends_an_error(generate: Generate) -> None:
    """The spec says it for each kind of error; extensions elsewhere in it change nothing."""

    def change(spec: dict[str, Any]) -> None:
        spec["paths"]["x-note"] = "any"
        operation(spec)["responses"]["x-note"] = "any"
        wait(spec)["errors"]["cases"] = [{"is": "gone", "status": 410}]
        wait(spec)["errors"]["advice"] = {"gone": "ask the shop", "not found": "check the shop"}

    made = generate(change)
    answers = {"/p1": reply(410, {}), "/p2": reply(404, {}), "/p3": reply(302, {})}
    with Script(answers):
        for job_id, kind, advice in (
            ("p1", JobGone, "ask the shop"),
            ("p2", NotFound, "check the shop"),
            ("p3", ServiceError, "check the shop"),
        ):
            with pytest.raises(kind) as caught:
                made.Press().progress(job_id)
            assert caught.value.advice == advice
            assert str(caught.value).endswith(f"; {advice}")


@pytest.mark.parametrize("shop", [0, "0"])
def test_the_result_of_job_0(shop: Any, generate: Generate) -> None:
    """Its ID is one, as a number too."""
    answers = {
        "/prints/0": [DONE],
        "/results/0": [reply(200, {"state": "done", "shop": shop})],
    }
    with FakeClock(), Script(answers):
        assert generate(with_result).Press().wait("0", timeout=60).phase == "succeeded"


def test_the_reason_of_another_job_is_none(generate: Generate, caplog: Any) -> None:
    """The job has failed all the same, and a warning says why there is no reason."""

    def change(spec: dict[str, Any]) -> None:
        with_result(spec)
        outcome = {"operation": "getResult", "after": "failed", "fault": {"message": "/shop"}}
        wait(spec)["outcome"] = outcome | {"same": {"/shop": "id"}}

    jammed = reply(200, {"state": "jammed"})
    answers = {"/prints/p1": [jammed], "/results/p1": [reply(200, {"shop": "p2"})]}
    with FakeClock(), Script(answers) as script, pytest.raises(JobFailed) as failed:
        generate(change).Press().wait("p1", timeout=None)
    assert failed.value.fault is None
    assert len(script.sent) < 10
    assert "the reason is unknown: the outcome response is for another" in caplog.text


def test_why_a_job_failed(generate: Generate) -> None:
    """Another operation says so; a reason that is known already stays if it doesn't."""

    def change(spec: dict[str, Any]) -> None:
        with_result(spec)
        wait(spec)["fault"] = {"code": "/state"}
        fault = {"message": "/shop", "params": "/next"}
        wait(spec)["outcome"] = {"operation": "getResult", "after": "failed", "fault": fault}

    made = generate(change)
    jammed = reply(200, {"state": "jammed"})
    said = reply(200, {"shop": "tray %1", "next": [2]})
    with FakeClock(), Script({"/prints/p1": [jammed], "/results/p1": [said]}):
        assert made.Press().progress("p1").fault == Fault(None, "tray 2")


def with_result(spec: dict[str, Any]) -> None:
    with_outcome(spec)
    wait(spec)["state"]["is"]["done"] = "succeeded"
    wait(spec)["outcome"] |= {"after": "succeeded", "same": {"/shop": "id"}}
    result = spec["paths"]["/results/{id}"]["get"]["responses"]["200"]["content"]
    result["application/json"].pop("examples")


def with_outcome(spec: dict[str, Any]) -> None:
    pausing(spec)
    result = copy.deepcopy(operation(spec))
    del result["x-wait"]
    result["operationId"] = "getResult"
    spec["paths"]["/results/{id}"] = {"get": result}
    states = {"printing": "running", "done": "ended", "jammed": "failed"}
    wait(spec)["state"] = {"at": "/state", "is": states}
    wait(spec)["outcome"] = {
        "operation": "getResult",
        "state": {"at": "/state", "is": states | {"done": "succeeded"}},
    }
