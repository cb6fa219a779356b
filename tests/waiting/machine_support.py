"""Plans, states and events of the machine."""

from opwatch.core.polling import Reading, Schedule
from opwatch.progress import Phase

ITWIN = Schedule((15, 30, 60, 120), jitter=0)

RUNNING = Phase.RUNNING


def reading(marker=None, phase=RUNNING):
    return Reading(phase, marker)
