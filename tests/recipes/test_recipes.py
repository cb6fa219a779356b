"""The recipes whose code isn't run by their pages: each one is run as a reader would run it."""

import asyncio
import csv
import doctest
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from docs_blocks import DOCS, blocks

from opwatch.simulator import Frame, Simulator
from opwatch.testing import FakeClock, Script, reply

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def active(percentage: int) -> Any:
    return reply(200, {"jobProgress": {"state": "Active", "percentage": percentage}})


SUCCESS = reply(200, {"jobProgress": {"state": "success", "percentage": 100}})
DOWN = reply(503, {"error": {"code": "ServiceUnavailable", "message": "not now"}})
GONE = reply(404, {"error": {"code": "JobNotFound", "message": "no such job"}})


# --- FastAPI --------------------------------------------------------------------------------------


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the example, new for each test."""
    monkeypatch.setenv("ITWIN_ACCESS_TOKEN", "made-up")
    spec = importlib.util.spec_from_file_location("app", EXAMPLES / "fastapi" / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "app", module)
    spec.loader.exec_module(module)
    return module


def streams(app: Any, *job_ids: str, at_once: bool = True) -> list[list[tuple[str, Any]]]:
    """What browsers that look at those jobs, at once or in turn, are sent: names and data."""

    async def look(browser: httpx.AsyncClient, job_id: str) -> list[tuple[str, Any]]:
        answer = await browser.get(f"http://here/jobs/{job_id}/events")
        if answer.status_code != 200:
            return [("refused", answer.json())]
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = []
        for message in answer.text.strip().split("\n\n"):
            name, data = message.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
        return found

    async def main() -> list[list[tuple[str, Any]]]:
        transport = httpx.ASGITransport(app.app)
        async with app.lifespan(app.app), httpx.AsyncClient(transport=transport) as browser:
            if at_once:
                return await asyncio.gather(*(look(browser, job_id) for job_id in job_ids))
            return [await look(browser, job_id) for job_id in job_ids]

    return asyncio.run(main())


def test_a_browser_is_sent_every_event(app: Any) -> None:
    """Answers, retries and the end, in the form of server-sent events."""
    with FakeClock(), Script({"/progress": [active(40), DOWN, SUCCESS]}):
        [sent] = streams(app, "j1")
    assert [name for name, _ in sent] == ["start", "progress", "trouble", "progress", "result"]
    assert sent[1][1]["percent"] == 40
    assert sent[-1][1]["outcome"] == "succeeded"


def test_browsers_share_one_wait(app: Any) -> None:
    """Two that look at one job are sent the same, and the service is polled once."""
    with FakeClock(), Script({"/progress": [active(40), SUCCESS]}) as script:
        first, second = streams(app, "j1", "j1")
    assert first == second
    assert len(script.sent) == 2


def test_a_wait_that_fails_ends_its_stream(app: Any) -> None:
    """A job that is gone is the last event, and no error of the server."""
    with FakeClock(), Script({"/progress": [GONE]}):
        [sent] = streams(app, "j1")
    assert sent[-1][1]["outcome"] == "gone"


def test_an_id_that_was_asked_for_too_early(app: Any) -> None:
    """A wait that has ended is forgotten, so a job that was gone is found later."""
    with FakeClock(), Script({"/progress": [GONE, SUCCESS]}):
        first, second = streams(app, "j1", "j1", at_once=False)
    assert [sent[-1][1]["outcome"] for sent in (first, second)] == ["gone", "succeeded"]
    assert app.waits == {}


def test_an_invalid_id_is_refused(app: Any) -> None:
    """It gets a 422 instead of a stream that never ends, and is never sent to the service."""
    with Script({}) as script:
        [[(refused, body)]] = streams(app, "a%25b")
    assert refused == "refused"
    assert "must not contain" in body["detail"]
    assert script.sent == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_stops_while_browsers_are_connected(number: signal.Signals) -> None:
    """At a signal, each stream ends without an outcome, and the server doesn't wait for it.

    Until then, it sends what the page shows.
    """
    [shown] = (block for block in blocks(DOCS / "recipes" / "fastapi.md") if block.is_output)
    with Simulator() as simulator:
        simulator.add("itwin", "j1", [Frame("running", percent=56)])
        command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "0"]
        server = subprocess.Popen(
            command,
            cwd=EXAMPLES / "fastapi",
            env=os.environ | simulator.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stderr is not None
        with server, server.stderr as said:
            try:
                url = next(line.split()[4] for line in said if "running on" in line)
                sent = []
                with httpx.stream("GET", f"{url}/jobs/j1/events", timeout=60) as answer:
                    for line in answer.iter_lines():
                        sent.append(line)
                        if line == "event: progress":
                            server.send_signal(number)
                server.wait(60)
            finally:
                server.kill()
    assert [line for line in sent if line.startswith("event")] == [
        "event: start",
        "event: progress",
    ]
    printed = "\n".join(sent).rstrip() + "\n"
    assert doctest.OutputChecker().check_output(shown.code, printed, doctest.ELLIPSIS), printed


# --- many jobs ------------------------------------------------------------------------------------


def watch_all(folder: Path, job_ids: str, **jobs: list[Frame]) -> tuple[int, list[dict[str, str]]]:
    """Run the example until it ends, or with Ctrl-C at its first answer about a job `forever`.

    Return its exit code and the rows of its file.
    """
    (folder / "jobs.txt").write_text(job_ids, "utf-8")
    with Simulator() as simulator:
        for job_id, frames in jobs.items():
            simulator.add("itwin", job_id, frames)
        script = subprocess.Popen(
            [sys.executable, EXAMPLES / "many-jobs" / "watch_all.py"],
            cwd=folder,
            env=os.environ | simulator.environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert script.stderr is not None
        with script, script.stderr as said:
            for line in said:
                assert "Traceback" not in line
                if line.startswith("forever"):
                    script.send_signal(signal.SIGINT)
        with (folder / "jobs.csv").open(encoding="utf-8") as file:
            return script.returncode, list(csv.DictReader(file))


def test_many_jobs_have_one_row_each(tmp_path: Path) -> None:
    """An ID that is listed twice has one row. A failed job comes before an ID that is gone."""
    code, rows = watch_all(
        tmp_path, "good bad good none", good=[Frame("succeeded")], bad=[Frame("failed")]
    )
    outcomes = [(row["job"], row["outcome"]) for row in rows]
    assert outcomes == [("good", "succeeded"), ("bad", "failed"), ("none", "gone")]
    assert code == 1


def test_no_jobs_at_all(tmp_path: Path) -> None:
    """An empty list gives a file without rows."""
    assert watch_all(tmp_path, "") == (0, [])


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a signal")
def test_an_interrupt_writes_the_file(tmp_path: Path) -> None:
    """What is known at Ctrl-C is written, with the percentage of what is still running."""
    code, rows = watch_all(tmp_path, "forever", forever=[Frame("running", percent=40)])
    assert [(row["outcome"], row["percent"]) for row in rows] == [("interrupted", "40.0")]
    assert code == 130


# --- GitHub Actions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [("succeeded", 0, "succeeded, 100 %"), ("failed", 1, "::error::j1 ended with exit code 1")],
)
def test_the_step_of_github_actions(tmp_path: Path, ending: Any, code: int, said: str) -> None:
    """The step's script ends as the job did, and leaves the page for the next step."""
    workflow = yaml.safe_load((EXAMPLES / "github" / "wait.yml").read_text("utf-8"))
    steps = workflow["jobs"]["wait"]["steps"]
    [step] = (step for step in steps if step.get("name") == "Wait for the model")
    [upload] = (step for step in steps if step.get("uses", "").startswith("actions/upload"))
    output = tmp_path / "output"
    with Simulator() as simulator:
        simulator.add("itwin", "j1", [Frame(ending)])
        kept = ("PATH", "HOME")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= simulator.environ | {"JOB_ID": "j1", "GITHUB_OUTPUT": str(output)}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        assert set(step["env"]) <= environment.keys()
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == code
    assert said in done.stdout
    assert output.exists() is (code == 0)
    assert "<svg" in (tmp_path / upload["with"]["path"]).read_text("utf-8")
