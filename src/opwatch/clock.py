"""The time, sleeping, and chance: what the pure machine must not know, in one replaceable place.

`opwatch.testing.FakeClock` stands in for it in tests.
"""

from __future__ import annotations

import random
import time
from contextvars import ContextVar
from typing import Protocol

import anyio

LONGEST_SLEEP = 86_400.0
"""Seconds slept at once; what is longer is slept in turns, since platforms limit a timer."""


class Cancel(Protocol):
    """What stops a blocking wait: a `threading.Event`."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class AsyncCancel(Protocol):
    """What stops an async wait: an event of asyncio, trio or anyio."""

    def is_set(self) -> bool: ...

    async def wait(self) -> object: ...


class Clock:
    """The clock of this machine."""

    def now(self) -> float:
        """Seconds on a clock that only goes forward."""
        return time.monotonic()

    def epoch(self) -> float:
        """Seconds since 1970, which may jump."""
        return time.time()

    def jitter(self) -> float:
        """A random number, 0 to 1."""
        return random.random()  # noqa: S311 (spreads load; nothing is kept secret by it)

    def sleep(self, seconds: float, cancel: Cancel | None = None) -> None:
        """Block for at most `seconds`; less where they are very many or `cancel` is set."""
        seconds = min(seconds, LONGEST_SLEEP)
        if cancel is None:
            time.sleep(seconds)
        else:
            cancel.wait(seconds)

    async def asleep(self, seconds: float, until: AsyncCancel | None = None) -> None:
        """Sleep for at most `seconds`; less where they are very many or `until` is set."""
        seconds = min(seconds, LONGEST_SLEEP)
        if until is None:
            await anyio.sleep(seconds)
        else:
            with anyio.move_on_after(seconds):
                await until.wait()


current: ContextVar[Clock] = ContextVar("opwatch clock", default=Clock())  # noqa: B039 (has no state)
"""The clock of the clients that are made from here on; tests set another."""
