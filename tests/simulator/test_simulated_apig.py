"""The simulated APIG: the identity service's tokens, and verification of AK/SK signatures."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from simulator_tools import Answer, Send, host_of, sender, statuses

from opwatch import AkSk, IamPassword, Phase
from opwatch.auth import aksk
from opwatch.errors import AuthenticationError, JobGone, PermissionDenied
from opwatch.simulator import Frame, Simulator, apig
from opwatch.testing import FakeClock

TARGET = f"/v2/{apig.PROJECT_ID}/apigw/instances/gateway-1/progress"
LOGIN = "/v3/auth/tokens?nocatalog=true"
NAMED = {"name": apig.PROJECT_NAME}


@pytest.fixture(autouse=True)
def gateway(sim: Simulator) -> None:
    sim.add("apig", "gateway-1", Frame("running", percent=50))


def code(answer: Answer) -> tuple[int, str | None]:
    """Status and error code of a response."""
    if answer.status in (200, 201):
        return answer.status, None
    fields = answer.json
    return answer.status, fields["error"]["title"] if "error" in fields else fields["error_code"]


# --- tokens ---------------------------------------------------------------------------------------


def credentials(**changes: Any) -> dict[str, Any]:
    """A login by the document, but for the changes."""
    given = {
        "name": apig.USERNAME,
        "password": apig.PASSWORD,
        "domain": apig.DOMAIN_NAME,
        "project": {"name": apig.PROJECT_NAME},
        "methods": ["password"],
        **changes,
    }
    user = {"name": given["name"], "password": given["password"]}
    user["domain"] = given.get("user_domain", {"name": given["domain"]})
    identity = {"methods": given["methods"], "password": {"user": user}}
    return {"auth": {"identity": identity, "scope": {"project": given["project"]}}}


def login(send: Send, body: Any, target: str = LOGIN) -> Answer:
    return send("POST", target, {"Content-Type": "application/json"}, json.dumps(body).encode())


@pytest.mark.parametrize("project", [{"name": apig.PROJECT_NAME}, {"id": apig.PROJECT_ID}])
def test_a_login_brings_a_token_and_the_project(
    clock: FakeClock, send: Send, project: dict[str, str]
) -> None:
    """The token comes in a header and is long; the body says its end and its project."""
    answer = login(send, credentials(project=project))
    assert answer.status == 201
    assert len(answer.headers["x-subject-token"]) > 2000
    fields = answer.json["token"]
    assert fields["project"]["id"] == apig.PROJECT_ID
    assert datetime.fromisoformat(fields["expires_at"]).timestamp() == clock.epoch() + 86_400
    assert "catalog" not in fields
    found = send("GET", TARGET, {"X-Auth-Token": answer.headers["x-subject-token"]})
    assert code(found) == (200, None)


@pytest.mark.parametrize(
    "user", [{"domain_name": apig.DOMAIN_NAME}, {"user_domain_id": apig.DOMAIN_ID}]
)
@pytest.mark.parametrize(
    "project",
    [{}, {"project_domain_name": apig.DOMAIN_NAME}, {"project_domain_id": apig.DOMAIN_ID}],
)
def test_a_domain_has_a_name_and_an_id(
    sim: Simulator, user: dict[str, str], project: dict[str, str]
) -> None:
    """The user's and the project's domain may each be given by either."""
    auth = IamPassword(
        f"{sim.url}/v3",
        apig.USERNAME,
        apig.PASSWORD,
        project_name=apig.PROJECT_NAME,
        **user,  # type: ignore[arg-type]
        **project,  # type: ignore[arg-type]
    )
    client = sim.client("apig", auth=auth)
    assert client.progress("gateway-1").phase is Phase.RUNNING


@pytest.mark.parametrize("how", ["argument", "attribute"])
def test_strict_domains(clock: FakeClock, how: str) -> None:
    """As in Keystone, a project's name needs its domain when asked for; an ID needs none."""
    with Simulator(strict_domains=how == "argument") as sim:
        if how == "attribute":
            assert login(sender(sim), credentials(project=NAMED)).status == 201
            sim.strict_domains = True
        answer = login(sender(sim), credentials(project=NAMED))
        assert code(answer) == (400, "Bad Request")
        assert answer.json["error"]["message"].startswith("Expecting to find domain in project")
        for project in (NAMED | {"domain": {"id": apig.DOMAIN_ID}}, {"id": apig.PROJECT_ID}):
            assert login(sender(sim), credentials(project=project)).status == 201
        sim.add("apig", "gateway-1", Frame("running"))
        assert sim.client("apig").progress("gateway-1").phase is Phase.RUNNING


def test_a_login_brings_the_catalog_where_nobody_says_not_to(send: Send) -> None:
    """Without `nocatalog` the response lists the services."""
    assert "catalog" in login(send, credentials(), "/v3/auth/tokens").json["token"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (credentials(name="another"), (401, "Unauthorized")),
        (credentials(password="wrong"), (401, "Unauthorized")),
        (credentials(name="\ud800"), (401, "Unauthorized")),
        (credentials(domain="another"), (401, "Unauthorized")),
        (credentials(project={"name": "another"}), (401, "Unauthorized")),
        (credentials(project={"id": "another"}), (401, "Unauthorized")),
        (credentials(user_domain={"id": "another"}), (401, "Unauthorized")),
        (credentials(project=NAMED | {"domain": {"name": "another"}}), (401, "Unauthorized")),
        (credentials(project=NAMED | {"domain": {}}), (400, "Bad Request")),
        (credentials(project=NAMED | {"domain": [1]}), (400, "Bad Request")),
        (credentials(user_domain={}), (400, "Bad Request")),
        (credentials(methods=["token"]), (400, "Bad Request")),
        (credentials(password=7), (400, "Bad Request")),
        (credentials(project=None), (400, "Bad Request")),
        ({"auth": {}}, (400, "Bad Request")),
        ([], (400, "Bad Request")),
    ],
)
def test_a_wrong_login_is_refused(send: Send, body: Any, expected: tuple[int, str]) -> None:
    """A wrong user, password, domain or project is refused; so is a body of another form."""
    answer = login(send, body)
    assert code(answer) == expected
    assert answer.json["error"]["code"] == answer.status


def test_a_login_that_is_nested_too_deeply_is_refused(send: Send) -> None:
    """It is no login, and no problem of the simulator's."""
    headers = {"Content-Type": "application/json"}
    assert send("POST", "/v3/auth/tokens", headers, b"[" * 60_000).status == 400


@pytest.mark.parametrize(
    ("method", "kind", "expected"),
    [("POST", "text/plain", (400, "Bad Request")), ("GET", "application/json", (404, "Not Found"))],
)
def test_a_login_is_a_post_of_json(
    send: Send, method: str, kind: str, expected: tuple[int, str]
) -> None:
    """A login of another type or method is refused."""
    body = json.dumps(credentials()).encode()
    assert code(send(method, LOGIN, {"Content-Type": kind}, body)) == expected


def test_a_client_with_a_wrong_password_is_refused(sim: Simulator) -> None:
    """A client whose password is wrong says so, and no gateway is asked for."""
    auth = IamPassword(
        f"{sim.url}/v3",
        apig.USERNAME,
        "mistaken",
        domain_name=apig.DOMAIN_NAME,
        project_name=apig.PROJECT_NAME,
    )
    with pytest.raises(AuthenticationError, match="username or password is wrong"):
        sim.client("apig", auth=auth).progress("gateway-1")
    assert statuses(sim) == []


def test_a_token_that_was_not_issued_is_refused(send: Send) -> None:
    """The document's own sample of a 401: an incorrect token."""
    assert code(send("GET", TARGET, {"X-Auth-Token": "made-up"})) == (401, "APIC.7102")


def test_a_token_that_ended_is_refused(sim: Simulator, clock: FakeClock, send: Send) -> None:
    """A token has a code of its own once its life is over."""
    headers = {"X-Auth-Token": sim.token("apig")}
    clock.advance(86_399)
    assert code(send("GET", TARGET, headers)) == (200, None)
    clock.advance(1)
    assert code(send("GET", TARGET, headers)) == (401, "APIC.7101")


def test_a_request_without_credentials_is_refused(send: Send) -> None:
    """Neither a token nor a signature is refused as such."""
    assert code(send("GET", TARGET)) == (401, "APIG.0301")


def test_a_project_of_somebody_else_is_forbidden(sim: Simulator) -> None:
    """A token is for one project: the path may not name another."""
    client = sim.client("apig", auth=sim.token("apig"), project_id="another")
    with pytest.raises(PermissionDenied, match="No permissions"):
        client.progress("gateway-1")


@pytest.mark.parametrize(
    "keys",
    [
        AkSk(apig.ACCESS_KEY, apig.SECRET_KEY),
        AkSk(
            apig.TEMPORARY_ACCESS_KEY,
            apig.TEMPORARY_SECRET_KEY,
            security_token=apig.SECURITY_TOKEN,
        ),
    ],
)
def test_a_key_opens_its_own_project_only(sim: Simulator, keys: AkSk) -> None:
    """The signature is right, and the project in header and path is another's."""
    with pytest.raises(PermissionDenied) as caught:
        sim.client("apig", auth=keys, project_id="another").progress("gateway-1")
    assert (caught.value.status, caught.value.code) == (403, "APIC.7106")
    assert "`project_id` (OS_PROJECT_ID) is the project that these credentials are for" in str(
        caught.value
    )
    client = sim.client("apig", auth=keys, project_id=apig.PROJECT_ID)
    assert client.progress("gateway-1").phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("method", "target"), [("POST", TARGET), ("GET", TARGET + "/more"), ("GET", "/v2/x/apigw")]
)
def test_another_path_or_method_is_no_api(
    sim: Simulator, send: Send, method: str, target: str
) -> None:
    """A wrong address is a 404 that does not speak of the gateway."""
    headers = {"X-Auth-Token": sim.token("apig")}
    assert code(send(method, target, headers)) == (404, "APIG.0101")


def test_every_way_to_authenticate_is_taken(sim: Simulator) -> None:
    """A password with the project, a token, a callable, and both kinds of keys all work."""
    user = (f"{sim.url}/v3", apig.USERNAME, apig.PASSWORD)
    domain, project = apig.DOMAIN_NAME, {"project_id": apig.PROJECT_ID}
    token = apig.SECURITY_TOKEN
    ways: list[tuple[Any, dict[str, str]]] = [
        (IamPassword(*user, domain_name=domain, project_name=apig.PROJECT_NAME), {}),
        (IamPassword(*user, domain_name=domain, project_id=apig.PROJECT_ID), {}),
        (sim.token("apig"), project),
        (lambda: sim.token("apig"), project),
        (AkSk(apig.ACCESS_KEY, apig.SECRET_KEY), project),
        (
            AkSk(apig.TEMPORARY_ACCESS_KEY, apig.TEMPORARY_SECRET_KEY, security_token=token),
            project,
        ),
    ]
    for auth, more in ways:
        client = sim.client("apig", auth=auth, **more)
        assert client.progress("gateway-1").phase is Phase.RUNNING


def test_a_request_id_is_shown_to_the_user(sim: Simulator) -> None:
    """The id that the service's support asks for arrives in the error."""
    sim.add("apig", "gateway-2", Frame(error="APIC.9000"))
    with pytest.raises(Exception, match=r"\[request [0-9a-f]{32}\]"):
        sim.client("apig").progress("gateway-2")


# --- signatures -----------------------------------------------------------------------------------


def signed(sim: Simulator, clock: FakeClock, **changes: Any) -> dict[str, str]:
    """The headers of a request that is signed rightly, but for the changes."""
    rightly = {
        "method": "GET",
        "target": TARGET,
        "host": host_of(sim),
        "headers": {},
        "body": b"",
        "access_key": apig.ACCESS_KEY,
        "secret_key": apig.SECRET_KEY,
        "timestamp": datetime.fromtimestamp(clock.epoch(), UTC),
        "project_id": apig.PROJECT_ID,
    }
    return aksk.sign(**{**rightly, **changes})


def test_a_signature_made_by_the_book_is_taken(
    sim: Simulator, clock: FakeClock, send: Send
) -> None:
    """A request signed by the published procedure is answered; more headers may be signed."""
    assert code(send("GET", TARGET, signed(sim, clock))) == (200, None)
    more = {"Content-Type": "application/json"}
    headers = {**more, **signed(sim, clock, headers=more)}
    assert code(send("GET", TARGET, headers)) == (200, None)


@pytest.mark.parametrize(
    "change",
    [
        {"secret_key": "wrong"},
        {"access_key": "SIMULATEDUNKNOWNKEY0"},
        {"method": "POST"},
        {"target": TARGET + "?a=b"},
        {"host": "apig.eu-de.otc.t-systems.com"},
        {"body": b"{}"},
        {"project_id": None},
        {"headers": {"X-Missing": "1"}},
    ],
    ids=lambda change: "-".join(f"{key}={value}" for key, value in change.items()),
)
def test_a_signature_of_another_request_is_refused(
    sim: Simulator, clock: FakeClock, send: Send, change: dict[str, Any]
) -> None:
    """Key, method, path, host, body and project are all signed for."""
    assert code(send("GET", TARGET, signed(sim, clock, **change))) == (401, "APIG.0301")


def test_a_project_sent_unsigned_is_refused(sim: Simulator, clock: FakeClock, send: Send) -> None:
    """The project has to be among the signed headers, not beside them."""
    headers = {**signed(sim, clock, project_id=None), "X-Project-Id": apig.PROJECT_ID}
    answer = send("GET", TARGET, headers)
    assert code(answer) == (401, "APIG.0301")
    assert "not signed: x-project-id" in answer.json["error_msg"]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-901, 401), (-900, 200), (900, 200), (901, 401)]
)
def test_a_date_may_be_fifteen_minutes_off(
    sim: Simulator, clock: FakeClock, send: Send, seconds: float, expected: int
) -> None:
    """`X-Sdk-Date` is taken within 15 minutes of the service's clock, either way."""
    then = datetime.fromtimestamp(clock.epoch(), UTC) + timedelta(seconds=seconds)
    assert send("GET", TARGET, signed(sim, clock, timestamp=then)).status == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Sdk-Date", "yesterday"),
        ("X-Sdk-Date", "20991399T999999Z"),
        ("Authorization", "SDK-HMAC-SHA256 Credential=key/sdk_request"),
    ],
)
def test_a_malformed_header_is_refused(
    sim: Simulator, clock: FakeClock, send: Send, name: str, value: str
) -> None:
    """What is malformed is refused; so is the other dialect of the same name."""
    headers = {**signed(sim, clock), name: value}
    answer = send("GET", TARGET, headers)
    assert code(answer) == (401, "APIG.0301")
    assert "not well formed" in answer.json["error_msg"]


@pytest.mark.parametrize("token", [None, "wrong"])
def test_temporary_keys_need_their_token(
    sim: Simulator, clock: FakeClock, send: Send, token: str | None
) -> None:
    """Temporary keys are refused without their security token, or with another."""
    keys = {"access_key": apig.TEMPORARY_ACCESS_KEY, "secret_key": apig.TEMPORARY_SECRET_KEY}
    headers = signed(sim, clock, **keys, security_token=token)
    assert code(send("GET", TARGET, headers)) == (401, "APIG.0301")


def test_six_failures_in_a_row_lock_the_keys(sim: Simulator, clock: FakeClock, send: Send) -> None:
    """After the sixth failure even a good signature is refused, for five minutes."""
    for _ in range(6):
        assert send("GET", TARGET, signed(sim, clock, secret_key="wrong")).status == 401
    answer = send("GET", TARGET, signed(sim, clock))
    assert code(answer) == (401, "APIG.0301")
    assert "locked" in answer.json["error_msg"]
    clock.advance(299)
    assert send("GET", TARGET, signed(sim, clock)).status == 401
    clock.advance(1)
    assert send("GET", TARGET, signed(sim, clock)).status == 200


def test_a_good_signature_clears_the_count(sim: Simulator, clock: FakeClock, send: Send) -> None:
    """Failures count in a row: five, a good one, and five again lock nothing."""
    for _ in range(2):
        for _ in range(5):
            assert send("GET", TARGET, signed(sim, clock, secret_key="wrong")).status == 401
        assert send("GET", TARGET, signed(sim, clock)).status == 200


def test_a_lock_is_of_one_pair_of_keys(sim: Simulator, clock: FakeClock, send: Send) -> None:
    """Another pair of keys, and a token, are still taken."""
    for _ in range(6):
        send("GET", TARGET, signed(sim, clock, secret_key="wrong"))
    keys = {"access_key": apig.TEMPORARY_ACCESS_KEY, "secret_key": apig.TEMPORARY_SECRET_KEY}
    headers = signed(sim, clock, **keys, security_token=apig.SECURITY_TOKEN)
    assert send("GET", TARGET, headers).status == 200
    assert send("GET", TARGET, {"X-Auth-Token": sim.token("apig")}).status == 200


def test_a_client_never_locks_its_keys(sim: Simulator) -> None:
    """A client with a wrong secret key polls once and gives up: nothing is locked."""
    wrong = sim.client("apig", auth=AkSk(apig.ACCESS_KEY, "wrong"), project_id=apig.PROJECT_ID)
    with pytest.raises(
        AuthenticationError, match=r"the credentials were refused \(401 APIG\.0301\)"
    ):
        wrong.wait("gateway-1", timeout=3600)
    assert statuses(sim) == [401]


def test_a_gateway_is_asked_for_after_the_credentials(
    sim: Simulator, clock: FakeClock, send: Send
) -> None:
    """Only an authorized client learns that a gateway doesn't exist."""
    target = TARGET.replace("gateway-1", "gateway-2")
    assert code(send("GET", target)) == (401, "APIG.0301")
    assert code(send("GET", target, signed(sim, clock, target=target))) == (404, "APIC.7302")
    with pytest.raises(JobGone, match="Instance not found"):
        sim.client("apig").progress("gateway-2")
