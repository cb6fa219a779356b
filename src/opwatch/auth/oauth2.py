"""OAuth2 client credentials (RFC 6749, section 4.4), as iTwin's identity service takes them."""

from __future__ import annotations

import base64
from typing import ClassVar
from urllib.parse import quote, urlencode

from opwatch.auth import require
from opwatch.auth.endpoint import TokenEndpoint
from opwatch.auth.tokens import DEFAULT_LIFE, Token, bare
from opwatch.errors import AuthenticationError, OpwatchError, Unavailable
from opwatch.net.address import address
from opwatch.net.message import Answer, Request, Secret
from opwatch.reading import any_json, number, object_in, text

TOKEN_URL = "https://ims.bentley.com/connect/token"  # noqa: S105 (an address)
SCOPE = "itwin-platform"
_TRANSIENT = ("temporarily_unavailable", "server_error")


class ClientCredentials(TokenEndpoint):
    """OAuth2 client credentials of an iTwin service application, or for another service whose spec
    has a `clientCredentials` flow.

    Requests a token with `scope` (or None) from `token_url`, and renews it before it expires.
    `basic=True` sends the client ID and secret as Basic authentication instead of form fields.

    `from_env` reads iTwin's variables: `ITWIN_CLIENT_ID`, `ITWIN_CLIENT_SECRET`, and optionally
    `ITWIN_SCOPE` and `ITWIN_TOKEN_URL`. Raises `ConfigurationError` for a missing, empty or
    non-string credential, and for an address that isn't https.
    """

    client = "ITwin"
    variables: ClassVar = {
        "client_id": "ITWIN_CLIENT_ID",
        "client_secret": "ITWIN_CLIENT_SECRET",
        "scope": "ITWIN_SCOPE",
        "token_url": "ITWIN_TOKEN_URL",
    }
    optional = ("scope", "token_url")
    _called = "token endpoint"
    _advice = "check `token_url` (ITWIN_TOKEN_URL)"
    _codes: ClassVar = {
        "invalid_request": "the token request was invalid",
        "invalid_client": "the client ID or secret was refused",
        "invalid_grant": "the credentials were refused",
        "unauthorized_client": "the client isn't allowed to use client credentials",
        "unsupported_grant_type": "client credentials aren't supported",
        "invalid_scope": "the scope was refused",
        "access_denied": "access was denied",
        **dict.fromkeys(_TRANSIENT, "temporarily unavailable"),
    }

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        *,
        scope: str | None = SCOPE,
        token_url: str | None = None,
        basic: bool = False,
    ) -> None:
        client_secret = secret = Secret(client_secret)  # type: ignore[assignment]
        require(
            client_id=client_id, client_secret=secret, **({} if scope is None else {"scope": scope})
        )
        self.client_id = client_id
        self.scope = scope
        self._secret = secret
        self.names_endpoint = token_url is not None
        """Whether `token_url` was passed; else it is iTwin's."""
        self._address = address(TOKEN_URL if token_url is None else token_url, "token_url")
        self._basic = basic

    def _request(self) -> Request:
        form = {"grant_type": "client_credentials"}
        if self.scope is not None:
            form["scope"] = self.scope
        headers: list[tuple[str, str | Secret]] = [
            ("Content-Type", "application/x-www-form-urlencoded")
        ]
        encoded = []
        if self._basic:
            pair = f"{quote(self.client_id, safe='')}:{quote(self._secret.reveal(), safe='')}"
            encoded = [Secret(base64.b64encode(pair.encode()).decode("ascii"))]
            headers.append(("Authorization", Secret(encoded[0], "Basic ")))
        else:
            form |= {"client_id": self.client_id, "client_secret": self._secret.reveal()}
        return self._post(self._address.prefix or "/", headers, urlencode(form), *encoded)

    def _read(self, answer: Answer, epoch: float) -> Token | OpwatchError:
        """RFC 6749, sections 5.1 and 5.2."""
        fields = object_in(any_json(answer.body))
        if answer.is_success and not answer.problem and "error" not in fields:
            secret, life = (
                bare(Secret(fields.get("access_token"))),
                number(fields.get("expires_in")),
            )
            if not secret.fault():
                return Token(secret, DEFAULT_LIFE if life is None or life < 0 else life)
        code = text(fields.get("error"))
        if answer.is_success and code not in self._codes:
            problem = "has no access_token" if fields else "isn't a JSON object"
            return self._bad_answer(answer, problem)
        refused = AuthenticationError if answer.is_success else None
        return self._refusal(answer, epoch, [code], Unavailable if code in _TRANSIENT else refused)

    def __repr__(self) -> str:
        known = vars(self)  # empty in a traceback out of the constructor
        return f"ClientCredentials({known.get('client_id')!r}, '***', scope={known.get('scope')!r})"
