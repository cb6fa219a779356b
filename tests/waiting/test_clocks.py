"""The clocks and the script, on which users' tests of waiting rely, as ours do."""

import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.lowlevel
import pytest

from opwatch import Apig, AsyncITwin, Catenis, ITwin, Schedule
from opwatch import clock as clocks
from opwatch import net as transport
from opwatch.clock import LONGEST_SLEEP, Clock
from opwatch.errors import TransportError, WaitStalled
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.message import Answer
from opwatch.progress import Phase
from opwatch.testing import FakeClock, Reply, Script, reply

BACKENDS = ["asyncio", "trio"]
ACTIVE = reply(200, {"jobProgress": {"state": "Active", "percentage": 7}})
SUCCESS = reply(200, {"jobProgress": {"state": "success", "percentage": 100}})


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


# --- the fake clock -------------------------------------------------------------------------------


def test_time_stands_still_until_somebody_sleeps():
    """And then moves on at once, by as much."""
    clock = FakeClock(epoch=1000.0)
    assert (clock.now(), clock.epoch(), clock.jitter()) == (0.0, 1000.0, 0.0)
    clock.sleep(15)
    clock.sleep(0.5)
    assert (clock.now(), clock.epoch(), clock.slept) == (15.5, 1015.5, [15, 0.5])


def test_advance_lets_time_pass_and_jump_moves_the_wall_clock_alone():
    """As time, and as an operator."""
    clock = FakeClock(epoch=1000.0)
    clock.advance(10)
    clock.jump(-500)
    assert (clock.now(), clock.epoch()) == (10.0, 510.0)
    clock.jump(1000)
    assert (clock.now(), clock.epoch(), clock.slept) == (10.0, 1510.0, [])


def test_time_never_goes_back():
    """The clock of a process does not, whatever is asked of this one."""
    clock = FakeClock()
    clock.advance(10)
    clock.advance(-5)
    clock.sleep(-5)
    assert clock.now() == 10.0


def test_a_seed_gives_the_same_jitter_again():
    """Numbers from 0 to 1, which differ with the seed."""
    draws = [[clock.jitter() for _ in range(50)] for clock in map(seeded, (1, 1, 2))]
    assert draws[0] == draws[1] != draws[2]
    assert all(0 <= draw < 1 for row in draws for draw in row)


def seeded(seed):
    return FakeClock(seed=seed)


def test_a_blocking_sleep_with_cancel_set_takes_no_time():
    """After a stop, nothing sleeps."""
    cancel, clock = threading.Event(), FakeClock()
    clock.sleep(5, cancel)
    cancel.set()
    clock.sleep(100, cancel)
    assert (clock.now(), clock.slept) == (5.0, [5])


def test_async_sleepers_wake_in_the_order_of_their_times(backend):
    """Whoever began first; at the same time, in the order in which they began."""
    woke = []

    async def sleeper(clock, name, *naps):
        for nap in naps:
            await clock.asleep(nap)
            woke.append((clock.now(), name))

    async def main():
        clock = FakeClock()
        async with anyio.create_task_group() as group:
            group.start_soon(sleeper, clock, "a", 30, 30, 1)
            group.start_soon(sleeper, clock, "b", 10, 10, 10, 40)
            group.start_soon(sleeper, clock, "c", 45)
            group.start_soon(sleeper, clock, "d", 0, 0.5)

    anyio.run(main, backend=backend)
    assert woke == sorted(woke, key=lambda entry: entry[0])
    assert {(0, "d"), (0.5, "d"), (10, "b"), (20, "b"), (30, "b"), (30, "a")} < set(woke)
    assert woke[6:] == [(45, "c"), (60, "a"), (61, "a"), (70, "b")]


def test_a_hundred_async_sleepers_wake_in_order(backend):
    """Each exactly at its own time."""
    woke = []

    async def main():
        clock = FakeClock()

        async def sleeper(seconds):
            await clock.asleep(seconds)
            assert clock.now() == seconds
            woke.append(seconds)

        async with anyio.create_task_group() as group:
            for n in range(100):
                group.start_soon(sleeper, n * 37 % 100 + 1)

    anyio.run(main, backend=backend)
    assert woke == sorted(woke) == list(range(1, 101))


def test_time_does_not_move_while_somebody_works(backend):
    """A sleeper waits for the others to have had their turns."""

    async def main():
        clock = FakeClock()

        async def worker():
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
                assert clock.now() == 0.0
            await clock.asleep(5)
            assert clock.now() == 5.0

        async with anyio.create_task_group() as group:
            group.start_soon(clock.asleep, 60)
            group.start_soon(worker)
        assert clock.now() == 60.0

    anyio.run(main, backend=backend)


def test_time_does_not_move_while_a_request_is_under_way(backend):
    """A server responds in real time: nobody's sleep is over before its response is there."""
    seen = []

    async def main():
        asked, answered = anyio.Event(), anyio.Event()

        class Server(AsyncTransport):
            async def send(self, outgoing, end):
                asked.set()
                await answered.wait()
                return Answer(200, (), b'{"jobProgress": {"state": "Active"}}')

        before = transport.open_async.set(Server)
        with FakeClock() as clock:
            client = AsyncITwin("a made-up token")
        transport.open_async.reset(before)

        async def query():
            await client.progress("a")
            seen.append(("answer", clock.now()))

        async def sleep():
            await clock.asleep(10)
            seen.append(("slept", clock.now()))

        async with anyio.create_task_group() as group:
            group.start_soon(query)
            await asked.wait()
            group.start_soon(sleep)
            for _ in range(200):
                await anyio.lowlevel.checkpoint()
            answered.set()

    anyio.run(main, backend=backend)
    assert seen == [("answer", 0.0), ("slept", 10.0)]


def test_an_event_wakes_an_async_sleeper_before_its_time(backend):
    """At the time at which it is set, and time continues from there."""

    async def main():
        clock, event = FakeClock(), anyio.Event()

        async def sets():
            await clock.asleep(20)
            event.set()

        async with anyio.create_task_group() as group:
            group.start_soon(sets)
            await clock.asleep(100, event)
            assert clock.now() == 20.0
        await clock.asleep(100, event)
        assert clock.now() == 20.0

    anyio.run(main, backend=backend)


def test_a_sleeper_that_is_cancelled_holds_up_nobody(backend):
    """Time moves on to the others'."""

    async def main():
        clock = FakeClock()

        async def cancels(scope):
            await clock.asleep(10)
            scope.cancel()

        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                group.start_soon(cancels, scope)
                await clock.asleep(100)
            assert (scope.cancelled_caught, clock.now()) == (True, 10.0)
            await clock.asleep(5)
            assert clock.now() == 15.0

    anyio.run(main, backend=backend)


def test_waits_on_one_clock_keep_each_its_own_times(backend):
    """Ten concurrent waits poll at the times at which each would poll on its own."""
    with FakeClock() as clock, Script(lambda request: SUCCESS if clock.now() > 99 else ACTIVE) as s:

        async def main():
            async with AsyncITwin("made-up") as client, anyio.create_task_group() as group:
                for n in range(10):
                    group.start_soon(later, client, n)

        async def later(client, n):
            await clock.asleep(n)
            await client.wait(f"j{n}", timeout=None)

        anyio.run(main, backend=backend)
    for n in range(10):
        times = [sent.time - n for sent in s.sent if sent.target.endswith(f"/j{n}/progress")]
        assert times == [0, 15, 45, 105]


def test_a_fake_clock_counts_for_the_clients_made_in_its_block():
    """Not for those made before or after, and also where the block ends in an exception."""
    real = clocks.current.get()
    with FakeClock() as clock:
        assert clocks.current.get() is clock
        with pytest.raises(LookupError), FakeClock():
            raise LookupError
        assert clocks.current.get() is clock
    assert clocks.current.get() is real
    assert type(real) is Clock


def test_a_fake_clock_and_a_script_count_in_every_thread():
    """A thread that creates a client inside the block sleeps and sends as little as this one."""

    def watch():
        phases.append(ITwin("t").wait("j", timeout=None).phase)

    phases = []
    replies = {"/jobs/j/progress": [ACTIVE, ACTIVE, SUCCESS], "/jobs/j": SUCCESS}
    with FakeClock() as clock, Script(replies) as script:
        thread = threading.Thread(target=watch)
        thread.start()
        thread.join()
        assert (phases, clock.now()) == ([Phase.SUCCEEDED], 45)
        assert [sent.time for sent in script.sent] == [0, 15, 45]


# --- the real clock -------------------------------------------------------------------------------


class Recorder:
    """An event that notes for how long it was waited for."""

    def __init__(self):
        self.waited = []

    def is_set(self):
        return False

    def wait(self, timeout=None):
        self.waited.append(timeout)
        return False


def test_a_blocking_sleep_waits_for_cancel_and_no_longer_than_a_timer_takes():
    """A longer sleep is split: after each part, the wait checks how much is left."""
    cancel = Recorder()
    for seconds in (15.0, LONGEST_SLEEP, 1e12):
        Clock().sleep(seconds, cancel)
    assert cancel.waited == [15.0, LONGEST_SLEEP, LONGEST_SLEEP]


def test_an_async_sleep_ends_with_its_event(backend):
    """Of a day, none is slept."""

    async def main():
        event = anyio.Event()
        event.set()
        with anyio.move_on_after(60) as patience:
            await Clock().asleep(1e12, event)
            await Clock().asleep(0)
        assert not patience.cancelled_caught

    anyio.run(main, backend=backend)


def test_the_real_clock_goes_forward_and_draws_from_zero_to_one():
    """`now` never goes back; `epoch` is of this century."""
    clock = Clock()
    times = [clock.now() for _ in range(100)]
    assert times == sorted(times)
    assert clock.epoch() > 1.7e9
    assert all(0 <= clock.jitter() < 1 for _ in range(100))


# --- the script -----------------------------------------------------------------------------------


def test_the_example_of_the_module_holds():
    """As its docstring shows it."""
    over = reply(200, {"jobProgress": {"state": "success"}})
    with FakeClock(), Script({"/jobs/j1/progress": [ACTIVE, ACTIVE, over]}) as script:
        client = ITwin("a token")
        client.wait("j1", timeout=3600)
    assert [sent.time for sent in script.sent] == [0, 15, 45]


def test_a_script_gives_its_replies_in_order_and_the_last_for_ever():
    """Each target has its own; what was sent is noted."""
    first = reply(200, {"jobProgress": {"state": "Active", "percentage": 1}})
    with (
        FakeClock() as clock,
        Script({"/a/progress": [first, ACTIVE], "/b/progress": [SUCCESS]}) as s,
    ):
        client = ITwin("made-up")
        percents = [client.progress("a").percent for _ in range(3)]
        clock.advance(2.5)
        assert client.progress("b").phase is Phase.SUCCEEDED
    assert percents == [1, 7, 7]
    assert [(sent.time, sent.method) for sent in s.sent] == [(0, "GET")] * 3 + [(2.5, "GET")]
    assert s.sent[-1].target == "/contextcapture/jobs/b/progress"


def test_a_script_may_be_a_function_of_the_request():
    """It is given the request as it would be sent, signed."""
    seen = []

    def answer(request):
        seen.append(dict(request.headers)["Authorization"])
        return SUCCESS

    with Script(answer):
        assert ITwin("made-up").progress("a").phase is Phase.SUCCEEDED
    assert seen == ["Bearer made-up"]


def test_a_function_of_a_script_may_wait_for_other_requests():
    """From another thread, or its own: two requests are in flight at once."""
    together = threading.Barrier(2)

    def answer(request):
        if "/outer/" in request.target:
            assert client.progress("inner").phase is Phase.SUCCEEDED
            together.wait(120)
        return SUCCESS

    with FakeClock(), Script(answer) as script, ThreadPoolExecutor(2) as threads:
        client = ITwin("a made-up token")
        for phase in threads.map(lambda job: client.progress(job).phase, ["outer"] * 2):
            assert phase is Phase.SUCCEEDED
    assert len(script.sent) == 4


def test_a_script_raises_the_errors_it_is_given():
    """In order too, and each time another one, so that none tells of another's wait."""
    given = TransportError("no connection")
    with FakeClock(), Script({"/progress": [given, SUCCESS]}):
        client = ITwin("made-up")
        with pytest.raises(TransportError, match="no connection") as raised:
            client.progress("a")
        assert client.progress("a").phase is Phase.SUCCEEDED
    assert raised.value is not given
    assert given.job_id is None


def test_a_script_without_a_reply_says_which_one_is_missing():
    """A request without a scripted reply fails the test."""
    with Script({"/jobs/b/progress": [SUCCESS]}), pytest.raises(AssertionError) as raised:
        ITwin("made-up").progress("a")
    assert "no reply for /contextcapture/jobs/a/progress" in str(raised.value)
    assert "/jobs/b/progress" in str(raised.value)


def test_a_script_with_no_replies_at_all_for_a_target_is_refused():
    """At once, when it is made."""
    with pytest.raises(ValueError, match="/progress"):
        Script({"/progress": []})


def test_a_script_plays_every_service_blocking_and_async(backend):
    """The target's end tells which it is."""
    done = {"action": "log", "progress": {"bytesProcessed": 1, "done": True, "success": True}}
    replies = {
        "/messages/m/progress": [reply(200, {"status": "success", "data": done})],
        "/instances/g/progress": [reply(200, {"status": "success", "progress": 100})],
        "/jobs/j/progress": [SUCCESS],
    }

    async def main():
        async with AsyncITwin("made-up") as client:
            return await client.progress("j")

    with Script(replies) as script:
        found = [
            Catenis("d" * 20, "made-up").progress("m"),
            Apig("https://apig.test", "made-up", project_id="p").progress("g"),
            ITwin("made-up").progress("j"),
            anyio.run(main, backend=backend),
        ]
    assert [progress.phase for progress in found] == [Phase.SUCCEEDED] * 4
    assert len(script.sent) == 4


def test_a_script_counts_for_the_clients_made_in_its_block():
    """Scripts may be nested; the outer one is back when the inner one ends."""
    with Script({"/progress": [ACTIVE]}) as outer:
        first = ITwin("made-up")
        with Script({"/progress": [SUCCESS]}) as inner:
            second = ITwin("made-up")
        third = ITwin("made-up")
        phases = [client.progress("a").phase for client in (first, second, third)]
    assert phases == [Phase.RUNNING, Phase.SUCCEEDED, Phase.RUNNING]
    assert (len(outer.sent), len(inner.sent)) == (2, 1)


@pytest.mark.parametrize(
    ("body", "raw"),
    [(None, b""), (b"\xff<", b"\xff<"), ({"a": 1}, b'{"a": 1}'), ("a", b'"a"'), ([], b"[]")],
)
def test_a_reply_is_bytes_as_they_are_or_json(body, raw):
    """None is an empty body."""
    assert reply(200, body, {"X": "y"}) == Reply(200, raw, (("X", "y"),))


@pytest.mark.parametrize("wrong", [{"state": "Active"}, [{"state": "Active"}], "text", [200]])
def test_a_script_of_something_else(wrong):
    """What is no reply is refused when the script is made, and says what it must be."""
    with pytest.raises(TypeError, match="must be made by reply"):
        Script({"/progress": wrong})
    with (
        Script(lambda request: wrong),
        pytest.raises(TypeError, match="must be made by reply"),
    ):
        ITwin("a token").progress("j1")


def test_a_script_of_one_reply():
    """A single reply needs no list around it."""
    with FakeClock(), Script({"/progress": SUCCESS}):
        assert ITwin("a token").progress("j1").phase == "succeeded"


@pytest.mark.parametrize(
    ("status", "pause", "limit", "end"),
    [(429, 500, 100, 580), (503, 500, 100, 580), (200, 500, 100, 580), (200, 55, 70, 115)],
)
def test_a_pause_that_the_service_asks_for_is_no_stall(status, pause, limit, end):
    """What it adds to a delay of the schedule isn't time in which the job made no progress."""
    body = {"jobProgress": {"state": "Active", "percentage": 7}} if status == 200 else None
    paused = reply(status, body, {"Retry-After": str(pause)})
    schedule = Schedule((20,), jitter=0)
    with FakeClock() as clock, Script({"/progress": [ACTIVE, paused, ACTIVE]}) as sent:
        client = ITwin("a made-up token", schedule=schedule)
        with pytest.raises(WaitStalled):
            client.wait("j", timeout=None, stall_timeout=limit)
    assert [request.time for request in sent.sent[:3]] == [0, 20, 20 + pause]
    assert clock.now() == end
