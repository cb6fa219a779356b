"""A channel on which a service tells of ends as they come: one for each client, in a thread.

Polling goes on as without it; all that comes of an event is a nudge. So the channel may close, stay
silent or lie: it is opened again, with growing pauses, and meanwhile the schedule finds every end.
The service keeps no event for a client that isn't connected. Therefore a wait makes its first poll
when the channel is open or has failed to open, and all jobs are polled when it is opened again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from opwatch import net
from opwatch.auth.flight import Flight
from opwatch.core.nudges import Bell
from opwatch.errors import OpwatchError
from opwatch.net import fork
from opwatch.net.message import Request, Secret, hidden
from opwatch.reading import any_json, object_in, retry_after

if TYPE_CHECKING:
    from opwatch.core.loop import Io
    from opwatch.core.options import Settings
    from opwatch.net.websocket import WebSocket

logger = logging.getLogger("opwatch")

OPENING = 10.0
"""Seconds to connect and be confirmed; the first poll of a wait is late by that much at most."""
LONGEST_PAUSE = 60.0
"""Seconds between two attempts to open it; if it was open for longer, the pauses start over."""
_WORTH_RETRYING = (408, 425, 429)


class Notifications(NamedTuple):
    """What a service's file says about its channel."""

    request: Request
    """Opens it."""
    subprotocol: str
    sign: Callable[[Request], Request]
    hello: Callable[[Request], Secret]
    """Make the first message from the signed request."""
    confirmation: str
    """The text that says that the channel is open."""
    job_id: Callable[[dict[str, Any]], Any]
    """Return the ID of the job that an event is about."""


class Channel:
    """One client's. It holds no client, so a client that is dropped is collected."""

    def __init__(self, service: str, told: Notifications, io: Io, settings: Settings) -> None:
        self._service = service
        self._told = told
        self._nudges, self._holds, self._clock = io.nudges, io.holds, io.clock
        self._connect = net.open_websocket.get()(settings)
        self._upgrade = told.request._replace(headers=(("User-Agent", settings.agent),))
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
        """The first attempt of the thread that listens, which lands when the channel is open or has
        failed to open. Gone when the thread has ended, unless it is of no use to try again."""
        self._stop = Bell()

    def opening(self) -> Flight:
        """Listen, if nobody does; return what lands when a first poll may be made."""
        if (flight := self._flights.get("")) is not None:
            return flight
        own, stop = Flight(), Bell()
        if (flight := self._flights.setdefault("", own)) is own:
            self._stop = stop
            name = f"opwatch {self._service} notifications"
            threading.Thread(target=self._listen, args=(own, stop), name=name, daemon=True).start()
        return flight

    def close(self) -> None:
        """Close it. Another wait opens it again."""
        self._stop.ring()
        if (socket := self._socket) is not None:
            socket.interrupt()
        self._flights.clear()

    # --- in the thread ---

    def _listen(self, first: Flight, stop: Bell) -> None:
        """Keep the channel open while there are waits."""
        failures, is_useless = 0, False
        try:
            while not stop.is_set() and not is_useless:
                began = time.monotonic()
                try:
                    self._attend(first, stop)
                except OpwatchError as error:
                    is_useless = not stop.is_set() and self._is_final(error)
                first.land()
                if not self._nudges:
                    break
                failures = 0 if time.monotonic() - began > LONGEST_PAUSE else failures + 1
                longest = min(LONGEST_PAUSE, 0.5 * 2.0 ** min(failures, 16))
                stop.wait(longest * random.uniform(0.5, 1))  # noqa: S311 (spreads load)
        finally:
            if not is_useless and self._flights.get("") is first:
                self._flights.pop("", None)
            first.land()

    def _attend(self, first: Flight, stop: Bell) -> None:
        """Open the channel, and pass on what comes until it breaks."""
        told, end = self._told, time.monotonic() + OPENING
        signed = told.sign(told.request)
        self._holds.check(signed, self._clock.now(), None)
        self._socket = socket = self._connect(self._upgrade, told.subprotocol, end)
        try:
            socket.send(hidden(told.hello, signed))
            while not stop.is_set() and socket.receive(end) != told.confirmation:
                pass
            if first.has_landed:
                self._nudges.nudge()
            first.land()
            while not stop.is_set():
                job_id = told.job_id(object_in(any_json(socket.receive().encode())))
                if isinstance(job_id, str):
                    self._nudges.nudge(job_id)
        finally:
            self._socket = None
            socket.close()

    def _is_final(self, error: OpwatchError) -> bool:
        """Take what ended an attempt; return whether another is of no use. Warn once."""
        if not self._has_warned:
            self._has_warned = True
            what = error._what()
            logger.warning("%s: no notifications (%s); polling continues", self._service, what)
        if (answer := error.__dict__.pop("head", None)) is None:
            return not error.transient
        if (pause := retry_after(answer, self._clock.epoch())) is not None:
            self._holds.limited(self._told.request.address.origin, self._clock.now(), pause)
        return 400 <= answer.status < 500 and answer.status not in _WORTH_RETRYING
