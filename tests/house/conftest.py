"""Lets the test of the README read its blocks as those of the documentation are read."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs"))
