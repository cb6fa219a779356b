"""The simulator as a server: it starts, records, reports its own mistakes, and stops."""

import gc
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opwatch_api.wire import apig as wire
from ports import free_port
from simulator_tools import SERVICES, Send, host_of, sender, statuses
from starlette.routing import BaseRoute, Route

import opwatch.simulator
from opwatch import ITwin, Phase, services
from opwatch.errors import ConfigurationError, OpwatchError, TransportError
from opwatch.simulator import (
    Demo,
    Exchange,
    Frame,
    Polls,
    Reply,
    Simulator,
    SimulatorProblem,
    State,
)
from opwatch.simulator.app import Endpoint
from opwatch.simulator.state import Job, Request
from opwatch.testing import FakeClock

pytest_plugins = ["pytester"]


# --- running --------------------------------------------------------------------------------------


def test_it_listens_on_loopback_from_the_first_moment() -> None:
    """It can be reached as soon as its block is entered, on 127.0.0.1."""
    with Simulator() as sim:
        host, _, port = host_of(sim).partition(":")
        socket.create_connection((host, int(port)), timeout=30).close()
    assert host == "127.0.0.1"


def test_it_is_gone_when_its_block_ends() -> None:
    """Afterwards, nothing listens, no thread is left, and it no longer has an address."""
    with Simulator() as sim:
        client = sim.client("itwin")
        url = sim.url
        sim.add("itwin", "job-1", Frame("running"))
        client.progress("job-1")
    assert [one.name for one in threading.enumerate() if "simulator" in one.name] == []
    with ITwin("token", base_url=f"{url}/contextcapture") as late, pytest.raises(TransportError):
        late.progress("job-1")
    with pytest.raises(ConfigurationError, match="isn't running"):
        _ = sim.url


def test_it_ends_at_once_however_many_connections_are_open() -> None:
    """Idle connections, and responses that never come, do not hold it up."""
    with Simulator() as sim:
        sim.add("itwin", "job-1", Frame("running"))
        sim.add("itwin", "job-2", Frame(silent=True))
        idle = [sim.client("itwin") for _ in range(5)]
        for client in idle:
            client.progress("job-1")
        host, _, port = host_of(sim).partition(":")
        raw = socket.create_connection((host, int(port)), timeout=30)
        raw.sendall(b"GET /half-a-request")

        def wait(token: str, url: str) -> None:
            with ITwin(token, base_url=f"{url}/contextcapture") as patient:
                patient.progress("job-2")

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait, sim.token("itwin"), sim.url)
            sim.wait_for_requests(11)
            began = time.monotonic()
            sim.stop()
            took = time.monotonic() - began
            assert isinstance(waiting.exception(timeout=30), OpwatchError)
        raw.close()
    assert took < 20


def test_it_leaks_no_connection_that_was_just_made() -> None:
    """Connections that are made the moment it ends are closed like the others."""
    for _ in range(20):
        with Simulator() as sim:
            host, _, port = host_of(sim).partition(":")
            made = [socket.create_connection((host, int(port)), timeout=30) for _ in range(3)]
        for one in made:
            one.close()
    gc.collect()  # what was left open would be a ResourceWarning, which fails this test


def test_it_can_be_started_again() -> None:
    """After a stop it may be started again, with what it remembers."""
    sim = Simulator()
    sim.add("itwin", "job-1", Frame("running"))
    for _ in range(2):
        with sim:
            assert sim.client("itwin").progress("job-1").phase is Phase.RUNNING
    assert statuses(sim) == [200, 200]


def test_it_cannot_be_started_twice() -> None:
    """A running simulator that is started is a mistake that is named."""
    with Simulator() as sim, pytest.raises(ConfigurationError, match="is already running"):
        sim.start()


def test_it_takes_the_port_it_is_given() -> None:
    """A fixed port is taken; where somebody else has it, that is said at once."""
    port = free_port()
    for _ in range(2):
        with Simulator(port=port) as sim:
            assert sim.url == f"http://127.0.0.1:{port}"
            with pytest.raises(OSError, match="in use"):
                Simulator(port=port).start()


def test_several_run_side_by_side() -> None:
    """Each simulator has its own port, jobs and requests."""
    with Simulator() as one, Simulator() as other:
        one.add("itwin", "job-1", Frame("running"))
        other.add("itwin", "job-1", Frame("cancelled"))
        phases = [sim.client("itwin").progress("job-1").phase for sim in (one, other)]
    assert phases == [Phase.RUNNING, Phase.CANCELLED]
    assert (statuses(one), statuses(other)) == ([200], [200])


def test_it_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The server logs nothing, whatever happens to its connections, and leaves no filter."""
    with caplog.at_level(logging.DEBUG, "uvicorn"), Simulator() as sim:
        sim.add("itwin", "job-1", Frame("running", cut=True))
        with pytest.raises(TransportError):
            sim.client("itwin").progress("job-1")
    assert [one for one in caplog.records if one.name.startswith("uvicorn")] == []
    assert logging.getLogger("uvicorn.error").filters == []


def test_its_clients_are_closed_with_it() -> None:
    """A client that the simulator made needs no closing by the test."""
    with Simulator() as sim:
        sim.add("catenis", "job-1", Frame("running"))
        client = sim.client("catenis")
        client.progress("job-1")
        pools = client._transport._origins  # type: ignore[attr-defined]
        assert len(pools) == 1
    assert pools == {}


def test_a_simulation_that_cannot_be_served_is_told_at_once() -> None:
    """Where a simulation has no routes to offer, the start fails with its own exception."""

    class Cold(Kiln):
        def routes(self, state: State) -> Sequence[BaseRoute]:
            raise KeyError("no fire")

    sim = Simulator(extra=[Cold()])
    with pytest.raises(KeyError, match="no fire"):
        sim.start()
    assert repr(sim) == "<Simulator, not running>"


# --- requests -------------------------------------------------------------------------------------


def test_every_request_is_on_record(sim: Simulator, clock: FakeClock, send: Send) -> None:
    """A record says when, which service, what for, which job, the line, and the response."""
    sim.add("apig", "job-1", Frame("running"))
    sim.client("apig").progress("job-1")
    send("GET", "/nowhere?a=b")
    target = "/v2/51a0000000000000000000000000c0de/apigw/instances/job-1/progress"
    found = [
        (one.time, one.service, one.operation, one.job_id, one.method, one.target, one.status)
        for one in sim.requests
    ]
    assert found == [
        (clock.epoch(), "apig", "token", None, "POST", "/v3/auth/tokens?nocatalog=true", 201),
        (clock.epoch(), "apig", "progress", "job-1", "GET", target, 200),
        (clock.epoch(), None, None, None, "GET", "/nowhere?a=b", 404),
    ]


def test_no_record_holds_a_credential(sim: Simulator, send: Send) -> None:
    """The headers are kept for assertions, without the secrets in them."""
    for service in SERVICES:
        sim.add(service, "job-1", Frame("running"))
        sim.client(service).progress("job-1")
    send("GET", "/v2/x", {"X-Security-Token": "secret", "Cookie": "secret"})
    headers = [one.headers for one in sim.requests]
    kept = {found["authorization"] for found in headers if "authorization" in found}
    assert kept == {"Bearer ***", "CTN1-HMAC-SHA256 ***"}
    assert [found["x-auth-token"] for found in headers if "x-auth-token" in found] == ["***"]
    assert "secret" not in str(headers)


@pytest.mark.parametrize("target", ["/connect/token", "/v3/auth/tokens", "/nowhere"])
def test_a_body_that_is_too_long_is_refused(sim: Simulator, send: Send, target: str) -> None:
    """No service takes more than a few hundred bytes."""
    assert send("POST", target, {}, b"x" * 65_537).status == 413
    assert send("POST", target, {}, b"x" * 65_536).status in (400, 404)
    assert (sim.requests[0].service, sim.requests[0].status) == (None, 413)


def test_a_callback_sees_each_request() -> None:
    """`on_request` is called with each request as it comes."""
    seen: list[Request] = []
    with Simulator(on_request=seen.append) as sim:
        sim.add("itwin", "job-1", Frame("running"))
        sim.client("itwin").progress("job-1")
    assert seen == sim.requests
    assert [one.operation for one in seen] == ["token", "progress"]


def test_a_test_can_wait_for_requests(sim: Simulator) -> None:
    """Waiting for requests returns them once they came, and is patient only so long."""
    sim.add("catenis", "job-1", Frame("running"))
    client = sim.client("catenis")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(client.progress, "job-1")
        assert [one.service for one in sim.wait_for_requests(1, service="catenis")] == ["catenis"]
    with pytest.raises(TimeoutError, match="1 of 2 requests"):
        sim.wait_for_requests(2, timeout=0.01)


# --- problems, and services of others -------------------------------------------------------------


class Kiln:
    """A fourth service: it answers what it is told to, right or wrong."""

    name = "kiln"
    demo = Demo("k-1", Polls([Frame("succeeded")]), Phase.SUCCEEDED)

    def __init__(self, body: Any = None, error: Exception | None = None) -> None:
        self._body = body
        self._error = error

    def routes(self, state: State) -> Sequence[BaseRoute]:
        def handle(exchange: Exchange) -> Reply:
            if self._error is not None:
                raise self._error
            return Reply(status=200, body=self._body, model=wire.InstanceProgress)

        return [Route("/kiln/{job_id}", Endpoint(self, state, "progress", handle))]

    def environ(self, url: str) -> dict[str, str]:
        return {"KILN_URL": url}

    def arguments(self, url: str) -> dict[str, Any]:
        return {"url": url}

    def token(self, state: State) -> str:
        return state.issue(self.name).text

    def body(self, frame: Frame, job: Job | None, operation: str) -> Any:
        return self._body

    def refusal(self, frame: Frame, operation: str) -> tuple[int, Any]:
        return frame.status or 500, {"error_msg": frame.message}

    def rate_limit(self, operation: str) -> Frame:
        return Frame(status=429)

    def model(self, operation: str, status: int) -> type[wire.ErrorResponse]:
        return wire.ErrorResponse

    def headers(self, operation: str, status: int) -> dict[str, str]:
        return {}


def test_a_service_of_somebody_else_is_simulated_too() -> None:
    """An extra simulation is served beside the others, with its limits, record and environment."""
    with Simulator(extra=[Kiln({"progress": 50})]) as sim:
        send = sender(sim)
        assert send("GET", "/kiln/k-1").json == {"progress": 50}
        sim.rate_limit("kiln", retry_after=1)
        assert send("GET", "/kiln/k-1").status == 429
        assert sim.environ["KILN_URL"] == sim.url
        assert sim.services == [*SERVICES, "kiln"]
    assert [(one.service, one.job_id) for one in sim.requests] == [("kiln", "k-1")] * 2


def problems_of(sim: Simulator) -> str:
    """What is raised when the simulator ends."""
    with pytest.raises(SimulatorProblem) as caught:
        sim.__exit__(None, None, None)
    return str(caught.value)


def test_an_answer_that_breaks_its_spec_never_leaves() -> None:
    """What does not pass its wire model is a 500, a problem, and the end of the test."""
    sim = Simulator(extra=[Kiln({"progress": 101})]).__enter__()
    answer = sender(sim)("GET", "/kiln/k-1")
    assert (answer.status, b"has a problem" in answer.body) == (500, True)
    assert len(sim.problems) == 1
    assert problems_of(sim).startswith("GET /kiln/k-1: ValidationError")


def test_a_simulation_that_fails_is_a_problem() -> None:
    """An exception in a simulation reaches the test, not only the log."""
    sim = Simulator(extra=[Kiln(error=KeyError("oven"))]).__enter__()
    assert sender(sim)("GET", "/kiln/k-1").status == 500
    assert problems_of(sim) == "GET /kiln/k-1: KeyError: 'oven'"


def test_a_callback_that_fails_is_a_problem() -> None:
    """An exception in `on_request` reaches the test as well."""

    def fail(request: Request) -> None:
        raise RuntimeError("no paper")

    sim = Simulator(on_request=fail).__enter__()
    sender(sim)("GET", "/nowhere")
    assert problems_of(sim) == "GET /nowhere: RuntimeError: no paper"


def test_a_problem_does_not_hide_what_failed_first() -> None:
    """Where the test itself failed, its own exception is the one that is seen."""
    sim = Simulator().__enter__()
    sim.state.problem("it burnt")
    error = ZeroDivisionError()
    assert sim.__exit__(ZeroDivisionError, error, None) is None
    assert error.__notes__ == ["the simulator had problems:\nit burnt"]


# --- imports and the fixture ----------------------------------------------------------------------


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_plugin_imports_nothing_heavy() -> None:
    """pytest loads the plugin at every start; the server comes with the fixture's first use."""
    heavy = [
        "httpx",
        "starlette",
        "pydantic",
        "uvicorn",
        "opwatch.client",
        "opwatch.simulator.server",
    ]
    code = f"import sys, opwatch.simulator.pytest_plugin; print(set({heavy}) & set(sys.modules))"
    assert python(code) == "set()\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """The package's names are loaded late, and a wrong one is still a wrong name."""
    with pytest.raises(AttributeError, match="no attribute 'Simulater'"):
        _ = opwatch.simulator.Simulater  # type: ignore[attr-defined]
    assert set(opwatch.simulator.__all__) <= set(dir(opwatch.simulator))


@pytest.mark.parametrize("missing", ["uvicorn", "starlette", "pydantic", "wsproto"])
def test_a_missing_extra_is_named(missing: str) -> None:
    """Without its packages the simulator says which extra to install."""
    code = f"""
import sys
sys.modules[{missing!r}] = None
try:
    from opwatch.simulator import Simulator
except ImportError as error:
    print(error)
"""
    assert "pip install 'opwatch[simulator]'" in python(code)


def test_the_fixture_is_there_for_anybody(pytester: pytest.Pytester) -> None:
    """A test anywhere gets a running simulator by naming the fixture."""
    pytester.makepyfile(
        """
        from opwatch.simulator import Frame

        def test_mine(opwatch_simulator):
            opwatch_simulator.add("itwin", "job-1", Frame("succeeded"))
            assert opwatch_simulator.client("itwin").progress("job-1").percent == 100
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_the_fixture_says_what_is_missing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra the fixture fails with what to install, not with a traceback."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in ("server", "serving"):
        monkeypatch.delitem(sys.modules, f"opwatch.simulator.{name}")
    monkeypatch.delattr(opwatch.simulator, "Simulator")
    pytester.makepyfile("def test_mine(opwatch_simulator): pass")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["opwatch_simulator: *pip install 'opwatch[[]simulator[]]'*"])


def test_the_fixture_fails_the_test_for_a_problem(pytester: pytest.Pytester) -> None:
    """A problem of the simulator is an error of the test that used it."""
    pytester.makepyfile(
        """
        def test_mine(opwatch_simulator):
            opwatch_simulator.state.problem("it burnt")
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*SimulatorProblem: it burnt*"])


# --- the clock ------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_clients_of_ones_own_share_a_later_clock(
    service: str, opwatch_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that calls `from_env` under a `FakeClock` meets the simulator of the fixture on it."""
    for name, value in opwatch_simulator.environ.items():
        monkeypatch.setenv(name, value)
    opwatch_simulator.add(service, "job-1", [Frame("running"), Frame("succeeded", at=3 * 3600)])
    with FakeClock() as clock, services.find(service).client.from_env() as client:
        assert client.wait("job-1", timeout=4 * 3600).phase is Phase.SUCCEEDED
    assert 3 * 3600 <= clock.now() < 3 * 3600 + 130
