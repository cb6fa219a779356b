"""Watch a job from cron: one line in a crontab and one file per job.

    * * * * *  watch_job.py itwin job-1 --state /var/lib/watch/job-1 --timeout 21600

Needs opwatch, and credentials in the environment (`from_env`). Each run polls at most once, and
never before the schedule allows it, no matter how often cron starts it. The file stores the wait
between runs. During a poll, it contains `polling`. A run that finds this knows that the previous
run was killed: it counts that poll as made and waits for the longest delay before the next one.

Exit codes: 0 succeeded, 1 failed or cancelled, 3 ended with an unknown outcome, 75 still running
(BSD's "temporary failure"), 124 timed out, 2 anything else. Once the job is over, the file contains
the outcome, and every later run repeats it without polling. After a problem that you can fix, such
as missing credentials or a full disk, a later run continues the wait.
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
from opwatch.errors import ConfigurationError, OpwatchError, WaitTimeout

NOT_OVER = 75
CODES = {Phase.SUCCEEDED: 0, Phase.FAILED: 1, Phase.CANCELLED: 1, Phase.ENDED: 3}


def main() -> int:
    given = arguments()
    try:
        return run(given)
    except Exception as error:  # noqa: BLE001 (uncaught, it would exit with 1: "failed")
        print(f"{given.state}: {error}", file=sys.stderr)
        return 2


def run(given: argparse.Namespace) -> int:
    with alone(given.state) as is_alone:
        if not is_alone:
            return NOT_OVER
        state = read(given)
        if "end" not in state:
            state = turn(given, state)
            write(given, state)
    if "end" not in state:
        return NOT_OVER
    print(state["text"])
    return int(state["end"])


def turn(given: argparse.Namespace, state: dict[str, Any]) -> dict[str, Any]:
    """Make the next poll if it is due; return the new content of the file."""
    now, token = time.time(), state.get("token")
    if "polling" in state:
        return later(given, token)
    if now < state.get("not_before", 0):
        return state
    write(given, {"token": token, "polling": True})
    try:
        step = poll(given, token)
    except ConfigurationError as error:  # without a token, it was raised before a poll
        write(given, later(given, error.token) if error.token else state)
        raise
    except OpwatchError as error:
        code = 124 if isinstance(error, WaitTimeout) else 2
        return {"end": code, "text": f"{type(error).__name__}: {error}", "token": error.token}
    if step.delay is not None:
        return {"token": step.token}
    assert step.progress is not None
    code, fault = CODES[step.progress.phase], step.progress.fault
    text = f"{given.job_id} {step.progress.phase}{f': {fault}' if fault else ''}"
    return {"end": code, "text": text, "token": step.token}


def poll(given: argparse.Namespace, token: str | None) -> Step[Any]:
    make: Any = services.find(given.service).client
    with make.from_env() as client:
        if token is not None:
            step: Step[Any] = client.step(token)
            return step
        schedule = Schedule(given.delays) if given.delays else None
        began: Step[Any] = client.start(given.job_id, timeout=given.timeout, schedule=schedule)
        return began


def later(given: argparse.Namespace, token: str | None) -> dict[str, Any]:
    """Delay the next poll by the longest delay of the schedule.

    If the schedule isn't known yet, use 120 s, the longest delay of any service.
    """
    delays = json.loads(token)["delays"] if token else given.delays or [120]
    return {"token": token, "not_before": time.time() + max(delays)}


def read(given: argparse.Namespace) -> dict[str, Any]:
    """Return the content of the file, which must be about this job."""
    if not given.state.exists():
        return {}
    state: dict[str, Any] = json.loads(given.state.read_text())
    if (about := state.pop("job", name(given))) != name(given):
        raise ValueError(f"the file is about {about}")
    return state


def write(given: argparse.Namespace, state: dict[str, Any]) -> None:
    """Replace the file atomically: after a kill, it is the old one or the new one."""
    new = given.state.with_suffix(".new")
    with new.open("w") as file:
        file.write(json.dumps({"job": name(given), **state}))
        file.flush()
        os.fsync(file.fileno())
    new.replace(given.state)


def name(given: argparse.Namespace) -> str:
    return f"{given.service} {given.job_id}"


@contextlib.contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Yield whether this is the only run of the job right now."""
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make the next poll of a wait for one job.")
    parser.add_argument("service", choices=services.names())
    parser.add_argument("job_id")
    parser.add_argument("--state", type=Path, required=True, help="the file that stores the wait")
    parser.add_argument(
        "--timeout", type=float, required=True, help="limit for the complete wait, in seconds"
    )
    parser.add_argument("--delays", type=float, nargs="+", help="instead of the service's schedule")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
