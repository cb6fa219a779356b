"""Jobs of a real, independent pygeoapi, watched from a spec without a line of Python.

pygeoapi runs on loopback in an environment of its own (requirements/pygeoapi.txt), with its own
`echo` process and its own store of jobs. opwatch knows examples/specs/ogc-processes.yaml alone.
`make contract-pygeoapi` runs these tests.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import anyio
import pytest

from opwatch import Phase, Progress
from opwatch.cli import main
from opwatch.errors import JobGone, NotFound, OpwatchError

pytestmark = pytest.mark.pygeoapi

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "examples" / "specs" / "ogc-processes.yaml"
PYTHON = ROOT / ".venv-pygeoapi" / "bin" / "python"
OPWATCH = Path(sys.executable).with_name("opwatch")
LIMIT = 120.0
"""Seconds after which what doesn't happen is ended."""

CONFIG = """
server:
  bind: {{host: 127.0.0.1, port: 80}}
  url: http://127.0.0.1
  mimetype: application/json; charset=UTF-8
  encoding: utf-8
  languages: [en-US]
  map: {{url: "https://tiles.example/{{z}}/{{x}}/{{y}}.png", attribution: none}}
  manager: {{name: TinyDB, connection: {folder}/jobs.db, output_dir: {folder}}}
logging: {{level: CRITICAL}}
metadata:
  identification:
    title: opwatch
    description: What opwatch is tested with
    keywords: [test]
    keywords_type: theme
    terms_of_service: none
    url: https://pygeoapi.example
  license: {{name: none, url: "https://pygeoapi.example"}}
  provider: {{name: opwatch, url: "https://pygeoapi.example"}}
  contact: {{name: opwatch}}
resources:
  echo: {{type: process, processor: {{name: Echo}}}}
"""
MARK = """
import sys
from pygeoapi.config import get_config
from pygeoapi.process.manager.base import get_manager

for job_id in sys.argv[1:]:
    assert get_manager(get_config()).update_job(job_id, {"status": "dismissed"})
"""


class Server(NamedTuple):
    """A running pygeoapi."""

    url: str
    env: dict[str, str]

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request of somebody who isn't opwatch; return the headers of the response."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            return answer.headers

    def job(self, **inputs: Any) -> str:
        """Start a job; return its ID."""
        headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
        sent = self.send("POST", "/processes/echo/execution", {"inputs": inputs}, **headers)
        return str(sent["Location"]).rpartition("/")[2]

    def dismiss(self, *job_ids: str) -> None:
        """Dismiss jobs as the standard says. pygeoapi forgets them."""
        for job_id in job_ids:
            self.send("DELETE", f"/jobs/{job_id}")

    def mark_dismissed(self, *job_ids: str) -> None:
        """Set the status of jobs to `dismissed`, which the API of pygeoapi has no request for."""
        subprocess.run([PYTHON, "-c", MARK, *job_ids], env=self.env, check=True, timeout=LIMIT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not PYTHON.exists():
        pytest.fail("pygeoapi is not installed: run `make contract-pygeoapi`")
    folder = tmp_path_factory.mktemp("pygeoapi")
    config, openapi = folder / "config.yml", folder / "openapi.yml"
    config.write_text(CONFIG.format(folder=folder), encoding="utf-8")
    names = {"PYGEOAPI_CONFIG": str(config), "PYGEOAPI_OPENAPI": str(openapi)}
    env = {**os.environ, **names, "PYTHONUNBUFFERED": "1"}
    tool = PYTHON.with_name("pygeoapi")
    describe = [tool, "openapi", "generate", config, "--output-file", openapi]
    subprocess.run(describe, env=env, check=True, timeout=LIMIT, stdout=subprocess.DEVNULL)
    # What `pygeoapi serve` runs, without its debugger, its reloader and its fixed port.
    command = [PYTHON, "-m", "flask", "--app", "pygeoapi.flask_app:APP", "run", "--port", "0"]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(
        command, env=env, stdin=null, stdout=pipe, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield Server(listening(process), env)
        finally:
            process.kill()


def listening(process: subprocess.Popen[str]) -> str:
    """Wait until a server says where it listens; return its address."""
    assert process.stdout is not None
    limit = threading.Timer(LIMIT, process.kill)
    limit.start()
    printed = []
    for line in process.stdout:
        printed.append(line)
        if found := re.search(r"Running on (http://127\.0\.0\.1:[0-9]+)", line):
            limit.cancel()
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return found[1]
    raise AssertionError(f"pygeoapi ended: {''.join(printed)}")


class Jobs(NamedTuple):
    """A hundred jobs, by how they end."""

    succeed: list[str]
    fail: list[str]
    dismissed: list[str]
    """Run until somebody dismisses them."""
    marked: list[str]
    """Run until their status is set to `dismissed`."""
    unknown: list[str]
    """Were never started."""

    @property
    def ids(self) -> list[str]:
        """All of them, in no order of their ends."""
        return sorted(job_id for kind in self for job_id in kind)

    def ends(self, *words: Any) -> dict[str, Any]:
        """How each job ends, in these words for the five kinds."""
        return {job_id: word for word, kind in zip(words, self, strict=True) for job_id in kind}


@pytest.fixture
def jobs(server: Server) -> Jobs:
    def started(count: int, **inputs: Any) -> list[str]:
        return [server.job(**inputs) for _ in range(count)]

    return Jobs(
        unknown=[str(uuid.uuid4()) for _ in range(10)],
        dismissed=started(10, echoInput="Echo", pause=3600.5),
        marked=started(10, echoInput="Echo", pause=3600.5),
        fail=started(30, pause=0.5),  # without an input that `echo` needs
        succeed=started(40, echoInput="Echo", pause=2.5),
    )


class Dismissing:
    """Dismisses the jobs that run on, once each of them was seen to run."""

    def __init__(self, server: Server, jobs: Jobs) -> None:
        self._server, self._jobs = server, jobs
        self._left = {*jobs.dismissed, *jobs.marked}

    def saw(self, job_id: str) -> None:
        if job_id in self._left:
            self._left.remove(job_id)
            if not self._left:
                self._server.dismiss(*self._jobs.dismissed)
                self._server.mark_dismissed(*self._jobs.marked)


def test_the_command_watches_a_hundred_jobs(server: Server, jobs: Jobs) -> None:
    """`opwatch watch --spec` reports the right end of each, and its exit code says the worst."""
    command = [OPWATCH, "watch", "--spec", SPEC, "--json", "--timeout", "2m", *jobs.ids]
    env = {**os.environ, "OGC_PROCESSES_BASE_URL": server.url}
    dismissing, ends = Dismissing(server, jobs), {}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["phase"] == "pending":
                dismissing.saw(event["job_id"])
            if event["event"] == "result":
                ends[event["job_id"]] = (event["outcome"], event["exit_code"])
        assert process.stderr is not None
        complaints = process.stderr.read().splitlines()
    gone, cancelled = ("gone", 5), ("cancelled", 1)
    assert ends == jobs.ends(("succeeded", 0), ("failed", 1), gone, cancelled, gone)
    assert len([line for line in complaints if "404 InvalidParameterValue" in line]) == 20
    assert process.returncode == 1


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """What `opwatch generate` makes of the spec, imported."""
    folder = str(tmp_path_factory.mktemp("package"))
    assert main(["generate", str(SPEC), "--out", folder]) == 0
    sys.path.insert(0, folder)
    yield importlib.import_module("opwatch_ogc_processes")
    sys.path.remove(folder)


Seen = Callable[[Progress[Any]], None]


def blocking(package: ModuleType, url: str, ids: list[str], saw: Seen) -> dict[str, OpwatchError]:
    with package.OgcProcesses(base_url=url) as client:
        watching = client.watch_many(ids, timeout=LIMIT)
        for progress in watching:
            saw(progress)
    return dict(watching.errors)


def asynchronous(
    package: ModuleType, url: str, ids: list[str], saw: Seen
) -> dict[str, OpwatchError]:
    async def watch() -> dict[str, OpwatchError]:
        async with package.AsyncOgcProcesses(base_url=url) as client:
            watching = client.watch_many(ids, timeout=LIMIT)
            async for progress in watching:
                saw(progress)
        return dict(watching.errors)

    return anyio.run(watch)


@pytest.mark.parametrize("watch", [blocking, asynchronous])
def test_watch_many_watches_a_hundred_jobs(
    server: Server, jobs: Jobs, package: ModuleType, watch: Callable[..., dict[str, OpwatchError]]
) -> None:
    """Every response comes, until each job came to its own end."""
    dismissing, answers = Dismissing(server, jobs), dict[str, list[Progress[Any]]]()

    def saw(progress: Progress[Any]) -> None:
        if progress.phase is Phase.PENDING:
            dismissing.saw(progress.job_id)
        answers.setdefault(progress.job_id, []).append(progress)

    errors = watch(package, server.url, jobs.ids, saw)
    assert {*errors} == {*jobs.dismissed, *jobs.unknown}
    assert {type(error) for error in errors.values()} == {JobGone}
    last = {job_id: seen[-1].phase.value for job_id, seen in answers.items()}
    ends = jobs.ends("succeeded", "failed", "pending", "cancelled", None)
    assert last == {job_id: phase for job_id, phase in ends.items() if phase}
    assert {answers[job_id][0].phase for job_id in jobs.marked} == {Phase.PENDING}
    for job_id in jobs.succeed:
        end = answers[job_id][-1]
        assert (end.percent, end.step, end.wire.job_id) == (100, "Job complete", job_id)
        assert end.started_at is not None
        assert end.finished_at is not None
        assert (end.finished_at - end.started_at).total_seconds() >= 2.5
    for job_id in jobs.fail:
        fault = answers[job_id][-1].fault
        assert fault is not None
        assert str(fault.message).endswith("Cannot run process without echo value")


def test_one_poll(server: Server, package: ModuleType) -> None:
    """`progress` polls once; an address with nothing there isn't a job that is gone."""
    job_id = server.job(echoInput="Echo", pause=3600.5)
    with package.OgcProcesses(base_url=server.url) as client:
        assert client.progress(job_id).phase is Phase.PENDING
        server.dismiss(job_id)
        with pytest.raises(JobGone):
            client.progress(job_id)
    with package.OgcProcesses(base_url=f"{server.url}/elsewhere") as client:
        with pytest.raises(NotFound, match="check `base_url`") as caught:
            client.progress(job_id)
        assert type(caught.value) is NotFound


def test_a_wait_is_continued_by_another_client(server: Server, package: ModuleType) -> None:
    """A token holds where it stands."""
    job_id = server.job(echoInput="Echo", pause=1.5)
    with package.OgcProcesses(base_url=server.url) as client:
        step = client.start(job_id, timeout=LIMIT)
    with package.OgcProcesses(base_url=server.url) as client:
        assert client.resume(step.token).phase is Phase.SUCCEEDED
