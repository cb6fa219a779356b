"""Interruptions of a blocking call: Ctrl-C, an interpreter error, the recursion limit. The client
works afterwards, and no traceback contains a credential.

After each disturbance the next call gets the right response within the time of a request. A call
that hangs is ended by a watchdog, and counts as a failure.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import pytest
from counts import LONG_RUN, counts
from hardness_interrupts import Handler, Hang, Injector, Interrupter, Watchdog
from hardness_servers import SOURCE, Service, service
from hardness_support import ASYNC_MODES, HERE, ITWIN, KINDS, Kind, in_one, leaks

from opwatch import ITwin
from opwatch.errors import OpwatchError
from opwatch.testing import FakeClock, Reply, Script, reply

pytestmark = [
    pytest.mark.timeout(max(300, LONG_RUN)),
    # Between a socket's creation and its first assignment nobody can close it but its finalizer;
    # and what is raised inside a finalizer is only reported.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # So is a coroutine that was interrupted before its first step; as an error, pytest keeps it.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]
REQUEST_TIMEOUT = 40.0  # only a call that hangs takes so long, on the slowest machine too
LONGEST_CALL = REQUEST_TIMEOUT + 1.0
MAX_IN_FLIGHT = 2
MOST_FAILURES = 5
"""So that a run with many hangs ends."""

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    with Watchdog() as watchdog:
        yield watchdog
    gc.collect()  # what is left behind is reported here, and not in another test


def make(kind: Kind, server: Service) -> Any:
    return kind.blocking(server.url, request_timeout=REQUEST_TIMEOUT, max_in_flight=MAX_IN_FLIGHT)


def next_call(kind: Kind, client: Any, watchdog: Watchdog, number: int) -> str | None:
    """What is wrong with the next answer, if anything."""
    began = time.monotonic()
    try:
        with watchdog.limit(LONGEST_CALL):
            told = kind.number(client.progress(f"running-{number}"))
    except Hang:
        return "the next call hangs"
    except Exception as error:
        return f"the next call raises {type(error).__name__}: {error}"
    if told != number:
        return f"the next call gets {told} instead of {number}"
    if time.monotonic() - began > REQUEST_TIMEOUT:
        return f"the next call takes {time.monotonic() - began:.1f} s"
    return None


def free_slots(kind: Kind, client: Any) -> list[Any]:
    """The answers to as many requests at the same time as the client may make: the server answers
    once it has all of them."""
    with ThreadPoolExecutor(MAX_IN_FLIGHT) as pool:
        calls = [
            pool.submit(client.progress, f"together{MAX_IN_FLIGHT}-{number}")
            for number in range(MAX_IN_FLIGHT)
        ]
        return [_told(kind, call) for call in calls]


def _told(kind: Kind, call: Future[Any]) -> float | str | None:
    try:
        return kind.number(call.result(60))
    except OpwatchError as error:
        return f"{type(error).__name__}: {error}"


# --- signals --------------------------------------------------------------------------------------


def interrupted(call: Callable[[], Any], interrupter: Interrupter, delay: float) -> list[str]:
    """Call, with one SIGINT after `delay` seconds: "inside" if it was raised inside, and whatever
    should not have been. No exception outlives this function."""
    found = []
    try:
        try:
            interrupter.arm(delay)
            call()
        except OpwatchError as error:
            found += leaks(error)
        except Hang:
            found.append("it hangs")
        except Exception as error:
            found.append(f"it raises {type(error).__name__}: {error}")
        interrupter.settle()
    except KeyboardInterrupt as error:
        found += leaks(error)
        frames, names = error.__traceback__, []
        while frames is not None:
            names.append(frames.tb_frame.f_code.co_filename)
            frames = frames.tb_next
        if any(not name.startswith(HERE) for name in names):
            found.append("inside")
    return found


@counts(60, 700)
@every_kind
def test_interrupts_at_random_moments(kind: Kind, count: int, watchdog: Watchdog) -> None:
    """Ctrl-C at any moment of `progress()` raises `KeyboardInterrupt` without a credential in its
    traceback; the next call works, and no slot is lost."""
    random, problems, inside = Random(kind.name), [], 0
    with (
        service(token_uses=3) as server,
        make(kind, server) as client,
        Interrupter() as interrupter,
    ):
        usual = []
        for _ in range(30):
            began = time.perf_counter()
            client.progress("running-1")
            usual.append(time.perf_counter() - began)
        for number in itertools.count():
            # On a slow machine, many interrupts come when the call is over.
            if number >= count and inside > count / 10:
                break
            delay = random.uniform(0, statistics.median(usual[5:]))
            with watchdog.limit(LONGEST_CALL):
                found = interrupted(lambda: client.progress("running-5"), interrupter, delay)
            inside += "inside" in found
            problems += [problem for problem in found if problem != "inside"]
            wrong = next_call(kind, client, watchdog, 10 + number % 80)
            if wrong is not None:
                problems.append(wrong)
            if len(problems) >= MOST_FAILURES:
                break
        assert not problems, "\n".join(problems)
        assert free_slots(kind, client) == [0, 1]
        gc.collect()
        server.wait_until_open(MAX_IN_FLIGHT)


# --- every place ----------------------------------------------------------------------------------


def disturbed(
    kind: Kind, client: Any, injector: Injector, raised: type[BaseException]
) -> list[str]:
    """What is wrong with how a call ended in which `raised` was raised."""
    try:
        told = injector.run(lambda: kind.number(client.progress("running-5")))
    except Hang:
        return ["it hangs"]
    except (raised, OpwatchError) as error:
        return leaks(error)
    except BaseException as error:
        return [f"it raises {type(error).__name__}: {error}"]
    return [] if told == 5 else [f"it gets {told}"]


RAISED = (KeyboardInterrupt, RuntimeError, MemoryError, RecursionError)
every_error = pytest.mark.parametrize("error", RAISED, ids=lambda error: error.__name__)


def places(seen: int, count: int) -> range:
    """Those to try: all of them in a long run, else no more than so many, evenly spread."""
    return range(1, seen + 1, 1 if LONG_RUN else -(-seen // count))


@counts(25, 400)
@every_error
@every_kind
def test_an_error_at_any_place(
    kind: Kind, error: type[BaseException], count: int, watchdog: Watchdog
) -> None:
    """Whatever is raised at any place of a call on a kept connection, the next call on the same
    client works, and no traceback holds a credential."""
    problems = []
    with service() as server:
        client = make(kind, server)
        client.progress("running-1")
        counting = Injector()
        for _ in range(2):  # CPython 3.12 traces little of what is traced for the first time
            counting = Injector()
            counting.run(lambda: client.progress("running-1"))
        for at in places(counting.count, count):
            injector = Injector(at, error)
            with watchdog.limit(LONGEST_CALL):
                found = disturbed(kind, client, injector, error)
            wrong = next_call(kind, client, watchdog, 10 + at % 80)
            if wrong is not None:
                found.append(wrong)
                client.close()
                client = make(kind, server)  # the others are tried with one that works
                client.progress("running-1")
            problems += [f"{injector.where}: {problem}" for problem in found]
            if len(problems) >= MOST_FAILURES:
                break
        else:
            slots = free_slots(kind, client)
            assert slots == [0, 1]
            client.close()
            gc.collect()
            server.wait_until_open(0)
        client.close()
    assert counting.count > 50, "hardly any place was seen: this tested nothing"
    assert not problems, "\n".join(problems)


@counts(25, 400)
@every_error
def test_an_error_at_any_place_of_a_first_call(
    error: type[BaseException], count: int, watchdog: Watchdog
) -> None:
    """The same holds for a client's first call, which has to fetch a token and to connect."""
    problems = []
    with service() as server:
        counting = Injector()
        for _ in range(2):  # what is done, or traced, for the first time is not counted
            counting = Injector()
            with make(ITWIN, server) as client:
                counting.run(lambda: client.progress("running-1"))
        for at in places(counting.count, count):
            injector = Injector(at, error)
            with make(ITWIN, server) as client:
                with watchdog.limit(LONGEST_CALL):
                    found = disturbed(ITWIN, client, injector, error)
                wrong = next_call(ITWIN, client, watchdog, 10 + at % 80)
            found += [wrong] if wrong is not None else []
            problems += [f"{injector.where}: {problem}" for problem in found]
            if len(problems) >= MOST_FAILURES:
                break
        else:
            gc.collect()
            server.wait_until_open(0)
    assert counting.count > 100, "hardly any place was seen: this tested nothing"
    assert not problems, "\n".join(problems)


def interrupted_turn(injector: Injector) -> tuple[set[str], float]:
    """How the jobs of a `watch_many` ended whose first turn was interrupted, and the shortest time
    between two polls of a job."""
    asked: Counter[str] = Counter()

    def answer(request: Any) -> Reply:
        asked[request.target] += 1
        state = "Active" if asked[request.target] < 3 else "success"
        return reply(200, {"jobProgress": {"state": state, "percentage": 0}})

    with FakeClock(), Script(answer) as script, ITwin("a made-up token") as client:
        many = client.watch_many(["a", "b"], timeout=None)
        with suppress(KeyboardInterrupt):
            injector.run(lambda: next(many))
        list(many)
    sent = [[one.time for one in script.sent if one.target == target] for target in asked]
    gaps = [later - time for times in sent for time, later in itertools.pairwise(times)]
    return {f"{name} {last.phase}" for name, last in many.last.items()}, min(gaps)


def test_an_interrupt_at_any_place_of_a_turn_loses_no_job() -> None:
    """Whoever goes on with the iterator gets to the end of each job, and polls none too early."""
    interrupted_turn(Injector())  # what is done, or traced, for the first time is not counted
    counting = Injector()
    interrupted_turn(counting)
    assert counting.count > 100, "hardly any place was seen: this tested nothing"
    problems = []
    for at in range(1, counting.count + 1):
        injector = Injector(at)
        ends, gap = interrupted_turn(injector)
        if ends != {"a succeeded", "b succeeded"} or gap < 15:
            problems.append(f"{injector.where}: {sorted(ends)}, {gap:g} s")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("backend", ASYNC_MODES)
def test_an_interrupt_at_any_place_of_an_async_call(backend: str) -> None:
    """The next call on the same client and event loop works, and nothing is left of the other."""
    problems = []

    async def main() -> int:
        client = ITWIN.asynchronous(server.url, request_timeout=REQUEST_TIMEOUT, max_in_flight=1)
        call = partial(client.progress, "running-1")
        await call()
        counting = Injector(traced=(SOURCE,))
        for _ in range(2):  # CPython 3.12 traces little of what is traced for the first time
            counting = Injector(traced=(SOURCE,))
            await counting.run_async(call)
        for at in range(1, counting.count + 1):
            injector = Injector(at, traced=(SOURCE,))
            with suppress(KeyboardInterrupt):
                await injector.run_async(call)
            try:
                await call()
            except OpwatchError as error:
                problems.append(f"{injector.where}: {error}")
                await client.aclose()
                return counting.count
        await client.aclose()
        return counting.count

    with service() as server:
        assert in_one(backend, main) > 100, "hardly any place was seen: this tested nothing"
        gc.collect()
        server.wait_until_open(0)
    assert not problems, "\n".join(problems)


@every_kind
def test_a_signal_handler_that_uses_a_client(kind: Kind, watchdog: Watchdog) -> None:
    """It may create a client and call it, at any place of the same in the code it interrupts."""
    told = []

    def call(number: int) -> None:
        with make(kind, server) as client:
            told.append(kind.number(client.progress(f"running-{number}")))

    with service() as server:
        Injector().run(partial(call, 1))  # CPython 3.12 traces little of what is traced first
        told.clear()
        handler = Handler(partial(call, 2))
        with watchdog.limit(120):
            handler.run(partial(call, 1))
    assert handler.count > 100, "hardly any place was seen: this tested nothing"
    assert told.count(2) == handler.count
    assert told.count(1) == 1


# --- the end of the stack -------------------------------------------------------------------------


def deeper(frames: int, call: Callable[[], Any]) -> Any:
    """Call from `frames` frames further down."""
    return deeper(frames - 1, call) if frames else call()


def deepest() -> int:
    """How many frames there are below the caller."""
    low, high = 0, sys.getrecursionlimit()
    while high - low > 1:
        middle = (low + high) // 2
        try:
            deeper(middle, lambda: None)
            low = middle
        except RecursionError:
            high = middle
    return low


@every_kind
@pytest.mark.parametrize("first", [False, True], ids=["kept", "first"])
def test_the_end_of_the_stack(kind: Kind, first: bool, watchdog: Watchdog) -> None:
    """`progress()` near the recursion limit works or raises `RecursionError` or an error of ours,
    without a credential in its traceback, and the next call works."""
    problems, failures = [], 0
    with service() as server:
        client = make(kind, server)
        client.progress("running-1")
        end = deepest()
        for left in range(100):
            if first:
                client.close()
                client = make(kind, server)
            found = []
            call = partial(client.progress, "running-5")
            try:
                with watchdog.limit(LONGEST_CALL):
                    told = kind.number(deeper(end - left, call))
                if told != 5:
                    found.append(f"it gets {told}")
            except (RecursionError, OpwatchError) as error:
                failures += 1
                found += leaks(error)
            except Hang:
                found.append("it hangs")
            except Exception as error:
                found.append(f"it raises {type(error).__name__}: {error}")
            wrong = next_call(kind, client, watchdog, 10 + left % 80)
            if wrong is not None:
                found.append(wrong)
                client.close()
                client = make(kind, server)
            problems += [f"{left} frames left: {problem}" for problem in found]
            if len(problems) >= MOST_FAILURES:
                break
        else:
            assert free_slots(kind, client) == [0, 1]
        client.close()
    assert failures > 5, "the stack was never at its end: this tested nothing"
    assert not problems, "\n".join(problems)
