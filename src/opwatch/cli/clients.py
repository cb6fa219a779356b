"""The clients of a service, from the environment: any service's, ours or another package's."""

from __future__ import annotations

from typing import Any

from opwatch.client import AsyncClient, Client, Options
from opwatch.errors import ConfigurationError
from opwatch.services import find


def blocking(service: str) -> Client[Any]:
    """A blocking client, by the variables that the service's `from_env` names."""
    maker: Any = plugin(service).client
    client: Client[Any] = maker.from_env()
    return client


def asynchronous(service: str, options: Options) -> AsyncClient[Any]:
    """As `blocking`, for an event loop."""
    maker: Any = plugin(service).async_client
    client: AsyncClient[Any] = maker.from_env(**options)
    return client


def plugin(service: str) -> Any:
    try:
        return find(service)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"the service {service!r} cannot be loaded: {error}") from error
