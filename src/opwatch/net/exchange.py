"""One HTTP/1.1 exchange with h11: bytes out, bytes in, one bounded answer.

It knows no socket and no clock, only a `Wire`. A network failure is raised by that: only here is it
known whether the head of an error answer has come, which says enough without its body.

h11 never sees a secret. Lines with secret headers are inserted into the bytes that h11 returns, and
a secret body passes through it unopened.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any, Protocol

import h11

from opwatch.errors import ConfigurationError
from opwatch.net.message import Answer, Request, Secret

LONGEST_ANSWER = 1024 * 1024  # bytes of a body, received and decoded
_LONGEST_HEAD = 100 * 1024
_EVENTS_BETWEEN_PAUSES = 64  # about 0.2 ms of work, so the deadline is checked in time
_ERROR = 300  # from this status on, the head says enough, whatever became of the body
_BLOCK = 4096  # compressed bytes decoded at once
_END = h11.EndOfMessage()
_CUT_OFF = "closed the connection before its response was complete"
_TOO_LONG = f"is longer than {LONGEST_ANSWER} bytes"
_UNREADABLE = "can't be decoded"


class Wire(Protocol):
    async def send(self, pieces: list[bytes | Secret], /) -> None: ...
    async def receive(self) -> bytes: ...  # empty at the end of the stream
    async def pause(self) -> None: ...  # lets other tasks run


class ProtocolError(Exception):
    """The other end did this, or by default sent something other than a valid HTTP/1.1 answer."""


async def exchange(request: Request, wire: Wire) -> tuple[Answer, bool]:
    """Send the request; return the answer, and whether the connection can be used again.

    After a `CONNECT`, that is whether nothing but an answer came. A successful answer that is too
    long or can't be decoded has a `problem`. Raises `ProtocolError` if it isn't HTTP/1.1.
    """
    connection = h11.Connection(h11.CLIENT, _LONGEST_HEAD)
    await wire.send(_outgoing(connection, request))
    head: Any = None
    body = bytearray()
    events, is_complete = 0, False
    try:
        connection.receive_data(await wire.receive())
        while len(body) <= LONGEST_ANSWER:
            event: Any = connection.next_event()
            kind = type(event)
            if kind is h11.Data:
                body += event.data
            elif kind is h11.Response:
                head = event
            elif event is h11.NEED_DATA:
                connection.receive_data(await wire.receive())
            elif kind is h11.EndOfMessage or event is h11.PAUSED:
                is_complete = True
                break
            events += 1
            if events % _EVENTS_BETWEEN_PAUSES == 0:
                await wire.pause()
    except (h11.RemoteProtocolError, ValueError, OSError) as error:
        if head is None or head.status_code < _ERROR:
            broken: Any = ProtocolError(_CUT_OFF if connection.trailing_data[1] else "")
            if isinstance(error, OSError):
                broken = error
            broken.head = head  # it may ask for a pause
            raise broken from None
    headers = tuple([(name.lower(), value) for name, value in head.headers.raw_items()])
    decoded, problem = bytes(body), None
    if codings := [value for name, value in headers if name == b"content-encoding"]:
        decoded, problem = await _decoded(decoded, b",".join(codings), wire)
    if not is_complete:
        decoded = decoded[:LONGEST_ANSWER]
        problem = _TOO_LONG
    is_over = connection.their_state in (h11.DONE, h11.SWITCHED_PROTOCOL)
    is_reusable = is_over and problem is None and connection.trailing_data == (b"", False)
    if head.status_code >= _ERROR:
        problem = None
    return Answer(head.status_code, headers, decoded, 0.0, request.secrets, problem), is_reusable


def _outgoing(connection: h11.Connection, request: Request) -> list[bytes | Secret]:
    """Return the request in pieces; h11 has seen those that are no secrets."""
    headers: Any = request.headers
    body: Any = request.body
    plain = [header for header in headers if not isinstance(header[1], Secret)]
    secret = [header for header in headers if isinstance(header[1], Secret)]
    if body or request.method in ("POST", "PUT", "PATCH"):
        plain.append(("Content-Length", str(len(body))))
    head = connection.send(_head(request.method, request.address.host, request.target, *plain))
    pieces: list[bytes | Secret] = [head[:-2]]  # without the blank line at its end
    for name, value in secret:
        if fault := value.fault():
            raise ConfigurationError(f"the header `{name}` {fault}")
        pieces += (name.encode("ascii") + b": ", value, b"\r\n")
    pieces.append(b"\r\n")
    if body:
        pieces += connection.send_with_data_passthrough(h11.Data(data=body)) or ()
    if request.method != "GET":  # h11 reads the answer to a GET without it, which saves 2 µs
        connection.send(_END)
    return pieces


@lru_cache(maxsize=256)
def _head(method: str, host: str, target: str, *headers: tuple[str, str]) -> h11.Request:
    """Cached, because checking the headers is half of the cost, and most polls repeat them."""
    fields = [("Host", host), ("Accept-Encoding", "identity"), *headers]
    try:
        return h11.Request(method=method, target=target, headers=fields)
    except (h11.LocalProtocolError, UnicodeEncodeError, TypeError):
        problem = "its path or a header contains characters that HTTP does not allow"
        raise ConfigurationError(f"the request can't be sent: {problem}") from None


async def _decoded(raw: bytes, header: bytes, wire: Wire) -> tuple[bytes, str | None]:
    """Return a body decoded as far as it can be, and why that isn't all of it."""
    names = [name.strip() for name in header.lower().split(b",")]
    codings = [name for name in names if name not in (b"", b"identity")]
    if not codings:
        return raw, None
    # RFC 9110 means the zlib format by `deflate`; some servers send the bare one.
    is_zlib = raw[:1] and raw[0] & 15 == 8 and int.from_bytes(raw[:2], "big") % 31 == 0
    kinds = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15 if is_zlib else -15}
    if (wbits := kinds.get(b",".join(codings))) is None:
        return b"", _UNREADABLE
    body, decoder = bytearray(), zlib.decompressobj(wbits)
    at = rounds = 0
    try:
        while at < len(raw) and len(body) <= LONGEST_ANSWER:
            if decoder.eof:
                if wbits != 31:
                    return b"", _UNREADABLE
                decoder = zlib.decompressobj(wbits)  # the next member
            block = raw[at : at + _BLOCK]
            body += decoder.decompress(block, LONGEST_ANSWER + 1 - len(body))
            at += len(block) - len(decoder.unused_data) - len(decoder.unconsumed_tail)
            rounds += 1
            if rounds % _EVENTS_BETWEEN_PAUSES == 0:
                await wire.pause()
    except zlib.error:
        return b"", _UNREADABLE
    if len(body) > LONGEST_ANSWER:
        return bytes(body[:LONGEST_ANSWER]), _TOO_LONG
    return bytes(body), None if decoder.eof else _UNREADABLE
