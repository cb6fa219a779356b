"""The sensor and the trigger on their own: no scheduler, no triggerer, a fake clock."""

import asyncio
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
from airflow.sdk.execution_time import supervisor
from airflow.sdk.execution_time.comms import GetXCom, SetXCom, XComResult, _RequestFrame
from engine_checks import connections

from opwatch import Fault, ITwin, Schedule
from opwatch.airflow import (
    GRACE,
    OpwatchFailure,
    OpwatchGaveUp,
    OpwatchJobFailed,
    OpwatchOutcomeUnknown,
    OpwatchRefused,
    OpwatchSensor,
    OpwatchStalled,
    OpwatchTimeout,
    OpwatchTrigger,
    connection,
)
from opwatch.errors import ConfigurationError
from opwatch.simulator import Frame, Polls, Simulator
from opwatch.testing import FakeClock, Script, reply

# Airflow's own dependencies warn of each other.
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")

OVER = reply(200, {"jobProgress": {"percentage": 100, "state": "Over"}})
SECRET = "made-up-secret-word"
CONNECTION = {"conn_type": "generic", "host": "https://itwin.test/contextcapture"}


@pytest.fixture(autouse=True)
def _connection(monkeypatch):
    """An Airflow connection named `itwin`, with a token that must not show."""
    connect(monkeypatch, "itwin", {**CONNECTION, "password": SECRET})


def connect(monkeypatch, conn_id, fields):
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))


def connect_simulator(monkeypatch, name, url, conn_id="itwin"):
    """A connection of that kind to a simulator; its service."""
    service, fields = connections(url)[name]
    connect(monkeypatch, conn_id, fields)
    return service


def active(percent):
    return reply(200, {"jobProgress": {"percentage": percent, "state": "Active"}})


def script(*replies, end="success"):
    """An iTwin job named j that responds with `replies`, then is over."""
    job = {"id": "j", "state": end}
    return Script({"/jobs/j/progress": [*replies, OVER], "/jobs/j": [reply(200, {"job": job})]})


def polls(played):
    return [sent.time for sent in played.sent if sent.target.endswith("/progress")]


def begun(**how):
    """A trigger for a wait that has just made its first poll."""
    step = ITwin("a token").start("j", timeout=how.pop("timeout", 3600), **how)
    return OpwatchTrigger(service="itwin", conn_id="itwin", token=step.token)


def fired(trigger):
    """The payloads of all that a trigger fires."""

    async def collect():
        return [event.payload async for event in trigger.run()]

    return asyncio.run(collect())


def sensor(**how):
    how = {"service": "itwin", "conn_id": "itwin", "job_id": "j", "timeout": 3600, **how}
    return OpwatchSensor(task_id="wait", **how)


class TaskInstance:
    """What a triggerer tells a trigger about the task that waits."""

    dag_id, task_id, run_id, map_index = "dag", "wait", "run", -1


class Airflow:
    """The XComs, as a triggerer's supervisor gives access to them; `stop_at` ends it there."""

    def __init__(self):
        self.values = {}
        self.writes = 0
        self.stop_at = None

    async def asend(self, msg):
        if isinstance(msg, SetXCom):
            self.writes += 1
            if self.writes == self.stop_at:
                raise asyncio.CancelledError
            self.values[msg.key] = msg.value
            return None
        if isinstance(msg, GetXCom):
            return XComResult(key=msg.key, value=self.values.get(msg.key))
        return None

    def send(self, msg):
        raise AssertionError(f"a blocking call from the event loop: {msg}")


@pytest.fixture
def xcoms():
    comms = Airflow()
    with supervisor.set_supervisor_comms(comms):
        yield comms


def revived(trigger, *, known=True):
    """The trigger as Airflow makes it again from what it keeps."""
    path, arguments = trigger.serialize()
    assert path == "opwatch.airflow.OpwatchTrigger"
    again = OpwatchTrigger(**json.loads(json.dumps(arguments)))
    again.task_instance = TaskInstance() if known else None
    return again


# --- the trigger ----------------------------------------------------------------------------------


def test_the_serialised_trigger_holds_service_connection_id_and_token_alone():
    """What Airflow keeps of a trigger is three texts, and neither address nor credential."""
    with FakeClock(), script(active(1)):
        trigger = begun()
    assert trigger.serialize() == (
        "opwatch.airflow.OpwatchTrigger",
        {"service": "itwin", "conn_id": "itwin", "token": trigger.token},
    )
    assert "itwin.test" not in repr(trigger)
    assert SECRET not in repr(trigger)


def test_a_trigger_asks_by_the_schedule_and_fires_once():
    """A trigger resumes the wait that the sensor began, and fires the job's end once."""
    with FakeClock(), script(active(1), active(1), active(1), active(2)) as played:
        events = fired(begun())
    assert polls(played) == [0, 15, 45, 105, 120]
    assert [event["progress"]["phase"] for event in events] == ["succeeded"]


def test_what_is_fired_is_json():
    """The event survives JSON: it is what the task is woken with."""
    with FakeClock(), script(active(1), end="failed"):
        events = fired(begun())
    assert json.loads(json.dumps(events)) == events


@pytest.mark.parametrize("after", range(1, 6))
def test_a_trigger_that_is_made_anew_goes_on_where_the_other_was(xcoms, after):
    """After a restart in time, every poll comes when it would have come without one."""
    answers = [active(1), active(1), active(1), active(1), active(1), active(2), active(2)]
    with FakeClock() as clock, script(*answers) as played:
        trigger = begun()
        stopped = clock.asleep
        left = [after]

        async def asleep(seconds, until=None):
            left[0] -= 1
            if not left[0]:
                raise asyncio.CancelledError
            await stopped(seconds, until)

        clock.asleep = asleep
        with pytest.raises(asyncio.CancelledError):
            fired(revived(trigger))
        clock.asleep = stopped
        events = fired(revived(trigger))
    assert polls(played) == [0, 15, 45, 105, 225, 345, 360, 390]
    assert [event["progress"]["phase"] for event in events] == ["succeeded"]


def test_a_trigger_killed_before_it_noted_an_answer_lets_one_delay_pass(xcoms):
    """A poll that may have been lost counts as made: the next one comes a full delay later."""
    with FakeClock() as clock, script(active(1), active(1), active(1)) as played:
        trigger = begun()
        xcoms.stop_at = 3  # begun, noted 15 s, and killed before noting 45 s
        with pytest.raises(asyncio.CancelledError):
            fired(revived(trigger))
        clock.advance(1)
        fired(revived(trigger))
    assert polls(played) == [0, 15, 45, 46 + 60]


def test_a_job_that_stands_still_is_noted_once_a_rung(xcoms):
    """On the last rung there is nothing new to write down until the job moves."""
    with FakeClock(), script(*[active(1)] * 5, active(2)):
        fired(revived(begun()))
    # Begun; after 30, 60, 120 s; then moved.
    assert xcoms.writes == 1 + 3 + 1


def test_a_restart_on_the_last_rung_lets_that_rung_pass(xcoms):
    """A token that wasn't stored never makes a poll come sooner."""
    with FakeClock() as clock, script(*[active(1)] * 7) as played:
        trigger = begun()
        asleep, naps = clock.asleep, []

        async def killed(seconds, until=None):
            naps.append(seconds)
            if len(naps) == 6:
                raise asyncio.CancelledError
            await asleep(seconds, until)

        clock.asleep = killed
        with pytest.raises(asyncio.CancelledError):
            fired(revived(trigger))
        clock.asleep = asleep
        clock.advance(1)
        fired(revived(trigger))
    assert polls(played) == [0, 15, 45, 105, 225, 345, 466, 586]


def test_a_trigger_that_nobody_began_asks_at_once_when_it_is_late(xcoms):
    """A triggerer that was slow to begin costs no further delay: nothing can have been lost."""
    with FakeClock() as clock, script(active(1)) as played:
        trigger = begun()
        clock.advance(100)
        fired(revived(trigger))
    assert polls(played) == [0, 100]


def test_a_note_of_an_earlier_try_is_not_taken_for_this_one(xcoms):
    """A note belongs to the token that its wait began with."""
    with FakeClock() as clock:
        with script(active(1), active(1)):
            fired(revived(begun()))
        clock.advance(1000)
        with script(active(1)) as played:
            fired(revived(begun()))
    assert polls(played) == [1120 - 75, 1120 - 60]


def test_a_restart_keeps_retry_after(xcoms):
    """What a 429 asked for holds for the triggerer that comes after, too."""
    limited = reply(429, {"error": {"code": "TooManyRequests"}}, {"Retry-After": "500"})
    with FakeClock() as clock, script(active(1), limited) as played:
        trigger = begun()
        asleep, naps = clock.asleep, []

        async def killed(seconds, until=None):
            naps.append(seconds)
            if len(naps) == 2:
                raise asyncio.CancelledError
            await asleep(seconds, until)

        clock.asleep = killed
        with pytest.raises(asyncio.CancelledError):
            fired(revived(trigger))
        clock.asleep = asleep
        fired(revived(trigger))
    assert polls(played)[:2] == [0, 15]
    assert polls(played)[2] >= 515


def test_the_last_query_is_made_at_the_deadline():
    """A trigger polls once more when the sensor's timeout is up, and fires the timeout."""
    with FakeClock(), Script({"/jobs/j/progress": [active(1)]}) as played:
        (event,) = fired(begun(timeout=50))
    assert polls(played) == [0, 15, 45, 50]
    assert event["failure"] == "OpwatchTimeout"


def test_a_restart_does_not_move_the_deadline(xcoms):
    """The deadline is in the token: a triggerer that comes later has no more time."""
    with FakeClock() as clock, Script({"/jobs/j/progress": [active(1)]}) as played:
        trigger = begun(timeout=100)
        xcoms.stop_at = 2
        with pytest.raises(asyncio.CancelledError):
            fired(revived(trigger))
        clock.advance(70)
        (event,) = fired(revived(trigger))
    assert polls(played) == [0, 15, 100]
    assert event["failure"] == "OpwatchTimeout"


def test_triggers_of_one_connection_share_one_token(monkeypatch):
    """A hundred jobs of a connection log in once, and the last of them closes the client."""
    with Simulator() as simulator:
        connect_simulator(monkeypatch, "itwin", simulator.url)
        client = simulator.client("itwin", schedule=Schedule((0.01,)))
        triggers = []
        for n in range(100):
            simulator.add("itwin", f"j{n}", Polls([Frame("running"), Frame("succeeded")]))
            token = client.start(f"j{n}", timeout=60).token
            triggers.append(OpwatchTrigger(service="itwin", conn_id="itwin", token=token))

        async def together():
            return await asyncio.gather(*[anext(trigger.run()) for trigger in triggers])

        events = asyncio.run(together())
        logins = [one for one in simulator.requests if one.operation == "token"]
    assert {event.payload["progress"]["phase"] for event in events} == {"succeeded"}
    assert len(logins) == 2  # the client that began, and the triggers'
    assert connection.shared_clients == {}  # the last one closed it


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


# --- what a service sent --------------------------------------------------------------------------


def read_message(**result):
    done = {"bytesProcessed": 9, "done": True, "success": True}
    data = {"action": "read", "progress": done, "result": {"messageId": "m1", **result}}
    return Script({"/progress": [reply(200, {"status": "success", "data": data})]})


def test_an_xcom_holds_no_continuation_token(monkeypatch):
    """Whoever may see a task's XCom can't read the message with it."""
    catenis = {"conn_type": "generic", "login": "d" * 20, "password": SECRET}
    connect(monkeypatch, "catenis", catenis)
    with FakeClock(), read_message(continuationToken="hJ0zvXqT7mYw3Kp9sBdR"):
        found = sensor(service="catenis", conn_id="catenis", job_id="p" + "x" * 19).execute({})
    assert found["phase"] == "succeeded"
    assert found["wire"]["data"]["result"] == {"messageId": "m1"}
    assert "hJ0zvXqT7mYw3Kp9sBdR" not in json.dumps(found)


@pytest.mark.parametrize("deferrable", [True, False])
def test_an_xcom_can_always_be_sent(deferrable):
    """NaN and half a surrogate pair, which no database takes, are null and U+FFFD."""
    body = b'{"jobProgress": {"percentage": NaN, "state": "success", "step": "a\\ud800b"}}'
    with FakeClock(), Script({"/jobs/j/progress": [reply(200, body)]}):
        found = sensor(deferrable=deferrable).execute({})
    text = json.dumps(found, allow_nan=False, ensure_ascii=False)
    assert text.encode()
    assert found["phase"] == "succeeded"
    assert found["wire"]["jobProgress"]["percentage"] is None
    assert found["wire"]["jobProgress"]["step"] == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (str(2**64 - 1), 2**64 - 1),
        (str(2**64), str(2**64)),
        (str(-(2**63)), -(2**63)),
        (str(-(2**63) - 1), str(-(2**63) - 1)),
        ("[" * 48 + "1" + "]" * 48, json.loads("[" * 48 + "1" + "]" * 48)),
        ("[" * 600 + "]" * 600, json.loads("[" * 48 + "null" + "]" * 48)),
        ('{"a":' * 600 + "1" + "}" * 600, json.loads('{"a":' * 48 + "null" + "}" * 48)),
    ],
)
def test_an_xcom_fits_into_a_message_of_airflow(sent, found):
    """An integer of more than 64 bits is text, and what is nested too deeply is null."""
    body = f'{{"jobProgress": {{"percentage": 100, "state": "success", "more": {sent}}}}}'
    with FakeClock(), Script({"/jobs/j/progress": [reply(200, body.encode())]}):
        report = sensor().execute({})
    assert report["wire"]["jobProgress"]["more"] == found
    assert _RequestFrame(id=1, body={"event": report}).as_bytes()


def test_a_huge_count_of_bytes_is_text(monkeypatch):
    """The count of a service that sends more bytes than 64 bits can count still fits."""
    catenis = {"conn_type": "generic", "login": "d" * 20, "password": SECRET}
    connect(monkeypatch, "catenis", catenis)
    done = {"bytesProcessed": 2**70, "done": True, "success": True}
    data = {"action": "read", "progress": done, "result": {"messageId": "m1"}}
    answer = reply(200, {"status": "success", "data": data})
    with FakeClock(), Script({"/progress": [answer]}):
        found = sensor(service="catenis", conn_id="catenis", job_id="p" + "x" * 19).execute({})
    assert found["bytes_processed"] == str(2**70)


@pytest.mark.parametrize("harm", ["a\x1b[2Jb", "a\nopwatch: succeeded", "a\u202eb"])
def test_a_fault_is_one_printable_line_of_the_log(harm):
    """What a service says of a failure can't write to the terminal that shows the log."""
    errors = [{"code": harm, "title": harm, "message": harm, "params": []}]
    job = {"id": "j", "state": "failed", "executionInformation": {"errors": errors}}
    answers = {"/jobs/j/progress": [OVER], "/jobs/j": [reply(200, {"job": job})]}
    with FakeClock(), Script(answers), pytest.raises(OpwatchJobFailed) as raised:
        sensor().execute({})
    assert str(raised.value).isprintable()
    down = {"error": {"code": "Unavailable", "message": harm}}
    with (
        FakeClock(),
        Script({"/progress": [reply(400, down)]}),
        pytest.raises(OpwatchRefused) as raised,
    ):
        sensor().execute({})
    assert str(raised.value).isprintable()
