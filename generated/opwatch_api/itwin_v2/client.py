import re
import ssl
from typing import Any, NoReturn, Self
from weakref import WeakKeyDictionary

import httpx
from attrs import define, evolve, field


def _without_userinfo(url: object) -> str:
    """Return the repr of a URL without its user name and password, which may contain any character."""
    return repr(re.sub(r"(?s)^(\w+://)?.*@", r"\1***@", str(url)))


def _is_base_url(url: str) -> bool:
    """Return whether a URL leads where it seems to: httpx reads it, and it has no `@`, `?`, `#` or backslash."""
    try:
        parsed = httpx.URL(url)
        is_readable = parsed.host != "" and (parsed.port or 0) < 65536
    except (httpx.InvalidURL, ValueError):
        return False
    return is_readable and bool(
        re.fullmatch(r"https?://[^/@?#\\\s][^@?#\\\s]*", url, re.IGNORECASE)
    )


def _merged(headers: dict[str, str], more: dict[str, str]) -> dict[str, str]:
    """Return both sets of headers; `more` replaces headers of the same name, ignoring case."""
    pairs = (*headers.items(), *more.items())
    return dict({name.lower(): (name, value) for name, value in pairs}.values())


def _running_loop() -> Any:
    from anyio.lowlevel import current_token  # only the async functions need it

    return current_token().native_token


def _check_location(response: httpx.Response) -> None:
    """Remove the `Location` of a redirect unless it is an http or https address: httpx raises an error for any
    other, even if it doesn't follow redirects."""
    if not response.has_redirect_location:
        return
    try:
        url = httpx.URL(response.headers["Location"])
        url = url if url.scheme else response.url.join(url)
        is_readable = url.scheme in ("http", "https") and url.host != ""
    except (httpx.InvalidURL, ValueError):
        is_readable = False
    if not is_readable:
        del response.headers["Location"]


async def _check_location_async(response: httpx.Response) -> None:
    _check_location(response)


def _guarded(client: httpx.Client) -> httpx.Client:
    if _check_location not in client.event_hooks["response"]:
        client.event_hooks["response"].append(_check_location)
    return client


def _guarded_async(client: httpx.AsyncClient) -> httpx.AsyncClient:
    if _check_location_async not in client.event_hooks["response"]:
        client.event_hooks["response"].append(_check_location_async)
    return client


@define
class Client:
    """The client for the operations in `api`: pass it to them as `client`.

    `with` (or `async with`) closes its connections at the end; the next request opens new ones.

    All arguments except `base_url` are keyword-only. `repr` shows only the address.

    Args:
        base_url: Everything in front of an operation's path. The first request raises ValueError if
            it isn't an http or https address, or has a user name, a password or a query.
        auth: Authenticates each request: an `httpx.Auth`, such as `opwatch.httpx_auth` returns.
        headers: Headers to send with every request.
        cookies: Cookies to send with every request.
        timeout: Seconds for each phase of a request (connect, send, receive), or an
            `httpx.Timeout`. An operation that takes longer raises `httpx.TimeoutException`. None
            means no limit.
        verify_ssl: False turns certificate checks off; an `ssl.SSLContext` configures them.
        follow_redirects: Whether to follow redirects. httpx would send headers other than
            `Authorization` to another host too. A redirect to anything but an http or https address
            is returned without its `Location`.
        httpx_args: More arguments for `httpx.Client` and `httpx.AsyncClient`.
        raise_on_unexpected_status: Whether an undocumented status raises `errors.UnexpectedStatus`;
            if not, the operation returns None.
    """

    raise_on_unexpected_status: bool = field(default=True, kw_only=True, repr=False)
    _base_url: str = field(alias="base_url", repr=_without_userinfo)
    _auth: httpx.Auth | None = field(default=None, kw_only=True, alias="auth", repr=False)
    _cookies: dict[str, str] = field(factory=dict, kw_only=True, alias="cookies", repr=False)
    _headers: dict[str, str] = field(factory=dict, kw_only=True, alias="headers", repr=False)
    _timeout: httpx.Timeout | float | None = field(
        default=30.0, kw_only=True, alias="timeout", repr=False
    )
    _verify_ssl: str | bool | ssl.SSLContext = field(
        default=True, kw_only=True, alias="verify_ssl", repr=False
    )
    _follow_redirects: bool = field(
        default=False, kw_only=True, alias="follow_redirects", repr=False
    )
    _httpx_args: dict[str, Any] = field(factory=dict, kw_only=True, alias="httpx_args", repr=False)
    _client: httpx.Client | None = field(default=None, init=False, repr=False)
    _async_client: httpx.AsyncClient | None = field(default=None, init=False, repr=False)
    _clients: dict[str, httpx.Client] = field(factory=dict, init=False, repr=False)
    _async_clients: WeakKeyDictionary[Any, httpx.AsyncClient] = field(
        factory=WeakKeyDictionary, init=False, repr=False
    )

    def with_headers(self, headers: dict[str, str]) -> Self:
        """Return another client that also sends these headers."""
        return self._with(headers=_merged(self._headers, headers))

    def with_cookies(self, cookies: dict[str, str]) -> Self:
        """Return another client that also sends these cookies."""
        return self._with(cookies={**self._cookies, **cookies})

    def with_timeout(self, timeout: httpx.Timeout | float | None) -> Self:
        """Return another client with this timeout."""
        return self._with(timeout=timeout)

    def _with(self, **changes: Any) -> Self:
        if self._client is not None or self._async_client is not None:
            raise ValueError(
                "an httpx client was set, which replaces these arguments; change that client instead"
            )
        return evolve(self, **changes)

    def set_httpx_client(self, client: httpx.Client) -> Self:
        """Send requests with this httpx client. It replaces all other arguments, including the token, `auth` and
        the timeout.

        It also gets a hook that removes any `Location` that httpx would reject. After this call,
        `with_headers`, `with_cookies` and `with_timeout` raise ValueError.
        """
        self._client = _guarded(client)
        return self

    def get_httpx_client(self) -> httpx.Client:
        """Return the httpx client that sends the requests. All threads share it."""
        if self._client is not None:
            return self._client
        if (client := self._clients.get("")) is None:
            client = self._clients.setdefault("", _guarded(httpx.Client(**self._arguments())))
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        if client := self._client or self._clients.pop("", None):
            client.close()

    def set_async_httpx_client(self, async_client: httpx.AsyncClient) -> Self:
        """Send async requests with this httpx client; see `set_httpx_client`."""
        self._async_client = _guarded_async(async_client)
        return self

    def get_async_httpx_client(self) -> httpx.AsyncClient:
        """Return the httpx client that sends the requests of the running event loop.

        Each event loop has its own, since a connection can't be used in another.
        """
        if self._async_client is not None:
            return self._async_client
        loop = _running_loop()
        if loop not in self._async_clients:
            for other in [ref() for ref in self._async_clients.keyrefs()]:
                if getattr(other, "is_closed", bool)():  # its connections would keep it alive
                    self._async_clients.pop(other, None)
            self._async_clients[loop] = _guarded_async(httpx.AsyncClient(**self._arguments()))
        return self._async_clients[loop]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *args: object) -> None:
        if client := self._async_client or self._async_clients.pop(_running_loop(), None):
            await client.aclose()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a client holds credentials and connections; make another instead of copying or pickling it"
        )

    def _arguments(self) -> dict[str, Any]:
        if not _is_base_url(str(self._base_url)):
            raise ValueError(
                "`base_url` must be an http or https address without a user name, `@`, query or spaces"
            )
        return {
            "base_url": self._base_url,
            "auth": self._auth,
            "cookies": self._cookies,
            "headers": self._headers,
            "timeout": self._timeout,
            "verify": self._verify_ssl,
            "follow_redirects": self._follow_redirects,
            **self._httpx_args,
        }


@define
class AuthenticatedClient(Client):
    """A `Client` that sends a token as `Authorization: Bearer TOKEN`.

    Args:
        token: The token, in printable ASCII characters; anything else raises ValueError. It doesn't
            show in `repr`.
        prefix: What to put in front of it, unless it is already there.
        auth_header_name: The header it is sent in.
    """

    token: str = field(repr=False)
    prefix: str = "Bearer"
    auth_header_name: str = "Authorization"

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.token, str):
            raise ValueError(f"`token` must be a string, not {type(self.token).__name__}")
        if not (self.token.strip() and self.token.isascii() and self.token.isprintable()):
            raise ValueError("`token` must consist of printable ASCII characters, and not be empty")

    def _arguments(self) -> dict[str, Any]:
        arguments, token = super()._arguments(), self.token
        if self.prefix and not token.lower().startswith(f"{self.prefix} ".lower()):
            token = f"{self.prefix} {token}"
        return {
            **arguments,
            "headers": _merged(arguments["headers"], {self.auth_header_name: token}),
        }
