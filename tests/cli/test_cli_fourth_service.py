"""A service from another package: its spec's operation, one file, one entry point.

The package stands in `tests/cli/harbour`, as pip would have installed it. Nothing in opwatch names
it, and the command line watches it like its own.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import Running, run_apart
from terminal import Terminal

from opwatch import services
from opwatch.progress import Fault
from opwatch.simulator import Frame, Polls, Simulator
from opwatch.simulator.server import installed

HERE = Path(__file__).resolve().parent
PACKAGE = str(HERE / "harbour")
INSTALLED = {"PYTHONPATH": os.pathsep.join([PACKAGE, os.environ.get("PYTHONPATH", "")])}


@pytest.fixture
def harbour(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulator in this process of all four services, with a job that is soon over."""
    installed()  # is looked up once, and not while the package lies on the path
    monkeypatch.syspath_prepend(PACKAGE)
    from harbour.simulation import SIMULATION

    with Simulator(extra=[SIMULATION]) as simulator:
        simulator.add(
            "harbour",
            "Albatross",
            Polls(
                [
                    Frame("pending", percent=0),
                    Frame("running", percent=25),
                    *[Frame("running", percent=75)] * 2,
                    Frame("failed", percent=75, fault=Fault("STRIKE", "the cranes stand still")),
                ]
            ),
        )
        yield simulator


def variables(simulator: Simulator) -> dict[str, str]:
    """Those of a process in which the package is installed, too."""
    return INSTALLED | simulator.environ


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    """The variables of a simulator of all four services, run by `opwatch simulate`."""
    with Running("simulate", env=INSTALLED) as simulator:
        assert "harbour:Albatross" in simulator.until("opwatch watch")
        exports = [line for line in simulator.seen if line.startswith("export ")]
        found = dict(line.removeprefix("export ").strip().split("=", 1) for line in exports)
        yield INSTALLED | {name: value.strip("'") for name, value in found.items()}
        simulator.send(signal.SIGINT)
        assert simulator.end().code == 0


def test_it_is_watched(env: dict[str, str]) -> None:
    """It is watched to its end beside a service of ours: schedule, rate limit, fault."""
    itwin = "itwin:4d1f0000-0000-4000-8000-000000000001"
    with Running("watch", "--json", "harbour:Albatross", itwin, env=env) as running:
        running.until('"outcome": "failed"')
        running.send(signal.SIGINT)
        done = running.end()
    events = [json.loads(line) for line in done.lines]
    harbour = [event for event in events if event["service"] == "harbour"]
    assert [event["event"] for event in harbour] == [
        *("start", "progress", "progress", "progress", "trouble", "progress", "result"),
    ]
    assert [event["percent"] for event in harbour[1:4]] == [0, 25, 75]
    assert harbour[4]["error"]["type"] == "RateLimited"
    assert harbour[-1]["fault"] == {"code": "STRIKE", "message": "the cranes stand still"}
    others = [event["event"] for event in events if event["service"] == "itwin"]
    assert (others[0], others[1], events[-1]["outcome"]) == ("start", "progress", "interrupted")


def test_its_bars(env: dict[str, str]) -> None:
    """It has a bar and a row in the table like any other."""
    words = ("-m", "opwatch.cli", "watch", "harbour", "Albatross")
    with Terminal(*words, env=env) as terminal:
        terminal.until("75 % running")
        assert terminal.end() == 1
    assert "harbour Albatross: STRIKE: the cranes stand still" in str(terminal.screen)


def test_it_is_asked_once(harbour: Simulator) -> None:
    """`progress` polls it, and an unknown ID exits as for any service."""
    env = variables(harbour)
    assert run_apart("progress", "harbour", "Albatross", env=env).out == (
        "harbour Albatross pending, 0 %\n"
    )
    gone = run_apart("progress", "harbour", "Dodo", env=env)
    assert (gone.code, gone.err) == (5, "opwatch: harbour Dodo: no such ship (404)\n")


def test_it_is_resumed(harbour: Simulator, tmp_path: Path) -> None:
    """Its state file is gone on with."""
    env = variables(harbour)
    path = tmp_path / "state.json"
    words = ("watch", "--json", "--state", path)
    with Running(*words, "harbour", "Albatross", env=env) as first:
        first.until('"percent": 25')
        first.kill()
    with Running(*words, env=env) as second:
        done = second.end()
    assert done.code == 1
    assert next(json.loads(line)["percent"] for line in done.lines if '"progress"' in line) == 75


def test_it_is_named_among_the_services() -> None:
    """A wrong name is answered with it among the others; completion offers it."""
    done = run_apart("watch", "harbor", "x", env=INSTALLED)
    assert done.code == 2
    known = sorted([*services.names(), "harbour"])
    assert f"did you mean harbour? The services are {', '.join(known)}" in done.err
    asked = {
        "_OPWATCH_COMPLETE": "bash_complete",
        "COMP_WORDS": "opwatch watch ",
        "COMP_CWORD": "2",
    }
    words = run_apart(env={**INSTALLED, **asked}).out.split()
    assert words == [f"plain,{name}" for name in known]


def test_its_missing_variables_are_named() -> None:
    """Its own variables are named where they are missing."""
    done = run_apart("progress", "harbour", "Albatross", env=INSTALLED)
    assert done.code == 2
    assert "HARBOUR_URL, HARBOUR_TOKEN" in done.err


def test_a_package_that_cannot_be_loaded(tmp_path: Path) -> None:
    """A package that is broken is one line and exit code 2, and breaks no other service."""
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[opwatch.services]\nbroken = nowhere:PLUGIN\n", "utf-8")
    env = {"PYTHONPATH": str(tmp_path)}
    done = run_apart("progress", "broken", "x", env=env)
    assert (done.code, done.err) == (
        2,
        "opwatch: the service 'broken' can't be loaded: No module named 'nowhere'\n",
    )
    assert "not set in the environment" in run_apart("progress", "itwin", "x", env=env).err
