"""What the tests of the state file share."""

from pathlib import Path

import pytest

from opwatch.cli.state import StateFile
from opwatch.simulator import Frame, Simulator

JOB = ("itwin", "j1")
RUNNING = Frame("running", percent=40)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def begun(sim: Simulator, path: Path, *, timeout: float | None = None) -> None:
    """The state file of a run that was killed after its first poll."""
    step = sim.client("itwin").start("j1", timeout=timeout)
    StateFile(path).waits(JOB, step.token)


def token(sim: Simulator, job_id: str = "j1") -> str:
    return sim.client("itwin").start(job_id, timeout=None).token
