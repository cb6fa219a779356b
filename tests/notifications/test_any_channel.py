"""Jobs with a channel that is cut, late, repetitive or lying: like polling, but sooner.

Each job is waited for twice: by polling alone, and with a channel on which something goes wrong at
a random moment. The clock is a fake one; the channel is real.
"""

import random
import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

import attrs
import pytest
from agenda import Agenda
from channel_server import DEVICE_ID, SECRET, ChannelServer, Opened
from channel_support import DRIVERS, scripted

from opwatch import Catenis
from opwatch.errors import OpwatchError
from opwatch.testing import Reply, reply

KINDS = ["honest", "cut", "late", "twice", "forged"]
ENDS = ["succeeded", "failed", "gone", "trouble"]
ID = "pProvisional00000001"


@attrs.frozen
class Job:
    kind: str
    """What goes wrong with its channel."""
    end: str
    ends: float
    when: float
    """The random moment: of the cut or the lie, or how late the event is."""
    steps: tuple[float, ...]
    """When bytes are processed."""
    down: tuple[float, float]
    """From when to when the service is not available; never at the end."""

    def answer(self, now: float) -> Reply:
        """What a poll is answered."""
        if self.down[0] <= now < self.down[1]:
            return reply(503, {"status": "error", "message": "System currently not available"})
        if now >= self.ends and self.end == "gone":
            text = "Invalid or expired ephemeral message"
            return reply(400, {"status": "error", "message": text})
        progress: dict[str, Any] = {"bytesProcessed": 1000 * sum(at <= now for at in self.steps)}
        progress["done"] = now >= self.ends
        if progress["done"]:
            progress |= {"success": self.end != "failed", "finishDate": "2027-01-15T08:00:00Z"}
            if self.end == "failed":
                progress["error"] = {"code": 500, "message": "Internal server error"}
        return reply(200, {"status": "success", "data": {"action": "log", "progress": progress}})

    def happenings(self, channel: Opened) -> Iterator[tuple[float, Any]]:
        """What is told on its channel, and when."""
        told = partial(channel.event, ID, progress={"done": True, "success": True})
        if self.kind == "cut":
            yield self.when, channel.drop
            if self.when <= self.ends:
                return  # what is told then is lost
        if self.kind == "forged":
            yield self.when, told
        late = self.when / 10 if self.kind == "late" else 0.0
        yield self.ends + late, told
        if self.kind == "twice":
            yield self.ends + self.when / 10, told


def drawn(seed: int) -> Job:
    chance = random.Random(seed)
    ends = chance.uniform(2, 400)
    steps = sorted(chance.uniform(0, ends) for _ in range(chance.randrange(6)))
    end = ENDS[seed // len(KINDS) % len(ENDS)]
    began = chance.uniform(0, ends) if end == "trouble" else 1e9
    down = (began, min(began + chance.uniform(1, 60), ends))
    return Job(KINDS[seed % len(KINDS)], end, ends, chance.uniform(1, 400), tuple(steps), down)


def seen(outcome: Any) -> Any:
    """What a user sees of an outcome."""
    if isinstance(outcome, OpwatchError):
        fault = getattr(outcome, "fault", None)
        return type(outcome), outcome.message, outcome.job_id, fault
    return outcome.phase, outcome.wire.to_dict()


def alone(job: Job) -> tuple[list[float], Any]:
    with Agenda() as clock, scripted(lambda _: job.answer(clock.now())) as script:
        client = Catenis(DEVICE_ID, SECRET, base_url="http://127.0.0.1:1/api/0.7")
        try:
            outcome: Any = client.wait(ID, timeout=3600)
        except OpwatchError as error:
            outcome = error
    return [sent.time for sent in script.sent], seen(outcome)


def told(job: Job, server: ChannelServer, wait: Any) -> tuple[list[float], Any, list[float]]:
    with Agenda() as clock, scripted(lambda _: job.answer(clock.now())) as script:
        events = []

        def opened() -> None:
            for time, action in job.happenings(server.opened.get()):
                clock.at(time, action)
                events.append(time)

        clock.at(0.01, opened)
        try:
            outcome: Any = wait(server, ID, schedule=None)
        except OpwatchError as error:
            outcome = error
    return [sent.time for sent in script.sent], seen(outcome), events


@pytest.mark.parametrize("jobs", [40, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("driver", DRIVERS)
def test_every_outcome_is_that_of_polling_alone(driver: str, jobs: int) -> None:
    """At most one more poll for each job, and half of the ends within 1 s of the notification."""
    delays, delays_alone = [], []
    with ChannelServer() as server:
        for seed in range(jobs):
            job = drawn(seed)
            expected_times, expected = alone(job)
            times, outcome, events = told(job, server, DRIVERS[driver])
            assert outcome == expected, job
            assert times[-1] <= expected_times[-1], job
            assert len(times) <= len(expected_times) + 1, job
            told_at = min((time for time in events if time >= job.ends), default=job.ends)
            delays.append(max(0.0, times[-1] - told_at))
            delays_alone.append(max(0.0, expected_times[-1] - told_at))
    assert statistics.median(delays) <= 1 < statistics.median(delays_alone)
    assert max(delays) <= 15 + 60  # the longest delay, and the longest backoff
