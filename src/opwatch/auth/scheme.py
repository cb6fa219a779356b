"""How requests are authenticated, as the `securitySchemes` of a spec say it: data, not code."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import attrs

from opwatch.auth import require_text
from opwatch.auth.oauth2 import TOKEN_URL, ClientCredentials
from opwatch.auth.tokens import Auth, Given, TokenAuth, veiled
from opwatch.clock import Clock
from opwatch.environment import arguments, environment, is_set
from opwatch.errors import ConfigurationError
from opwatch.net.message import HEADER_NAME, Secret, hidden

Kind: TypeAlias = Literal["none", "token", "basic", "oauth2"]
_NEEDED: dict[Kind, tuple[str, ...]] = {
    "none": (),
    "token": ("auth",),
    "basic": ("username", "password"),
    "oauth2": ("client_id", "client_secret"),
}


@attrs.frozen
class Scheme:
    """What a service takes: a token or an API key, a user name and a password, or OAuth2 client
    credentials. Raises `ConfigurationError` for a header or a prefix that can't be sent."""

    kind: Kind
    variables: Mapping[str, str]
    """The environment variables, by argument: `auth` is that of a token, `base_url` the address."""
    header: str = "Authorization"
    prefix: str = ""
    """The prefix of the token."""
    token_url: str = ""
    scope: str = ""
    optional: bool = False
    """Whether the service also answers without credentials."""

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.header, str) or not HEADER_NAME.fullmatch(self.header):
            problem = f"must be the name of a header, such as 'X-Api-Key', not {self.header!r:.60}"
            raise ConfigurationError(problem, argument="header")
        if not (
            isinstance(self.prefix, str) and self.prefix.isascii() and self.prefix.isprintable()
        ):
            problem = f"must be printable ASCII text, such as 'Bearer ', not {self.prefix!r:.60}"
            raise ConfigurationError(problem, argument="prefix")

    def veil(self, auth: object) -> object:
        """Return what a client was given to authenticate with, so that no traceback shows it.

        Raises `ConfigurationError` if it can't be that.
        """
        if isinstance(auth, (Secret, Given)):
            return auth
        if auth is None and (self.optional or self.kind == "none"):
            return None
        pair = " and ".join(_NEEDED[self.kind])
        if self.kind == "none":
            problem = "must be left out: the service takes no credentials"
        elif self.kind in ("basic", "oauth2") and isinstance(auth, tuple):
            if len(auth) == 2:
                auth = name, secret = auth[0], Secret(auth[1])
                return self.of_pair(name, secret)
            problem = f"must be a tuple of {pair}"
        elif isinstance(auth, ClientCredentials) and self.prefix != "Bearer ":
            problem = "must be a key (str), or a callable that returns one"
        elif isinstance(auth, ClientCredentials) and not (
            auth.names_endpoint or self.token_url == TOKEN_URL
        ):
            problem = "must have a `token_url`"
        elif self.kind == "basic":
            problem = f"must be a tuple of {pair}, not {type(auth).__name__}"
        else:
            return veiled(auth, ClientCredentials)
        del auth  # this frame is part of the error's traceback
        raise ConfigurationError(problem, argument="auth")

    def bind(self, credentials: object) -> Callable[[Clock], Auth]:
        """Return the object that sends requests with the credentials that `veil` returned."""
        if credentials is None:
            return lambda clock: Auth()
        how: dict[str, Any] = {"header": self.header, "prefix": self.prefix}
        is_key = self.kind == "token" and not self.prefix
        return lambda clock: TokenAuth(credentials, clock, **how, as_given=is_key)

    def from_env(self, *also: str) -> object:
        """Return the credentials in the environment.

        Raises a `ConfigurationError` that names all missing variables, those of `also` included.
        """
        of_token = self.variables.get("auth")
        if of_token and is_set(of_token):
            environment(*also)
            return Secret(os.environ[of_token])
        needed = [self.variables[name] for name in _NEEDED[self.kind]]
        if self.kind == "none" or (self.optional and not any(map(is_set, needed))):
            environment(*also)
            return None
        is_enough = all(map(is_set, needed))
        has_other = self.kind == "oauth2" and not is_enough and of_token
        instead = f"or set {of_token} instead" if has_other else None
        own = {n: of for n, of in self.variables.items() if n not in ("auth", "base_url")}
        found = arguments(own, *needed, *also, instead=instead)
        return self._client(**found) if self.kind == "oauth2" else self._basic(**found)

    def of_pair(self, name: Any, secret: Any, **more: Any) -> object:
        """Return the credentials made of a name and its secret."""
        kept = Secret(secret)
        if self.kind == "oauth2":
            return self._client(name, kept, **more)  # type: ignore[arg-type]
        if self.kind == "basic":
            return self._basic(name, kept)  # type: ignore[arg-type]
        problem = "must be a token: put it in the connection's password, and leave the login empty"
        raise ConfigurationError(problem, argument="auth")

    def _basic(self, username: str, password: str) -> object:
        password = secret = Secret(password)  # type: ignore[assignment]
        require_text(username=username, password=secret)
        if ":" in username:
            raise ConfigurationError("must not contain a colon", argument="username")
        return Given(hidden(_encoded, username, secret), (secret,))

    def _client(self, client_id: str, client_secret: str, **more: str) -> ClientCredentials:
        own: dict[str, Any] = {"scope": self.scope or None, "token_url": self.token_url}
        client_secret = secret = Secret(client_secret)  # type: ignore[assignment]
        found = ClientCredentials(client_id, secret, **own | more)  # type: ignore[arg-type]
        found._advice = f"check `token_url` ({self.variables['token_url']})"
        return found


def _encoded(name: str, password: Secret) -> Secret:
    return Secret(base64.b64encode(f"{name}:{password.reveal()}".encode()).decode("ascii"))
