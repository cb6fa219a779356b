"""Tokens: where they come from, how long they are kept, and who fetches.

One `TokenSource` a client. However many callers need a token, one fetches it and the others wait
for that request (single flight); a token is renewed before it ends; a 401 clears that very token,
not the one that somebody else has fetched since. What fetches differs: OAuth2 client credentials
(iTwin), the identity service (Open Telekom Cloud, Huawei Cloud), a callable, or nothing at all.
"""

from __future__ import annotations

import base64
import copy
import json
import logging
import re
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

from opwatch.auth.flows import AkSk, Ask, Auth, Flight, Flow, Token, require
from opwatch.clock import Clock
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    ConfigurationError,
    NotFound,
    OpwatchError,
    RateLimited,
    ServiceError,
    Unavailable,
)
from opwatch.reading import (
    any_json,
    http_date,
    number,
    parse_time,
    printable,
    retry_after,
    text,
)
from opwatch.transport import address
from opwatch.wire import Address, Answer, Outgoing, Secret, check_id

logger = logging.getLogger("opwatch")

RENEW_BEFORE = 60.0
"""Seconds of life left at which a token is renewed; half its life where that is less."""
RENEW_AGAIN = 5.0
"""Seconds to the next attempt where a token could not be renewed and is still good."""
DEFAULT_LIFE = 3600.0
"""Seconds, for a token endpoint that does not say."""


class Fetcher(Protocol):
    """Where tokens come from."""

    def fetch(self, clock: Clock) -> Flow[Token]: ...


class TokenSource:
    """Hands out one fetcher's token to any number of callers."""

    def __init__(self, fetcher: Fetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._renew_at: float | None = None
        self._end: float | None = None
        self._flight: Flight | None = None

    def get(self) -> Flow[Token]:
        """A token that is good now."""
        while True:
            with self._lock:
                token, flight = self._current(), self._flight
            if token is not None:
                return token
            if flight is not None:
                yield flight
            else:
                flight = yield from self._fetch()
            if flight.token is not None:
                return flight.token
            if flight.failure is not None:
                raise _twin(flight.failure)
            # The caller who fetched was cancelled, or another was quicker: one of us takes over.

    def clear(self, token: Token) -> None:
        """Forget this very token: it was refused."""
        with self._lock:
            if self._token is token:
                self._token = None

    def _current(self) -> Token | None:
        """The token, unless it has ended, or somebody should renew it and nobody does so yet."""
        if self._is_past(self._end):
            self._token = None
        if self._flight is None and self._is_past(self._renew_at):
            return None
        return self._token

    def _fetch(self) -> Flow[Flight]:
        """A flight of this caller's own; an empty one where another took off a moment before."""
        flight, asked = Flight(), self._clock.now()
        try:
            with self._lock:
                if self._flight is not None:
                    return flight
                self._flight = flight
            flight.token = yield from self._fetcher.fetch(self._clock)
        except OpwatchError as error:
            flight.failure = error
        finally:
            try:
                self._land(flight, asked)
            finally:
                self._land(flight, asked)  # again, should Ctrl-C have fallen into the first
        if flight.failure is not None and flight.token is not None:
            logger.warning("a token is used to its end, since there is no new: %s", flight.failure)
        return flight

    def _land(self, flight: Flight, asked: float) -> None:
        """Keep what a flight brought, and tell those who wait for it: also that it was given up."""
        with self._lock:
            if self._flight is flight:
                self._settle(flight, asked)
                self._flight = None
        if not flight.landed.done():
            flight.landed.set_result(None)

    def _settle(self, flight: Flight, asked: float) -> None:
        if flight.token is not None:
            self._keep(flight.token, asked)
        elif flight.failure is not None and not self._is_past(self._end):
            # The old token, if any, is still good. The endpoint is left alone for a while.
            pause = getattr(flight.failure, "retry_after", None) or 0.0
            self._renew_at = self._clock.now() + max(RENEW_AGAIN, pause)
            flight.token = self._token

    def _keep(self, token: Token, asked: float) -> None:
        self._token, self._renew_at, self._end = token, None, None
        if token.life is not None:
            self._end = asked + token.life
            self._renew_at = self._end - min(RENEW_BEFORE, token.life / 2)

    def _is_past(self, time: float | None) -> bool:
        return time is not None and self._clock.now() >= time


def _twin(error: OpwatchError) -> OpwatchError:
    """The same error for one of many callers: each notes on it which wait it ended."""
    twin = copy.copy(error)
    twin.__cause__ = error.__cause__
    return twin


class TokenAuth:
    """Sends each request with a token in one header, and once more where the token had ended."""

    def __init__(
        self,
        source: TokenSource,
        *,
        header: str,
        prefix: str = "",
        is_expired: Callable[[Answer], bool] = lambda answer: True,
        project_id: str | None = None,
    ) -> None:
        self._source = source
        self._project_id = project_id
        self._header = header
        self._prefix = prefix
        self._is_expired = is_expired

    def flow(self, request: Outgoing) -> Flow[Answer]:
        token = yield from self._source.get()
        answer: Answer = yield self._with(request, token)
        if answer.status == 401 and self._is_expired(answer):
            self._source.clear(token)
            fresh = yield from self._source.get()
            if fresh.secret != token.secret:
                answer = yield self._with(request, fresh)
        return answer

    def project_id(self) -> Flow[str | None]:
        if self._project_id is None:
            token = yield from self._source.get()
            self._project_id = token.project_id
        return self._project_id

    def _with(self, request: Outgoing, token: Token) -> Outgoing:
        return request.with_headers(
            [(self._header, self._prefix + token.secret.reveal())], token.secret
        )

    def __repr__(self) -> str:
        return f"<{self._header} token>"


def veiled(auth: object) -> object:
    """What a client was given to authenticate with, so that it shows in no traceback from here on.

    Tokens become a `Secret`, and so does what makes no sense, which may be one. The repr of a
    callable may show what it was given, as `functools.partial`'s does.
    """
    if isinstance(auth, (ClientCredentials, IamPassword, AkSk)):
        return auth
    return _Asked(auth) if callable(auth) and not isinstance(auth, type) else Secret(auth)


def token_auth(
    auth: object,
    clock: Clock,
    *,
    header: str,
    prefix: str = "",
    is_expired: Callable[[Answer], bool] = lambda answer: True,
    project_id: str | None = None,
) -> Auth:
    """`auth` as `veiled` gave it: credentials, a token, or a callable that returns one."""
    fetcher: Fetcher
    if isinstance(auth, (ClientCredentials, IamPassword, _Asked)):
        fetcher = auth
    elif isinstance(auth, Secret) and isinstance(auth.reveal(), str):
        require(auth=(token := bare(auth)))
        fetcher = _Fixed(token)
    else:
        given = type(auth.reveal() if isinstance(auth, Secret) else auth).__name__
        raise ConfigurationError(
            "auth must be credentials, a token as text, or a callable that returns one, "
            f"not {given}"
        )
    return TokenAuth(
        TokenSource(fetcher, clock),
        header=header,
        prefix=prefix,
        is_expired=is_expired,
        project_id=project_id,
    )


_BEARER = re.compile(r" *(?:bearer(?: +|$))?", re.IGNORECASE)


def bare(token: Any) -> Secret:
    """A token without the `Bearer ` that some helpers hand it out with; not yet looked at."""
    secret = Secret(token)
    if not isinstance(secret.reveal(), str):
        return secret
    return Secret(_BEARER.sub("", secret.reveal(), count=1).rstrip(" "))


class _Fixed(NamedTuple):
    token: Secret

    def fetch(self, clock: Clock) -> Flow[Token]:
        return Token(self.token)
        yield


class _Asked:
    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def fetch(self, clock: Clock) -> Flow[Token]:
        token = bare((yield Ask(self._function)))
        if fault := token.fault():
            raise AuthenticationError(f"what the token callable returned {fault}")
        return Token(token)


# --- OAuth2 client credentials (iTwin) ------------------------------------------------------------


TOKEN_URL = "https://ims.bentley.com/connect/token"  # noqa: S105 (an address)
SCOPE = "itwin-platform"


class ClientCredentials:
    """OAuth2 client credentials of an iTwin service application.

    Asks `token_url` for a token of `scope` and asks again before it ends. `basic=True` sends the
    client's id and secret as Basic authentication instead of form fields. Raises
    `ConfigurationError` for what is empty, not text, or not https.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        *,
        scope: str = SCOPE,
        token_url: str = TOKEN_URL,
        basic: bool = False,
    ) -> None:
        client_secret = Secret(client_secret)  # type: ignore[assignment]
        require(client_id=client_id, client_secret=client_secret, scope=scope)
        self.client_id = client_id
        self.scope = scope
        self._secret: Secret = client_secret  # type: ignore[assignment]
        self._address = address(token_url, "token_url")
        self._basic = basic

    def fetch(self, clock: Clock) -> Flow[Token]:
        answer: Answer = yield self._request()
        if not answer.is_success:
            raise oauth_error(answer, clock.epoch())
        return _oauth_token(answer)

    def _request(self) -> Outgoing:
        form = {"grant_type": "client_credentials", "scope": self.scope}
        headers = [
            ("Accept", "application/json"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ]
        secrets = [self._secret]
        if self._basic:
            pair = f"{quote(self.client_id, safe='')}:{quote(self._secret.reveal(), safe='')}"
            secrets.append(Secret(_base64(pair)))
            headers.append(("Authorization", f"Basic {_base64(pair)}"))
        else:
            form |= {"client_id": self.client_id, "client_secret": self._secret.reveal()}
        return _post(self._address, "", headers, urlencode(form).encode(), *secrets)

    def __repr__(self) -> str:
        known = vars(self)  # empty in a traceback out of the constructor
        return f"ClientCredentials({known.get('client_id')!r}, '***', scope={known.get('scope')!r})"


def _oauth_token(answer: Answer) -> Token:
    fields = _Veiled(json_object_or_none(answer))
    secret = fields.secret("access_token")
    if secret is None:
        fault = "has no access_token" if fields else "is not a JSON object"
        raise BadResponse(
            f"the token endpoint's answer {fault}; {_CHECK_TOKEN_URL}", status=answer.status
        )
    return Token(secret, fields.life("expires_in"))


def oauth_error(answer: Answer, epoch: float) -> OpwatchError:
    """What a token endpoint's refusal means (RFC 6749, section 5.2)."""
    fields = any_json(answer.body)
    fields = fields if isinstance(fields, dict) else {}
    code, message = text(fields.get("error")), text(fields.get("error_description"))
    kind = Unavailable if code in ("temporarily_unavailable", "server_error") else None
    return refusal(answer, epoch, ("token endpoint", _CHECK_TOKEN_URL), code, message, kind)


# --- the identity service (Open Telekom Cloud, Huawei Cloud) --------------------------------------


class IamPassword:
    """A user of the identity service, for `Apig`.

    `auth_url` ends in `/v3`: `https://iam.eu-de.otc.t-systems.com/v3`. Give either the project's
    name or its id. The token lasts 24 hours and is asked for anew when it ends, or dies before, as
    it does when the password or the rights change. Raises `ConfigurationError` for what is
    missing, not text, or not https.
    """

    def __init__(
        self,
        auth_url: str,
        username: str,
        password: str,
        *,
        domain_name: str,
        project_name: str | None = None,
        project_id: str | None = None,
    ) -> None:
        password = Secret(password)  # type: ignore[assignment]
        require_text(auth_url=auth_url, username=username, domain_name=domain_name)
        if not isinstance(password.reveal(), str) or not password.reveal():  # type: ignore[attr-defined]
            raise ConfigurationError("password must be text, and not empty")
        if (project_name is None) == (project_id is None):
            given = "neither" if project_id is None else "both"
            raise ConfigurationError(f"give project_name or project_id, not {given}")
        if project_id is None:
            require_text(project_name=project_name)
        else:
            require_text(project_id=project_id)
        self.username = username
        self.domain_name = domain_name
        self.project_name = project_name
        self.project_id = project_id
        self._password: Secret = password  # type: ignore[assignment]
        self._address = address(auth_url, "auth_url")

    def fetch(self, clock: Clock) -> Flow[Token]:
        answer: Answer = yield self._request()
        if not answer.is_success:
            raise iam_error(answer, clock.epoch())
        return self._token(answer, clock)

    def _request(self) -> Outgoing:
        scope = {"name": self.project_name} if self.project_id is None else {"id": self.project_id}
        user = {
            "name": self.username,
            "password": self._password.reveal(),
            "domain": {"name": self.domain_name},
        }
        identity = {"methods": ["password"], "password": {"user": user}}
        body = json.dumps({"auth": {"identity": identity, "scope": {"project": scope}}}).encode()
        headers = [
            ("Accept", "application/json"),
            ("Content-Type", "application/json;charset=utf8"),
        ]
        target = "/auth/tokens?nocatalog=true"
        return _post(self._address, target, headers, body, self._password, veil="X-Subject-Token")

    def _token(self, answer: Answer, clock: Clock) -> Token:
        if answer.veiled is None or answer.veiled.fault():
            raise BadResponse(
                f"the identity service's answer has no X-Subject-Token; {_CHECK_AUTH_URL}",
                status=answer.status,
            )
        token = (json_object_or_none(answer) or {}).get("token")
        if not isinstance(token, dict):
            raise BadResponse(
                f"the identity service's answer has no token; {_CHECK_AUTH_URL}",
                status=answer.status,
            )
        end = parse_time(token.get("expires_at"))
        now = http_date(answer.header("date")) or clock.epoch()
        life = DEFAULT_LIFE if end is None else max(end.timestamp() - now, 0.0)
        return Token(answer.veiled, life, _project_id(token.get("project")) or self.project_id)

    def __repr__(self) -> str:
        known = vars(self)  # empty in a traceback out of the constructor
        project = known.get("project_id") or known.get("project_name")
        user, domain = known.get("username"), known.get("domain_name")
        return f"IamPassword({user!r}, '***', {domain!r}, {project!r})"


def _project_id(project: Any) -> str | None:
    """The project that a token says it is for."""
    found = text(project.get("id")) if isinstance(project, dict) else None
    if found is not None:
        try:
            return check_id(found, "the project id")
        except ConfigurationError as error:
            fault = str(error)
        raise BadResponse(f"the identity service's answer: {fault}")
    return None


def iam_error(answer: Answer, epoch: float) -> OpwatchError:
    """What the identity service's refusal means (`{"error": {code, message, title}}`)."""
    fields = any_json(answer.body)
    error = fields.get("error") if isinstance(fields, dict) else None
    error = error if isinstance(error, dict) else {}
    code = text(error.get("title")) or text(error.get("code"))
    asked = ("identity service", _CHECK_AUTH_URL)
    return refusal(answer, epoch, asked, code, text(error.get("message")))


# --- shared ---------------------------------------------------------------------------------------

_CHECK_TOKEN_URL = "check token_url (ITWIN_TOKEN_URL)"  # noqa: S105 (no password)
_CHECK_AUTH_URL = "check auth_url (OS_AUTH_URL)"


def refusal(
    answer: Answer,
    epoch: float,
    asked: tuple[str, str],
    code: str | None,
    message: str | None,
    kind: type[ServiceError] | None = None,
) -> ServiceError:
    """The error of a token request that was refused; `asked` is who refused it, and what to check
    where that may be somebody else."""
    status = answer.status
    who, check = asked
    if status < 400:
        return ServiceError(f"{who}: a redirect, which is not followed; {check}", status=status)
    code = printable(answer.erased(code or ""), 80) or None
    words = printable(answer.erased(message or "")) or code or f"refused; {check}"
    kind = kind or _REFUSALS.get(status) or (Unavailable if status >= 500 else AuthenticationError)
    return kind(f"{who}: {words}", status=status, code=code, retry_after=retry_after(answer, epoch))


_REFUSALS: dict[int, type[ServiceError]] = {
    404: NotFound,
    408: Unavailable,
    425: Unavailable,
    429: RateLimited,
}


class _Veiled:
    """The fields of an answer that holds a token: they do not show."""

    def __init__(self, fields: dict[str, Any] | None) -> None:
        self._fields = fields or {}

    def __bool__(self) -> bool:
        return bool(self._fields)

    def secret(self, name: str) -> Secret | None:
        value = bare(self._fields.get(name))
        return None if value.fault() else value

    def life(self, name: str) -> float:
        life = number(self._fields.get(name))
        return DEFAULT_LIFE if life is None or life < 0 else life


def json_object_or_none(answer: Answer) -> dict[str, Any] | None:
    value = any_json(answer.body)
    return value if isinstance(value, dict) else None


def require_text(**values: Any) -> None:
    """Refuse by name what is no text or empty."""
    for name, value in values.items():
        if not isinstance(value, str) or not value.strip():
            raise ConfigurationError(f"{name} must be text, and not empty")


def _post(
    where: Address,
    target: str,
    headers: list[tuple[str, str]],
    body: bytes,
    *secrets: Secret,
    veil: str | None = None,
) -> Outgoing:
    path = where.prefix + target or "/"
    return Outgoing("POST", where, path, tuple(headers), body, secrets, veil)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
