"""How to read the responses of itwin about a job.

Compiled from the `x-wait` block of specs/itwin.yaml. Don't edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from opwatch_api.itwin.api.jobs import get_job as outcome_operation
from opwatch_api.itwin.api.jobs import get_job_progress as poll_operation
from opwatch_api.itwin.models import JobProgressResponse as Wire

from opwatch.auth.scheme import Scheme
from opwatch.core.polling import Schedule
from opwatch.core.session import Complaint, Seen, Service, Session
from opwatch.errors import BadResponse, JobGone, ServiceError
from opwatch.net.message import Answer
from opwatch.progress import Phase, Progress
from opwatch.reading import (
    as_fault,
    filled,
    inside,
    is_another,
    object_in,
    objects_in,
    parse_time,
    percent,
    state,
    text,
    titled,
)

if TYPE_CHECKING:
    from opwatch.core.loop import Turn

_PHASES = {
    "unsubmitted": Phase.PENDING,
    "active": Phase.RUNNING,
    "over": Phase.ENDED,
    "success": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
    "canceled": Phase.CANCELLED,
    "queued": Phase.PENDING,
    "terminatingoncancel": Phase.RUNNING,
    "terminatingonfailure": Phase.RUNNING,
}

_OUTCOMES = {
    "unsubmitted": Phase.PENDING,
    "active": Phase.RUNNING,
    "over": Phase.ENDED,
    "success": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
    "canceled": Phase.CANCELLED,
    "queued": Phase.PENDING,
    "terminatingoncancel": Phase.RUNNING,
    "terminatingonfailure": Phase.RUNNING,
}


async def query(session: Session[Wire], turn: Turn, job_id: str, closer: bool) -> Seen[Wire]:
    """Poll one job."""
    fields, wire = await session.fetch(turn, poll_operation, "jobProgress", id=job_id)
    return Seen(read(session, job_id, fields, wire))


def read(session: Session[Wire], job_id: str, fields: dict[str, Any], wire: Wire) -> Progress[Wire]:
    """Return the progress that a response reports."""
    job_progress_field = fields["jobProgress"]
    found = state(job_progress_field.get("state"))
    phase = _PHASES.get(found or "") or session.unknown(found)
    if phase is Phase.SUCCEEDED and fields.get("error"):
        phase = session.contradicted("error")
    return Progress(
        service="itwin",
        job_id=job_id,
        phase=phase,
        percent=percent(job_progress_field.get("percentage")),
        step=text(job_progress_field.get("step")),
        wire=wire,
    )


async def outcome(
    session: Session[Wire], turn: Turn, progress: Progress[Wire]
) -> Progress[Wire] | None:
    """Request more about a job; return None if the response is about another one."""
    fields, _ = await session.fetch(turn, outcome_operation, "job", id=progress.job_id)
    return read_outcome(session, progress, fields)


def read_outcome(
    session: Session[Wire], progress: Progress[Wire], fields: dict[str, Any]
) -> Progress[Wire] | None:
    """Return the progress with what the response adds; None if it is about another job."""
    job_field = fields["job"]
    execution_information_field = object_in(job_field.get("executionInformation"))
    if is_another(job_field.get("id"), progress.job_id):
        return None
    found = state(job_field.get("state"))
    phase = _OUTCOMES.get(found or "") or Phase.UNKNOWN
    if phase is Phase.SUCCEEDED and fields.get("error"):
        raise BadResponse("the response reports both success and an error (`error`)", status=200)
    if phase is Phase.SUCCEEDED and inside(fields, "job", "executionInformation", "errors"):
        raise BadResponse(
            "the response reports both success and an error (`job.executionInformation.errors`)",
            status=200,
        )
    return attrs.evolve(
        progress,
        phase=phase,
        fault=(
            as_fault(
                (
                    text(each.get("code")),
                    titled(
                        text(each.get("title")),
                        filled(text(each.get("message")), each.get("params")),
                    ),
                )
                for each in objects_in(execution_information_field.get("errors"))
            )
        )
        if phase is Phase.FAILED
        else None,
        started_at=parse_time(execution_information_field.get("startedDateTime")),
        finished_at=parse_time(execution_information_field.get("endedDateTime"))
        if phase.is_final
        else None,
    )


def complaint(answer: Answer, fields: dict[str, Any]) -> Complaint:
    """Return what an error response says."""
    error_field = object_in(fields.get("error"))
    code = text(error_field.get("code"))
    message = text(error_field.get("message"))
    code_ = (code or "").lower()
    kind: type[ServiceError] | None = None
    if answer.status == 404 and code_ == "jobnotfound":
        kind = JobGone
    return Complaint(code, message, kind, answer.header("x-correlation-id"))


SERVICE = Service(
    name="itwin",
    id_name="job ID",
    schedule=Schedule((15, 30, 60, 120)),
    accept="application/vnd.bentley.itwin-platform.v1+json",
    query=query,
    complaint=complaint,
    marker=lambda progress: progress.percent,
    address_help="check `base_url` (ITWIN_BASE_URL)",
    known=frozenset({"HeaderNotFound", "InsufficientPermissions", "Unauthorized"}),
    outcome=outcome,
)

BASE_URL = "https://api.bentley.com/contextcapture"
SCHEME = Scheme(
    kind="oauth2",
    variables={
        "base_url": "ITWIN_BASE_URL",
        "auth": "ITWIN_ACCESS_TOKEN",
        "client_id": "ITWIN_CLIENT_ID",
        "client_secret": "ITWIN_CLIENT_SECRET",
        "scope": "ITWIN_SCOPE",
        "token_url": "ITWIN_TOKEN_URL",
    },
    prefix="Bearer ",
    token_url="https://ims.bentley.com/connect/token",
    scope="itwin-platform",
)
