"""A simulator of the services on this machine, for tests and demos without an account.

>>> from opwatch.simulator import Frame, Simulator
>>> with Simulator() as sim:  # doctest: +SKIP
...     sim.add("itwin", "job-1", [Frame("running", percent=50), Frame("succeeded", at=3)])
...     sim.client("itwin").wait("job-1", timeout=60)

It needs the `simulator` extra. Each name is loaded when it is first used, because pytest imports
this package at every start, for its plugin.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opwatch.simulator.demo import demo_jobs
    from opwatch.simulator.server import Simulator, SimulatorProblem
    from opwatch.simulator.simulation import Demo, Exchange, Refused, Reply, Simulation
    from opwatch.simulator.state import Job, Request, State
    from opwatch.simulator.timeline import Frame, Polls, Timed

__all__ = [
    "Demo",
    "Exchange",
    "Frame",
    "Job",
    "Polls",
    "Refused",
    "Reply",
    "Request",
    "Simulation",
    "Simulator",
    "SimulatorProblem",
    "State",
    "Timed",
    "demo_jobs",
]

_HOMES = {
    "Demo": "simulation",
    "Exchange": "simulation",
    "Frame": "timeline",
    "Job": "state",
    "Polls": "timeline",
    "Refused": "simulation",
    "Reply": "simulation",
    "Request": "state",
    "Simulation": "simulation",
    "Simulator": "server",
    "SimulatorProblem": "server",
    "State": "state",
    "Timed": "timeline",
    "demo_jobs": "demo",
}
_EXTRA = ("pydantic", "starlette", "uvicorn", "wsproto")
MISSING = "the simulator needs more packages: pip install 'opwatch[simulator]'"


def __getattr__(name: str) -> Any:
    if (home := _HOMES.get(name)) is None:
        raise AttributeError(f"module 'opwatch.simulator' has no attribute {name!r}")
    try:
        module = import_module(f"opwatch.simulator.{home}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _EXTRA:
            raise ModuleNotFoundError(f"{MISSING} ({error})", name=error.name) from error
        raise
    except AttributeError as error:  # which `from opwatch.simulator import` would hide
        raise ImportError(f"opwatch.simulator.{home} can't be imported: {error}") from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
