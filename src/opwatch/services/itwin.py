"""iTwin: a reality-modeling job.

iTwin Platform, Reality Modeling API, "Retrieve job progress". specs/itwin.yaml says what its
answers mean; this file says how a client is created.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from opwatch_api.itwin.models import JobProgressResponse as Wire
from opwatch_waits import itwin as waits

from opwatch.auth.oauth2 import ClientCredentials
from opwatch.client import AsyncClient, Client, Options, Plugin
from opwatch.described import Described
from opwatch.errors import JobGone
from opwatch.net.address import address

_V2 = {"reality-modeling", "reality-analysis", "reality-conversion"}


class _ITwin(Described[Wire]):
    """Watches iTwin reality-modeling jobs.

    `auth` is `ClientCredentials`, an access token, or a callable that returns one. With
    `resolve_outcome`, a second request finds out how a finished job ended; without it, every
    finished job is `Phase.ENDED`. Raises `ConfigurationError` for an invalid argument.

    `from_env` reads `ITWIN_CLIENT_ID` and `ITWIN_CLIENT_SECRET`, or `ITWIN_ACCESS_TOKEN`; and
    `ITWIN_BASE_URL`, `ITWIN_TOKEN_URL` and `ITWIN_SCOPE`.
    """

    connection_extra = (*Described.connection_extra, "resolve_outcome")
    _scheme = waits.SCHEME
    _base_url = waits.BASE_URL

    def __init__(
        self,
        auth: ClientCredentials | str | Callable[[], Any],
        *,
        base_url: str = waits.BASE_URL,
        resolve_outcome: bool = True,
        **options: Unpack[Options],
    ) -> None:
        auth = self._scheme.veil(auth)  # type: ignore[assignment]
        where = address(base_url, "base_url")
        use = f"use ITwinV2 (service itwin-v2), or {where.origin}/contextcapture for ITwin"
        wrong = f"(ITWIN_BASE_URL) is an address of iTwin's API v2: {use}"
        service = waits.SERVICE._replace(strangers={"progress": wrong})
        is_v2 = not _V2.isdisjoint(where.prefix.lower().split("/"))
        if is_v2 or not where.prefix:
            bare = f"check `base_url` (ITWIN_BASE_URL): iTwin's API v1 needs a path; {use}"
            advice = f"`base_url` {wrong}" if is_v2 else bare
            service = service._replace(address_help=advice, help={JobGone: advice})
            is_known = where.host.endswith("api.bentley.com")  # any other may be a proxy
            service = service._replace(is_elsewhere=is_v2 or is_known)
        if not resolve_outcome:
            service = service._replace(outcome=None)
        self._open(service, where, self._scheme.bind(auth), options)


class ITwin(_ITwin, Client[Wire]): ...


class AsyncITwin(_ITwin, AsyncClient[Wire]): ...


PLUGIN = Plugin("itwin", ITwin, AsyncITwin)
