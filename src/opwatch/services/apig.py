"""APIG: the creation of a dedicated gateway, at Open Telekom Cloud and Huawei Cloud.

API Gateway API reference, "Querying the Creation Progress of a Dedicated Gateway". A creation that
failed is a 200 answer; `status` alone decides, `progress` is 0 in every failed sample, and
`end_time` is there before the end.
"""

from __future__ import annotations

import copyreg
import os
from collections.abc import Callable
from typing import Any, Self, Unpack

from opwatch_api.apig.api.instances import show_details_of_instance_progress_v2
from opwatch_api.apig.models import InstanceProgress
from opwatch_api.apig.types import UNSET, Unset

from opwatch.auth.flows import AkSk, Auth, Flow, require
from opwatch.auth.tokens import ClientCredentials, IamPassword, token_auth, veiled
from opwatch.client import AsyncClient, Client, Core, Options, Plugin
from opwatch.clock import Clock
from opwatch.environment import environment, taken_from, url
from opwatch.errors import BadResponse, ConfigurationError, JobGone, RateLimited, ServiceError
from opwatch.polling import Schedule
from opwatch.progress import Fault, Phase, Progress
from opwatch.reading import any_json, milliseconds, percent, state, text
from opwatch.transport import address
from opwatch.waiting import Complaint, Seen, Service, Session
from opwatch.wire import Answer, Secret, check_id

copyreg.pickle(Unset, lambda unset: "UNSET")  # by its name: there is one alone

_PHASES = {
    "creating": Phase.RUNNING,
    "success": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}
_GONE = frozenset({"APIC.7302", "APIG.3030"})
_TOO_MANY = frozenset({"APIG.0308", "APIG.9008"})
"""APIG.9008 is a 500 and says "Too many requests"."""
_NOT_EXPIRED = frozenset(
    {
        *("APIC.7100", "APIC.7103", "APIC.7105", "APIC.7107"),
        *("APIG.1000", "APIG.1001", "APIG.1002", "APIG.1003", "APIG.1009", "APIG.0301"),
    }
)
"""A 401 that a new token does not mend."""


def _query(
    session: Session[InstanceProgress], job_id: str, closer: bool
) -> Flow[Seen[InstanceProgress]]:
    project_id = yield from session.auth.project_id()
    if project_id is None:
        raise ConfigurationError(
            "the token does not say which project it is for; give project_id to the client, "
            "or set OS_PROJECT_ID"
        )
    response = yield from session.call(
        show_details_of_instance_progress_v2, project_id=project_id, instance_id=job_id
    )
    # No field is mandatory, but an answer with none of them is somebody else's.
    if (response.status, response.progress, response.start_time) == (UNSET, UNSET, UNSET):
        raise BadResponse("the answer holds nothing that is documented", status=200)
    return Seen(_read(session, job_id, response))


def _read(
    session: Session[InstanceProgress], job_id: str, response: InstanceProgress
) -> Progress[InstanceProgress]:
    name = state(response.status)
    phase = _PHASES.get(name or "") or session.unknown(name)
    fault = None
    if phase is Phase.FAILED:
        fault = Fault(text(response.error_code), text(response.error_msg))
    return Progress(
        service="apig",
        job_id=job_id,
        phase=phase,
        percent=percent(response.progress),
        fault=fault,
        started_at=milliseconds(response.start_time),
        finished_at=milliseconds(response.end_time) if phase.is_final else None,
        wire=response,
    )


def _code(fields: dict[str, Any]) -> tuple[str | None, str | None]:
    """`{error_code, error_msg}`, or the identity service's `{"error": {code, message, title}}`."""
    error = fields.get("error")
    if isinstance(error, dict):
        return text(error.get("title")) or text(error.get("code")), text(error.get("message"))
    return text(fields.get("error_code")), text(fields.get("error_msg"))


def _complaint(answer: Answer, fields: dict[str, Any]) -> Complaint:
    code, message = _code(fields)
    kind: type[ServiceError] | None = None
    if answer.status == 404 and code in _GONE:
        kind = JobGone
    elif code in _TOO_MANY:
        kind = RateLimited
    request_id = text(fields.get("request_id")) or answer.header("x-request-id")
    return Complaint(code, message, kind, request_id)


def _is_expired(answer: Answer) -> bool:
    """Whether a 401 may be mended by a new token."""
    fields = any_json(answer.body)
    return not isinstance(fields, dict) or _code(fields)[0] not in _NOT_EXPIRED


SERVICE: Service[InstanceProgress] = Service(
    name="apig",
    id_name="gateway id",
    # No schedule is documented. Both Terraform providers ask every 20 s.
    schedule=Schedule((20,)),
    accept="application/json",
    query=_query,
    complaint=_complaint,
    marker=lambda progress: progress.percent,
    address_help="check endpoint and project_id (APIG_ENDPOINT, OS_PROJECT_ID)",
)


_OTHER_WAYS = (
    "OS_PROJECT_ID, for the project's name, with OS_TOKEN, or with HUAWEICLOUD_SDK_AK and "
    "HUAWEICLOUD_SDK_SK"
)
_VARIABLES = {
    "endpoint": "APIG_ENDPOINT",
    "auth": "OS_TOKEN",
    "project_id": "OS_PROJECT_ID",
    "project_name": "OS_PROJECT_NAME",
    "auth_url": "OS_AUTH_URL",
    "username": "OS_USERNAME",
    "password": "OS_PASSWORD",
    "domain_name": "OS_USER_DOMAIN_NAME",
    "access_key": "HUAWEICLOUD_SDK_AK",
    "secret_key": "HUAWEICLOUD_SDK_SK",
    "security_token": "HUAWEICLOUD_SDK_SECURITY_TOKEN",
}
"""Where `from_env` takes each argument from."""


class _Apig(Core[InstanceProgress]):
    """Watches the creation of dedicated API gateways.

    `endpoint` is that of the region: `https://apig.eu-de.otc.t-systems.com`. `auth` is
    `IamPassword`, `AkSk`, a token, or a callable that returns one. `project_id` may be left out
    with `IamPassword`, whose token says it. Raises `ConfigurationError` for what cannot be right.
    """

    def __init__(
        self,
        endpoint: str,
        auth: IamPassword | AkSk | str | Callable[[], Any],
        *,
        project_id: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        auth = credentials = veiled(auth)  # type: ignore[assignment]
        if isinstance(credentials, ClientCredentials):
            raise ConfigurationError(
                "ClientCredentials is for ITwin; Apig takes IamPassword or AkSk"
            )
        if isinstance(credentials, IamPassword):
            project_id = project_id or credentials.project_id
        elif project_id is None:
            raise ConfigurationError("project_id must be given with this auth")
        elif isinstance(credentials, AkSk):
            require(project_id=project_id)  # it is also sent as a header
        if project_id is not None:
            check_id(project_id, "project_id")
        self._open(
            SERVICE,
            address(endpoint, "endpoint"),
            lambda clock: _auth(credentials, project_id, clock),
            options,
        )

    @classmethod
    def from_env(cls, **options: Unpack[Options]) -> Self:
        """From `APIG_ENDPOINT` and the variables of one way to authenticate.

        `HUAWEICLOUD_SDK_AK` and `HUAWEICLOUD_SDK_SK` (with temporary keys
        `HUAWEICLOUD_SDK_SECURITY_TOKEN`) and `OS_PROJECT_ID`; or `OS_AUTH_URL`, `OS_USERNAME`,
        `OS_PASSWORD`, `OS_USER_DOMAIN_NAME` and `OS_PROJECT_NAME` or `OS_PROJECT_ID`; or
        `OS_TOKEN` and `OS_PROJECT_ID`. Raises `ConfigurationError` with all that is missing.
        """
        with taken_from(_VARIABLES):
            auth, project_id = _from_env()
            return cls(url("APIG_ENDPOINT"), auth, project_id=project_id, **options)


def _from_env() -> tuple[Any, str | None]:
    """What the environment gives to authenticate with, and the project where that does not say."""
    if os.environ.get("HUAWEICLOUD_SDK_AK") or os.environ.get("HUAWEICLOUD_SDK_SK"):
        keys = ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK")
        found = environment("APIG_ENDPOINT", *keys, "OS_PROJECT_ID")
        pair = AkSk(
            found[keys[0]],
            found[keys[1]],
            security_token=os.environ.get("HUAWEICLOUD_SDK_SECURITY_TOKEN") or None,
        )
        return pair, found["OS_PROJECT_ID"]
    if os.environ.get("OS_TOKEN"):
        found = environment("APIG_ENDPOINT", "OS_TOKEN", "OS_PROJECT_ID")
        return Secret(found["OS_TOKEN"]), found["OS_PROJECT_ID"]
    by_id = bool(os.environ.get("OS_PROJECT_ID"))
    project = "OS_PROJECT_ID" if by_id else "OS_PROJECT_NAME"
    user = ("OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_USER_DOMAIN_NAME")
    found = environment("APIG_ENDPOINT", *user, project, instead=_OTHER_WAYS)
    password = IamPassword(
        url("OS_AUTH_URL"),
        found["OS_USERNAME"],
        found["OS_PASSWORD"],
        domain_name=found["OS_USER_DOMAIN_NAME"],
        project_id=found[project] if by_id else None,
        project_name=None if by_id else found[project],
    )
    return password, None


def _auth(credentials: Any, project_id: str | None, clock: Clock) -> Auth:
    if isinstance(credentials, AkSk):
        return credentials.bind(clock, project_id)
    return token_auth(
        credentials, clock, header="X-Auth-Token", is_expired=_is_expired, project_id=project_id
    )


class Apig(_Apig, Client[InstanceProgress]):
    __doc__ = _Apig.__doc__


class AsyncApig(_Apig, AsyncClient[InstanceProgress]):
    __doc__ = _Apig.__doc__


PLUGIN = Plugin("apig", Apig, AsyncApig)
