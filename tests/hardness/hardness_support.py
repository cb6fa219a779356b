"""What the tests of this folder share: servers, clients, forks, interrupts, finding secrets."""

from __future__ import annotations

import asyncio
import concurrent.futures._base
import contextlib
import dis
import fcntl
import functools
import json
import os
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import termios
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple, Self

import anyio
import anyio.from_thread
import trustme
from counts import LONG_RUN
from hardness_server import TOKEN_WORD

import opwatch
from opwatch import (
    AkSk,
    Apig,
    AsyncApig,
    AsyncCatenis,
    AsyncITwin,
    Catenis,
    ClientCredentials,
    ITwin,
    Progress,
)

HERE = str(Path(__file__).parent)
SOURCE = str(Path(opwatch.__file__).parent)
MODES = ("sync", "asyncio", "trio")
ASYNC_MODES = ("asyncio", "trio")


def times(usual: int) -> int:
    """How many random attempts a test makes in this run."""
    return LONG_RUN or usual


# --- clients --------------------------------------------------------------------------------------

CLIENT_SECRET = "ApricotSecretOfTheClient"
API_ACCESS_SECRET = "CranberrySecretOfTheDevice"
SECRET_KEY = "DamsonSecretOfTheKeys"
TOKEN = "ElderberryTokenOfTheUser"
SECRETS = re.compile(
    f"{CLIENT_SECRET[:13]}|{TOKEN_WORD[:14]}|{API_ACCESS_SECRET[:15]}|{SECRET_KEY[:12]}"
    f"|{TOKEN[:15]}|Signature=[0-9a-f]{{20}}"
)
"""The beginning of each: a secret that was cut off is one too."""


class Kind(NamedTuple):
    """One way of authenticating with one service."""

    name: str
    blocking: Callable[..., Any]
    asynchronous: Callable[..., Any]
    number: Callable[[Progress[Any]], float | None]
    """The number of the job's ID, as the client reports it."""


def _itwin(kind: Any) -> Callable[..., Any]:
    def make(url: str, **options: Any) -> Any:
        auth = ClientCredentials("a-client", CLIENT_SECRET, token_url=f"{url}/token")
        return kind(auth, base_url=url, **options)

    return make


def _catenis(kind: Any) -> Callable[..., Any]:
    def make(url: str, **options: Any) -> Any:
        return kind("made0up0device0id000", API_ACCESS_SECRET, base_url=f"{url}/api", **options)

    return make


def _apig(kind: Any) -> Callable[..., Any]:
    def make(url: str, **options: Any) -> Any:
        return kind(url, AkSk("an-access-key", SECRET_KEY), project_id="a-project", **options)

    return make


ITWIN = Kind("itwin", _itwin(ITwin), _itwin(AsyncITwin), lambda progress: progress.percent)
CATENIS = Kind(
    "catenis", _catenis(Catenis), _catenis(AsyncCatenis), lambda progress: progress.bytes_processed
)
APIG = Kind("apig", _apig(Apig), _apig(AsyncApig), lambda progress: progress.percent)
KINDS = (ITWIN, CATENIS, APIG)


class Asker:
    """One iTwin client with a token, blocking or on an event loop of its own, called alike."""

    def __init__(self, call: Callable[..., Any], start: Callable[..., Future[Any]]) -> None:
        self._call = call
        self._start = start

    def ask(self, job_id: str) -> Progress[Any]:
        progress: Progress[Any] = self._call(job_id)
        return progress

    def together(self, job_ids: Iterable[str]) -> list[Progress[Any]]:
        return [future.result(30) for future in [self._start(job_id) for job_id in job_ids]]


@contextmanager
def asking(mode: str, url: str, **options: Any) -> Iterator[Asker]:
    """An open client of the server at `url`."""
    if mode == "sync":
        with ITwin(TOKEN, base_url=url, **options) as client, ThreadPoolExecutor(16) as pool:
            yield Asker(client.progress, lambda job_id: pool.submit(client.progress, job_id))
        return
    alike = AsyncITwin(TOKEN, base_url=url, **options)
    with anyio.from_thread.start_blocking_portal(mode) as portal:
        try:
            yield Asker(
                lambda job_id: portal.call(alike.progress, job_id),
                lambda job_id: portal.start_task_soon(alike.progress, job_id),
            )
        finally:
            portal.call(alike.aclose)


# --- servers --------------------------------------------------------------------------------------


class Service:
    """A `hardness_server.Server` in a process of its own."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self._process = process
        self._lock = threading.Lock()

    def _do(self, *command: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with self._lock:
            stdin.write(json.dumps(command) + "\n")
            stdin.flush()
            return json.loads(stdout.readline())

    def stats(self) -> Any:
        return self._do("stats")

    def forget(self) -> Any:
        """Forget the requests so far."""
        return self._do("forget")

    def release(self) -> None:
        """Answer the requests that are held."""
        self._do("release")

    def wait_for(self, what: str, count: int = 1) -> None:
        """Return once so many requests with `what` in their first line have come."""
        assert self._do("wait_for", what, count, 20), f"no {count} requests for {what} came"

    def wait_until_open(self, most: int) -> None:
        """Return once no more than so many connections are open."""
        done = self._do("wait_until_open", most, 5)
        assert done, f"{self.stats()['open']} connections stay open, {most} may"

    def count(self, what: str) -> int:
        return sum(what in line for _, line in self.stats()["requests"])

    def connections_for(self, what: str) -> set[int]:
        return {number for number, line in self.stats()["requests"] if what in line}


@contextmanager
def service(*, tls: bool = False, host: str = "127.0.0.1", **settings: Any) -> Iterator[Service]:
    settings |= {"host": host, "certificate": certificate_file() if tls else None}
    path = str(Path(HERE) / "hardness_server.py")
    with subprocess.Popen(
        [sys.executable, "-S", "-E", path, json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the interrupts of a test are not for it
    ) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            named = f"[{host}]" if ":" in host else host
            yield Service(f"{'https' if tls else 'http'}://{named}:{port}", process)
        finally:
            process.kill()


class Peer:
    """The server's end of one connection to a `Playing`."""

    def __init__(self, sock: socket.socket, number: int, server: Playing) -> None:
        self.sock = sock
        self.number = number
        self._server = server
        self._rest = b""

    def request(self) -> bytes | None:
        """The head of the next request without a body; None once the client has hung up."""
        while b"\r\n\r\n" not in self._rest:
            if not (data := self.sock.recv(65536)):
                return None
            self._rest += data
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        self._server.requests.append((self.number, head))
        return head


class Playing:
    """Listens on loopback and runs `play` for each connection, in a thread each."""

    def __init__(
        self,
        play: Callable[[Peer], None],
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._play = play
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'http' if tls is None else 'https'}://{host}:{self.port}"
        self.requests: list[tuple[int, bytes]] = []
        self.connections = 0
        self.ended = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            self._sockets.append(sock)
            if self.ended.is_set():
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = self.connections
            self.connections += 1  # before it is served, or a quick client would see too few
            self._start(self._serve, sock, number)

    def _serve(self, sock: socket.socket, number: int) -> None:
        with suppress(OSError):  # the client hung up, or the test is over
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            self._play(Peer(sock, number, self))
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        self.ended.set()
        _dial(self._listener.getsockname()[:2]).close()  # wakes the thread that accepts
        self._threads[0].join(30)
        for sock in (*self._sockets, self._listener):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
            sock.close()
        for thread in self._threads:
            thread.join(30)


_connect = socket.socket.connect


def _dial(address: tuple[str, int]) -> socket.socket:
    """A connection to loopback, whatever a test has made of `socket`."""
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    _connect(sock, address)
    return sock


class Relay:
    """Stands before a server; on command, what was connected is connected no longer, silently.

    A connection that was dropped stays open and takes what the client sends, as the buffers of a
    network do; nothing is passed on. With `tunnel` it is a proxy, which reads a `CONNECT` first and
    always leads to the same server.
    """

    def __init__(self, port: int, *, tunnel: bool = False) -> None:
        self._upstream = port
        self._tunnel = tunnel
        self._dropped: set[int] = set()
        self._playing = Playing(self._play)
        self.url = self._playing.url

    @property
    def connections(self) -> int:
        return self._playing.connections

    @property
    def connects(self) -> list[str]:
        """What it was asked to connect to."""
        heads = [head for _, head in self._playing.requests]
        return [head.split()[1].decode() for head in heads if head.startswith(b"CONNECT")]

    def drop(self) -> None:
        self._dropped |= set(range(self._playing.connections))

    def _play(self, peer: Peer) -> None:
        if self._tunnel:
            if not peer.request():
                return
            peer.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with _dial(("127.0.0.1", self._upstream)) as upstream:
            ends = {peer.sock: upstream, upstream: peer.sock}
            while not self._playing.ended.is_set():
                readable, _, _ = select.select([*ends], [], [], 0.2)
                for end in readable:
                    if not (data := end.recv(65536)):
                        return
                    if peer.number not in self._dropped:
                        ends[end].sendall(data)

    def __enter__(self) -> Self:
        self._playing.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._playing.__exit__(*raised)


def running(number: int = 37, extra: bytes = b"") -> bytes:
    """An iTwin job that is at `number`, as JSON."""
    return b'{"jobProgress":{"percentage":%d,"state":"Active","step":"s"%s}}' % (number, extra)


def http(body: bytes, *headers: bytes) -> bytes:
    """A complete answer."""
    head = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*head, b"", body])


@contextmanager
def nobody() -> Iterator[int]:
    """A port of loopback that is taken and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# --- certificates ---------------------------------------------------------------------------------

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def trusting() -> ssl.SSLContext:
    """For a client that trusts our authority and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


@functools.cache
def serving(*names: str) -> ssl.SSLContext:
    """For a server with these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(*(names or LOOPBACK)).configure_cert(context)
    return context


@functools.cache
def _certificate() -> bytes:
    return authority().issue_cert(*LOOPBACK).private_key_and_cert_chain_pem.bytes()


@functools.cache
def _folder() -> Path:
    import atexit
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="opwatch-hardness-"))
    mine = os.getpid()
    atexit.register(lambda: os.getpid() == mine and shutil.rmtree(folder, ignore_errors=True))
    return folder


@functools.cache
def certificate_file() -> str:
    """For a server in another process."""
    path = _folder() / "server.pem"
    path.write_bytes(_certificate())
    return str(path)


@functools.cache
def authority_file() -> str:
    path = _folder() / "authority.pem"
    authority().cert_pem.write_to_path(str(path))
    return str(path)


# --- secrets --------------------------------------------------------------------------------------


def leaks(error: BaseException) -> list[str]:
    """Where a secret stands in an error: in its texts, or in the locals of a frame of any error
    that it came from. Frames of this folder's own are left out."""
    found, seen, waiting = [], set(), [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kind = type(one).__name__
        shown = [str(one), repr(one), repr(getattr(one, "__notes__", ""))]
        if any(map(SECRETS.search, shown)):
            found.append(f"the text of {kind}")
        for frame, line in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename.startswith(HERE):
                continue
            where = f"{Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
            found += [
                f"{name} in {where} under {kind}"
                for name, value in frame.f_locals.items()
                if any(map(SECRETS.search, _texts(value)))
            ]
        inner: Iterable[BaseException] = getattr(one, "exceptions", ())
        waiting += [more for more in (one.__cause__, one.__context__, *inner) if more]
    return found


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """What a value shows, and what is in it."""
    if isinstance(value, memoryview):
        with suppress(ValueError):  # it was released
            value = value.tobytes()
    try:
        yield repr(value)
    except Exception:  # somebody else's half-made object
        return
    if depth > 5:
        return
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        for one in [*value]:
            yield from _texts(one, depth + 1)


# --- forks ----------------------------------------------------------------------------------------


class Child:
    """A fork of this process that runs one function and ends without any ceremony."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.write(writer, json.dumps(_outcome(function)).encode())
            finally:
                os._exit(0)
        os.close(writer)

    def result(self, seconds: float = 20.0) -> Any:
        """What the function returned; fails if it raised, or has not ended in time."""
        data, end = b"", time.monotonic() + seconds
        try:
            while select.select([self._reader], [], [], max(0.0, end - time.monotonic()))[0]:
                if not (piece := os.read(self._reader, 65536)):
                    break
                data += piece
            else:
                raise AssertionError(f"the child hangs: it has not ended within {seconds:g} s")
        finally:
            os.close(self._reader)
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        returned, value = json.loads(data)
        assert returned, f"the child raised {value}"
        return value


def _outcome(function: Callable[[], Any]) -> tuple[bool, Any]:
    try:
        return True, function()
    except BaseException as error:
        return False, f"{type(error).__name__}: {error}"


# --- interrupts -----------------------------------------------------------------------------------


class Hang(BaseException):
    """A call of the main thread took far longer than it may."""


class Watchdog:
    """Raises `Hang` in the main thread when a deadline has passed, wherever it is."""

    def __init__(self) -> None:
        self._end: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        self._end = time.monotonic() + seconds
        try:
            yield
        finally:
            self._end = None

    def _watch(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while not self._over.wait(0.1):
            end = self._end
            if end is not None and time.monotonic() > end:
                signal.pthread_kill(main, signal.SIGUSR1)

    def _bark(self, number: int, frame: FrameType | None) -> None:
        if self._end is not None:
            raise Hang

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGUSR1, self._bark)
        self._thread.start()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._over.set()
        self._thread.join()
        signal.signal(signal.SIGUSR1, self._before)


class Interrupter:
    """Another process, which sends this one SIGINT when it is told to.

    A thread would do it too, but only where the interpreter lets it run: mostly right after a
    system call of the main thread.
    """

    _LATENCY = 0.0001
    """Seconds that the other process takes to wake up."""
    _PROGRAM = """
import os, signal, sys, time
for line in sys.stdin:
    time.sleep(float(line))
    os.kill(int(sys.argv[1]), signal.SIGINT)
    os.write(1, b".")
"""

    def __init__(self) -> None:
        self._sent = 0
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", self._PROGRAM, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._commands = self._process.stdin.fileno()
        self._done = self._process.stdout.fileno()

    def arm(self, delay: float) -> None:
        """Have one SIGINT sent `delay` seconds after this returns, more or less."""
        self._sent += 1
        ready = time.perf_counter() + self._LATENCY
        os.write(self._commands, b"%.7f\n" % delay)
        while time.perf_counter() < ready:
            pass

    def settle(self) -> None:
        """Return once every SIGINT that was asked for has been sent; raises what it raises."""
        end = time.monotonic() + 10
        while self._count() < self._sent:
            assert time.monotonic() < end, "no signal was sent"
            select.select([], [], [], 0.0002)
        for _ in range(1000):  # where the interpreter looks for signals
            pass

    def _count(self) -> int:
        """A byte a signal; none is taken out of the pipe: an interrupt could come in between."""
        raw = fcntl.ioctl(self._done, termios.FIONREAD, b"\0" * 4)
        count: int = struct.unpack("i", raw)[0]
        return count

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, signal.default_int_handler)
        return self

    def __exit__(self, *raised: Any) -> None:
        self._process.kill()
        self._process.communicate()
        signal.signal(signal.SIGINT, self._before)


EVERY_INSTRUCTION = bool(os.environ.get("OPWATCH_EVERY_INSTRUCTION"))
"""Inject before each instruction, not only where CPython itself may raise."""
_TRACED = (
    SOURCE,
    *(str(module.__file__) for module in (threading, contextlib, concurrent.futures._base)),
)


class Injector:
    """Raises `kind` at place number `at` of a call; 0 only counts the places.

    A place is where CPython may raise what the code did not: at the start of a function, after a
    call, where a loop jumps back. There it looks for signals. Nothing can be raised, for example,
    between the end of a `with` block and the call of its `__exit__`, and no code could cope with
    it. Traced are the frames of opwatch, and of the standard library's locks and context managers,
    which are Python too.
    """

    def __init__(self, at: int = 0, kind: type[BaseException] = KeyboardInterrupt) -> None:
        self.count = 0
        self.where = "nowhere"
        self._at = at
        self._kind = kind

    def run(self, call: Callable[[], Any]) -> Any:
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            return call()
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_TRACED):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self._place(frame)
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode" and (EVERY_INSTRUCTION or frame.f_lasti in _places(frame.f_code)):
            self._place(frame)
        return self._step

    def _place(self, frame: FrameType) -> None:
        self.count += 1
        if self.count == self._at:
            path = Path(frame.f_code.co_filename)
            name = f"{path.parent.name}/{path.name}:{frame.f_lineno}"
            self.where = f"{name} {frame.f_code.co_name} (place {self._at})"
            raise self._kind("injected")


@functools.cache
def _places(code: CodeType) -> frozenset[int]:
    """The offsets of the instructions after a call, and of the jumps back."""
    found, after_call = set(), False
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if after_call or name == "JUMP_BACKWARD":
            found.add(instruction.offset)
        after_call = name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX")
    return frozenset(found)


def in_one(backend: str, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine function on an event loop of its own; asyncio's also in a forked child, whose
    parent is in one (anyio would refuse that)."""
    if backend == "asyncio":
        return asyncio.run(function())
    return anyio.run(function, backend=backend)
