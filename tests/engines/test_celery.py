"""The Celery recipe with a real worker and a real Redis, killed midway.

`OPWATCH_JOBS` says how many jobs (200). Needs `redis-server` on the path.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_checks import add, cases, count_in, early, polls
from ports import free_port

from opwatch.simulator import Frame, Simulator

JOBS = int(os.environ.get("OPWATCH_JOBS", "200"))
DELAYS = (2.0, 4.0, 6.0)
LIMIT = 600
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "celery"


@pytest.fixture
def redis(tmp_path):
    """The address of a Redis of our own, on loopback, with nothing on disk."""
    server = shutil.which("redis-server")
    assert server is not None, "this needs Debian's package redis-server"
    port = free_port()
    command = [server, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert any("Ready to accept connections" in line for line in process.stdout)
        yield f"redis://127.0.0.1:{port}/0"
        process.terminate()
        process.stdout.close()


class Worker:
    """`celery worker`, with the simulator in its environment."""

    def __init__(self, environment, log):
        log.with_suffix(".beat").unlink(missing_ok=True)
        self._environment = environment
        self._log = log

    def __enter__(self):
        options = ["--concurrency", "4", "--loglevel", "WARNING", "--without-gossip"]
        options += ["--beat", "--schedule", str(self._log.with_suffix(".beat"))]
        command = [sys.executable, "-m", "celery", "-A", "watch_jobs", "worker", *options]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=EXAMPLE,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def kill(self):
        """Kill the worker and its pool at once; when it was dead."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return time.time()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()


@pytest.mark.timeout(LIMIT)
def test_every_job_ends_once_though_the_worker_is_killed(redis, tmp_path, monkeypatch):
    """Each job's task ends with the job's own end, and no poll comes before the schedule allows
    it, though the worker is killed and another continues."""
    found = cases(JOBS)
    log = Path(os.environ.get("OPWATCH_LOG", tmp_path / "worker.log"))
    monkeypatch.setenv("BROKER_URL", redis)
    monkeypatch.setenv("LONGEST_DELAY", str(DELAYS[-1]))
    monkeypatch.setenv("OVERDUE", "20")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    with Simulator() as simulator:
        add(simulator, found)
        environment = os.environ | simulator.environ
        import watch_jobs

        how = {"timeout": LIMIT, "delays": DELAYS}
        results = [watch_jobs.begin(case.service, case.job_id, **how) for case in found]
        with Worker(environment, log) as first:
            simulator.wait_for_requests(2 * JOBS, timeout=LIMIT)
            killed = first.kill()
        done = sum(result.ready() for result in results)
        with Worker(environment, log):
            ends = [result.get(timeout=LIMIT) for result in results]
        times = polls(simulator)
        watch_jobs.app.close()

    counts = [count_in(end["token"]) for end in ends]
    lost = sum(map(len, times.values())) - sum(counts)
    print(
        f"{JOBS} jobs, {sum(map(len, times.values()))} polls, {done} ended before the kill, "
        f"{lost} answers lost in it"
    )
    assert [end.get("phase") for end in ends] == [case.end for case in found]
    wrong = [
        fault
        for case, noted in zip(found, counts, strict=True)
        for fault in early(
            case, times[case.service, case.job_id], DELAYS, noted=noted, kills=[killed]
        )
    ]
    assert wrong == []
    assert done < JOBS


@pytest.mark.timeout(LIMIT)
def test_the_recipe_to_the_letter(redis, tmp_path):
    """The worker and the program work exactly as shown on the page."""
    with Simulator() as simulator:
        simulator.add("itwin", "job-1", [Frame("succeeded")])
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        how = {
            "cwd": shutil.copytree(EXAMPLE, tmp_path / "example"),
            "env": os.environ | simulator.environ | {"BROKER_URL": redis, "PATH": programs},
        }
        with subprocess.Popen(["bash", "worker.sh"], start_new_session=True, **how) as worker:
            try:
                command = [sys.executable, "begin_wait.py", "itwin", "job-1"]
                printed = subprocess.check_output(command, timeout=LIMIT, text=True, **how)
            finally:
                os.killpg(worker.pid, signal.SIGKILL)
    assert printed.startswith("{'phase': 'succeeded', 'token': ")
