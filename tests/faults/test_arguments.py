"""A `ConfigurationError` says which argument is wrong and how, and never quotes a secret.

An error's advice to the caller is apart from what happened: `.advice` and `.message`.
"""

import enum
import pickle
import ssl

import pytest
from faults_support import DEVICE, DRIVERS, MINUTE, outcome, state

from opwatch import (
    AkSk,
    Apig,
    AsyncApig,
    AsyncCatenis,
    AsyncITwin,
    Catenis,
    ClientCredentials,
    IamPassword,
    ITwin,
    ITwinV2,
    Schedule,
)
from opwatch.errors import (
    AuthenticationError,
    ConfigurationError,
    JobFailed,
    NotFound,
    OpwatchError,
    PermissionDenied,
    RateLimited,
    WaitCancelled,
    WaitStalled,
    WaitTimeout,
)
from opwatch.testing import FakeClock, Script, reply

ENDPOINT = "https://apig.example.com"
LOGIN = "https://login.example.com/v3"


@pytest.mark.parametrize("client", [Apig, AsyncApig])
@pytest.mark.parametrize("more", [{}, {"project_id": "p1"}])
@pytest.mark.parametrize("kind", ["IamPassword", "AkSk"])
def test_arguments_that_are_swapped(client, more, kind):
    """Credentials in the place of the endpoint: the error says that the two are swapped."""
    auth = AkSk("a-key", "a-secret") if kind == "AkSk" else iam()
    with pytest.raises(ConfigurationError, match="`endpoint` comes first, then `auth`; swap them"):
        client(auth, ENDPOINT, **more)


def iam(**changed):
    """Credentials of the identity service, with some arguments changed."""
    arguments = {
        "auth_url": LOGIN,
        "username": "a-user",
        "password": "a made-up word",
        "domain_name": "a-domain",
        "project_name": "a-project",
        **changed,
    }
    return IamPassword(**arguments)


def refused(call):
    """The `ConfigurationError` that a call raises."""
    with pytest.raises(ConfigurationError) as raised:
        call()
    return raised.value


# --- projects that are odd strings ----------------------------------------------------------------


class Masked(str):
    """A text that logs don't show."""

    def __str__(self):
        return "***"


class Project(str, enum.Enum):  # noqa: UP042 (unlike a StrEnum, `str` makes another text of it)
    """Projects by name."""

    DEV = "dev-id"


@pytest.mark.parametrize("project_id", [Masked("dev-id"), Project.DEV, "DEV-ID"])
@pytest.mark.parametrize("own", [Masked("dev-id"), Project.DEV, "dev-id"])
def test_a_project_is_what_its_string_holds(own, project_id):
    """Whatever `str` makes of an ID, the one in it is compared, and polled."""
    auth = iam(project_name=None, project_id=own)
    token = reply(201, {"token": {}}, {"X-Subject-Token": "made up"})
    creating = reply(200, {"status": "creating"})
    with Script({"/auth/tokens?nocatalog=true": token, "/progress": creating}) as script:
        Apig(ENDPOINT, auth, project_id=project_id).progress("g")
    assert script.sent[-1].target == f"/v2/{str.__str__(project_id)}/apigw/instances/g/progress"


@pytest.mark.parametrize(
    "project_id",
    [Masked("other-id"), "other-id", pytest.param(10**5000, id="huge"), b"dev-id", ""],
)
@pytest.mark.parametrize("own", [Masked("dev-id"), Project.DEV, "dev-id"])
def test_another_project_than_the_users(own, project_id):
    """It is refused, and so is what isn't a project's ID."""
    auth = iam(project_name=None, project_id=own)
    assert refused(lambda: Apig(ENDPOINT, auth, project_id=project_id)).argument == "project_id"


@pytest.mark.parametrize("project_id", ["a/b", "..", " " * 1_000_000, "a\n"])
@pytest.mark.parametrize("auth", [AkSk("a-key", "a-secret"), "a-token"])
def test_a_project_that_no_path_can_hold(auth, project_id):
    """The error names the argument, and is short."""
    error = refused(lambda: Apig(ENDPOINT, auth, project_id=project_id))
    assert error.argument == "project_id"
    assert len(str(error)) < 250
    assert refused(lambda: iam(project_name=None, project_id=project_id)).argument == "project_id"


# --- a line break at the end ----------------------------------------------------------------------

SECRET = "Kumquat0Zq7Xw9vK0abc"

SECRETS = {
    "ITwin auth": lambda text: ITwin(text),
    "AsyncITwin auth": lambda text: AsyncITwin(text),
    "Apig auth": lambda text: Apig(ENDPOINT, text, project_id="a-project"),
    "AsyncApig auth": lambda text: AsyncApig(ENDPOINT, text, project_id="a-project"),
    "Catenis api_access_secret": lambda text: Catenis(DEVICE, text),
    "AsyncCatenis api_access_secret": lambda text: AsyncCatenis(DEVICE, text),
    "ClientCredentials client_secret": lambda text: ClientCredentials("a-client", text),
    "IamPassword password": lambda text: iam(password=text),
    "AkSk secret_key": lambda text: AkSk("a-key", text),
    "AkSk security_token": lambda text: AkSk("a-key", "a made-up key", security_token=text),
}
IDENTIFIERS = {
    "Catenis device_id": lambda text: Catenis(text, "a made-up secret"),
    "ClientCredentials client_id": lambda text: ClientCredentials(text, "a made-up secret"),
    "IamPassword username": lambda text: iam(username=text),
    "AkSk access_key": lambda text: AkSk(text, "a made-up secret key"),
}
ends = pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])


def check_line_break(error, argument):
    """The error names the argument and the line break, and doesn't show the text."""
    assert "line break" in error.message
    assert argument in error.message
    assert error.argument == argument
    for shown in (str(error), repr(error), repr(error.args), repr(vars(error))):
        assert "Kumquat" not in shown


@ends
@pytest.mark.parametrize("which", SECRETS)
def test_a_line_break_at_the_end_of_a_secret_is_named(which, end):
    """A secret read from a file often ends in a newline: the error says so, and not the secret."""
    check_line_break(refused(lambda: SECRETS[which](SECRET + end)), which.split()[1])


@ends
@pytest.mark.parametrize("which", IDENTIFIERS)
def test_a_line_break_at_the_end_of_an_identifier_is_named(which, end):
    """The same for the ID, user name or key that goes with a secret."""
    check_line_break(refused(lambda: IDENTIFIERS[which](SECRET + end)), which.split()[1])


VARIABLES = {
    "ITWIN_CLIENT_SECRET": (ITwin, {"ITWIN_CLIENT_ID": "a-client"}),
    "ITWIN_ACCESS_TOKEN": (ITwin, {}),
    "CATENIS_API_ACCESS_SECRET": (Catenis, {"CATENIS_DEVICE_ID": DEVICE}),
    "OS_TOKEN": (Apig, {"APIG_ENDPOINT": ENDPOINT, "OS_PROJECT_ID": "a-project"}),
    "OS_PASSWORD": (
        Apig,
        {
            "APIG_ENDPOINT": ENDPOINT,
            "OS_AUTH_URL": LOGIN,
            "OS_USERNAME": "a-user",
            "OS_USER_DOMAIN_NAME": "a-domain",
            "OS_PROJECT_ID": "a-project",
        },
    ),
    "HUAWEICLOUD_SDK_SK": (
        Apig,
        {
            "APIG_ENDPOINT": ENDPOINT,
            "HUAWEICLOUD_SDK_AK": "a-key",
            "OS_PROJECT_ID": "a-project",
        },
    ),
}
EVERY = {name for variable, (_, others) in VARIABLES.items() for name in (variable, *others)}


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_line_break_at_the_end_of_a_variable_is_named(monkeypatch, variable):
    """The same with the name of the environment variable that the secret came from."""
    for name in EVERY:
        monkeypatch.delenv(name, raising=False)
    client, others = VARIABLES[variable]
    for name, value in {**others, variable: SECRET + "\n"}.items():
        monkeypatch.setenv(name, value)
    error = refused(client.from_env)
    assert "line break" in str(error)
    assert variable in str(error)
    assert "Kumquat" not in str(error) + repr(error) + repr(vars(error))


# --- which argument -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: ITwin("a made-up token", request_timout=SECRET),
        lambda: Catenis(DEVICE, "a made-up secret", request_timout=SECRET),
        lambda: Apig(ENDPOINT, AkSk("k", "s"), project_id="p", request_timout=SECRET),
        lambda: AsyncITwin("a made-up token", request_timout=SECRET),
    ],
    ids=["itwin", "catenis", "apig", "async"],
)
def test_a_misspelled_option_is_named(call):
    """The error names `request_timout`, and doesn't show what was passed."""
    error = refused(call)
    assert "request_timout" in str(error)
    assert "Kumquat" not in str(error) + repr(vars(error))


def with_client(call):
    """Call with an iTwin client."""

    def run():
        with ITwin("a made-up token") as client:
            return call(client)

    return run


def unsuitable():
    """Contexts for servers, and those that trust any server, or one with any name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.check_hostname, context.verify_mode = True, ssl.CERT_REQUIRED
    yield context
    for verify in (ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = verify
        yield context


class Unquotable:
    """What can't be quoted."""

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self):
        raise LookupError


ODD = [Unquotable(), 10**5000, ["production"]]

ARGUMENTS = [
    ("request_timeout", lambda: ITwin("t", request_timeout="3")),
    ("request_timeout", lambda: ITwin("t", request_timeout=0)),
    ("request_timeout", lambda: ITwin("t", request_timeout=float("nan"))),
    ("max_failures", lambda: ITwin("t", max_failures=0)),
    ("max_failures", lambda: ITwin("t", max_failures="3")),
    ("max_in_flight", lambda: ITwin("t", max_in_flight=0)),
    ("schedule", lambda: ITwin("t", schedule=[15, 30])),
    ("ssl_context", lambda: ITwin("t", ssl_context=True)),
    *(("ssl_context", lambda c=c: ITwin("t", ssl_context=c)) for c in unsuitable()),
    ("user_agent", lambda: ITwin("t", user_agent="a\nb")),
    ("base_url", lambda: ITwin("t", base_url="http://example.com")),
    ("base_url", lambda: ITwin("t", base_url="not an address")),
    ("auth", lambda: ITwin("")),
    ("auth", lambda: ITwin(None)),
    ("auth", lambda: ITwin(AkSk("k", "s"))),
    ("device_id", lambda: Catenis("too-short", "a made-up secret")),
    ("api_access_secret", lambda: Catenis(DEVICE, "")),
    ("environment", lambda: Catenis(DEVICE, "s", environment="moon")),
    ("version", lambda: Catenis(DEVICE, "s", version="seven")),
    ("base_url", lambda: Catenis(DEVICE, "s", base_url="ftp://example.com")),
    ("endpoint", lambda: Apig("http://example.com", "t", project_id="p")),
    ("project_id", lambda: Apig(ENDPOINT, "t")),
    ("project_id", lambda: Apig(ENDPOINT, "t", project_id="a/b")),
    ("client_id", lambda: ClientCredentials("", "s")),
    ("client_secret", lambda: ClientCredentials("c", None)),
    ("scope", lambda: ClientCredentials("c", "s", scope="")),
    ("token_url", lambda: ClientCredentials("c", "s", token_url="http://example.com")),
    ("auth_url", lambda: iam(auth_url="http://example.com/v3")),
    ("username", lambda: iam(username="")),
    ("password", lambda: iam(password="")),
    ("domain_name", lambda: iam(domain_name="")),
    ("access_key", lambda: AkSk("", "s")),
    ("secret_key", lambda: AkSk("k", "")),
    ("security_token", lambda: AkSk("k", "s", security_token="")),
    ("delays", lambda: Schedule(())),
    ("delays", lambda: Schedule("15")),
    ("jitter", lambda: Schedule((15,), jitter=-1)),
    ("restart_on_change", lambda: Schedule((15,), restart_on_change="no")),
    ("timeout", with_client(lambda client: client.wait("j", timeout="10m"))),
    ("timeout", with_client(lambda client: client.wait("j", timeout=-1))),
    ("timeout", with_client(lambda client: client.watch("j", timeout=True))),
    ("timeout", with_client(lambda client: client.start("j", timeout="10m"))),
    ("timeout", with_client(lambda client: client.watch_many(["j"], timeout="10m"))),
    ("stall_timeout", with_client(lambda client: client.wait("j", timeout=1, stall_timeout="1"))),
    ("schedule", with_client(lambda client: client.wait("j", timeout=1, schedule=[15]))),
    ("on_progress", with_client(lambda client: client.wait("j", timeout=1, on_progress=1))),
    ("cancel", with_client(lambda client: client.wait("j", timeout=1, cancel=True))),
    ("job_id", with_client(lambda client: client.progress("a/b"))),
    ("job_ids", with_client(lambda client: client.watch_many("j", timeout=1))),
    ("token", with_client(lambda client: client.step("no token"))),
    ("token", with_client(lambda client: client.resume(None))),
    *(("environment", lambda o=o: Catenis(DEVICE, "s", environment=o)) for o in ODD),
    *(("version", lambda o=o: Catenis(DEVICE, "s", version=o)) for o in ODD),
    *(("until", lambda o=o: Apig(ENDPOINT, "t", project_id="p", until=o)) for o in ODD),
    *(("api", lambda o=o: ITwinV2("t", api=o)) for o in ODD),
    *(("request_timeout", lambda o=o: ITwin("t", request_timeout=o)) for o in ODD),
    *(("delays", lambda o=o: Schedule((o,))) for o in ODD),
    *(("on_event", with_client(lambda c, o=o: c.watch("j", timeout=1, on_event=o))) for o in ODD),
    *(("job_ids", with_client(lambda c, o=o: c.watch_many(o, timeout=1))) for o in ODD[:2]),
    *(("token", with_client(lambda client, o=o: client.step(o))) for o in ODD),
]


@pytest.mark.parametrize(
    ("argument", "call"),
    ARGUMENTS,
    ids=[f"{n}-{argument}" for n, (argument, _) in enumerate(ARGUMENTS)],
)
def test_the_argument_that_is_wrong_is_named(argument, call):
    """`ConfigurationError.argument` is its name, as the caller wrote it, and nothing is sent."""
    with Script({"": [reply(500)]}) as script:
        error = refused(call)
    assert error.argument == argument
    assert argument in str(error)
    assert script.sent == []


class Named(str, enum.Enum):  # noqa: UP042
    """As many programs name their jobs: `str` of a member is `Named.JOB`."""

    JOB = "job-1"
    PROJECT = "project-1"


def test_an_id_is_what_it_equals():
    """An ID of a subclass of `str` is requested and reported as the text that it is."""
    with Script({"/jobs/job-1/progress": state("Active")}), ITwin("a made-up token") as client:
        seen = [client.progress(Named.JOB), next(client.watch_many([Named.JOB], timeout=1))]
    assert [repr(progress.job_id) for progress in seen] == ["'job-1'"] * 2
    with Script({"/project-1/apigw/instances/job-1/progress": reply(200, {"progress": 1})}):
        Apig(ENDPOINT, "t", project_id=Named.PROJECT).progress(Named.JOB)


def test_what_is_no_token_is_not_quoted():
    """It may be an access token, which is called a token, too."""
    assert "Kumquat" not in str(refused(with_client(lambda client: client.resume("Kumquat"))))


def test_the_argument_survives_a_pickle():
    """An error from a process pool tells it too."""
    error = refused(lambda: ITwin("t", max_failures=0))
    copied = pickle.loads(pickle.dumps(error))
    assert copied.argument == "max_failures"
    assert (copied.advice, str(copied)) == (error.advice, str(error))


def test_an_error_that_is_about_no_single_argument_has_none():
    """`argument` is None then."""
    error = refused(lambda: iam(project_id="p"))
    assert error.argument is None


# --- advice ---------------------------------------------------------------------------------------


def ended(kind, replies, **how):
    """How a wait ends, which is to be an error of that type."""

    async def scenario(driver):
        async with driver.opened(driver.clients["itwin"]("a made-up token")) as client:
            return await outcome(driver, client.wait, "j", schedule=MINUTE, **how)

    with FakeClock(), Script(replies):
        error = DRIVERS["blocking"].run(scenario)
    assert type(error) is kind
    return error


class Set:
    """An event that is set."""

    def is_set(self):
        return True

    def wait(self, timeout=None):
        return True


STANDING = {
    "/progress": [state("Active", 10)],
    "/jobs/j": [reply(200, {"job": {"id": "j", "state": "active"}})],
}
ADVISING = {
    "timeout": (WaitTimeout, STANDING, {"timeout": 90}),
    "timeout without an answer": (WaitTimeout, {"": [reply(503)]}, {"timeout": 90}),
    "stall": (WaitStalled, STANDING, {"timeout": None, "stall_timeout": 120}),
    "cancel": (WaitCancelled, STANDING, {"timeout": None, "cancel": Set()}),
    "wrong address": (
        NotFound,
        {"": [reply(404, {"error": {"code": "ResourceNotFound", "message": "nothing here"}})]},
        {"timeout": 90},
    ),
}


REFUSED_CREDENTIALS = {
    "a token": (lambda: ITwin("made-up-token"), 401, "opwatch renews only tokens from"),
    "a callable": (lambda: ITwin(lambda: "made-up-token"), 401, "what the token callable returns"),
    "a device": (lambda: Catenis(DEVICE, "a made-up secret"), 401, "its API access secret"),
    "keys": (
        lambda: Apig(ENDPOINT, AkSk("key", "secret-key"), project_id="p"),
        401,
        "temporary ones also need a `security_token`), and this machine's clock; six refusals",
    ),
    "temporary keys": (
        lambda: Apig(ENDPOINT, AkSk("key", "secret-key", security_token="token"), project_id="p"),
        401,
        "the keys and the `security_token`, which expires",
    ),
    "no permission": (lambda: ITwin("made-up-token"), 403, "check the permissions"),
}


@pytest.mark.parametrize("which", REFUSED_CREDENTIALS)
def test_refused_credentials_say_what_to_check(which):
    """Each kind of credentials has its own advice, which is also on the second call."""
    make, status, says = REFUSED_CREDENTIALS[which]
    with Script({"": [reply(status, {})]}), make() as client:
        errors = []
        for _ in range(2):
            with pytest.raises((AuthenticationError, PermissionDenied)) as caught:
                client.progress("a" * 20)
            errors.append(caught.value)
    assert [says in error.advice for error in errors] == [True, True]


@pytest.mark.parametrize("which", ADVISING)
def test_advice_is_apart_from_the_message(which):
    """`.advice` says what to do, `.message` what happened, and `str(error)` has both."""
    kind, replies, how = ADVISING[which]
    error = ended(kind, replies, **how)
    assert isinstance(error.advice, str)
    assert error.advice
    assert error.message
    assert error.advice not in error.message
    assert error.message in str(error)
    assert error.advice in str(error)
    copied = pickle.loads(pickle.dumps(error))
    assert (copied.message, copied.advice) == (error.message, error.advice)


@pytest.mark.parametrize(
    ("kind", "replies"),
    [
        (JobFailed, {"/progress": [state("failed")]}),
        (RateLimited, {"/progress": [reply(429, None, {"Retry-After": "100"})]}),
    ],
)
def test_no_advice_does_not_show(kind, replies):
    """`.advice` is a string or None, and None doesn't show in the text."""
    error = ended(kind, replies, timeout=50)
    assert error.advice is None or isinstance(error.advice, str)
    assert "None" not in str(error)


def test_every_error_has_advice_as_an_attribute():
    """Also one that a user's test makes."""
    assert OpwatchError("what happened").advice is None
