"""A small HTTP server on loopback that keeps every byte it is sent, and checks of signatures.

It knows nothing about opwatch: signatures are checked from the bytes that were received, as each
service's documentation says.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote

import attrs

PATIENCE = 120.0
"""Seconds after which a test that waits for something on another thread has failed."""

# --- the server -----------------------------------------------------------------------------------


@attrs.frozen
class Request:
    """One request as it was received."""

    head: bytes
    body: bytes
    send: Callable[[bytes], object] = attrs.field(default=bytes, eq=False, repr=False)
    """Sends a piece of the response at once."""

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode("ascii")

    @property
    def target(self) -> str:
        return self.head.split(b"\r\n", 1)[0].split(b" ")[1].decode("ascii")

    @property
    def fields(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.fields if key == name.lower()]
        assert len(found) < 2, f"{name} came {len(found)} times"
        return found[0] if found else None


Handler = Callable[[Request], bytes | None]


def answer(
    status: int,
    body: Any = b"",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
) -> bytes:
    """Return a complete response; a `body` that isn't bytes is sent as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = [f"HTTP/1.1 {status} Answer", f"Content-Length: {len(raw)}"]
    lines += [f"{name}: {value}" for name, value in pairs]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + raw


class Loopback:
    """Answers each request with what `handler` returns; None closes the connection instead."""

    def __init__(
        self,
        handler: Handler,
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        tunnel: Handler | None = None,
    ) -> None:
        """With `tunnel`, be a proxy first, which answers `CONNECT` with what `tunnel` returns."""
        self.requests: list[Request] = []
        self.connections = 0
        self._handler = handler
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET

        class Server(socketserver.ThreadingTCPServer):
            address_family = family
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 256

        loopback = self

        class Conversation(socketserver.StreamRequestHandler):
            def setup(self) -> None:
                self.open = tunnel is None or loopback._tunnel(self.request, tunnel)
                if tls is not None and self.open:
                    self.request = tls.wrap_socket(self.request, server_side=True)
                super().setup()

            def handle(self) -> None:
                if self.open:
                    loopback._converse(self)

            def finish(self) -> None:
                super().finish()
                if tls is not None:
                    self.request.close()

        self._server = Server((host, 0), Conversation)
        self._scheme = "http" if tls is None else "https"
        self._host = f"[{host}]" if ":" in host else host
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self._host}:{self.port}"

    @property
    def count(self) -> int:
        with self._lock:
            return len(self.requests)

    def _tunnel(self, connection: socket.socket, tunnel: Handler) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (byte := connection.recv(1)):
                return False
            head += byte
        response = tunnel(Request(head, b"")) or b""
        connection.sendall(response)
        return response.startswith(b"HTTP/1.1 200")

    def _converse(self, connection: socketserver.StreamRequestHandler) -> None:
        with self._lock:
            self.connections += 1
        try:
            while (request := _read(connection)) is not None:
                with self._lock:
                    self.requests.append(request)
                response = self._handler(request)
                if response is None:
                    return
                connection.wfile.write(response)
        except OSError:
            return  # the client has gone, as some tests want

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)


def _read(connection: socketserver.StreamRequestHandler) -> Request | None:
    stream, head = connection.rfile, b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return None
        head += line
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    body = stream.read(int(length[1])) if length else b""
    return Request(head, body, connection.wfile.write)


# --- Catenis --------------------------------------------------------------------------------------

CTN1 = re.compile(
    r"CTN1-HMAC-SHA256 Credential=(\w{20})/(\d{8})/ctn1_request, Signature=([0-9a-f]{64})"
)


def ctn1_fault(request: Request, secret: str, now: datetime | None = None) -> str | None:
    """Return what Catenis finds wrong with a request at `now`; without it, dates aren't checked."""
    found = CTN1.fullmatch(request.header("authorization") or "")
    stamp = request.header("x-bcot-timestamp")
    if found is None or stamp is None:
        return "not signed"
    conformed = (
        f"{request.method}\n{request.target}\nhost:{request.header('host')}\n"
        f"x-bcot-timestamp:{stamp}\n\n{hashlib.sha256(request.body).hexdigest()}\n"
    )
    hashed = hashlib.sha256(conformed.encode()).hexdigest()
    to_sign = f"CTN1-HMAC-SHA256\n{stamp}\n{found[2]}/ctn1_request\n{hashed}\n"
    key = hmac.digest(b"CTN1" + secret.encode(), found[2].encode(), "sha256")
    key = hmac.digest(key, b"ctn1_request", "sha256")
    if hmac.digest(key, to_sign.encode(), "sha256").hex() != found[3]:
        return "signature"
    return None if now is None else ctn1_date_fault(stamp, found[2], now)


def ctn1_date_fault(stamp: str, day: str, now: datetime) -> str | None:
    """Return what Catenis finds wrong with the dates of a request.

    The timestamp must be within 300 s of its clock, and the sign date must be today (UTC) or one of
    the six days before.
    """
    timestamp = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs((timestamp - now).total_seconds()) > 300:
        return "timestamp"
    signed = date(int(day[:4]), int(day[4:6]), int(day[6:]))
    today = now.astimezone(UTC).date()
    return None if signed <= today < signed + timedelta(days=7) else "sign date"


# --- Open Telekom Cloud, Huawei Cloud -------------------------------------------------------------

AKSK = re.compile(
    r"SDK-HMAC-SHA256 Access=([^,]+), SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


def aksk_fault(request: Request, secret_key: str) -> str | None:
    """Return what the gateway finds wrong with a request's signature."""
    found = AKSK.fullmatch(request.header("authorization") or "")
    if found is None:
        return "not signed"
    names = found[2].split(";")
    if names != sorted(names) or not {"host", "x-sdk-date"} <= set(names):
        return "signed headers"
    path, _, query = request.target.partition("?")
    path = "/".join(quote(part, safe="~") for part in unquote(path).split("/"))
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    canonical = [
        request.method,
        path if path.endswith("/") else f"{path}/",
        "&".join(f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in pairs),
        *(f"{name}:{request.header(name)}" for name in names),
        "",
        found[2],
        hashlib.sha256(request.body).hexdigest(),
    ]
    hashed = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    to_sign = f"SDK-HMAC-SHA256\n{request.header('x-sdk-date')}\n{hashed}"
    good = hmac.digest(secret_key.encode(), to_sign.encode(), "sha256").hex()
    return None if good == found[3] else "signature"


# --- what the three services answer -------------------------------------------------------------

DEVICE = "made0up0device0id000"
API_SECRET = "made up api access secret"

CATENIS_RUNNING = {
    "status": "success",
    "data": {"action": "log", "progress": {"bytesProcessed": 1, "done": False}},
}
ITWIN_ACTIVE = {"jobProgress": {"percentage": 1, "state": "Active", "step": "a step"}}
ITWIN_OVER = {"jobProgress": {"percentage": 100, "state": "Over", "step": "a step"}}
APIG_CREATING = {"progress": 30, "status": "creating"}
