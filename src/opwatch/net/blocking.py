"""Send requests and block for the answers. `asynchronous` is its counterpart."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from opwatch.net.connection import T
from opwatch.net.message import Answer, Request, hidden
from opwatch.net.pool import Pool


class Transport(Pool):
    """Sends requests and blocks for the answers. Thread-safe, without locks."""

    def send(self, request: Request, end: float) -> Answer:
        """Return the answer, whatever its status, before `end` (of `time.monotonic`).

        Raises `TransportError`, or `ConfigurationError` for invalid proxy or TLS settings.
        """
        answer: Answer = hidden(run, self.request, request, end)
        return answer

    close = Pool.forget


def run(function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    """Call a coroutine function that never suspends, and return its result."""
    try:
        function(*arguments).send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("a blocking coroutine was suspended")
