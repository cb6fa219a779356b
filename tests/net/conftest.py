"""The network layer's tests use the fault server and the certificates of tests/network."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "network"))
