"""Clients of services that their specs describe completely: `opwatch generate` writes no code of
its own for them, only these attributes."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar, Unpack

from opwatch.auth.scheme import Scheme
from opwatch.client import AsyncClient, Client, Core, Options, Plugin
from opwatch.core.session import Service
from opwatch.environment import arguments, taken_from
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
    """Empty if the spec names no server."""

    def __init__(
        self, auth: Any = None, *, base_url: str | None = None, **options: Unpack[Options]
    ) -> None:
        auth = credentials = self._scheme.veil(auth)
        where = self._base_url if base_url is None else base_url
        if not where:
            raise ConfigurationError(
                "must be passed: the spec names no server", argument="base_url"
            )
        bound = self._scheme.bind(credentials)
        self._open(self._service, address(where, "base_url"), bound, options)

    @classmethod
    def from_env(cls, **options: Unpack[Options]) -> Self:
        """From the variables that the spec names (`x-env`), or those that its name implies.

        Raises a `ConfigurationError` that names all missing ones.
        """
        variables = cls._scheme.variables
        with taken_from(variables):
            found = arguments({"base_url": variables["base_url"]})
            return cls(cls._scheme.from_env(), **found, **options)
