"""Catenis's notification server on loopback, as a test wants it: honest, broken, or lying.

It checks what a client sends as the real one does, by its source. A test holds each opened channel
and decides what is told on it. `told` returns when the client has read what was sent: the pong that
it owes says so.
"""

import json
import queue
import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Self

from wsproto import ConnectionType, WSConnection, events
from wsproto.utilities import LocalProtocolError

from opwatch.auth import ctn1

DEVICE_ID = "dLoopbackDevice00001"
SECRET = "a made-up api access secret"
PATH = "/api/0.7/notify/ws/final-msg-progress"
PROTOCOL = "notify.catenis.io"
OPEN = "NOTIFICATION_CHANNEL_OPEN"


class Opened:
    """The server's end of a channel."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.frames = WSConnection(ConnectionType.SERVER)
        self._came: list[Any] = []

    def next(self, kind: type[Any]) -> Any:
        """Return the next event of a kind, a message completely; None at the end of the stream."""
        text = ""
        while True:
            while self._came:
                if isinstance(event := self._came.pop(0), kind):
                    if not isinstance(event, events.TextMessage):
                        return event
                    text += event.data
                    if event.message_finished:
                        return events.TextMessage(text)
            data = self.sock.recv(65_536)
            if not data:
                return None
            self.frames.receive_data(data)
            self._came += self.frames.events()

    def send(self, *frames: events.Event) -> None:
        self.sock.sendall(b"".join(bytes(self.frames.send(frame)) for frame in frames))

    def told(self, *texts: str) -> None:
        """Send messages; return when the client has read them."""
        self.send(*(events.TextMessage(text) for text in texts), events.Ping(b"read?"))
        assert self.next(events.Pong).payload == b"read?"

    def event(self, job_id: str, **more: Any) -> None:
        """Tell the end of a job."""
        self.told(json.dumps({"ephemeralMessageId": job_id, "action": "log", **more}))

    def drop(self) -> None:
        """Close the connection without a word; return when the client has closed it too."""
        self.sock.shutdown(socket.SHUT_WR)
        while self.sock.recv(65_536):
            pass
        self.sock.close()


class ChannelServer:
    """Answers each attempt to open a channel by the next of `scripts`; the last one repeats.

    A script is "open", or what goes wrong (see `_answer`; "503 300" is a status and a
    `Retry-After`), or bytes that are sent instead of the confirmation. The channels that were
    opened are in `opened`, and what each attempt came to in `attempts`.
    """

    def __init__(self, *scripts: str | bytes, tls: ssl.SSLContext | None = None) -> None:
        self._scripts: list[str | bytes] = list(scripts or ["open"])
        self._tls = tls
        self.opened: queue.SimpleQueue[Opened] = queue.SimpleQueue()
        self.attempts: queue.SimpleQueue[str | bytes] = queue.SimpleQueue()
        self.requests: queue.SimpleQueue[events.Request] = queue.SimpleQueue()
        self.may_open = threading.Event()
        """What "open late" waits for."""
        self.hellos: list[dict[str, str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.host}/api/0.7"
        self._kept: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        self.may_open.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._kept:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join()

    def _start(self, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._kept.append(sock)
            script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            self._start(self._attempt, sock, script)

    def _attempt(self, sock: socket.socket, script: str | bytes) -> None:
        with suppress(OSError, LocalProtocolError):  # the test is over, or the client has left
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._kept.append(sock)
            channel = Opened(sock)
            if isinstance(script, bytes):
                self._answer(channel, "say")
                sock.sendall(script)
                sock.shutdown(socket.SHUT_WR)
            else:
                self._answer(channel, script)
        self.attempts.put(script)

    def _answer(self, channel: Opened, script: str) -> None:
        if script == "drop":
            channel.sock.close()
            return
        if script == "not HTTP":
            channel.sock.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
            return
        if (request := channel.next(events.Request)) is None:
            return
        if script[:3].isdecimal():
            status, _, pause = script.partition(" ")
            self._refuse(channel, int(status), {"Retry-After": pause} if pause else {})
            return
        self.requests.put(request)
        if script == "silent":
            channel.next(events.CloseConnection)
            return
        if script == "open after hints":
            channel.sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
            channel.sock.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
        assert (request.target, request.subprotocols) == (PATH, [PROTOCOL])
        assert request.host == self.host
        channel.send(
            events.AcceptConnection(subprotocol=None if script == "no subprotocol" else PROTOCOL)
        )
        if (hello := channel.next(events.TextMessage)) is None:
            return
        self.hellos.append(json.loads(hello.data))
        if script == "open late":
            self.may_open.wait()
        if script.startswith("open"):
            assert self._is_signed(self.hellos[-1])
            channel.send(events.TextMessage(OPEN))
            self.opened.put(channel)
            if script.startswith("open and ping"):
                if script == "open and ping":
                    self._start(self._drain, channel.sock)
                self._ping(channel)
        elif script == "never confirm":
            channel.next(events.CloseConnection)
        elif script == "close 1002":
            channel.send(events.CloseConnection(1002, f"no such device, {hello.data}"))
        elif script == "binary":
            channel.send(events.BytesMessage(OPEN.encode()), events.CloseConnection(1000))
        elif script == "bad frame":
            channel.sock.sendall(b"\xff\xff\xff\xff")
        elif script == "bad text":
            channel.sock.sendall(b"\x81\x02\xff\xfe")
        elif script == "pings":
            self._ping(channel)
        elif script == "endless":
            self._chatter(channel, "x" * 10_000)
        elif script == "endless nothing":
            self._chatter(channel, "")

    def _chatter(self, channel: Opened, text: str) -> None:
        while True:
            channel.send(*[events.TextMessage(text, message_finished=False)] * 100)

    def _ping(self, channel: Opened) -> None:
        while True:
            channel.send(*[events.Ping(b"again" * 20)] * 100)

    def _drain(self, sock: socket.socket) -> None:
        with suppress(OSError):
            while sock.recv(65_536):
                pass

    def _refuse(self, channel: Opened, status: int, headers: dict[str, str]) -> None:
        raw: Any = [(name.encode(), value.encode()) for name, value in headers.items()]
        channel.send(events.RejectConnection(status_code=status, headers=raw))
        channel.sock.close()

    def _is_signed(self, hello: dict[str, str]) -> bool:
        expected = ctn1.sign(
            method="GET",
            target=PATH,
            host=self.host,
            body=b"",
            device_id=DEVICE_ID,
            secret=SECRET,
            timestamp=datetime.strptime(hello["x-bcot-timestamp"], "%Y%m%dT%H%M%SZ").replace(
                tzinfo=UTC
            ),
        )
        return hello == {name.lower(): value for name, value in expected.items()}
