"""Catenis message progress: what an answer says about a job.

Compiled from the `x-wait` block of specs/catenis.yaml: never edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opwatch_api.catenis.api.messages import retrieve_message_progress
from opwatch_api.catenis.models import MessageProgressResponse

from opwatch.core.polling import Schedule
from opwatch.core.session import Complaint, Seen, Service, Session
from opwatch.errors import BadResponse, JobGone, PermissionDenied, ServiceError, Unavailable
from opwatch.net.message import Answer
from opwatch.progress import Fault, Phase, Progress
from opwatch.reading import count, object_in, parse_time, state, text, word

if TYPE_CHECKING:
    from opwatch.core.loop import Turn


async def query(
    session: Session[MessageProgressResponse], turn: Turn, job_id: str, closer: bool
) -> Seen[MessageProgressResponse]:
    """Poll one job."""
    fields, wire = await session.fetch(
        turn, retrieve_message_progress, "data", "progress", ephemeral_message_id=job_id
    )
    if (problem := _problem(fields)) is not None:
        del fields, wire  # tracebacks show the locals of this frame
        raise BadResponse(problem, status=200)
    return Seen(read(session, job_id, fields, wire))


def _problem(fields: dict[str, Any]) -> str | None:
    """Return why this is no answer about the job; None if it is one."""
    if state(fields.get("status")) != "success":
        return "the answer's `status` isn't success"
    return None


def read(
    session: Session[MessageProgressResponse],
    job_id: str,
    fields: dict[str, Any],
    wire: MessageProgressResponse,
) -> Progress[MessageProgressResponse]:
    """Return what an answer says about the job."""
    data = fields["data"]
    progress = data["progress"]
    error = object_in(progress.get("error"))
    phase = _phase(session, fields)
    if phase is Phase.SUCCEEDED and progress.get("error"):
        phase = session.contradicted("data.progress.error")
    return Progress(
        service="catenis",
        job_id=job_id,
        phase=phase,
        step=text(data.get("action")),
        bytes_processed=count(progress.get("bytesProcessed")),
        fault=Fault(text(error.get("code")), text(error.get("message"))) if error else None,
        finished_at=parse_time(progress.get("finishDate")) if phase.is_final else None,
        wire=wire,
    )


def _phase(session: Session[MessageProgressResponse], fields: dict[str, Any]) -> Phase:
    """Return the phase: the first of these that holds."""
    data = fields["data"]
    progress = data["progress"]
    done = progress.get("done")
    success = progress.get("success")
    if done is False:
        return Phase.RUNNING
    if done is True and success is True:
        return Phase.SUCCEEDED
    if done is True and success is False:
        return Phase.FAILED
    if done is True:
        return Phase.ENDED
    return session.unknown(f"done: {word(done)}, success: {word(success)}")


def complaint(answer: Answer, fields: dict[str, Any]) -> Complaint:
    """Return what an error answer says."""
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


def service(*, address_help: str) -> Service[MessageProgressResponse]:
    """Return the service; `address_help` is what to check if nothing is found."""
    return Service(
        name="catenis",
        id_name="ephemeral message ID",
        schedule=Schedule((1, 2, 4, 8, 15)),
        accept="application/json",
        query=query,
        complaint=complaint,
        marker=lambda progress: progress.bytes_processed,
        address_help=address_help,
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
