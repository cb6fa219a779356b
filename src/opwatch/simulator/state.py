"""The state of a running simulator: jobs, tokens, requests, problems, and the time.

The serving thread and the tests' threads share it, so everything here is protected by one lock. It
knows no service and no HTTP.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from opwatch import clock as clocks
from opwatch.clock import Clock
from opwatch.errors import ConfigurationError
from opwatch.progress import Fault
from opwatch.simulator.timeline import Frame, Frames, Timeline, timeline

MOST_REQUESTS = 100_000
"""Requests that a simulator remembers, as it may run for days."""
TOKEN_LIFE = 3600.0
"""Seconds that a token lasts by default."""


@attrs.frozen
class Request:
    """A request that the simulator received."""

    time: float
    """Seconds since 1970 by the simulator's clock."""
    service: str | None
    """The service, or None if no service has such a path."""
    operation: str | None
    """`"progress"`, `"job"`, `"token"` or `"notifications"`."""
    job_id: str | None
    method: str
    target: str
    """Path and query, as they were received."""
    status: int | None
    """The status of the response; None if there was none."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """By lowercase name; credentials are `***`."""
    connection: int | None = None
    """The client's port: the same for all requests on one connection."""


class Job:
    """A simulated job: its state, and how often it was polled."""

    polls: int
    """How often it was polled."""
    started_at: float | None
    """When it was first polled, in seconds since 1970 by the simulator's clock."""
    ended_at: float | None
    """When it ended, as far as polls have reported it."""

    def __init__(self, service: str, job_id: str, script: Frames, state: State) -> None:
        self.service = service
        self.id = job_id
        self._state = state
        self.play(script)

    def play(self, script: Frames) -> None:
        """Start over with other frames, as in `Simulator.add`."""
        found = timeline(script)
        with self._state.lock:
            self._timeline: Timeline = found
            self.restart()

    def restart(self) -> None:
        """Start over, as if the job had never been polled."""
        with self._state.lock:
            self._met = [0] * len(self._timeline.frames)
            self._began: float | None = None
            self._index: int | None = None
            self._has_looked = False
            self.polls = 0
            self.started_at = self.ended_at = None

    @property
    def frames(self) -> tuple[Frame, ...]:
        return self._timeline.frames

    def poll(self) -> Frame:
        """The frame that a poll would get now."""
        state = self._state
        with state.lock:
            if self._began is None:
                self._began, self.started_at = state.clock.now(), state.epoch()
            self.polls += 1
            self._has_looked = False
            return self._meet(state.clock.now() - self._began)

    def look(self) -> Frame | None:
        """Return the frame for a request for the job itself; None if the job has no state yet.

        Usually, it is that of the last poll. Once a job is over, a client sends only such requests:
        from the second in a row, each gets a frame as a poll does.
        """
        with self._state.lock:
            if self._has_looked and self.ended_at is not None and self._began is not None:
                self._meet(self._state.clock.now() - self._began)
            self._has_looked = True
            return self.now()

    def _meet(self, elapsed: float) -> Frame:
        index = self._timeline.pick(elapsed, self._met)
        self._met[index] += 1
        frame = self._timeline.frames[index]
        if frame.is_state:
            self._stand_at(index)
        return frame

    def now(self) -> Frame | None:
        """The state that the job is in, without counting as a poll; None if it has none."""
        with self._state.lock:
            frames = self._timeline.frames
            if self._began is None:
                return next((frame for frame in frames if frame.is_state), None)
            if self._timeline.start(0) is not None:
                self._move_on(self._state.clock.now() - self._began)
            return None if self._index is None else frames[self._index]

    def has_run_for(self, seconds: float) -> bool:
        """Return whether it was first polled longer ago than that."""
        return self.started_at is not None and self._state.epoch() - self.started_at > seconds

    def has_ended_for(self, seconds: float) -> bool:
        """Whether it is over, longer than that."""
        self.now()
        return self.ended_at is not None and self._state.epoch() - self.ended_at > seconds

    def _move_on(self, elapsed: float) -> None:
        """Return the frame that time alone has reached since the last poll."""
        frames = self._timeline.frames
        index = self._timeline.pick(elapsed, [frame.times or 0 for frame in frames])
        if frames[index].is_state:
            self._stand_at(index)

    def _stand_at(self, index: int) -> None:
        self._index = index
        phase = self._timeline.frames[index].phase
        if phase is None or not phase.is_final or self.ended_at is not None:
            return
        start = self._timeline.start(index)
        if start is None or self.started_at is None:
            self.ended_at = self._state.epoch()
        else:
            self.ended_at = self.started_at + start

    def __repr__(self) -> str:
        return f"<simulated {self.service} job {self.id!r}, polls: {self.polls}>"


@attrs.define(eq=False)
class Token:
    """A token that was issued."""

    service: str
    text: str = attrs.field(repr=False)
    life: float
    """Seconds, from its issue."""
    ends: float
    """On the clock that only goes forward."""
    claims: Mapping[str, Any]
    """What the service remembers about it: its scope, its project."""
    is_revoked: bool = False


@attrs.define(eq=False)
class Disturbance:
    """Something that the next requests of a service meet instead of its answer."""

    service: str
    operation: str | None
    """None is any but the token endpoint."""
    frame: Frame
    left: int | None
    """Requests; None for as long as `until` says."""
    until: float | None

    def concerns(self, operation: str) -> bool:
        return operation != "token" if self.operation is None else operation == self.operation


@attrs.define(eq=False)
class Limit:
    """A rate limit: so many requests in a window of so many seconds."""

    requests: int
    seconds: float
    window: float = 0.0
    count: int = 0


class State:
    """Everything a simulator remembers."""

    def __init__(self, clock: Clock | None, on_request: Callable[[Request], object] | None) -> None:
        self.lock = threading.RLock()
        self._clock = clock
        self.skew = 0.0
        self.strict_domains = False
        self.token_life: dict[str, float] = {}
        self.problems: list[str] = []
        self.requests: deque[Request] = deque(maxlen=MOST_REQUESTS)
        self._arrived = threading.Condition(self.lock)
        self._jobs: dict[tuple[str, str], Job] = {}
        self._tokens: dict[tuple[str, str], Token] = {}
        self._disturbances: list[Disturbance] = []
        self._limits: dict[str, Limit] = {}
        self._on_request = on_request

    @property
    def clock(self) -> Clock:
        """The clock it was given, or the one of the first request."""
        return self._clock or clocks.current.get()

    def epoch(self) -> float:
        """Seconds since 1970 by the simulator's clock, which may be set wrong on purpose."""
        return self.clock.epoch() + self.skew

    # --- jobs ---

    def add(self, service: str, job_id: str, script: Frames) -> Job:
        job = Job(service, job_id, script, self)
        with self.lock:
            if (service, job_id) in self._jobs:
                raise ConfigurationError(f"{service} already has a job {job_id!r}; use job.play()")
            self._jobs[service, job_id] = job
        return job

    def job(self, service: str, job_id: str) -> Job | None:
        with self.lock:
            return self._jobs.get((service, job_id))

    def jobs(self, service: str) -> list[Job]:
        with self.lock:
            return [job for job in self._jobs.values() if job.service == service]

    def remove(self, service: str, job_id: str) -> None:
        with self.lock:
            self._jobs.pop((service, job_id), None)

    # --- tokens ---

    def issue(
        self, service: str, *, size: int = 32, life: float = TOKEN_LIFE, **claims: Any
    ) -> Token:
        """A new token of that many random bytes."""
        life = self.token_life.get(service, life)
        text = f"simulated-{secrets.token_urlsafe(size)}"
        with self.lock:
            token = Token(service, text, life, self.clock.now() + life, claims)
            self._tokens[service, text] = token
        return token

    def token(self, service: str, text: str) -> Token | None:
        with self.lock:
            return self._tokens.get((service, text))

    def is_good(self, token: Token) -> bool:
        return not token.is_revoked and self.clock.now() < token.ends

    def revoke(self, service: str | None) -> None:
        with self.lock:
            for token in self._tokens.values():
                if service in (None, token.service):
                    token.is_revoked = True

    # --- disturbances ---

    def disturb(self, disturbance: Disturbance) -> None:
        with self.lock:
            self._disturbances.append(disturbance)

    def limit(self, service: str, requests: int, seconds: float) -> None:
        with self.lock:
            self._limits[service] = Limit(requests, seconds, self.clock.now())

    def calm(self, service: str | None) -> None:
        """End every disturbance and limit of a service, or of all."""
        with self.lock:
            self._disturbances = [
                one for one in self._disturbances if service not in (None, one.service)
            ]
            for name in list(self._limits):
                if service in (None, name):
                    del self._limits[name]

    def disturbance(self, service: str, operation: str) -> Frame | None:
        """Return what a request gets instead of its answer, if anything."""
        with self.lock:
            now = self.clock.now()
            for one in self._disturbances:
                if one.service != service or not one.concerns(operation):
                    continue
                if one.left == 0 or (one.until is not None and now >= one.until):
                    continue
                one.left = None if one.left is None else one.left - 1
                return one.frame
            return None

    def excess(self, service: str) -> float | None:
        """Count a request; if it is one too many, the seconds until the window ends."""
        with self.lock:
            limit = self._limits.get(service)
            if limit is None:
                return None
            now = self.clock.now()
            if now >= limit.window + limit.seconds:
                limit.window, limit.count = now, 0
            limit.count += 1
            return limit.window + limit.seconds - now if limit.count > limit.requests else None

    # --- requests ---

    def note(self, request: Request) -> None:
        with self._arrived:
            self._clock = self.clock
            self.requests.append(request)
            self._arrived.notify_all()
        if self._on_request is not None:
            self._on_request(request)

    def wait_for(self, count: int, service: str | None, timeout: float) -> list[Request]:
        with self._arrived:
            self._arrived.wait_for(lambda: len(self.requests_of(service)) >= count, timeout)
            return self.requests_of(service)

    def requests_of(self, service: str | None) -> list[Request]:
        with self.lock:
            return [request for request in self.requests if service in (None, request.service)]

    def problem(self, text: str) -> None:
        with self.lock:
            self.problems.append(text)


class Ends:
    """The jobs of a service that end from now on."""

    def __init__(self, state: State, service: str) -> None:
        self._state = state
        self._service = service
        self._seen: set[tuple[str, float]] = set()
        self.new()

    def new(self) -> list[Job]:
        """Return the jobs that have ended since the last call."""
        found = []
        for job in self._state.jobs(self._service):
            job.now()
            if job.ended_at is not None and (key := (job.id, job.ended_at)) not in self._seen:
                self._seen.add(key)
                found.append(job)
        return found


def fault_of(frame: Frame, code: str, message: str) -> Fault:
    """Return why a frame's job failed: the frame's fault, or else the service's own reason."""
    fault = frame.fault or Fault()
    return Fault(fault.code or code, fault.message or message)
