"""A machine that is suspended during a wait: the time counts toward the deadline, not toward a
stall."""

import shutil
import subprocess
import sys
import time

import pytest
from faults_support import DRIVERS, MINUTE, outcome, state, times

from opwatch import Phase
from opwatch.clock import Clock
from opwatch.errors import WaitStalled, WaitTimeout
from opwatch.testing import FakeClock, Script, reply

NIGHT = 8 * 3600.0
HOUR = 3600.0
LOOKED = {"/jobs/j": [reply(200, {"job": {"id": "j", "state": "active"}})]}
"""The closer look at a job that makes no progress."""
STANDING = {"/progress": [state("Active", 10)], **LOOKED}

needs_boottime = pytest.mark.skipif(
    not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no clock that counts time asleep"
)


# --- the clock ------------------------------------------------------------------------------------


@needs_boottime
def test_the_clock_follows_the_boot_time():
    """The default clock gives seconds of the clock that runs while the machine is suspended."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    now = Clock().now()
    assert before <= now <= time.clock_gettime(time.CLOCK_BOOTTIME)


NAMESPACE = ["unshare", "--map-root-user", "--time", "--boottime", f"{NIGHT:.0f}"]
COMPARE = """
import time
from opwatch import Phase
from opwatch.clock import Clock
before = time.clock_gettime(time.CLOCK_BOOTTIME)
now = Clock().now()
assert before <= now <= time.clock_gettime(time.CLOCK_BOOTTIME), (
    f"the clock is {before - now:.0f} s behind")
"""


def has_namespaces():
    """Whether a process can be started for which the machine was asleep for a night."""
    if shutil.which("unshare") is None:
        return False
    ran = subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False)
    return ran.returncode == 0


@needs_boottime
def test_the_clock_counts_a_night_asleep():
    """In a time namespace whose boot clock is eight hours ahead, so is the default clock."""
    if not has_namespaces():
        pytest.skip("no time namespace can be made here")
    command = [*NAMESPACE, sys.executable, "-c", COMPARE]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


# --- waits ----------------------------------------------------------------------------------------


class Suspended(FakeClock):
    """A clock during whose n-th sleep the machine is suspended for eight hours."""

    def __init__(self, number):
        super().__init__()
        self._left = number
        self.woken = None
        """When the machine was woken."""

    def _suspend(self):
        self._left -= 1
        if self._left == 0:
            self.advance(NIGHT)
            self.woken = self.now()

    def sleep(self, seconds, cancel=None):
        super().sleep(seconds, cancel)
        self._suspend()

    async def asleep(self, seconds, until=None):
        await super().asleep(seconds, until)
        self._suspend()


def waited(driver, **how):
    """What a wait for a job comes to."""

    async def scenario(driver):
        async with driver.opened(driver.clients["itwin"]("a made-up token")) as client:
            return await outcome(driver, client.wait, "j", schedule=MINUTE, **how)

    return driver.run(scenario)


@pytest.mark.parametrize("number", [1, 10, 50])
def test_a_night_asleep_is_no_stall(driver, number):
    """After it, the job has what is left of `stall_timeout`, in time that is watched."""
    with Suspended(number) as clock, Script(STANDING) as script:
        error = waited(driver, timeout=None, stall_timeout=HOUR)
        ended = clock.now()
    assert isinstance(error, WaitStalled)
    woken = clock.woken
    assert woken == 60 * number + NIGHT
    polls = times(script.sent, end="/progress")
    after = [time for time in polls if time >= woken]
    assert after[0] == woken, "the first poll after the night"
    assert len(after) > 1, "the first poll after the night ended the wait"
    watched = 60 * number
    assert woken + HOUR - watched - 120 <= ended <= woken + HOUR + 60


def test_a_job_that_moved_overnight_is_not_stalled(driver):
    """The first poll after a night may also bring another percentage, or the end."""
    replies = [state("Active", 10)] * 5 + [state("Active", 90)] * 5 + [state("success", 100)]
    with Suspended(5), Script({"/progress": replies}):
        assert waited(driver, timeout=None, stall_timeout=HOUR).phase is Phase.SUCCEEDED


def test_a_deadline_that_passed_overnight_ends_the_wait_after_one_last_poll(driver):
    """A timeout of two hours counts the time asleep: one poll after waking, then `WaitTimeout`."""
    with Suspended(10) as clock, Script(STANDING) as script:
        error = waited(driver, timeout=2 * HOUR, stall_timeout=HOUR)
        assert isinstance(error, WaitTimeout)
        assert clock.now() == clock.woken == 600 + NIGHT
    assert [time for time in times(script.sent) if time > 600] == [600 + NIGHT]


def test_a_job_that_ended_overnight_ended_in_time(driver):
    """The last poll reports it, though the deadline has passed."""
    replies = [state("Active", 10)] * 10 + [state("success", 100)]
    with Suspended(10), Script({"/progress": replies, **LOOKED}):
        assert waited(driver, timeout=2 * HOUR).phase is Phase.SUCCEEDED


def test_a_night_asleep_stalls_none_of_many_jobs(driver):
    """The same for each job of `watch_many`."""
    names = ["a", "b", "c"]
    standing = {f"/jobs/{name}/progress": [state("Active", 10)] for name in names}

    async def scenario(driver):
        async with driver.opened(driver.clients["itwin"]("a made-up token")) as client:
            many = client.watch_many(names, timeout=None, stall_timeout=HOUR, schedule=MINUTE)
            await driver.collect(many)
            return many

    with Suspended(1) as clock, Script({**standing, "": LOOKED["/jobs/j"]}) as script:
        many = driver.run(scenario)
        ended = clock.now()
    assert {type(error) for error in many.errors.values()} == {WaitStalled}
    for name in names:
        polls = times(script.sent, end=f"/{name}/progress")
        assert len([time for time in polls if time >= clock.woken]) > 1
    assert clock.woken + HOUR - 180 <= ended <= clock.woken + HOUR + 60


def test_a_step_that_comes_a_night_late_is_no_stall(driver):
    """A scheduler that was asleep: its first step after that doesn't end the wait as stalled."""

    async def scenario(driver):
        async with driver.opened(driver.clients["itwin"]("a made-up token")) as client:
            how = {"timeout": None, "stall_timeout": HOUR, "schedule": MINUTE}
            step = await driver.call(client.start, "j", **how)
            clock.advance(NIGHT)
            step = await driver.call(client.step, step.token)
            assert step.delay is not None
            polled = 0.0
            while polled < 2 * HOUR:
                clock.advance(step.delay)
                polled += step.delay
                step = await outcome(driver, client.step, step.token)
                if isinstance(step, WaitStalled):
                    return polled
            raise AssertionError("the wait never stalled")

    with FakeClock() as clock, Script(STANDING):
        assert HOUR - 180 <= driver.run(scenario) <= HOUR + 60


def test_a_stall_is_still_found_without_a_night():
    """A job that makes no progress for an hour that is watched is stalled, as before."""
    with FakeClock() as clock, Script(STANDING):
        assert isinstance(
            waited(DRIVERS["blocking"], timeout=None, stall_timeout=HOUR), WaitStalled
        )
        assert clock.now() == HOUR
