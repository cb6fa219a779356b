"""Airflow's own triggerer runs many triggers against the simulator and is killed midway.

The tasks are put into the database as a scheduler and workers would leave them: deferred, each with
the trigger that its sensor's first poll made. `OPWATCH_JOBS` says how many (50).
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from engine_checks import SERVICES, add, cases, connections, count_in, early, polls

from opwatch import Schedule
from opwatch.airflow import OpwatchFailure, OpwatchSensor, OpwatchTrigger
from opwatch.simulator import Simulator

# Airflow's own dependencies warn of each other.
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")

JOBS = int(os.environ.get("OPWATCH_JOBS", "50"))
BASE = max(0.5, JOBS / 200)
"""Seconds of the first rung: as many polls a second as one triggerer can note."""
DELAYS = (BASE, 2 * BASE, 4 * BASE)
LIMIT = 120 + JOBS
"""Seconds for everything."""


@pytest.fixture
def run(monkeypatch):
    """A run of the DAG `deferred` in a new database, and the task that waits in it."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.models.dagbag import DBDagBag
    from airflow.sdk import timezone
    from airflow.utils import db
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    db.initdb()
    manager = DagBundlesManager()
    with create_session() as session:
        manager.sync_bundles_to_db(session=session)
    bundle = manager.get_bundle("engines")
    bag = BundleDagBag(bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    sync_bag_to_db(bag, bundle.name, None)
    with create_session() as session:
        dag = DBDagBag().get_latest_version_of_dag("deferred", session=session)
        made = dag.create_dagrun(
            run_id=f"fleet-{time.time()}",
            run_after=timezone.utcnow(),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
        (instance,) = made.get_task_instances(session=session)
        return made.run_id, dag.get_task("wait"), instance.dag_version_id


def defer(run, triggers):
    """Put a deferred task into the database for each trigger."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState

    run_id, task, version = run
    with create_session() as session:
        rows = [Trigger.from_object(trigger) for trigger in triggers]
        session.add_all(rows)
        session.flush()
        for n, row in enumerate(rows):
            deferred = TaskInstanceState.DEFERRED
            instance = TaskInstance(task, version, run_id, state=deferred, map_index=n)
            instance.trigger_id = row.id
            instance.next_method = "execute_complete"
            session.add(instance)


def instances(run):
    """The mapped task's instances as they are in the database, in order."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    mine = (TaskInstance.run_id == run[0]) & (TaskInstance.map_index >= 0)
    with create_session() as session:
        return list(session.scalars(select(TaskInstance).where(mine).order_by("map_index")))


def woken(run):
    return [instance for instance in instances(run) if instance.state == "scheduled"]


class Triggerer:
    """`airflow triggerer`, with connections to a simulator in its environment."""

    def __init__(self, url, log):
        found = connections(url)
        names = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(found[name][1]) for name in SERVICES}
        self._environment = os.environ | names
        self._log = log

    def __enter__(self):
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        return self

    def kill(self):
        """Kill it and all that it started, at once; when it was dead."""
        parent = psutil.Process(self.process.pid)
        family = [parent, *parent.children(recursive=True)]
        for one in family:
            one.suspend()
        self.cpu = [sum(one.cpu_times()[:2]) for one in family]
        for one in family:
            one.kill()
        psutil.wait_procs(family)
        self.process.wait()
        return time.time()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

    def wait(self, until):
        """Wait for a condition, as long as it runs."""
        deadline = time.monotonic() + LIMIT
        while not until():
            assert time.monotonic() < deadline, self._log.read_text()[-4000:]
            with pytest.raises(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.5)


def began(simulator, found):
    """The triggers of as many sensors, each after its first poll."""

    async def one(clients, case):
        step = await clients[case.service].start(case.job_id, timeout=3600)
        return OpwatchTrigger(service=case.service, conn_id=case.service, token=step.token)

    async def all_of_them():
        schedule = Schedule(DELAYS)
        clients = {name: simulator.async_client(name, schedule=schedule) for name in SERVICES}
        try:
            return await asyncio.gather(*(one(clients, case) for case in found))
        finally:
            for client in clients.values():
                await client.aclose()

    return asyncio.run(all_of_them())


def outcome(case, event):
    """How the sensor ends the task that is woken with an event."""
    how = {"service": case.service, "conn_id": case.service, "job_id": case.job_id}
    sensor = OpwatchSensor(task_id="wait", allow_unknown_outcome=True, **how)
    try:
        return sensor.execute_complete({}, event)["phase"]
    except OpwatchFailure as failure:
        return failure.phase


@pytest.mark.timeout(3 * LIMIT)
def test_every_job_ends_once_though_the_triggerer_is_killed(run, tmp_path):
    """Each job wakes its task once with its own end, and no poll comes before the schedule allows
    it, though all of the triggerer is killed and another continues."""
    from airflow.sdk.serde import deserialize

    found = cases(JOBS)
    log = Path(os.environ.get("OPWATCH_LOG", tmp_path / "triggerer.log"))
    with Simulator() as simulator:
        add(simulator, found)
        defer(run, began(simulator, found))

        def polled(times):
            return sum(map(len, polls(simulator).values())) >= times * JOBS

        with Triggerer(simulator.url, log) as first:
            first.wait(lambda: polled(2.5))
            killed = first.kill()
        at_kill, woken_before = sum(map(len, polls(simulator).values())), woken(run)
        with Triggerer(simulator.url, log) as second:
            second.wait(lambda: len(woken(run)) == JOBS)
            second.kill()
        times = polls(simulator)

    events = [deserialize(instance.next_kwargs)["event"] for instance in instances(run)]
    counts = [count_in(event["token"]) for event in events]
    lost = sum(map(len, times.values())) - sum(counts)
    print(
        f"{JOBS} triggers, {sum(map(len, times.values()))} polls ({at_kill} before the kill), "
        f"{len(woken_before)} woken before it, {lost} answers lost in it, "
        f"CPU s of supervisor and runner {first.cpu} and {second.cpu}, "
        f"{times and max(map(max, times.values())) - min(map(min, times.values())):.0f} s"
    )
    assert [outcome(case, event) for case, event in zip(found, events, strict=True)] == [
        case.end for case in found
    ]
    wrong = [
        fault
        for case, noted in zip(found, counts, strict=True)
        for fault in early(
            case, times[case.service, case.job_id], DELAYS, noted=noted, kills=[killed]
        )
    ]
    assert wrong == []
    assert len(woken_before) < JOBS
