"""Catenis: the processing of a message.

Catenis API documentation 0.7, "Retrieve Message Progress". specs/catenis.yaml says what its
answers mean; this file says how a client is created.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Self, Unpack

from opwatch_api.catenis.models import MessageProgressResponse as Wire
from opwatch_waits import catenis as waits

from opwatch.auth.signing import Ctn1, Ctn1Auth
from opwatch.client import AsyncClient, Client, Core, Options, Plugin
from opwatch.core.channel import Notifications
from opwatch.core.polling import checked
from opwatch.environment import Connection, arguments, taken_from
from opwatch.net.address import address
from opwatch.net.message import Address, Request, Secret

_HOSTS = {"sandbox": "sandbox.catenis.io", "production": "catenis.io", "prod": "catenis.io"}
_OWN = {name: f"CATENIS_{name.upper()}" for name in ("environment", "version", "base_url")}
_VARIABLES = {**Ctn1.variables, **_OWN}


class _Catenis(Core[Wire]):
    """Watches the processing of Catenis messages.

    `device_id` and `api_access_secret` belong to the device that sent, logged or read the message.
    `environment` is `"sandbox"` or `"production"`, and `version` is the version of the API;
    `base_url`, everything in front of `/messages`, replaces both. With `notifications` (which needs
    the `notifications` extra), a thread keeps a WebSocket open on which Catenis reports processed
    messages, and waits end immediately. Raises `ConfigurationError` for an invalid argument.
    """

    def __init__(
        self,
        device_id: str,
        api_access_secret: str,
        *,
        environment: str = "sandbox",
        version: str = "0.7",
        base_url: str | None = None,
        notifications: bool = False,
        **options: Unpack[Options],
    ) -> None:
        device_id = Secret(device_id)  # type: ignore[assignment]
        api_access_secret = Secret(api_access_secret)  # type: ignore[assignment]
        device = Ctn1(device_id, api_access_secret)
        usual = _base_url(environment, version)  # refuses a typo, even if it doesn't count
        where = address(usual if base_url is None else base_url, "base_url")
        self._open(waits.SERVICE, where, partial(Ctn1Auth, device), options)
        is_bool = isinstance(notifications, bool)
        if checked(notifications, "notifications", is_bool, "True or False"):
            self._listen(_notifications(where, self._session.auth))

    connection_extra = ("environment", "version")

    @classmethod
    def from_connection(cls, given: Connection) -> dict[str, Any]:
        """Return the arguments in a connection: the login is the device's ID."""
        own = {"device_id": given.login, "api_access_secret": given.password}
        return own | given.base_url() | given.take(*cls.connection_extra)

    @classmethod
    def from_env(cls, *, notifications: bool = False, **options: Unpack[Options]) -> Self:
        """Create a client from `CATENIS_DEVICE_ID` and `CATENIS_API_ACCESS_SECRET`.

        Also reads `CATENIS_ENVIRONMENT`, `CATENIS_VERSION` and `CATENIS_BASE_URL`. Raises a
        `ConfigurationError` that names all missing variables.
        """
        with taken_from(_VARIABLES):
            found = arguments(_VARIABLES, *Ctn1.variables.values())
            return cls(**found, notifications=notifications, **options)


def _base_url(environment: str, version: str) -> str:
    is_known = isinstance(environment, str) and environment in _HOSTS
    checked(environment, "environment", is_known, "'sandbox' or 'production'")
    is_version = isinstance(version, str) and re.fullmatch(r"\d+\.\d+", version, re.ASCII)
    checked(version, "version", bool(is_version), "a version like '0.7'")
    return f"https://{_HOSTS[environment]}/api/{version}"


def _notifications(where: Address, auth: Any) -> Notifications:
    """The channel of `final-msg-progress`, from the source of the server and its official clients.

    Its first message is the signature of a GET of its own address.
    """
    return Notifications(
        Request("GET", where, f"{where.prefix}/notify/ws/final-msg-progress"),
        subprotocol="notify.catenis.io",
        sign=auth.signed,
        confirmation="NOTIFICATION_CHANNEL_OPEN",
        job_id="ephemeralMessageId",
    )


class Catenis(_Catenis, Client[Wire]): ...


class AsyncCatenis(_Catenis, AsyncClient[Wire]): ...


PLUGIN = Plugin("catenis", Catenis, AsyncCatenis)
