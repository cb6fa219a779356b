"""The code in the README and the documentation passes a type checker in strict mode.

One run of mypy reads all of it, as a reader would have pasted it: the blocks of a page are one
module, each block of the README stands alone, and a block with a title is a file of that name.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_blocks import ROOT, Block, blocks, pages

README = ROOT / "README.md"
SETTINGS = """
[mypy]
strict = true
incremental = false
follow_imports = silent

# A page generates this package.
[mypy-opwatch_press]
ignore_missing_imports = true

# Nobody annotates tests.
[mypy-{tests}]
allow_untyped_defs = true
allow_untyped_calls = true
check_untyped_defs = false
"""


def modules() -> Iterator[tuple[str, list[Block]]]:
    """The name of each module, and the blocks that it is made of."""
    for page in [README, *pages()]:
        found = [
            block
            for block in blocks(page)
            if block.language == "python" and block.not_run is None and not block.included
        ]
        yield from ((str(block.title), [block]) for block in found if block.is_file)
        rest = [block for block in found if not block.is_file]
        if page == README:
            yield from ((f"readme_{block.line}.py", [block]) for block in rest)
        elif rest:
            name = "_".join(page.relative_to(ROOT).with_suffix("").parts).replace("-", "_")
            yield f"{name}.py", rest


def source(found: list[Block]) -> str:
    """The blocks in the lines that they have on their page, so that a complaint names those."""
    lines: list[str] = []
    for block in found:
        lines += [""] * (block.line - 1 - len(lines))
        lines += block.code.splitlines()
    return "\n".join(lines) + "\n"


def checked(folder: Path) -> str:
    """What mypy says of the modules in a folder."""
    tests = ",".join(file.stem for file in folder.glob("test_*.py"))
    (folder / "mypy.ini").write_text(SETTINGS.format(tests=tests), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(folder / "cache"), "."],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.typing
def test_every_block_of_python_is_typed(tmp_path: Path) -> None:
    """Who pastes a block into a program that mypy checks strictly hears no complaint."""
    names = [name for name, _ in modules()]
    assert len(names) == len(set(names)) > 10
    for name, found in modules():
        (tmp_path / name).write_text(source(found), "utf-8")
    said = checked(tmp_path)
    if "Success: no issues found" not in said:
        pytest.fail(said, pytrace=False)
