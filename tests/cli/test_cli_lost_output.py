"""Output that can't be written: a full disk, a reader that is gone, a closed stream."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from cli_tools import ANY_RUN, LIMIT, environment

from opwatch.simulator import Frame, Simulator

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")

FULL = "opwatch: can't write to standard output: No space left on device\n"
ASKING = [
    *("watch itwin j1", "watch --json itwin j1", "watch --verbose itwin j1 j2"),
    *("progress itwin j1", "progress --json itwin j1"),
]
TELLING = ["--help", "--version", "watch --help", "completion bash", "simulate", "report - -o -"]
EVENT = '{"v":1,"event":"start","service":"itwin","job_id":"j","time":"2026-01-01T00:00:00Z"}\n'


def shell(
    words: str,
    redirection: str,
    sim: Simulator | None = None,
    more: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    """What a shell gets of `opwatch` with a redirection: exit code, output, errors."""
    env = environment({**(sim.environ if sim is not None else {}), **(more or {})})
    done = subprocess.run(
        ["bash", "-c", f"{shlex.join(ANY_RUN)} {words} {redirection}"],
        input=EVENT,
        capture_output=True,
        env=env,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def sim(real_sim: Simulator) -> Simulator:
    """A job that failed: its exit code, 1, is not one that trouble with the output may take."""
    real_sim.add("itwin", "j1", [Frame("failed")])
    real_sim.add("itwin", "j2", [Frame("failed")])
    return real_sim


@pytest.mark.parametrize("words", [*ASKING, *TELLING])
def test_a_full_disk(sim: Simulator, words: str) -> None:
    """Standard output on a full disk exits with 2 and one line that says so."""
    code, out, errors = shell(words, "> /dev/full", sim)
    told = [line for line in errors.splitlines(keepends=True) if " http://" not in line]
    assert (code, out, told) == (2, "", [FULL])


@pytest.mark.parametrize("words", [*ASKING, *TELLING])
def test_nobody_reads(sim: Simulator, words: str) -> None:
    """A reader that went away exits with 130, whatever the job came to, and without a word."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*ANY_RUN, *words.split()],
            input=EVENT.encode(),
            stdout=write,
            stderr=subprocess.PIPE,
            env=environment(sim.environ),
            timeout=LIMIT,
            check=False,
        )
    finally:
        os.close(write)
    told = [line for line in done.stderr.splitlines() if b" http://" not in line]
    assert (done.returncode, told) == (130, [])


@pytest.mark.parametrize("words", [*ASKING, "watch --quiet itwin j1"])
def test_standard_output_that_is_closed(sim: Simulator, words: str) -> None:
    """A standard output that is closed from the start is not wanted: the job's own exit code."""
    code, out, errors = shell(words, ">&-", sim)
    told = [line for line in errors.splitlines() if " http://" not in line]
    assert (code, out) == (1, "")
    assert len(told) == ("--quiet" in words)


LOST = ["2> /dev/full", "2>&-", "2>&- <&-", "> /dev/null 2>&-"]
WRITING = [
    ("watch --verbose itwin j1", 1),
    ("watch --quiet itwin j1", 1),
    ("watch --json itwin gone", 5),
    ("progress itwin gone", 5),
    ("wach", 2),
]


@pytest.mark.parametrize(
    ("words", "code", "redirection"),
    [
        *((words, code, LOST[n % 4]) for n, (words, code) in enumerate(WRITING)),
        *(
            pytest.param(words, code, LOST[(n + more) % 4], marks=pytest.mark.slow)
            for n, (words, code) in enumerate(WRITING)
            for more in (1, 2, 3)
        ),
    ],
)
def test_standard_error_that_cannot_be_written(
    sim: Simulator, words: str, code: int, redirection: str
) -> None:
    """Standard error never changes the exit code, and nothing of it gets into the output."""
    found, out, errors = shell(words, redirection, sim)
    assert (found, errors) == (code, "")
    assert "opwatch: " not in out


def test_nothing_can_be_written(sim: Simulator) -> None:
    """With both streams on a full disk the exit code alone tells it."""
    assert shell("watch itwin j1", "> /dev/full 2>&1", sim) == (2, "", "")


@pytest.mark.parametrize(
    ("words", "more"),
    [
        ("--help", {"PYTHONIOENCODING": "ascii"}),
        ("", {"_OPWATCH_COMPLETE": "bash_complete", "COMP_WORDS": "opwatch ", "COMP_CWORD": "1"}),
    ],
    ids=["encoding", "completion"],
)
def test_what_click_writes_as_bytes(words: str, more: dict[str, str]) -> None:
    """Where click writes bytes past the text, a failure is told all the same."""
    code, _, errors = shell(words, "> /dev/full", more=more)
    assert (code, errors) == (2, FULL)
