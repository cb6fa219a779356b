"""The operation and the model, cut down to what opwatch uses."""

from typing import Any

import attrs

from parcel.types import UNSET


@attrs.define
class Parcel:
    state: Any = UNSET
    note: Any = UNSET


def build_request(number: str) -> dict[str, Any]:
    return {"method": "get", "url": f"/parcels/{number}"}


def parse_response(response: Any) -> Parcel:
    fields = response.json()
    return Parcel(fields.get("state", UNSET), fields.get("note", UNSET))
