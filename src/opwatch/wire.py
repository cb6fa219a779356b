"""What goes over the wire, as values: where to, a request not yet sent, an answer, a secret.

Frozen values whose reprs show no credential. Nothing here sends anything.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, NoReturn
from urllib.parse import urlencode

import attrs

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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled; build them anew where they are needed")


# --- addresses and ids ----------------------------------------------------------------------------


@attrs.frozen
class Address:
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
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_BAD_ID = re.compile(r"[/\\%?#\x00-\x1f\x7f-\x9f]")


def check_id(job_id: object, name: str) -> str:
    """`job_id` where it can stand in a path as one segment; `ConfigurationError` otherwise."""
    if not isinstance(job_id, str):
        raise ConfigurationError(f"{name} must be text, not {type(job_id).__name__}")
    if job_id.strip() in ("", ".", ".."):
        raise ConfigurationError(f"{name} must not be empty, '.' or '..': {job_id!r}")
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


@attrs.frozen
class Outgoing:
    """A request, not yet sent. Its repr shows no header and no body: both may hold a credential."""

    method: str
    address: Address
    target: str
    """Path and query, byte for byte as they go on the wire."""
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    secrets: tuple[Secret, ...] = ()
    """What must not be quoted should the answer echo it."""
    veil: str | None = None
    """A response header that holds a credential: it comes as `Answer.veiled`."""

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


@attrs.frozen
class Answer:
    """A response, whole. Its repr shows neither headers nor body."""

    status: int
    raw_headers: tuple[tuple[bytes, bytes], ...] = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    elapsed: float = 0.0
    """Seconds from the request to the whole answer."""
    veiled: Secret | None = None
    secrets: tuple[Secret, ...] = ()
    """Those of the request: they are not quoted, should the answer echo them."""

    def header(self, name: str) -> str | None:
        """The first header of that name, without regard to case."""
        wanted = name.lower().encode()
        for key, value in self.raw_headers:
            if key.lower() == wanted:
                return value.decode("latin-1").strip()
        return None

    def redacted(self) -> Answer:
        """The same answer with every echo of a secret taken out of its body and headers."""
        body, headers = self.body, self.raw_headers
        for secret in self.secrets:
            raw = secret.reveal().encode()
            body = body.replace(raw, b"***")
            headers = tuple((key, value.replace(raw, b"***")) for key, value in headers)
        return attrs.evolve(self, body=body, raw_headers=headers)
