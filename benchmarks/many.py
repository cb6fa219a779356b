"""Many jobs on one async client, on the real clock: how late their polls are.

`many.py PORT JOBS DELAY SECONDS` watches that many jobs for that many seconds and polls each every
DELAY seconds. It prints a line of JSON: the number of polls, the CPU seconds of each, and the
seconds from when a poll was due until its request was handed to the transport (the median and the
99th percentile).
"""

import asyncio
import json
import statistics
import sys
import time

from opwatch import AsyncITwin, Schedule
from opwatch.net.message import Answer, Request


async def watch(port: int, jobs: int, delay: float, seconds: float) -> list[float]:
    """Return how late each poll was."""
    late: list[float] = []
    ids = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(jobs)]
    async with AsyncITwin("t", base_url=f"http://127.0.0.1:{port}") as client:
        many = client.watch_many(ids, timeout=None, schedule=Schedule((delay,)))
        runs = many._runs
        clock, send = client._clock, client._transport.send

        async def noted(request: Request, end: float) -> Answer:
            if request.target.endswith("/progress"):
                late.append(clock.now() - runs[request.target.split("/")[-2]].state.due)
            answer: Answer = await send(request, end)
            return answer

        client._transport.send = noted
        end, answers = time.monotonic() + seconds, 0
        async for _ in many:
            answers += 1
            if time.monotonic() > end:
                break
        await many.aclose()
    assert answers > 0.99 * len(late), "polls failed"
    return late


def main() -> None:
    port, jobs = int(sys.argv[1]), int(sys.argv[2])
    delay, seconds = float(sys.argv[3]), float(sys.argv[4])
    start = time.process_time()
    late = asyncio.run(watch(port, jobs, delay, seconds))
    found = {
        "polls": len(late),
        "cpu": (time.process_time() - start) / len(late),
        "median": statistics.median(late),
        "p99": statistics.quantiles(late, n=100)[98],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
