"""Clients configured from the environment, for the services of any installed package."""

from __future__ import annotations

from typing import Any

from opwatch.client import AsyncClient, Options
from opwatch.errors import ConfigurationError
from opwatch.services import find


def asynchronous(service: str, options: Options) -> AsyncClient[Any]:
    """Return an async client, made by the service's `from_env`."""
    maker: Any = plugin(service).async_client
    client: AsyncClient[Any] = maker.from_env(**options)
    return client


def plugin(service: str) -> Any:
    try:
        return find(service)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"the service {service!r} can't be loaded: {error}") from error
