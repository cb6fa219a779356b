"""Time, sleep and randomness in one replaceable place, so that the rest of the core can be pure.

`opwatch.testing.FakeClock` replaces it in tests.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from opwatch.current import Current

LONGEST_SLEEP = 86_400.0
"""The longest single sleep in seconds; longer ones are split, since platforms limit timers."""
_BOOT = getattr(time, "CLOCK_BOOTTIME", None)


class Cancel(Protocol):
    """An object that cancels a blocking wait, such as a `threading.Event`."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class AsyncCancel(Protocol):
    """An object that cancels an async wait: an event of asyncio, trio or anyio."""

    def is_set(self) -> bool: ...

    async def wait(self) -> object: ...


class Clock:
    """The clock of this machine."""

    @contextmanager
    def used(self) -> Iterator[None]:
        """Give this clock to all clients that are created inside."""
        before = current.set(self)
        try:
            yield
        finally:
            current.reset(before)

    def now(self) -> float:
        """Return seconds on a clock that never goes back, and runs while the machine is suspended.

        Linux stops its monotonic clock then, so deadlines would be late by that time.
        """
        return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)

    def epoch(self) -> float:
        """Return seconds since 1970, on a clock that may jump."""
        return time.time()

    def jitter(self) -> float:
        """Return a random number from 0 to 1."""
        import random  # a single poll doesn't need it

        return random.random()  # noqa: S311 (spreads load, keeps no secret)

    def sleep(self, seconds: float, cancel: Cancel | None = None) -> None:
        """Block for at most `seconds`; for less if that exceeds a day or `cancel` is set."""
        seconds = min(seconds, LONGEST_SLEEP)
        if cancel is None:
            time.sleep(seconds)
        else:
            cancel.wait(seconds)

    async def asleep(self, seconds: float, until: AsyncCancel | None = None) -> None:
        """Sleep for at most `seconds`; for less if that exceeds a day or `until` is set."""
        import anyio  # a blocking client doesn't need it

        seconds = min(seconds, LONGEST_SLEEP)
        if until is None:
            await anyio.sleep(seconds)
        else:
            with anyio.move_on_after(seconds):
                await until.wait()


current = Current(Clock())
"""The clock of all clients created from here on; tests set another one."""
