"""A wait outlives its process: if the process is killed at any poll, the next one continues.

The processes are real, and so is the service, on loopback. It notes when it is asked; nothing here
waits but for a line of a process or for a request.
"""

import itertools
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0
"""Seconds after which a test has hung."""
ROUNDING = 1e-6
SAME = 0.25
"""Seconds within which two deadlines are one: a busy machine reads its two clocks one by one. A
deadline that began anew with each process would move by the delays between them, 0.3 in all."""


class Service(ThreadingHTTPServer):
    """A job by script. What is in `held` is not answered before `let_go`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answers: list[dict[str, Any]], held: frozenset[int] = frozenset()) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.held = held
        self.let_go = threading.Event()
        self.arrived: queue.Queue[int] = queue.Queue()
        self.asked: list[float] = []
        """When, on the wall clock."""
        self.answered = 0
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            n = len(server.asked)
            server.asked.append(time.time())
        server.arrived.put(n)
        if n in server.held:
            server.let_go.wait(PATIENCE)
            return
        with server.lock:
            answer = server.answers[min(server.answered, len(server.answers) - 1)]
            server.answered += 1
        body = json.dumps({"jobProgress": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


ACTIVE = [{"state": "Active", "percentage": n} for n in (1, 1, 2, 2)]
RUNGS = [0.05, 0.1, 0.05, 0.1]
"""The least seconds after each of `ACTIVE`: the third one restarts the schedule."""
SUCCESS = {"state": "success", "percentage": 100}


@pytest.fixture
def serve() -> Iterator[Any]:
    """Starts services, and stops them in the end."""
    services = []

    def start(answers: list[dict[str, Any]], held: frozenset[int] = frozenset()) -> Service:
        service = Service(answers, held)
        services.append((service, threading.Thread(target=service.serve_forever, args=(0.01,))))
        services[-1][1].start()
        return service

    yield start
    for service, thread in services:
        service.let_go.set()
        service.shutdown()
        thread.join(PATIENCE)
        service.server_close()


class Process:
    """`stepping_process.py`, and what it said."""

    def __init__(self, service: Service, file: Path, timeout: float = PATIENCE * 10) -> None:
        program = Path(__file__).with_name("stepping_process.py")
        self._process = subprocess.Popen(
            [sys.executable, program, service.address, file, str(timeout)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin_turn(self) -> None:
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def turn(self) -> dict[str, Any]:
        """What the next turn said that asked; one that came too early is passed over."""
        while True:
            self.begin_turn()
            said: dict[str, Any] = json.loads(self._process.stdout.readline())
            if said["end"] or said["seen"]:
                return said

    def kill(self) -> None:
        """SIGKILL: nothing of it is left to tidy up."""
        self._process.kill()
        self._process.communicate(timeout=PATIENCE)


@pytest.fixture
def processes(serve: Any, tmp_path: Path) -> Iterator[Any]:
    """Begins processes that are ready before they are needed; what is left of them is killed."""
    begun: list[Process] = []

    def begin(service: Service, n: int, **how: Any) -> list[Process]:
        begun.extend(Process(service, tmp_path / "token", **how) for _ in range(n))
        return begun

    yield begin
    for process in begun:
        process.kill()


def deadline(turn: dict[str, Any]) -> float:
    return json.loads(turn["token"])["deadline"]


def due(turn: dict[str, Any]) -> float:
    return json.loads(turn["token"])["due"]


def spread(times: list[float]) -> float:
    return max(times) - min(times)


def waited(service: Service) -> list[float]:
    return [after - before for before, after in itertools.pairwise(service.asked)]


def test_each_process_makes_one_poll_and_is_killed_and_the_wait_ends_as_it_would(serve, processes):
    """Five processes for five polls: each as late as the schedule says, the end is the job's."""
    service, said = serve([*ACTIVE, SUCCESS]), []
    for process in processes(service, 5):
        said.append(process.turn())
        process.kill()
    assert [turn["end"] for turn in said] == [None] * 4 + ["succeeded"]
    assert len(service.asked) == 5
    assert all(wait >= rung for wait, rung in zip(waited(service), RUNGS, strict=True))
    assert spread([deadline(turn) for turn in said]) <= SAME
    for turn, asked in zip(said, service.asked[1:], strict=False):
        assert asked >= due(turn) - ROUNDING


@pytest.mark.parametrize("poll", [1, 2, 3])
def test_a_process_killed_at_any_poll_is_gone_on_with_to_the_same_deadline(serve, processes, poll):
    """The job never ends: the wait times out, at its deadline, with one last poll made there."""
    service = serve([{"state": "Active", "percentage": n // 4} for n in range(60)])
    first, second = processes(service, 2, timeout=0.6)
    said = [first.turn()]
    while len(said) < poll and not said[-1]["end"]:  # on a very slow machine it may be over sooner
        said.append(first.turn())
    first.kill()
    while not said[-1]["end"]:
        said.append(second.turn())
    assert said[-1]["end"] == "WaitTimeout"
    assert spread([deadline(turn) for turn in said]) <= SAME
    assert service.asked[-1] >= deadline(said[0]) - SAME
    least = [0.05, 0.1, 0.2, 0.2] * len(service.asked)
    for wait, rung in zip(waited(service)[:-1], least, strict=False):
        assert wait >= rung


def test_a_process_killed_before_it_was_answered_is_gone_on_with(serve, processes):
    """Each poll is asked twice, the first time by a process that dies over it; no more is lost."""
    service, said = serve([*ACTIVE[:2], SUCCESS], held=frozenset({0, 2, 4})), []
    ready = processes(service, 6)
    for n in (0, 2, 4):
        dying, heir = ready[n : n + 2]
        for _ in range(5):  # the first ones may come too early: then it sleeps
            dying.begin_turn()
        assert service.arrived.get(timeout=PATIENCE) == n
        dying.kill()
        said.append(heir.turn())
        heir.kill()
        assert service.arrived.get(timeout=PATIENCE) == n + 1
    assert [turn["end"] for turn in said] == [None] * 2 + ["succeeded"]
    for turn, next_asked in zip(said, service.asked[2::2], strict=False):
        assert next_asked >= due(turn) - ROUNDING
    for rung, (before, after) in zip(RUNGS, itertools.pairwise(service.asked[1::2]), strict=False):
        assert after - before >= rung
    assert spread([deadline(turn) for turn in said]) <= SAME
