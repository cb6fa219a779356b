"""The page on notebooks, as a notebook: its blocks are cells, run without a browser."""

from pathlib import Path

import docs_stage
import nbformat
import pytest
from docs_blocks import DOCS, blocks
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from opwatch.simulator import Simulator


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_page_as_a_notebook(tmp_path: Path) -> None:
    """Each cell runs; the bars end with how each job ended, and the data is what the page shows."""
    page = blocks(DOCS / "recipes" / "notebook.md")
    cells = [new_code_cell(block.code) for block in page if block.language == "python"]
    [output] = (block.code for block in page if block.is_output)
    notebook = new_notebook(cells=cells)
    clock = docs_stage.SharedClock(tmp_path / "clock")
    try:
        with Simulator(clock=clock) as simulator:
            docs_stage.jobs(simulator)
            environment = docs_stage.child_environment(tmp_path / "clock", simulator, staged=True)
            environment |= {"IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
            # `jupyter execute` does this, but its own sleeps would move the clock as well, and so
            # would those in which a kernel looks whether its parent, if not 1, is still there.
            limits = {"timeout": 120, "startup_timeout": 250}  # seconds, for a slow machine
            alone = {"extra_arguments": ["--IPKernelApp.parent_handle=1"]}
            client = NotebookClient(notebook, kernel_name="python3", **limits, **alone)
            client.execute(env=environment)
    finally:
        clock.close()
    nbformat.validate(notebook)
    one, many, data = (cell.outputs for cell in notebook.cells)
    [frame] = (shown.data["text/plain"] for shown in one if "data" in shown)
    assert "✓" in frame
    assert "100 % succeeded" in frame
    [frame] = (shown.data["text/plain"] for shown in many if "data" in shown)
    assert [line.split()[0] for line in frame.splitlines()[:2]] == ["✓", "✗"]
    assert data[0].text == output
