"""iTwin job progress: what an answer says about a job.

Compiled from the `x-wait` block of specs/itwin.yaml: never edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from opwatch_api.itwin.api.jobs import get_job, get_job_progress
from opwatch_api.itwin.models import JobProgressResponse

from opwatch.auth.scheme import Scheme
from opwatch.core.polling import Schedule
from opwatch.core.session import Complaint, Seen, Service, Session
from opwatch.errors import JobGone, ServiceError
from opwatch.net.message import Answer
from opwatch.progress import Phase, Progress
from opwatch.reading import (
    as_fault,
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


async def query(
    session: Session[JobProgressResponse], turn: Turn, job_id: str, closer: bool
) -> Seen[JobProgressResponse]:
    """Poll one job."""
    fields, wire = await session.fetch(turn, get_job_progress, "jobProgress", id=job_id)
    return Seen(read(session, job_id, fields, wire))


def read(
    session: Session[JobProgressResponse],
    job_id: str,
    fields: dict[str, Any],
    wire: JobProgressResponse,
) -> Progress[JobProgressResponse]:
    """Return what an answer says about the job."""
    job_progress = fields["jobProgress"]
    found = state(job_progress.get("state"))
    phase = _PHASES.get(found or "") or session.unknown(found)
    return Progress(
        service="itwin",
        job_id=job_id,
        phase=phase,
        percent=percent(job_progress.get("percentage")),
        step=text(job_progress.get("step")),
        wire=wire,
    )


async def outcome(
    session: Session[JobProgressResponse], turn: Turn, progress: Progress[JobProgressResponse]
) -> Progress[JobProgressResponse] | None:
    """Look up how a job ended; None if the answer is about another job."""
    fields, _ = await session.fetch(turn, get_job, "job", id=progress.job_id)
    return read_outcome(progress, fields)


def read_outcome(
    progress: Progress[JobProgressResponse], fields: dict[str, Any]
) -> Progress[JobProgressResponse] | None:
    """Return the progress with what the answer says about the end."""
    job = fields["job"]
    execution_information = object_in(job.get("executionInformation"))
    if is_another(job.get("id"), progress.job_id):
        return None
    phase = _OUTCOMES.get(state(job.get("state")) or "", Phase.UNKNOWN)
    return attrs.evolve(
        progress,
        phase=phase,
        fault=(
            as_fault(
                (text(each.get("code")), titled(text(each.get("title")), text(each.get("message"))))
                for each in objects_in(execution_information.get("errors"))
            )
        )
        if phase is Phase.FAILED
        else None,
        started_at=parse_time(execution_information.get("startedDateTime")),
        finished_at=parse_time(execution_information.get("endedDateTime"))
        if phase.is_final
        else None,
    )


def complaint(answer: Answer, fields: dict[str, Any]) -> Complaint:
    """Return what an error answer says."""
    error = object_in(fields.get("error"))
    code = text(error.get("code"))
    message = text(error.get("message"))
    code_ = (code or "").lower()
    kind: type[ServiceError] | None = None
    if answer.status == 404 and code_ == "jobnotfound":
        kind = JobGone
    return Complaint(code, message, kind, answer.header("x-correlation-id"))


def service(*, address_help: str) -> Service[JobProgressResponse]:
    """Return the service; `address_help` is what to check if nothing is found."""
    return Service(
        name="itwin",
        id_name="job ID",
        schedule=Schedule((15, 30, 60, 120)),
        accept="application/vnd.bentley.itwin-platform.v1+json",
        query=query,
        complaint=complaint,
        marker=lambda progress: progress.percent,
        address_help=address_help,
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
