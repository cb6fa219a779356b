"""How to read the responses of catenis about a job.

Compiled from the `x-wait` block of specs/catenis.yaml. Don't edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opwatch_api.catenis.api.messages import retrieve_message_progress as poll_operation
from opwatch_api.catenis.models import MessageProgressResponse as Wire

from opwatch.core.polling import Schedule
from opwatch.core.session import Complaint, Seen, Service, Session
from opwatch.errors import BadResponse, JobGone, PermissionDenied, ServiceError, Unavailable
from opwatch.net.message import Answer
from opwatch.progress import Fault, Phase, Progress
from opwatch.reading import count, object_in, parse_time, state, text, words_of

if TYPE_CHECKING:
    from opwatch.core.loop import Turn


async def query(session: Session[Wire], turn: Turn, job_id: str, closer: bool) -> Seen[Wire]:
    """Poll one job."""
    fields, wire = await session.fetch(
        turn, poll_operation, "data", "progress", ephemeral_message_id=job_id
    )
    if (problem := _problem(fields)) is not None:
        del fields, wire  # tracebacks show the locals of this frame
        raise BadResponse(problem, status=200)
    return Seen(read(session, job_id, fields, wire))


def _problem(fields: dict[str, Any]) -> str | None:
    """Return what is wrong with the response, or None if it is valid."""
    if state(fields.get("status")) != "success":
        return "the response's `status` isn't success"
    return None


def read(session: Session[Wire], job_id: str, fields: dict[str, Any], wire: Wire) -> Progress[Wire]:
    """Return the progress that a response reports."""
    data_field = fields["data"]
    progress_field = data_field["progress"]
    error_field = object_in(progress_field.get("error"))
    phase = _phase(session, fields)
    if phase is Phase.SUCCEEDED and progress_field.get("error"):
        phase = session.contradicted("data.progress.error")
    return Progress(
        service="catenis",
        job_id=job_id,
        phase=phase,
        step=text(data_field.get("action")),
        bytes_processed=count(progress_field.get("bytesProcessed")),
        fault=Fault(text(error_field.get("code")), text(error_field.get("message")))
        if error_field
        else None,
        finished_at=parse_time(progress_field.get("finishDate")) if phase.is_final else None,
        wire=wire,
    )


def _phase(session: Session[Wire], fields: dict[str, Any]) -> Phase:
    """Return the phase: the first one whose condition holds."""
    data_field = fields["data"]
    progress_field = data_field["progress"]
    done_field = progress_field.get("done")
    success_field = progress_field.get("success")
    if done_field is False:
        return Phase.RUNNING
    if done_field is True and success_field is True:
        return Phase.SUCCEEDED
    if done_field is True and success_field is False:
        return Phase.FAILED
    if done_field is True:
        return Phase.ENDED
    return session.unknown(words_of({"done": done_field, "success": success_field}))


def complaint(answer: Answer, fields: dict[str, Any]) -> Complaint:
    """Return what an error response says."""
    message = text(fields.get("message"))
    message_ = (message or "").lower()
    kind: type[ServiceError] | None = None
    if answer.status == 400 and "invalid or expired ephemeral message" in message_:
        kind = JobGone
    elif answer.status == 400 and "progress not available" in message_:
        kind = Unavailable
    elif answer.status == 400 and (
        "device is deleted" in message_ or "device is not active" in message_
    ):
        kind = PermissionDenied
    return Complaint(None, message, kind, None)


SERVICE = Service(
    name="catenis",
    id_name="ephemeral message ID",
    schedule=Schedule((1, 2, 4, 8, 15)),
    accept="application/json",
    query=query,
    complaint=complaint,
    marker=lambda progress: progress.bytes_processed,
    address_help="check `environment`, `version` and `base_url` (CATENIS_ENVIRONMENT, CATENIS_VERSION, CATENIS_BASE_URL)",
    known=frozenset(
        {
            "Authorization failed; authorization value not well formed",
            "Authorization failed; invalid device or signature",
            "Authorization failed; missing required HTTP headers",
            "Authorization failed; signature date not well formed",
            "Authorization failed; signature date out of bounds",
            "Authorization failed; timestamp not well formed",
            "Authorization failed; timestamp not within acceptable time variation",
            "You must be logged in to do this.",
        }
    ),
)
