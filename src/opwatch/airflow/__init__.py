"""Waits in Airflow 3: one deferrable sensor for all services, and the trigger that it defers to.

>>> from opwatch.airflow import OpwatchSensor
>>> OpwatchSensor(  # doctest: +SKIP
...     task_id="model", service="itwin", conn_id="itwin", job_id="{{ ti.xcom_pull('submit') }}",
...     timeout=6 * 3600,
... )

It needs the `airflow` extra. The sensor makes the first poll in a worker and hands the wait over to
the triggerer, where a wait is only a sleeping coroutine. The clients' `start` and `step` decide
when to poll and what a response means. Services are found by name.

What is stored, and the effects of a restart
============================================

Airflow stores the trigger as it was when the task was deferred: a connection ID, a service and the
first token. They can't be changed while the task is deferred, so the token becomes outdated: its
rung, its marker and the time of its next poll are those of the first answer. A triggerer that
resumed the wait from it would poll too early. Deferring again after each answer would keep the
token up to date, but start a worker process each time, which deferring is meant to avoid.

So the trigger saves the newest token after each answer, before it sleeps, as an XCom of the waiting
task (key `opwatch_wait`), which the triggerer can write. It skips this only if a job makes no
progress on the last rung, when there is nothing new to save. The next triggerer resumes the wait
from that token, with the same rung, marker, failures, `Retry-After` and deadline. Airflow clears
the XCom when the task starts over, and the XCom names the first token that it belongs to, so it is
never used for the wait of another try.

A triggerer can be killed between an answer and saving its token. The next one can't distinguish
that from a triggerer that was down for long. So if a poll is overdue, it assumes that the poll was
made and its answer lost, and waits for the next delay, from now, before it polls. Hence:

- no poll is made earlier than the schedule or a saved `Retry-After` allows, no matter how often and
  when triggerers end;
- the deadline doesn't change; one last poll is made then, or as soon as a triggerer runs again;
- a restart prolongs a wait by one delay at most (120 s for iTwin, 20 s for APIG, 15 s for Catenis),
  in addition to the time in which no triggerer ran;
- if a triggerer is killed before it saves the token, what only the last answer said is lost: the
  schedule may be one rung lower than it would have been, and a `Retry-After` in that answer is
  unknown.

Airflow determines the cost of saving a token: with 1,000 triggers, about 50 ms of CPU in the
triggerer's supervisor (3.3 on SQLite, a slow machine), so one triggerer can make about 20 polls a
second. With more, polls are late, but never early: start another triggerer.

If Airflow gives the trigger no task, as in `dag.test()`, nothing is saved.

The connection
==============

The type of an Airflow connection doesn't matter. `host` is the address; `https://` is added if it
has no scheme (or `http://` if `schema` is `http`, which is accepted only for this machine), and
`port` if there is one.

=========  ================  ==========================  ================  =======================
service    login             password                    host              extra
=========  ================  ==========================  ================  =======================
catenis    device id         API access secret           base URL          environment, version
itwin      client id         client secret               base URL          scope, token_url, basic,
           (none)            an access token             base URL          resolve_outcome
itwin-v2   client id         client secret               base URL          scope, token_url, basic,
           (none)            an access token             base URL          api
apig       user              password                    endpoint (must)   auth_url, domain_name,
                                                                           project_name, project_id
           access key        secret key                  endpoint (must)   project_id (must),
                                                                           security_token
           (none)            an X-Auth-Token             endpoint (must)   project_id (must)
=========  ================  ==========================  ================  =======================

For apig, `auth_url` in extra says that login and password are a user's; `user_domain_id`,
`project_domain_name` and `project_domain_id` are taken too, and `until`. Every service also takes
`request_timeout`, `max_failures`, `max_in_flight` and `user_agent` in extra. A service of another
package is given its extra as the keyword arguments of its client.

The jobs of one connection share one client in a triggerer: one rate limit, one token, one pool.
"""

# Airflow has a separate environment; it isn't installed where types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

try:
    from airflow.sdk import BaseSensorOperator
    from airflow.sdk.bases.hook import BaseHook
    from airflow.sdk.exceptions import AirflowSkipException
    from airflow.sdk.execution_time.xcom import XCom
    from airflow.triggers.base import BaseTrigger, TriggerEvent
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "airflow":
        raise
    missing = "opwatch.airflow needs Airflow 3: pip install 'opwatch[airflow]'"
    raise ModuleNotFoundError(f"{missing} ({error})", name=error.name) from error

from opwatch import clock as clocks
from opwatch import services
from opwatch.airflow.connection import arguments, given_by, shared_client
from opwatch.airflow.outcome import (
    OpwatchFailure,
    OpwatchGaveUp,
    OpwatchJobFailed,
    OpwatchOutcomeUnknown,
    OpwatchRefused,
    OpwatchStalled,
    OpwatchTimeout,
    broken,
    conclude,
    ended,
    waited,
)
from opwatch.clock import Clock
from opwatch.core import polling
from opwatch.core.polling import Schedule
from opwatch.core.run import Step
from opwatch.errors import ConfigurationError, OpwatchError
from opwatch.text import printable

__all__ = [
    "OpwatchFailure",
    "OpwatchGaveUp",
    "OpwatchJobFailed",
    "OpwatchOutcomeUnknown",
    "OpwatchRefused",
    "OpwatchSensor",
    "OpwatchStalled",
    "OpwatchTimeout",
    "OpwatchTrigger",
]

NOTE = "opwatch_wait"
"""The key of the XCom in which a trigger keeps its newest token."""
GRACE = 600.0
"""Seconds after the wait's own deadline at which Airflow ends a task that no triggerer woke."""


# --- in the triggerer -----------------------------------------------------------------------------


class _Notes:
    """Saves a wait's newest token, where the next triggerer finds it (the header says why)."""

    def __init__(self, task_instance: Any, first: str) -> None:
        self._first = first
        self._of = hashlib.sha256(first.encode()).hexdigest()[:16]
        self._where: dict[str, Any] | None = None
        if task_instance is not None:
            names = ("dag_id", "task_id", "run_id", "map_index")
            self._where = {name: getattr(task_instance, name) for name in names}

    async def read(self) -> str | None:
        """Return the newest token, or None if no triggerer has begun with this wait."""
        if self._where is None:
            return None
        note = await XCom.aget_one(key=NOTE, **self._where)
        is_ours = isinstance(note, dict) and note.get("of") == self._of
        return note["token"] if is_ours else None

    async def write(self, token: str) -> None:
        if self._where is not None:
            await XCom.aset(key=NOTE, value={"of": self._of, "token": token}, **self._where)


def _owed(token: str, service: str, clock: Clock) -> float:
    """Return the seconds to wait, as another triggerer may have polled and lost the answer."""
    now = clock.now()
    _, state = polling.load(token, service=service, now=now, epoch=clock.epoch())
    if now < state.due:
        return state.due - now
    return max(polling.unanswered(state, now, clock.jitter()).due - now, 0.0)


def _says_the_same(new: str, old: str, service: str) -> bool:
    """Return whether resuming from the old token polls no sooner than from the new one.

    That is the case if a job makes no progress on the last rung.
    """
    (_, now), (_, before) = (
        polling.load(token, service=service, now=0.0, epoch=0.0) for token in (new, old)
    )
    last = len(now.plan.schedule.delays)
    still = (now.marker, now.phase, now.failures) == (before.marker, before.phase, 0)
    return still and before.failures == 0 and min(now.rung, before.rung) >= last


class OpwatchTrigger(BaseTrigger):
    """Waits for one job and fires one event. Airflow stores only its three arguments.

    An `OpwatchError` that ends the wait isn't raised: it is part of the event, and
    `OpwatchSensor.execute_complete` raises it.
    """

    def __init__(self, *, service: str, conn_id: str, token: str) -> None:
        super().__init__()
        self.service = service
        self.conn_id = conn_id
        self.token = token

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, which contain no address and no credential."""
        arguments = {"service": self.service, "conn_id": self.conn_id, "token": self.token}
        return f"{__name__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll on schedule until the wait ends, and fire the event."""
        try:
            event = ended(await self._wait())
        except OpwatchError as error:
            event = broken(error)
        yield TriggerEvent(event)

    async def _wait(self) -> Step[Any]:
        clock = clocks.current.get()
        notes = _Notes(self.task_instance, self.token)
        async with shared_client(self.service, self.conn_id) as client:
            noted = await notes.read()
            if noted is None:
                token = self.token
                await notes.write(token)
            else:
                token = noted
                await clock.asleep(_owed(token, self.service, clock))
            while True:
                step = await client.step(token)
                if step.delay is None:
                    return step
                if step.progress is not None or step.trouble is not None:
                    if not _says_the_same(step.token, token, self.service):
                        await notes.write(step.token)
                    token = step.token
                if step.trouble is not None and step.trouble.held_until is None:
                    self.log.warning(
                        "poll failed, retrying: %s", printable(str(step.trouble), 1000)
                    )
                await clock.asleep(step.delay)


# --- in the worker --------------------------------------------------------------------------------


class OpwatchSensor(BaseSensorOperator):
    """Waits until a job of any service finishes; its XCom is the last `Progress` as a dict.

    `service` is `"catenis"`, `"itwin"`, `"apig"`, or a service from another package. `job_id` can
    be a template. `conn_id` is the Airflow connection (the module's docstring lists the fields for
    each service). `timeout` is in seconds or a timedelta and limits the complete wait, with one
    last poll at the deadline; Airflow's default for sensors is seven days. `stall_timeout` is how
    many seconds the job may go without progress. `schedule` is a list of seconds between polls,
    instead of the service's own. `allow_unknown_outcome` treats a finished job as a success if the
    service didn't say how it ended. Without `deferrable`, the wait occupies the worker.
    `poke_interval`, `exponential_backoff` and `max_wait` are ignored, because the service's
    schedule applies. A retry of the task begins a new wait with the full timeout.

    Raises `OpwatchJobFailed`, `OpwatchOutcomeUnknown`, `OpwatchTimeout`, `OpwatchStalled`,
    `OpwatchRefused` or `OpwatchGaveUp`, and `ConfigurationError` for a mode other than poke.
    """

    template_fields: Sequence[str] = ("job_id",)

    def __init__(
        self,
        *,
        service: str,
        job_id: str,
        conn_id: str,
        stall_timeout: float | None = None,
        schedule: Sequence[float] | None = None,
        allow_unknown_outcome: bool = False,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if self.mode != "poke":
            raise ConfigurationError(
                "mode='reschedule' would lose the polling schedule between polls; "
                "use deferrable=True"
            )
        self.service = service
        self.job_id = job_id
        self.conn_id = conn_id
        self.stall_timeout = stall_timeout
        self.schedule = schedule
        self.allow_unknown_outcome = allow_unknown_outcome
        self.deferrable = deferrable

    def execute(self, context: Any) -> dict[str, Any]:
        """Make the first poll; then defer, or wait here."""
        try:
            event = self._begin()
            return self._conclude(event)
        except OpwatchFailure as failure:
            # After deferring, Airflow's own class does this.
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(failure)) from failure
            raise

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Return the result of the trigger's event, or raise its failure."""
        return self._conclude(event)

    def _conclude(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return conclude(event, allow_unknown_outcome=self.allow_unknown_outcome)

    def _begin(self) -> dict[str, Any]:
        """Return the event of a wait that ended here; otherwise, defer, which raises."""
        connection = BaseHook.get_connection(self.conn_id)
        how: dict[str, Any] = {"timeout": self.timeout, "stall_timeout": self.stall_timeout}
        try:
            if self.schedule is not None:
                how["schedule"] = Schedule(self.schedule)
            given = given_by(connection, connection.extra_dejson)
            kind = services.find(self.service).client
            with kind(**arguments(self.service, given)) as client:
                if not self.deferrable:
                    return waited(client.watch(self.job_id, **how))
                step = client.start(self.job_id, **how)
        except OpwatchError as error:
            return broken(error)
        if step.delay is None:
            return ended(step)
        self.defer(
            trigger=OpwatchTrigger(service=self.service, conn_id=self.conn_id, token=step.token),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout + GRACE),
        )
        raise AssertionError("defer returned")
