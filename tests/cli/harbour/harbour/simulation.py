"""Harbour, simulated: the one file more that makes a service of another package watchable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr
from starlette.routing import BaseRoute, Route

from opwatch.progress import Fault, Phase
from opwatch.simulator.app import Endpoint, answer
from opwatch.simulator.simulation import Demo, Exchange, Handler, Refused, Reply
from opwatch.simulator.state import Job, State
from opwatch.simulator.timeline import Frame, Polls

TOKEN = "simulated-harbour-token"
_WORDS = {
    Phase.PENDING: "waiting",
    Phase.RUNNING: "unloading",
    Phase.SUCCEEDED: "done",
    Phase.FAILED: "strike",
}


class Containers(BaseModel):
    model_config = ConfigDict(extra="forbid")
    done: StrictInt
    all: StrictInt


class Unloading(BaseModel):
    model_config = ConfigDict(extra="forbid")
    ship: StrictStr
    state: StrictStr
    containers: Containers
    remark: StrictStr | None = None


class Refusal(BaseModel):
    model_config = ConfigDict(extra="forbid")
    error: StrictStr


class _Harbour:
    name = "harbour"
    demo = Demo(
        "Albatross",
        Polls(
            [
                Frame("pending", percent=0),
                Frame("running", percent=25),
                Frame("running", percent=75),
                Frame(status=429, retry_after=1),
                Frame("failed", percent=75, fault=Fault("STRIKE", "the cranes stand still")),
            ]
        ),
        Phase.FAILED,
    )

    def routes(self, state: State) -> Sequence[BaseRoute]:
        endpoint = Endpoint(self, state, "progress", self._progress(state))
        return [Route("/harbour/ships/{job_id}/unloading", endpoint)]

    def environ(self, url: str) -> dict[str, str]:
        return {"HARBOUR_URL": f"{url}/harbour", "HARBOUR_TOKEN": TOKEN}

    def arguments(self, url: str) -> dict[str, Any]:
        return {"url": f"{url}/harbour", "token": TOKEN}

    def body(self, frame: Frame, job: Job | None, operation: str) -> Any:
        body = {
            "ship": "" if job is None else job.id,
            "state": frame.state or _WORDS[frame.phase or Phase.RUNNING],
            "containers": {"done": int(frame.percent or 0), "all": 100},
        }
        return {**body, "remark": frame.fault.message} if frame.fault else body

    def refusal(self, frame: Frame, operation: str) -> tuple[int, Any]:
        return frame.status or 404, {"error": frame.message or frame.error or "not now"}

    def token(self, state: State) -> str:
        return TOKEN

    def rate_limit(self, operation: str) -> Frame:
        return Frame(status=429)

    def model(self, operation: str, status: int) -> type[BaseModel]:
        return Unloading if status == 200 else Refusal

    def headers(self, operation: str, status: int) -> dict[str, str]:
        return {}

    def _progress(self, state: State) -> Handler:
        def handle(exchange: Exchange) -> Reply:
            if exchange.header("authorization") != f"Bearer {TOKEN}":
                raise Refused(Frame(status=401, message="who are you?"))
            job = state.job(self.name, exchange.params["job_id"])
            if job is None:
                raise Refused(Frame(error="no such ship"))
            return answer(self, state, job.poll(), "progress", job)

        return handle


SIMULATION = _Harbour()
