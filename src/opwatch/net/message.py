"""What goes over the wire, as values: an address, a request, an answer, and a secret.

Nothing here opens a connection or knows a service. No repr shows a header, a body or a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote

import attrs

from opwatch.errors import ConfigurationError

T = TypeVar("T")
_ESCAPE = re.compile("%[0-9A-F]{2}")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.6.2: a token."""

SHORTEST_ERASED = 8  # characters; a shorter secret is likely to be part of an ordinary word
SHORTEST_HIDDEN = 12  # characters of one that was cut off; fewer may be a word of a service's own
LINE_BREAK = "must not begin or end with a line break; strip the newline if it's from a file"


class Secret:
    """A credential that must not show: not in a repr, a log, a pickle or a traceback's locals.

    It stays wrapped until its bytes go to the socket, with `prefix` (`Bearer `) in front.
    """

    __slots__ = ("_prefix", "_value")

    def __init__(self, value: Any, prefix: str = "") -> None:
        self._value: Any = value._value if isinstance(value, Secret) else value
        self._prefix = prefix

    def reveal(self) -> Any:
        return self._value

    def encode(self) -> bytes:
        """Return what is sent. Never raises for str: the error would hold what it can't encode."""
        if isinstance(self._value, bytes):
            return self._value
        encoded: bytes = (self._prefix + self._value).encode("utf-8", "surrogatepass")
        return encoded

    def fault(self) -> str | None:
        """Return what makes it unusable as a header value, in words that don't quote it."""
        value = self._value
        if not isinstance(value, str):
            return f"must be a string, not {type(value).__name__}"
        if not value.strip():
            return "must not be empty"
        if value.strip("\r\n") != value:
            return LINE_BREAK
        if not (value.isascii() and value.isprintable()):
            return "must contain printable ASCII characters only"
        return None if value == value.strip() else "must not begin or end with a space"

    def __len__(self) -> int:
        return len(self.encode())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials can't be pickled; create them in the process that needs them")


class Address(NamedTuple):
    """Where a service is: its origin, and the path in front of every target."""

    origin: str  # scheme and authority, with the port unless it is the default
    host: str  # the `Host` header
    prefix: str = ""

    @property
    def is_https(self) -> bool:
        return self.origin.startswith("https:")


class Request(NamedTuple):
    """A request that has not been sent. What is a `Secret` in it is revealed at the socket."""

    method: str
    address: Address
    target: str  # path and query, byte for byte as they are sent
    headers: tuple[tuple[str, str | Secret], ...] = ()
    body: bytes | Secret = b""
    secrets: tuple[Secret, ...] = ()  # what an answer might echo and no error may quote
    credential: Secret | None = None  # what a refusal of this request is a refusal of
    end: float = math.inf  # when the credential expires, on the client's clock

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.address.origin}{self.target}>"

    def authenticated(
        self,
        headers: Iterable[tuple[str, str | Secret]],
        credential: Secret,
        *secrets: Secret,
        end: float = math.inf,
    ) -> Request:
        """Return the same request with more headers, made from a credential."""
        method, address, target, own, body, known, *_ = self
        known = (*known, credential, *secrets)
        return Request(method, address, target, (*own, *headers), body, known, credential, end)


@attrs.define(eq=False)
class Answer:
    """A complete response. What may hold a token is hidden from error reports, some of which look
    into tuples and attrs objects whatever their own reprs say."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = attrs.field(default=(), repr=False)  # in lower case
    body: bytes = attrs.field(default=b"", repr=False)  # decoded, and at most 1 MiB
    elapsed: float = 0.0  # seconds from sending the request to receiving the complete answer
    secrets: tuple[Secret, ...] = ()  # those of the request, which no error may quote
    problem: str | None = None  # why `body` isn't all of it
    is_clean: bool = False  # whether it was found to hold no beginning of a secret

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_about_credentials(self) -> bool:
        """Whether what it says may be made of the credentials that were sent."""
        return self.status in (401, 403, 407)

    def header(self, name: str) -> str | None:
        """Return the first header of that name, or None."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """Return every header of that name, in order."""
        wanted = name.lower().encode()
        return [value.decode("latin-1").strip() for key, value in self.headers if key == wanted]

    def erased(self, text: str) -> str:
        """Return `text`, which this answer contains, without the request's secrets."""
        return hidden(_erased, self.secrets, text)


def shown(secrets: tuple[Secret, ...], text: str) -> str:
    """Return what may be shown of a text of an answer: without secrets, and nothing if it holds
    the beginning of one in any case, since that was cut off or written in another way."""
    text = _erased(secrets, text)
    return "***" if holds_beginning(secrets, text, SHORTEST_HIDDEN) else text


def _erased(secrets: tuple[Secret, ...], text: str) -> str:
    """Return `text` with each secret, as it is or percent-encoded, replaced by `***`."""
    for value in sorted(_quotable(secrets), key=len, reverse=True):  # one may begin with another
        text = text.replace(value, "***")
        if "%" in text:
            for safe in ("", "/"):
                quoted = quote(value, safe=safe, errors="surrogatepass")
                text = text.replace(quoted, "***")
                # Servers on .NET write the digits in lower case.
                text = text.replace(_ESCAPE.sub(lambda found: found[0].lower(), quoted), "***")
    return text


def holds_beginning(secrets: tuple[Secret, ...], text: str, length: int = SHORTEST_ERASED) -> bool:
    """Return whether one of the secrets, or the beginning of one, is in `text`, in any case.

    Folded, because `lower` writes a sigma by its place in the word.
    """
    folded = text.casefold()
    return any(value[:length].casefold() in folded for value in _quotable(secrets))


def _quotable(secrets: tuple[Secret, ...]) -> list[str]:
    values = [secret.reveal() for secret in secrets]
    return [one for one in values if isinstance(one, str) and len(one) >= SHORTEST_ERASED]


def hidden(function: Callable[..., T], /, *arguments: Any, **named: Any) -> T:
    """Call `function`, which handles plain credentials; no traceback shows its frames."""
    try:
        return function(*arguments, **named)
    except BaseException as error:  # noqa: BLE001 (raised again, without the frames below)
        error.__context__ = error.__cause__ = None
        raise error.with_traceback(None)  # noqa: B904 (the same error)


def blocking(function: Callable[..., Coroutine[Any, Any, T]], /, *arguments: Any) -> T:
    """Run a coroutine that never suspends. One that does was given something async."""
    coroutine = function(*arguments)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    coroutine.close()
    raise ConfigurationError("a blocking client can't use async callbacks or objects")
