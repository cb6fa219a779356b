"""Events as lines, for a pipe, a dumb terminal or a CI log; and as `--json`.

A line is written for each change, and otherwise once a minute, to show that opwatch is still
watching. Text from a service is made printable first.
"""

from __future__ import annotations

import json
from typing import Any, TextIO

from opwatch.errors import WaitCancelled
from opwatch.events import Ended, Event, Polled
from opwatch.text import printable
from opwatch.words import says, told

QUIET_FOR = 60.0
"""Seconds after which an unchanged line is repeated."""


class Lines:
    """One plain line for each change of a job."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._shown: dict[tuple[str, str], tuple[str, float]] = {}

    def on_event(self, event: Event[Any]) -> None:
        if isinstance(event, Ended):
            self._result(event)
            return
        if isinstance(event, Polled) and event.progress and event.progress.phase.is_final:
            return  # the result says the same
        text = told(event)
        before, when = self._shown.get(event.job, ("", -QUIET_FOR))
        if text == before and event.elapsed - when < QUIET_FOR:
            return
        self._shown[event.job] = text, event.elapsed
        self._write(event, f"{text}{_next(event)}")

    def close(self) -> None:
        self._out.flush()

    def _result(self, event: Ended[Any]) -> None:
        """Write the end of a job as a line, and an error that ended the wait to standard error."""
        if event.error is None:
            self._write(event, told(event))
        elif is_complaint(event):
            complain(event, self._err)

    def _write(self, event: Event[Any], text: str) -> None:
        time = event.time.strftime("%Y-%m-%dT%H:%M:%SZ")
        line = f"{time} {event.service} {printable(event.job_id)} {text}"
        print(line, file=self._out, flush=True)


class JsonLines:
    """One JSON object for each event."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err

    def on_event(self, event: Event[Any]) -> None:
        print(json.dumps(event.to_dict()), file=self._out, flush=True)
        if is_complaint(event):
            complain(event, self._err)

    def close(self) -> None:
        self._out.flush()


class Quiet:
    """Only failures and errors, on standard error."""

    def __init__(self, err: TextIO) -> None:
        self._err = err

    def on_event(self, event: Event[Any]) -> None:
        if isinstance(event, Ended) and event.exit_code and event.outcome != "interrupted":
            complain(event, self._err)

    def close(self) -> None:
        self._err.flush()


def is_complaint(event: Event[Any]) -> bool:
    """Return whether an error other than a cancellation ended the wait."""
    stopped = event.error is None or isinstance(event.error, WaitCancelled)
    return isinstance(event, Ended) and not stopped


def complain(event: Event[Any], err: TextIO) -> None:
    """Write why a wait ended, as one line."""
    if event.error is not None:
        text = printable(says(event.error), 1000)
    else:
        text = f"{event.service} {printable(event.job_id)}: {told(event)}"
    print(f"opwatch: {text}", file=err, flush=True)


def _next(event: Event[Any]) -> str:
    if event.next_poll_in is None:
        return ""
    return f" (next poll in {event.next_poll_in:.0f} s)"
