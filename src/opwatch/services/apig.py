"""APIG: the creation of a dedicated gateway, at Open Telekom Cloud and Huawei Cloud.

API Gateway API reference, "Querying the Creation Progress of a Dedicated Gateway". What its answers
mean stands in specs/apig.yaml; here is how a client is created, and where a poll finds its project.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

from opwatch_api.apig.models import InstanceProgress as Wire
from opwatch_waits import apig as waits

from opwatch.auth import require
from opwatch.auth.iam import IamPassword
from opwatch.auth.signing import AkSk, AkSkAuth
from opwatch.auth.tokens import token_auth, veiled
from opwatch.client import AsyncClient, Client, Core, Options, Plugin
from opwatch.core.session import Seen, Session
from opwatch.environment import arguments, environment, taken_from
from opwatch.errors import ConfigurationError
from opwatch.net.address import address, check_id
from opwatch.net.message import Answer, Secret
from opwatch.reading import any_json, object_in

if TYPE_CHECKING:
    from opwatch.core.loop import Turn

_NOT_EXPIRED = {
    *("APIC.7100", "APIC.7103", "APIC.7105", "APIC.7107"),
    *("APIG.1000", "APIG.1001", "APIG.1002", "APIG.1003", "APIG.1009", "APIG.0301"),
}
"""A 401 that a new token doesn't fix."""


async def _query(session: Session[Wire], turn: Turn, job_id: str, closer: bool) -> Seen[Wire]:
    project_id = await session.auth.project_id(turn)
    if project_id is None:
        raise ConfigurationError(
            "must be passed to the client (or set OS_PROJECT_ID): the token doesn't say which "
            "project it is for",
            argument="project_id",
        )
    return await waits.query(session, turn, job_id, closer, project_id=project_id)


def _is_expired(answer: Answer) -> bool:
    """Whether a new token may fix a 401."""
    return waits.complaint(answer, object_in(any_json(answer.body))).code not in _NOT_EXPIRED


SERVICE = waits.service(
    _query, address_help="check `endpoint` and `project_id` (APIG_ENDPOINT, OS_PROJECT_ID)"
)
_CLIENT = {"endpoint": "APIG_ENDPOINT", "project_id": "OS_PROJECT_ID"}
_KEYS = {
    "access_key": "HUAWEICLOUD_SDK_AK",
    "secret_key": "HUAWEICLOUD_SDK_SK",
    "security_token": "HUAWEICLOUD_SDK_SECURITY_TOKEN",
}
_USER = {
    "auth_url": "OS_AUTH_URL",
    "username": "OS_USERNAME",
    "password": "OS_PASSWORD",
    "domain_name": "OS_USER_DOMAIN_NAME",
}
_OTHERS = {"auth": "OS_TOKEN", "project_name": "OS_PROJECT_NAME"}
_OTHER_WAYS = (
    "OS_PROJECT_ID, for the project's name, with OS_TOKEN, or with HUAWEICLOUD_SDK_AK and "
    "HUAWEICLOUD_SDK_SK"
)


class _Apig(Core[Wire]):
    """Watches the creation of dedicated API gateways.

    `endpoint` is that of the region: `https://apig.eu-de.otc.t-systems.com`. `auth` is
    `IamPassword`, `AkSk`, a token, or a callable that returns one. `project_id` may be omitted with
    `IamPassword`, whose token contains it. Raises `ConfigurationError` for an invalid argument.
    """

    def __init__(
        self,
        endpoint: str,
        auth: IamPassword | AkSk | str | Callable[[], Any],
        *,
        project_id: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        auth = credentials = veiled(auth, IamPassword, AkSk)  # type: ignore[assignment]
        if isinstance(credentials, IamPassword):
            project_id = project_id or credentials.project_id
        elif project_id is None:
            raise ConfigurationError("must be passed with this `auth`", argument="project_id")
        elif isinstance(credentials, AkSk):
            require(project_id=project_id)  # it is also sent as a header
        if project_id is not None:
            check_id(project_id, "project ID", "project_id")
        bound: Any = partial(
            token_auth,
            credentials,
            header="X-Auth-Token",
            is_expired=_is_expired,
            project_id=project_id,
        )
        if isinstance(credentials, AkSk):
            bound = partial(AkSkAuth, credentials, project_id)
        self._open(SERVICE, address(endpoint, "endpoint"), bound, options)

    @classmethod
    def from_env(cls, **options: Unpack[Options]) -> Self:
        """From `APIG_ENDPOINT` and the variables of one way to authenticate.

        `HUAWEICLOUD_SDK_AK` and `HUAWEICLOUD_SDK_SK` (with temporary keys
        `HUAWEICLOUD_SDK_SECURITY_TOKEN`) and `OS_PROJECT_ID`; or `OS_AUTH_URL`, `OS_USERNAME`,
        `OS_PASSWORD`, `OS_USER_DOMAIN_NAME` and `OS_PROJECT_NAME` or `OS_PROJECT_ID`; or
        `OS_TOKEN` and `OS_PROJECT_ID`. Raises a `ConfigurationError` that names all missing ones.
        """
        with taken_from(_CLIENT | _KEYS | _USER | _OTHERS):
            auth = _auth_from_env()
            return cls(auth=auth, **arguments(_CLIENT), **options)


def _auth_from_env() -> Any:
    if os.environ.get("HUAWEICLOUD_SDK_AK") or os.environ.get("HUAWEICLOUD_SDK_SK"):
        keys = ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK")
        return AkSk(**arguments(_KEYS, "APIG_ENDPOINT", *keys, "OS_PROJECT_ID"))
    if os.environ.get("OS_TOKEN"):
        return Secret(environment("APIG_ENDPOINT", "OS_TOKEN", "OS_PROJECT_ID")["OS_TOKEN"])
    project = "project_id" if os.environ.get("OS_PROJECT_ID") else "project_name"
    user = _USER | {project: f"OS_{project.upper()}"}
    return IamPassword(**arguments(user, "APIG_ENDPOINT", *user.values(), instead=_OTHER_WAYS))


class Apig(_Apig, Client[Wire]):
    __doc__ = _Apig.__doc__


class AsyncApig(_Apig, AsyncClient[Wire]):
    __doc__ = _Apig.__doc__


PLUGIN = Plugin("apig", Apig, AsyncApig)
