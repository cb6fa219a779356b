"""Lets the tests of the documentation import what is in tools/, as its own command line does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
