"""Invalid arguments are refused before any request: the error names them and never quotes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from auth_support import API_SECRET, APIG_CREATING, DEVICE
from hypothesis import given
from hypothesis import strategies as st

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
)
from opwatch.auth import aksk, ctn1
from opwatch.auth.scheme import Scheme
from opwatch.errors import ConfigurationError
from opwatch.net.address import address, check_id
from opwatch.net.message import Address
from opwatch.testing import Script, reply

PLANTED = "planted-in-the-wrong-place"
SECRETS = [
    None,
    7,
    PLANTED.encode(),
    [PLANTED],
    "",
    " \t",
    f"{PLANTED}\n",
    f"{PLANTED}\r\nX-Other: header",
    f"{PLANTED}\0",
    f"{PLANTED}ä",
    f"{PLANTED}\u2028",
    f"{PLANTED}\udc80",
    f" {PLANTED}",
]
IAM = partial(IamPassword, "https://iam.example.com/v3", "user", "password", domain_name="domain")
KEYS = AkSk("AK", "made up")


def refusal(build: Callable[[], Any]) -> ConfigurationError:
    """Return the error that `build` raises, which sends nothing and quotes nothing planted."""
    with Script({}) as script, pytest.raises(ConfigurationError) as caught:
        build()
    error = caught.value
    assert script.sent == []
    assert PLANTED not in f"{error!s} {error!r} {error.__context__!r}"
    if error.argument:
        assert error.message == f"`{error.argument}` {error.problem}"
    return error


def check_named(name: str, build: Callable[[], Any]) -> None:
    """Check that `build` is refused because of the argument `name`."""
    error = refusal(build)
    assert error.argument == name
    assert error.problem.startswith("must ")


@pytest.mark.parametrize("value", SECRETS)
@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("api_access_secret", lambda value: Catenis(DEVICE, value)),
        ("api_access_secret", lambda value: AsyncCatenis(DEVICE, value)),
        ("client_secret", lambda value: ClientCredentials("client", value)),
        ("client_id", lambda value: ClientCredentials(value, "made up")),
        ("secret_key", lambda value: AkSk("AK", value)),
        ("access_key", lambda value: AkSk(value, "made up")),
    ],
)
def test_a_secret_must_be_printable_text(name, build, value):
    """A secret that is empty, not a string, or not printable ASCII is refused by name."""
    check_named(name, lambda: build(value))


@pytest.mark.parametrize("value", [value for value in SECRETS if value is not None])
def test_a_security_token_must_be_printable_text(value):
    """A security token follows the rules of a secret; None means permanent keys."""
    check_named("security_token", lambda: AkSk("AK", "made up", security_token=value))


@pytest.mark.parametrize("value", [value for value in SECRETS if value is not None])
def test_a_scope_must_be_printable_text(value):
    """A scope follows the rules of a secret; None means none."""
    check_named("scope", lambda: ClientCredentials("client", "made up", scope=value))


@pytest.mark.parametrize("value", [value for value in SECRETS if value != f" {PLANTED}"])
@pytest.mark.parametrize("client", [ITwin, AsyncITwin])
def test_a_token_must_be_printable_text(client, value):
    """A token follows the rules of a secret, except that spaces around it are removed."""
    check_named("auth", lambda: client(value))


@pytest.mark.parametrize("value", [value for value in SECRETS if value != f" {PLANTED}"])
@pytest.mark.parametrize("client", [Apig, AsyncApig])
def test_a_token_of_a_project_must_be_printable_text(client, value):
    """APIG checks a token as iTwin does."""
    check_named("auth", partial(client, "https://apig.example.com", value, project_id="p"))


@pytest.mark.parametrize("auth", [ClientCredentials, object(), {"token": PLANTED}, 1.5])
def test_what_is_not_a_way_to_authenticate_is_refused(auth):
    """For anything that isn't a way to authenticate, the error lists the ways there are."""
    error = refusal(lambda: ITwin(auth))
    assert error.argument == "auth"
    assert error.problem.startswith("must be credentials, a token (str), or a callable")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ITwin(IAM(project_id="p")), "IamPassword is for Apig"),
        (lambda: ITwin(KEYS), "AkSk is for Apig"),
        (
            lambda: Apig("https://apig.example.com", ClientCredentials("c", "made up")),
            "ClientCredentials is for ITwin",
        ),
    ],
)
def test_the_credentials_of_another_service_are_refused(build, words):
    """For another service's credentials, the error says which service they are for."""
    error = refusal(build)
    assert error.argument == "auth"
    assert words in error.problem


@pytest.mark.parametrize(
    "device", ["", "short", f"{DEVICE}0", f"{DEVICE[:-1]}ä", f"{DEVICE[:-1]}-", f"{DEVICE[:-1]}\n"]
)
def test_a_device_id_of_the_wrong_form_is_refused(device):
    """A device ID is 20 ASCII letters, digits or underscores."""
    check_named("device_id", lambda: Catenis(device, API_SECRET))


def test_swapped_arguments_do_not_show_the_secret():
    """If ID and secret are swapped, the error names the argument without quoting the secret."""
    assert "`device_id` must be 20" in str(refusal(lambda: Catenis(PLANTED, DEVICE)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("auth_url", "username", "password", "domain_name")
        for value in (None, 7, PLANTED.encode(), [PLANTED], "")
        if (name, value) != ("domain_name", None)
    ],
)
def test_a_login_must_be_text(name, value):
    """Each part of a login must be a string that isn't empty."""
    given = {"auth_url": "https://iam", "username": "u", "password": "p", "domain_name": "d"}
    error = refusal(lambda: IamPassword(**(given | {name: value}), project_id="p"))
    assert str(error) == f"`{name}` must be a non-empty string"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "`domain_name` or `user_domain_id` must be passed"),
        (
            {"domain_name": "d", "user_domain_id": "i"},
            "pass `domain_name` or `user_domain_id`, not both",
        ),
        ({"user_domain_id": ""}, "`user_domain_id` must be a non-empty string"),
        (
            {"domain_name": "d", "project_domain_id": "i", "project_domain_name": "n"},
            "pass `project_domain_name` or `project_domain_id`, not both",
        ),
        (
            {"domain_name": "d", "project_domain_name": " "},
            "`project_domain_name` must be a non-empty string",
        ),
        (
            {"domain_name": "d", "project_domain_id": 7},
            "`project_domain_id` must be a non-empty string",
        ),
    ],
)
def test_a_domain_is_given_once(given, problem):
    """The user's by its name or its ID, the project's by one of them at most."""
    build = partial(IamPassword, "https://iam", "u", PLANTED, project_name="p")
    assert str(refusal(lambda: build(**given))) == problem


@pytest.mark.parametrize("password", ["\n", "planted\n", "\r\nplanted", f"{PLANTED}\r"])
def test_a_password_that_still_has_its_files_line_break_is_refused(password):
    """A line break at either end comes from a file, and the error says to strip it."""
    build = partial(IamPassword, "https://iam", "u", password, domain_name="d", project_id="p")
    check_named("password", build)


@pytest.mark.parametrize("password", [" ", "p", " leading", "pässwörd\n\u2028\0", "\udc80", "🔑"])
def test_any_other_password_is_sent_as_it_is(password):
    """A password is sent in JSON, so it may contain any character."""
    sent: list[str] = []

    def service(request: Any) -> Any:
        if request.method == "GET":
            return reply(200, APIG_CREATING)
        user = json.loads(request.body)["auth"]["identity"]["password"]["user"]
        sent.append(user["password"])
        return reply(201, {"token": {}}, {"X-Subject-Token": "made-up"})

    auth = IamPassword("https://iam", "u", password, domain_name="d", project_id="p")
    with Script(service):
        Apig("https://apig", auth).progress("g")
    assert sent == [password]


@pytest.mark.parametrize(
    ("project", "words"),
    [
        ({}, "`project_name` or `project_id` must be passed"),
        ({"project_id": "p", "project_name": "n"}, "pass `project_name` or `project_id`, not both"),
        ({"project_id": ""}, "`project_id` must be a non-empty string"),
        ({"project_name": " "}, "`project_name` must be a non-empty string"),
        ({"project_name": 7}, "`project_name` must be a non-empty string"),
    ],
)
def test_a_project_is_given_once(project, words):
    """A login needs either the project's name or its ID."""
    assert str(refusal(lambda: IAM(**project))) == words


@pytest.mark.parametrize("auth", ["made-up", lambda: "made-up", KEYS])
def test_without_a_login_the_project_must_be_given(auth):
    """Without the identity service, nobody else says which project it is."""
    error = refusal(lambda: Apig("https://apig.example.com", auth))
    assert str(error) == "`project_id` must be passed with this `auth`"


def test_a_login_to_another_project_is_refused():
    """Its token would not be accepted. An ID may be written in either case."""
    build = partial(Apig, "https://apig.example.com", IAM(project_id="abc"))
    error = refusal(lambda: build(project_id="def"))
    assert str(error).startswith("`project_id` differs from the project of `auth`")
    build(project_id="ABC").close()
    Apig("https://apig.example.com", IAM(project_name="abc"), project_id="def").close()


@pytest.mark.parametrize("project", ["..", "a/b", "a?b", "a%b", "a\nb"])
@pytest.mark.parametrize("auth", ["made-up", KEYS, IAM(project_name="n")])
def test_a_project_id_must_fit_a_path(project, auth):
    """A project ID can't lead to another path."""
    check_named("project_id", lambda: Apig("https://apig.example.com", auth, project_id=project))


@pytest.mark.parametrize("project", ["pröject", " p", "p "])
def test_a_signed_project_id_must_fit_a_header(project):
    """With AK/SK keys, the project ID is also sent as the header `X-Project-Id`."""
    check_named("project_id", lambda: Apig("https://apig.example.com", KEYS, project_id=project))


def test_a_misspelled_option_is_named_and_its_value_is_not_quoted():
    """The value of an unknown option may be a secret."""
    error = refusal(lambda: ITwin("made-up", client_secret=PLANTED))
    assert str(error).startswith("`client_secret` isn't an option; the options are ")


# --- addresses ------------------------------------------------------------------------------------

BUILDERS: dict[str, Callable[[str], Any]] = {
    "base_url": lambda url: ITwin("made-up", base_url=url),
    "token_url": lambda url: ClientCredentials("client", "made up", token_url=url),
    "auth_url": lambda url: IamPassword(url, "u", "p", domain_name="d", project_id="p"),
    "endpoint": lambda url: Apig(url, "made-up", project_id="p"),
}


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://10.0.0.1",
        "http://[::2]/",
        "http://localhost.example.com",
        "http://a.localhost",
        "http://127.0.0.1.example.com",
        "http://[::ffff:127.0.0.1]",
        "http://2130706433",
        f"https://user:{PLANTED}@api.example.com",
        f"https://{PLANTED}@api.example.com",
        f"http://user:{PLANTED}@127.0.0.1",
        f"https://api.example.com\\@{PLANTED}",
        f"https://user:{PLANTED}",
        f"https://api.example.com/?token={PLANTED}",
        f"https://api.example.com/#{PLANTED}",
        "https://api.example.com?",
        "https://api.example.com#",
        f"ftp://{PLANTED}.example.com",
        f"{PLANTED}://api.example.com",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "//api.example.com",
        "",
        " ",
        "https://h:0",
        "https://h:65536",
        "https://h:-1",
        "https://h:port",
        "https://[::1",
        "https://[fe80::1%25eth0]",
        "https://a..example.com",
        "https://xn--/",
        "https://exa mple.com",
        "https://example.com\r\nHost: other",
        "https://example.com\\path",
        "https://example.com/ä b",
        "https://example.com/a/../b",
        f"https://{'a' * 64}.com",
        "https://" + "a." * 130 + "com",
        f"https://example.com/\udc80{PLANTED}",
    ],
)
@pytest.mark.parametrize("name", BUILDERS)
def test_an_invalid_address_is_refused(name, url):
    """The error names the argument, and never quotes an address that may contain a password."""
    check_named(name, lambda: BUILDERS[name](url))


@pytest.mark.parametrize("url", [None, 7, PLANTED.encode(), [PLANTED]])
@pytest.mark.parametrize(
    "name", [name for name in BUILDERS if name not in ("auth_url", "token_url")]
)
def test_an_address_must_be_a_string(name, url):
    """An address that isn't a string is refused."""
    error = refusal(lambda: BUILDERS[name](url))
    assert str(error) == f"`{name}` must be a string, not {type(url).__name__}"


@pytest.mark.parametrize("url", ["http://catenis.io/api/0.7", f"https://{PLANTED}@catenis.io"])
def test_catenis_checks_its_address_too(url):
    """The `base_url` of Catenis follows the same rules."""
    check_named("base_url", lambda: Catenis(DEVICE, API_SECRET, base_url=url))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://API.example.com", Address("https://api.example.com", "api.example.com", "")),
        ("api.example.com/v1/", Address("https://api.example.com", "api.example.com", "/v1")),
        ("https://h:443/", Address("https://h", "h", "")),
        ("https://h:8443/a%2Fb//c/", Address("https://h:8443", "h:8443", "/a%2Fb//c")),
        ("https://ü.example", Address("https://xn--tda.example", "xn--tda.example", "")),
        ("https://my_host.example.", Address("https://my_host.example.", "my_host.example.", "")),
        ("http://localhost:80", Address("http://localhost", "localhost", "")),
        ("http://127.1.2.3:81", Address("http://127.1.2.3:81", "127.1.2.3:81", "")),
        ("http://[::1]:82/x", Address("http://[::1]:82", "[::1]:82", "/x")),
        ("https://[2001:DB8::1]", Address("https://[2001:DB8::1]", "[2001:DB8::1]", "")),
        ("https://a.localhost", Address("https://a.localhost", "a.localhost", "")),
    ],
)
def test_an_address_is_split(url, expected):
    """An address becomes the origin, `Host` and base path that are sent and signed."""
    assert address(url, "base_url") == expected


def tried(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what the function returns, or the message that it raises."""
    try:
        return function(*arguments)
    except ConfigurationError as error:
        return str(error)


@given(st.text() | st.from_regex(r"https?://[^/]*(/.*)?", fullmatch=True))
def test_any_text_is_an_address_or_refused(url):
    """Any string becomes an ASCII address or raises `ConfigurationError`."""
    found = tried(address, url, "base_url")
    if isinstance(found, str):
        assert found.startswith("`base_url` must ")
    else:
        assert found.origin.endswith(f"://{found.host}")
        assert (found.host + found.prefix).isascii()
        assert (found.host + found.prefix).isprintable()
        assert " " not in found.host + found.prefix


@given(st.text())
def test_any_text_is_an_id_or_refused(job_id):
    """Any string is a valid ID or raises `ConfigurationError`."""
    found = tried(check_id, job_id, "job ID")
    assert found == job_id or found.startswith("`job_id` ")


@pytest.mark.parametrize(
    "job_id", [None, 7, b"j", "", ".", "..", " . ", "a/b", "a\\b", "a%2f", "a?"]
)
def test_an_id_that_cannot_be_part_of_a_path_is_refused(job_id):
    """An ID that would change the path is refused before any request."""
    check_named("job_id", lambda: ITwin("made-up").progress(job_id))


# --- the pure signatures --------------------------------------------------------------------------


def test_a_naive_timestamp_is_refused():
    """Both signatures need a timestamp with a time zone."""
    common = {"method": "GET", "target": "/", "host": "h", "body": b""}
    naive = datetime(2026, 1, 1)
    for sign in (
        partial(ctn1.sign, **common, device_id=DEVICE, secret=PLANTED),
        partial(aksk.sign, **common, headers={}, access_key="AK", secret_key=PLANTED),
    ):
        check_named("timestamp", lambda sign=sign: sign(timestamp=naive))


@pytest.mark.parametrize(
    "name", ["", "X Key", "X-Key:", "X-Schl\u00fcssel", "X-K\r\nX-A: 1", 7, None]
)
def test_a_header_that_no_request_can_have(name: Any) -> None:
    """A scheme refuses it when it is made, as it does a prefix that can't be sent."""
    with pytest.raises(ConfigurationError, match=r"^`header` must be the name of a header"):
        Scheme("token", {}, header=name)
    prefix = "Bearer\n" if name == "" else "T\u00f6ken "
    with pytest.raises(ConfigurationError, match=r"^`prefix` must be printable ASCII text"):
        Scheme("token", {}, prefix=prefix)
    assert Scheme("token", {}, header="X-Api-Key").header == "X-Api-Key"
