"""OpenTelemetry: spans of waits and requests, and metrics, read from the in-memory exporter.

A provider is set once for a whole process, so each test runs one of its own.
"""

import json
import subprocess
import sys

import pytest

SETUP = """
import json, sys
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
metrics.set_meter_provider(MeterProvider([reader]))

def found():
    spans = [
        {
            "name": span.name,
            "kind": span.kind.name,
            "status": span.status.status_code.name,
            "attributes": dict(span.attributes),
            "id": span.context.span_id,
            "parent": span.parent and span.parent.span_id,
        }
        for span in exporter.get_finished_spans()
    ]
    data = reader.get_metrics_data()
    found = {
        metric.name: [
            [dict(point.attributes), getattr(point, "value", None) or getattr(point, "sum", None)]
            for point in metric.data.data_points
        ]
        for of_resource in (data.resource_metrics if data else [])
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
    }
    return {"spans": spans, "metrics": found}
"""
JOBS = """
import asyncio
from opwatch import AsyncCatenis, Catenis, ITwin, AsyncITwin
from opwatch.errors import OpwatchError, TransportError
from opwatch.testing import FakeClock, Script, reply

def active(n): return reply(200, {"jobProgress": {"state": "Active", "percentage": n}})
SUCCESS = reply(200, {"jobProgress": {"state": "success", "percentage": 100}})
DOWN = reply(503, {"error": {"code": "ServiceUnavailable", "message": "not now"}})
GONE = reply(404, {"error": {"code": "JobNotFound", "message": "no such job"}})
"""
WAIT = """
with FakeClock(), Script({"/progress": [active(1), DOWN, TransportError("cut"), SUCCESS]}):
    ITwin("made-up-secret-word").wait("j1", timeout=3600)
print(json.dumps(found()))
"""
ASYNC_WAIT = """
async def main():
    async with AsyncITwin("made-up-secret-word") as client:
        await client.wait("j1", timeout=3600)
with FakeClock(), Script({"/progress": [active(1), DOWN, TransportError("cut"), SUCCESS]}):
    asyncio.run(main())
print(json.dumps(found()))
"""
MANY = """
async def main():
    async with AsyncITwin("made-up") as client:
        async for _ in client.watch_many(["j1", "j2"], timeout=3600):
            pass
answers = {"j1/progress": [active(1), SUCCESS], "j2/progress": [GONE]}
with FakeClock(), Script(answers), trace.get_tracer("caller").start_as_current_span("caller"):
    asyncio.run(main())
print(json.dumps(found()))
"""
POLLS = """
def ends(call, *arguments, **more):
    try:
        call(*arguments, **more)
    except OpwatchError as error:
        return type(error).__name__

PAUSE = reply(429, {"error": {"code": "RateLimit", "message": "slow"}}, {"Retry-After": "9"})
with FakeClock() as clock:
    with Script({"/progress": [GONE]}) as gone:
        assert ends(ITwin("made-up").wait, "j1", timeout=9) == "JobGone"
        assert ends(ITwin("made-up").progress, "j1") == "JobGone"
        assert ends(ITwin("made-up").progress, "../no-id") == "ConfigurationError"
        assert ends(ITwin("made-up").start, "j1", timeout=9) == "JobGone"
    with Script({"/progress": [DOWN]}) as down:
        assert ends(ITwin("made-up", max_failures=3).wait, "j1", timeout=999) == "Unavailable"
    with Script({"/progress": [active(1)]}) as active_:
        ITwin("made-up").progress("j1")
    with Script({"/progress": [PAUSE]}) as limited:
        client = ITwin("made-up")
        assert ends(client.progress, "j1") == ends(client.progress, "j1") == "RateLimited"
assert sum(len(script.sent) for script in (gone, down, active_, limited)) == 8
print(json.dumps(found()))
"""
LATE = """
done = {"bytesProcessed": 9, "done": True, "success": True, "finishDate": "2027-01-15T07:59:50Z"}
data = {"status": "success", "data": {"action": "log", "progress": done}}
with FakeClock(), Script({"/progress": [reply(200, data)]}):
    Catenis("d" * 20, "made-up").wait("p" + "x" * 19, timeout=3600)
print(json.dumps(found()))
"""

WHILE_IT_IS_IMPORTED = """
import sys
points = []
class Importing:  # what another thread would meet between two lines of the module
    def find_spec(self, name, *more):
        if "opentelemetry.trace" in sys.modules:
            sys.meta_path.remove(self)
            with FakeClock(), Script({"/progress": [active(1), SUCCESS]}):
                points.append(ITwin("made-up").wait("j1", timeout=3600).phase)
            sys.meta_path.insert(0, self)
sys.meta_path.insert(0, Importing())
from opentelemetry import trace
print(len(points) > 0 and set(points))
"""
RAISES = """
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry import trace
class Raises(SpanProcessor):
    def on_start(self, *arguments, **more): raise LookupError
    def on_end(self, span): raise LookupError
    if END: del on_start
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(Raises())
with FakeClock(), Script({"/progress": [active(1), DOWN, SUCCESS]}):
    print(ITwin("made-up").wait("j1", timeout=3600).phase)
"""


def run(*code: str) -> str:
    """What a program prints, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "".join(code)], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("code", [WAIT, ASYNC_WAIT], ids=["blocking", "async"])
def test_a_span_for_each_wait_and_each_request(code: str) -> None:
    """Requests are children of the wait, by the conventions for HTTP clients; no secret in any."""
    text = run(SETUP, JOBS, code)
    found = json.loads(text)
    *requests, wait = found["spans"]
    assert (wait["name"], wait["kind"], wait["status"]) == ("wait itwin", "INTERNAL", "UNSET")
    assert wait["attributes"] == {
        "opwatch.service": "itwin",
        "opwatch.job_id": "j1",
        "opwatch.resumed": False,
        "opwatch.outcome": "succeeded",
        "opwatch.attempts": 4,
    }
    assert [one["parent"] for one in requests] == [wait["id"]] * 4
    assert {(one["name"], one["kind"]) for one in requests} == {("GET", "CLIENT")}
    assert requests[0]["attributes"] == {
        "http.request.method": "GET",
        "server.address": "api.bentley.com",
        "server.port": 443,
        "url.full": "https://api.bentley.com/contextcapture/jobs/j1/progress",
        "http.response.status_code": 200,
    }
    assert [one["attributes"].get("error.type") for one in requests] == [
        *(None, "503", "TransportError", None)
    ]
    assert [one["status"] for one in requests] == ["UNSET", "ERROR", "ERROR", "UNSET"]
    assert "made-up-secret-word" not in text


def test_metrics_of_polls_and_retries() -> None:
    """Polls, and retries by their error."""
    metrics = json.loads(run(SETUP, JOBS, WAIT))["metrics"]
    about = {"opwatch.service": "itwin"}
    assert metrics["opwatch.polls"] == [[about, 4]]
    assert sorted(metrics["opwatch.retries"], key=str) == [
        [about | {"error.type": "TransportError"}, 1],
        [about | {"error.type": "Unavailable"}, 1],
    ]


def test_every_poll_is_counted() -> None:
    """Also one that ends the wait with an error, and those of `progress` and `start`; but no call
    that sends nothing."""
    metrics = json.loads(run(SETUP, JOBS, POLLS))["metrics"]
    assert metrics["opwatch.polls"] == [[{"opwatch.service": "itwin"}, 8]]


def test_the_detection_delay() -> None:
    """From the end of the job, by the service's clock, to the poll that saw it."""
    metrics = json.loads(run(SETUP, JOBS, LATE))["metrics"]
    assert metrics["opwatch.detection_delay"] == [[{"opwatch.service": "catenis"}, 10]]


def test_the_spans_of_many_jobs() -> None:
    """Each request belongs to its own job's wait, and each wait to whoever began it."""
    spans = json.loads(run(SETUP, JOBS, MANY))["spans"]
    [caller] = (one for one in spans if one["name"] == "caller")
    waits = {one["id"]: one for one in spans if one["name"] == "wait itwin"}
    assert [one["parent"] for one in waits.values()] == [caller["id"]] * 2
    requests = [one for one in spans if one["kind"] == "CLIENT"]
    assert len(requests) == 3
    for one in requests:
        job_id = waits[one["parent"]]["attributes"]["opwatch.job_id"]
        assert f"/jobs/{job_id}/progress" in one["attributes"]["url.full"]
    ends = {one["attributes"]["opwatch.job_id"]: one for one in waits.values()}
    assert (ends["j1"]["status"], ends["j2"]["status"]) == ("UNSET", "ERROR")
    assert ends["j2"]["attributes"]["error.type"] == "JobGone"


def test_nothing_is_imported_for_a_program_without_it() -> None:
    """A program that doesn't load OpenTelemetry doesn't get it from opwatch, though it is there."""
    code = "import sys\n" + JOBS + WAIT.replace("print(json.dumps(found()))", "")
    printed = run(code, "print([name for name in sys.modules if 'opentelemetry' in name])")
    assert printed == "[]\n"


def test_a_module_that_is_being_imported_is_not_used() -> None:
    """A wait beside a thread that imports OpenTelemetry isn't traced, and goes on."""
    assert run(JOBS, WHILE_IT_IS_IMPORTED) == "{<Phase.SUCCEEDED: 'succeeded'>}\n"


@pytest.mark.parametrize("end", [False, True])
def test_a_processor_that_raises_ends_no_wait(*, end: bool) -> None:
    """Whether it raises at the start of a span or at its end."""
    assert run(JOBS, f"END = {end}", RAISES) == "succeeded\n"
