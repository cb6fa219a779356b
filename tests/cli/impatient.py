"""`opwatch` for tests on the wall clock: `--schedule` takes delays that no service should get.

It is as `pip install "opwatch[cli]"` gives it: with no trio, which would be loaded where it is
there. A hangup ends it, also when the tests run under `nohup`. And however slow the machine is,
another Ctrl-C doesn't cut it short.
"""

import math
import signal
import sys

signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.modules["trio"] = None  # type: ignore[assignment]  # importing it raises ImportError

from opwatch.cli import main, signals, values  # noqa: E402

if __name__ == "__main__":
    values.LEAST_DELAY = 0.0
    signals.PATIENCE = math.inf
    sys.argv[0] = "opwatch"
    sys.exit(main())
