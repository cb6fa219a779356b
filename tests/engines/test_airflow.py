"""The trigger on its own: no scheduler, no triggerer, a fake clock."""

import asyncio
import json

import pytest
from airflow.sdk.execution_time import supervisor
from airflow.sdk.execution_time.comms import GetXCom, SetXCom, XComResult, _RequestFrame
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

from opwatch import ITwin, Schedule
from opwatch.airflow import OpwatchJobFailed, OpwatchRefused, OpwatchTrigger, connection
from opwatch.simulator import Frame, Polls, Simulator
from opwatch.testing import FakeClock, Script, reply

# Airflow's own dependencies warn of each other.
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")


@pytest.fixture(autouse=True)
def _connection(monkeypatch):
    """An Airflow connection named `itwin`, with a token that must not show."""
    connect(monkeypatch, "itwin", {**CONNECTION, "password": SECRET})


def begun(**how):
    """A trigger for a wait that has just made its first poll."""
    step = ITwin("a token").start("j", timeout=how.pop("timeout", 3600), **how)
    return OpwatchTrigger(service="itwin", conn_id="itwin", token=step.token)


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
