"""A fake clock on which things happen at their times, also in the middle of a sleep."""

import heapq
import inspect
from collections.abc import Callable, Iterable

import anyio.lowlevel

from opwatch.clock import AsyncCancel, Cancel
from opwatch.testing import FakeClock

Happening = tuple[float, Callable[[], object]]


class Agenda(FakeClock):
    """For one wait at a time, or one `watch_many`."""

    def __init__(self, happenings: Iterable[Happening] = ()) -> None:
        super().__init__()
        self._happenings: list[tuple[float, int, Callable[[], object]]] = []
        for time, action in happenings:
            self.at(time, action)

    def at(self, time: float, action: Callable[[], object]) -> None:
        """Call something when it is that time."""
        heapq.heappush(self._happenings, (time, len(self._happenings), action))

    def _happen(self) -> object:
        time, _, action = heapq.heappop(self._happenings)
        self._move_to(time)
        return action()

    def sleep(self, seconds: float, cancel: Cancel | None = None) -> None:
        end = self.now() + seconds
        while self._happenings and self._happenings[0][0] < end:
            self._happen()
            if cancel is not None and cancel.is_set():
                return
        super().sleep(end - self.now(), cancel)

    async def asleep(self, seconds: float, until: AsyncCancel | None = None) -> None:
        end = self.now() + seconds
        while self._happenings and self._happenings[0][0] < end:
            if until is not None and until.is_set():
                return
            if await self._is_idle(until):
                if inspect.isawaitable(result := self._happen()):
                    await result
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
        await super().asleep(end - self.now(), until)
