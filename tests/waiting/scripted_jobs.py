"""Jobs by script, and how far each of them was seen: what the tests of the drivers share.

`JOBS` is the table. A `World` is what one job's service does and has been asked so far; it is a few
counts, so that it can be carried into another process. As a program this file is the engine of a
test that makes every turn of a wait in a process of its own: for each line that it reads a turn in
a new process, forked from one that has never seen a job, and a line with what came of it."""

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import attrs
from scripted_answers import CANCELLED, DEVICE, EPOCH, JOB_ID, NO_NETWORK, Job
from scripted_itwin import OF_ITWIN
from scripted_trouble import TROUBLE

from opwatch import Apig, AsyncApig, AsyncCatenis, AsyncITwin, Catenis, ITwin
from opwatch.errors import JobFailed, OpwatchError, TransportError
from opwatch.testing import FakeClock, Reply, Script

CLIENTS: dict[tuple[str, bool], Callable[..., Any]] = {
    ("catenis", False): lambda auth, **how: Catenis(DEVICE, "a made-up secret", **how),
    ("catenis", True): lambda auth, **how: AsyncCatenis(DEVICE, "a made-up secret", **how),
    ("itwin", False): lambda auth, **how: ITwin(auth, **how),
    ("itwin", True): lambda auth, **how: AsyncITwin(auth, **how),
    ("apig", False): lambda auth, **how: Apig("https://apig.test", auth, project_id="p-1", **how),
    ("apig", True): lambda auth, **how: AsyncApig(
        "https://apig.test", auth, project_id="p-1", **how
    ),
}

JOBS = [*OF_ITWIN, *TROUBLE]
BY_NAME = {job.name: job for job in JOBS}
assert len(BY_NAME) == len(JOBS)


# --- the world of one job -------------------------------------------------------------------------
class Clock(FakeClock):
    """A fake clock on which something happens at a time of its own."""

    def __init__(self, *, epoch: float = EPOCH, alarm: float | None = None) -> None:
        super().__init__(epoch=epoch)
        self._alarm = alarm
        self.ring: Callable[[], None] = lambda: None

    def _move_to(self, time: float) -> None:
        if self._alarm is None or time < self._alarm:
            super()._move_to(time)
            return
        super()._move_to(self._alarm)
        self._alarm = None
        self.ring()


@attrs.define
class World:
    """A job's service, what it was asked so far, and what was seen of the job."""

    job: Job
    clock: Clock
    base: float = 0.0
    """When the clock began."""
    counts: dict[str, int] = attrs.field(factory=lambda: {"progress": 0, "job": 0, "tokens": 0})
    seen: list[tuple[Any, ...]] = attrs.field(factory=list)

    def note(self, *what: Any) -> None:
        self.seen.append((round(self.base + self.clock.now(), 6), *what))

    def token(self) -> str:
        """The caller's token callable: the token that is good now."""
        return f"made-up-{self.counts['tokens']}"

    def handle(self, request: Any) -> Reply | OpwatchError:
        """The service."""
        self.note("asked", request.target)
        kind = "progress" if request.target.endswith("/progress") else "job"
        answers = self.job.answers if kind == "progress" else self.job.job
        headers = dict(request.headers)
        sent = headers.get("Authorization", "") + headers.get("X-Auth-Token", "")
        if self.job.service != "catenis":
            assert sent.endswith(self.token()), "an old token was sent"
        found = answers[min(self.counts[kind], len(answers) - 1)]
        self.counts[kind] += 1
        if isinstance(found, tuple):
            self.counts["tokens"] += 1
            return found[1]
        return TransportError("no connection") if found == NO_NETWORK else found

    def saw(self, progress: Any) -> None:
        self.note("saw", str(progress.phase), progress.percent, progress.bytes_processed)

    def ended(self, progress: Any) -> None:
        self.note("end", str(progress.phase))

    def failed(self, error: OpwatchError, *, stepping: bool = False) -> None:
        """A wait that raises for a job that failed has ended with its last phase, as any other.

        A turn that ends the wait with an error has no `Step` to hand its response out in: it is the
        error's `last`.
        """
        if isinstance(error, JobFailed):
            self.ended(error.last)
            return
        if stepping and error.last is not None:
            self.saw(error.last)
        self.note("end", type(error).__name__, str(error))

    def cancelled(self) -> None:
        """An engine that drives `step` stops by itself."""
        self.note("end", "WaitCancelled", f"{self.job.service} {JOB_ID}: {CANCELLED}")

    def client(self, *, asynchronous: bool = False) -> Any:
        return CLIENTS[self.job.service, asynchronous](self.token, **self.job.options)


def turn(name: str, now: float, token: str | None, counts: dict[str, int]) -> dict[str, Any]:
    """One turn of a wait, by a new client with a clock that begins at 0."""
    clock = Clock(epoch=EPOCH + now)
    world = World(BY_NAME[name], clock, now, dict(counts))
    found: dict[str, Any] = {"token": token, "delay": None}
    with clock, Script(world.handle), world.client() as client:
        try:
            if token is None:
                step = client.start(JOB_ID, timeout=world.job.timeout, **world.job.how)
            else:
                step = client.step(token)
        except OpwatchError as error:
            world.failed(error, stepping=True)
        else:
            if step.progress is not None:
                world.saw(step.progress)
            if step.delay is None:
                world.ended(step.progress)
            found = {"token": step.token, "delay": step.delay}
    return found | {"seen": world.seen, "counts": world.counts}


def make_turns() -> None:
    """A turn for each line of standard input; `null` for one that raised."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                found = turn(**json.loads(line))
                print(json.dumps(found | {"process": os.getpid()}), flush=True)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            print("null", flush=True)


if __name__ == "__main__":
    make_turns()
