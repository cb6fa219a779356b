"""The jobs that `make demo` watches: one for each service, each finished within half a minute.

With polls every second or two, the Catenis message succeeds after 21 s, the iTwin job succeeds
after 24 s and one rate limit of 3 s, and the APIG gateway fails after 20 s with APIC.9218, for lack
of quota. Times count from a job's first poll.
"""

from __future__ import annotations

from opwatch.simulator.server import Simulator


def demo_jobs(simulator: Simulator) -> dict[str, str]:
    """Add the demo job of every service; return the job IDs by service.

    `simulator.simulation(name).demo.ending` is the phase in which a service's job ends.
    """
    found = {}
    for name in simulator.services:
        demo = simulator.simulation(name).demo
        simulator.add(name, demo.job_id, demo.timeline)
        found[name] = demo.job_id
    return found
