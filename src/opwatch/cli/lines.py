"""Events as lines: for a pipe, a dumb terminal, a log of a CI run; and as `--json`.

A line is written when something changed, and where nothing does, once a minute: enough to see that
somebody still watches, and no flood. What a service sent is made printable first.
"""

from __future__ import annotations

from typing import TextIO

from opwatch.bars import stand
from opwatch.cli import events, exits
from opwatch.cli.events import Event
from opwatch.errors import OpwatchError, WaitCancelled
from opwatch.text import printable

QUIET_FOR = 60.0
"""Seconds after which a line says that nothing has changed."""


class Lines:
    """One plain line for each change of a job."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._shown: dict[tuple[str, str], tuple[str, float]] = {}

    def on_event(self, event: Event) -> None:
        if event.kind == "result":
            self._result(event)
            return
        if event.kind == "progress" and _is_over(event):
            return  # the result says the same
        text = told(event)
        before, when = self._shown.get(event.job, ("", -QUIET_FOR))
        if text == before and event.elapsed - when < QUIET_FOR:
            return
        self._shown[event.job] = text, event.elapsed
        self._write(self._out, event, f"{text}{_next(event)}")

    def close(self) -> None:
        self._out.flush()

    def _result(self, event: Event) -> None:
        """An end of the job is an answer; an end of the wait is an error."""
        if event.error is None:
            self._write(self._out, event, told(event))
        elif is_complaint(event):
            complain(event, self._err)

    def _write(self, out: TextIO, event: Event, text: str) -> None:
        time = event.time.strftime("%Y-%m-%dT%H:%M:%SZ")
        print(f"{time} {event.service} {printable(event.job_id)} {text}", file=out, flush=True)


class JsonLines:
    """One object for each event."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err

    def on_event(self, event: Event) -> None:
        print(events.line(event), file=self._out, flush=True)
        if is_complaint(event):
            complain(event, self._err)

    def close(self) -> None:
        self._out.flush()


class Quiet:
    """Nothing but what went wrong, on standard error."""

    def __init__(self, err: TextIO) -> None:
        self._err = err

    def on_event(self, event: Event) -> None:
        if event.kind == "result" and event.exit_code and event.outcome != "interrupted":
            complain(event, self._err)

    def close(self) -> None:
        self._err.flush()


def is_complaint(event: Event) -> bool:
    """Whether a wait ended without the job's end, and not because somebody said so."""
    stopped = event.error is None or isinstance(event.error, WaitCancelled)
    return event.kind == "result" and not stopped


def complain(event: Event, err: TextIO) -> None:
    """Why a job's watching ended, as one line."""
    if event.error is not None:
        text = printable(event.says, 1000)
    else:
        text = f"{event.service} {printable(event.job_id)}: {told(event)}"
    print(f"opwatch: {text}", file=err, flush=True)


# --- words ----------------------------------------------------------------------------------------


def told(event: Event) -> str:
    """What an event says of its job, without the time."""
    if event.kind == "start":
        return "taken up from the state file" if event.resumed else "watched"
    if event.kind == "trouble":
        assert event.error is not None
        return f"{in_short(event.error)}: {printable(events.words(event.error), 300)}"
    if event.kind == "held":
        return "not due yet" if event.resumed else "held by a rate limit"
    return stand(event.last) if event.last is not None else "no answer yet"


def _is_over(event: Event) -> bool:
    return event.last is not None and event.last.phase.is_final


def in_short(error: OpwatchError) -> str:
    """Return an error in a few words, with its status: "rate limited (429)"."""
    words = exits.of_error(error).phrase
    status = getattr(error, "status", None)
    return f"{words} ({status})" if status else words


def _next(event: Event) -> str:
    if event.next_query_in is None:
        return ""
    return f" (next query in {event.next_query_in:.0f} s)"
