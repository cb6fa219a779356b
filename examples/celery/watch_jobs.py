"""Celery: wait for jobs in a task queue. A wait is one message and occupies no process.

    export BROKER_URL=redis://127.0.0.1:6379/0 ITWIN_CLIENT_ID=... ITWIN_CLIENT_SECRET=...
    celery -A watch_jobs worker --beat
    >>> begin("itwin", "job-1", timeout=6 * 3600).get()

Needs opwatch and `celery[redis]`. Each run of `watch` is one turn: it polls once and sends itself
again with the new token and the delay that the schedule requires.

Workers can be killed at any moment, and no queue delivers every message exactly once. With Redis,
Celery delivers a message twice if a worker keeps it for too long (`visibility_timeout`), and loses
one if the worker is killed just after taking it from the list. `acks_late` fixes neither. So a
message is only a wake-up call, and the state of each wait is in Redis:

- The newest token is stored before the next turn is sent, with the time when that turn is due.
- A turn is claimed before it starts. If two messages are for the same turn, the second is
  dropped; so is a message for a turn that already has a successor.
- Beat runs `rescue`, which resends turns that are long overdue. If such a turn was claimed, its
  poll may have been sent and the response lost, so the turn is delayed by `LONGEST`: no poll is too
  early.
"""

import functools
import json
import os
import time
import uuid
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore
from celery.result import AsyncResult

from opwatch import Schedule, services
from opwatch.client import Client
from opwatch.errors import OpwatchError

REDIS = os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/0")
LONGEST = float(os.environ.get("LONGEST_DELAY", "120"))
"""The longest delay of any schedule, in seconds."""
OVERDUE = float(os.environ.get("OVERDUE", "600"))
"""How late a turn must be, in seconds, before it is sent again: longer than any turn takes."""
KEPT = 30 * 86_400
WAITS = "opwatch:waits"

app = Celery("watch_jobs", broker=REDIS, backend=REDIS)
app.conf.update(
    result_expires=KEPT,
    beat_schedule={"rescue": {"task": "watch_jobs.rescue", "schedule": OVERDUE / 4}},
)


def begin(service: str, job_id: str, **how: Any) -> AsyncResult:
    """Start a wait; the result says how the job ended. Takes `timeout` in seconds, and `delays`."""
    wait = str(uuid.uuid4())
    Turn(wait, None).note({"args": [service, job_id], "kwargs": how}, 0.0)
    return watch.apply_async((service, job_id), how, task_id=wait)


@functools.cache
def client(service: str) -> Client[Any]:
    """Return the process's only client, to share its connections, token and rate limit."""
    made: Any = services.find(service).client
    opened: Client[Any] = made.from_env()
    return opened


@app.task(bind=True, max_retries=None)
def watch(
    self: Task,
    service: str,
    job_id: str,
    *,
    timeout: float,
    delays: list[float] | None = None,
    token: str | None = None,
) -> dict[str, Any]:
    """Make one turn of a wait; the last turn's result says how the job ended."""
    turn = Turn(self.request.id, token)
    if not turn.claim():
        raise Ignore
    try:
        if token is None:
            schedule = None if delays is None else Schedule(delays)
            step = client(service).start(job_id, timeout=timeout, schedule=schedule)
        else:
            step = client(service).step(token)
    except OpwatchError as error:
        return {"error": type(error).__name__, "message": str(error), "token": error.token}
    if step.delay is None:
        assert step.progress is not None
        return {"phase": step.progress.phase, "token": step.token}
    how = {"timeout": timeout, "delays": delays, "token": step.token}
    turn.note({"args": [service, job_id], "kwargs": how}, step.delay)
    raise self.retry(args=(service, job_id), kwargs=how, countdown=step.delay)


@app.task
def rescue() -> None:
    """Resend turns that were lost when a worker was killed, and delete waits that are over."""
    redis = app.backend.client
    for found in redis.zrangebyscore(WAITS, 0, time.time() - OVERDUE):
        wait = found.decode()
        noted = redis.get(f"opwatch:{wait}")
        if noted is None or watch.AsyncResult(wait).ready():
            redis.zrem(WAITS, wait)
            redis.delete(f"opwatch:{wait}")
            continue
        message = json.loads(noted)
        turn = Turn(wait, message["kwargs"].get("token"))
        countdown = LONGEST if turn.unclaim() else 0.0
        turn.due_in(countdown)
        watch.apply_async(**message, task_id=wait, countdown=countdown)


class Turn:
    """One turn of one wait, as all workers see it."""

    def __init__(self, wait: str, token: str | None) -> None:
        self._number = _number(token)
        self._redis = app.backend.client
        self._wait = wait
        self._note = f"opwatch:{wait}"
        self._claim = f"{self._note}:{self._number}"

    def claim(self) -> bool:
        """Return whether to make this turn: it is unclaimed, and the newest one stored."""
        noted = self._redis.get(self._note)
        if noted is None or _number(json.loads(noted)["kwargs"].get("token")) != self._number:
            return False
        return bool(self._redis.set(self._claim, 1, nx=True, ex=KEPT))

    def unclaim(self) -> bool:
        """Allow the turn to be made again; return whether a worker had claimed it."""
        return bool(self._redis.delete(self._claim))

    def note(self, message: dict[str, Any], delay: float) -> None:
        """Store the message of the next turn, and when it is due."""
        if self._number == _number(message["kwargs"].get("token")):
            self.unclaim()  # the poll wasn't due, so nothing was sent: run this turn again
        self._redis.set(self._note, json.dumps(message), ex=KEPT)
        self.due_in(delay)

    def due_in(self, delay: float) -> None:
        self._redis.zadd(WAITS, {self._wait: time.time() + delay})


def _number(token: str | None) -> int:
    """Return which turn a token is for: the number of polls made before it."""
    return 0 if token is None else int(json.loads(token)["polls"])
