"""The operations of the typed clients, and a client of one that gets a given response."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import pytest
from opwatch_api import apig, catenis, itwin
from opwatch_api.apig.api.instances import show_details_of_instance_progress_v2 as gateway
from opwatch_api.catenis.api.messages import retrieve_message_progress as message
from opwatch_api.itwin.api.jobs import get_job, get_job_progress

JOB = "p" + "j" * 19
TOKEN = "token-of-nobody"
Operation = tuple[ModuleType, ModuleType, dict[str, str]]
OPERATIONS: list[Operation] = [
    (catenis, message, {"ephemeral_message_id": JOB}),
    (itwin, get_job_progress, {"id": JOB}),
    (itwin, get_job, {"id": JOB}),
    (apig, gateway, {"project_id": "p", "instance_id": JOB}),
]
each_operation = pytest.mark.parametrize(("service", "operation", "ids"), OPERATIONS)
each_service = pytest.mark.parametrize("service", [catenis, itwin, apig])


def sent(handler: Callable[[httpx.Request], httpx.Response]) -> dict[str, Any]:
    """Arguments of a client that sends to `handler`."""
    return {"httpx_args": {"transport": httpx.MockTransport(handler)}}


def call(operation: Operation, response: httpx.Response, **options: Any) -> Any:
    service, module, ids = operation
    client = service.Client("https://x.test", **sent(lambda request: response), **options)
    return module.sync_detailed(client=client, **ids)
