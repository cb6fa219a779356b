"""What every engine is held to: each poll that came, replayed against the schedule."""

import json

import attrs

from opwatch import Schedule
from opwatch.core.polling import Plan, Reading, Trouble, Verdict, advance, begin
from opwatch.progress import Phase
from opwatch.simulator import Frame, Polls, apig, catenis, itwin

SERVICES = ("catenis", "itwin", "apig")
API = "reality-analysis"
ENDS = ("succeeded", "failed", "cancelled", "ended")
CLOCKS = 0.002
"""Seconds by which the wall clock, which the simulator notes, may differ from the monotonic one."""


@attrs.frozen
class Case:
    """One simulated job and how it is to end."""

    service: str
    job_id: str
    frames: tuple[Frame, ...]

    @property
    def end(self) -> Phase:
        return self.frames[-1].phase


def cases(count: int, *, moves: int = 2) -> list[Case]:
    """Jobs of all services in turn: some make no progress for three polls, some move at each."""
    found = []
    for n in range(count):
        service = SERVICES[n % 3]
        end = ENDS[n // 3 % 4] if service == "itwin" else ENDS[n // 3 % 2]
        values = [value for value in range(1, moves + 1) for _ in range(1 + (n + value) % 3)]
        frames = (*(_running(service, value) for value in values), Frame(end))
        found.append(Case(service, _job_id(service, n), frames))
    return found


def _running(service, value):
    if service == "catenis":
        return Frame("running", bytes_processed=value * 1000)
    return Frame("running", percent=value * 10 if service == "itwin" else (30, 50, 80)[value % 3])


def _job_id(service, n):
    return f"p{n:019}" if service == "catenis" else f"job-{n}"


def add(simulator, found):
    """Put the jobs into a simulator."""
    for case in found:
        simulator.add(case.service, case.job_id, Polls(case.frames))


def polls(simulator):
    """The times of every poll, by service and job."""
    times = {}
    for request in simulator.requests:
        if request.operation == "progress":
            times.setdefault((request.service, request.job_id), []).append(request.time)
    return times


def early(case, times, delays, *, noted, kills=()):
    """What is wrong with the polls of one job: a list that should be empty.

    `noted` is how many polls the wait's last token counts. A poll that it doesn't was lost: the
    engine was killed (at one of `kills`) between the response and the note of it. Whoever took over
    then knew what was noted before, and must keep the delay that a lost poll is followed by.
    """
    lost = _lost(times, len(times) - noted, kills)
    if lost is None:
        return [f"{case}: {len(times)} polls came, {noted} were noted, killed at {kills}"]
    plan = Plan(Schedule(delays))
    state, verdict, wrong = begin(plan, times[0]), Verdict.WAIT, []
    for n, time in enumerate(times):
        if verdict is not Verdict.WAIT:
            wrong.append(f"{case}: polled {n + 1} times, and was over before")
        if time < state.due - CLOCKS:
            wrong.append(f"{case}: poll {n + 1} came {state.due - time:.3f} s too early")
        if n in lost:
            after, _ = advance(state, Trouble(transient=True), time)
            state = state._replace(due=max(after.due, time + delays[0]))
        else:
            state, verdict = advance(state, _reading(case, n), time)
    if verdict is not Verdict.ENDED:
        wrong.append(f"{case}: never polled to its end")
    return wrong


def _reading(case, n):
    frame = case.frames[min(n, len(case.frames) - 1)]
    marker = frame.bytes_processed if case.service == "catenis" else frame.percent
    return Reading(frame.phase, marker)


def _lost(times, count, kills):
    """Which polls were lost: the last one before each of that many kills."""
    before = {max((n for n, time in enumerate(times) if time <= kill), default=0) for kill in kills}
    if count == 0:
        return frozenset()
    return frozenset(before) if len(before) == count else None


def count_in(token):
    """How many polls a token counts."""
    return json.loads(token)["polls"]


def connections(url):
    """Airflow connections to a simulator, with every kind of credential: service and fields."""
    project = {"domain_name": apig.DOMAIN_NAME, "project_name": apig.PROJECT_NAME}
    domains = {"user_domain_id": apig.DOMAIN_ID, "project_domain_name": apig.DOMAIN_NAME}
    domains |= {"project_name": apig.PROJECT_NAME, "until": "usable"}
    itwins, token_url = (itwin.CLIENT_ID, itwin.CLIENT_SECRET), f"{url}/connect/token"
    user, keys = (apig.USERNAME, apig.PASSWORD), (apig.ACCESS_KEY, apig.SECRET_KEY)
    reality = f"{url}/contextcapture"
    device = (catenis.DEVICE_ID, catenis.API_ACCESS_SECRET)
    return {
        "catenis": ("catenis", _fields(device, f"{url}/api/0.7", request_timeout=20)),
        "itwin": ("itwin", _fields(itwins, reality, token_url=token_url)),
        "itwin basic": ("itwin", _fields(itwins, reality, token_url=token_url, basic=True)),
        "itwin-v2": ("itwin-v2", _fields(itwins, url, token_url=token_url, api=API)),
        "apig": ("apig", _fields(user, url, auth_url=f"{url}/v3", **project)),
        "apig domains": ("apig", _fields(user, url, auth_url=f"{url}/v3", **domains)),
        "apig keys": ("apig", _fields(keys, url, project_id=apig.PROJECT_ID)),
    }


def _fields(who, host, **extra):
    login, password = who
    fields = {"conn_type": "generic", "login": login, "password": password, "host": host}
    return fields | {"extra": json.dumps(extra)}
