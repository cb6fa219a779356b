"""opwatch: watch long-running operations at Catenis, iTwin and APIG.

>>> from opwatch import ITwin, ClientCredentials
>>> ITwin(ClientCredentials(client_id, client_secret)).wait(job_id, timeout=3600)  # doctest: +SKIP

Each name is loaded when it is first used: importing opwatch loads no service and no HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from opwatch._version import __version__

if TYPE_CHECKING:
    from opwatch.auth.flows import AkSk
    from opwatch.auth.tokens import ClientCredentials, IamPassword
    from opwatch.client import Watch
    from opwatch.polling import Schedule
    from opwatch.progress import Fault, Phase, Progress
    from opwatch.services.apig import Apig, AsyncApig
    from opwatch.services.catenis import AsyncCatenis, Catenis
    from opwatch.services.itwin import AsyncITwin, ITwin
    from opwatch.waiting import Step

__all__ = [
    "AkSk",
    "Apig",
    "AsyncApig",
    "AsyncCatenis",
    "AsyncITwin",
    "Catenis",
    "ClientCredentials",
    "Fault",
    "ITwin",
    "IamPassword",
    "Phase",
    "Progress",
    "Schedule",
    "Step",
    "Watch",
    "__version__",
]

_HOMES = {
    "AkSk": "auth.flows",
    "Apig": "services.apig",
    "AsyncApig": "services.apig",
    "AsyncCatenis": "services.catenis",
    "AsyncITwin": "services.itwin",
    "Catenis": "services.catenis",
    "ClientCredentials": "auth.tokens",
    "Fault": "progress",
    "ITwin": "services.itwin",
    "IamPassword": "auth.tokens",
    "Phase": "progress",
    "Progress": "progress",
    "Schedule": "polling",
    "Step": "waiting",
    "Watch": "client",
}


def __getattr__(name: str) -> Any:
    if (home := _HOMES.get(name)) is None:
        raise AttributeError(f"module 'opwatch' has no attribute {name!r}")
    value = getattr(import_module(f"opwatch.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
