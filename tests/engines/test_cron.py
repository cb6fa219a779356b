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

    def __init__(self, simulator, case, state, *, timeout=600, delays=DELAYS, **environment):
        self._environment = os.environ | simulator.environ | environment
        how = ["--state", str(state), "--timeout", str(timeout), "--delays", *map(str, delays)]
        self._command = [sys.executable, str(SCRIPT), case.service, case.job_id, *how]

    def start(self):
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self._command, env=self._environment, stdout=pipe, stderr=pipe, text=True
        )

    def run(self):
        """One run: its exit code and what it printed."""
        code, out, err = self.run_with_errors()
        assert err == ""
        return code, out

    def run_with_errors(self):
        """One run: its exit code, what it printed, and what it printed to standard error."""
        with self.start() as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out.strip(), err.strip()

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


def test_the_file_of_another_job_is_refused(tmp_path):
    """How one job ended says nothing about another one."""
    first, second = job("itwin", "succeeded"), job("itwin", "failed", "job-2")
    state = tmp_path / "state"
    with Simulator() as simulator:
        add(simulator, [first, second])
        assert Cron(simulator, first, state).until_over()[0] == (0, "job-1 succeeded")
        before = state.read_text()
        code, out, err = Cron(simulator, second, state).run_with_errors()
        assert (code, out, err) == (2, "", f"{state}: the file is about itwin job-1")
        assert (state.read_text(), simulator.job("itwin", "job-2").polls) == (before, 0)


def lost(folder):
    return folder / "no-such-folder" / "state"


def empty(folder):
    (folder / "state").touch()
    return folder / "state"


def no_file(folder):
    (folder / "state").mkdir()
    return folder / "state"


def no_object(folder):
    (folder / "state").write_text("[]")
    return folder / "state"


def full(folder):
    (folder / "state.new").symlink_to("/dev/full")
    return folder / "state"


@pytest.mark.parametrize("state", [lost, empty, no_file, no_object, full])
def test_what_goes_wrong_is_one_line_and_no_failed_job(tmp_path, state):
    """A missing folder, a damaged file or a full disk: exit code 2, and nothing is sent."""
    with Simulator() as simulator:
        case, path = job("itwin", "succeeded"), state(tmp_path)
        add(simulator, [case])
        code, out, err = Cron(simulator, case, path).run_with_errors()
        assert simulator.requests == []
    assert (code, out) == (2, "")
    assert err.startswith(f"{path}: ")
    assert len(err.splitlines()) == 1


def test_a_configuration_error_is_not_the_end(tmp_path):
    """When the setting is there, the wait begins, or continues."""
    case, state = job("itwin", "succeeded"), tmp_path / "state"
    with Simulator() as simulator:
        add(simulator, [case])
        with_setting = Cron(simulator, case, state)
        without = Cron(simulator, case, state, ITWIN_CLIENT_ID="", ITWIN_CLIENT_SECRET="")
        code, out, err = without.run_with_errors()
        assert (code, out) == (2, "")
        assert "ITWIN_CLIENT_ID" in err
        assert with_setting.run() == (NOT_OVER, "")
        noted = count_in(json.loads(state.read_text())["token"])
        while (found := without.run_with_errors())[0] == NOT_OVER:  # the next poll isn't due
            pass
        assert found[0] == 2
        assert count_in(json.loads(state.read_text())["token"]) == noted
        assert with_setting.until_over()[0] == (0, "job-1 succeeded")
