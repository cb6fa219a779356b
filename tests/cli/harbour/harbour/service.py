"""Harbour: the unloading of a ship. A service file like those of opwatch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

from harbour import operation
from harbour.operation import Unloading
from opwatch.auth.tokens import token_auth
from opwatch.client import AsyncClient, Client, Core, Options, Plugin
from opwatch.core.polling import Schedule
from opwatch.core.session import Complaint, Seen, Service, Session
from opwatch.environment import environment
from opwatch.errors import JobGone
from opwatch.net.address import address
from opwatch.net.message import Answer, Secret
from opwatch.progress import Fault, Phase, Progress
from opwatch.reading import percent, state, text

if TYPE_CHECKING:
    from opwatch.core.loop import Turn

_PHASES = {
    "waiting": Phase.PENDING,
    "unloading": Phase.RUNNING,
    "done": Phase.SUCCEEDED,
    "strike": Phase.FAILED,
}


async def _query(
    session: Session[Unloading], turn: Turn, job_id: str, closer: bool
) -> Seen[Unloading]:
    found = await session.call(turn, operation, ship=job_id)
    name = state(found.state)
    phase = _PHASES.get(name or "") or session.unknown(name)
    fault = Fault("STRIKE", text(found.remark)) if phase is Phase.FAILED else None
    done = percent(100 * found.done / found.total if found.total else None)
    return Seen(
        Progress(
            service="harbour", job_id=job_id, phase=phase, percent=done, fault=fault, wire=found
        )
    )


def _complaint(answer: Answer, fields: dict[str, Any]) -> Complaint:
    gone = answer.status == 404 and fields.get("error") == "no such ship"
    return Complaint(None, text(fields.get("error")), JobGone if gone else None)


SERVICE: Service[Unloading] = Service(
    name="harbour",
    id_name="ship",
    schedule=Schedule((0.2,)),
    accept="application/json",
    query=_query,
    complaint=_complaint,
    marker=lambda progress: progress.percent,
    address_help="check HARBOUR_URL",
)


class _Harbour(Core[Unloading]):
    def __init__(self, url: str, token: str, **options: Unpack[Options]) -> None:
        secret = Secret(token)
        self._open(
            SERVICE,
            address(url, "url"),
            lambda clock: token_auth(secret, clock, header="Authorization", prefix="Bearer "),
            options,
        )

    @classmethod
    def from_env(cls, **options: Unpack[Options]) -> Self:
        found = environment("HARBOUR_URL", "HARBOUR_TOKEN")
        return cls(found["HARBOUR_URL"], found["HARBOUR_TOKEN"], **options)


class Harbour(_Harbour, Client[Unloading]):
    pass


class AsyncHarbour(_Harbour, AsyncClient[Unloading]):
    pass


PLUGIN = Plugin("harbour", Harbour, AsyncHarbour)
