"""Lets the tests of recipes use the code that reads the documentation's blocks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs"))
