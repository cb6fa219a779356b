"""What `opwatch.testing.conformance` finds in a service that breaks a promise, and what it
accepts."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import attrs
import pytest
from generating_tools import Change, Generate, operation, wait

from opwatch.core.session import Complaint, Seen, Service
from opwatch.errors import JobGone
from opwatch.progress import Phase
from opwatch.testing import conformance

SAMPLES = [("running", {"state": "printing"}), ("failed", {"state": "jammed"})]
DONE = [("succeeded", {"state": "done"})]


def check(made: ModuleType, samples: Any = SAMPLES) -> None:
    conformance(made.PLUGIN, lambda client: client(), job_id="p1", samples=samples)


def seen(service: Service[Any], change: Callable[[Any], Any]) -> Service[Any]:
    """A service whose progress is another one."""

    async def query(session: Any, turn: Any, job_id: str, closer: bool) -> Seen[Any]:
        found = await service.query(session, turn, job_id, closer)
        return found._replace(progress=change(found.progress))

    return service._replace(query=query)


def another_job(service: Service[Any]) -> Service[Any]:
    async def query(session: Any, turn: Any, job_id: str, closer: bool) -> Seen[Any]:
        found = await service.query(session, turn, "p1", closer)
        return found._replace(progress=attrs.evolve(found.progress, job_id=job_id))

    return service._replace(query=query)


def the_first_job(service: Service[Any]) -> Service[Any]:
    first: list[str] = []

    def change(found: Any) -> Any:
        first.append(found.job_id)
        return attrs.evolve(found, job_id=first[0])

    return seen(service, change)


def hopeful(service: Service[Any]) -> Service[Any]:
    def change(found: Any) -> Any:
        is_known = found.phase is not Phase.UNKNOWN or not getattr(found.wire, "state", "")
        return found if is_known else attrs.evolve(found, phase=Phase.SUCCEEDED)

    return seen(service, change)


def unflagged(service: Service[Any]) -> Service[Any]:
    """Takes whatever isn't a known state for a success."""

    def change(found: Any) -> Any:
        is_other = found.phase is Phase.UNKNOWN and not isinstance(found.wire.state, str)
        return attrs.evolve(found, phase=Phase.SUCCEEDED) if is_other else found

    return seen(service, change)


def any_text(service: Service[Any]) -> Service[Any]:
    def change(found: Any) -> Any:
        is_text = isinstance(getattr(found.wire, "state", None), str)
        return attrs.evolve(found, phase=Phase.SUCCEEDED if is_text else Phase.UNKNOWN)

    return seen(service, change)


def gone_if_broken(answer: Any, fields: Any) -> Any:
    return Complaint(kind=JobGone if answer.status >= 500 else None)


def raising(*arguments: Any) -> Any:
    raise KeyError("state")


def demanding(answer: Any, fields: Any) -> Any:
    return Complaint(fields["error"].get("code") if "error" in fields else None)


def quoting(answer: Any, fields: Any) -> Any:
    return Complaint(message=fields.get("message"))


def counting(answer: Any, epoch: float) -> Any:
    return float(answer.header("x-wait") or 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (another_job, "a poll of 'p1 ü' requested"),
        (the_first_job, r"progress\('p12'\) returned the progress of 'p1'"),
        (hopeful, "is read as a success, but isn't documented"),
        (unflagged, "is read as a success, but isn't documented"),
        (any_text, "'a-word-that-nobody-knows'} is read as a success"),
        (lambda service: service._replace(complaint=gone_if_broken), "500 is read as a JobGone"),
        (lambda service: service._replace(pause=lambda *_: -1.0), "reading a pause .* returns -1"),
        (
            lambda service: seen(service, lambda found: attrs.evolve(found, percent=math.nan)),
            "the percentage of .* is neither a number from 0 to 100",
        ),
        (
            lambda service: service._replace(marker=raising),
            "the service's `marker` raises KeyError",
        ),
        (
            lambda service: service._replace(name="other"),
            "service is named 'other', but the plugin",
        ),
        (lambda service: service._replace(id_parts=2), "`id_parts` 2, but the plugin has 1"),
        (
            lambda service: seen(service, lambda found: attrs.evolve(found, wire=lambda: 0)),
            "pickling raises",
        ),
        (
            lambda service: service._replace(complaint=raising),
            r"reading an error \(200 with {}\) rai",
        ),
        (lambda service: service._replace(complaint=demanding), "reading an error .* AttributeErr"),
        (
            lambda service: service._replace(complaint=quoting),
            "reading an error .* not a Complaint of",
        ),
        (lambda service: service._replace(pause=raising), "reading a pause .* raises KeyError"),
        (lambda service: service._replace(pause=counting), "reading a pause .* raises ValueError"),
        (
            lambda service: seen(service, raising),
            r"reading the response raised KeyError \(test_conf",
        ),
    ],
)
def test_a_broken_promise(
    change: Callable[[Any], Any], said: str, generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an `AssertionError` that says which."""
    made = generate()
    for client in (made.Press, made.AsyncPress):
        monkeypatch.setattr(client, "_service", change(client._service))
    samples = [] if "pickle" in said or "response raised" in said else SAMPLES
    samples = DONE if change is any_text else samples
    with pytest.raises(AssertionError, match=said):
        check(made, samples)


def other_errors(spec: dict[str, Any]) -> None:
    wait(spec)["errors"]["cases"] = [
        {"is": "gone", "status": [401, 410]},
        {"is": "forbidden", "status": [422, 503]},
        {"is": "unavailable", "status": [429, 404]},
        {"is": "rate limited", "status": 500},
    ]


def accepted_only(spec: dict[str, Any]) -> None:
    wait(spec)["statuses"] = [202]
    responses = operation(spec)["responses"]
    responses["202"] = responses.pop("200")


def many_fields(spec: dict[str, Any]) -> None:
    properties = {f"field{n}": {"type": "string"} for n in range(400)}
    spec["components"]["schemas"]["Print"]["properties"] |= properties


@pytest.mark.parametrize("change", [None, other_errors, accepted_only, many_fields])
def test_what_is_no_fault(change: Change | None, generate: Generate) -> None:
    """A spec may map statuses to other errors, respond with another status, and have many
    fields."""
    value = {f"field{n}": "text" for n in range(400 if change is many_fields else 0)}
    check(generate(change), [("running", {"state": "printing"} | value)])
