"""The cron recipe, run as cron would run it: repeatedly, each time in a new process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from engine_checks import Case, add, count_in, early, polls

from opwatch.simulator import Frame, Polls, Simulator

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "cron" / "watch_job.py"
DELAYS = (0.1, 0.2, 0.4)
NOT_OVER = 75


class Cron:
    """Runs the script for one job of a simulator."""

    def __init__(self, simulator, case, state, *, timeout=600, delays=DELAYS):
        self._environment = os.environ | simulator.environ
        how = ["--state", str(state), "--timeout", str(timeout), "--delays", *map(str, delays)]
        self._command = [sys.executable, str(SCRIPT), case.service, case.job_id, *how]

    def start(self):
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self._command, env=self._environment, stdout=pipe, stderr=pipe, text=True
        )

    def run(self):
        """One run: its exit code and what it printed."""
        with self.start() as process:
            out, err = process.communicate(timeout=60)
        assert err == ""
        return process.returncode, out.strip()

    def until_over(self):
        """Run until the job is over: the last run's answer, and how many were made."""
        runs = 1
        while (answer := self.run())[0] == NOT_OVER:
            runs += 1
        return answer, runs


def job(service, end, job_id="job-1"):
    return Case(service, job_id, (*[Frame("running", percent=30)] * 2, Frame(end)))


@pytest.mark.parametrize(
    ("service", "end", "code"),
    [
        ("itwin", "succeeded", 0),
        ("itwin", "cancelled", 1),
        ("itwin", "ended", 3),
        ("apig", "failed", 1),
    ],
)
def test_cron_watches_a_job_to_its_end(tmp_path, service, end, code):
    """Each run polls at most once and never too early; the last says how the job ended."""
    case, state = job(service, end), tmp_path / "state"
    with Simulator() as simulator:
        add(simulator, [case])
        cron = Cron(simulator, case, state)
        (ended, text), _ = cron.until_over()
        again = cron.run()
        times = polls(simulator)[case.service, case.job_id]
    noted = count_in(json.loads(state.read_text())["token"])
    assert (ended, text.split(":")[0]) == (code, f"job-1 {end}")
    assert again == (ended, text)
    assert early(case, times, DELAYS, noted=noted) == []


def test_a_run_that_comes_too_early_asks_nothing(tmp_path):
    """However often cron runs it, the schedule is kept."""
    case, state = job("itwin", "succeeded"), tmp_path / "state"
    with Simulator() as simulator:
        add(simulator, [case])
        hourly = Cron(simulator, case, state, delays=[3600])
        codes = [hourly.run()[0] for _ in range(3)]
        assert (codes, simulator.job("itwin", "job-1").polls) == ([NOT_OVER] * 3, 1)


def test_a_killed_run_counts_as_a_query(tmp_path):
    """A run that is killed during a poll leaves a note; the next ones let a delay pass first."""
    state = tmp_path / "state"
    case = job("itwin", "succeeded")
    with Simulator() as simulator:
        add(simulator, [case])
        cron = Cron(simulator, case, state, delays=[0.1, 3600])
        assert cron.run() == (NOT_OVER, "")
        simulator.job("itwin", "job-1").play(Polls([Frame(silent=True), *case.frames[2:]]))
        before = len(simulator.requests)
        while len(simulator.requests) == before:
            with cron.start() as process:
                if asked(simulator, process, before):
                    process.kill()
        killed = len(simulator.requests)
        assert [cron.run()[0] for _ in range(2)] == [NOT_OVER] * 2
        assert len(simulator.requests) == killed
        later = json.loads(state.read_text()) | {"not_before": 0}  # an hour later
        state.write_text(json.dumps(later))
        assert cron.run()[0] == 0


def asked(simulator, process, before):
    """Whether that run made a poll; waits until it did, or ended."""
    while process.poll() is None:
        try:
            simulator.wait_for_requests(before + 2, timeout=0.2)  # the login, and the query
        except TimeoutError:
            continue
        return True
    return False


def test_the_deadline_ends_it(tmp_path):
    """The timeout covers the complete wait, across all runs."""
    case, state = job("itwin", "succeeded"), tmp_path / "state"
    with Simulator() as simulator:
        simulator.add("itwin", "job-1", Frame("running", percent=30))
        (code, text), _ = Cron(simulator, case, state, timeout=0.3).until_over()
    assert code == 124
    assert text.startswith("WaitTimeout: ")
