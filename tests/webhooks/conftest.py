"""The tests of webhooks use the clock of tests/waiting, which triggers events at given times."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "waiting"))
