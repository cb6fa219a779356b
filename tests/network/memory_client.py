"""A process that asks one server after the other, and prints what each response took.

The first question to each gets a plain answer. The second shows the memory of the process; the
third, under tracemalloc, that of Python. Not a test: `test_memory` runs it.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
import tracemalloc
from pathlib import Path

from fault_services import ITWIN, Outcome, ask

from opwatch import Progress
from opwatch.errors import OpwatchError

STATUS = Path("/proc/self/status")


def peak() -> int:
    """The highest memory of this process so far, in bytes."""
    if (
        STATUS.exists()
    ):  # what getrusage says here is also that of the process that started this one
        found = re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text())
        assert found
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> None:
    """Count from what is in use now."""
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def measured(mode: str, url: str, limit: float) -> dict[str, float]:
    """What three questions to one server took."""

    def once() -> Outcome:
        [outcome] = ask(ITWIN, mode, url, request_timeout=limit)
        return outcome

    once()
    forget_peak()
    before, began = peak(), time.monotonic()
    second = once()
    resident, seconds = peak() - before, time.monotonic() - began
    tracemalloc.start()
    third = once()
    _, allocated = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    ours = all(isinstance(outcome, (Progress, OpwatchError)) for outcome in (second, third))
    return {"ours": ours, "seconds": seconds, "resident": resident, "allocated": allocated}


def main(mode: str, cases: str) -> None:
    """`cases` is JSON: by name, a server's address and the seconds of a request."""
    found = {name: measured(mode, *case) for name, case in json.loads(cases).items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
