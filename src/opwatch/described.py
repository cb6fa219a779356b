"""Clients of services that their specs describe completely: `opwatch generate` writes only these
attributes for them, and no code."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Self, TypeVar, Unpack

from opwatch.auth.scheme import Scheme
from opwatch.client import AsyncClient, Client, Core, Options, Plugin
from opwatch.core.session import Service
from opwatch.environment import Connection, arguments, taken_from
from opwatch.errors import ConfigurationError
from opwatch.net.address import address

__all__ = ["AsyncClient", "Client", "Described", "Plugin"]

W = TypeVar("W")


class Described(Core[W], Generic[W]):
    """What a spec says about the client of a service: beside `Client` or `AsyncClient`, a base of
    that client."""

    _service: Service[W]
    _scheme: Scheme
    _base_url: str
    """Empty if the spec names no server, or not its complete address."""

    def __init__(
        self, auth: Any = None, *, base_url: str | None = None, **options: Unpack[Options]
    ) -> None:
        auth = credentials = self._scheme.veil(auth)
        where = self._base_url if base_url is None else base_url
        if not where:
            raise ConfigurationError(
                "must be passed: the spec has no complete address", argument="base_url"
            )
        bound = self._scheme.bind(credentials)
        self._open(self._service, address(where, "base_url"), bound, options)

    connection_extra: ClassVar[tuple[str, ...]] = ("scope", "token_url", "basic")

    @classmethod
    def from_connection(cls, given: Connection) -> dict[str, Any]:
        """Return the arguments in a connection; its extra may hold `connection_extra`."""
        own = given.take(*cls.connection_extra)
        how = {name: own.pop(name) for name in Described.connection_extra if name in own}
        auth = given.password
        if given.login is not None:
            auth = cls._scheme.of_pair(given.login, given.password, **how)
        return {"auth": auth, **given.base_url(), **own}

    @classmethod
    def from_env(cls, **options: Unpack[Options]) -> Self:
        """Create a client from environment variables: those that its class names.

        Raises a `ConfigurationError` that names all missing variables.
        """
        variables = cls._scheme.variables
        with taken_from(variables):
            found = arguments({"base_url": variables["base_url"]})
            needed = () if cls._base_url or found.get("base_url") else (variables["base_url"],)
            return cls(cls._scheme.from_env(*needed), **found, **options)
