"""APIG: the creation of a dedicated gateway, at Open Telekom Cloud and Huawei Cloud.

API Gateway API reference, "Querying the Creation Progress of a Dedicated Gateway".
specs/apig.yaml says what its answers mean; this file says how a client is created.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Self, TypeAlias, Unpack

from opwatch_api.apig.models import InstanceProgress as Wire
from opwatch_waits import apig as waits

from opwatch.auth.iam import IamPassword
from opwatch.auth.signing import AkSk, AkSkAuth
from opwatch.auth.tokens import TokenAuth, veiled
from opwatch.client import AsyncClient, Client, Core, Options, Plugin
from opwatch.core.polling import checked
from opwatch.environment import Connection, arguments, environment, is_set, taken_from
from opwatch.errors import ConfigurationError
from opwatch.net.address import address, check_id
from opwatch.net.message import Secret
from opwatch.reading import is_another

Until: TypeAlias = Literal["created", "usable"]
_CLIENT = {"endpoint": "APIG_ENDPOINT", "project_id": "OS_PROJECT_ID"}
_VARIABLES = {**IamPassword.variables, **AkSk.variables, **_CLIENT, "auth": "OS_TOKEN"}
_OTHER_WAYS = (
    "to use a token or keys instead of a password, set the project's ID and either OS_TOKEN or "
    "both HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK"
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
        if project_id is not None:
            project_id = check_id(project_id, "project ID", "project_id")
        if isinstance(credentials, IamPassword):
            if project_id and is_another(credentials.project_id, project_id):
                problem = "differs from the project of `auth`; pass it only to IamPassword"
                raise ConfigurationError(problem, argument="project_id")
            project_id = project_id or credentials.project_id
        elif project_id is None:
            raise ConfigurationError("must be passed with this `auth`", argument="project_id")
        bound: Any = partial(TokenAuth, credentials, header="X-Auth-Token")
        if isinstance(credentials, AkSk):
            bound = partial(AkSkAuth, credentials, project_id)
        checked(until, "until", until in ("created", "usable"), "'created' or 'usable'")
        service = waits.SERVICE if until == "usable" else waits.SERVICE._replace(outcome=None)
        self._open(service, where, bound, options, project_id=project_id)

    _of_password = sorted(IamPassword.variables.keys() - {"username", "password"})
    connection_extra = (*_of_password, "security_token", "until")

    @classmethod
    def from_connection(cls, given: Connection) -> dict[str, Any]:
        """Return the arguments in a connection: a user if its extra has `auth_url`, or else keys,
        or without a login a token."""
        base = {"endpoint": given.address or "", **given.take("project_id", "until")}
        auth = given.password
        if given.take("auth_url"):
            extra = given.take(*cls._of_password)
            if "project_id" in extra:
                extra.pop("project_name", None)
            auth = IamPassword(username=given.login or "", password=auth or "", **extra)
        elif given.login is not None:
            auth = AkSk(given.login, auth or "", **given.take("security_token"))
        return {"auth": auth, **base}

    @classmethod
    def from_env(cls, *, until: Until | None = None, **options: Unpack[Options]) -> Self:
        """Create a client from `APIG_ENDPOINT` and the variables for one way to authenticate.

        These are the variables of `AkSk.from_env` and `OS_PROJECT_ID`; or those of
        `IamPassword.from_env`; or `OS_TOKEN` and `OS_PROJECT_ID`. `until` defaults to `APIG_UNTIL`.
        Raises a `ConfigurationError` that names all missing variables.
        """
        chosen: Any = {} if until is None else {"until": until}
        client = _CLIENT if chosen else {**_CLIENT, "until": "APIG_UNTIL"}
        with taken_from(_VARIABLES | client):
            return cls(auth=_auth_from_env(), **arguments(client), **chosen, **options)


def _auth_from_env() -> Any:
    if is_set("HUAWEICLOUD_SDK_AK") or is_set("HUAWEICLOUD_SDK_SK"):
        return AkSk._from_env(*_CLIENT.values())
    if is_set("OS_TOKEN"):
        return Secret(environment("APIG_ENDPOINT", "OS_TOKEN", "OS_PROJECT_ID")["OS_TOKEN"])
    return IamPassword._from_env("APIG_ENDPOINT", instead=_OTHER_WAYS)


class Apig(_Apig, Client[Wire]): ...


class AsyncApig(_Apig, AsyncClient[Wire]): ...


PLUGIN = Plugin("apig", Apig, AsyncApig)
