"""opwatch: watch long-running operations at Catenis, iTwin and APIG.

>>> from opwatch import ITwin, ClientCredentials
>>> ITwin(ClientCredentials(client_id, client_secret)).wait(job_id, timeout=3600)  # doctest: +SKIP

Each name is loaded when it is first used: importing opwatch loads no service and no HTTP client.
"""

from __future__ import annotations

from importlib import import_module

from opwatch._version import __version__

TYPE_CHECKING = False  # as type checkers read it: typing itself takes most of the import
if TYPE_CHECKING:
    from typing import Any

    from opwatch.adapter import httpx_auth
    from opwatch.auth.iam import IamPassword
    from opwatch.auth.oauth2 import ClientCredentials
    from opwatch.auth.signing import AkSk, Ctn1
    from opwatch.client import Watch
    from opwatch.core.polling import Schedule
    from opwatch.core.run import Step
    from opwatch.progress import Fault, Phase, Progress
    from opwatch.services.apig import Apig, AsyncApig
    from opwatch.services.catenis import AsyncCatenis, Catenis
    from opwatch.services.itwin import AsyncITwin, ITwin
    from opwatch.services.itwin_v2 import AsyncITwinV2, ITwinV2

__all__ = [
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

_HOMES = {
    "adapter": "httpx_auth",
    "auth.iam": "IamPassword",
    "auth.oauth2": "ClientCredentials",
    "auth.signing": "AkSk Ctn1",
    "client": "Watch",
    "core.polling": "Schedule",
    "core.run": "Step",
    "progress": "Fault Phase Progress",
    "services.apig": "Apig AsyncApig",
    "services.catenis": "AsyncCatenis Catenis",
    "services.itwin": "AsyncITwin ITwin",
    "services.itwin_v2": "AsyncITwinV2 ITwinV2",
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names.split():
            try:
                globals()[name] = value = getattr(import_module(f"opwatch.{home}"), name)
            except AttributeError as error:  # which `from opwatch import` would hide
                raise ImportError(f"opwatch.{home} can't be imported: {error}") from error
            return value
    raise AttributeError(f"module 'opwatch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
