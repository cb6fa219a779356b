"""The sensor on its own, its connections, and both in a DAG: no scheduler, a fake clock."""

import json

import pytest
from airflow.sdk import TaskInstanceState
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow_support import (
    CONNECTION,
    OVER,
    SECRET,
    active,
    connect,
    connect_simulator,
    fired,
    polls,
    script,
    sensor,
)
from engine_checks import connections

from opwatch import Fault
from opwatch.airflow import (
    GRACE,
    OpwatchFailure,
    OpwatchGaveUp,
    OpwatchJobFailed,
    OpwatchOutcomeUnknown,
    OpwatchRefused,
    OpwatchStalled,
    OpwatchTimeout,
    connection,
)
from opwatch.errors import ConfigurationError
from opwatch.simulator import Frame, Polls, Simulator
from opwatch.testing import FakeClock, Script, reply

# Airflow's own dependencies warn of each other.
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")


@pytest.fixture(autouse=True)
def _connection(monkeypatch):
    """An Airflow connection named `itwin`, with a token that must not show."""
    connect(monkeypatch, "itwin", {**CONNECTION, "password": SECRET})


# --- the sensor -----------------------------------------------------------------------------------


def test_the_sensor_asks_once_and_defers():
    """The sensor's first poll is made in the worker; the rest is the trigger's."""
    with FakeClock(), script(active(1)) as played, pytest.raises(TaskDeferred) as deferred:
        sensor(stall_timeout=60, schedule=(5, 7)).execute({})
    token = json.loads(deferred.value.trigger.token)
    assert polls(played) == [0]
    assert (token["job"], token["delays"], token["stall"]) == ("j", [5, 7], 60)
    assert deferred.value.timeout.total_seconds() == 3600 + GRACE


def test_a_job_that_is_over_at_the_first_query_is_not_deferred():
    """Nothing is handed to the triggerer where there is nothing to wait for."""
    with FakeClock(), script():
        result = sensor().execute({})
    assert result["phase"] == "succeeded"


@pytest.mark.parametrize("deferrable", [True, False])
def test_both_modes_give_the_same_result(deferrable):
    """The XCom is the last response as JSON, with what the service sent."""
    with FakeClock(), script(active(1), active(2)):
        result = run(sensor(deferrable=deferrable))
    assert json.loads(json.dumps(result)) == {
        "service": "itwin",
        "job_id": "j",
        "phase": "succeeded",
        "percent": 100.0,
        "step": None,
        "bytes_processed": None,
        "fault": None,
        "started_at": None,
        "finished_at": None,
        "wire": {"jobProgress": {"percentage": 100, "state": "Over"}},
    }


def run(task):
    """A task from its beginning to its end, deferred as often as it asks to be."""
    try:
        return task.execute({})
    except TaskDeferred as deferred:
        (event,) = fired(deferred.trigger)
        return task.resume_execution(deferred.method_name, {"event": event}, {})


GONE = reply(404, {"error": {"code": "JobNotFound", "message": "no such job"}})
DOWN = reply(503, {"error": {"code": "ServiceUnavailable", "message": "later"}})
DENIED = reply(401, {"error": {"code": "Unauthorized", "message": "no"}})
FAILURES = [
    ([active(1)], {"end": "failed"}, OpwatchJobFailed, AirflowFailException),
    ([active(1)], {"end": "cancelled"}, OpwatchJobFailed, AirflowFailException),
    ([active(1)], {"end": "over"}, OpwatchOutcomeUnknown, AirflowFailException),
    ([active(1)] * 99, {"end": "active"}, OpwatchTimeout, AirflowSensorTimeout),
    ([active(1), GONE], {}, OpwatchRefused, AirflowFailException),
    ([active(1), DENIED], {}, OpwatchRefused, AirflowFailException),
    ([DENIED], {}, OpwatchRefused, AirflowFailException),
    ([active(1), *[DOWN] * 20], {}, OpwatchGaveUp, AirflowException),
]


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(("answers", "how", "kind", "airflows"), FAILURES)
def test_each_end_has_its_own_failure(deferrable, answers, how, kind, airflows):
    """Whatever ends a wait fails the task with its own class, of the Airflow class that fits."""
    with FakeClock(), script(*answers, **how), pytest.raises(kind) as failure:
        run(sensor(deferrable=deferrable))
    assert type(failure.value) is kind
    assert isinstance(failure.value, airflows)
    assert SECRET not in str(failure.value)


def test_only_trouble_that_may_pass_is_retried():
    """Airflow's retries are for a wait that gave up; no other end is changed by waiting again."""
    final = (AirflowFailException, AirflowSensorTimeout)
    kinds = OpwatchFailure.__subclasses__()
    assert [kind for kind in kinds if not issubclass(kind, final)] == [OpwatchGaveUp]


def test_a_stalled_job_fails_the_task():
    """stall_timeout holds in the triggerer too."""
    with FakeClock(), script(*[active(1)] * 99), pytest.raises(OpwatchStalled) as failure:
        run(sensor(stall_timeout=100))
    assert isinstance(failure.value, AirflowSensorTimeout)


def test_a_failure_has_the_fault_and_the_token():
    """Who catches the failure of a task finds the service's reason and can resume."""
    errors = [{"code": "E1", "title": "bad", "message": "no photos"}]
    job = {"id": "j", "state": "failed", "executionInformation": {"errors": errors}}
    replies = {"/jobs/j/progress": [active(1), OVER], "/jobs/j": [reply(200, {"job": job})]}
    with FakeClock(), Script(replies), pytest.raises(OpwatchJobFailed) as failure:
        run(sensor())
    assert failure.value.fault == Fault("E1", "bad: no photos")
    assert failure.value.phase == "failed"
    assert json.loads(failure.value.token)["job"] == "j"


@pytest.mark.parametrize("deferrable", [True, False])
def test_an_unknown_outcome_can_be_taken(deferrable):
    """A task may say that an end whose outcome is unknown is good enough."""
    with FakeClock(), script(active(1), end="over"):
        result = run(sensor(deferrable=deferrable, allow_unknown_outcome=True))
    assert result["phase"] == "ended"


@pytest.mark.parametrize("answers", [[], [active(1)]])
def test_soft_fail_skips(answers):
    """soft_fail holds for what ends before deferring and after."""
    with FakeClock(), script(*answers, end="failed"), pytest.raises(AirflowSkipException):
        run(sensor(soft_fail=True))


def test_reschedule_mode_is_refused():
    """A mode that would forget the schedule between two polls is named."""
    with pytest.raises(ConfigurationError, match="deferrable=True"):
        sensor(mode="reschedule")


def test_an_unknown_service_is_a_refusal():
    """A service that is not installed fails the task, and the text says which there are."""
    with pytest.raises(OpwatchRefused, match="apig, catenis, itwin"):
        sensor(service="nonesuch").execute({})


# --- connections ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*connections("")])
def test_a_connection_gives_every_credential(name, monkeypatch):
    """Each kind of credential in a connection is one the service takes."""
    with Simulator() as simulator:
        service = connect_simulator(monkeypatch, name, simulator.url, conn_id="any")
        job_id = f"p{0:019}"
        simulator.add(service, job_id, Polls([Frame("running"), Frame("succeeded")]))
        how = {"service": service, "conn_id": "any", "job_id": job_id, "schedule": (0.01,)}
        result = run(sensor(**how))
    assert (result["service"], result["phase"]) == (service, "succeeded")
    assert result.get("details", {}).get("status") == (
        "Running" if name == "apig domains" else None
    )


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({}, None),
        ({"host": "https://a.test/b"}, "https://a.test/b"),
        ({"host": "a.test"}, "https://a.test"),
        ({"host": "a.test", "port": 444}, "https://a.test:444"),
        ({"host": "127.0.0.1", "schema": "http", "port": 80}, "http://127.0.0.1:80"),
        ({"host": "a.test", "schema": "http"}, "http://a.test"),
    ],
)
def test_a_host_becomes_an_address(fields, address):
    """A host without a scheme is asked over https; only the connection can say otherwise."""
    from airflow.sdk import Connection

    given = Connection(conn_id="c", conn_type="generic", **fields)
    assert connection.given_by(given, {}).address == address


def test_a_misspelt_extra_is_refused(monkeypatch):
    """An extra field that means nothing is named, with those that do."""
    connect(monkeypatch, "itwin", {**CONNECTION, "password": SECRET, "extra": '{"scop": "x"}'})
    with pytest.raises(
        OpwatchRefused, match=r"unknown keys \(scop\); the keys are .*scope"
    ) as failure:
        sensor().execute({})
    assert SECRET not in str(failure.value)


# --- in a DAG -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def database():
    from airflow.utils import db

    db.initdb()
    return db


@pytest.fixture
def simulated(monkeypatch):
    """A simulator whose time passes when somebody sleeps, and the connection to it."""
    with FakeClock() as clock, Simulator(clock=clock) as simulator:
        connect_simulator(monkeypatch, "itwin", simulator.url)
        yield simulator


def dag(dag_id):
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag

    for bundle in DagBundlesManager().get_all_dag_bundles():
        bag = BundleDagBag(bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        assert bag.import_errors == {}
        if dag_id in bag.dags:
            return bag.dags[dag_id]
    raise AssertionError(f"no DAG {dag_id}")


@pytest.mark.parametrize("end", ["succeeded", "failed"])
@pytest.mark.parametrize("mode", ["deferred", "blocking"])
def test_airflow_runs_the_sensor(database, simulated, end, mode):
    """Airflow runs the sensor, and its trigger, and ends the task as the job ended."""
    simulated.add("itwin", "j", Polls([Frame("running"), Frame("running"), Frame(end)]))
    (instance,) = dag(mode).test(run_conf={"job": "j"}).get_task_instances()
    expected = TaskInstanceState.SUCCESS if end == "succeeded" else TaskInstanceState.FAILED
    assert instance.state == expected
    assert [one.time for one in simulated.requests if one.operation == "progress"] == [
        FakeClock().epoch() + seconds for seconds in (0, 15, 45)
    ]


def test_the_example_runs(database, simulated):
    """The DAG of the examples submits, waits and uses the result."""
    simulated.add("itwin", "j", Polls([Frame("running"), Frame("succeeded")]))
    run = dag("model").test(run_conf={"job": "j"})
    states = {instance.task_id: instance.state for instance in run.get_task_instances()}
    assert states == dict.fromkeys(["submit", "wait", "use"], TaskInstanceState.SUCCESS)
    (used,) = [one for one in run.get_task_instances() if one.task_id == "use"]
    assert used.xcom_pull(task_ids="use") == "j succeeded"
