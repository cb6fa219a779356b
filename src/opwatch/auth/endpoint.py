"""What both token endpoints have in common: how they are called, and what their errors mean.

Only documented codes and texts of a token endpoint are quoted, because it was sent a password.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from opwatch.auth.tokens import Credentials, Token
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    NotFound,
    OpwatchError,
    ServiceError,
    error_kind,
)
from opwatch.net.message import Address, Answer, Request, Secret, hidden
from opwatch.reading import pause_in_words, retry_after

if TYPE_CHECKING:
    from opwatch.core.loop import Turn


class TokenEndpoint(Credentials):
    """Credentials that an endpoint exchanges for a token."""

    _called: ClassVar[str]
    """Its name in messages."""
    _advice: str
    """What to check if another server may have answered."""
    _credentials: ClassVar[str | None] = None
    """What to check if they were refused, if the answer doesn't say which part is wrong."""
    _codes: ClassVar[Mapping[str, str]]
    """The codes it documents, in words."""
    _texts: ClassVar[tuple[str, ...]] = ()
    """Beginnings of texts that are known to say something useful."""
    _address: Address
    _secret: Secret

    async def fetch(self, turn: Turn) -> Token:
        origin = self._address.origin
        try:
            answer = await turn.send(hidden(self._request))
        except OpwatchError as error:
            if error.transient and error.held_until is None:
                turn.holds.limited(origin)
            raise
        if (answer.status == 429 or answer.status >= 500) and not answer.all("retry-after"):
            turn.holds.limited(origin)
        found = hidden(self._read, answer, turn.clock.epoch())
        if isinstance(found, Token):
            return found
        if isinstance(found, AuthenticationError):
            raise turn.holds.refuse(self._secret, found)
        raise found

    def _request(self) -> Request:
        raise NotImplementedError

    def _read(self, answer: Answer, epoch: float) -> Token | OpwatchError:
        """Return the token in an answer, or the error that an answer without one is."""
        raise NotImplementedError

    def _post(
        self,
        target: str,
        headers: Iterable[tuple[str, str | Secret]],
        body: str,
        *encoded: Secret,
    ) -> Request:
        """Return the request; `encoded` are other forms in which it contains the secret."""
        kept = ("Accept", "application/json"), *headers
        secret = self._secret
        return Request(
            "POST", self._address, target, kept, Secret(body.encode()), (secret, *encoded), secret
        )

    def _bad_answer(self, answer: Answer, problem: str) -> BadResponse:
        """Return the error for an answer with status 2xx and no valid token."""
        text = f"{self._called}: the response {answer.problem or problem}"
        return BadResponse(text, status=answer.status, advice=self._advice)

    def _refusal(
        self,
        answer: Answer,
        epoch: float,
        said: Iterable[object],
        kind: type[ServiceError] | None = None,
    ) -> ServiceError:
        """Return the error for any other answer without a token. `said` is what may be a known code
        or text, in order of preference."""
        status, words = answer.status, [text for text in said if isinstance(text, str)]
        code = next((word for word in words if word in self._codes), None)
        known = [text for text in self._texts if any(word.startswith(text) for word in words)]
        if kind is None:
            refused = status in (400, 401, 403)
            kind = AuthenticationError if refused else error_kind(status) or ServiceError
        if 300 <= status < 400:
            text = "the response was a redirect, which opwatch doesn't follow"
        elif known or code:
            text = known[0] if known else self._codes[str(code)]
        elif kind is AuthenticationError:
            text = "the credentials were refused"
        else:
            text = "temporarily unavailable" if kind.transient else "no token was returned"
        advice = None if kind.transient else self._advice
        if known or code:
            advice = {AuthenticationError: self._credentials, NotFound: self._advice}.get(kind)
        pause = retry_after(answer, epoch)
        return kind(
            f"{self._called}: {text}{pause_in_words(pause)}",
            status=status,
            code=code,
            retry_after=pause,
            advice=advice,
        )
