"""A server of made-up jobs on loopback, which says how its connections were used.

It is made of the standard library alone: it also runs as a process of its own, so that a test can
fork, trace and interrupt its own process without doing so to the server. The job's ID says what the
server answers: `running-37` is a running job at 37, `succeeded-100` one that has succeeded,
`slow-37` is answered after a while, `held-37` once the test lets it go, and `together4-37` once
four such requests are under way.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

TOKEN_WORD = "BlueberryTokenOfTheServer"
"""Every token that it issues begins with this."""
LONGEST_HOLD = 20.0

_JOB = re.compile(rb"/((running|succeeded|slow|held|together(\d))-(\d+))(/progress)?(?: |\?)")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_BEARER = re.compile(rb"(?i)\r\nauthorization: *bearer +(\S+)")


class Server:
    """Listens as soon as it is made; `serve` accepts until the process ends."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        certificate: str | None = None,
        token_delay: float = 0.0,
        token_uses: int = 0,
        answer_delay: float = 0.0,
    ) -> None:
        """`token_uses` is how many requests each token is good for; 0 for any number."""
        self._token_delay = token_delay
        self._token_uses = token_uses
        self._answer_delay = answer_delay
        self._tls: Any = None
        if certificate is not None:
            import ssl

            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._barriers: dict[int, threading.Barrier] = {}
        self._tokens: dict[bytes, int] = {}
        self._requests: list[tuple[int, str]] = []
        self._connections = 0
        self._open = 0
        self._most_open = 0

    def serve(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                number = self._connections
                self._connections += 1
                self._open += 1
                self._most_open = max(self._most_open, self._open)
                self._changed.notify_all()
            threading.Thread(target=self._connection, args=(sock, number), daemon=True).start()

    def do(self, command: list[Any]) -> Any:
        """What the test wants to know, or wants done."""
        match command:
            case ["stats"]:
                return self._stats()
            case ["forget"]:
                with self._changed:
                    self._requests.clear()
                    self._most_open = self._open
                return self._stats()
            case ["release"]:
                self._released.set()
                return None
            case ["wait_for", what, count, seconds]:
                with self._changed:
                    return self._changed.wait_for(lambda: self._count(what) >= count, seconds)
            case ["wait_until_open", most, seconds]:
                with self._changed:
                    return self._changed.wait_for(lambda: self._open <= most, seconds)
        raise ValueError(command)

    def _stats(self) -> dict[str, Any]:
        with self._changed:
            return {
                "connections": self._connections,
                "open": self._open,
                "most_open": self._most_open,
                "requests": list(self._requests),
            }

    def _count(self, what: str) -> int:
        return sum(what in line for _, line in self._requests)

    def _connection(self, sock: socket.socket, number: int) -> None:
        try:
            with suppress(OSError):  # the client hung up
                if self._tls is not None:
                    sock = self._tls.wrap_socket(sock, server_side=True)
                self._converse(sock, number)
        finally:
            sock.close()
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def _converse(self, sock: socket.socket, number: int) -> None:
        rest = b""
        while True:
            while b"\r\n\r\n" not in rest:
                if not (data := sock.recv(65536)):
                    return
                rest += data
            head, _, rest = rest.partition(b"\r\n\r\n")
            found = _LENGTH.search(head)
            length = int(found[1]) if found else 0
            while len(rest) < length:
                if not (data := sock.recv(65536)):
                    return
                rest += data
            rest = rest[length:]
            with self._changed:
                self._requests.append((number, head.split(b"\r\n", 1)[0].decode("latin-1")))
                self._changed.notify_all()
            sock.sendall(_answer(*self._reply(head)))

    def _reply(self, head: bytes) -> tuple[int, Any]:
        if head.startswith(b"POST"):
            if self._token_delay:
                threading.Event().wait(self._token_delay)
            with self._changed:
                token = f"{TOKEN_WORD}{len(self._tokens)}"
                self._tokens[token.encode()] = 0
            return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
        if self._is_used_up(head):
            return 401, {"error": {"code": "InvalidToken", "message": "The token has expired."}}
        found = _JOB.search(head.split(b"\r\n", 1)[0])
        if found is None:
            return 404, {"error": {"code": "ResourceNotFound", "message": "No such resource."}}
        job_id, kind, size, number, progress = found.groups()
        self._take_time(kind, int(size or 0))
        return 200, _job(head, job_id.decode(), kind == b"succeeded", int(number), bool(progress))

    def _is_used_up(self, head: bytes) -> bool:
        found = _BEARER.search(head)
        if found is None or not self._token_uses or found[1] not in self._tokens:
            return False
        with self._changed:
            self._tokens[found[1]] += 1
            return self._tokens[found[1]] > self._token_uses

    def _take_time(self, kind: bytes, size: int) -> None:
        if kind == b"slow":
            threading.Event().wait(self._answer_delay)
        elif kind == b"held":
            self._released.wait(LONGEST_HOLD)
        elif size:
            with self._changed:
                barrier = self._barriers.setdefault(size, threading.Barrier(size))
            with suppress(threading.BrokenBarrierError):
                barrier.wait(LONGEST_HOLD)


def _job(head: bytes, job_id: str, over: bool, number: int, progress: bool) -> dict[str, Any]:
    if b"/messages/" in head:
        told: dict[str, Any] = {"bytesProcessed": number, "done": over}
        if over:
            told |= {"success": True, "finishDate": "2019-03-13T14:09:10.121Z"}
        data: dict[str, Any] = {"action": "log", "progress": told}
        if over:
            data["result"] = {"messageId": "mt7ZYbBYpM3zcgAf3H8X"}
        return {"status": "success", "data": data}
    if b"/instances/" in head:
        status = "success" if over else "creating"
        times = {"start_time": 1597389901161, "end_time": 1597390224911}
        return {"progress": number, "status": status, **times}
    if progress:
        state = "Over" if over else "Active"
        return {"jobProgress": {"percentage": number, "state": state, "step": "Reconstruction"}}
    kind = {"name": "n", "type": "FillImageProperties"}
    return {"job": {"id": job_id, **kind, "state": "success" if over else "active"}}


def _answer(status: int, body: Any) -> bytes:
    raw = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}"
    return f"{head}\r\n\r\n".encode() + raw


def main() -> None:
    """Serve until standard input ends; each line of it is a command, answered by a line."""
    server = Server(**json.loads(sys.argv[1]))
    threading.Thread(target=server.serve, daemon=True).start()
    print(server.port, flush=True)
    for line in sys.stdin:
        print(json.dumps(server.do(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
