"""10,000 jobs on one client with the real clock: how late their queries are.

`many.py PORT sync|async SECONDS` asks for each job every 20 s, for so many seconds, and prints a
line of JSON: the queries made, the CPU seconds of each, and the seconds between when a query was
due and when it was begun, in the middle and at the 99th percentile.
"""

import asyncio
import json
import statistics
import sys
import time
from typing import Any

from opwatch import AsyncITwin, ITwin, Schedule
from opwatch.many import Agenda

JOBS = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(10_000)]
DELAY = 20.0
HOW: dict[str, Any] = {"timeout": None, "schedule": Schedule((DELAY,), jitter=0.0)}

late: list[float] = []


class Noted(Agenda[Any]):
    """An agenda that notes how late each query is."""

    def take(self, now: float) -> Any:
        run = super().take(now)
        if run is not None:
            late.append(now - run.state.due)
        return run


def blocking(port: int, seconds: float) -> None:
    with ITwin("t", base_url=f"http://127.0.0.1:{port}") as client:
        many = client.watch_many(JOBS, **HOW)
        many._agenda.__class__ = Noted
        end = time.monotonic() + seconds
        for _ in many:
            if time.monotonic() > end:
                break


async def asynchronous(port: int, seconds: float) -> None:
    async with AsyncITwin("t", base_url=f"http://127.0.0.1:{port}") as client:
        many = client.watch_many(JOBS, **HOW)
        many._agenda.__class__ = Noted
        end = time.monotonic() + seconds
        async for _ in many:
            if time.monotonic() > end:
                break


def main() -> None:
    port, kind, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    begin = time.process_time()
    if kind == "sync":
        blocking(port, seconds)
    else:
        asyncio.run(asynchronous(port, seconds))
    cpu = (time.process_time() - begin) / len(late)
    found = {"median": statistics.median(late), "p99": statistics.quantiles(late, n=100)[98]}
    print(json.dumps({"queries": len(late), "cpu": cpu, **found}))


if __name__ == "__main__":
    main()
