"""Send requests and block for the answers. `asynchronous` is its counterpart."""

from __future__ import annotations

from opwatch.net.message import Answer, Request, blocking, hidden
from opwatch.net.pool import Pool


class Transport(Pool):
    """Sends requests and blocks for the answers. Thread-safe, without locks."""

    def send(self, request: Request, end: float) -> Answer:
        """Return the answer, whatever its status, before `end` (of `time.monotonic`).

        Raises `TransportError`, or `ConfigurationError` for invalid proxy or TLS settings.
        """
        answer: Answer = hidden(blocking, self.request, request, end)
        return answer

    close = Pool.forget
