"""Celery: wait for jobs in a task queue. A waiting job is one message, and holds no process.

    export BROKER_URL=redis://127.0.0.1:6379/0 ITWIN_CLIENT_ID=... ITWIN_CLIENT_SECRET=...
    celery -A watch_jobs worker --beat
    >>> begin("itwin", "job-1", timeout=6 * 3600).get()

Needs opwatch and `celery[redis]`. Each run of `watch` is one turn: it asks once, and
sends itself again with the new token and the delay that the schedule says.

A worker may be killed at any moment, and no queue delivers exactly once: Celery's on Redis delivers
a message twice that a worker held too long (`visibility_timeout`), and never one that it had just
taken from the list when it was killed. `acks_late` would fix neither. So the messages only wake,
and what is true of a wait stands in Redis:

- Its newest token is noted before the next turn is sent, with the time that turn is due.
- A turn is claimed before it is made. Of two messages for one turn, the second is dropped; so is
  one for a turn that has a successor.
- `rescue`, which beat runs, sends a turn again that is long overdue. Where it was claimed, it may
  have been asked for and its answer lost: then `LONGEST` passes first, so no query comes early.
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
"""Seconds: the longest delay of any schedule."""
OVERDUE = float(os.environ.get("OVERDUE", "600"))
"""Seconds after which a turn is sent again: longer than any turn takes."""
KEPT = 30 * 86_400
WAITS = "opwatch:waits"

app = Celery("watch_jobs", broker=REDIS, backend=REDIS)
app.conf.update(
    result_expires=KEPT,
    beat_schedule={"rescue": {"task": "watch_jobs.rescue", "schedule": OVERDUE / 4}},
)


def begin(service: str, job_id: str, **how: Any) -> AsyncResult:
    """Begin a wait; the result is how the job ended. `timeout` is in seconds, `delays` optional."""
    wait = str(uuid.uuid4())
    Turn(wait, None).note({"args": [service, job_id], "kwargs": how}, 0.0)
    return watch.apply_async((service, job_id), how, task_id=wait)


@functools.cache
def client(service: str) -> Client[Any]:
    """One client a process: its connections, its token and its rate limit are shared."""
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
    """One turn of a wait; the result, of the last one, is how the job ended."""
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
    """Send again what a kill took away, and forget what is over."""
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
    """One turn of one wait, as all workers know it."""

    def __init__(self, wait: str, token: str | None) -> None:
        self._number = _number(token)
        self._redis = app.backend.client
        self._wait = wait
        self._note = f"opwatch:{wait}"
        self._claim = f"{self._note}:{self._number}"

    def claim(self) -> bool:
        """Whether this message makes the turn: no other did, and it is the newest that is noted."""
        noted = self._redis.get(self._note)
        if noted is None or _number(json.loads(noted)["kwargs"].get("token")) != self._number:
            return False
        return bool(self._redis.set(self._claim, 1, nx=True, ex=KEPT))

    def unclaim(self) -> bool:
        """Let the turn be made again; whether anybody had begun with it."""
        return bool(self._redis.delete(self._claim))

    def note(self, message: dict[str, Any], delay: float) -> None:
        """Note the message of the next turn, and when it is due."""
        if self._number == _number(message["kwargs"].get("token")):
            self.unclaim()  # it asked nothing, being early: the same turn again
        self._redis.set(self._note, json.dumps(message), ex=KEPT)
        self.due_in(delay)

    def due_in(self, delay: float) -> None:
        self._redis.zadd(WAITS, {self._wait: time.time() + delay})


def _number(token: str | None) -> int:
    """Which turn a token is for: the count of queries that were made before it."""
    return 0 if token is None else int(json.loads(token)["polls"])
