"""Other people's clients against the simulator: what they take for the services is what it is.

Each test says in one line what it proves. They run on loopback; the others' packages are in an
environment of their own (requirements/outside.txt). `make contract-outside` runs these tests.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opwatch.simulator import Frame, Simulator, apig, itwin

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


@pytest.mark.parametrize(
    ("service", "path", "statuses"),
    [("itwin", "/jobs/{}/progress", [200, 404, 401]), ("itwin", "/jobs/{}", [200, 404, 401])],
)
def test_the_simulator_answers_as_the_spec_says(
    sim: Simulator, service: str, path: str, statuses: list[int]
) -> None:
    """Another implementation of OpenAPI finds each answer of the simulator valid by the spec."""
    base, found = sim.environ["ITWIN_BASE_URL"], []
    spec = str(ROOT / "specs" / f"{service}.yaml")
    accept = {"Accept": itwin.ACCEPT}
    token = {"Authorization": f"Bearer {sim.token(service)}"}
    for job_id, headers in ((JOB, accept | token), ("gone", accept | token), (JOB, accept)):
        url = base + path.format(job_id)
        found.append(run("openapi", spec, base, url, json.dumps(headers)))
    assert found == statuses


@pytest.mark.parametrize(
    ("job_id", "token", "status"), [(JOB, True, 200), ("gone", True, 404), (JOB, False, 401)]
)
def test_the_simulated_gateway_answers_as_the_spec_says(
    sim: Simulator, job_id: str, token: bool, status: int
) -> None:
    """So it does the answers about a gateway."""
    url = f"{sim.url}/v2/{apig.PROJECT_ID}/apigw/instances/{job_id}/progress"
    headers = {"X-Auth-Token": sim.token("apig")} if token else {}
    spec = str(ROOT / "specs" / "apig.yaml")
    assert run("openapi", spec, sim.url, url, json.dumps(headers)) == status
