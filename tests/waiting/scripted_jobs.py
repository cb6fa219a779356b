"""Jobs by script, and how far each of them was seen: what the tests of the drivers share.

`JOBS` is the table. A `World` is what one job's service does and has been asked so far; it is a few
counts, so that it can be carried into another process. As a program this file is the engine of a
test that makes every turn of a wait in a process of its own: for each line that it reads a turn in
a new process, forked from one that has never seen a job, and a line with what came of it.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import attrs

from opwatch import Apig, AsyncApig, AsyncCatenis, AsyncITwin, Catenis, ITwin, Schedule
from opwatch.errors import JobFailed, OpwatchError, TransportError
from opwatch.testing import FakeClock, Reply, Script, reply

EPOCH = 1_800_000_000.0
JOB_ID = "job-1"
DEVICE = "d" * 20
CANCELLED = "the wait was cancelled; the job continues; `.token` resumes the wait"

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

# --- answers --------------------------------------------------------------------------------------

NO_NETWORK = "no network"
HTML = reply(502, b"<html><body>Bad gateway</body></html>")
PAGE = reply(200, b"<html><body>Sign in</body></html>")


def expire(answer: Reply) -> tuple[str, Reply]:
    """The token that was good so far is refused from here on."""
    return ("expire", answer)


def active(percentage: Any = 0, state: Any = "Active", step: str = "a step") -> Reply:
    return reply(200, {"jobProgress": {"percentage": percentage, "state": state, "step": step}})


OVER = active(100, "Over", "Done")


def job(state: str, **more: Any) -> Reply:
    return reply(200, {"job": {"id": JOB_ID, "state": state, **more}})


def itwin_error(status: int, code: str, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return reply(status, {"error": {"code": code, "message": f"it is {code}"}}, named)


def limited(retry_after: str, **headers: str) -> Reply:
    return itwin_error(429, "RateLimitExceeded", retry_after=retry_after, **headers)


GONE = itwin_error(404, "JobNotFound")
DOWN = itwin_error(503, "ServiceUnavailable")
ERRORS = {
    "errors": [{"code": "E-1", "title": "No photos", "message": "add some", "params": []}],
    "startedDateTime": "2027-01-15T08:00:00Z",
    "endedDateTime": "2027-01-15T09:00:00Z",
}


def message(done: bool, bytes_processed: Any = 0, **more: Any) -> Reply:
    progress = {"bytesProcessed": bytes_processed, "done": done, **more}
    return reply(200, {"status": "success", "data": {"action": "log", "progress": progress}})


LOGGED = message(True, 900, success=True, finishDate="2027-01-15T08:00:00.000Z")


def catenis_error(status: int, text: str, **headers: str) -> Reply:
    return reply(status, {"status": "error", "message": text}, headers)


def gateway(progress: Any, status: Any = "creating", code: Any = None) -> Reply:
    fields = {"progress": progress, "status": status, "error_code": code, "error_msg": code}
    times = {"start_time": 1_597_389_901_161, "end_time": 1_597_390_224_911}
    return reply(200, fields | times)


def apig_error(status: int, code: str, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return reply(status, {"error_code": code, "error_msg": f"it is {code}"}, named)


# --- the table ------------------------------------------------------------------------------------


@attrs.frozen
class Job:
    """What a job's service answers, how it is waited for, and what is to be seen."""

    name: str
    service: str
    answers: list[Any]
    """To each request for the progress in turn; the last forever."""
    asked: str
    """The times of the requests expected; `j` before one that is for the job itself."""
    end: str
    """The last phase or the error expected, and when."""
    timeout: float | None = 3600
    job: list[Any] = attrs.field(factory=list)
    """To each request for the job itself (iTwin)."""
    how: dict[str, Any] = attrs.field(factory=dict)
    options: dict[str, Any] = attrs.field(factory=dict)
    cancel_at: float | None = None
    stepped: tuple[str, str] | None = None
    """The requests and the end if each turn starts from a token, which doesn't say "over"."""


FINE = [job("success")]
JOBS = [
    # The progress of iTwin: the schedule, the phases, the deadline.
    Job(
        "normal",
        "itwin",
        [active(0, "Unsubmitted"), active(0), active(40), active(40), OVER],
        "0 15 45 60 90 j90",
        "succeeded 90",
        job=FINE,
    ),
    Job("instant end", "itwin", [OVER], "0 j0", "succeeded 0", job=FINE),
    Job("never ends", "itwin", [active(7)], "0 15 45 105 225 345 400", "WaitTimeout 400", 400),
    Job(
        "up and down and up",
        "itwin",
        [active(10), active(50), active(50), active(20), active(60), active(60), OVER],
        "0 15 30 60 75 90 120 j120",
        "succeeded 120",
        job=FINE,
    ),
    Job(
        "a step that changes restarts nothing",
        "itwin",
        [active(5, step="one"), active(5, step="two"), active(5, step="three"), OVER],
        "0 15 45 105 j105",
        "succeeded 105",
        job=FINE,
    ),
    Job(
        "a phase that changes restarts nothing",
        "itwin",
        [active(0, "Unsubmitted"), active(0, "Active"), active(0, "Paused"), OVER],
        "0 15 45 105 j105",
        "succeeded 105",
        job=FINE,
    ),
    Job(
        "unknown state, then success",
        "itwin",
        [active(0, "Paused"), active(0, "Paused"), active(0, None), OVER],
        "0 15 45 105 j105",
        "succeeded 105",
        job=FINE,
    ),
    Job(
        "an empty progress, then success",
        "itwin",
        [reply(200, {"jobProgress": {}}), reply(200, {"jobProgress": {}}), OVER],
        "0 15 45 j45",
        "succeeded 45",
        job=FINE,
    ),
    Job(
        "percentages as text, null, and out of range",
        "itwin",
        [active("10"), active(10.0), active(None), active(150), active("x"), active(0), OVER],
        "0 15 45 60 90 150 165 j165",
        "succeeded 165",
        job=FINE,
    ),
    Job("timeout of zero", "itwin", [active(7)], "0", "WaitTimeout 0", 0),
    Job("timeout of zero, over", "itwin", [OVER], "0 j0", "succeeded 0", 0, FINE),
    Job(
        "for ever",
        "itwin",
        [active(7)] * 35 + [OVER],
        "0 15 45 "
        + " ".join(f"{t}" if t != 705 else "705 j705" for t in range(105, 105 + 32 * 120, 120))
        + " 3945 j3945",
        "succeeded 3945",
        None,
        [job("active"), job("success")],
    ),
    Job(
        "over in the last sleep",
        "itwin",
        [active(7)] * 4 + [OVER],
        "0 15 45 105 200 j200",
        "succeeded 200",
        200,
        FINE,
    ),
    Job(
        "schedule of the caller's",
        "itwin",
        [active(7)],
        "0 2 5 8 10",
        "WaitTimeout 10",
        10,
        how={"schedule": Schedule((2, 3))},
    ),
    Job(
        "schedule of the client's, without restart",
        "itwin",
        [active(n) for n in range(9)],
        "0 1 3 7 11 12",
        "WaitTimeout 12",
        12,
        options={"schedule": Schedule((1, 2, 4), restart_on_change=False)},
    ),
    # How an iTwin job ended.
    Job(
        "over: failed",
        "itwin",
        [OVER],
        "0 j0",
        "failed 0",
        job=[job("failed", executionInformation=ERRORS)],
    ),
    Job("over: cancelled", "itwin", [OVER], "0 j0", "cancelled 0", job=[job("cancelled")]),
    Job("over: a state unknown", "itwin", [OVER], "0 j0", "ended 0", job=[job("archived")]),
    Job("over: the job is gone", "itwin", [OVER], "0 j0", "ended 0", job=[GONE]),
    Job(
        "over: not allowed to look",
        "itwin",
        [OVER],
        "0 j0",
        "ended 0",
        job=[itwin_error(403, "InsufficientPermissions")],
    ),
    Job(
        "over: not to be asked", "itwin", [OVER], "0", "ended 0", options={"resolve_outcome": False}
    ),
    Job(
        "over: down, then told",
        "itwin",
        [OVER],
        "0 j0 j15 j45",
        "succeeded 45",
        job=[DOWN, HTML, job("success")],
        stepped=("0 j0 15 j15 45 j45", "succeeded 45"),
    ),
    Job(
        "over: the job lags behind",
        "itwin",
        [OVER],
        "0 j0 j15",
        "succeeded 15",
        job=[job("active"), job("success")],
        stepped=("0 j0 15 j15", "succeeded 15"),
    ),
    Job(
        "over: taken back",
        "itwin",
        [OVER, active(99), OVER],
        "0 j0 j15",
        "succeeded 15",
        job=[DOWN, job("success")],
        stepped=("0 j0 15 30 j30", "succeeded 30"),
    ),
    Job(
        "over: down until the deadline",
        "itwin",
        [OVER],
        "0 j0 j15 j40",
        "ended 40",
        40,
        [DOWN],
        stepped=("0 j0 15 j15 40 j40", "ended 40"),
    ),
    Job(
        "over: both down at the deadline",
        "itwin",
        [OVER, DOWN],
        "0 j0 j10",
        "ended 10",
        10,
        [DOWN],
        stepped=("0 j0 10", "WaitTimeout 10"),
    ),
    Job(
        "over: then gone",
        "itwin",
        [OVER, GONE],
        "0 j0 j15",
        "ended 15",
        job=[DOWN],
        options={"max_failures": 2},
        stepped=("0 j0 15", "JobGone 15"),
    ),
    Job(
        "over: never told",
        "itwin",
        [OVER],
        "0 j0 j15 j45",
        "ended 45",
        job=[HTML],
        options={"max_failures": 3},
        stepped=("0 j0 15 j15 45 j45", "ended 45"),
    ),
    Job(
        "over: limited",
        "itwin",
        [OVER],
        "0 j0 j70",
        "succeeded 70",
        job=[limited("70"), job("success")],
        stepped=("0 j0 70 j70", "succeeded 70"),
    ),
    Job(
        "over: limited beyond the deadline", "itwin", [OVER], "0 j0", "ended 0", 60, [limited("70")]
    ),
    # A job that stands still is looked at closer.
    Job(
        "closer look: cancelled",
        "itwin",
        [active(7)],
        "0 15 45 105 225 345 465 585 705 j705",
        "cancelled 705",
        job=[job("cancelled")],
    ),
    Job(
        "closer look: still active",
        "itwin",
        [active(7)],
        "0 15 45 105 225 345 465 585 705 j705 825 900",
        "WaitTimeout 900",
        900,
        [job("active")],
    ),
    Job(
        "closer look: down",
        "itwin",
        [active(7)],
        "0 15 45 105 225 345 465 585 705 j705 825 900",
        "WaitTimeout 900",
        900,
        [DOWN],
    ),
    Job(
        "closer look: limited",
        "itwin",
        [active(7)],
        "0 15 45 105 225 345 465 585 705 j705 1305 j1305 1425",
        "WaitTimeout 1425",
        1425,
        [limited("600"), job("active")],
    ),
    # Trouble.
    Job(
        "failures between",
        "itwin",
        [active(1), DOWN, HTML, NO_NETWORK, PAGE, reply(200), reply(200, [1]), active(1), OVER],
        "0 15 45 105 225 345 465 585 705 j705",
        "succeeded 705",
        job=FINE,
    ),
    Job(
        "failures without end",
        "itwin",
        [active(1), DOWN],
        "0 15 45 105",
        "Unavailable 105",
        options={"max_failures": 3},
    ),
    Job(
        "pages without end",
        "itwin",
        [PAGE],
        "0 5 10 15 23 39 71 131 191 251",
        "BadResponse 251",
        how={"schedule": Schedule((5,))},
    ),
    Job("no network at the deadline", "itwin", [NO_NETWORK], "0 15 20", "WaitTimeout 20", 20),
    Job(
        "limited, in seconds",
        "itwin",
        [active(1), limited("100"), limited("20"), OVER],
        "0 15 115 175 j175",
        "succeeded 175",
        job=FINE,
    ),
    Job(
        "limited, until a date",
        "itwin",
        [
            limited(
                "Fri, 15 Jan 2027 08:05:00 GMT",
                date="Fri, 15 Jan 2027 08:03:20 GMT",
            ),
            OVER,
        ],
        "0 100 j100",
        "succeeded 100",
        job=FINE,
    ),
    Job(
        "limited beyond the deadline",
        "itwin",
        [active(1), limited("3590")],
        "0 15",
        "RateLimited 15",
    ),
    Job(
        "limited to the deadline",
        "itwin",
        [active(1), limited("3585")],
        "0 15 3600",
        "WaitTimeout 3600",
    ),
    Job(
        "limited for no time that makes sense",
        "itwin",
        [limited("NaN"), limited("-5"), limited("inf"), limited("soon"), OVER],
        "0 15 45 105 225 j225",
        "succeeded 225",
        job=FINE,
    ),
    Job(
        "limited without a time, near the deadline",
        "itwin",
        [itwin_error(429, "TooManyRequests")],
        "0 2 3",
        "WaitTimeout 3",
        3,
        how={"schedule": Schedule((2,))},
    ),
    Job(
        "down for a time it says",
        "itwin",
        [itwin_error(503, "ServiceUnavailable", retry_after="90"), OVER],
        "0 90 j90",
        "succeeded 90",
        job=FINE,
    ),
    Job("gone midway", "itwin", [active(1), active(2), GONE], "0 15 30", "JobGone 30"),
    Job("a wrong address", "itwin", [itwin_error(404, "ResourceNotFound")], "0", "NotFound 0"),
    Job(
        "not allowed",
        "itwin",
        [active(1), itwin_error(403, "InsufficientPermissions")],
        "0 15",
        "PermissionDenied 15",
    ),
    Job(
        "a token that ends at once",
        "itwin",
        [expire(itwin_error(401, "Unauthorized")), active(1), OVER],
        "0 0 15 j15",
        "succeeded 15",
        job=FINE,
    ),
    Job(
        "a token that ends midway",
        "itwin",
        [active(1), expire(itwin_error(401, "Unauthorized")), active(1), OVER],
        "0 15 15 45 j45",
        "succeeded 45",
        job=FINE,
    ),
    Job(
        "a token refused for good",
        "itwin",
        [active(1), itwin_error(401, "Unauthorized")],
        "0 15",
        "AuthenticationError 15",
    ),
    # Stalls and cancelling.
    Job(
        "stall",
        "itwin",
        [active(1), active(2)],
        "0 15 30 60 120",
        "WaitStalled 120",
        how={"stall_timeout": 60},
    ),
    Job(
        "no stall where the phase changes",
        "itwin",
        [active(1), active(1), active(1, "Paused"), active(1, "Paused"), OVER],
        "0 15 45 105 225 j225",
        "succeeded 225",
        job=FINE,
        how={"stall_timeout": 200},
    ),
    Job("cancel in a sleep", "itwin", [active(1)], "0 15", "WaitCancelled 20", cancel_at=20),
    Job(
        "cancel in a sleep after trouble",
        "itwin",
        [DOWN],
        "0 15 45",
        "WaitCancelled 50.25",
        cancel_at=50.25,
    ),
    Job("cancel before the first query", "itwin", [active(1)], "", "WaitCancelled 0", cancel_at=0),
    # Catenis.
    Job(
        "message",
        "catenis",
        [message(False), message(False), message(False, 300), message(False, 600), LOGGED],
        "0 1 3 4 5",
        "succeeded 5",
    ),
    Job("message at once", "catenis", [LOGGED], "0", "succeeded 0"),
    Job(
        "message never ends",
        "catenis",
        [message(False, 7)],
        "0 1 3 7 15 30 45 60",
        "WaitTimeout 60",
        60,
    ),
    Job(
        "message failed",
        "catenis",
        [message(False), message(True, 1, success=False, error={"code": 500, "message": "no"})],
        "0 1",
        "failed 1",
    ),
    Job("message done, not how", "catenis", [message(True, 900)], "0", "ended 0"),
    Job(
        "message not known yet",
        "catenis",
        [catenis_error(400, "Progress not available")] * 3 + [message(False), LOGGED],
        "0 1 3 7 8",
        "succeeded 8",
    ),
    Job(
        "message expired midway",
        "catenis",
        [message(False), catenis_error(400, "Invalid or expired ephemeral message")],
        "0 1",
        "JobGone 1",
    ),
    Job(
        "message of a dead device",
        "catenis",
        [catenis_error(400, "Device is deleted")],
        "0",
        "PermissionDenied 0",
    ),
    Job(
        "message of a stranger",
        "catenis",
        [catenis_error(401, "Authorization failed; x")],
        "0",
        "AuthenticationError 0",
    ),
    Job(
        "message, bytes as text",
        "catenis",
        [message(False, "300"), message(False, 300), message(False, "300.0"), LOGGED],
        "0 1 3 7",
        "succeeded 7",
    ),
    Job(
        "message stalls",
        "catenis",
        [message(False, 3)],
        "0 1 3 7 15",
        "WaitStalled 15",
        how={"stall_timeout": 10},
    ),
    Job(
        "message, service down",
        "catenis",
        [
            catenis_error(503, "System currently not available"),
            catenis_error(500, "Internal"),
            NO_NETWORK,
            LOGGED,
        ],
        "0 1 3 7",
        "succeeded 7",
    ),
    # APIG.
    Job(
        "gateway",
        "apig",
        [gateway(n) for n in (30, 50, 80, 90)] + [gateway(100, "success")],
        "0 20 40 60 80",
        "succeeded 80",
    ),
    Job(
        "gateway failed",
        "apig",
        [gateway(30), gateway(0, "failed", "APIC.9218")],
        "0 20",
        "failed 20",
    ),
    Job(
        "gateway in an unknown state",
        "apig",
        [gateway(30, "deferred"), gateway(30, None), gateway(100, "SUCCESS")],
        "0 20 40",
        "succeeded 40",
    ),
    Job("gateway never ends", "apig", [gateway(30)], "0 20 40 50", "WaitTimeout 50", 50),
    Job(
        "gateway limited",
        "apig",
        [
            apig_error(429, "APIG.0308", retry_after="33"),
            apig_error(500, "APIG.9008"),
            gateway(100, "success"),
        ],
        "0 33 53",
        "succeeded 53",
    ),
    Job("gateway gone", "apig", [gateway(30), apig_error(404, "APIC.7302")], "0 20", "JobGone 20"),
    Job("gateway at a wrong address", "apig", [apig_error(404, "APIG.0101")], "0", "NotFound 0"),
    Job(
        "gateway, token ended",
        "apig",
        [gateway(30), expire(apig_error(401, "APIC.7101")), gateway(100, "success")],
        "0 20 20",
        "succeeded 20",
    ),
    Job(
        "gateway, token of no use",
        "apig",
        [apig_error(401, "APIC.7103")],
        "0",
        "AuthenticationError 0",
    ),
    Job(
        "gateway behind a broken proxy",
        "apig",
        [HTML, HTML, gateway(100, "success")],
        "0 20 40",
        "succeeded 40",
    ),
]
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
