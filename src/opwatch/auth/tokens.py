"""Tokens: how long they are kept, who fetches them, and how a request is sent with one.

However many callers need a token, one fetches it and the others wait for that flight; a token is
renewed before it expires; a 401 clears that very token, not the one that somebody else has fetched
since. Where tokens come from is `oauth2`, `iam`, a callable of the user's, or nowhere: a token that
was given.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from opwatch.auth import require
from opwatch.auth.flight import Flight, Pilot, Single
from opwatch.clock import Clock
from opwatch.environment import arguments, taken_from
from opwatch.errors import AuthenticationError, ConfigurationError, OpwatchError, Unavailable, twin
from opwatch.net.message import Answer, Request, Secret, hidden

if TYPE_CHECKING:
    from opwatch.core.loop import Turn

logger = logging.getLogger("opwatch")

RENEW_BEFORE = 60.0
"""Seconds of life left at which a token is renewed; half its life if that is less."""
MOST_RENEWALS = 5
"""In one poll, of tokens that others have used up before it could be sent."""
RENEW_AGAIN = 5.0
"""Seconds to the next attempt if a token could not be renewed and is still valid."""
DEFAULT_LIFE = 3600.0
"""Seconds, for a token endpoint that doesn't say."""

Explain: TypeAlias = "Callable[[Answer, Turn], OpwatchError]"
"""Turns a refusal into an error."""


class Auth:
    """What a client authenticates with: nothing, unless a subclass says so."""

    max_in_flight = 1_000_000
    """How many simultaneous requests can be refused without harm."""
    is_expired: Callable[[Answer], bool] = staticmethod(lambda answer: True)
    """Whether a new token may fix a 401. The session that sends the requests replaces it."""

    async def flow(self, turn: Turn, request: Request, explain: Explain) -> Answer:
        """Send `request` authenticated; raise what `explain` returns if the credentials are
        refused, now or earlier."""
        return await turn.send(request)

    async def parameter(self, name: str, turn: Turn) -> str | None:
        """Return a parameter of the path that the credentials determine, or None."""
        return None


class Token:
    """A token, and how long it is valid."""

    renew_at = end = math.inf
    """When it is renewed, and when it expires, on the client's clock."""
    is_proven = False
    """Whether the service has accepted it."""
    is_second = False
    """Whether it replaced one that was refused."""

    def __init__(
        self,
        secret: Secret,
        life: float = math.inf,
        says: Mapping[str, str] = MappingProxyType({}),
        parts: tuple[Secret, ...] = (),
    ) -> None:
        self.secret = secret
        self.parts = parts
        """What it was made of, and an answer may quote: a password."""
        self.life = life
        """Seconds; infinite if unknown, and then the token is kept until it is refused."""
        self.says = says
        """The parameters of a path that it determines: its project."""


class Credentials:
    """What a caller may pass as `auth` besides a token or a callable."""

    is_fixed = True
    """Whether credentials that were refused once will be refused again."""
    client: ClassVar[str] = "another service"
    """The client that takes them, for messages."""
    advice: str | None = None
    """What to check if the service refuses them."""
    variables: ClassVar[Mapping[str, str]] = {}
    """The environment variables of its arguments."""
    optional: ClassVar[tuple[str, ...]] = ()
    """The arguments among them that may be missing."""

    @classmethod
    def from_env(cls) -> Self:
        """Create credentials from the environment variables that a client's `from_env` reads.

        Raises a `ConfigurationError` that names all missing variables.
        """
        with taken_from(cls.variables):
            return cls._from_env()

    @classmethod
    def _from_env(cls, *also: str) -> Self:
        """As `from_env`, if a client needs more variables."""
        needed = (of for name, of in cls.variables.items() if name not in cls.optional)
        return cls(**arguments(cls.variables, *also, *needed))

    async def fetch(self, turn: Turn) -> Token:
        raise NotImplementedError


class TokenAuth(Auth):
    """Sends each request with a token in one header, and once more if the token had expired.

    `auth`, as `veiled` gave it, is credentials, a token, or a callable.
    """

    def __init__(
        self,
        auth: Any,
        clock: Clock,
        *,
        header: str,
        prefix: str = "",
        as_given: bool = False,
    ) -> None:
        if isinstance(auth, Secret):
            auth = Given(auth if as_given else bare(auth))
        elif isinstance(auth, _Called):
            auth.as_given = as_given
        self._credentials: Credentials = auth
        self._clock = clock
        self._header = header
        self._prefix = prefix
        self._kept: Token | None = None
        self._is_proven = False
        """Whether the service has accepted a token."""
        self._flights: Single[Flight] = Single()

    async def flow(self, turn: Turn, request: Request, explain: Explain) -> Answer:
        token, renewals = self._current() or await self._get(turn), 0
        advice = self._credentials.advice
        while True:
            try:
                answer = await turn.send(self._with(request, token))
            except (AuthenticationError, Unavailable) as error:  # nothing was sent
                refusal: OpwatchError = twin(error.with_traceback(None))
                # Another may have come while this request waited, or from a callable.
                is_last = self._kept is token and (self._credentials.is_fixed or renewals > 0)
                is_last &= not error.transient  # it was refused, and hasn't expired
                is_last |= renewals == MOST_RENEWALS
                is_second = False
            else:
                if answer.status != 401:
                    token.is_proven = self._is_proven = True
                    return answer
                # A token that others have used or replaced meanwhile has expired.
                has_expired = self._is_proven and (token.is_proven or self._kept is not token)
                is_last = not self.is_expired(answer) or (token.is_second and not has_expired)
                if self._kept is token and not is_last:
                    self._kept = None  # first: whoever meets the refusal fetches another token
                refusal = turn.holds.refuse(token.secret, explain(answer, turn), advice)
                is_second = True
            if is_last:
                raise refusal
            if renewals == MOST_RENEWALS:
                raise Unavailable("each new token expired before it could be sent", status=401)
            if (fresh := await self._other_than(token, turn)).secret == token.secret:
                raise refusal
            token, renewals = fresh, renewals + 1
            token.is_second |= is_second

    async def parameter(self, name: str, turn: Turn) -> str | None:
        return (await self._get(turn)).says.get(name)

    def _with(self, request: Request, token: Token) -> Request:
        header = Secret(token.secret, self._prefix)
        # One that came expired is sent all the same: the clocks may differ.
        end = token.end if self._clock.now() < token.end else math.inf
        return request.authenticated([(self._header, header)], token.secret, *token.parts, end=end)

    def _current(self) -> Token | None:
        """Return the token, unless it has expired or should be renewed, and nothing does so yet."""
        kept, now = self._kept, self._clock.now()
        if kept is None or now >= kept.end or (now >= kept.renew_at and not self._flights):
            return None
        return kept

    async def _other_than(self, token: Token, turn: Turn) -> Token:
        """Forget this very token, which was refused; return what replaces it."""
        if self._kept is token:
            self._kept = None
        return await self._get(turn, token)

    async def _get(self, turn: Turn, refused: Token | None = None) -> Token:
        """Return a token that is valid now: the one that is kept, or a new one.

        A flight that has a result but hasn't landed yet may still carry the one that was `refused`.
        """
        while (token := self._current()) is None:
            pilot = Pilot(self._flights)
            flight = pilot.flight
            if pilot.is_flying:
                try:
                    await self._fetch(turn, flight)
                finally:
                    pilot.land()
            else:
                await turn.io.landing(flight, turn)
            if flight.result is not None and flight.result is not refused:
                found: Token = flight.result
                return found
            if flight.failure is not None:
                raise twin(flight.failure)
            # The caller that fetched was cancelled: one of those that waited takes over.
        return token

    async def _fetch(self, turn: Turn, flight: Flight) -> None:
        kept, now = self._kept, self._clock.now()
        if kept is not None and now < min(kept.renew_at, kept.end):
            flight.result = kept  # another flight landed a moment ago
            return
        try:
            token = await self._credentials.fetch(turn)
        except OpwatchError as error:
            self._fail(error.with_traceback(None), flight)
        else:
            token.end = now + token.life
            token.renew_at = token.end - min(RENEW_BEFORE, token.life / 2)
            if kept is not None and not kept.is_proven:
                token.is_second = kept.is_second  # that one was held until it had to be renewed
            self._kept = flight.result = token

    def _fail(self, error: OpwatchError, flight: Flight) -> None:
        kept, now = self._kept, self._clock.now()
        if kept is None or now >= kept.end:
            flight.failure = error
            return
        # The old token is still valid. The endpoint is left alone for a while, and for good if it
        # refused the credentials: they would be refused again.
        is_refused = self._credentials.is_fixed and isinstance(error, AuthenticationError)
        pause = max(RENEW_AGAIN, getattr(error, "retry_after", None) or 0.0)
        kept.renew_at = math.inf if is_refused else now + pause
        flight.result = kept
        if error.held_until is None:
            logger.warning("couldn't renew the token (%s); still using the old one", error)


token_auth = TokenAuth
"""The functions that a service's file calls."""


def veiled(auth: object, *kinds: type[Credentials]) -> object:
    """Return a client's credentials in a form that no traceback shows.

    Tokens become a `Secret`, and so does what isn't valid, since it may be one. The repr of a
    callable may show what it was given, as `functools.partial`'s does. Raises `ConfigurationError`
    for credentials of another service, if the service says which `kinds` it takes.
    """
    if isinstance(auth, Secret):
        return auth
    if isinstance(auth, Credentials):
        if kinds and not isinstance(auth, kinds):
            names = ", ".join(kind.__name__ for kind in kinds)
            other = f"{type(auth).__name__} is for {auth.client}"
            problem = f"must be {names}, a token or a callable; {other}"
            raise ConfigurationError(problem, argument="auth")
        return auth
    return _Called(auth) if callable(auth) and not isinstance(auth, type) else Secret(auth)


_BEARER = re.compile(r" *(?:bearer(?: +|$))?", re.IGNORECASE)


def bare(token: Secret) -> Secret:
    """Return a token without the `Bearer ` that some helpers put in front of it; not checked."""
    return hidden(_bare, token)


def _bare(token: Secret) -> Secret:
    value = token.reveal()
    is_text = isinstance(value, str)
    return Secret(_BEARER.sub("", value, count=1).rstrip(" ")) if is_text else token


class Given(Credentials):
    """A token that the user passed, or that was made of `parts`."""

    def __init__(self, token: Secret, parts: tuple[Secret, ...] = ()) -> None:
        if not isinstance(token.reveal(), str):
            kinds = "credentials, a token (str), or a callable that returns one"
            given = type(token.reveal()).__name__
            raise ConfigurationError(f"must be {kinds}, not {given}", argument="auth")
        require(auth=token)
        self._token = token
        self._parts = parts
        self.advice = None if parts else _EXPIRED  # a password doesn't expire

    async def fetch(self, turn: Turn) -> Token:
        return Token(self._token, parts=self._parts)


_EXPIRED = (
    "if the token has expired, pass a new one; opwatch renews only tokens from a callable and "
    "those that it requested itself"
)


class _Called(Credentials):
    """A callable of the user's that returns a token, blocking or async."""

    __slots__ = ("_function",)  # not in `vars`, which error reports show
    is_fixed = as_given = False
    advice = "check what the token callable returns"

    def __init__(self, function: Callable[[], Any | Awaitable[Any]]) -> None:
        self._function = function

    async def fetch(self, turn: Turn) -> Token:
        try:
            token = Secret(await turn.io.result(self._function(), turn))
            token = token if self.as_given else bare(token)
        except OpwatchError as error:
            error.held_until = None  # a pause of another client's
            raise
        except Exception as error:
            name = type(error).__name__
            raise AuthenticationError(f"the token callable raised {name}") from error
        if fault := token.fault():
            raise AuthenticationError(f"the token callable's return value {fault}")
        return Token(token)
