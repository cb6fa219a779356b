"""The limits of one request in flight, and what became of it so far.

httpcore hands the timeout of a request, as it is, to each read and write of the network. `Limit`
is that number and also knows when its request has to be over, so each read is given only what is
left: a server that drips a byte a second is cut off in time. The same object sees whether the
request had to open a connection and whether anything came back. From that follows the one silent
repetition there is: a kept connection that turns out dead before a single byte came is replaced.

httpcore logs the response headers at DEBUG. A token that a service sends as a header
(`X-Subject-Token`) is therefore replaced in the bytes before httpcore sees them, and handed over
beside them; and so is what a server echoes of the request's own credentials.
"""

from __future__ import annotations

import functools
import logging
import math
import re
import time

import httpcore

from opwatch.wire import SHORTEST_ECHO, Outgoing, Secret

LONGEST_ANSWER = 1024 * 1024
"""Bytes of a decoded body."""
CONNECT_TIMEOUT = 10.0
_LONGEST_HEAD = 100 * 1024
_LOG_OF_HEADS = logging.getLogger("httpcore.http11")


class TooLong(httpcore.NetworkError):
    """More came than an answer may hold."""


class Limit(float):
    """The seconds of one request, and what became of it so far."""

    began: float
    end: float
    repeats: bool
    connected: bool
    connecting: bool
    received: bool
    closed: bool
    response: httpcore.Response | None
    body: bytearray
    reads_heads: bool
    """Whether credentials have to be taken out of heads: nobody else sees them but a log."""
    has_head: bool
    veil: re.Pattern[str] | None
    veiled: Secret | None
    secrets: tuple[Secret, ...]

    def __new__(cls, seconds: float, request: Outgoing) -> Limit:
        limit = super().__new__(cls, seconds)
        limit.began = time.monotonic()
        limit.end = limit.began + seconds
        limit.repeats = limit.connected = limit.received = limit.closed = False
        limit.connecting = False
        limit.reads_heads = bool(request.veil) or _LOG_OF_HEADS.isEnabledFor(logging.DEBUG)
        limit.has_head = not limit.reads_heads
        limit.response = None
        limit.body = bytearray()
        limit.veil = _veil(request.veil) if request.veil else None
        limit.veiled = None
        limit.secrets = request.secrets
        return limit

    def again(self, request: Outgoing) -> Limit:
        """For the one repetition, which has what is left of the time."""
        limit = Limit(float(self), request)
        limit.repeats = True
        limit.end = self.end
        return limit

    def left(self, most: float = math.inf) -> float:
        """Seconds left, or `most`; raises where there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time of the whole request is up")
        return min(left, most)

    def check_size(self) -> None:
        """Raise where more has come than is wanted. Iterating the body ends in this way only:
        left in the middle, the generators of an async one would be cleaned up too late."""
        if len(self.body) > LONGEST_ANSWER:
            raise TooLong

    def take(self, data: bytes) -> bytes:
        """Note that something came, or that the other end closed the connection."""
        if data:
            self.received = True
        else:
            self.closed = True
        return data

    def open(self, response: httpcore.Response) -> None:
        """Note the head of the answer.

        Where nothing was read since the request was sent, it is left over from the answer before
        on a kept connection, and not to this request.
        """
        if not self.received:
            self.received = True
            raise httpcore.RemoteProtocolError("an answer before its request")
        self.response = response

    def add(self, chunk: bytes) -> None:
        """Note a piece of the body, unless there were too many before it. The pieces are not kept
        one by one: a server may send them a byte long."""
        if len(self.body) <= LONGEST_ANSWER:
            self.body += chunk

    def unveil(self, data: bytes, own: tuple[Secret, ...]) -> bytes:
        """Take credentials out of the head of an answer, with which `data` begins: the value of the
        veiled header, echoes of the request's, and those of the connection's `own`."""
        self.has_head = True
        end = _head_end(data) or len(data)
        head = data[:end].decode("latin-1")
        if self.veil is not None and (found := self.veil.search(head)):
            self.veiled = Secret(found[1])
            head = f"{head[: found.start(1)]}-{head[found.end(1) :]}"
        for secret in (*self.secrets, *own):
            if len(secret.reveal()) >= SHORTEST_ECHO:
                head = secret.erased(head)
        return head.encode("latin-1", "replace") + data[end:]


@functools.cache
def _veil(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?im)^{re.escape(name)}[ \t]*:[ \t]*([^\r\n]+?)[ \t]*\r?$")


_BLANK_LINE = re.compile(rb"\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d\b")


def _head_end(data: bytes) -> int:
    """Where the head of an answer ends, after those of interim answers; 0 where it does not yet."""
    begin = 0
    while end := _BLANK_LINE.search(data, begin):
        if not _INTERIM.match(data, begin):
            return end.end()
        begin = end.end()
    return 0


def lacks_head(data: bytes) -> bool:
    """Whether `data` begins like an answer, and its head may yet come."""
    begins = data[:7] == b"HTTP/1."[: len(data)]
    return begins and len(data) < _LONGEST_HEAD and not _head_end(data)


def to_connect(timeout: float | None) -> float | None:
    """Seconds left to connect, or for TLS; the answer's head comes after it, not a proxy's."""
    if not isinstance(timeout, Limit):
        return timeout
    timeout.has_head = not timeout.reads_heads
    return timeout.left(CONNECT_TIMEOUT)
