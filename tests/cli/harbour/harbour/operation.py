"""The operation, in the form that the generator gives it without this project's templates."""

from typing import Any
from urllib.parse import quote

import attrs


@attrs.define
class Unloading:
    """`{"ship", "state", "containers": {"done", "all"}, "remark"?}`."""

    ship: str
    state: str
    done: int
    total: int
    remark: str | None


def _get_kwargs(ship: str) -> dict[str, Any]:
    return {"method": "get", "url": f"/ships/{quote(ship, safe='')}/unloading"}


def _parse_response(*, client: object, response: Any) -> Unloading | None:
    if response.status_code != 200:
        return None
    fields = response.json()
    containers = fields["containers"]
    return Unloading(
        fields["ship"],
        fields["state"],
        containers["done"],
        containers["all"],
        fields.get("remark"),
    )
