"""Other projects' clients against the simulator: they can't tell it from the services.

Each test says in one line what it proves. They run on loopback; the others' packages are in an
environment of their own (requirements/outside.txt). `make contract-outside` runs these tests.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from opwatch.simulator import Frame, Simulator, apig, itwin, itwin_v2

pytestmark = pytest.mark.outside

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv-outside" / "bin"
PROGRAMS = Path(__file__).with_name("outside_programs.py")
LIMIT = 120.0
"""Seconds after which what doesn't happen is ended."""
JOB = "eddc4d25480b4cd6b512f270a1b8b341"


def run(*arguments: str) -> Any:
    """What one of the others' programs was answered."""
    done = subprocess.run(
        [BIN / "python", PROGRAMS, *arguments],
        env=os.environ | {"no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as found:
        for service in ("apig", "itwin"):
            found.add(service, JOB, Frame("running", percent=50))
        yield found


def test_the_official_sdk_signs_as_the_simulator_checks(sim: Simulator) -> None:
    """A signature of the provider's official SDK is accepted: the simulator checks the real one."""
    keys = (apig.ACCESS_KEY, apig.SECRET_KEY, apig.PROJECT_ID)
    assert run("huawei", sim.url, *keys, JOB) == [200, "creating"]


def test_the_official_sdk_locks_its_keys(sim: Simulator) -> None:
    """Six refusals lock the official SDK's keys, as the provider says: then right ones fail."""
    for _ in range(apig.LOCK_AFTER + 1):
        wrong = run("huawei", sim.url, apig.ACCESS_KEY, "wrong", apig.PROJECT_ID, JOB)
        assert wrong[0] == 401
    keys = (apig.ACCESS_KEY, apig.SECRET_KEY, apig.PROJECT_ID)
    assert run("huawei", sim.url, *keys, JOB)[0] == 401


def test_keystoneauth_logs_in_at_the_simulator(sim: Simulator) -> None:
    """OpenStack's library takes the simulated identity service for a real one."""
    user = (apig.USERNAME, apig.PASSWORD, apig.DOMAIN_NAME, apig.PROJECT_NAME)
    path = f"/apigw/instances/{JOB}/progress"
    assert run("keystoneauth", sim.url, *user, path) == [200, "creating"]


def test_oauthlib_fetches_a_token_from_the_simulator(sim: Simulator) -> None:
    """The best known OAuth2 client takes the simulated token endpoint for a real one."""
    token_url, base_url = sim.environ["ITWIN_TOKEN_URL"], sim.environ["ITWIN_BASE_URL"]
    client = (itwin.CLIENT_ID, itwin.CLIENT_SECRET, itwin.SCOPE)
    url = f"{base_url}/jobs/{JOB}/progress"
    assert run("oauthlib", token_url, *client, url) == [200, "Active"]


def test_otcextensions_reads_what_we_read(sim: Simulator) -> None:
    """The cloud's own SDK logs in at the simulator, and reads the same progress as opwatch."""
    user = (apig.USERNAME, apig.PASSWORD, apig.DOMAIN_NAME, apig.PROJECT_NAME)
    found = run("otcextensions", sim.url, *user, JOB)
    wire = sim.client("apig").progress(JOB).wire.to_dict()
    names = ("status", "progress", "start_time", "error_code")
    assert found == [wire[name] for name in names]


# --- specs ----------------------------------------------------------------------------------------


class Service(NamedTuple):
    """What a program is told of a simulated service."""

    spec: str
    base_url: str
    parameters: dict[str, list[str]]
    """What the parts of its paths may be, by their names in the spec."""
    credentials: dict[str, str]


STATES = [Frame("pending"), Frame("running", percent=50), Frame("succeeded"), Frame("failed")]


def service(sim: Simulator, name: str) -> Service:
    """A simulated service, with a job in each state."""
    jobs = [f"pSimulatedMessage00{number}" for number, _ in enumerate(STATES)]
    for job, state in zip(jobs, STATES, strict=True):
        sim.add(name, job, state)
    parts = {"ephemeralMessageId": jobs, "id": jobs, "instance_id": jobs}
    parts["project_id"] = [apig.PROJECT_ID]
    arguments = sim.arguments(name)
    if name == "catenis":
        credentials = {name: arguments[name] for name in ("device_id", "api_access_secret")}
        credentials["secret"] = credentials.pop("api_access_secret")
    elif name == "apig":
        credentials = {"X-Auth-Token": sim.token(name)}
    else:
        accept = itwin_v2.ACCEPT if name == "itwin-v2" else itwin.ACCEPT
        credentials = {"Authorization": f"Bearer {sim.token(name)}", "Accept": accept}
    base_url = arguments.get("base_url") or arguments["endpoint"]
    base_url += "/reality-modeling" if name == "itwin-v2" else ""
    return Service(str(ROOT / "specs" / f"{name}.yaml"), base_url, parts, credentials)


PATHS = [
    ("catenis", "/messages/{}/progress"),
    ("itwin", "/jobs/{}/progress"),
    ("itwin", "/jobs/{}"),
    ("itwin-v2", "/jobs/{}/progress"),
    ("itwin-v2", "/jobs/{}/messages"),
    ("apig", f"/v2/{apig.PROJECT_ID}/apigw/instances/{{}}/progress"),
    ("apig", f"/v2/{apig.PROJECT_ID}/apigw/instances/{{}}"),
]


@pytest.mark.parametrize(("name", "path"), PATHS)
def test_the_simulator_answers_as_the_spec_says(sim: Simulator, name: str, path: str) -> None:
    """Another implementation of OpenAPI finds each request and each response valid by the spec."""
    given = service(sim, name)
    jobs = given.parameters["id"]
    accept = {key: value for key, value in given.credentials.items() if key == "Accept"}
    requests = [(path.format(job), given.credentials) for job in (*jobs, "pSimulatedMessage009")]
    requests.append((path.format(jobs[0]), accept))
    found = run("openapi", given.spec, given.base_url, json.dumps(requests))
    gone = 400 if name == "catenis" else 404
    assert found == [*(200 for _ in STATES), gone, 401]


@pytest.mark.parametrize("name", ["catenis", "itwin", "itwin-v2", "apig"])
def test_a_tester_made_of_the_spec_finds_nothing(sim: Simulator, name: str) -> None:
    """Whatever requests schemathesis generates, each response is one of the spec, and none is
    5xx."""
    given = service(sim, name)
    wrong = {key: f"{value}x" for key, value in given.credentials.items() if key != "Accept"}
    credentials = json.dumps(given.credentials), json.dumps(given.credentials | wrong)
    parts = json.dumps(given.parameters)
    found = run("schemathesis", given.spec, given.base_url, parts, *credentials)
    gone = "400" if name == "catenis" else "404"
    assert {"200", "401", gone} <= found.keys()
    assert sum(found.values()) >= 100
    assert sim.problems == []
