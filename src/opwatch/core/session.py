"""One client's connection to one service: operations become requests, responses become answers.

`Service` is what the spec of a service and its file say about it. `Session` sends what an operation
describes, authenticated, and turns any answer but the documented one into the error a user sees.
It doesn't know waiting.
"""

from __future__ import annotations

import copyreg
import logging
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache, partial
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import attrs

from opwatch.auth.tokens import Auth
from opwatch.core.polling import Marker, Schedule
from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    ConfigurationError,
    JobGone,
    NotFound,
    OpwatchError,
    PermissionDenied,
    RateLimited,
    ServiceError,
    Unavailable,
    error_kind,
)
from opwatch.logs import log
from opwatch.net.address import check_id
from opwatch.net.message import (
    SHORTEST_HIDDEN,
    Address,
    Answer,
    Request,
    Secret,
    hidden,
    holds_beginning,
    shown,
)
from opwatch.net.operation import outgoing
from opwatch.progress import Fault, Phase, Progress
from opwatch.reading import (
    any_json,
    bad_response,
    excerpt,
    json_object,
    object_in,
    pause_in_words,
)
from opwatch.text import printable

if TYPE_CHECKING:
    from opwatch.core.loop import Turn

W = TypeVar("W")
_polled: ContextVar[str] = ContextVar("_polled", default="")
"""The job that this code polls: what reads an answer warns of it, and isn't told the job."""
_secrets: ContextVar[tuple[Secret, ...]] = ContextVar("_secrets", default=())
"""What the answer that is read may echo, and no text of it may show."""


class Complaint(NamedTuple):
    """The content of an error response, as the service's reader returns it."""

    code: str | None = None
    message: str | None = None
    kind: type[ServiceError] | None = None
    """The class of the error, if the status alone doesn't determine it."""
    request_id: str | None = None


class Seen(NamedTuple, Generic[W]):
    """The result of one poll."""

    progress: Progress[W]
    trouble: OpwatchError | None = None
    """Why the outcome isn't known, if another request may find out."""
    doubtful: bool = False
    """Whether `trouble` also makes `progress` unreliable."""
    pause: float | None = None
    """Seconds for which this job must not be polled, if a field of the response says so."""
    over: Progress[W] | None = None
    """The success that the next poll doesn't request again (`Service.completes`)."""


class Service(NamedTuple, Generic[W]):
    """What a service's file or compiled spec defines."""

    name: str
    id_name: str
    """The service's name for a job's ID, for messages."""
    schedule: Schedule
    """The service's own schedule, from its document."""
    accept: str
    """The `Accept` header."""
    query: Callable[[Session[W], Turn, str, bool], Awaitable[Seen[W]]]
    """Poll one job; the flag asks for a closer look at a job that makes no progress."""
    complaint: Callable[[Answer, dict[str, Any]], Complaint]
    """Read an error response and the JSON object in it (empty if there is none)."""
    marker: Callable[[Progress[W]], Marker]
    """The value whose change restarts the schedule."""
    address_help: str
    """What to check after a 404."""
    known: frozenset[str] = frozenset()
    """Documented codes and texts of 401 and 403 responses; nothing else in them is quoted."""
    outcome: Callable[[Session[W], Turn, Progress[W]], Awaitable[Progress[W] | None]] | None = None
    """Look up more about a job in the phase `completes`. Returns the updated progress, whose phase
    may be `Phase.UNKNOWN`, or None if the response is about another job."""
    id_parts: int = 1
    """The number of path parameters that make up a job's ID."""
    statuses: tuple[int, ...] = (200,)
    """The statuses of a valid response."""
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with every request."""
    pause: Callable[[Answer, float], float | None] | None = None
    """Return the pause that a response asks for in the service's own header, in seconds; the number
    is the wall clock's time. `Retry-After` needs no function."""
    completes: Phase = Phase.ENDED
    """The phase in which `outcome` is requested: to find out how a job ended, why it failed, or
    whether its result can be used. In the last case, `outcome` is polled until it can."""
    is_elsewhere: bool = False
    """Whether the address is known to belong to another service. Its errors aren't about a job."""
    strangers: Mapping[str, str] = MappingProxyType({})
    """Top-level objects of another service's responses, and what each says about `base_url`."""
    help: Mapping[type[ServiceError], str] = MappingProxyType({})
    """What else to check after an error, by its kind."""


MISREAD = "reading the response raised"
_PARSER_ERRORS = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What a generated parser raises for an answer of another form than documented."""


class Session(Generic[W]):
    """One service, at one address, with one way to authenticate."""

    def __init__(
        self,
        service: Service[W],
        address: Address,
        auth: Auth,
        user_agent: str,
        parameters: Mapping[str, str | None] = MappingProxyType({}),
    ) -> None:
        self.service = service
        self.address = address
        self.auth = auth
        self._parameters = parameters
        headers = (("Accept", service.accept), ("User-Agent", user_agent), *service.headers)

        def request(build: Callable[..., dict[str, Any]], /, **arguments: Any) -> Request:
            try:
                kwargs = build(**arguments)
            except ValueError as error:  # a path parameter that would name another resource
                raise ConfigurationError(f"an argument can't be sent: {error}") from None
            return outgoing(address, kwargs, headers)

        self._request, self._repeated = request, lru_cache(maxsize=1024)(request)
        self._warned: set[str] = set()
        auth.is_expired = partial(_is_expired, service)  # of no session, which holds this auth

    async def parameter(self, name: str, turn: Turn) -> str:
        """Return a parameter of the path that isn't part of a job's ID: what was passed to the
        client, or what its token says.

        Raises `ConfigurationError` if neither does.
        """
        found = self._parameters.get(name) or await self.auth.parameter(name, turn)
        if found is None:
            problem = "must be passed to the client, because the token doesn't name it"
            raise ConfigurationError(problem, argument=name)
        return found

    async def call(
        self, turn: Turn, operation: ModuleType, /, *envelope: str, **arguments: Any
    ) -> Any:
        """Return the parsed answer of a generated operation; raise an `OpwatchError` otherwise.

        `operation` is a module of `opwatch_api.*.api`: its `build_request` and `parse_response` are
        used by themselves, since an answer must be checked before it is parsed. `envelope` names
        the objects in the answer that must be there, each inside the one before.
        """
        return (await self.fetch(turn, operation, *envelope, **arguments))[1]

    async def fetch(
        self, turn: Turn, operation: ModuleType, /, *envelope: str, **arguments: Any
    ) -> tuple[dict[str, Any], Any]:
        """As `call`, but return the JSON object of the answer too, in front of the model."""
        build, parse = _halves(operation)
        # What is text can't change: a poll repeats the request of the one before.
        is_text = _TEXT.issuperset(map(type, arguments.values()))
        request = (self._repeated if is_text else self._request)(build, **arguments)
        answer = await self.auth.flow(turn, request, self._error)
        if answer.status not in self.service.statuses or answer.problem:
            raise self._error(answer, turn)
        try:
            fields = json_object(answer, *envelope)
        except BadResponse as error:
            raise (self._stranger(answer) or error) from None
        _secrets.set(() if answer.is_clean else answer.secrets)
        # As much of a response as a generated parser looks at; a bound method shows no field.
        response = SimpleNamespace(status_code=200, json=fields.copy, content=b"", headers=None)
        try:
            return fields, parse(response=response)
        except _PARSER_ERRORS:
            del fields  # this error's frames are shown to people
        raise bad_response(answer, "the response doesn't have the documented form")

    async def query(
        self,
        turn: Turn,
        job_id: str,
        *,
        closer: bool = False,
        over: Progress[W] | None = None,
    ) -> Seen[W]:
        """Poll one job once; if it is known to be `over`, look up only how it ended."""
        _polled.set(job_id)
        try:
            if over is None:
                seen = await self.service.query(self, turn, job_id, closer)
                if _secrets.get():  # in nearly no poll
                    seen = seen._replace(progress=_shown(seen.progress))
            else:
                seen = Seen(over)
            if self.service.outcome is None or seen.trouble is not None:
                return seen
            phase, completes = seen.progress.phase, self.service.completes
            resolve = self._follow if phase is Phase.SUCCEEDED else self._resolve
            if phase is not completes:
                if not closer or completes is not Phase.ENDED or phase.is_final:
                    return seen
                resolve = self._look_closer
            return await resolve(self._look_up(turn, seen), seen)
        except OpwatchError as error:
            raise error.about(self.service.name, job_id)  # noqa: B904 (the same error)
        except BaseException as error:  # noqa: BLE001 (raised again, or as another)
            if isinstance(error, Exception) and not _was_sending(error):
                misread = self.misread(error)
            else:
                # Ctrl-C, a cancellation: the frames below hold answers, tokens and callables.
                error.__context__ = error.__cause__ = None
                raise error.with_traceback(None)  # noqa: B904 (the same error)
        raise misread.about(self.service.name, job_id)

    def misread(self, error: Exception) -> BadResponse:
        """Return the error that it is if what reads an answer raises: a mistake in its code.

        It says where that is, and doesn't quote the error, which may quote an answer.
        """
        frame, line = [*traceback.walk_tb(error.__traceback__)][-1]
        file = frame.f_code.co_filename.rpartition("/")[2]
        kind = type(error).__name__
        return BadResponse(f"{MISREAD} {kind} ({file}, line {line})")

    async def _look_up(self, turn: Turn, seen: Seen[W]) -> Progress[W] | None:
        """Request more about a job, unless its own response asked for a pause first."""
        assert self.service.outcome is not None
        if (pause := seen.pause) is None:
            found = await self.service.outcome(self, turn, seen.progress)
            return found and _shown(found)
        why = f"the response asked for a pause that ends in {pause:.0f} s"
        problem = f"no request was sent, because {why}"
        raise RateLimited(problem, retry_after=pause, held_until=turn.clock.now() + pause)

    async def _resolve(self, looking_up: Awaitable[Progress[W] | None], seen: Seen[W]) -> Seen[W]:
        """Return how a job that is over ended, or why: known now, or later, or never."""
        try:
            found = await looking_up
        except OpwatchError as error:
            if error.transient:  # the frames below hold what the answer said
                return seen._replace(trouble=error.with_traceback(None))
            self.unresolved(seen.progress, error)
            return seen
        if found is None:
            text = "the outcome response is for another job"
            # How the job ended is known if only the reason is missing.
            doubtful = seen.progress.phase is not Phase.FAILED
            return seen._replace(trouble=BadResponse(text, status=200), doubtful=doubtful)
        if found.phase in (Phase.PENDING, Phase.RUNNING):
            text = "the job is over, but the service hasn't said yet how it ended"
            return seen._replace(trouble=Unavailable(text))
        return seen if found.phase in (Phase.ENDED, Phase.UNKNOWN) else Seen(found)

    async def _follow(self, looking_up: Awaitable[Progress[W] | None], seen: Seen[W]) -> Seen[W]:
        """Return what is known of the result of a job that has succeeded: the end, or not yet.

        An account that may not read it, as the spec says, learns no more than that the job has.
        """
        done = seen.progress
        try:
            if (found := await looking_up) is None:
                kind = self.service.id_name.removesuffix(" ID")
                raise BadResponse(f"the response isn't about this {kind}", status=200)
        except OpwatchError as error:
            is_forbidden = isinstance(error, PermissionDenied) and error.status == 403
            if is_forbidden and error._is_certain and done.details is None:
                self.unresolved(done, error)
                return Seen(done)
            progress = attrs.evolve(done, phase=Phase.RUNNING, finished_at=None)
            return Seen(progress, error, doubtful=True, over=done)
        if found.phase.is_final:
            return Seen(found)
        over = attrs.evolve(found, phase=Phase.SUCCEEDED)
        return Seen(attrs.evolve(found, finished_at=None), over=over)

    async def _look_closer(
        self, looking_up: Awaitable[Progress[W] | None], seen: Seen[W]
    ) -> Seen[W]:
        """Return whether a job without progress has ended: cancelled ones were seen to stay active.

        A different answer, or no answer, changes nothing.
        """
        try:
            found = await looking_up
        except RateLimited as error:
            if error.held_until is None:
                raise
            return seen  # nothing was sent, and the answer that asked for a pause is an answer
        except OpwatchError:
            return seen
        return Seen(found) if found is not None and found.phase.is_final else seen

    def unresolved(self, progress: Progress[W], error: OpwatchError) -> None:
        """Warn that a job is over and that looking up more about its end failed."""
        name, job_id = self.service.name, progress.job_id
        known = {
            Phase.ENDED: "ended, but its outcome is unknown",
            Phase.RUNNING: "may have ended",
            Phase.SUCCEEDED: "succeeded, but whether its result can be used is unknown",
        }.get(progress.phase, f"{progress.phase}, but the reason is unknown")
        about = {"service": name, "job_id": job_id}
        words = (name, job_id, known, error._what())
        log(logging.WARNING, "%s %s %s: %s", *words, extra=about)

    def _stranger(self, answer: Answer) -> ConfigurationError | None:
        """Return the error for another service's answer: no retry would make it one of this."""
        fields, strangers = object_in(any_json(answer.body)), self.service.strangers
        problem = next((strangers[name] for name in strangers if object_in(fields.get(name))), None)
        return None if problem is None else ConfigurationError(problem, argument="base_url")

    def check_id(self, job_id: object) -> str:
        return check_id(job_id, self.service.id_name, parts=self.service.id_parts)

    def unknown(self, state: object) -> Phase:
        """Return `Phase.UNKNOWN`; warn once about each state that this version doesn't know."""
        if state is None:
            return self._warn("has no valid state in the response")
        text = printable(hidden(shown, _secrets.get(), str(state)), 80)
        return self._warn(f"reports a state that opwatch doesn't know: {text!r}")

    def contradicted(self, field: str) -> Phase:
        """Return `Phase.UNKNOWN` for a success beside an error; warn once."""
        return self._warn(f"reports both success and an error (`{field}`) in one response")

    def _warn(self, what: str) -> Phase:
        """Warn once for all jobs, and name the first."""
        if what not in self._warned and len(self._warned) < 100:
            self._warned.add(what)
            about = {"service": self.service.name, "job_id": _polled.get()}
            words = (*about.values(), what)
            log(logging.WARNING, "%s %s %s; the wait continues", *words, extra=about)
        return Phase.UNKNOWN

    def _error(self, answer: Answer, turn: Turn) -> OpwatchError:
        service, status = self.service, answer.status
        pause = turn.asked(answer)
        try:
            complaint = service.complaint(answer, object_in(any_json(answer.body)))
        except Exception as error:  # noqa: BLE001 (whatever a service's reader may raise)
            if not answer.is_about_credentials:
                return self.misread(error)
            complaint = Complaint()
        code, message, kind, request_id = complaint
        if service.is_elsewhere:
            kind = NotFound if status in _REFUSALS else None
        is_certain = kind is not None
        kind = kind or error_kind(status)
        if kind is None:
            problem = answer.problem or "has an undocumented status"
            return bad_response(answer, f"the response {problem}")
        if kind is RateLimited and pause is None:
            turn.holds.limited(self.address.origin)
        if answer.is_about_credentials:  # then what it says may be made of them
            code = code if code in service.known else None
            if message not in service.known:
                message = _WORDS.get(kind, "the request was refused")
            request_id = request_id if re.fullmatch(_UUID, request_id or "") else None
        text = printable(hidden(shown, answer.secrets, message or ""))
        if not text:
            body = excerpt(answer)
            text = f'the response was "{body}"' if body else "the response was empty"
        usual = {NotFound: service.address_help, PermissionDenied: _PERMISSIONS}.get(kind)
        advice = service.help.get(kind, usual)
        if 300 <= status < 400:
            advice = service.address_help
            text = "the response was a redirect, which opwatch doesn't follow"
        return kind(
            f"{text}{pause_in_words(pause)}",
            status=status,
            code=printable(hidden(shown, answer.secrets, code or ""), 80) or None,
            request_id=printable(hidden(shown, answer.secrets, request_id or ""), 80) or None,
            retry_after=pause,
            advice=advice,
            _is_certain=is_certain,
        )


def _is_expired(service: Service[Any], answer: Answer) -> bool:
    """Return whether a new token may fix a 401: not if the spec says what else is wrong."""
    with suppress(Exception):  # whatever a service's reader may raise
        complaint = service.complaint(answer, object_in(any_json(answer.body)))
        return complaint.kind is None
    return True


def _shown(progress: Progress[W]) -> Progress[W]:
    """Return the progress with what may be shown of the texts of its response, from which whole
    secrets are already erased."""
    if not (secrets := _secrets.get()):
        return progress  # as in nearly every poll

    def safe(text: str | None) -> str | None:
        return "***" if text and hidden(holds_beginning, secrets, text, SHORTEST_HIDDEN) else text

    fault = progress.fault and Fault(safe(progress.fault.code), safe(progress.fault.message))
    return attrs.evolve(progress, fault=fault, step=safe(progress.step))


_PERMISSIONS = "check the permissions of these credentials"
_REFUSALS = (400, 404, 405, 406, 415, 422)
"""What services answer to a request that is another service's."""
_UUID = r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}"  # compiled when it is used
_WORDS: dict[type[ServiceError], str] = {
    AuthenticationError: "the credentials were refused",
    PermissionDenied: "the credentials don't permit this",
    ServiceError: "a proxy requires credentials",  # a 407 has no class of its own
    NotFound: "the resource wasn't found",
    JobGone: "the job wasn't found",
    RateLimited: "too many requests",
    Unavailable: "the service is unavailable",
}


_SENDING = ("opwatch.auth.", "opwatch.core.loop")
"""The modules whose frames an error passes if it was raised while sending."""


def _was_sending(error: Exception) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(frame.f_globals.get("__name__", "").startswith(_SENDING) for frame in frames)


_TEXT = {str}


@lru_cache(maxsize=256)
def _halves(operation: ModuleType) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the two functions of an operation, also of one that the generator wrote without the
    templates of this project.

    On the way, let `UNSET` of its client be itself again after it was pickled: the models compare
    fields that were not sent with that one object. The generator puts it into the module `types` at
    the root of its package.
    """
    names = [name := getattr(operation, "__name__", "")]
    while name := name.rpartition(".")[0]:
        names.append(f"{name}.types")
    for module in map(sys.modules.get, names):
        kind = getattr(module, "Unset", None)
        if isinstance(kind, type) and type(getattr(module, "UNSET", None)) is kind:
            copyreg.pickle(kind, lambda _: "UNSET")  # by its name
    if (parse := getattr(operation, "parse_response", None)) is not None:
        return operation.build_request, parse
    return operation._get_kwargs, partial(operation._parse_response, client=None)
