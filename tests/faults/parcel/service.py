"""The service file: a reader that trusts its service too much."""

from typing import Any

from opwatch.auth.tokens import token_auth, veiled
from opwatch.client import AsyncClient, Client, Core, Plugin
from opwatch.core.polling import Schedule
from opwatch.core.session import Complaint, Seen, Service
from opwatch.errors import JobGone
from opwatch.net.address import address
from opwatch.progress import Phase, Progress
from parcel import operation

PHASES = {"moving": Phase.RUNNING, "there": Phase.SUCCEEDED}
RAISES: dict[str, BaseException] = {
    "attribute": AttributeError("'NoneType' object has no attribute 'get'"),
    "assertion": AssertionError(),
    "runtime": RuntimeError("a reader's own"),
    "zero": ZeroDivisionError(),
}


async def _query(session: Any, turn: Any, job_id: str, closer: bool) -> Seen[Any]:
    found = await session.call(turn, operation, number=job_id)
    if found.state in RAISES:
        raise RAISES[found.state]
    return Seen(Progress(service="parcel", job_id=job_id, phase=PHASES[found.state], wire=found))


def _complaint(answer: Any, fields: dict[str, Any]) -> Complaint:
    return Complaint(fields["code"], None, JobGone if answer.status == 404 else None)


SERVICE: Service[Any] = Service(
    name="parcel",
    id_name="parcel",
    schedule=Schedule((10,)),
    accept="application/json",
    query=_query,
    complaint=_complaint,
    marker=lambda progress: None,
    address_help="check the address",
)


class _Parcel(Core[Any]):
    def __init__(self, auth: Any, **options: Any) -> None:
        credentials = veiled(auth)
        self._open(
            SERVICE,
            address("https://parcel.test", "base_url"),
            lambda clock: token_auth(credentials, clock, header="Authorization"),
            options,
        )


class ParcelClient(_Parcel, Client[Any]):
    pass


class AsyncParcelClient(_Parcel, AsyncClient[Any]):
    pass


PLUGIN = Plugin("parcel", ParcelClient, AsyncParcelClient)
