"""The demo: a few jobs that show what opwatch does, within half a minute."""

import pytest
from simulator_tools import SERVICES, statuses

from opwatch import Fault, Phase, Schedule
from opwatch.errors import JobFailed
from opwatch.simulator import Simulator, demo_jobs
from opwatch.testing import FakeClock

FAST = Schedule((1, 2))


@pytest.fixture
def jobs(sim: Simulator) -> dict[str, str]:
    return demo_jobs(sim)


def watch(sim: Simulator, jobs: dict[str, str], service: str) -> list[Phase]:
    client = sim.client(service, schedule=FAST)
    return [progress.phase for progress in client.watch(jobs[service], timeout=60)]


def test_every_service_has_a_job(jobs: dict[str, str]) -> None:
    """The demonstration has one job of each service."""
    assert sorted(jobs) == SERVICES


@pytest.mark.parametrize("service", SERVICES)
def test_a_job_comes_to_its_ending_within_half_a_minute(
    sim: Simulator, clock: FakeClock, jobs: dict[str, str], service: str
) -> None:
    """Each job ends as it says it does, after 20 to 30 seconds of polls every second or two."""
    phases = watch(sim, jobs, service)
    assert phases[-1] is sim.simulation(service).demo.ending
    assert 20 <= clock.now() <= 30


@pytest.mark.parametrize("service", SERVICES)
def test_a_job_comes_to_the_same_ending_by_the_service_s_own_schedule(
    sim: Simulator, jobs: dict[str, str], service: str
) -> None:
    """However slowly it is watched, the ending is the same."""
    phases = [one.phase for one in sim.client(service).watch(jobs[service], timeout=3600)]
    assert phases[-1] is sim.simulation(service).demo.ending


def test_the_job_of_itwin_meets_one_rate_limit(sim: Simulator, jobs: dict[str, str]) -> None:
    """On its way the job meets a single 429, and is left alone for as long as it says."""
    watch(sim, jobs, "itwin")
    polls = [one for one in sim.requests if one.operation == "progress"]
    assert statuses(sim).count(429) == 1
    limited = statuses(sim).index(429)
    assert 0 < limited < len(polls) - 1
    assert polls[limited + 1].time - polls[limited].time >= 3


def test_the_job_of_itwin_goes_through_steps(sim: Simulator, jobs: dict[str, str]) -> None:
    """The job says what it is doing, in at least three steps."""
    client = sim.client("itwin", schedule=FAST)
    steps = {progress.step for progress in client.watch(jobs["itwin"], timeout=60)}
    assert len(steps - {None}) >= 3


def test_the_gateway_fails_for_want_of_quota(sim: Simulator, jobs: dict[str, str]) -> None:
    """The gateway's end is a failure with the documented code and a reason."""
    with pytest.raises(JobFailed) as caught:
        sim.client("apig", schedule=FAST).wait(jobs["apig"], timeout=60)
    assert caught.value.fault == Fault("APIC.9218", "create failed: insufficient quota")


def test_the_message_s_bytes_only_grow(sim: Simulator, jobs: dict[str, str]) -> None:
    """The message moves on from poll to poll until all of it is processed."""
    client = sim.client("catenis", schedule=FAST)
    seen = [one.bytes_processed or 0 for one in client.watch(jobs["catenis"], timeout=60)]
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 4_194_304)
