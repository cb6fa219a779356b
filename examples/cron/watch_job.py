"""cron: one job, one line in a crontab, one file. Nothing runs between two turns.

    * * * * *  watch_job.py itwin job-1 --state /var/lib/watch/job-1 --timeout 21600

Needs opwatch; credentials come from the environment (`from_env`). Each run makes at
most one query, and none before the schedule allows it, however often cron runs it. The file keeps
the wait between two runs; it says `asking` while a query is made, so a run that finds it so knows
that another was killed then, counts that query as made, and lets the longest delay pass first.

Exit codes: 0 succeeded, 1 failed or cancelled, 3 ended with the outcome unknown, 75 not over yet
(BSD's "temporary failure: try again"), 124 timed out, 2 anything else. Once it is over, the file
keeps the end, and every later run says it again without asking.
"""

import argparse
import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opwatch import Phase, Schedule, Step, services
from opwatch.errors import OpwatchError, WaitTimeout

NOT_OVER = 75
CODES = {Phase.SUCCEEDED: 0, Phase.FAILED: 1, Phase.CANCELLED: 1, Phase.ENDED: 3}


def main() -> int:
    given = arguments()
    with alone(given.state) as is_alone:
        if not is_alone:
            return NOT_OVER
        state = json.loads(given.state.read_text()) if given.state.exists() else {}
        if "end" not in state:
            state = turn(given, state)
            write(given.state, state)
    if "end" not in state:
        return NOT_OVER
    print(state["text"])
    return int(state["end"])


def turn(given: argparse.Namespace, state: dict[str, Any]) -> dict[str, Any]:
    """One turn of the wait: what the file says after it."""
    now, token = time.time(), state.get("token")
    if "asking" in state:
        return {"token": token, "not_before": now + longest(given, token)}
    if now < state.get("not_before", 0):
        return state
    write(given.state, {"token": token, "asking": True})
    try:
        step = ask(given, token)
    except OpwatchError as error:
        code = 124 if isinstance(error, WaitTimeout) else 2
        return {"end": code, "text": f"{type(error).__name__}: {error}", "token": error.token}
    if step.delay is not None:
        return {"token": step.token}
    assert step.progress is not None
    code, fault = CODES[step.progress.phase], step.progress.fault
    text = f"{given.job_id} {step.progress.phase}{f': {fault}' if fault else ''}"
    return {"end": code, "text": text, "token": step.token}


def ask(given: argparse.Namespace, token: str | None) -> Step[Any]:
    make: Any = services.find(given.service).client
    with make.from_env() as client:
        if token is not None:
            step: Step[Any] = client.step(token)
            return step
        schedule = Schedule(given.delays) if given.delays else None
        began: Step[Any] = client.start(given.job_id, timeout=given.timeout, schedule=schedule)
        return began


def longest(given: argparse.Namespace, token: str | None) -> float:
    """The longest delay of the schedule; of any service's, where no answer came yet."""
    delays = json.loads(token)["delays"] if token else given.delays or [120]
    return float(max(delays))


def write(path: Path, state: dict[str, Any]) -> None:
    """Put the file in place whole: a kill leaves the old one or the new one."""
    new = path.with_suffix(".new")
    with new.open("w") as file:
        file.write(json.dumps(state))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Whether no other run is at it now."""
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One turn of a wait for one job.")
    parser.add_argument("service", choices=services.names())
    parser.add_argument("job_id")
    parser.add_argument("--state", type=Path, required=True, help="the file that keeps the wait")
    parser.add_argument("--timeout", type=float, required=True, help="seconds, of the whole wait")
    parser.add_argument("--delays", type=float, nargs="+", help="instead of the service's schedule")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
