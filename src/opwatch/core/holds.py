"""What must not be sent: requests to an origin that asked for a pause, and refused credentials.

Whatever asked for a pause (a rate limit, or any answer with `Retry-After`, from the service or from
a token endpoint) holds every request to that origin. Credentials that were refused are remembered,
and every other request with them ends with the same error. `core.loop` checks right before each
request is sent, so it doesn't matter which job met the limit or the refusal, or when.
"""

from __future__ import annotations

import math
import threading

from opwatch.clock import Clock
from opwatch.core import polling
from opwatch.core.polling import Gate
from opwatch.errors import AuthenticationError, OpwatchError, RateLimited, Unavailable, twin
from opwatch.net import fork
from opwatch.net.message import Request, Secret


class Holds:
    """What one client holds back. Thread-safe; times are those of the client's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._gates: dict[str, Gate] = {}
        self._refusals: dict[Secret, OpwatchError] = {}
        self.after_fork()
        fork.watch(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()

    def check(self, request: Request, last: float | None = None) -> None:
        """Raise what keeps a request from being sent, if anything does.

        That is the refusal of its credential, `Unavailable` if it has expired, or a `RateLimited`
        with `held_until`. From `last` on (a wait's deadline) only what was asked for counts: a
        backoff of our own doesn't stop the last poll.
        """
        if request.credential is not None:
            self.check_credential(request.credential)
        if request.end <= self._clock.now():
            raise Unavailable("the token expired before the request could be sent")
        origin = request.address.origin
        if (gate := self._gates.get(origin)) is None:
            return
        now = self._clock.now()
        if now >= gate.until or (last is not None and now >= max(gate.asked, last)):
            return
        with self._lock:
            self._gates[origin], place = polling.admit(self._gates[origin], now)
        left = gate.asked - now if gate.asked > now else None
        why = (
            f"asked for a pause (Retry-After) that ends in {left:.0f} s"
            if left
            else "is rate-limiting requests"
        )
        problem = f"no request was sent, because {origin} {why}"
        raise RateLimited(problem, retry_after=left, held_until=place)

    def check_credential(self, credential: Secret) -> None:
        """Raise the refusal of a credential, if it was refused."""
        if self._refusals and (refusal := self._refusals.get(credential)) is not None:
            raise twin(refusal)

    def refuse(
        self,
        credential: Secret,
        error: OpwatchError,
        advice: str | None = None,
        *,
        could_lock: bool = False,
    ) -> OpwatchError:
        """Remember that a credential was refused; return the refusal, to be raised.

        An answer that means something else isn't remembered, unless more of them could lock it.
        """
        if could_lock or isinstance(error, AuthenticationError):
            error.advice = error.advice or advice
            self._refusals[credential] = error
        return twin(error)

    def asked(self, origin: str) -> float:
        """Return until when `origin` asked for no requests."""
        gate = self._gates.get(origin)
        return -math.inf if gate is None else gate.asked

    def limited(self, origin: str, retry_after: float | None = None) -> None:
        """Hold `origin` for `retry_after` seconds, or for a backoff of our own."""
        with self._lock:
            gate = self._gates.get(origin, Gate())
            self._gates[origin] = polling.shut(gate, self._clock.now(), retry_after)

    def answered(self, origin: str) -> None:
        """Note an answer that was no rate limit: the next backoff starts from the beginning."""
        gate = self._gates.get(origin)
        if gate is not None and gate.strikes:
            with self._lock:
                self._gates[origin] = polling.opened(self._gates[origin], self._clock.now())
