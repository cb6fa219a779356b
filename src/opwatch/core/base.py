"""What the blocking and the async client of a service share: how a wait starts, and how it ends."""

from __future__ import annotations

import inspect
import math
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

import attrs

from opwatch import clock as clocks
from opwatch import telemetry
from opwatch.auth.tokens import Auth
from opwatch.clock import Clock
from opwatch.core import polling
from opwatch.core.loop import Io, Turn, poll, tell, upcoming
from opwatch.core.options import Options, Settings
from opwatch.core.polling import Duration, Schedule
from opwatch.core.run import Run, Step, outcome
from opwatch.core.session import Service, Session
from opwatch.current import Current
from opwatch.errors import ConfigurationError, OpwatchError
from opwatch.events import Event
from opwatch.net import tls
from opwatch.net.message import Address
from opwatch.progress import Progress

if TYPE_CHECKING:
    from opwatch.core.channel import Notifications

W = TypeVar("W")
Terms: TypeAlias = tuple[Duration | None, Duration | None, Schedule | None]
"""What a caller passes for a wait: timeout, stall_timeout, schedule."""
OnEvent: TypeAlias = Callable[[Event[W]], Any] | None


class Core(Generic[W]):
    """What the two clients of a service share: a session, and what a wait starts with."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.__doc__ = cls.__doc__ or cls.__bases__[0].__doc__  # the two clients have the same

    _opener: ClassVar[Current[Callable[[Any], Any]]]
    _kind: ClassVar[Callable[..., Io]]
    _session: Session[W]

    def _open(
        self,
        service: Service[W],
        address: Address,
        auth: Callable[[Clock], Auth],
        options: Options,
        /,
        **parameters: str | None,
    ) -> None:
        """Called by the constructor of each service. `parameters` are those of the path that aren't
        part of a job's ID."""
        self._settings = settings = Settings.of(options)  # type: ignore[arg-type]
        self._clock = clocks.current.get()
        self._schedule = service.schedule if settings.schedule is None else settings.schedule
        # Refuse an invalid schedule or count now, before any wait.
        polling.plan(0.0, self._schedule, max_failures=settings.max_failures)
        context, bound = settings.ssl_context, auth(self._clock)
        if address.is_https and context is None:
            context = tls.context()
        at_once = min(settings.max_in_flight, bound.max_in_flight)
        self._settings = attrs.evolve(settings, ssl_context=context, max_in_flight=at_once)
        self._session = Session(service, address, bound, settings.agent, parameters)
        self._owed: dict[str, Progress[W]] = {}
        self._transport = self._opener.get()(self._settings)
        self._io = self._kind(self._transport, self._clock, self._settings)
        self._io.pause = service.pause

    def _listen(self, how: Notifications) -> None:
        """Called after `_open`, by the constructor of a service that reports ends itself."""
        from opwatch.core.channel import Channel  # few clients need it

        self._io.channel = Channel(self._session.service.name, how, self._io, self._settings)
        weakref.finalize(self, self._io.channel.close)

    def _run(self, job_id: str, *terms: *Terms, on_event: OnEvent[W] = None) -> Run[W]:
        return self._runs([job_id], *terms, on_event=on_event)[0]

    def _runs(
        self, job_ids: Iterable[str], *terms: *Terms, on_event: OnEvent[W] = None
    ) -> list[Run[W]]:
        """Return a wait for each ID; the first polls of many are spread over a delay."""
        self._check_callback(on_event, "on_event")
        is_iterable = isinstance(job_ids, Iterable) and not isinstance(job_ids, (str, bytes))
        polling.checked(job_ids, "job_ids", is_iterable, "an iterable of job IDs")
        ids = list(dict.fromkeys(map(self._session.check_id, job_ids)))
        now, settings = self._clock.now(), self._settings
        timeout, stall_timeout, schedule = terms
        chosen = self._schedule if schedule is None else schedule
        plan = polling.plan(now, chosen, timeout, stall_timeout, settings.max_failures)
        many = len(ids) > settings.max_in_flight
        spread = chosen.delays[0] / len(ids) if many else 0.0
        session, clock, begin = self._session, self._clock, polling.begin
        return [
            Run(session, clock, job_id, begin(plan, now, delay=spread * n), on_event=on_event)
            for n, job_id in enumerate(ids)
        ]

    def _resumed(self, token: str, on_event: OnEvent[W] = None) -> Run[W]:
        self._check_callback(on_event, "on_event")
        clock = self._clock
        epoch = clock.epoch()  # before the other clock: otherwise a poll would be early
        name = self._session.service.name
        job_id, state = polling.load(token, service=name, now=clock.now(), epoch=epoch)
        job_id = self._session.check_id(job_id)
        # The due time may be one that the service asked for.
        return Run(self._session, clock, job_id, state, state.due, on_event, resumed=True)

    def nudge(self, job_id: str) -> None:
        """Poll a job now, ahead of the schedule, in all of this client's waits for it.

        Call it, from any thread or task, when something else reports that the job may have ended: a
        webhook, a message, a user. There is at most one such poll per delay of the schedule, and
        none during a `Retry-After` pause or before the first poll of `resume`. Only the service's
        response ends the wait: an early or forged nudge costs one poll and leaves the rest of that
        delay to the schedule, and a lost one costs nothing. Does nothing if this client isn't
        waiting for the job. Raises `ConfigurationError` for an invalid ID.
        """
        self._io.nudges.nudge(self._session.check_id(job_id))

    def _check_callback(self, callback: Any, name: str) -> None:
        polling.checked(callback, name, callback is None or callable(callback), "callable")
        if not self._io.is_async and inspect.iscoroutinefunction(callback):
            problem = f"must not be async: {type(self).__name__} is a blocking client"
            raise ConfigurationError(problem, argument=name)

    async def _progress(self, job_id: str) -> Progress[W]:
        turn, name = Turn(self._io, -math.inf), self._session.service.name
        job_id = self._session.check_id(job_id)
        try:
            seen = await self._session.query(turn, job_id)
        except OpwatchError as error:
            if error.held_until is None:  # otherwise, nothing was sent
                telemetry.polled(name)
            raise
        telemetry.polled(name)
        if seen.trouble is not None:
            if seen.doubtful and seen.trouble.held_until is None:
                raise seen.trouble.about(name, job_id, last=seen.progress)
            self._session.unresolved(seen.progress, seen.trouble)
        return seen.progress

    async def _step(self, run: Run[W]) -> Step[W]:
        progress = None
        if run.due <= self._clock.now():
            run.over = self._owed.pop(run.job_id, None)
            progress = await poll(run, self._io)
            await tell(run, run.events, progress)
            if run.over and run.trouble and run.trouble.held_until and not run.is_over:
                # Otherwise, a service that asks for a pause in each answer would never be asked
                # how the job ended.
                self._owed[run.job_id] = run.over
        if run.error is not None:
            raise run.error
        now = self._clock.now()
        delay = None if run.is_over else max(run.due - now, 0.0)
        return Step(progress, run.token, delay, run.trouble)

    async def _finish(
        self, run: Run[W], on_progress: Callable[[Progress[W]], Any] | None, cancel: Any
    ) -> Progress[W]:
        self._check_callback(on_progress, "on_progress")
        self._io.check_cancel(cancel)
        self._io.nudges.add(run)
        try:
            while (progress := await upcoming(run, self._io, cancel)) is not None:
                if on_progress is not None and inspect.isawaitable(done := on_progress(progress)):
                    await done
        except BaseException as error:
            if not run.is_over:
                run.interrupt()
            if not run.has_ended:  # or the last answer was being reported
                with self._io.last_word():
                    await tell(run, run.events)
            # An exception from outside the wait (Ctrl-C, `on_progress`) gets a note with the token,
            # unless the job is over.
            has_token = (
                isinstance(error, OpwatchError) and error.token and error.job_id == run.job_id
            )
            if run.error is not None and not has_token:
                resumes = f"this token resumes the wait: {run.token}"
                error.add_note(f"opwatch: the job continues; {resumes}")
            raise
        finally:
            # An `on_progress` that draws (`opwatch.bars`) would keep drawing below a traceback.
            if (wait_over := getattr(on_progress, "_opwatch_wait_over", None)) is not None:
                wait_over(run.job_id)
        return outcome(run)

    def __repr__(self) -> str:
        session = getattr(self, "_session", None)  # none in a traceback out of the constructor
        return f"<{type(self).__name__} at {session.address.origin if session else 'no address'}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} can't be pickled; send a token instead")


class WatchBase(Generic[W]):
    def __init__(self, io: Io, run: Run[W], cancel: Any) -> None:
        self._io = io
        self._run = run
        self.job_id = run.job_id
        """The job's ID."""
        self._cancel = io.check_cancel(cancel)
        self._has_raised = False
        io.nudges.add(run)

    def nudge(self) -> None:
        """Poll now, ahead of the schedule, like `Client.nudge`."""
        self._run.nudge()

    async def _upcoming(self) -> Progress[W] | None:
        if self._has_raised:
            return None
        try:
            return await upcoming(self._run, self._io, self._cancel)
        except OpwatchError:
            self._has_raised = self._run.is_over
            raise

    @property
    def last(self) -> Progress[W] | None:
        """The last progress so far, or None."""
        return self._run.last

    @property
    def token(self) -> str:
        """The token that resumes the wait, in this process or another."""
        return self._run.token
