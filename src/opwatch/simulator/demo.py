"""The jobs that `make demo` watches: one a service, each over within half a minute.

With queries every second or two: the Catenis message succeeds after 21 s; the iTwin job meets one
rate limit of 3 s on its way and succeeds after 24 s; the APIG gateway fails after 20 s with
APIC.9218, for want of quota. Time runs from a job's first query.
"""

from __future__ import annotations

from opwatch.simulator.server import Simulator


def demo_jobs(simulator: Simulator) -> dict[str, str]:
    """Add the demonstration job of every service; the id of each by service.

    `simulator.simulation(name).demo.ending` is the phase that a service's job comes to.
    """
    found = {}
    for name in simulator.services:
        demo = simulator.simulation(name).demo
        simulator.add(name, demo.job_id, demo.timeline)
        found[name] = demo.job_id
    return found
