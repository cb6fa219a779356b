"""The simulated iTwin: its token endpoint (RFC 6749), and what it requires of a request."""

import base64
from urllib.parse import quote, urlencode

import pytest
from simulator_tools import Answer, Send, statuses

from opwatch import ClientCredentials, Phase
from opwatch.errors import AuthenticationError, JobGone, RateLimited
from opwatch.simulator import Frame, Simulator
from opwatch.simulator.itwin import ACCEPT, CLIENT_ID, CLIENT_SECRET
from opwatch.simulator.itwin_v2 import ACCEPT as ACCEPT_V2
from opwatch.simulator.itwin_v2 import APIS
from opwatch.testing import FakeClock

TARGET = "/contextcapture/jobs/job-1/progress"
FORM = {
    "grant_type": "client_credentials",
    "scope": "itwin-platform",
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
}
FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(autouse=True)
def job(sim: Simulator) -> None:
    sim.add("itwin", "job-1", Frame("running", percent=56, step="Reconstruction"))


def basic(client_id: str, secret: str) -> dict[str, str]:
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def code(answer: Answer) -> tuple[int, str | None]:
    """Status and error code of a response."""
    if answer.status == 200:
        return 200, None
    error = answer.json["error"]
    return answer.status, error if isinstance(error, str) else error["code"]


# --- jobs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", [ACCEPT, f"text/html, {ACCEPT};q=0.5"])
@pytest.mark.parametrize("target", [TARGET, TARGET.removesuffix("/progress")])
def test_a_request_with_version_and_token_is_answered(
    sim: Simulator, send: Send, target: str, accept: str
) -> None:
    """A request that names the API's version and brings a token is answered."""
    headers = {"Accept": accept, "Authorization": f"Bearer {sim.token('itwin')}"}
    answer = send("GET", target, headers)
    assert code(answer) == (200, None)
    assert answer.headers["x-correlation-id"]


@pytest.mark.parametrize(
    ("method", "target", "accept"),
    [
        ("GET", TARGET, None),
        ("GET", TARGET, "*/*"),
        ("GET", TARGET, "application/json"),
        ("GET", TARGET, ACCEPT.replace("v1", "v2")),
        ("POST", TARGET, ACCEPT),
        ("GET", "/contextcapture/jobs/job-1/progress/more", ACCEPT),
        ("GET", "/contextcapture/jobs", ACCEPT),
    ],
)
def test_another_version_or_path_is_no_resource(
    sim: Simulator, send: Send, method: str, target: str, accept: str | None
) -> None:
    """A wrong `Accept`, method or path is `ResourceNotFound`, which is not `JobNotFound`."""
    headers = {"Authorization": f"Bearer {sim.token('itwin')}"}
    headers |= {} if accept is None else {"Accept": accept}
    assert code(send(method, target, headers)) == (404, "ResourceNotFound")


def test_a_request_without_a_token_lacks_a_header(send: Send) -> None:
    """No `Authorization` at all has a code of its own."""
    assert code(send("GET", TARGET, {"Accept": ACCEPT})) == (401, "HeaderNotFound")


@pytest.mark.parametrize(
    "authorization", ["Bearer made-up", "Bearer", "{token}", "Token {token}", "Bearer {other}"]
)
def test_a_wrong_token_is_refused(sim: Simulator, send: Send, authorization: str) -> None:
    """A token that was not issued, or for another service, or in another way, is refused."""
    given = authorization.format(token=sim.token("itwin"), other=sim.token("apig"))
    headers = {"Accept": ACCEPT, "Authorization": given}
    assert code(send("GET", TARGET, headers)) == (401, "Unauthorized")


def test_a_job_is_asked_for_after_the_token(sim: Simulator, send: Send) -> None:
    """Only an authorized client learns that a job doesn't exist."""
    target = TARGET.replace("job-1", "job-2")
    headers = {"Accept": ACCEPT}
    assert code(send("GET", target, headers)) == (401, "HeaderNotFound")
    headers["Authorization"] = f"Bearer {sim.token('itwin')}"
    assert code(send("GET", target, headers)) == (404, "JobNotFound")


def test_a_rate_limit_says_of_what(sim: Simulator, send: Send) -> None:
    """A 429 names the limit in headers, beside `Retry-After`."""
    sim.rate_limit("itwin", retry_after=2)
    answer = send("GET", TARGET, {"Accept": ACCEPT})
    assert code(answer) == (429, "RateLimitExceeded")
    assert answer.headers["retry-after"] == "2"
    names = ("tier", "api", "operation", "application")
    assert all(answer.headers[f"itwinplatform-ratelimited-{name}"] for name in names)


def test_a_progress_is_not_kept_for_ever(sim: Simulator, clock: FakeClock) -> None:
    """The progress of a job is gone after 30 days."""
    client = sim.client("itwin")
    client.progress("job-1")
    clock.advance(30 * 86_400)
    assert client.progress("job-1").phase is Phase.RUNNING
    clock.advance(1)
    with pytest.raises(JobGone):
        client.progress("job-1")


def test_a_step_is_always_sent(sim: Simulator) -> None:
    """A frame without one has an empty one, which is none to a client."""
    sim.add("itwin", "job-2", Frame("running"))
    progress = sim.client("itwin").progress("job-2")
    assert (progress.wire.to_dict()["jobProgress"]["step"], progress.step) == ("", None)


def test_a_correlation_id_is_shown_to_the_user(sim: Simulator) -> None:
    """The id that the service's support asks for arrives in the error."""
    sim.add("itwin", "job-2", Frame(status=503, headers={"X-Correlation-Id": "shown"}))
    with pytest.raises(Exception, match=r"\[request shown\]"):
        sim.client("itwin").progress("job-2")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("what", ["progress", "messages"])
def test_the_second_version_is_as_strict(sim: Simulator, send: Send, api: str, what: str) -> None:
    """It is at three addresses, takes its own `Accept` alone, and either version's tokens."""
    sim.add("itwin-v2", "job-2", Frame("running", percent=5))
    target = f"/{api}/jobs/job-2/{what}"
    headers = {"Accept": ACCEPT_V2}
    assert code(send("GET", target, headers)) == (401, "HeaderNotFound")
    for service in ("itwin", "itwin-v2"):
        headers["Authorization"] = f"Bearer {sim.token(service)}"
        assert code(send("GET", target, headers)) == (200, None)
    for method, path, accept in (
        ("GET", target, ACCEPT),
        ("POST", target, ACCEPT_V2),
        ("GET", f"/{api}/jobs/job-2", ACCEPT_V2),
        ("GET", f"/contextcapture/jobs/job-2/{what}", ACCEPT_V2),
    ):
        answer = send(method, path, headers | {"Accept": accept})
        assert code(answer) == (404, "ResourceNotFound")
    gone = "JobProgressNotFound" if what == "progress" else "JobNotFound"
    assert code(send("GET", target.replace("job-2", "job-3"), headers)) == (404, gone)


# --- tokens ---------------------------------------------------------------------------------------


def token(send: Send, form: dict[str, str], headers: dict[str, str] | None = None) -> Answer:
    body = urlencode(form).encode()
    return send("POST", "/connect/token", {**FORM_TYPE, **(headers or {})}, body)


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in FORM.items() if name not in names}


def test_a_token_is_issued_and_taken(send: Send) -> None:
    """The form of the document brings a token that a job takes."""
    answer = token(send, FORM)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    fields = answer.json
    assert (fields["token_type"], fields["expires_in"]) == ("Bearer", 3600)
    headers = {"Accept": ACCEPT, "Authorization": f"Bearer {fields['access_token']}"}
    assert code(send("GET", TARGET, headers)) == (200, None)


def test_a_client_may_authenticate_by_basic(send: Send) -> None:
    """The client's id and secret may come as Basic authentication instead."""
    form = without("client_id", "client_secret")
    assert code(token(send, form, basic(CLIENT_ID, CLIENT_SECRET))) == (200, None)


def test_basic_authentication_is_decoded_twice(send: Send) -> None:
    """The id and the secret are form-urlencoded inside the Base64, and any byte may be."""
    pair = f"{CLIENT_ID}:{CLIENT_SECRET}".replace("-", "%2D")
    header = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    form = without("client_id", "client_secret")
    assert code(token(send, form, header)) == (200, None)


def test_a_token_is_asked_for_by_post(send: Send) -> None:
    """Another method is an invalid request, whatever it brings."""
    answer = send("PUT", "/connect/token", FORM_TYPE, urlencode(FORM).encode())
    assert code(answer) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("form", "headers", "expected"),
    [
        (FORM | {"client_secret": "wrong"}, {}, (400, "invalid_client")),
        (FORM | {"client_id": "another"}, {}, (400, "invalid_client")),
        (without("client_secret"), {}, (400, "invalid_client")),
        (without("client_id"), {}, (400, "invalid_request")),
        (without("grant_type"), {}, (400, "invalid_request")),
        (FORM | {"grant_type": "password"}, {}, (400, "unsupported_grant_type")),
        (FORM | {"scope": "everything"}, {}, (400, "invalid_scope")),
        (FORM, basic(CLIENT_ID, CLIENT_SECRET), (400, "invalid_request")),
        (without("client_secret"), basic(CLIENT_ID, "wrong"), (401, "invalid_client")),
        (without("client_secret"), {"Authorization": "Basic !"}, (401, "invalid_client")),
        (without("client_secret"), {"Authorization": "Bearer x"}, (401, "invalid_client")),
        (FORM, {"Content-Type": "application/json"}, (400, "invalid_request")),
    ],
)
def test_a_wrong_request_for_a_token_is_refused(
    send: Send, form: dict[str, str], headers: dict[str, str], expected: tuple[int, str]
) -> None:
    """Each mistake has the error that RFC 6749 gives it."""
    answer = token(send, form, headers)
    assert code(answer) == expected
    assert ("www-authenticate" in answer.headers) == (answer.status == 401)


@pytest.mark.parametrize("body", [b"grant_type=a&grant_type=b&client_id=c", "scope=é".encode()])
def test_a_malformed_form_is_refused(send: Send, body: bytes) -> None:
    """A parameter twice, or what is not form-urlencoded, is an invalid request."""
    answer = send("POST", "/connect/token", FORM_TYPE, body)
    assert code(answer) == (400, "invalid_request")


@pytest.mark.parametrize("is_basic", [False, True])
def test_a_client_with_a_wrong_secret_is_refused(sim: Simulator, is_basic: bool) -> None:
    """A client with a wrong secret is told so once, whichever way it sends it, and doesn't send it
    again."""
    url = f"{sim.url}/connect/token"
    auth = ClientCredentials(CLIENT_ID, "mistaken", token_url=url, basic=is_basic)
    client = sim.client("itwin", auth=auth)
    for _ in range(2):
        with pytest.raises(AuthenticationError, match=r"token endpoint: .*invalid_client"):
            client.progress("job-1")
    assert [request.target for request in sim.requests] == ["/connect/token"]
    assert statuses(sim) == []


def test_every_way_to_authenticate_is_taken(sim: Simulator) -> None:
    """Credentials in a form or as Basic, a token, with its prefix, and a callable all work."""
    url = f"{sim.url}/connect/token"
    ways = [
        ClientCredentials(CLIENT_ID, CLIENT_SECRET, token_url=url),
        ClientCredentials(CLIENT_ID, CLIENT_SECRET, token_url=url, basic=True),
        sim.token("itwin"),
        f"Bearer {sim.token('itwin')}",
        lambda: sim.token("itwin"),
    ]
    for auth in ways:
        assert sim.client("itwin", auth=auth).progress("job-1").phase is Phase.RUNNING


def test_a_rate_limit_without_retry_after_is_one_too(sim: Simulator) -> None:
    """The header that the document lost the name of may be missing."""
    sim.rate_limit("itwin")
    with pytest.raises(RateLimited) as caught:
        sim.client("itwin").progress("job-1")
    assert caught.value.retry_after is None
