"""What the tests of this folder share: one wait, by each kind of client."""

from collections.abc import Callable
from typing import Any

import anyio

WAYS = ("blocking", "asyncio", "trio")


def wait(way: str, clients: tuple[type, type], job_id: str, how: dict[str, Any]) -> Any:
    """Return what waiting for a job returns, with a client made of `how`: one of two classes."""
    return call(way, clients, how, lambda client: client.wait(job_id, timeout=3600))


def call(
    way: str, clients: tuple[type, type], how: dict[str, Any], use: Callable[[Any], Any]
) -> Any:
    """Return what `use` returns for a client, awaited where the client is async."""

    async def inside() -> Any:
        async with clients[1](**how) as client:
            return await use(client)

    if way != "blocking":
        return anyio.run(inside, backend=way)
    with clients[0](**how) as client:
        return use(client)
