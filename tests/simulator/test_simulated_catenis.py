"""The simulated Catenis accepts the signatures that the real one accepts, and no others."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from simulator_tools import Answer, Send, host_of, statuses

from opwatch import Phase
from opwatch.auth import ctn1
from opwatch.errors import AuthenticationError, JobGone
from opwatch.simulator import Frame, Simulator
from opwatch.simulator.catenis import API_ACCESS_SECRET, DEVICE_ID
from opwatch.testing import FakeClock

TARGET = "/api/0.7/messages/message-1/progress"
FAILED = "Authorization failed; "
VARIATION = FAILED + "timestamp not within acceptable time variation"
INVALID = FAILED + "invalid device or signature"
BOUNDS = FAILED + "signature date out of bounds"


@pytest.fixture(autouse=True)
def message(sim: Simulator) -> None:
    sim.add("catenis", "message-1", Frame("running", bytes_processed=28))


def signed(sim: Simulator, clock: FakeClock, **changes: Any) -> dict[str, str]:
    """The headers of a request that is signed rightly, but for the changes."""
    rightly = {
        "method": "GET",
        "target": TARGET,
        "host": host_of(sim),
        "body": b"",
        "device_id": DEVICE_ID,
        "secret": API_ACCESS_SECRET,
        "timestamp": now(clock),
    }
    return ctn1.sign(**{**rightly, **changes})


def now(clock: FakeClock) -> datetime:
    return datetime.fromtimestamp(clock.epoch(), UTC)


def refusal(answer: Answer) -> str | None:
    """The text of a 401 in its envelope; None for a message's progress."""
    if answer.status == 200:
        return None
    assert answer.status == 401
    assert answer.json["status"] == "error"
    text: str = answer.json["message"]
    return text


def test_a_signature_made_by_the_book_is_taken(
    sim: Simulator, clock: FakeClock, send: Send
) -> None:
    """A request signed by the published procedure is answered."""
    assert refusal(send("GET", TARGET, signed(sim, clock))) is None
    assert refusal(send("GET", TARGET, signed(sim, clock, body=b"{}"), b"{}")) is None


@pytest.mark.parametrize(
    "change",
    [
        {"secret": "another secret"},
        {"device_id": "dAnotherDevice000001"},
        {"method": "POST"},
        {"target": "/api/0.7/messages/message-2/progress"},
        {"target": "/messages/message-1/progress"},
        {"target": TARGET + "?"},
        {"host": "sandbox.catenis.io"},
        {"body": b"{}"},
    ],
    ids=lambda change: "-".join(f"{key}={value}" for key, value in change.items()),
)
def test_a_signature_of_another_request_is_refused(
    sim: Simulator, clock: FakeClock, send: Send, change: dict[str, Any]
) -> None:
    """Secret, device, method, path, host and body are all signed for."""
    assert refusal(send("GET", TARGET, signed(sim, clock, **change))) == INVALID


def test_the_host_is_signed_with_its_port(sim: Simulator, clock: FakeClock, send: Send) -> None:
    """The signed host is the header exactly as it came: here without the port."""
    headers = signed(sim, clock, host="127.0.0.1")
    assert refusal(send("GET", TARGET, headers)) == INVALID
    assert refusal(send("GET", TARGET, {**headers, "Host": "127.0.0.1"})) is None


def test_the_target_is_signed_undecoded(sim: Simulator, clock: FakeClock, send: Send) -> None:
    """The path counts as it was sent, not as it is decoded."""
    encoded = TARGET.replace("message-1", "message%2D1")
    assert refusal(send("GET", encoded, signed(sim, clock))) == INVALID
    assert refusal(send("GET", encoded, signed(sim, clock, target=encoded))) is None


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-301, VARIATION), (-300, None), (300, None), (301, VARIATION)]
)
def test_a_timestamp_may_be_five_minutes_off(
    sim: Simulator, clock: FakeClock, send: Send, seconds: float, expected: str | None
) -> None:
    """The timestamp is taken within 300 s of the server's clock, either way."""
    headers = signed(sim, clock, timestamp=now(clock) + timedelta(seconds=seconds))
    assert refusal(send("GET", TARGET, headers)) == expected


def test_the_server_s_clock_can_be_set_wrong(sim: Simulator, clock: FakeClock, send: Send) -> None:
    """`skew` moves the server's time, which is what its `Date` says too."""
    sim.skew = -3600
    assert sim.skew == -3600
    answer = send("GET", TARGET, signed(sim, clock))
    assert refusal(answer) == VARIATION
    late = datetime.strptime(answer.headers["date"], "%a, %d %b %Y %H:%M:%S GMT")
    assert late.replace(tzinfo=UTC) == now(clock) - timedelta(hours=1)


@pytest.mark.parametrize(("days", "expected"), [(-7, BOUNDS), (-6, None), (0, None), (1, BOUNDS)])
def test_a_signature_s_date_is_good_for_seven_days(
    sim: Simulator, clock: FakeClock, send: Send, days: int, expected: str | None
) -> None:
    """The sign date is taken from the day itself to six days later, never before."""
    sign_date = now(clock).date() + timedelta(days=days)
    headers = signed(sim, clock, sign_date=sign_date)
    assert refusal(send("GET", TARGET, headers)) == expected


def test_the_default_sign_date_is_taken_at_every_hour(
    sim: Simulator, clock: FakeClock, send: Send
) -> None:
    """At midnight with a clock that is 290 s fast or slow, the date that the SDK takes is right."""
    midnight = (clock.epoch() // 86_400 + 1) * 86_400
    clock.jump(midnight - clock.epoch() - 60)
    for skew in (-290, 0, 290):
        sim.skew = skew
        assert refusal(send("GET", TARGET, signed(sim, clock))) is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Authorization": None}, "missing required HTTP headers"),
        ({"X-BCoT-Timestamp": None}, "missing required HTTP headers"),
        ({"X-BCoT-Timestamp": "now"}, "timestamp not well formed"),
        ({"X-BCoT-Timestamp": "20991399T999999Z"}, "timestamp not well formed"),
        ({"Authorization": "CTN1-HMAC-SHA256"}, "authorization value not well formed"),
        ({"Authorization": "Bearer token"}, "authorization value not well formed"),
        ({"day": "2019031"}, "signature date not well formed"),
        ({"day": "20191301"}, "signature date not well formed"),
        ({"day": "20190301"}, "signature date out of bounds"),
    ],
)
def test_a_malformed_header_is_refused(
    sim: Simulator,
    clock: FakeClock,
    send: Send,
    headers: dict[str, str | None],
    expected: str,
) -> None:
    """What is missing or malformed is refused in the server's own words."""
    found: dict[str, str | None] = {**signed(sim, clock), **headers}
    if (day := found.pop("day", None)) is not None:
        today = (now(clock) - timedelta(minutes=5)).strftime("%Y%m%d")
        found["Authorization"] = str(found["Authorization"]).replace(today, day)
    given = {name: value for name, value in found.items() if value is not None}
    assert refusal(send("GET", TARGET, given)) == FAILED + expected


@pytest.mark.parametrize("version", ["0.7", "0.10", "0.13"])
def test_every_version_of_the_api_is_served(sim: Simulator, version: str) -> None:
    """The versions 0.7 to 0.13 are one API."""
    client = sim.client("catenis", base_url=f"{sim.url}/api/{version}")
    assert client.progress("message-1").phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", TARGET.replace("0.7", "0.6")),
        ("GET", TARGET.replace("0.7", "0.14")),
        ("POST", TARGET),
        ("GET", TARGET + "/"),
    ],
)
def test_what_is_not_the_api_is_not_found(
    sim: Simulator, clock: FakeClock, send: Send, method: str, target: str
) -> None:
    """Another version, method or path is a plain 404, without the envelope."""
    headers = signed(sim, clock, method=method, target=target)
    answer = send(method, target, headers)
    assert answer.status == 404
    assert b"status" not in answer.body


def test_a_client_with_a_wrong_secret_is_refused_once(sim: Simulator) -> None:
    """A client with a wrong secret gets an error and doesn't send it again."""
    client = sim.client("catenis", api_access_secret="another-secret")
    with pytest.raises(AuthenticationError, match="invalid device or signature"):
        client.wait("message-1", timeout=60)
    assert statuses(sim) == [401]


@pytest.mark.parametrize("skew", [-4000, 4000])
def test_a_client_whose_clock_is_off_corrects_itself(sim: Simulator, skew: float) -> None:
    """A client learns the time from the first refusal and is taken from then on."""
    sim.skew = skew
    client = sim.client("catenis")
    assert [client.progress("message-1").phase for _ in range(2)] == [Phase.RUNNING] * 2
    assert statuses(sim) == [401, 200, 200]


def test_a_client_does_not_believe_every_clock(sim: Simulator) -> None:
    """A server whose clock is days off is not believed: the refusal is the response."""
    sim.skew = 3 * 86_400
    with pytest.raises(AuthenticationError, match="time variation"):
        sim.client("catenis").progress("message-1")


@pytest.mark.parametrize(("message_id", "kept"), [("pMessage", 86_400), ("hMessage", 3600)])
def test_a_processed_message_is_not_kept_for_ever(
    sim: Simulator, clock: FakeClock, message_id: str, kept: float
) -> None:
    """A provisional message is kept for a day, a cached one that nobody read for an hour."""
    sim.add("catenis", message_id, [Frame("running"), Frame("succeeded", at=10)])
    client = sim.client("catenis")
    client.progress(message_id)
    clock.advance(10 + kept)
    assert client.progress(message_id).phase is Phase.SUCCEEDED
    clock.advance(1)
    with pytest.raises(JobGone):
        client.progress(message_id)


def test_the_documented_sample_s_date_is_long_out_of_bounds(
    sim: Simulator, clock: FakeClock, send: Send
) -> None:
    """The document's own sample request, of 2019, is refused for its age."""
    headers = signed(sim, clock, sign_date=date(2019, 3, 18))
    assert refusal(send("GET", TARGET, headers)) == BOUNDS
