"""Catenis: the processing of a message.

Catenis API documentation 0.7, "Retrieve Message Progress". A message that failed is a 200 answer;
every HTTP error has the same envelope, so its message tells what it means.
"""

from __future__ import annotations

import copyreg
import os
import re
from typing import Any, Self, Unpack

from opwatch_api.catenis.api.messages import retrieve_message_progress
from opwatch_api.catenis.models import MessageProgressResponse, ProcessingError
from opwatch_api.catenis.types import Unset

from opwatch.auth.flows import Ctn1Auth, Flow, require
from opwatch.client import AsyncClient, Client, Core, Options, Plugin
from opwatch.environment import environment, taken_from, url
from opwatch.errors import BadResponse, ConfigurationError, JobGone, PermissionDenied, Unavailable
from opwatch.polling import Schedule
from opwatch.progress import Fault, Phase, Progress
from opwatch.reading import count, parse_time, state, text
from opwatch.transport import address
from opwatch.waiting import Complaint, Seen, Service, Session
from opwatch.wire import Answer, Secret

copyreg.pickle(Unset, lambda unset: "UNSET")  # by its name: there is one alone

HOSTS = {
    "sandbox": "sandbox.catenis.io",
    "production": "catenis.io",
    "prod": "catenis.io",
}


def _query(
    session: Session[MessageProgressResponse], job_id: str, closer: bool
) -> Flow[Seen[MessageProgressResponse]]:
    response = yield from session.call(
        retrieve_message_progress, "data", "progress", ephemeral_message_id=job_id
    )
    if state(response.status) != "success":
        del response  # it may hold a continuation token, and this frame is shown to people
        raise BadResponse("the answer does not call itself a success", status=200)
    return Seen(_read(session, job_id, response))


def _read(
    session: Session[MessageProgressResponse], job_id: str, response: MessageProgressResponse
) -> Progress[MessageProgressResponse]:
    progress = response.data.progress
    error = progress.error if isinstance(progress.error, ProcessingError) else None
    phase = _phase(session, response)
    return Progress(
        service="catenis",
        job_id=job_id,
        phase=phase,
        step=text(response.data.action),
        bytes_processed=count(progress.bytes_processed),
        fault=Fault(text(error.code), text(error.message)) if error else None,
        finished_at=parse_time(progress.finish_date) if phase.is_final else None,
        wire=response,
    )


def _phase(session: Session[MessageProgressResponse], response: MessageProgressResponse) -> Phase:
    """`success` says nothing before `done`; only a real true or false says anything."""
    progress = response.data.progress
    if progress.done is False:
        return Phase.RUNNING
    if progress.done is not True:
        return session.unknown(f"done: {text(progress.done) or type(progress.done).__name__}")
    if progress.success is True:
        return Phase.SUCCEEDED
    return Phase.FAILED if progress.success is False else Phase.ENDED


_GONE = re.compile(r"invalid or expired ephemeral message", re.IGNORECASE)
_NOT_YET = re.compile(r"progress not available", re.IGNORECASE)
_DEVICE = re.compile(r"device is (deleted|not active)", re.IGNORECASE)


def _complaint(answer: Answer, fields: dict[str, Any]) -> Complaint:
    """`{"status": "error", "message": ...}`; a 401's text cannot be trusted."""
    message = text(fields.get("message"))
    if answer.status == 400 and message is not None:
        if _GONE.search(message):
            return Complaint(None, message, JobGone)
        if _NOT_YET.search(message):
            return Complaint(None, message, Unavailable)
        if _DEVICE.search(message):
            return Complaint(None, message, PermissionDenied)
    return Complaint(None, message)


SERVICE: Service[MessageProgressResponse] = Service(
    name="catenis",
    id_name="ephemeral message id",
    # No schedule is documented. The official samples poll every 3 s after a first 100 ms.
    schedule=Schedule((1, 2, 4, 8, 15)),
    accept="application/json",
    query=_query,
    complaint=_complaint,
    marker=lambda progress: progress.bytes_processed,
    address_help=(
        "check environment, version and base_url "
        "(CATENIS_ENVIRONMENT, CATENIS_VERSION, CATENIS_BASE_URL)"
    ),
)


_VARIABLES = {
    "device_id": "CATENIS_DEVICE_ID",
    "api_access_secret": "CATENIS_API_ACCESS_SECRET",
    "environment": "CATENIS_ENVIRONMENT",
    "version": "CATENIS_VERSION",
    "base_url": "CATENIS_BASE_URL",
}
"""Where `from_env` takes each argument from."""


class _Catenis(Core[MessageProgressResponse]):
    """Watches the processing of Catenis messages.

    `device_id` and `api_access_secret` are those of the device that began the processing.
    `environment` is `"sandbox"` or `"production"`, `version` that of the API; `base_url` is used
    instead of both: all that stands before `/messages`. Raises `ConfigurationError` for what cannot
    be right.
    """

    def __init__(
        self,
        device_id: str,
        api_access_secret: str,
        *,
        environment: str = "sandbox",
        version: str = "0.7",
        base_url: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        api_access_secret = Secret(api_access_secret)  # type: ignore[assignment]
        require(device_id=device_id, api_access_secret=api_access_secret)
        if not re.fullmatch(r"\w{20}", device_id, re.ASCII):
            # Not quoted: who swaps the two arguments gives the secret here.
            raise ConfigurationError("device_id must be 20 letters, digits or underscores")
        where = base_url if base_url is not None else _base_url(environment, version)
        secret: Secret = api_access_secret  # type: ignore[assignment]
        self._open(
            SERVICE,
            address(where, "base_url"),
            lambda clock: Ctn1Auth(device_id, secret, clock),
            options,
        )

    @classmethod
    def from_env(cls, **options: Unpack[Options]) -> Self:
        """From `CATENIS_DEVICE_ID` and `CATENIS_API_ACCESS_SECRET`.

        Also looks at `CATENIS_ENVIRONMENT`, `CATENIS_VERSION` and `CATENIS_BASE_URL`. The official
        clients name no variables; these are the names of their arguments. Raises
        `ConfigurationError` with all that is missing.
        """
        found = environment("CATENIS_DEVICE_ID", "CATENIS_API_ACCESS_SECRET")
        with taken_from(_VARIABLES):
            return cls(
                found["CATENIS_DEVICE_ID"],
                found["CATENIS_API_ACCESS_SECRET"],
                environment=os.environ.get("CATENIS_ENVIRONMENT") or "sandbox",
                version=os.environ.get("CATENIS_VERSION") or "0.7",
                base_url=url("CATENIS_BASE_URL") or None,
                **options,
            )


def _base_url(environment: str, version: str) -> str:
    host = HOSTS.get(environment)
    if host is None:
        raise ConfigurationError(
            f"environment must be 'sandbox' or 'production', not {environment!r:.40}"
        )
    if not isinstance(version, str) or not re.fullmatch(r"\d+\.\d+", version, re.ASCII):
        raise ConfigurationError(f"version must be like '0.7', not {version!r:.40}")
    return f"https://{host}/api/{version}"


class Catenis(_Catenis, Client[MessageProgressResponse]):
    __doc__ = _Catenis.__doc__


class AsyncCatenis(_Catenis, AsyncClient[MessageProgressResponse]):
    __doc__ = _Catenis.__doc__


PLUGIN = Plugin("catenis", Catenis, AsyncCatenis)
