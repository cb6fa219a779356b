"""`opwatch simulate` and `opwatch demo`: run the simulator, and watch its jobs."""

from __future__ import annotations

import shlex
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from opwatch import exits
from opwatch.cli import complain
from opwatch.cli.run import shown, watch
from opwatch.cli.signals import current
from opwatch.cli.state import StateFile
from opwatch.cli.watching import Crew, Limits
from opwatch.core.polling import Schedule
from opwatch.errors import ConfigurationError
from opwatch.events import Ended

if TYPE_CHECKING:
    from opwatch.simulator import Demo, Simulator

_SCHEDULE = Schedule((1, 2))
"""Much shorter than the services' own: their demo jobs finish within half a minute."""
_LIMIT = 60.0


def simulate(port: int) -> int:
    """Serve until a signal arrives; return exit code 0, as this is the normal end."""
    simulator, jobs = _simulator(port)
    add_examples(simulator)
    try:
        simulator.start()
    except OSError as error:
        raise ConfigurationError(f"can't listen on port {port}: {error.strerror}") from None
    try:
        interrupt = current.get()
        interrupt.heeds(signal.SIGINT)  # in a shell's background, nothing else may end it
        interrupt.only_notes()
        _introduce(simulator, jobs)
        with suppress(KeyboardInterrupt):
            interrupt.raises()
            while True:
                time.sleep(3600)
    finally:
        simulator.stop()
    return exits.SUCCEEDED


def _introduce(simulator: Simulator, jobs: dict[str, str]) -> None:
    """Print how to watch the simulator's jobs, as lines that a shell can run."""
    print(f"# The services listen on {simulator.url} until Ctrl-C. In another shell:")
    for name, value in simulator.environ.items():
        print(f"export {name}={shlex.quote(value)}")
    words = [f"{service}:{job_id}" for service, job_id in jobs.items()]
    print("# Each job starts at its first poll and runs once; restart the simulator to repeat it.")
    print(
        "# The simulator also has the jobs from the README and the documentation. "
        "To watch the demo jobs:"
    )
    print(f"# opwatch watch --schedule 1s {shlex.join(words)}", flush=True)


def demo(*, no_color: bool) -> int:
    """Watch one job of each service; return 0 if each ended as scripted, 1 otherwise."""
    simulator, found = _simulator(0)
    with simulator:
        clients = {
            service: simulator.async_client(service, schedule=_SCHEDULE) for service in found
        }
        crew = Crew(StateFile(None), shown(color=not no_color))
        jobs = list(found.items())
        code = watch(crew, jobs, clients, Limits(_LIMIT))
    if code == exits.INTERRUPTED:
        return code
    wrong = [
        service
        for service, job_id in jobs
        if not _as_scripted(simulator, service, crew.results[service, job_id])
    ]
    for service in wrong:
        complain(f"the {service} job did not end as scripted")
    if not wrong:
        print("Each job ended as scripted.")
    return exits.FAILED if wrong else exits.SUCCEEDED


def add_examples(simulator: Simulator) -> None:
    """Add the jobs of the README and the documentation, for the installed services.

    Each finishes within a few polls on its service's own schedule, so that code can be tried
    unchanged.
    """
    from opwatch.progress import Fault
    from opwatch.simulator import Frame

    sent = [
        Frame("running", bytes_processed=512_000),
        Frame("succeeded", at=1, bytes_processed=1_310_720),
    ]
    built = Frame("running", percent=56, step="Reconstruction")
    created = Frame("running", percent=30)
    queued = Frame("pending")
    fault = Fault("InputData_Invalid", "The input has no scene.")
    no_scene = Frame("failed", at=10, percent=12, fault=fault)
    initing = Frame("succeeded", at=10, lookup=Frame("running", state="CreateSuccess"))
    usable = Frame("succeeded", at=30)
    succeeded, failed = Frame("succeeded", at=20, percent=100), Frame("failed", at=10)
    examples = [
        ("catenis", "pQ8mVhfK2dTz4WxLrNcb", sent),
        ("catenis", "pB7tYk2RzWq9sXvPnJmd", sent),
        ("itwin", "5d5b1f0e-2f5a-4a1c-9d5c-1f6f0a3f7b21", [built, succeeded]),
        ("itwin", "b7a41c3d-90f2-4e4e-a7be-6b1de3c5f8d4", [built, succeeded]),
        ("itwin", "3f8e2a67-41bd-4c0a-9f6e-7d2b9c8a5e10", [built, succeeded]),
        ("itwin", "0c9d7f52-6a0e-4f0b-8b53-2d1f4c7e9a60", [built, failed]),
        ("itwin-v2", "9c1e7f04-3b6d-4c8e-a2f5-6d0b8e4a7c13", [queued, succeeded]),
        ("itwin-v2", "f4b20d96-8e17-45a3-bc60-1a9d7e3c5f82", [queued, no_scene]),
        ("apig", "a31d5c9e7b0f4826936cd81f2e4a70b5", [created, initing, usable]),
        ("apig", "eddc4d25480b4cd6b512f270a1b8b341", [created, succeeded]),
        ("apig", "6f1c8b0e7a9d4e2fb3c5d7e9f1a2b3c4", [created, failed]),
    ]
    for service, job_id, frames in examples:
        if service in simulator.services:
            simulator.add(service, job_id, frames)


def _simulator(port: int) -> tuple[Simulator, dict[str, str]]:
    """Return a simulator and its demo jobs, by service."""
    try:
        from opwatch.simulator import Simulator, demo_jobs

        simulator = Simulator(port=port)
    except ModuleNotFoundError as error:
        raise ConfigurationError(str(error)) from None
    return simulator, demo_jobs(simulator)


def _as_scripted(simulator: Simulator, service: str, result: Ended[Any]) -> bool:
    """Return whether a job reached the end of its script, including its scripted refusals."""
    demo: Demo = simulator.simulation(service).demo
    last = result.progress
    if result.error is not None or last is None or last.phase is not demo.ending:
        return False
    frames = demo.timeline.frames
    if frames[-1].fault is not None and last.fault != frames[-1].fault:
        return False
    refused = [one.status for one in simulator.requests if one.service == service]
    return not any(frame.is_refusal for frame in frames) or 429 in refused
