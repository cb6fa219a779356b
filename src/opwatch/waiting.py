"""One job's wait, without its input and output: what every driver does between two sleeps.

`Service` is what a service file must say. `Session` is one client's connection to one service: it
turns an operation into a request, has it authenticated, and reads the answer. `Run` is one wait:
it asks the machine in `polling` what each answer means and turns an end into the error a user sees.

Everything that needs the network is a generator (`Flow`); the blocking and the async client drive
the same ones.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import attrs

from opwatch import polling
from opwatch.auth.flows import Auth, Flow
from opwatch.clock import Clock
from opwatch.errors import (
    AuthenticationError,
    JobCancelled,
    JobFailed,
    NotFound,
    OpwatchError,
    PermissionDenied,
    RateLimited,
    ServiceError,
    Unavailable,
    WaitCancelled,
    WaitStalled,
    WaitTimeout,
)
from opwatch.polling import Marker, PollState, Reading, Schedule, Trouble, Verdict
from opwatch.progress import Phase, Progress
from opwatch.reading import any_json, bad_response, excerpt, json_object, printable, retry_after
from opwatch.wire import Address, Answer, check_id, outgoing

W = TypeVar("W")
E = TypeVar("E", bound=OpwatchError)
logger = logging.getLogger("opwatch")

RESUMES = "`.token` resumes the wait"
ANEW = "wait anew to go on waiting"
GOES_ON = f"the job itself goes on; {RESUMES}"
GOES_ON_ANEW = f"the job itself goes on; {ANEW}"


# --- what a service says --------------------------------------------------------------------------


class Operation(Protocol):
    """A generated operation: a module of `opwatch_api.*.api`.

    Its public functions send with a client of their own; ours must see an answer before the parser
    does, so the two halves on either side of the sending are used by themselves.
    """

    @property
    def _get_kwargs(self) -> Callable[..., dict[str, Any]]: ...

    @property
    def _parse_response(self) -> Callable[..., Any]: ...


class Complaint(NamedTuple):
    """What an error answer says, as its service's file reads it."""

    code: str | None = None
    message: str | None = None
    kind: type[ServiceError] | None = None
    """The error it is, where its status alone doesn't tell."""
    request_id: str | None = None


class Seen(NamedTuple, Generic[W]):
    """What one query brought."""

    progress: Progress[W]
    trouble: OpwatchError | None = None
    """Why it isn't known how the job ended, where asking again may tell."""


class Service(NamedTuple, Generic[W]):
    """What a service file must say."""

    name: str
    id_name: str
    """What the service calls the id of a job, for messages."""
    schedule: Schedule
    """The service's own, by the document that dictates it."""
    accept: str
    query: Callable[[Session[W], str, bool], Flow[Seen[W]]]
    """Ask for one job; the flag asks for a closer look at one that does not move."""
    complaint: Callable[[Answer, dict[str, Any]], Complaint]
    """Read an error answer and the JSON object in it (empty where there is none)."""
    marker: Callable[[Progress[W]], Marker]
    """The value whose change restarts the schedule."""
    address_help: str
    """What to look at when nothing is found at an address."""


# --- one client's connection ----------------------------------------------------------------------

_PARSER_ERRORS = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What a generated parser raises on an answer of another shape than documented."""


class _Parsed:
    """As much of a response as a generated parser looks at."""

    status_code = 200

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def json(self) -> dict[str, Any]:
        return self._fields


class Session(Generic[W]):
    """One service, at one address, with one way to authenticate."""

    def __init__(
        self, service: Service[W], address: Address, auth: Auth, clock: Clock, user_agent: str
    ) -> None:
        self.service = service
        self.address = address
        self.auth = auth
        self.clock = clock
        self._headers = (("Accept", service.accept), ("User-Agent", user_agent))
        self._warned: set[str] = set()

    def call(self, operation: Operation, *envelope: str, **arguments: str) -> Flow[Any]:
        """The parsed 200 answer of a generated operation; an `OpwatchError` for any other.

        `envelope` names the objects in it, each in the one before.
        """
        request = outgoing(self.address, operation._get_kwargs(**arguments), self._headers)
        answer = yield from self.auth.flow(request)
        if answer.status != 200:
            raise self._error(answer)
        answer = answer.redacted()
        response = _Parsed(json_object(answer, *envelope))
        try:
            return operation._parse_response(client=None, response=response)
        except _PARSER_ERRORS:
            pass
        raise bad_response(answer, "the answer is not of the documented form")

    def query(self, job_id: str, *, closer: bool = False) -> Flow[Seen[W]]:
        """One query for one job."""
        try:
            seen = yield from self.service.query(self, job_id, closer)
        except OpwatchError as error:
            raise error.about(self.service.name, job_id)  # noqa: B904 (the same error)
        return seen

    def check_id(self, job_id: object) -> str:
        return check_id(job_id, f"the {self.service.id_name}")

    def unknown(self, state: object) -> Phase:
        """`Phase.UNKNOWN`, with one warning for each state that this version does not know."""
        text = printable(str(state), 80)
        if text not in self._warned and len(self._warned) < 100:
            self._warned.add(text)
            logger.warning(
                "%s reports a state this version does not know: %r; waiting goes on",
                self.service.name,
                text,
            )
        return Phase.UNKNOWN

    def _error(self, answer: Answer) -> OpwatchError:
        fields = any_json(answer.body)
        complaint = self.service.complaint(answer, fields if isinstance(fields, dict) else {})
        kind = complaint.kind or _kind(answer.status)
        if kind is None:
            return bad_response(answer, "not an answer that is documented")
        message = printable(answer.erased(complaint.message or ""))
        message = message or f"answered: {excerpt(answer) or 'nothing'}"
        if 300 <= answer.status < 400:
            message = f"a redirect, which is not followed; {self.service.address_help}"
        elif kind is NotFound:
            message = f"{message}; {self.service.address_help}"
        return kind(
            message,
            status=answer.status,
            code=printable(answer.erased(complaint.code or ""), 80) or None,
            request_id=printable(answer.erased(complaint.request_id or ""), 80) or None,
            retry_after=retry_after(answer, self.clock.epoch()),
        )


_KINDS: dict[int, type[ServiceError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    408: Unavailable,
    425: Unavailable,
    429: RateLimited,
}


def _kind(status: int) -> type[ServiceError] | None:
    """What a status alone says; None where it is no error and no answer either.

    A 304 answers a condition, and none was set.
    """
    if status < 300 or status == 304:
        return None
    return _KINDS.get(status) or (Unavailable if status >= 500 else ServiceError)


# --- one wait -------------------------------------------------------------------------------------


class SharedGate:
    """The gate of a client: one rate limit for all its jobs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gate = polling.Gate()

    @property
    def until(self) -> float:
        return self._gate.until

    @property
    def asked(self) -> float:
        return self._gate.asked

    def learn(self, error: OpwatchError | None, now: float) -> None:
        """Shut after a rate limit, open after anything else."""
        if error is None and not self._gate.strikes:
            return
        with self._lock:
            if isinstance(error, RateLimited):
                self._gate = polling.shut(self._gate, now, error.retry_after)
            elif error is None:
                self._gate = polling.opened(self._gate, now)

    def admit(self, now: float) -> float:
        if now >= self._gate.until:
            return now
        with self._lock:
            self._gate, place = polling.admit(self._gate, now)
        return place


@attrs.frozen
class Step(Generic[W]):
    """One turn of a wait that somebody else sleeps for."""

    progress: Progress[W] | None
    """The answer; None where there was trouble, or where it was too early to ask."""
    token: str
    """Give it to `step` after `delay`."""
    delay: float | None
    """Seconds until the next turn; None when the wait has ended."""
    trouble: OpwatchError | None = None
    """Why this turn brought no answer, where the wait lives through it."""


class Run(Generic[W]):
    """The wait for one job."""

    __slots__ = (
        "_gate",
        "_place",
        "_session",
        "error",
        "job_id",
        "last",
        "state",
        "trouble",
        "verdict",
    )

    def __init__(
        self, session: Session[W], gate: SharedGate, job_id: str, state: PollState
    ) -> None:
        self._session = session
        self._gate = gate
        self._place: float | None = None
        self.job_id = job_id
        self.state = state
        self.verdict = Verdict.WAIT
        self.last: Progress[W] | None = None
        self.error: OpwatchError | None = None
        """What the wait ended with, where it ended without the job's end."""
        self.trouble: OpwatchError | None = None
        """What the last turn was in trouble with."""

    @property
    def is_over(self) -> bool:
        return self.verdict is not Verdict.WAIT

    @property
    def token(self) -> str:
        clock = self._session.clock
        now = clock.now()  # before the other clock: the other way round, a query were early
        return polling.dump(
            self.state,
            service=self._session.service.name,
            job_id=self.job_id,
            now=now,
            epoch=clock.epoch(),
        )

    def delay(self) -> float:
        """Seconds until the next query may be made; 0 makes it now.

        Ends the wait where a rate limit of the client holds it beyond its deadline.
        """
        now = self._session.clock.now()
        if self.is_over:
            return 0.0
        if now < self.state.due:
            return self.state.due - now
        if self._place is None or self._place < self._gate.until:
            self._place = self._gate.admit(now)
            if self._place > now:
                self._hold(now)
        if not self.is_over and self._place > now:
            return self._place - now
        self._place = None
        return 0.0

    def turn(self) -> Flow[Progress[W] | None]:
        """One query and what follows from it: the answer, where there was one."""
        session, progress, error = self._session, None, None
        over: Progress[W] | None = None
        closer = polling.wants_closer_look(self.state)
        try:
            seen = yield from session.query(self.job_id, closer=closer)
        except OpwatchError as trouble:
            error = trouble.with_traceback(None)  # its frames would be kept as long as it is
        else:
            progress, error = seen.progress, seen.trouble
            over = progress if error is not None else None
        now = session.clock.now()
        self._gate.learn(error, now)
        self.trouble = error
        event: Reading | Trouble
        if error is not None:
            wait = error.retry_after if isinstance(error, ServiceError) else None
            event = Trouble(error.transient, wait, over=over is not None)
            progress = None
        else:
            assert progress is not None
            event = Reading(progress.phase, session.service.marker(progress))
            self.last = progress
        self.state, self.verdict = polling.advance(self.state, event, now, session.clock.jitter())
        if error is not None:
            logger.debug("%s %s: %s", session.service.name, self.job_id, self.verdict.value)
            if self.verdict is Verdict.ENDED:
                progress = self.last = over
        self.error = self._end(error)
        return progress

    def raise_error(self) -> None:
        """Raise what the wait ended with, once."""
        error, self.error = self.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # it holds this frame, and with it those of the caller

    def cancel(self) -> WaitCancelled:
        """End the wait because the caller said so."""
        self.verdict = Verdict.GAVE_UP
        return self._about(WaitCancelled(f"the wait was cancelled; {GOES_ON}"))

    def _end(self, trouble: OpwatchError | None) -> OpwatchError | None:
        """The error that a verdict is, where it is one."""
        error: OpwatchError
        if self.verdict is Verdict.TIMED_OUT:
            error = WaitTimeout(self._late(trouble))
            error.__cause__ = trouble
        elif self.verdict is Verdict.STALLED:
            limit = self.state.plan.stall_timeout
            error = WaitStalled(f"has not moved for {limit:g} s; {GOES_ON_ANEW}")
        elif self.verdict is Verdict.GAVE_UP and trouble is not None:
            error = trouble
        else:
            return None
        return self._about(error)

    def _late(self, trouble: OpwatchError | None) -> str:
        """What is known of a job at the deadline: nothing at all where no query was answered."""
        after = f" (at last: {trouble._what()})" if trouble is not None else ""
        if self.state.phase is None:
            return f"no query brought the job's progress by the wait's deadline{after}; {ANEW}"
        return f"not over at the wait's deadline{after}; {GOES_ON_ANEW}"

    def _hold(self, now: float) -> None:
        """A place after a rate limit is kept before the deadline, or the wait ends."""
        deadline = self.state.plan.deadline
        if deadline is None or self._place is None or self._place <= deadline:
            return
        asked = self._gate.asked
        if asked <= deadline:
            self._place = deadline
            return
        self.verdict = Verdict.GAVE_UP
        self.error = self._about(
            RateLimited(
                "a rate limit holds all jobs of this client beyond the wait's deadline",
                status=429,
                retry_after=asked - now,
            )
        )

    def _about(self, error: E) -> E:
        name = self._session.service.name
        return error.about(name, self.job_id, last=self.last, token=self.token)


def outcome(progress: Progress[W], token: str) -> Progress[W]:
    """A job's last answer; raises `JobFailed` or `JobCancelled` where that is what it says."""
    if progress.phase is Phase.FAILED:
        kind, word = JobFailed, "failed"
    elif progress.phase is Phase.CANCELLED:
        kind, word = JobCancelled, "cancelled"
    else:
        return progress
    reason = f"{word}: {printable(str(progress.fault))}" if progress.fault else word
    raise kind(reason, fault=progress.fault).about(
        progress.service, progress.job_id, last=progress, token=token
    )
