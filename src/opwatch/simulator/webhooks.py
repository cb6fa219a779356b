"""Webhooks, simulated: a POST to a user's server when a job ends, from a separate thread.

The simulation says what is posted; this delivers it, and repeats a delivery that fails.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import Any

from opwatch.core.options import Settings
from opwatch.errors import ConfigurationError, TransportError
from opwatch.net.address import address, endpoint, is_loopback
from opwatch.net.blocking import Transport
from opwatch.net.message import Request
from opwatch.simulator.state import Ends, State

logger = logging.getLogger("opwatch")

TICK = 0.02
"""Seconds between two looks for jobs that have ended."""
DELIVERIES = 3
"""The most attempts to deliver an event; iTwin's number isn't documented."""
PATIENCE = 5.0
"""Seconds in which a receiver must respond, by iTwin's official samples."""


class Webhook:
    """Delivers the ends of jobs to one address, from now on until it is stopped."""

    def __init__(
        self, state: State, simulation: Any, url: str, secret: str, version: int | None
    ) -> None:
        """`simulation.webhook` makes the body and the headers of an event."""
        if not hasattr(simulation, "webhook"):
            raise ConfigurationError(f"{simulation.name} has no webhooks")
        self._address = address(url, "url")
        if not is_loopback(endpoint(self._address)[0]):
            problem = "must be an address of this machine, such as http://127.0.0.1:8000/webhooks"
            raise ConfigurationError(problem, argument="url")
        self._letter = partial(simulation.webhook, state=state, secret=secret, version=version)
        self._ends = Ends(state, simulation.name)
        self._transport = Transport(Settings())
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"webhook to {url}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Deliver nothing more, and return when the last delivery has ended."""
        self._stopping.set()
        self._thread.join()
        self._transport.close()

    def _run(self) -> None:
        while not self._stopping.wait(TICK):
            for job in self._ends.new():
                body, headers = self._letter(job)
                sent = (("Content-Type", "application/json"), *headers.items())
                target = self._address.prefix or "/"
                self._deliver(Request("POST", self._address, target, sent, body))

    def _deliver(self, request: Request) -> None:
        why = ""
        for _ in range(DELIVERIES):
            try:
                answer = self._transport.send(request, time.monotonic() + PATIENCE)
            except TransportError as error:
                why = error.message
                continue
            if answer.is_success:
                return
            why = f"the receiver responded with {answer.status}"
        logger.warning("%s: an event was not delivered: %s", self._thread.name, why)
