"""Watch the jobs in jobs.txt, one ID per line, and write each job's outcome to jobs.csv.

    python watch_all.py

Needs opwatch, and credentials in the environment (`from_env`). Ctrl-C ends the waits; the file then
has the last progress of each job.
"""

import asyncio
import csv
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from opwatch import AsyncITwin, exits
from opwatch.errors import ConfigurationError
from opwatch.events import Ended, Event


async def main(job_ids: list[str]) -> int:
    latest: dict[str, Event[Any]] = {}

    def note(event: Event[Any]) -> None:
        latest[event.job_id] = event

    async with AsyncITwin.from_env() as client:
        jobs = client.watch_many(job_ids, timeout=6 * 3600, on_event=note)
        with suppress(asyncio.CancelledError):  # Ctrl-C
            async for progress in jobs:
                print(progress.job_id[:8], progress.phase, progress.percent, file=sys.stderr)

    outcomes = Counter()
    with Path("jobs.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["job", "outcome", "percent", "finished", "polls", "reason"])
        for job_id, event in latest.items():
            outcome = event.outcome if isinstance(event, Ended) else "interrupted"
            outcomes[outcome] += 1
            last = event.progress
            reason = event.error.message if event.error else last.fault if last else None
            percent = last.percent if last else None
            finished = last.finished_at if last else None
            rows.writerow([job_id, outcome, percent, finished, event.attempt, reason])

    print(dict(sorted(outcomes.items())))
    return exits.of_all(
        event.exit_code if isinstance(event, Ended) else exits.INTERRUPTED
        for event in latest.values()
    )


if __name__ == "__main__":
    try:
        code = asyncio.run(main(Path("jobs.txt").read_text("utf-8").split()))
    except ConfigurationError as error:  # an invalid ID, or a variable that isn't set
        print(error, file=sys.stderr)
        code = exits.USAGE
    sys.exit(code)
