"""How requests are authenticated, as the `securitySchemes` of a spec say it: data, not code."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from opwatch.auth import require_text
from opwatch.auth.oauth2 import ClientCredentials
from opwatch.auth.tokens import Auth, TokenAuth, veiled
from opwatch.clock import Clock
from opwatch.environment import arguments, environment
from opwatch.errors import ConfigurationError
from opwatch.net.message import Secret, hidden

Kind: TypeAlias = Literal["none", "token", "basic", "oauth2"]
_NEEDED: dict[Kind, tuple[str, ...]] = {
    "none": (),
    "token": ("auth",),
    "basic": ("username", "password"),
    "oauth2": ("client_id", "client_secret"),
}


class Scheme(NamedTuple):
    """What a service takes: a token or an API key, a user name and a password, or OAuth2 client
    credentials."""

    kind: Kind
    variables: Mapping[str, str]
    """The environment variables, by argument: `auth` is that of a token, `base_url` the address."""
    header: str = "Authorization"
    prefix: str = ""
    """What stands in front of the token."""
    token_url: str = ""
    scope: str = ""
    optional: bool = False
    """Whether the service also answers without credentials."""

    def veil(self, auth: object) -> object:
        """Return what a client was given to authenticate with, so that no traceback shows it.

        Raises `ConfigurationError` if it can't be that.
        """
        if isinstance(auth, Secret) or (auth is None and (self.optional or self.kind == "none")):
            return auth
        pair = " and ".join(_NEEDED[self.kind])
        if self.kind == "none":
            problem = "must be left out: the service takes no credentials"
        elif self.kind in ("basic", "oauth2") and isinstance(auth, tuple):
            if len(auth) == 2:
                return self._client(*auth) if self.kind == "oauth2" else self._of_pair(*auth)
            problem = f"must be a tuple of {pair}"
        elif self.kind == "basic":
            problem = f"must be a tuple of {pair}, not {type(auth).__name__}"
        else:
            return veiled(auth, ClientCredentials)
        del auth  # this frame is part of the error's traceback
        raise ConfigurationError(problem, argument="auth")

    def bind(self, credentials: object) -> Callable[[Clock], Auth]:
        """Return what sends requests with what `veil` returned."""
        if credentials is None:
            return lambda clock: Auth()
        return lambda clock: TokenAuth(credentials, clock, header=self.header, prefix=self.prefix)

    def from_env(self) -> object:
        """Return the credentials in the environment.

        Raises a `ConfigurationError` that names all missing variables.
        """
        of_token = self.variables.get("auth")
        if of_token and os.environ.get(of_token):
            return Secret(os.environ[of_token])
        needed = [self.variables[name] for name in _NEEDED[self.kind]]
        if self.kind == "none" or (self.optional and not any(map(os.environ.get, needed))):
            return None
        environment(*needed, instead=of_token if self.kind == "oauth2" else None)
        own = {n: of for n, of in self.variables.items() if n not in ("auth", "base_url")}
        found = arguments(own)
        return self._client(**found) if self.kind == "oauth2" else self._of_pair(**found)

    def _of_pair(self, username: str, password: str) -> object:
        password = secret = Secret(password)  # type: ignore[assignment]
        require_text(username=username, password=secret)
        if ":" in username:
            raise ConfigurationError("must not contain a colon", argument="username")
        return hidden(_encoded, username, secret)

    def _client(self, client_id: str, client_secret: str, **more: str) -> ClientCredentials:
        own: dict[str, Any] = {"scope": self.scope or None, "token_url": self.token_url}
        client_secret = secret = Secret(client_secret)  # type: ignore[assignment]
        found = ClientCredentials(client_id, secret, **own | more)  # type: ignore[arg-type]
        found._advice = f"check `token_url` ({self.variables['token_url']})"
        return found


def _encoded(name: str, password: Secret) -> Secret:
    return Secret(base64.b64encode(f"{name}:{password.reveal()}".encode()).decode("ascii"))
