"""A channel on which a service reports the ends of jobs: one for each client, in a thread.

Polling continues as it would without it; an event only nudges. So the channel may close, fall
silent or lie: the thread reopens it, with growing pauses, and meanwhile the schedule finds every
end. The service keeps no events for a client that isn't connected. Therefore a wait makes its first
poll once the channel is open or has failed to open, and reopening it nudges every wait.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from opwatch import net
from opwatch.auth.flight import Flight
from opwatch.core.nudges import Bell
from opwatch.errors import OpwatchError, TransportError
from opwatch.net import fork
from opwatch.net.message import Request, Secret, hidden
from opwatch.reading import any_json, object_in, retry_after

if TYPE_CHECKING:
    from opwatch.core.loop import Io
    from opwatch.core.options import Settings
    from opwatch.net.websocket import WebSocket

logger = logging.getLogger("opwatch")

OPENING = 10.0
"""Seconds to connect and be confirmed; a wait's first poll is delayed by that much at most."""
LONGEST_PAUSE = 60.0
"""Seconds between attempts to open it; if it was open for longer, the pauses start over."""
_WORTH_RETRYING = (408, 425, 429)


class Notifications(NamedTuple):
    """What a service's file says about its channel."""

    request: Request
    """Opens the channel."""
    subprotocol: str
    sign: Callable[[Request], Request]
    hello: Callable[[Request], Secret]
    """Make the first message from the signed request."""
    confirmation: str
    """The text that confirms that the channel is open."""
    job_id: Callable[[dict[str, Any]], Any]
    """Return the ID of the job that an event is about."""


class Channel:
    """The channel of one client. It doesn't hold the client, so a dropped client is collected."""

    def __init__(self, service: str, how: Notifications, io: Io, settings: Settings) -> None:
        self._service = service
        self._how = how
        self._nudges, self._holds, self._clock = io.nudges, io.holds, io.clock
        self._connect = net.open_websocket.get()(settings)
        self._upgrade = how.request._replace(headers=(("User-Agent", settings.agent),))
        self._has_warned = False
        self._socket: WebSocket | None = None
        self.after_fork()
        fork.watch(self)

    def after_fork(self) -> None:
        """Start over in a child, where there is no thread."""
        if self._socket is not None:
            self._socket.forget()
        self._socket = None
        self._flights: dict[str, Flight] = {}
        """The thread's first attempt, which lands when the channel is open or has failed to open.
        Removed when the thread ends, unless trying again is pointless."""
        self._stop = Bell()

    def opening(self) -> Flight:
        """Start the thread unless it runs; return what lands when a first poll may be made."""
        if (flight := self._flights.get("")) is not None:
            return flight
        own, stop = Flight(), Bell()
        if (flight := self._flights.setdefault("", own)) is own:
            self._stop = stop
            name = f"opwatch {self._service} notifications"
            thread = threading.Thread(target=self._listen, args=(own, stop), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more, or the interpreter is about to end
                self._pause(TransportError("no thread can be started"))
                own.land()
        return flight

    def close(self) -> None:
        """Close the channel. Another wait reopens it."""
        self._stop.ring()
        if (socket := self._socket) is not None:
            socket.interrupt()
        self._flights.clear()

    # --- in the thread ---

    def _listen(self, first: Flight, stop: Bell) -> None:
        """Keep the channel open while there are waits."""
        failures, asked = 0, 0.0
        try:
            while not stop.is_set():
                began, asked = time.monotonic(), 0.0
                try:
                    self._attend(first, stop)
                except OpwatchError as error:
                    asked = 0.0 if stop.is_set() else self._pause(error)
                first.land()
                if not self._nudges or asked == math.inf:
                    break
                failures = 0 if time.monotonic() - began > LONGEST_PAUSE else failures + 1
                longest = min(LONGEST_PAUSE, 0.5 * 2.0 ** min(failures, 16))
                stop.wait(max(asked, longest * random.uniform(0.5, 1)))  # noqa: S311 (spreads load)
        finally:
            if asked < math.inf and self._flights.get("") is first:
                self._flights.pop("", None)
            first.land()

    def _attend(self, first: Flight, stop: Bell) -> None:
        """Open the channel, and nudge for each event until it breaks."""
        how, end = self._how, time.monotonic() + OPENING
        signed = how.sign(how.request)
        self._holds.check(signed, self._clock.now(), None)
        self._socket = socket = self._connect(self._upgrade, how.subprotocol, end)
        try:
            socket.send(hidden(how.hello, signed))
            while not stop.is_set() and socket.receive(end) != how.confirmation:
                pass
            if first.has_landed:
                self._nudges.nudge()
            first.land()
            while not stop.is_set():
                job_id = how.job_id(object_in(any_json(socket.receive().encode())))
                if isinstance(job_id, str):
                    self._nudges.nudge(job_id)
        finally:
            self._socket = None
            socket.close()

    def _pause(self, error: OpwatchError) -> float:
        """Take what ended an attempt, and warn once. Return the seconds for which the server asks
        for no other: infinity if one is pointless. They are the channel's alone: the service may
        still answer polls, and what opens WebSockets may be another server, or a proxy."""
        if not self._has_warned:
            self._has_warned = True
            what = error._what()
            logger.warning("%s: no notifications (%s); polling continues", self._service, what)
        if (answer := error.__dict__.pop("head", None)) is None:
            return 0.0 if error.transient else math.inf
        if 400 <= answer.status < 500 and answer.status not in _WORTH_RETRYING:
            return math.inf
        return retry_after(answer, self._clock.epoch()) or 0.0
