"""`os.fork()` while a client is in use: both processes continue and don't affect each other.

The server is another process, and each check of a child is bounded: a child that hangs is killed.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from counts import LONG_RUN
from hardness_interrupts import Child
from hardness_servers import authority_file, service, trusting
from hardness_support import ITWIN, TOKEN, in_one, times

from opwatch import AsyncITwin, ITwin
from opwatch.errors import OpwatchError

pytestmark = [
    pytest.mark.timeout(max(300, LONG_RUN)),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
]
POLLS = 200

Answers = dict[str, int]


def answers(client: ITwin, job_id: str, polls: int = POLLS) -> Answers:
    """How often which answer, or error, came of asking for one job."""
    found: Counter[str] = Counter()
    for _ in range(polls):
        try:
            found[_told(client.progress(job_id))] += 1
        except OpwatchError as error:
            found[f"{type(error).__name__}: {error}"] += 1
    return dict(found)


async def async_answers(client: AsyncITwin, job_id: str, polls: int) -> Answers:
    found: Counter[str] = Counter()
    for _ in range(polls):
        try:
            found[_told(await client.progress(job_id))] += 1
        except OpwatchError as error:
            found[f"{type(error).__name__}: {error}"] += 1
    return dict(found)


def _told(progress: Any) -> str:
    return f"{progress.job_id} {progress.phase} {progress.percent}"


RUNNING = "running-37 running 37.0"
SUCCEEDED = "succeeded-100 succeeded 100.0"


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_parent_and_child_get_their_own_answers(tls: bool) -> None:
    """After a fork, parent and child poll different jobs at the same time, and each gets only its
    own job's answers, on connections of its own."""
    context = trusting() if tls else None
    with (
        service(tls=tls) as server,
        ITwin(TOKEN, base_url=server.url, ssl_context=context, request_timeout=30) as client,
    ):
        assert answers(client, "running-37", 1) == {RUNNING: 1}
        child = Child(lambda: answers(client, "succeeded-100"))
        server.wait_for("succeeded-100")  # on which connection, it had the choice
        mine = answers(client, "running-37")
        theirs = child.result()
        connections = [server.connections_for(job) for job in ("running-37", "succeeded-100")]
    assert mine == {RUNNING: POLLS}
    assert theirs == {SUCCEEDED: POLLS}
    assert connections == [{0}, {1}]


def test_a_fork_during_a_token_request() -> None:
    """A child that was forked while another thread was fetching a token fetches one itself."""
    with (
        service(token_delay=0.7) as server,
        ITWIN.blocking(server.url, request_timeout=30) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(answers, client, "running-37", 1)
        server.wait_for("POST")
        child = Child(lambda: answers(client, "succeeded-100", 1))
        try:
            theirs = child.result()
        finally:
            mine = first.result(120)
        tokens = server.count("POST")
    assert mine == {RUNNING: 1}
    assert theirs == {SUCCEEDED: 1}
    assert tokens == 2


def test_a_fork_while_every_slot_is_taken() -> None:
    """A child that was forked while other threads had all of `max_in_flight` can send requests."""
    with (
        service() as server,
        ITwin(TOKEN, base_url=server.url, max_in_flight=2, request_timeout=30) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        held = [pool.submit(answers, client, "held-37", 1) for _ in range(2)]
        server.wait_for("held-37", 2)
        child = Child(lambda: answers(client, "succeeded-100", 1))
        try:
            theirs = child.result()
        finally:
            server.release()
            mine = [future.result(120) for future in held]
    assert mine == [{"held-37 running 37.0": 1}] * 2
    assert theirs == {SUCCEEDED: 1}


def test_forks_at_random_moments() -> None:
    """Whatever other threads are doing at the moment of a fork, the child's request is answered."""
    random, forks = Random(7), times(25)
    with (
        service(token_uses=500) as server,
        ITWIN.blocking(server.url, max_in_flight=2, request_timeout=30) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        over: list[bool] = []

        def poll() -> Answers:
            found: Counter[str] = Counter()
            while not over:
                found.update(answers(client, "running-37", 1))
            return dict(found)

        polling = [pool.submit(poll) for _ in range(4)]
        theirs = []
        try:
            for turn in range(forks):
                server.wait_for("running-37", turn * 10 + random.randrange(10))
                theirs.append(Child(lambda: answers(client, "succeeded-100", 1)).result())
        finally:
            over.append(True)
            mine = [future.result(120) for future in polling]
    assert [set(found) for found in mine] == [{RUNNING}] * 4
    assert theirs == [{SUCCEEDED: 1}] * forks


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_fork_inside_an_event_loop(tls: bool) -> None:
    """A child that was forked inside an event loop uses the same async client in a new one, and the
    parent's kept connection still works."""
    context = trusting() if tls else None
    with service(tls=tls) as server:
        client = AsyncITwin(TOKEN, base_url=server.url, ssl_context=context, request_timeout=30)

        async def in_the_child() -> Answers:
            async with client:
                return await async_answers(client, "succeeded-100", 50)

        async def main() -> tuple[Answers, Any, Answers]:
            async with client:
                await client.progress("running-37")
                child = Child(lambda: in_one("asyncio", in_the_child))
                server.wait_for("succeeded-100")
                mine = await async_answers(client, "running-37", 50)
                theirs = child.result()
                return mine, theirs, await async_answers(client, "running-37", 5)

        mine, theirs, later = in_one("asyncio", main)
        connections = [server.connections_for(job) for job in ("running-37", "succeeded-100")]
    assert mine == {RUNNING: 50}
    assert theirs == {SUCCEEDED: 50}
    assert later == {RUNNING: 5}
    assert connections == [{0}, {1}]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_fork_between_two_event_loops(backend: str) -> None:
    """An async client that was used before a fork works in a new event loop, in the parent and in
    the child."""
    with service() as server:
        client = AsyncITwin(TOKEN, base_url=server.url, request_timeout=30)

        def polls(job_id: str, count: int) -> Any:
            async def main() -> Answers:
                async with client:
                    return await async_answers(client, job_id, count)

            return in_one(backend, main)

        polls("running-37", 1)
        child = Child(lambda: polls("succeeded-100", 20))
        mine = polls("running-37", 20)
        theirs = child.result()
    assert mine == {RUNNING: 20}
    assert theirs == {SUCCEEDED: 20}


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("way", ["close", "drop"])
def test_a_child_that_closes_its_client(way: str, tls: bool) -> None:
    """A child that closes or drops the client does not end the parent's kept connection."""
    context = trusting() if tls else None
    with service(tls=tls) as server:
        clients = [ITwin(TOKEN, base_url=server.url, ssl_context=context, request_timeout=30)]
        answers(clients[0], "running-37", 1)

        def end() -> None:
            clients[0].close()
            if way == "drop":
                clients.clear()
                gc.collect()

        Child(end).result()
        again = answers(clients[0], "running-37", 3)
        connections = server.stats()["connections"]
        clients[0].close()
    assert again == {RUNNING: 3}
    assert connections == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_child_that_closes_its_async_client(backend: str) -> None:
    """A child that closes the async client in a new event loop does not end the parent's TLS
    session."""
    with service(tls=True) as server:
        client = AsyncITwin(TOKEN, base_url=server.url, ssl_context=trusting(), request_timeout=30)

        async def main() -> Answers:
            async with client:
                await client.progress("running-37")
                if backend == "asyncio":
                    Child(lambda: in_one("asyncio", client.aclose)).result()
                else:  # a child cannot leave trio's loop for another
                    Child(gc.collect).result()
                await anyio.lowlevel.checkpoint()
                return await async_answers(client, "running-37", 3)

        again = in_one(backend, main)
        connections = server.stats()["connections"]
    assert again == {RUNNING: 3}
    assert connections == 1


_SCRIPT = """
import os, sys
from opwatch import ITwin
client = ITwin("a-made-up-token", base_url=sys.argv[1], request_timeout=30)
client.progress("running-37")
if os.fork() == 0:
    sys.exit(0)
os.wait()
print(client.progress("running-38").percent)
"""


def test_a_child_that_exits() -> None:
    """A child that ends as any program does, and cleans up, does not end the parent's TLS
    session."""
    with service(tls=True) as server:
        ended = subprocess.run(
            [sys.executable, "-c", _SCRIPT, server.url],
            env=os.environ
            | {
                "SSL_CERT_FILE": authority_file(),
                "PYTHONPATH": os.pathsep.join([path for path in sys.path if Path(path).is_dir()]),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        connections = server.stats()["connections"]
    assert (ended.stdout, ended.stderr) == ("38.0\n", "")
    assert connections == 1
