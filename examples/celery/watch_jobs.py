"""Celery: wait for jobs in a task queue. A waiting job is one message, and holds no process.

    export BROKER_URL=redis://127.0.0.1:6379/0 ITWIN_CLIENT_ID=... ITWIN_CLIENT_SECRET=...
    celery -A watch_jobs worker
    >>> watch.delay("itwin", "job-1", timeout=6 * 3600).get()

Needs `pip install opwatch 'celery[redis]'`. Each run of `watch` is one turn: it asks once, and
sends itself again with the new token and the delay that the schedule says.

A worker may be killed at any moment, and a queue delivers at least once. So:

- `acks_late` takes a turn from the queue when it has ended. One that a kill ended comes again.
- `visibility_timeout` is more than the longest delay: a message with a countdown counts as taken
  while a worker holds it, and would be delivered twice.
- The newest token is noted in Redis before the next turn is sent. Who gets a message for the second
  time goes on with it. Where the answer of that very turn was not noted, it may have been asked for
  and lost: then `LONGEST` passes before the next query.
- A turn is claimed before it is made: where a kill left two messages for one turn, one is dropped.
"""

import functools
import json
import os
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore

from opwatch import Schedule, services
from opwatch.client import Client
from opwatch.errors import OpwatchError

REDIS = os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/0")
LONGEST = float(os.environ.get("LONGEST_DELAY", "120"))
"""Seconds: the longest delay of any schedule."""
VISIBILITY = float(os.environ.get("VISIBILITY_TIMEOUT", "3600"))
"""Seconds: more than `LONGEST`, and than any Retry-After that is to be lived through."""
KEPT = 30 * 86_400

app = Celery("watch_jobs", broker=REDIS, backend=REDIS)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_transport_options={"visibility_timeout": VISIBILITY},
    result_expires=KEPT,
)


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

    def again(token: str | None, countdown: float) -> Exception:
        how = {"timeout": timeout, "delays": delays, "token": token}
        return self.retry(args=(service, job_id), kwargs=how, countdown=countdown, throw=False)

    turn = Turn(self.request.id, token)
    if self.request.delivery_info.get("redelivered"):
        if self.AsyncResult(self.request.id).ready():
            raise Ignore
        raise again(*turn.recovered())
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
    turn.end(step.token)
    raise again(step.token, step.delay)


class Turn:
    """One turn of one wait, as all workers know it."""

    def __init__(self, wait: str, token: str | None) -> None:
        self._token = token
        self._redis = app.backend.client
        self._note = f"opwatch:{wait}"
        self._claim = f"opwatch:{wait}:{_number(token)}"

    def claim(self) -> bool:
        """Whether this is the message that makes the turn, and no other was."""
        return bool(self._redis.set(self._claim, 1, nx=True, ex=KEPT))

    def end(self, token: str) -> None:
        """Note the next turn's token; one that asked nothing, being early, is to be made again."""
        self._redis.set(self._note, token, ex=KEPT)
        if _number(token) == _number(self._token):
            self._redis.delete(self._claim)

    def recovered(self) -> tuple[str | None, float]:
        """What to go on with after a kill: the newest token, and a countdown."""
        noted = self._redis.get(self._note)
        newest = self._token if noted is None else noted.decode()
        if _number(newest) > _number(self._token):
            return newest, 0.0
        self._redis.delete(self._claim)
        return self._token, LONGEST


def _number(token: str | None) -> int:
    """Which turn a token is for: the count of queries that were made before it."""
    return 0 if token is None else int(json.loads(token)["polls"])
