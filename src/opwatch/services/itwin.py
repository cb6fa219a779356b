"""iTwin: a reality-modeling job.

iTwin Platform, Reality Modeling API, "Retrieve job progress". What its answers mean stands in
specs/itwin.yaml; here is how a client is created.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, Unpack

from opwatch_api.itwin.models import JobProgressResponse as Wire
from opwatch_waits import itwin as waits

from opwatch.auth.oauth2 import ClientCredentials
from opwatch.auth.tokens import token_auth, veiled
from opwatch.client import AsyncClient, Client, Core, Options, Plugin
from opwatch.environment import arguments, taken_from
from opwatch.net.address import address

BASE_URL = "https://api.bentley.com/contextcapture"

SERVICE = waits.service(address_help="check `base_url` (ITWIN_BASE_URL)")
_CLIENT = {"auth": "ITWIN_ACCESS_TOKEN", "base_url": "ITWIN_BASE_URL"}
_CREDENTIALS = {
    name: f"ITWIN_{name.upper()}" for name in ("client_id", "client_secret", "scope", "token_url")
}


class _ITwin(Core[Wire]):
    """Watches iTwin reality-modeling jobs.

    `auth` is `ClientCredentials`, an access token, or a callable that returns one. With
    `resolve_outcome`, a second request looks up how a job that is over ended; without it, every end
    is `Phase.ENDED`. Raises `ConfigurationError` for an invalid argument.
    """

    def __init__(
        self,
        auth: ClientCredentials | str | Callable[[], Any],
        *,
        base_url: str = BASE_URL,
        resolve_outcome: bool = True,
        **options: Unpack[Options],
    ) -> None:
        auth = credentials = veiled(auth, ClientCredentials)  # type: ignore[assignment]
        self._open(
            SERVICE if resolve_outcome else SERVICE._replace(outcome=None),
            address(base_url, "base_url"),
            lambda clock: token_auth(credentials, clock, header="Authorization", prefix="Bearer "),
            options,
        )

    @classmethod
    def from_env(cls, **options: Unpack[Options]) -> Self:
        """From `ITWIN_CLIENT_ID` and `ITWIN_CLIENT_SECRET`, or `ITWIN_ACCESS_TOKEN`.

        Also reads `ITWIN_BASE_URL`, `ITWIN_TOKEN_URL` and `ITWIN_SCOPE`. Raises a
        `ConfigurationError` that names all missing ones.
        """
        with taken_from(_CLIENT | _CREDENTIALS):
            found = arguments(_CLIENT)
            if "auth" not in found:
                pair = ("ITWIN_CLIENT_ID", "ITWIN_CLIENT_SECRET")
                given = arguments(_CREDENTIALS, *pair, instead="ITWIN_ACCESS_TOKEN")
                found["auth"] = ClientCredentials(**given)
            return cls(**found, **options)


class ITwin(_ITwin, Client[Wire]):
    __doc__ = _ITwin.__doc__


class AsyncITwin(_ITwin, AsyncClient[Wire]):
    __doc__ = _ITwin.__doc__


PLUGIN = Plugin("itwin", ITwin, AsyncITwin)
