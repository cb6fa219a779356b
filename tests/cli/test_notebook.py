"""`bar()` in a notebook that runs without a browser: the last frame shows the outcome."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from opwatch.progress import Fault
from opwatch.simulator import Frame, Polls, Simulator

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HEAD = """
from opwatch import AsyncITwin, ITwin, Schedule, bars
from opwatch.errors import OpwatchError
client = ITwin.from_env(schedule=Schedule((0.05,)))
"""
WAYS = {
    "wait": "client.wait('j1', timeout={timeout}, on_event=bars.bar())",
    "async": (
        "async with AsyncITwin.from_env(schedule=Schedule((0.05,))) as client:\n"
        "    await client.wait('j1', timeout={timeout}, on_event=bars.bar())"
    ),
    "answers alone": "client.wait('j1', timeout={timeout}, on_progress=bars.bar())",
}


def outputs(
    sim: Simulator, folder: Path, monkeypatch: pytest.MonkeyPatch, *cells: str
) -> list[Any]:
    """Run cells in a new kernel; what the last one left on the page."""
    for name, value in sim.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IPYTHONDIR", str(folder))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    notebook = new_notebook(cells=[new_code_cell(code) for code in (HEAD, *cells)])
    limits = {"timeout": 120, "startup_timeout": 250}  # seconds, for a slow machine
    NotebookClient(notebook, kernel_name="python3", allow_errors=True, **limits).execute()
    nbformat.validate(notebook)
    found: list[Any] = notebook.cells[-1].outputs
    return found


def frame(shown: list[Any]) -> str:
    """The one frame that is left, as text; its HTML says the same."""
    [data] = [one.data for one in shown if one.output_type == "display_data"]
    bare = re.sub(r"<[^>]+>", "", data["text/html"])
    assert bare.split() == data["text/plain"].split()
    text: str = data["text/plain"]
    return text


@pytest.mark.parametrize("way", WAYS)
def test_the_last_frame_of_a_job_that_succeeded(
    real_sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """✓ and 100 %, however it is waited for; earlier frames are replaced."""
    frames = [Frame("running", percent=n, step="Reconstruction") for n in (10, 40, 80)]
    real_sim.add("itwin", "j1", Polls([*frames, Frame("succeeded", percent=100)]))
    shown = outputs(real_sim, tmp_path, monkeypatch, WAYS[way].format(timeout=60))
    [row] = frame(shown).splitlines()
    assert row.split()[:3] == ["✓", "itwin", "j1"]
    assert "100 % succeeded" in row


@pytest.mark.parametrize("way", ["wait", "async"])
def test_the_last_frame_of_a_job_that_failed(
    real_sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """✗, and below it the reason."""
    fault = Fault("E1", "no <photos>")
    real_sim.add("itwin", "j1", Polls([Frame("running", percent=40), Frame("failed", fault=fault)]))
    shown = outputs(real_sim, tmp_path, monkeypatch, WAYS[way].format(timeout=60))
    data = next(one.data for one in shown if one.output_type == "display_data")
    row, reason = data["text/plain"].splitlines()
    assert row.split()[:3] == ["✗", "itwin", "j1"]
    assert reason.startswith("itwin j1: E1")
    assert "no &lt;photos&gt;" in data["text/html"]


def test_the_last_frame_of_a_wait_that_timed_out(
    real_sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait's own end is shown, too, and no countdown is left."""
    real_sim.add("itwin", "j1", Frame("running", percent=40))
    shown = outputs(real_sim, tmp_path, monkeypatch, WAYS["wait"].format(timeout=0.2))
    row, reason = frame(shown).splitlines()
    assert "40 % timed out" in row
    assert " in " not in row
    assert reason == "itwin j1: timed out before the job finished; the job continues"


def test_a_notebook_without_rich_has_lines(
    real_sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else needs installing, and nothing warns."""
    real_sim.add("itwin", "j1", Polls([Frame("running", percent=40), Frame("succeeded")]))
    hidden = "import sys; sys.modules['rich'] = None"
    shown = outputs(
        real_sim, tmp_path, monkeypatch, hidden, WAYS["wait"].format(timeout=60) + ".phase"
    )
    text = "".join(one.text for one in shown if one.output_type == "stream")
    assert text.splitlines() == [
        "itwin j1 watching",
        "itwin j1 running, 40 %",
        "itwin j1 succeeded, 100 %",
    ]
