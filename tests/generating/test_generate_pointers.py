"""`opwatch generate`: pointers that lead to nothing that can be read, and what to write instead."""

from typing import Any

import pytest
from command_support import Run, spec
from generating_tools import wait

OBJECT = {"type": "object", "properties": {"code": {"type": "string"}}}
STATE = [{"is": "succeeded", "when": {"/last": None, "/state": "done"}}]


@pytest.mark.parametrize(
    ("last", "block", "said"),
    [
        (
            OBJECT,
            {"state": STATE},
            "/last isn't a single value; use a field below it, or list the object in `contradict",
        ),
        ({}, {"step": "/steps/0"}, "isn't in Print; a pointer can't select an item of a list"),
        (
            {},
            {"errors": {"message": "/errors/0/reason"}},
            "/errors/0/reason isn't in any error schema; a pointer can't select an item of a list",
        ),
        (
            {"type": ["integer", "null"]},
            {"started": "/last"},
            "/last is a number; write {at: /last, as: seconds} or milliseconds",
        ),
        (
            {"format": "int64"},
            {"finished": {"at": "/last"}},
            "/last is a number; write {at: /last, as: seconds} or milliseconds",
        ),
    ],
)
def test_a_pointer_to_nothing_that_can_be_read(
    last: dict[str, Any], block: dict[str, Any], said: str, run: Run
) -> None:
    """The finding names a fix that the spec allows."""

    def change(content: dict[str, Any]) -> None:
        content["components"]["schemas"]["Print"]["properties"]["last"] = last
        wait(content).update(block)

    code, _, err = run("generate", spec(change), "--out", "out")
    assert (code, said in err) == (2, True), err


@pytest.mark.parametrize("last", [{"type": "string"}, {"type": ["string", "integer"]}, {}])
def test_a_time_that_may_be_text(last: dict[str, Any], run: Run) -> None:
    """It needs no unit, and a number with a unit is one, too."""

    def change(content: dict[str, Any]) -> None:
        properties = content["components"]["schemas"]["Print"]["properties"]
        properties |= {"last": last, "end": {"type": "integer"}}
        wait(content).update(started="/last", finished={"at": "/end", "as": "seconds"})

    code, _, err = run("generate", spec(change), "--out", "out")
    assert (code, err) == (0, "")
