"""Nudges: they make the next poll of a wait due now, and wake the sleep until then.

Anything may nudge, at any time and from any thread: a webhook, a notification, a user. `polling`
decides what that changes; this file delivers it to the waits of a client.
"""

from __future__ import annotations

import os
import queue
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from opwatch.clock import LONGEST_SLEEP, AsyncCancel, Cancel
from opwatch.errors import ConfigurationError

if TYPE_CHECKING:
    from opwatch.core.many import Many
    from opwatch.core.run import Run

GLANCE = 0.5
"""Seconds between two looks at an event, if a thread can't wait for it alone."""
_CAN_INTERRUPT = os.name == "posix"
"""Whether Ctrl-C interrupts a thread that is waiting for a queue."""


def nobody() -> None:
    """Wake nobody."""


Wait: TypeAlias = "Run[Any] | Many[Any]"
"""One wait or many: something that sleeps until it is `due`."""


class Nudges:
    """The waits of one client. Doesn't keep them alive, and takes no lock."""

    def __init__(self) -> None:
        self._waits: set[weakref.ref[Wait]] = set()

    def add(self, wait: Wait) -> None:
        self._waits.add(weakref.ref(wait, self._waits.discard))

    def __iter__(self) -> Iterator[Wait]:
        return (wait for reference in list(self._waits) if (wait := reference()) is not None)

    def nudge(self, job_id: str | None = None) -> None:
        """Nudge every wait for that job, or for any."""
        for wait in self:
            wait.nudge(job_id)

    def __bool__(self) -> bool:
        return bool(self._waits)


class Bell:
    """An event for one blocking sleep: it is set by a nudge or, if there is one, by `cancel`."""

    def __init__(self, cancel: Cancel | None = None) -> None:
        self._cancel = cancel
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """Set it; from any thread, and from a signal handler."""
        self._rings.put(None)

    def is_set(self) -> bool:
        return not self._rings.empty() or (self._cancel is not None and self._cancel.is_set())

    def wait(self, timeout: float | None = None) -> bool:
        until = time.monotonic() + (LONGEST_SLEEP if timeout is None else timeout)
        while not self.is_set() and (left := until - time.monotonic()) > 0:
            if self._cancel is not None:  # nothing waits for two events at a time
                self._cancel.wait(min(left, GLANCE))
                continue
            with suppress(queue.Empty):
                longest = LONGEST_SLEEP if _CAN_INTERRUPT else GLANCE
                self._rings.put(self._rings.get(timeout=min(left, longest)))
        return self.is_set()


class AsyncBell:
    """As `Bell`, in an event loop."""

    def __init__(self, cancel: AsyncCancel | None = None, loop: Any = None) -> None:
        import anyio

        self._loop = loop or running_loop()
        self._cancel = cancel
        self.rung = anyio.Event()

    def ring(self) -> None:
        """Set it, from any thread; not if the loop is closed."""
        loop = self._loop
        with suppress(RuntimeError):
            (getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon)(self.rung.set)

    def is_set(self) -> bool:
        return self.rung.is_set() or (self._cancel is not None and self._cancel.is_set())

    async def wait(self) -> None:
        import anyio

        if self._cancel is None:
            await self.rung.wait()
            return
        wrong: list[Exception] = []  # not raised in the task: that would make it a group

        async def wait_for(event: AsyncCancel) -> None:
            try:
                await event.wait()
            except Exception as error:  # noqa: BLE001 (an event's of another loop, or the user's own)
                wrong.append(error)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(wait_for, self._cancel)
            await self.rung.wait()
            group.cancel_scope.cancel()
        if wrong:
            problem = f"can't be waited for in this event loop ({type(wrong[0]).__name__})"
            raise ConfigurationError(problem, argument="cancel") from wrong[0]


def running_loop() -> Any:
    """Return the running event loop: asyncio's, or trio's token."""
    from anyio.lowlevel import current_token  # a blocking client doesn't need it

    return current_token().native_token
