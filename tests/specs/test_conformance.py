"""Every installed service keeps the contract that `opwatch.testing.conformance` checks."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from opwatch import services
from opwatch.testing import conformance

SPECS = Path(__file__).resolve().parents[2] / "specs"
MAKE: dict[str, Callable[[Any], Any]] = {
    "apig": lambda client: client("https://apig.example", "a-token", project_id="a-project"),
    "catenis": lambda client: client("d0000000000000000000", "a made up secret"),
}
"""How a client is made, if not any text will do for its required arguments."""


def made(client: Any) -> Any:
    """A client that is made of made up texts."""
    given = {
        name: f"a-{name}"
        for name, one in inspect.signature(client).parameters.items()
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD
    }
    return client(**given)


def samples(service: str) -> Iterator[tuple[str, Any]]:
    """The examples of a service's spec, with the phase of each."""
    paths = yaml.safe_load((SPECS / f"{service}.yaml").read_text("utf-8"))["paths"]
    for operation in (item["get"] for item in paths.values() if "x-wait" in item.get("get", {})):
        for body in operation["responses"]["200"]["content"].values():
            for example in body.get("examples", {}).values():
                if "x-phase" in example:
                    yield example["x-phase"], example["value"]


@pytest.mark.parametrize("name", services.names())
def test_every_service(name: str) -> None:
    """Samples, odd answers, statuses, IDs, pickles and tokens, blocking and async."""
    found = [*samples(name)]
    assert found, f"specs/{name}.yaml has no example"
    conformance(services.find(name), MAKE.get(name, made), job_id="job-1", samples=found)
