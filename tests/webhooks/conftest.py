"""The tests of webhooks use the clock of tests/waiting, on which things happen at a time."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "waiting"))
