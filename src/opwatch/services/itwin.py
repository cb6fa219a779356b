"""iTwin: a reality-modeling job.

iTwin Platform, Reality Modeling API, "Retrieve job progress". The progress says "Over" and not how
it ended; the job itself does, so it is asked once the progress says so.
"""

from __future__ import annotations

import copyreg
import functools
import os
from collections.abc import Callable
from typing import Any, Self, Unpack

import attrs
from opwatch_api.itwin.api.jobs import get_job, get_job_progress
from opwatch_api.itwin.models import ExecutionInformation, Job, JobIssue, JobProgressResponse
from opwatch_api.itwin.types import Unset

from opwatch.auth.flows import AkSk, Flow
from opwatch.auth.tokens import SCOPE, TOKEN_URL, ClientCredentials, IamPassword, token_auth, veiled
from opwatch.client import AsyncClient, Client, Core, Options, Plugin
from opwatch.environment import environment, taken_from, url
from opwatch.errors import ConfigurationError, JobGone, OpwatchError, RateLimited, Unavailable
from opwatch.polling import Schedule
from opwatch.progress import Fault, Phase, Progress
from opwatch.reading import parse_time, percent, state, text
from opwatch.transport import address
from opwatch.waiting import Complaint, Seen, Service, Session
from opwatch.wire import Answer

copyreg.pickle(Unset, lambda unset: "UNSET")  # by its name: there is one alone

BASE_URL = "https://api.bentley.com/contextcapture"

# The document's three states, and those of the job, which older versions sent here too.
_PHASES = {
    "unsubmitted": Phase.PENDING,
    "active": Phase.RUNNING,
    "over": Phase.ENDED,
    "success": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
    "canceled": Phase.CANCELLED,
}


def _query(
    session: Session[JobProgressResponse], job_id: str, closer: bool, *, resolve_outcome: bool
) -> Flow[Seen[JobProgressResponse]]:
    response = yield from session.call(get_job_progress, "jobProgress", id=job_id)
    progress = _read(session, job_id, response)
    if resolve_outcome and progress.phase is Phase.ENDED:
        return (yield from _resolve(session, progress))
    if resolve_outcome and closer and not progress.phase.is_final:
        return (yield from _look_closer(session, progress))
    return Seen(progress)


def _read(
    session: Session[JobProgressResponse], job_id: str, response: JobProgressResponse
) -> Progress[JobProgressResponse]:
    found = response.job_progress
    name = state(found.state)
    return Progress(
        service="itwin",
        job_id=job_id,
        phase=_PHASES.get(name or "") or session.unknown(name),
        percent=percent(found.percentage),
        step=text(found.step),
        wire=response,
    )


def _resolve(
    session: Session[JobProgressResponse], progress: Progress[JobProgressResponse]
) -> Flow[Seen[JobProgressResponse]]:
    """How a job that is over ended. What can't be known now may be known later, or never."""
    try:
        response = yield from session.call(get_job, "job", id=progress.job_id)
    except OpwatchError as error:
        return Seen(progress, error if error.transient else None)
    job: Job = response.job
    phase = _PHASES.get(state(job.state) or "")
    if phase in (Phase.PENDING, Phase.RUNNING):
        return Seen(progress, Unavailable("is over, and the job does not say yet how it ended"))
    if phase is None or phase is Phase.ENDED:
        return Seen(progress)
    return Seen(_ended(progress, phase, job))


def _look_closer(
    session: Session[JobProgressResponse], progress: Progress[JobProgressResponse]
) -> Flow[Seen[JobProgressResponse]]:
    """Whether a job that does not move has ended: cancelled ones were seen to stay active."""
    try:
        response = yield from session.call(get_job, "job", id=progress.job_id)
    except RateLimited:
        raise  # its Retry-After holds the next query too
    except OpwatchError:
        return Seen(progress)
    phase = _PHASES.get(state(response.job.state) or "")
    if phase is None or not phase.is_final:
        return Seen(progress)
    return Seen(_ended(progress, phase, response.job))


def _ended(
    progress: Progress[JobProgressResponse], phase: Phase, job: Job
) -> Progress[JobProgressResponse]:
    information = job.execution_information
    if not isinstance(information, ExecutionInformation):
        return attrs.evolve(progress, phase=phase)
    return attrs.evolve(
        progress,
        phase=phase,
        fault=_fault(information) if phase is Phase.FAILED else None,
        started_at=parse_time(information.started_date_time),
        finished_at=parse_time(information.ended_date_time),
    )


def _fault(information: ExecutionInformation) -> Fault | None:
    """All errors of a job as one fault: the first one's code, every one's words."""
    found = information.errors if isinstance(information.errors, list) else []
    errors = [error for error in found if isinstance(error, JobIssue)]
    if not errors:
        return None
    words = [_words(text(error.title), text(error.message)) for error in errors]
    return Fault(text(errors[0].code), "; ".join(filter(None, words)) or None)


def _words(title: str | None, message: str | None) -> str | None:
    return f"{title}: {message}" if title and message else title or message


def _complaint(answer: Answer, fields: dict[str, Any]) -> Complaint:
    """`{"error": {code, message}}`, which may be missing or partly null. Of a 404, only
    `JobNotFound` speaks of the job: a wrong `Accept` or path is `ResourceNotFound`."""
    error = fields.get("error")
    error = error if isinstance(error, dict) else {}
    code = text(error.get("code"))
    gone = answer.status == 404 and code is not None and code.lower() == "jobnotfound"
    return Complaint(
        code,
        text(error.get("message")),
        JobGone if gone else None,
        answer.header("x-correlation-id"),
    )


SERVICE: Service[JobProgressResponse] = Service(
    name="itwin",
    id_name="job id",
    # "Client should query with a backoff intervals [15,30,60,120] seconds. [...] If the percentage
    # changes the sequence is restarted." (Remarks)
    schedule=Schedule((15, 30, 60, 120)),
    accept="application/vnd.bentley.itwin-platform.v1+json",
    query=functools.partial(_query, resolve_outcome=True),
    complaint=_complaint,
    marker=lambda progress: progress.percent,
    address_help="check base_url (ITWIN_BASE_URL)",
)


_VARIABLES = {
    "auth": "ITWIN_ACCESS_TOKEN",
    "base_url": "ITWIN_BASE_URL",
    "client_id": "ITWIN_CLIENT_ID",
    "client_secret": "ITWIN_CLIENT_SECRET",
    "scope": "ITWIN_SCOPE",
    "token_url": "ITWIN_TOKEN_URL",
}
"""Where `from_env` takes each argument from."""


class _ITwin(Core[JobProgressResponse]):
    """Watches iTwin reality-modeling jobs.

    `auth` is `ClientCredentials`, an access token, or a callable that returns one. With
    `resolve_outcome` the job itself is asked how it ended once it is over; without, an end is
    `Phase.ENDED`. Raises `ConfigurationError` for what cannot be right.
    """

    def __init__(
        self,
        auth: ClientCredentials | str | Callable[[], Any],
        *,
        base_url: str = BASE_URL,
        resolve_outcome: bool = True,
        **options: Unpack[Options],
    ) -> None:
        auth = credentials = veiled(auth)  # type: ignore[assignment]
        if isinstance(credentials, (IamPassword, AkSk)):
            name = type(credentials).__name__
            raise ConfigurationError(f"{name} is for Apig; ITwin takes ClientCredentials")
        query = functools.partial(_query, resolve_outcome=bool(resolve_outcome))
        self._open(
            SERVICE._replace(query=query),
            address(base_url, "base_url"),
            lambda clock: token_auth(credentials, clock, header="Authorization", prefix="Bearer "),
            options,
        )

    @classmethod
    def from_env(cls, **options: Unpack[Options]) -> Self:
        """From `ITWIN_CLIENT_ID` and `ITWIN_CLIENT_SECRET`, or `ITWIN_ACCESS_TOKEN`.

        Also looks at `ITWIN_BASE_URL`, `ITWIN_TOKEN_URL` and `ITWIN_SCOPE`. Raises
        `ConfigurationError` with all that is missing.
        """
        base_url = url("ITWIN_BASE_URL", BASE_URL)
        with taken_from(_VARIABLES):
            if os.environ.get("ITWIN_ACCESS_TOKEN"):
                return cls(os.environ["ITWIN_ACCESS_TOKEN"], base_url=base_url, **options)
            found = environment(
                "ITWIN_CLIENT_ID", "ITWIN_CLIENT_SECRET", instead="ITWIN_ACCESS_TOKEN"
            )
            auth = ClientCredentials(
                found["ITWIN_CLIENT_ID"],
                found["ITWIN_CLIENT_SECRET"],
                scope=os.environ.get("ITWIN_SCOPE") or SCOPE,
                token_url=url("ITWIN_TOKEN_URL", TOKEN_URL),
            )
            return cls(auth, base_url=base_url, **options)


class ITwin(_ITwin, Client[JobProgressResponse]):
    __doc__ = _ITwin.__doc__


class AsyncITwin(_ITwin, AsyncClient[JobProgressResponse]):
    __doc__ = _ITwin.__doc__


PLUGIN = Plugin("itwin", ITwin, AsyncITwin)
