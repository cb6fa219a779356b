"""The typed clients on their own, without opwatch."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import spec_generation
from opwatch_api import itwin
from opwatch_api.itwin.api.jobs import get_job_progress
from typed_clients import JOB

from opwatch.cli.generating import security
from opwatch.simulator import Frame, Simulator
from opwatch.simulator.apig import PROJECT_ID
from opwatch.testing import FakeClock

TESTS = Path(__file__).resolve().parents[1]


WAYS: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({}, ("Authorization", "Bearer")),
    ({"security": [{"key": []}]}, ("X-Key", "")),
    ({"security": [{"key": [], "both": []}, {"bearer": []}]}, ("Authorization", "Bearer")),
    ({"security": [{"query": []}, {"key": []}]}, ("X-Key", "")),
    ({"security": [{"key": [], "both": []}]}, ("", "")),
    ({"security": [{"query": []}]}, ("", "")),
]


@pytest.mark.parametrize(("spec", "found"), WAYS)
def test_the_header_of_a_token_is_that_of_the_spec(
    spec: dict[str, Any], found: tuple[str, str]
) -> None:
    """The first way to authenticate that is a token alone decides; without `security`, Bearer."""
    schemes = {
        "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "both": {"type": "apiKey", "in": "header", "name": "X-Time"},
        "query": {"type": "apiKey", "in": "query", "name": "key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    content = spec | {"components": {"securitySchemes": schemes}}
    assert security.token_header(content) == found


def test_an_httpx_client_of_ones_own_is_used() -> None:
    """What was given with `set_httpx_client` sends, blocking and async."""
    transport = httpx.MockTransport(lambda request: httpx.Response(599))
    client = itwin.Client("https://x.test", raise_on_unexpected_status=False)
    client.set_httpx_client(httpx.Client(base_url="https://y.test", transport=transport))
    client.set_async_httpx_client(httpx.AsyncClient(base_url="https://y.test", transport=transport))
    assert get_job_progress.sync_detailed(JOB, client=client).status_code == 599
    found = asyncio.run(get_job_progress.asyncio_detailed(JOB, client=client))
    assert found.status_code == 599


def test_the_readme_of_the_package_shows_what_the_page_runs() -> None:
    """The README's code stands on the page of the typed clients, whose code the tests run."""
    fence = re.compile(r"```python\n.*?```", re.DOTALL)
    readme = (spec_generation.GENERATED / "opwatch_api" / "README.md").read_text(encoding="utf-8")
    page = spec_generation.ROOT / "docs" / "typed-clients.md"
    shown = fence.findall(readme)
    assert shown
    assert set(shown) <= set(fence.findall(page.read_text(encoding="utf-8")))


def test_the_readme_of_the_package_names_every_operation() -> None:
    """So a spec that gains an operation gains it in the README."""
    readme = spec_generation.README.read_text(encoding="utf-8")
    for file in (spec_generation.GENERATED / "opwatch_api").glob("*/api/*/*.py"):
        if file.name != "__init__.py":
            assert f"`api.{file.parent.name}.{file.stem}`" in readme


def test_a_program_with_the_clients_alone() -> None:
    """A user's program: three services, blocking and async, errors, time limits, no opwatch."""
    program = TESTS / "house" / "typed_consumer.py"
    with FakeClock(), Simulator() as sim:
        for service in ("itwin", "apig"):
            sim.add(service, JOB, Frame("running", percent=50))
        tokens = {"ITWIN_TOKEN": sim.token("itwin"), "APIG_TOKEN": sim.token("apig")}
        tokens["OS_PROJECT_ID"] = PROJECT_ID
        done = subprocess.run(
            [sys.executable, "-W", "error", program],
            env=os.environ | sim.environ | tokens | {"no_proxy": "*"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "itwin Active 50",
        "itwin active",
        "catenis Authorization failed; missing required HTTP headers",
        "apig creating 50",
        "apig creating 50",
        "UnexpectedBody 200",
        "UnexpectedStatus 302",
        "UnexpectedStatus 499",
        "UnexpectedStatus 520",
        "gave up after 30.0 s",
        "itwin Active 50",
    ]
