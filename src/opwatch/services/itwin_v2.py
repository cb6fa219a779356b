"""iTwin v2: a reality-modeling, reality-analysis or reality-conversion job.

iTwin Platform, "Get job progress" and "Get job messages". specs/itwin-v2.yaml says what
the answers mean; this file says how a client is created.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, Self, TypeAlias, Unpack, get_args

from opwatch_api.itwin_v2.models import JobProgressResponse as Wire
from opwatch_waits import itwin_v2 as waits

from opwatch.auth.oauth2 import ClientCredentials
from opwatch.client import AsyncClient, Client, Options, Plugin
from opwatch.core.polling import checked
from opwatch.described import Described
from opwatch.environment import arguments, taken_from
from opwatch.errors import ConfigurationError
from opwatch.net.address import address
from opwatch.net.message import Address

BASE_URL = "https://api.bentley.com"
Api: TypeAlias = Literal["reality-modeling", "reality-analysis", "reality-conversion"]
APIS: tuple[str, ...] = get_args(Api)
_DEFAULT: Api = "reality-modeling"
_V1 = "contextcapture"


class _ITwinV2(Described[Wire]):
    """Watches jobs of iTwin's Reality Modeling, Reality Analysis and Reality Conversion APIs, v2.

    `auth` is `ClientCredentials`, an access token, or a callable that returns one. `api` names the
    API that the jobs belong to. `base_url` is the platform's address, to which `api` is appended,
    or everything in front of `/jobs`. If a job failed, a second request finds out why. Raises
    `ConfigurationError` for an invalid argument.
    """

    connection_extra = (*Described.connection_extra, "api")
    _scheme = waits.SCHEME

    def __init__(
        self,
        auth: ClientCredentials | str | Callable[[], Any],
        *,
        api: Api = _DEFAULT,
        base_url: str = BASE_URL,
        **options: Unpack[Options],
    ) -> None:
        auth = self._scheme.veil(auth)  # type: ignore[assignment]
        known = f"{', '.join(map(repr, APIS[:2]))} or {APIS[2]!r}"
        checked(api, "api", api in APIS, known)
        where = address(base_url, "base_url")
        use = f"use ITwin (service itwin), or {where.origin} for ITwinV2"
        wrong = f"(ITWIN_BASE_URL) is an address of iTwin's API v1: {use}"
        service = waits.SERVICE._replace(strangers={"jobProgress": wrong})
        if _V1 in where.prefix.lower().split("/"):
            service = service._replace(address_help=f"`base_url` {wrong}", is_elsewhere=True)
        elif api != _DEFAULT:
            _check_api(api, where)
        where = where if where.prefix else where._replace(prefix=f"/{api}")
        self._open(service, where, self._scheme.bind(auth), options)

    @classmethod
    def from_env(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, *, api: Api | None = None, **options: Unpack[Options]
    ) -> Self:
        """Create a client from the variables of `ITwin.from_env`, and from `ITWIN_API` unless `api`
        is passed.

        These are `ITWIN_CLIENT_ID` and `ITWIN_CLIENT_SECRET`, or `ITWIN_ACCESS_TOKEN`; and
        `ITWIN_BASE_URL`, `ITWIN_TOKEN_URL` and `ITWIN_SCOPE`. If `ITWIN_BASE_URL` is an address of
        the first version, only its host is used. Raises a `ConfigurationError` that names all
        missing variables.
        """
        client = {"base_url": "ITWIN_BASE_URL"} | ({"api": "ITWIN_API"} if api is None else {})
        with taken_from({**client, **cls._scheme.variables}):
            auth: Any = cls._scheme.from_env()
            found = arguments(client)
            if api is not None:
                found["api"] = api
            if found.get("base_url"):
                found["base_url"] = re.sub(rf"(?i)(/{_V1})?/*$", "", found["base_url"])
                _check_api(found.get("api"), address(found["base_url"], "base_url"))
            return cls(auth, **found, **options)


def _check_api(api: str | None, where: Address) -> None:
    """Raise a `ConfigurationError` if an address is that of another API."""
    named = where.prefix.rpartition("/")[2].lower()
    if named in APIS and api not in (None, named):
        problem = f"is {api!r}, but `base_url` (ITWIN_BASE_URL) ends in /{named}"
        raise ConfigurationError(problem, argument="api")


class ITwinV2(_ITwinV2, Client[Wire]): ...


class AsyncITwinV2(_ITwinV2, AsyncClient[Wire]): ...


PLUGIN = Plugin("itwin-v2", ITwinV2, AsyncITwinV2)
