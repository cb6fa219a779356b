"""APIG: the creation of a dedicated gateway, at Open Telekom Cloud and Huawei Cloud.

API Gateway API reference, "Querying the Creation Progress of a Dedicated Gateway".
specs/apig.yaml says what its answers mean; this file says how a client is created, and where a poll
finds its project.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, Unpack

from opwatch_api.apig.models import InstanceProgress as Wire
from opwatch_waits import apig as waits

from opwatch.auth import require
from opwatch.auth.iam import IamPassword
from opwatch.auth.signing import AkSk, AkSkAuth
from opwatch.auth.tokens import token_auth, veiled
from opwatch.client import AsyncClient, Client, Core, Options, Plugin
from opwatch.core.polling import checked
from opwatch.core.session import Session
from opwatch.environment import Connection, arguments, environment, is_set, taken_from
from opwatch.errors import ConfigurationError, PermissionDenied
from opwatch.logs import log
from opwatch.net.address import address, check_id
from opwatch.net.message import Secret
from opwatch.progress import Progress
from opwatch.reading import is_another

if TYPE_CHECKING:
    from opwatch.core.loop import Turn

Until: TypeAlias = Literal["created", "usable"]
_MAY_NOT_READ = {"APIC.7106", "APIC.7130", "APIC.7300"}
"""The codes of a 403 that says that the account may not read the gateway."""


async def _usable(session: Session[Wire], turn: Turn, created: Progress[Wire]) -> Any:
    """Poll a gateway whose creation has succeeded."""
    try:
        return await waits.outcome(session, turn, created)
    except PermissionDenied as error:
        was_read = created.details is not None
        if error.code not in _MAY_NOT_READ or was_read:
            raise
        known = "was created, but opwatch can't tell whether it is usable"
        about = {"service": "apig", "job_id": created.job_id}
        log(logging.WARNING, "%s %s %s: %s", *about.values(), known, error._what(), extra=about)
        return created


_CLIENT = {"endpoint": "APIG_ENDPOINT", "project_id": "OS_PROJECT_ID"}
_KEYS = {
    "access_key": "HUAWEICLOUD_SDK_AK",
    "secret_key": "HUAWEICLOUD_SDK_SK",
    "security_token": "HUAWEICLOUD_SDK_SECURITY_TOKEN",
}
_DOMAINS = ("domain_name", "user_domain_id", "project_domain_name", "project_domain_id")
_USER = {
    name: f"OS_{name.upper()}"
    for name in ("auth_url", "username", "password", "project_id", "project_name", *_DOMAINS)
} | {"domain_name": "OS_USER_DOMAIN_NAME"}
_EITHER = (
    ("project_id", "project_name"),
    ("user_domain_id", "domain_name"),
    ("project_domain_id", "project_domain_name"),
)
"""An ID and a name of which the ID counts."""
_OTHER_WAYS = (
    "OS_USER_DOMAIN_ID and OS_PROJECT_ID can replace the names; to use a token or keys instead of "
    "a password, set the project's ID and either OS_TOKEN or both HUAWEICLOUD_SDK_AK and "
    "HUAWEICLOUD_SDK_SK"
)


class _Apig(Core[Wire]):
    """Watches the creation of dedicated API gateways.

    `endpoint` is the region's address, such as `https://apig.eu-de.otc.t-systems.com`. `auth` is
    `IamPassword`, `AkSk`, a token, or a callable that returns one. `project_id` may be omitted with
    `IamPassword`, whose token contains it. With `until="usable"`, a wait continues after a
    gateway's creation until the gateway is running; with `"created"`, it ends with the creation.
    Raises `ConfigurationError` for an invalid argument.
    """

    def __init__(
        self,
        endpoint: str,
        auth: IamPassword | AkSk | str | Callable[[], Any],
        *,
        project_id: str | None = None,
        until: Until = "created",
        **options: Unpack[Options],
    ) -> None:
        auth = credentials = veiled(auth, IamPassword, AkSk)  # type: ignore[assignment]
        if isinstance(endpoint, (IamPassword, AkSk)):
            raise ConfigurationError("comes first, then `auth`; swap them", argument="endpoint")
        where = address(endpoint, "endpoint")
        if isinstance(credentials, IamPassword):
            if project_id and is_another(credentials.project_id, project_id):
                problem = (
                    "differs from the project of `auth`; pass `project_id` only to IamPassword"
                )
                raise ConfigurationError(problem, argument="project_id")
            project_id = project_id or credentials.project_id
        elif project_id is None:
            raise ConfigurationError("must be passed with this `auth`", argument="project_id")
        elif isinstance(credentials, AkSk):
            require(project_id=project_id)  # it is also sent as a header
        if project_id is not None:
            project_id = check_id(project_id, "project ID", "project_id")
        bound: Any = partial(
            token_auth,
            credentials,
            header="X-Auth-Token",
            project_id=project_id,
        )
        if isinstance(credentials, AkSk):
            bound = partial(AkSkAuth, credentials, project_id)
        checked(until, "until", until in ("created", "usable"), "'created' or 'usable'")
        after = _usable if until == "usable" else None
        self._open(waits.SERVICE._replace(outcome=after), where, bound, options)

    connection_extra = (
        *("auth_url", *_DOMAINS, "project_name", "project_id", "security_token", "until"),
    )

    @classmethod
    def from_connection(cls, given: Connection) -> dict[str, Any]:
        """Return the arguments in a connection: a user if its extra has `auth_url`, or else keys,
        or without a login a token."""
        base = {"endpoint": given.address or "", **given.take("project_id", "until")}
        auth = given.password
        if (auth_url := given.extra.get("auth_url")) is not None:
            project = given.take("project_id") or given.take("project_name")
            domains = given.take(*_DOMAINS)
            auth = IamPassword(auth_url, given.login or "", auth or "", **domains, **project)
        elif given.login is not None:
            auth = AkSk(given.login, auth or "", **given.take("security_token"))
        return {"auth": auth, **base}

    @classmethod
    def from_env(cls, *, until: Until | None = None, **options: Unpack[Options]) -> Self:
        """Create a client from `APIG_ENDPOINT` and the variables for one way to authenticate.

        These are `HUAWEICLOUD_SDK_AK`, `HUAWEICLOUD_SDK_SK` and `OS_PROJECT_ID` (for temporary
        keys, also `HUAWEICLOUD_SDK_SECURITY_TOKEN`); or `OS_AUTH_URL`, `OS_USERNAME`,
        `OS_PASSWORD`, `OS_USER_DOMAIN_NAME`, and `OS_PROJECT_NAME` or `OS_PROJECT_ID`; or
        `OS_TOKEN` and `OS_PROJECT_ID`. `OS_USER_DOMAIN_ID` can replace `OS_USER_DOMAIN_NAME`, and
        `OS_PROJECT_DOMAIN_NAME` or `OS_PROJECT_DOMAIN_ID` names another domain for the project; an
        ID takes precedence over a name. `until` defaults to `APIG_UNTIL`. Raises a
        `ConfigurationError` that names all missing variables.
        """
        client = _CLIENT | ({"until": "APIG_UNTIL"} if until is None else {})
        with taken_from(client | _KEYS | _USER | {"auth": "OS_TOKEN"}):
            auth, found = _auth_from_env(), arguments(client)
            if until is not None:
                found["until"] = until
            return cls(auth=auth, **found, **options)


def _auth_from_env() -> Any:
    if is_set("HUAWEICLOUD_SDK_AK") or is_set("HUAWEICLOUD_SDK_SK"):
        keys = ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK")
        return AkSk(**arguments(_KEYS, "APIG_ENDPOINT", *keys, "OS_PROJECT_ID"))
    if is_set("OS_TOKEN"):
        return Secret(environment("APIG_ENDPOINT", "OS_TOKEN", "OS_PROJECT_ID")["OS_TOKEN"])
    unused = {pair[is_set(_USER[pair[0]])] for pair in _EITHER}
    user = {name: variable for name, variable in _USER.items() if name not in unused}
    needed = [variable for name, variable in user.items() if not name.startswith("project_domain")]
    return IamPassword(**arguments(user, "APIG_ENDPOINT", *needed, instead=_OTHER_WAYS))


class Apig(_Apig, Client[Wire]):
    __doc__ = _Apig.__doc__


class AsyncApig(_Apig, AsyncClient[Wire]):
    __doc__ = _Apig.__doc__


PLUGIN = Plugin("apig", Apig, AsyncApig)
