"""What users rely on: the public names, and the cost of importing them."""

import subprocess
import sys
from pathlib import Path

import pytest

import opwatch
from opwatch import errors, events

PUBLIC = [
    "AkSk",
    "Apig",
    "AsyncApig",
    "AsyncCatenis",
    "AsyncITwin",
    "AsyncITwinV2",
    "Catenis",
    "ClientCredentials",
    "Ctn1",
    "Fault",
    "ITwin",
    "ITwinV2",
    "IamPassword",
    "Phase",
    "Progress",
    "Schedule",
    "Step",
    "Watch",
    "__version__",
    "httpx_auth",
]
ERRORS = [
    "AuthenticationError",
    "BadResponse",
    "ConfigurationError",
    "InvalidWebhook",
    "JobCancelled",
    "JobFailed",
    "JobGone",
    "NotFound",
    "OpwatchError",
    "PermissionDenied",
    "RateLimited",
    "ServiceError",
    "TransportError",
    "Unavailable",
    "WaitCancelled",
    "WaitStalled",
    "WaitTimeout",
]
HEAVY = {
    *("httpx", "httpcore", "h11", "anyio", "attrs", "click", "rich"),
    *("pydantic", "starlette", "uvicorn", "wsproto", "yaml", "opwatch_api", "opwatch_waits"),
}


def loaded_by(statement: str) -> set[str]:
    """The modules that a statement loads in a new process."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_public_names() -> None:
    """`opwatch` exports these names: one more or less is a decision, not an accident."""
    assert opwatch.__all__ == PUBLIC


def test_the_errors() -> None:
    """`opwatch.errors` exports these names and has no other error."""
    raised = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert errors.__all__ == ERRORS
    assert sorted(raised) == ERRORS


def test_the_events() -> None:
    """`opwatch.events` exports these names, and its words for `--json` are the documented ones."""
    assert events.__all__ == ["Ended", "Event", "Held", "Polled", "Retrying", "Started"]
    kinds = {name: getattr(events, name).kind for name in events.__all__ if name != "Event"}
    assert kinds == {
        "Started": "start",
        "Polled": "progress",
        "Retrying": "trouble",
        "Held": "held",
        "Ended": "result",
    }


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_is_there(name: str) -> None:
    """Each exported name can be had, and is shown by `dir`."""
    assert getattr(opwatch, name) is not None
    assert name in dir(opwatch)


def test_a_name_that_is_not_there() -> None:
    """Any other name is an `AttributeError`, as of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Itwin'"):
        opwatch.Itwin  # noqa: B018


@pytest.mark.parametrize(
    "statement", ["from opwatch import ITwin", "import opwatch; opwatch.ITwin"]
)
def test_the_cause_of_a_failed_import_is_shown(tmp_path: Path, statement: str) -> None:
    """A dependency that raises `AttributeError` is named, and opwatch has the name all the same."""
    (tmp_path / "attrs").mkdir()
    (tmp_path / "attrs" / "__init__.py").write_text(
        "import os\nos.is_of_another_version\n", "utf-8"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {statement}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "has no attribute 'is_of_another_version'" in done.stderr.splitlines()[-1]
    assert "cannot import name" not in done.stderr


def test_importing_opwatch_loads_nothing_else() -> None:
    """`import opwatch` loads no service, no HTTP client and none of what the extras bring."""
    loaded = loaded_by("import opwatch")
    assert {name for name in loaded if name.split(".")[0] == "opwatch"} == {
        "opwatch",
        "opwatch._version",
    }
    assert {name.split(".")[0] for name in loaded} & HEAVY == set()


def test_a_service_loads_no_other() -> None:
    """`from opwatch import ITwin` loads no other service and no part of the extras of ours."""
    loaded = loaded_by("from opwatch import ITwin")
    ours = {name for name in loaded if name.startswith(("opwatch.services.", "opwatch_api."))}
    assert {name for name in ours if "itwin" not in name} == set()
    assert "opwatch.services.itwin" in ours
    tops = {"airflow", "bars", "cli", "simulator", "testing"}
    assert {name for name in loaded if name.split(".")[:1] == ["opwatch"]} & {
        f"opwatch.{top}" for top in tops
    } == set()


def test_the_command_loads_nothing_before_it_is_needed() -> None:
    """The module behind the command `opwatch` loads neither click nor rich nor a service."""
    roots = {name.split(".")[0] for name in loaded_by("import opwatch.cli")}
    assert roots & {"click", "rich", "httpx", "opwatch_api", "starlette"} == set()


def test_a_blocking_client_loads_nothing_of_the_async_one() -> None:
    """What only asyncio and trio need takes no time of a blocking script."""
    loaded = loaded_by("from opwatch import ITwin; ITwin('made-up').close()")
    assert "opwatch.net.blocking" in loaded
    assert loaded & {"opwatch.net.asynchronous", "anyio.lowlevel", "anyio.abc"} == set()
    asynchronous = loaded_by("from opwatch import AsyncITwin; AsyncITwin('made-up')")
    assert "opwatch.net.asynchronous" in asynchronous


def test_only_notifications_load_the_websocket_library() -> None:
    """Without `notifications=True`, Catenis's client needs no WebSocket, and loads none."""
    made = "from opwatch import Catenis; Catenis('d' * 20, 'made-up'"
    assert "wsproto" not in loaded_by(f"{made})")
    assert "wsproto" in loaded_by(f"{made}, notifications=True)")
