"""What the tests of the simulator share: the services, their documents' samples, a plain sender."""

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs

from opwatch.simulator import Simulator

SERVICES = ["apig", "catenis", "itwin", "itwin-v2"]
DOCUMENTS = Path(__file__).resolve().parents[2] / "specs" / "documents"
_ANSWERS = {"data", "jobProgress", "error", "progress", "error_code"}
"""A field that every sample has one of, and no schema in a document has at its top."""


@attrs.frozen
class Answer:
    """A response as it came."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Send(Protocol):
    """Sends one request byte for byte, with the headers given beside `Host`."""

    def __call__(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer: ...


def sender(sim: Simulator) -> Send:
    host = host_of(sim)

    def send(
        method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            given = {"Host": host, "Content-Length": str(len(body)), **(headers or {})}
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    return send


def host_of(sim: Simulator) -> str:
    return sim.url.removeprefix("http://")


def samples(service: str) -> list[Any]:
    """Every JSON sample of a response in a service's document."""
    return list(_samples((DOCUMENTS / f"{service}.txt").read_text(encoding="utf-8")))


def _samples(text: str) -> Iterator[Any]:
    decoder, place = json.JSONDecoder(), 0
    while (place := text.find("{", place)) >= 0:
        try:
            value, place = decoder.raw_decode(text, place)
        except ValueError:
            place += 1
            continue
        if _ANSWERS & value.keys():
            yield value


def statuses(sim: Simulator, operation: str = "progress") -> list[int | None]:
    """What the requests so far of one operation were answered with."""
    return [one.status for one in sim.requests if one.operation == operation]
