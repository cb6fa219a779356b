"""iTwin v2, simulated: the jobs of Reality Modeling, Reality Analysis and Reality Conversion.

iTwin Platform, "Get job progress" and "Get job messages". Each job is one of all three APIs. Tokens
and the check of a request are those of the first version, and so are the tokens themselves: one
identity service issues them for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opwatch_api.wire import itwin_v2 as wire
from pydantic import BaseModel
from starlette.routing import BaseRoute, Route

from opwatch.auth.oauth2 import ClientCredentials
from opwatch.errors import ConfigurationError
from opwatch.progress import Phase
from opwatch.simulator import itwin
from opwatch.simulator.app import Endpoint
from opwatch.simulator.itwin import CLIENT_ID, CLIENT_SECRET, ITwinSimulation
from opwatch.simulator.simulation import Demo, Handler
from opwatch.simulator.state import Job, State, Token
from opwatch.simulator.timeline import Frame, Timed

ACCEPT = "application/vnd.bentley.itwin-platform.v2+json"
APIS = ("reality-modeling", "reality-analysis", "reality-conversion")
_TOKENS = "/itwin-v2/connect/token"
_WORDS = {
    Phase.PENDING: "Queued",
    Phase.RUNNING: "Active",
    Phase.SUCCEEDED: "Success",
    Phase.FAILED: "Failed",
    Phase.CANCELLED: "Cancelled",
}
_PERCENT = {Phase.PENDING: 0, Phase.SUCCEEDED: 100}


class _ITwinV2(ITwinSimulation):
    name = "itwin-v2"
    version = 2
    accept = ACCEPT
    errors = itwin.ERRORS | {
        "JobProgressNotFound": (404, "Requested job progress is not available.")
    }
    gone = "JobProgressNotFound"
    demo = Demo(
        "4d1f0000-0000-4000-8000-000000000002",
        Timed(
            (
                Frame("pending", percent=0),
                Frame("running", at=3, percent=12),
                Frame("running", at=7, percent=35),
                Frame("running", at=12, percent=58),
                Frame("running", at=16, percent=58, state="TerminatingOnCancel"),
                Frame("cancelled", at=20, percent=58),
            )
        ),
        Phase.CANCELLED,
    )

    def routes(self, state: State) -> Sequence[BaseRoute]:
        def route(path: str, operation: str, handler: Handler) -> Route:
            return Route(path, Endpoint(self, state, operation, handler))

        found = [route(_TOKENS, "token", self._token(state))]
        for api in APIS:
            job = f"/{api}/jobs/{{job_id}}"
            found += [
                route(f"{job}/progress", "progress", self._progress(state)),
                route(f"{job}/messages", "job", self._job(state)),
                route(f"/{api}/{{rest:path}}", "other", itwin.nothing_there),
            ]
        return found

    def arguments(self, url: str) -> dict[str, Any]:
        auth = ClientCredentials(CLIENT_ID, CLIENT_SECRET, token_url=f"{url}{_TOKENS}")
        return {"auth": auth, "base_url": url}

    def body(self, frame: Frame, job: Job | None, operation: str) -> Any:
        if operation == "job":
            errors = itwin.issues(frame) if frame.phase is Phase.FAILED else []
            return {"messages": {"errors": errors, "warnings": []}}
        phase = frame.phase or Phase.UNKNOWN
        word = frame.state or _WORDS.get(phase)
        if word is None:
            raise ConfigurationError(f"iTwin v2 has no state for {phase}; pass state='...'")
        percent = _PERCENT.get(phase) if frame.percent is None else frame.percent
        fields = {"percentage": percent, "state": word}
        return {"progress": {name: it for name, it in fields.items() if it is not None}}

    def model(self, operation: str, status: int) -> type[BaseModel]:
        if operation == "token":
            return super().model(operation, status)
        if status != 200:
            return wire.ErrorResponse
        return wire.JobMessagesResponse if operation == "job" else wire.JobProgressResponse

    def _issued(self, state: State, text: str) -> Token | None:
        return super()._issued(state, text) or state.token("itwin", text)


SIMULATION = _ITwinV2()
