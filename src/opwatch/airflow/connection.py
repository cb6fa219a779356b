"""From an Airflow connection to a client, which all triggers of the connection share."""

# pyright: reportMissingImports=false

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import attrs
from airflow.sdk.bases.hook import BaseHook

from opwatch import services
from opwatch.client import AsyncClient
from opwatch.environment import Connection
from opwatch.errors import ConfigurationError
from opwatch.net.message import Secret


def given_by(connection: Any, extra: dict[str, Any]) -> Connection:
    password = None if connection.password is None else Secret(connection.password)
    return Connection(connection.login or None, password, _address(connection), extra)


def _key(given: Connection) -> tuple[Any, ...]:
    """Return a key that is equal for equal connections, and shows no secret."""
    extra = Secret(repr(sorted(given.extra.items())))
    return given.login, given.password, given.address, extra


def _address(connection: Any) -> str | None:
    if not connection.host:
        return None
    host: str = connection.host
    if "://" not in host:
        host = f"{'http' if connection.schema == 'http' else 'https'}://{host}"
    return f"{host}:{connection.port}" if connection.port else host


_OPTIONS = ("request_timeout", "max_failures", "max_in_flight", "user_agent")


def arguments(service: str, given: Connection) -> dict[str, Any]:
    """Return the arguments of a service's client; raise `ConfigurationError` for unknown ones."""
    kind: Any = services.find(service).async_client
    if (read := getattr(kind, "from_connection", None)) is None:
        return given.extra
    known = {*kind.connection_extra, *_OPTIONS}
    if unknown := sorted(set(given.extra) - known):
        raise ConfigurationError(
            f"the connection's extra has unknown keys ({', '.join(unknown)}); "
            f"the keys are {', '.join(sorted(known))}"
        )
    found: dict[str, Any] = read(given)
    return found | given.take(*_OPTIONS)


@attrs.define
class _Shared:
    client: AsyncClient[Any]
    users: int = 0


shared_clients: dict[tuple[str, str, tuple[Any, ...]], _Shared] = {}


@contextlib.asynccontextmanager
async def shared_client(service: str, conn_id: str) -> AsyncIterator[AsyncClient[Any]]:
    """Yield the client of a connection, which all its triggers share; the last one closes it.

    After a connection was edited, later triggers get a new client.
    """
    connection = await BaseHook.aget_connection(conn_id)
    given = given_by(connection, await connection.aextra_dejson())
    key = (service, conn_id, _key(given))
    if (shared := shared_clients.get(key)) is None:
        client = services.find(service).async_client(**arguments(service, given))
        shared = shared_clients[key] = _Shared(client)
    shared.users += 1
    try:
        yield shared.client
    finally:
        shared.users -= 1
        if not shared.users:
            del shared_clients[key]
            await shared.client.aclose()
