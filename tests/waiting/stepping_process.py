"""An engine of the smallest kind, as a process: it keeps its token in a file and says each turn.

    python stepping_process.py ADDRESS FILE TIMEOUT

It knows nothing but what is in the file. For each line that it reads it sleeps as long as its last
turn said, makes a turn, writes the token, and prints what was seen, and the token. So whoever kills
it knows what it has done, and one that was begun early continues at once.
"""

import json
import sys
from pathlib import Path

sys.modules["trio"] = None  # type: ignore[assignment]  # a blocking client does without: 50 ms less

from opwatch import ITwin, Schedule  # noqa: E402
from opwatch.clock import Clock  # noqa: E402
from opwatch.errors import OpwatchError  # noqa: E402

SCHEDULE = Schedule((0.05, 0.1, 0.2), jitter=0)


def main(address: str, file: Path, timeout: float) -> None:
    with ITwin("a made-up token", base_url=address, schedule=SCHEDULE) as client:
        delay: float | None = 0.0
        for _ in sys.stdin:
            Clock().sleep(delay)
            try:
                if file.exists():
                    step = client.step(file.read_text())
                else:
                    step = client.start("job-1", timeout=timeout)
            except OpwatchError as error:
                print(json.dumps({"end": type(error).__name__, "token": error.token}), flush=True)
                return
            new = file.with_suffix(".new")
            new.write_text(step.token)
            new.replace(file)
            delay = step.delay
            seen = None if step.progress is None else step.progress.phase
            end = seen if delay is None else None
            print(json.dumps({"seen": seen, "end": end, "token": step.token}), flush=True)
            if delay is None:
                return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
