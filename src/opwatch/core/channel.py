"""A channel on which a service reports the ends of jobs: one for each client, in a thread.

Polling continues as it would without it; an event only nudges. So the channel may close, fall
silent or lie: the thread reopens it, with growing pauses, and meanwhile the schedule finds every
end. The service keeps no events for a client that isn't connected. Therefore a wait makes its first
poll once the channel is open, has failed to open or takes too long, and opening it later nudges
every wait.
"""

from __future__ import annotations

import json
import logging
import math
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from opwatch import net
from opwatch.auth.flight import Flight, Single
from opwatch.core.nudges import Bell
from opwatch.errors import OpwatchError, TransportError
from opwatch.net.message import Request, Secret, hidden
from opwatch.reading import any_json, object_in, retry_after

if TYPE_CHECKING:
    from opwatch.core.loop import Io
    from opwatch.core.options import Settings

logger = logging.getLogger("opwatch")

OPENING = 10.0
"""Seconds to connect and be confirmed; a first poll doesn't wait for that long (`Io.listen`)."""
LONGEST_PAUSE = 60.0
"""Seconds between attempts to open it; if it was open for longer, the pauses start over."""
_WORTH_RETRYING = (408, 425, 429)


class Notifications(NamedTuple):
    """What a service's file says about its channel."""

    request: Request
    """Opens the channel."""
    subprotocol: str
    sign: Callable[[Request], Request]
    """The first message is what this adds to the request: its headers, as a JSON object."""
    confirmation: str
    """The text that confirms that the channel is open."""
    job_id: str
    """The field of an event with the ID of the job that it is about."""


class _Thread(NamedTuple):
    first: Flight
    """Its first attempt. It lands when the channel is open, has failed to open, or takes too long
    for a wait."""
    bell: Bell
    """Ends a pause between two attempts."""


class Channel:
    """The channel of one client. It doesn't hold the client, so a dropped client is collected."""

    def __init__(self, service: str, how: Notifications, io: Io, settings: Settings) -> None:
        self._service = service
        self._how = how
        self._nudges, self._holds, self._clock = io.nudges, io.holds, io.clock
        self._connect = net.open_websocket.get()(settings)
        self._upgrade = how.request._replace(headers=(("User-Agent", settings.agent),))
        self._has_warned = False
        self._threads: Single[_Thread] = Single()
        """The one that keeps the channel open. It ends when it isn't here any more; one that ended
        because trying again is pointless remains."""

    def opening(self) -> Flight:
        """Start the thread unless it runs; return what lands when a first poll may be made."""
        if (thread := self._threads.get("")) is None:
            own = _Thread(Flight(), Bell())
            try:
                if (thread := self._threads.setdefault("", own)) is own:
                    name = f"opwatch {self._service} notifications"
                    threading.Thread(
                        target=self._listen, args=(own,), name=name, daemon=True
                    ).start()
            except RuntimeError:  # the system has no more, or the interpreter is about to end
                self._pause(TransportError("can't start a thread"))
                own.first.land()
                return own.first
            except BaseException:  # an interrupt: perhaps it runs, perhaps it doesn't
                self._end(own)
                raise
        return thread.first

    def close(self) -> None:
        """Close the channel. Another wait reopens it."""
        if (thread := self._threads.pop("", None)) is not None:
            thread.bell.ring()

    def _end(self, own: _Thread) -> None:
        if self._threads.get("") is own:
            self._threads.pop("", None)
        own.bell.ring()
        own.first.land()

    # --- in the thread ---

    def _listen(self, own: _Thread) -> None:
        """Keep the channel open while there are waits."""

        def is_over() -> bool:
            return self._threads.get("") is not own

        failures, asked = 0, 0.0
        try:
            while not is_over():
                began, asked = time.monotonic(), 0.0
                try:
                    self._attend(own.first, is_over)
                except OpwatchError as error:
                    asked = 0.0 if is_over() else self._pause(error)
                own.first.land()
                if not self._nudges or asked == math.inf:
                    break
                failures = 0 if time.monotonic() - began > LONGEST_PAUSE else failures + 1
                longest = min(LONGEST_PAUSE, 0.5 * 2.0 ** min(failures, 16))
                own.bell.wait(max(asked, longest * random.uniform(0.5, 1)))  # noqa: S311 (spreads)
        finally:
            if asked < math.inf:
                self._end(own)
            own.first.land()

    def _attend(self, first: Flight, is_over: Callable[[], bool]) -> None:
        """Open the channel, and nudge for each event until it breaks."""
        how, end = self._how, time.monotonic() + OPENING
        signed = how.sign(how.request)
        self._holds.check(signed)
        socket = self._connect(self._upgrade, how.subprotocol, end, is_over)
        try:
            socket.send(hidden(_hello, signed))
            while socket.receive(end) != how.confirmation:
                pass
            if first.has_landed:
                self._nudges.nudge()
            first.land()
            while not is_over():
                job_id = object_in(any_json(socket.receive().encode())).get(how.job_id)
                if isinstance(job_id, str):
                    self._nudges.nudge(job_id)
        finally:
            socket.close()

    def _pause(self, error: OpwatchError) -> float:
        """Take what ended an attempt, and warn once. Return the seconds for which the server asks
        for no other: infinity if one is pointless. They are the channel's alone: the service may
        still answer polls, and what opens WebSockets may be another server, or a proxy."""
        if not self._has_warned:
            self._has_warned = True
            what = error._what()
            logger.warning("%s: notifications failed (%s); polling continues", self._service, what)
        if (answer := error.__dict__.pop("head", None)) is None:
            return 0.0 if error.transient else math.inf
        if 400 <= answer.status < 500 and answer.status not in _WORTH_RETRYING:
            return math.inf
        return retry_after(answer, self._clock.epoch()) or 0.0


def _hello(signed: Request) -> Secret:
    plain = {name.lower(): Secret(value).encode().decode() for name, value in signed.headers}
    return Secret(json.dumps(plain))
