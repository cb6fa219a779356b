"""How a task ends: the event that passes from trigger to sensor, and the failures it becomes."""

# pyright: reportMissingImports=false

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSensorTimeout

from opwatch.client import Watch
from opwatch.core.run import Step
from opwatch.errors import OpwatchError, WaitStalled, WaitTimeout
from opwatch.progress import Fault, Phase, Progress
from opwatch.text import printable


class OpwatchFailure(AirflowException):
    """Raised by a sensor if the job didn't succeed, or the wait ended before the job.

    `phase` is the job's last known phase, `fault` the service's reason if it gave one, and `token`
    resumes the wait (`client.resume`) if it can be resumed.
    """

    phase: Phase | None = None
    fault: Fault | None = None
    token: str | None = None


class OpwatchJobFailed(OpwatchFailure, AirflowFailException):
    """The job failed or was cancelled. Not retried, because waiting again wouldn't change that."""


class OpwatchOutcomeUnknown(OpwatchFailure, AirflowFailException):
    """The job ended, but the service didn't say how. Not retried."""


class OpwatchTimeout(OpwatchFailure, AirflowSensorTimeout):
    """The sensor's `timeout` passed; the job is still running. Not retried, as for any sensor."""


class OpwatchStalled(OpwatchFailure, AirflowSensorTimeout):
    """The job made no progress for `stall_timeout` seconds; it is still running. Not retried."""


class OpwatchRefused(OpwatchFailure, AirflowFailException):
    """An error that no retry fixes: refused credentials, an unknown ID, a wrong address."""


class OpwatchGaveUp(OpwatchFailure):
    """Too many retryable errors in a row. The task's `retries` apply."""


# --- what passes between trigger and sensor: plain JSON -------------------------------------------


_SENT = ("wire", "details")


def _report(progress: Progress[Any]) -> dict[str, Any]:
    """Return progress as JSON: the task's XCom. `wire` and `details`, if present, are what the
    service sent, under its own names."""
    models = {name: getattr(progress, name) for name in _SENT}
    sent = {name: it.to_dict() for name, it in models.items() if hasattr(it, "to_dict")}
    found: dict[str, Any] = _sendable(progress.to_dict() | {"wire": None} | sent)
    return found


_CREDENTIAL = ("token", "secret", "password")
_DEEPEST = 50
"""Levels of nesting that are sent; Airflow's encoder raises an error at a few hundred."""


def _sendable(value: Any, level: int = 0) -> Any:
    """Return what a service sent in a form that Airflow accepts.

    NaN is null, and so is what is nested too deeply. An integer of more than 64 bits is text. Half
    a surrogate pair is U+FFFD.

    A field that is a credential by its name, such as Catenis's `continuationToken`, is left out, as
    it would be visible in the task's XCom.
    """
    if isinstance(value, (dict, list)) and level > _DEEPEST:
        return None
    if isinstance(value, dict):
        names = (name for name in value if not name.lower().endswith(_CREDENTIAL))
        return {_sendable(name): _sendable(value[name], level + 1) for name in names}
    if isinstance(value, list):
        return [_sendable(item, level + 1) for item in value]
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def ended(step: Step[Any]) -> dict[str, Any]:
    assert step.progress is not None
    return {"progress": _report(step.progress), "token": step.token}


def waited(watch: Watch[Any]) -> dict[str, Any]:
    for _ in watch:
        pass
    assert watch.last is not None
    return {"progress": _report(watch.last), "token": watch.token}


def broken(error: OpwatchError) -> dict[str, Any]:
    last = None if error.last is None else _report(error.last)
    kind: type[OpwatchFailure] = OpwatchGaveUp if error.transient else OpwatchRefused
    if isinstance(error, WaitTimeout):
        kind = OpwatchTimeout
    elif isinstance(error, WaitStalled):
        kind = OpwatchStalled
    message = printable(f"{type(error).__name__}: {error}", 1000)
    return {"progress": last, "token": error.token, "failure": kind.__name__, "message": message}


_FAILURES: dict[str, type[OpwatchFailure]] = {
    kind.__name__: kind for kind in (OpwatchGaveUp, OpwatchRefused, OpwatchTimeout, OpwatchStalled)
}


def conclude(event: Mapping[str, Any], *, allow_unknown_outcome: bool) -> dict[str, Any]:
    """The task's result, or an `OpwatchFailure`."""
    progress: dict[str, Any] | None = event["progress"]
    phase = None if progress is None else Phase(progress["phase"])
    if event.get("failure"):
        raise _failure(_FAILURES[event["failure"]], event["message"], event, phase)
    assert progress is not None
    name = f"{progress['service']} {printable(progress['job_id'])}"
    if phase in (Phase.FAILED, Phase.CANCELLED):
        fault = _fault(progress)
        reason = f"{name}: {phase}{f': {printable(str(fault))}' if fault else ''}"
        raise _failure(OpwatchJobFailed, reason, event, phase)
    if phase is Phase.ENDED and not allow_unknown_outcome:
        reason = (
            f"{name}: ended, but the service didn't say how; "
            "set allow_unknown_outcome=True to accept this"
        )
        raise _failure(OpwatchOutcomeUnknown, reason, event, phase)
    return progress


def _failure(
    kind: type[OpwatchFailure], message: str, event: Mapping[str, Any], phase: Phase | None
) -> OpwatchFailure:
    failure = kind(message)
    failure.phase, failure.fault, failure.token = phase, _fault(event["progress"]), event["token"]
    return failure


def _fault(progress: Mapping[str, Any] | None) -> Fault | None:
    fault = None if progress is None else progress["fault"]
    return None if fault is None else Fault(**fault)
