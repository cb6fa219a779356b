"""One wait for one job, without input and output: what to do next, and what a poll changes.

A run says when its next poll is `due` and whether it `is_over`; `learn` takes what a poll brought,
and `events` says what that was.
What an answer means is decided in `polling`; here an end becomes the error that a user sees.
Sleeping and sending are `core.loop`'s.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import attrs

from opwatch.clock import Clock
from opwatch.core import polling
from opwatch.core.nudges import nobody
from opwatch.core.polling import PollState, Reading, Trouble, Verdict
from opwatch.core.session import Seen, Session
from opwatch.errors import (
    JobCancelled,
    JobFailed,
    OpwatchError,
    RateLimited,
    WaitCancelled,
    WaitStalled,
    WaitTimeout,
)
from opwatch.events import Ended, Event, Held, Polled, Retrying, Started
from opwatch.progress import Phase, Progress
from opwatch.reading import LONGEST_PAUSE
from opwatch.text import printable

W = TypeVar("W")
logger = logging.getLogger("opwatch")

_ROUNDING = 0.05
"""Seconds: the times of a token are rounded up, so a wait may be resumed this much too early."""
_TRIES = 3
"""How often why a job failed is requested, counted with the failed polls just before."""
RESUME = "to resume the wait, pass this error's `.token` to `resume`"
AGAIN = "call wait() again to keep waiting"


@attrs.frozen
class Step(Generic[W]):
    """One step of a wait, returned by `start` and `step`."""

    progress: Progress[W] | None
    """The job's progress; None if the poll failed or it was too early to poll."""
    token: str
    """Pass it to `step` after `delay`."""
    delay: float | None
    """Seconds until the next step; None when the wait has ended."""
    trouble: OpwatchError | None = None
    """The retryable error of this step, or None."""

    def to_dict(self) -> dict[str, Any]:
        """Return the step as JSON; `wire` and `details` of its progress are left out."""
        return {
            "progress": None if self.progress is None else self.progress.to_dict(),
            "token": self.token,
            "delay": self.delay,
            "trouble": None if self.trouble is None else self.trouble.to_dict(),
        }


class Run(Generic[W]):
    """The wait for one job."""

    __slots__ = (
        *("__weakref__", "_began", "_clock", "_held_until", "_is_ahead", "_is_doubtful"),
        *("_is_nudged", "_on_sending", "_sent", "error", "has_ended", "has_started", "is_over"),
        *("job_id", "last", "on_event", "over", "resumed", "session", "span", "state", "trouble"),
        *("unseen", "wake"),
    )

    def __init__(
        self,
        session: Session[W],
        clock: Clock,
        job_id: str,
        state: PollState,
        held_until: float = -math.inf,
        on_event: Callable[[Event[W]], Any] | None = None,
        *,
        resumed: bool = False,
    ) -> None:
        self.session = session
        self._clock = clock
        self._held_until = held_until
        """The earliest time at which the next poll may be sent, even if it is due."""
        self._is_nudged = False
        """Whether a nudge came after the latest poll began."""
        self._is_ahead = False
        """Whether a nudge caused the latest poll, ahead of the schedule."""
        self.wake: Callable[[], object] = nobody
        """Wakes the sleep until `due`; may be called from any thread."""
        self.job_id = job_id
        self.state = state
        self.on_event = on_event
        # A state file also records polls before they are sent.
        self._on_sending = getattr(on_event, "_opwatch_sending", None)
        self._sent: tuple[PollState, float] | None = None
        """The state in which a poll was sent that hasn't been answered, and when."""
        self.span: Any = None
        """The wait's trace span, if there is one (`opwatch.telemetry`)."""
        self.resumed = resumed
        """Whether the wait began elsewhere."""
        self.has_started = self.has_ended = False
        """Whether the start and the end of the wait were reported."""
        self._began = clock.now()
        self.is_over = False
        """Whether the wait has ended, because the job did or with an error."""
        self.error: OpwatchError | None = None
        """The error that ended the wait before the job, or None."""
        self.last: Progress[W] | None = None
        """The last answer, or None."""
        self.unseen: Progress[W] | None = None
        """The answer that iterating hasn't returned yet, because `on_event` raised."""
        self.over: Progress[W] | None = None
        """The answer that isn't requested again: that the job is over, and not yet how."""
        self._is_doubtful = False
        """Whether `over` isn't enough to end the wait with."""
        self.trouble: OpwatchError | None = None
        """Why the last poll brought no answer, or None."""

    @property
    def due(self) -> float:
        """When the next poll is due: by the schedule or, once until then, by a nudge."""
        if self._is_nudged and not self._is_ahead:
            return self._held_until
        return self._known.due

    @property
    def _known(self) -> PollState:
        """The state, in which a poll that was interrupted, or is in flight, counts as made."""
        sent = self._sent  # read once: another thread may be polling
        return self.state if sent is None else polling.unanswered(*sent)

    @property
    def token(self) -> str:
        """The token that resumes the wait, in this process or another."""
        now = self._clock.now()  # before the other clock: otherwise a poll would be early
        return polling.dump(
            self._known,
            service=self.session.service.name,
            job_id=self.job_id,
            now=now,
            epoch=self._clock.epoch(),
        )

    def nudge(self, job_id: str | None = None) -> None:
        """Make the next poll due now, if this is that job (None: whichever). From any thread."""
        if job_id is None or job_id.lower() == self.job_id.lower():  # IDs are GUIDs
            self._is_nudged = True
            self.wake()

    def begin(self, now: float) -> None:
        """Note that a poll begins."""
        self.state = self._known
        is_first = self.state.polls == 0  # that one isn't ahead of anything
        self._is_ahead = self._is_nudged and not is_first and now < self.state.due
        self._is_nudged, self._sent = False, None

    def sending(self) -> None:
        """Note that a request of the poll is about to be sent."""
        if not self._is_ahead:
            self._sent = self.state, self._clock.now()
        if self._on_sending is not None:
            self._on_sending(self.session.service.name, self.job_id)

    def learn(
        self,
        brought: Seen[W] | OpwatchError,
        now: float,
        jitter: float,
        asked: float = -math.inf,
    ) -> Progress[W] | None:
        """Take what a poll brought; return the answer in it, if there is one.

        `asked` is until when the service asked for no requests, in whatever answer.
        """
        seen = None if isinstance(brought, OpwatchError) else brought
        self.trouble = brought if isinstance(brought, OpwatchError) else brought.trouble
        progress = None
        if seen is not None:
            asked = max(asked, now + (seen.pause or 0.0))
            self.over = seen.over or (seen.progress if seen.trouble else None)
            self._is_doubtful = seen.doubtful
            if seen.trouble is None or seen.over is not None:
                self.last = seen.progress  # before the wait can end and report it
        if seen is not None and seen.trouble is None:
            try:
                marker = self.session.service.marker(seen.progress)
            except Exception as error:  # noqa: BLE001 (whatever a service's reader may raise)
                self.trouble = self.session.misread(error)
            else:
                progress = seen.progress
                self._advance(Reading(progress.phase, marker), now, jitter)
        if self.trouble is not None:
            self._fail(self.trouble, seen, now, jitter)
            if seen is not None and self.is_over and self.error is None:
                progress = self.last = seen.progress
                self.session.unresolved(progress, self.trouble)
        if asked <= now or self.is_over:
            return progress
        pause = asked - now
        if not polling.is_too_long(pause, now, self.state.plan.deadline):
            self._hold(asked)
        else:
            asks = f"the service asks for a pause of {pause:.15g} s"
            self._break(RateLimited(f"{asks} {_beyond(pause)}", retry_after=pause))
        return progress

    def cancel(self) -> None:
        """End the wait at the caller's request."""
        self._break(WaitCancelled("the wait was cancelled; the job continues", advice=RESUME))

    def time_out(self) -> Progress[W] | None:
        """End the wait at its deadline, without a last poll; return the answer if the job is over,
        and it isn't known how."""
        if self.over is None or self.trouble is None or self._is_doubtful:
            self._break(self._error(Verdict.TIMED_OUT, self.trouble))
            return None
        self.is_over, self.last = True, self.over
        self.session.unresolved(self.over, self.trouble)
        return self.over

    def interrupt(self) -> None:
        """End the wait because of something outside of it: Ctrl-C, a cancelled task."""
        self._break(WaitCancelled("the wait was interrupted; the job is still running"))

    def starts(self) -> list[Event[W]]:
        """Return the events of a wait that begins."""
        found: list[Event[W]] = [self._event(Started, resumed=self.resumed)]
        if self.resumed and (left := self.due - self._clock.now()) > _ROUNDING:
            found.append(self._event(Held, resumed=True, next_poll_in=left))
        return found

    def events(self, progress: Progress[W] | None = None) -> list[Event[W]]:
        """Return what just happened; `progress` is what `learn` returned."""
        found: list[Event[W]] = []
        left = None if self.is_over else max(self.due - self._clock.now(), 0.0)
        if progress is not None:
            found.append(self._event(Polled, next_poll_in=left))
        elif not self.is_over and self.trouble is not None:
            if self.trouble.held_until is None:
                found.append(self._event(Retrying, next_poll_in=left, error=self.trouble))
            else:
                found.append(self._event(Held, next_poll_in=left))
        if self.is_over:
            found.append(self._event(Ended, error=self.error))
        return found

    def _event(self, kind: type[Event[W]], **more: Any) -> Event[W]:
        clock = self._clock
        return kind(
            service=self.session.service.name,
            job_id=self.job_id,
            time=datetime.fromtimestamp(clock.epoch(), UTC),
            progress=self.last,
            attempt=self.state.polls,
            elapsed=clock.now() - self._began,
            token=self.token,
            **more,
        )

    def _fail(self, error: OpwatchError, seen: Seen[W] | None, now: float, jitter: float) -> None:
        """Take a poll that brought no answer, or only that the job is over."""
        pause = getattr(error, "retry_after", None)
        over = seen is not None and seen.trouble is error and not seen.doubtful
        is_retryable = error.transient
        if over and seen is not None and seen.progress.phase is Phase.FAILED:
            # It is known how the job ended: why is worth a few tries, and no long wait.
            is_retryable = error.transient and self.state.failures + 1 < _TRIES
        if error.held_until is not None:
            is_retryable = False
            if pause is None or not polling.is_too_long(pause, now, self.state.plan.deadline):
                self._hold(error.held_until)  # nothing was sent, so nothing is counted
                self._is_nudged, self._is_ahead = self._is_nudged or self._is_ahead, False
                return
        self._advance(Trouble(is_retryable, pause, over), now, jitter)

    def _hold(self, until: float) -> None:
        """Poll no earlier, and at the deadline at the latest."""
        self.state, self._sent = polling.delayed(self.state, until), None
        self._held_until = max(self._held_until, min(until, self.state.due))

    def _advance(self, event: Reading | Trouble, now: float, jitter: float) -> None:
        advance = polling.advance_nudged if self._is_ahead else polling.advance
        self.state, verdict = advance(self.state, event, now, jitter)
        self._sent = None  # not before: an interrupt may come in between
        if self.trouble is not None and logger.isEnabledFor(logging.DEBUG):
            words = (self.session.service.name, self.job_id, verdict.value, self.trouble.message)
            logger.debug("%s %s: %s: %s", *words)
        if verdict is Verdict.ENDED:
            self.is_over = True
        elif verdict is not Verdict.WAIT:
            self._break(self._error(verdict, self.trouble))

    def _error(self, verdict: Verdict, trouble: OpwatchError | None) -> OpwatchError:
        """Return the error for a verdict."""
        if verdict is Verdict.TIMED_OUT:
            cause = f" (last error: {trouble._what()})" if trouble is not None else ""
            text = f"timed out before the job's state was known{cause}"
            if self.state.phase is not None or self.last is not None:
                text = f"timed out before the job finished{cause}; the job continues"
            error: OpwatchError = WaitTimeout(text, advice=AGAIN)
            error.__cause__ = trouble
            return error
        if verdict is Verdict.STALLED:
            limit = f"{self.state.plan.stall_timeout:g} s"
            return WaitStalled(f"made no progress for {limit}; the job continues", advice=AGAIN)
        assert trouble is not None
        pause = getattr(trouble, "retry_after", None) or 0.0
        if trouble.held_until is not None:
            too_long = (
                "which is over a day" if pause > LONGEST_PAUSE else "after the wait's deadline"
            )
            return RateLimited(f"{trouble.message}, {too_long}", retry_after=pause)
        deadline, now = self.state.plan.deadline, self._clock.now()
        if trouble.transient and deadline is not None and deadline - now < pause <= LONGEST_PAUSE:
            asks = f"the service asks for a pause of {pause:g} s {_beyond(pause)}"
            trouble.message = f"{trouble.message.removesuffix('.')}; {asks}"
        return trouble

    def _break(self, error: OpwatchError) -> None:
        """End the wait with an error that says how to resume it."""
        name = self.session.service.name
        self.error = error.about(name, self.job_id, last=self.last, token=self.token)
        self.is_over = True


def _beyond(pause: float) -> str:
    beyond = "is over a day" if pause > LONGEST_PAUSE else "would end after the wait's deadline"
    return f"(Retry-After), which {beyond}"


def outcome(run: Run[W]) -> Progress[W]:
    """Return a job's last answer; raise `JobFailed` or `JobCancelled` if that is what it says."""
    progress = run.last
    assert progress is not None
    if progress.phase not in (Phase.FAILED, Phase.CANCELLED):
        return progress
    kind = JobFailed if progress.phase is Phase.FAILED else JobCancelled
    word = str(progress.phase)
    reason = f"{word}: {printable(str(progress.fault))}" if progress.fault else word
    raise kind(reason, fault=progress.fault).about(
        progress.service, progress.job_id, last=progress, token=run.token
    )
