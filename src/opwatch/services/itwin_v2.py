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
from opwatch.described import Described
from opwatch.environment import arguments, taken_from
from opwatch.errors import ConfigurationError
from opwatch.net.address import address

BASE_URL = "https://api.bentley.com"
Api: TypeAlias = Literal["reality-modeling", "reality-analysis", "reality-conversion"]
APIS: tuple[str, ...] = get_args(Api)
_V1 = "contextcapture"


_IS_V1 = (
    f"(ITWIN_BASE_URL) is an address of iTwin's API v1: use ITwin (service itwin), or {BASE_URL} "
    f"for ITwinV2"
)
SERVICE = waits.service(
    address_help="check `api` and `base_url` (ITWIN_API, ITWIN_BASE_URL)"
)._replace(strangers={"jobProgress": _IS_V1})


class _ITwinV2(Described[Wire]):
    """Watches jobs of iTwin's Reality Modeling, Reality Analysis and Reality Conversion APIs, v2.

    `auth` is `ClientCredentials`, an access token, or a callable that returns one. `api` says which
    of the three APIs the jobs are of. `base_url` is the platform's address, to which `api` is
    added, or everything in front of `/jobs`. If a job failed, a second request looks up why. Raises
    `ConfigurationError` for an invalid argument.
    """

    connection_extra = (*Described.connection_extra, "api")
    _scheme = waits.SCHEME

    def __init__(
        self,
        auth: ClientCredentials | str | Callable[[], Any],
        *,
        api: Api = "reality-modeling",
        base_url: str = BASE_URL,
        **options: Unpack[Options],
    ) -> None:
        auth = self._scheme.veil(auth)  # type: ignore[assignment]
        if api not in APIS:
            problem = f"must be {', '.join(map(repr, APIS[:2]))} or {APIS[2]!r}, not {api!r:.40}"
            raise ConfigurationError(problem, argument="api")
        where, service = address(base_url, "base_url"), SERVICE
        if _V1 in where.prefix.lower().split("/"):
            service = SERVICE._replace(address_help=f"`base_url` {_IS_V1}", is_elsewhere=True)
        where = where if where.prefix else where._replace(prefix=f"/{api}")
        self._open(service, where, self._scheme.bind(auth), options)

    @classmethod
    def from_env(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, *, api: Api | None = None, **options: Unpack[Options]
    ) -> Self:
        """From the variables of `ITwin.from_env`, and `ITWIN_API` unless `api` is passed.

        They are `ITWIN_CLIENT_ID` and `ITWIN_CLIENT_SECRET`, or `ITWIN_ACCESS_TOKEN`; and
        `ITWIN_BASE_URL`, `ITWIN_TOKEN_URL` and `ITWIN_SCOPE`. If `ITWIN_BASE_URL` is that of the
        first version, only its host is used. Raises a `ConfigurationError` that names all missing
        ones.
        """
        client = {"base_url": "ITWIN_BASE_URL"} | ({"api": "ITWIN_API"} if api is None else {})
        with taken_from({**client, **cls._scheme.variables}):
            auth: Any = cls._scheme.from_env()
            found = arguments(client)
            if api is not None:
                found["api"] = api
            if "base_url" in found:
                found["base_url"] = re.sub(rf"(?i)(/{_V1})?/*$", "", found["base_url"])
            return cls(auth, **found, **options)


class ITwinV2(_ITwinV2, Client[Wire]):
    __doc__ = _ITwinV2.__doc__


class AsyncITwinV2(_ITwinV2, AsyncClient[Wire]):
    __doc__ = _ITwinV2.__doc__


PLUGIN = Plugin("itwin-v2", ITwinV2, AsyncITwinV2)
