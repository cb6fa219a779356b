"""What goes over the wire, as values: where to, a request not yet sent, an answer, a secret.

Values that are not changed once made; their reprs show no credential. Nothing here sends anything.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote, quote_plus, urlencode

from opwatch.errors import ConfigurationError

# --- secrets --------------------------------------------------------------------------------------


class Secret:
    """Text that must not show: not in a repr, not among a traceback's locals, not in a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value.reveal() if isinstance(value, Secret) else value

    def reveal(self) -> str:
        text: str = self._value
        return text

    def encode(self) -> bytes:
        """Its bytes. Never raises for text: the error would hold what it could not encode."""
        return self.reveal().encode("utf-8", "surrogatepass")

    def fault(self) -> str | None:
        """What is wrong with it, without saying what it is."""
        if not isinstance(self._value, str):
            return f"must be text, not {type(self._value).__name__}"
        if not self._value.strip():
            return "must not be empty"
        if not (self._value.isascii() and self._value.isprintable()):
            return "must hold printable ASCII characters only"
        if self._value != self._value.strip():
            return "must not begin or end with a space"
        return None

    def erased(self, text: str, tail: int = 0) -> str:
        """`text` without this secret, however it is quoted there, and without the `tail` last
        characters, should they belong to no echo."""
        return _erased(text, self._value, tail)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled; build them anew where they are needed")


_SHORTEST_SKELETON = 6
_DEEPEST = 6
"""How often one way of quoting within another is undone."""
_ESCAPE = r"(?s)%([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\(.)|&#?\w{1,31};"  # compiled when used


def _erased(text: str, secret: str, tail: int) -> str:
    """`text` without `secret`, whether it stands there as it is, in JSON, in a URL, in HTML, or in
    one within another: servers echo what they were sent in all of these ways.

    All of them leave letters and digits alone. So what is looked for is the letters and digits of
    the secret, in those of the text once nothing in it is quoted any more. Of what follows the last
    echo, `tail` characters are left out: the beginning of another, where the text was cut off.
    """
    wanted = _letters(secret)
    if len(wanted) >= _SHORTEST_SKELETON:
        pieces, done = [], 0
        for begin, end in _echoes(text, wanted):
            pieces += [text[done:begin], "***"]
            done = end
        text = "".join([*pieces, text[done : max(done, len(text) - tail)]])
    for form in _forms(secret):
        text = text.replace(form.decode("utf-8", "surrogatepass"), "***")
    return text


@lru_cache(maxsize=256)
def _forms(secret: str) -> tuple[bytes, ...]:
    """A secret as it usually stands in an answer, and that in JSON; the longest first."""
    if secret.isascii() and secret.isalnum():
        return (secret.encode(),)
    texts = {quoted(secret) for quoted in _QUOTED}
    texts |= {text.replace("/", "\\/") for text in texts}
    texts |= {json.dumps(text)[1:-1] for text in texts}
    texts |= {text.replace("/", "\\/") for text in texts}
    forms = {text.encode("utf-8", "surrogatepass") for text in texts}
    return tuple(sorted(forms, key=len, reverse=True))


def _in_html(secret: str) -> str:
    import html

    return html.escape(secret)


_QUOTED: tuple[Callable[[str], str], ...] = (
    str,
    lambda secret: json.dumps(secret)[1:-1],
    lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    partial(quote, safe="", errors="surrogatepass"),
    partial(quote, errors="surrogatepass"),
    partial(quote_plus, errors="surrogatepass"),
    _in_html,
)


def _letters(text: str) -> str:
    """The ASCII letters and digits of `text`, unquoted."""
    for _ in range(_DEEPEST):
        quoted, text = text, re.sub(_ESCAPE, _unescaped, text)
        if text == quoted:
            break
    return "".join(re.findall("[A-Za-z0-9]+", text))


def _echoes(text: str, wanted: str) -> Iterator[tuple[int, int]]:
    """Where those letters and digits of a secret begin in `text`, and end."""
    if wanted not in _letters(text):  # as is usual, and told at a fifth of the price
        return
    skeleton, starts, ends = _skeleton(text)
    at = skeleton.find(wanted)
    while at >= 0:
        last = at + len(wanted)
        yield starts[at], ends[last - 1]
        at = skeleton.find(wanted, last)


def _skeleton(text: str) -> tuple[str, list[int], list[int]]:
    """The letters and digits that `_letters` gives, and where each begins in `text`, and ends."""
    starts, ends = list(range(len(text))), list(range(1, len(text) + 1))
    for _ in range(_DEEPEST):
        pieces: list[tuple[str, list[int], list[int]]] = []
        at = 0
        for found in re.finditer(_ESCAPE, text):
            begin, end = found.span()
            plain = _unescaped(found)
            count = len(plain)
            pieces.append((text[at:begin], starts[at:begin], ends[at:begin]))
            pieces.append((plain, starts[begin : begin + 1] * count, ends[end - 1 : end] * count))
            at = end
        if not pieces:
            break
        pieces.append((text[at:], starts[at:], ends[at:]))
        text = "".join(piece[0] for piece in pieces)
        starts = [*chain.from_iterable(piece[1] for piece in pieces)]
        ends = [*chain.from_iterable(piece[2] for piece in pieces)]
    kept = [n for n, char in enumerate(text) if char.isascii() and char.isalnum()]
    return "".join(text[n] for n in kept), [starts[n] for n in kept], [ends[n] for n in kept]


def _unescaped(found: re.Match[str]) -> str:
    if code := found[1] or found[2]:
        return chr(int(code, 16))
    if char := found[3]:
        return " " if char in "nrtbf" else char
    import html  # it brings a table of 2,231 names

    return html.unescape(found[0])


# --- addresses and ids ----------------------------------------------------------------------------


class Address(NamedTuple):
    """Where a service is: its origin, and the path before every target."""

    origin: str
    host: str
    """The `Host` header, with the port where it is not the scheme's own."""
    prefix: str

    @property
    def is_https(self) -> bool:
        return self.origin.startswith("https:")


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Python 3.13 takes ::ffff:127.0.0.1 for loopback and 3.11 does not: here no Python does.
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback and mapped is None


_BAD_ID = re.compile(r"[/\\%?#\x00-\x1f\x7f-\x9f]")


def check_id(job_id: object, name: str) -> str:
    """`job_id` where it can stand in a path as one segment; `ConfigurationError` otherwise."""
    if not isinstance(job_id, str):
        raise ConfigurationError(f"{name} must be text, not {type(job_id).__name__}")
    if job_id.strip() in ("", ".", ".."):
        raise ConfigurationError(f"{name} must not be empty, blank, '.' or '..': {job_id!r}")
    if _BAD_ID.search(job_id):
        raise ConfigurationError(
            f"{name} must not hold / \\ % ? # or control characters: {job_id!r:.80}"
        )
    try:
        job_id.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{name} is not valid text: {job_id!r:.80}") from None
    return job_id


# --- one request ----------------------------------------------------------------------------------


class Outgoing:
    """A request, not yet sent. Its repr shows no header and no body: both may hold a credential."""

    __slots__ = ("address", "body", "headers", "method", "secrets", "target", "veil")

    def __init__(
        self,
        method: str,
        address: Address,
        target: str,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        secrets: tuple[Secret, ...] = (),
        veil: str | None = None,
    ) -> None:
        self.method = method
        self.address = address
        self.target = target
        """Path and query, byte for byte as they go on the wire."""
        self.headers = headers
        self.body = body
        self.secrets = secrets
        """What must not be quoted should the answer echo it."""
        self.veil = veil
        """A response header that holds a credential: it comes as `Answer.veiled`."""

    def __repr__(self) -> str:
        return f"<Outgoing {self.method} {self.address.origin}{self.target}>"

    def with_headers(self, headers: Iterable[tuple[str, str]], *secrets: Secret) -> Outgoing:
        """The same request with more headers."""
        return Outgoing(
            self.method,
            self.address,
            self.target,
            (*self.headers, *headers),
            self.body,
            (*self.secrets, *secrets),
            self.veil,
        )


def outgoing(
    address: Address, kwargs: dict[str, Any], headers: tuple[tuple[str, str], ...]
) -> Outgoing:
    """The request that a generated operation describes (`_get_kwargs`)."""
    target = address.prefix + kwargs["url"]
    if params := kwargs.get("params"):
        target = f"{target}?{urlencode(params)}"
    return Outgoing(kwargs["method"].upper(), address, target, headers)


_LONGEST_QUOTE = 8
"""Characters that stand for one where it is quoted."""
LONGEST_SHOWN = 5000
"""Characters of an answer from which a message is made."""
SHORTEST_ECHO = 8
"""Characters of a secret that is looked for where an answer is not read yet."""


class Answer:
    """A response, whole. Its repr shows neither headers nor body."""

    __slots__ = ("body", "elapsed", "raw_headers", "secrets", "status", "veiled")

    def __init__(
        self,
        status: int,
        raw_headers: tuple[tuple[bytes, bytes], ...] = (),
        body: bytes = b"",
        elapsed: float = 0.0,
        veiled: Secret | None = None,
        secrets: tuple[Secret, ...] = (),
    ) -> None:
        self.status = status
        self.raw_headers = raw_headers
        self.body = body
        self.elapsed = elapsed
        """Seconds from the request to the whole answer."""
        self.veiled = veiled
        self.secrets = secrets
        """Those of the request: they are not quoted, should the answer echo them."""

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def header(self, name: str) -> str | None:
        """The first header of that name, without regard to case."""
        wanted = name.lower().encode()
        for key, value in self.raw_headers:
            if key.lower() == wanted:
                return value.decode("latin-1").strip()
        return None

    def erased(self, text: str) -> str:
        """The beginning of `text`, taken from this answer, without echoes of the request's secrets.

        What may be the beginning of an echo that was cut off is left out too.
        """
        secrets = self._secrets()
        tail = _LONGEST_QUOTE * len(secrets[0].reveal()) if secrets else 0
        beginning = text[: LONGEST_SHOWN + 2 * tail]
        if len(beginning) == len(text):
            tail = 0
        for secret in secrets:
            beginning, tail = secret.erased(beginning, tail), 0
        return beginning

    def _secrets(self) -> list[Secret]:
        """The longest first, since one may be part of another."""
        return sorted(self.secrets, key=lambda secret: len(secret.reveal()), reverse=True)

    def redacted(self) -> Answer:
        """The same answer without the usual echoes in its body, which is not read yet: a short
        secret could be part of anything there."""
        echoed = [
            form
            for secret in self.secrets
            if len(secret.reveal()) >= SHORTEST_ECHO
            for form in _forms(secret.reveal())
            if form in self.body
        ]
        if not echoed:
            return self
        body = self.body
        for form in sorted(echoed, key=len, reverse=True):
            body = body.replace(form, b"***")
        return Answer(self.status, self.raw_headers, body, self.elapsed, self.veiled, self.secrets)
