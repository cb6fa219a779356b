"""How to read the responses of apig about a job.

Compiled from the `x-wait` block of specs/apig.yaml. Don't edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from opwatch_api.apig.api.instances import show_details_of_instance_progress_v2 as poll_operation
from opwatch_api.apig.api.instances import show_details_of_instance_v2 as outcome_operation
from opwatch_api.apig.models import InstanceProgress as Wire

from opwatch.core.polling import Schedule
from opwatch.core.session import Complaint, Seen, Service, Session
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    JobGone,
    PermissionDenied,
    RateLimited,
    ServiceError,
)
from opwatch.net.message import Answer
from opwatch.progress import Fault, Phase, Progress
from opwatch.reading import is_another, milliseconds, object_in, percent, state, text

if TYPE_CHECKING:
    from opwatch.core.loop import Turn

_PHASES = {
    "creating": Phase.RUNNING,
    "success": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}

_OUTCOMES = {
    "creating": Phase.RUNNING,
    "createsuccess": Phase.RUNNING,
    "initing": Phase.RUNNING,
    "registering": Phase.RUNNING,
    "installing": Phase.RUNNING,
    "starting": Phase.RUNNING,
    "updating": Phase.RUNNING,
    "rollbacking": Phase.RUNNING,
    "rollbacksuccess": Phase.RUNNING,
    "restarting": Phase.RUNNING,
    "resizing": Phase.RUNNING,
    "unhealthy": Phase.RUNNING,
    "freezing": Phase.RUNNING,
    "frozen": Phase.RUNNING,
    "deleting": Phase.RUNNING,
    "unregistering": Phase.RUNNING,
    "running": Phase.SUCCEEDED,
    "createfail": Phase.FAILED,
    "createtimeout": Phase.FAILED,
    "initingfailed": Phase.FAILED,
    "inittimeout": Phase.FAILED,
    "registerfailed": Phase.FAILED,
    "registertimeout": Phase.FAILED,
    "installfailed": Phase.FAILED,
    "installtimeout": Phase.FAILED,
    "updatefailed": Phase.FAILED,
    "updatetimeout": Phase.FAILED,
    "rollbackfailed": Phase.FAILED,
    "rollbacktimeout": Phase.FAILED,
    "restartfail": Phase.FAILED,
    "restarttimeout": Phase.FAILED,
    "resizefailed": Phase.FAILED,
    "resizetimeout": Phase.FAILED,
    "deletefailed": Phase.FAILED,
    "deletetimeout": Phase.FAILED,
    "unregisterfailed": Phase.FAILED,
    "unregistertimeout": Phase.FAILED,
}


async def query(session: Session[Wire], turn: Turn, job_id: str, closer: bool) -> Seen[Wire]:
    """Poll one job."""
    fields, wire = await session.fetch(
        turn,
        poll_operation,
        project_id=await session.parameter("project_id", turn),
        instance_id=job_id,
    )
    if (problem := _problem(fields)) is not None:
        del fields, wire  # tracebacks show the locals of this frame
        raise BadResponse(problem, status=200)
    return Seen(read(session, job_id, fields, wire))


def _problem(fields: dict[str, Any]) -> str | None:
    """Return what is wrong with the response, or None if it is valid."""
    if fields.keys().isdisjoint(("status", "progress", "start_time")):
        return "the response contains no documented field"
    return None


def read(session: Session[Wire], job_id: str, fields: dict[str, Any], wire: Wire) -> Progress[Wire]:
    """Return the progress that a response reports."""
    found = state(fields.get("status"))
    phase = _PHASES.get(found or "") or session.unknown(found)
    if phase is Phase.SUCCEEDED and fields.get("error_code"):
        phase = session.contradicted("error_code")
    if phase is Phase.SUCCEEDED and fields.get("error_msg"):
        phase = session.contradicted("error_msg")
    return Progress(
        service="apig",
        job_id=job_id,
        phase=phase,
        percent=percent(fields.get("progress")),
        fault=(Fault(text(fields.get("error_code")), text(fields.get("error_msg"))))
        if phase is Phase.FAILED
        else None,
        started_at=milliseconds(fields.get("start_time")),
        finished_at=milliseconds(fields.get("end_time")) if phase.is_final else None,
        wire=wire,
    )


async def outcome(
    session: Session[Wire], turn: Turn, progress: Progress[Wire]
) -> Progress[Wire] | None:
    """Request more about a job; return None if the response is about another one."""
    fields, details = await session.fetch(
        turn,
        outcome_operation,
        project_id=await session.parameter("project_id", turn),
        instance_id=progress.job_id,
    )
    found = read_outcome(session, progress, fields)
    return found and attrs.evolve(found, details=details)


def read_outcome(
    session: Session[Wire], progress: Progress[Wire], fields: dict[str, Any]
) -> Progress[Wire] | None:
    """Return the progress with what the response adds; None if it is about another job."""
    if is_another(fields.get("id"), progress.job_id, must=True):
        return None
    found = state(fields.get("status"))
    phase = _OUTCOMES.get(found or "") or session.unknown(found)
    if phase is Phase.SUCCEEDED and fields.get("error_code"):
        phase = session.contradicted("error_code")
    return attrs.evolve(
        progress,
        phase=phase,
        step=None if phase.is_final else text(fields.get("status")),
        fault=(Fault(text(fields.get("status")), None)) if phase is Phase.FAILED else None,
    )


def complaint(answer: Answer, fields: dict[str, Any]) -> Complaint:
    """Return what an error response says."""
    error_field = object_in(fields.get("error"))
    code = (
        text(error_field.get("title"))
        or text(error_field.get("code"))
        or text(fields.get("error_code"))
    )
    message = text(error_field.get("message")) or text(fields.get("error_msg"))
    code_ = (code or "").lower()
    kind: type[ServiceError] | None = None
    if answer.status == 404 and code_ in ("apic.7302", "apig.3030"):
        kind = JobGone
    elif code_ in ("apig.0308", "apig.9008"):
        kind = RateLimited
    elif answer.status == 401 and code_ in (
        "apic.7100",
        "apic.7103",
        "apic.7105",
        "apic.7107",
        "apig.0301",
    ):
        kind = AuthenticationError
    elif answer.status == 401 and code_ in (
        "apig.1000",
        "apig.1001",
        "apig.1002",
        "apig.1003",
        "apig.1009",
    ):
        kind = AuthenticationError
    elif answer.status == 403 and code_ in ("apic.7106", "apic.7130", "apic.7300"):
        kind = PermissionDenied
    return Complaint(
        code, message, kind, text(fields.get("request_id")) or answer.header("x-request-id")
    )


SERVICE = Service(
    name="apig",
    id_name="gateway ID",
    schedule=Schedule((20,)),
    accept="application/json",
    query=query,
    complaint=complaint,
    marker=lambda progress: progress.percent,
    address_help="check `endpoint` and `project_id` (APIG_ENDPOINT, OS_PROJECT_ID)",
    help={
        PermissionDenied: "check the account's permissions, and that `project_id` (OS_PROJECT_ID) is the project that these credentials are for"
    },
    known=frozenset(
        {
            "APIC.7100",
            "APIC.7101",
            "APIC.7102",
            "APIC.7103",
            "APIC.7105",
            "APIC.7106",
            "APIC.7107",
            "APIC.7109",
            "APIC.7110",
            "APIC.7111",
            "APIC.7130",
            "APIC.7300",
            "APIG.0301",
            "APIG.0307",
            "APIG.1000",
            "APIG.1001",
            "APIG.1002",
            "APIG.1003",
            "APIG.1009",
            "Incorrect token or token resolution failed",
            "No permissions to access the instance",
            "No permissions to request for the method",
            "The token must be updated.",
        }
    ),
    outcome=outcome,
    completes=Phase.SUCCEEDED,
)
