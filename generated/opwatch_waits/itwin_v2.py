"""How to read the responses of itwin-v2 about a job.

Compiled from the `x-wait` block of specs/itwin-v2.yaml. Don't edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from opwatch_api.itwin_v2.api.jobs import get_job_messages as outcome_operation
from opwatch_api.itwin_v2.api.jobs import get_job_progress as poll_operation
from opwatch_api.itwin_v2.models import JobProgressResponse as Wire

from opwatch.auth.scheme import Scheme
from opwatch.core.polling import Schedule
from opwatch.core.session import Complaint, Seen, Service, Session
from opwatch.errors import JobGone, ServiceError
from opwatch.net.message import Answer
from opwatch.progress import Phase, Progress
from opwatch.reading import as_fault, filled, object_in, objects_in, percent, state, text, titled

if TYPE_CHECKING:
    from opwatch.core.loop import Turn

_PHASES = {
    "queued": Phase.PENDING,
    "active": Phase.RUNNING,
    "terminatingoncancel": Phase.RUNNING,
    "terminatingonfailure": Phase.RUNNING,
    "success": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
}


async def query(session: Session[Wire], turn: Turn, job_id: str, closer: bool) -> Seen[Wire]:
    """Poll one job."""
    fields, wire = await session.fetch(turn, poll_operation, "progress", id=job_id)
    return Seen(read(session, job_id, fields, wire))


def read(session: Session[Wire], job_id: str, fields: dict[str, Any], wire: Wire) -> Progress[Wire]:
    """Return the progress that a response reports."""
    progress_field = fields["progress"]
    found = state(progress_field.get("state"))
    phase = _PHASES.get(found or "") or session.unknown(found)
    if phase is Phase.SUCCEEDED and fields.get("error"):
        phase = session.contradicted("error")
    return Progress(
        service="itwin-v2",
        job_id=job_id,
        phase=phase,
        percent=percent(progress_field.get("percentage")),
        wire=wire,
    )


async def outcome(
    session: Session[Wire], turn: Turn, progress: Progress[Wire]
) -> Progress[Wire] | None:
    """Request more about a job; return None if the response is about another one."""
    fields, _ = await session.fetch(turn, outcome_operation, "messages", id=progress.job_id)
    return read_outcome(session, progress, fields)


def read_outcome(
    session: Session[Wire], progress: Progress[Wire], fields: dict[str, Any]
) -> Progress[Wire] | None:
    """Return the progress with what the response adds; None if it is about another job."""
    messages_field = fields["messages"]
    return attrs.evolve(
        progress,
        fault=as_fault(
            (
                text(each.get("code")),
                titled(
                    text(each.get("title")), filled(text(each.get("message")), each.get("params"))
                ),
            )
            for each in objects_in(messages_field.get("errors"))
        )
        or progress.fault,
    )


def complaint(answer: Answer, fields: dict[str, Any]) -> Complaint:
    """Return what an error response says."""
    error_field = object_in(fields.get("error"))
    code = text(error_field.get("code"))
    message = text(error_field.get("message"))
    code_ = (code or "").lower()
    kind: type[ServiceError] | None = None
    if answer.status == 404 and code_ in ("jobnotfound", "jobprogressnotfound"):
        kind = JobGone
    return Complaint(code, message, kind, answer.header("x-correlation-id"))


SERVICE = Service(
    name="itwin-v2",
    id_name="job ID",
    schedule=Schedule((15, 30, 60, 120)),
    accept="application/vnd.bentley.itwin-platform.v2+json",
    query=query,
    complaint=complaint,
    marker=lambda progress: progress.percent,
    address_help="check `api` and `base_url` (ITWIN_API, ITWIN_BASE_URL)",
    help={JobGone: "check the job ID, `api` and `base_url` (ITWIN_API, ITWIN_BASE_URL)"},
    known=frozenset({"HeaderNotFound", "InsufficientPermissions", "Unauthorized"}),
    outcome=outcome,
    completes=Phase.FAILED,
)

BASE_URL = ""
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
