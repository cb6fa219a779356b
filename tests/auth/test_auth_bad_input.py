"""What cannot be right is refused before any request, by name, and never shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from auth_support import API_SECRET, DEVICE
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
from opwatch.errors import ConfigurationError
from opwatch.testing import Script
from opwatch.transport import address
from opwatch.wire import Address, check_id

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


def refusal(build: Callable[[], Any]) -> str:
    """What building something is refused with; no request is made, and nothing planted is told."""
    with Script({}) as script, pytest.raises(ConfigurationError) as caught:
        build()
    assert script.sent == []
    shown = f"{caught.value!s} {caught.value!r} {caught.value.__context__!r}"
    assert PLANTED not in shown
    return str(caught.value)


@pytest.mark.parametrize("value", SECRETS)
@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("api_access_secret", lambda value: Catenis(DEVICE, value)),
        ("api_access_secret", lambda value: AsyncCatenis(DEVICE, value)),
        ("client_secret", lambda value: ClientCredentials("client", value)),
        ("client_id", lambda value: ClientCredentials(value, "made up")),
        ("scope", lambda value: ClientCredentials("client", "made up", scope=value)),
        ("secret_key", lambda value: AkSk("AK", value)),
        ("access_key", lambda value: AkSk(value, "made up")),
    ],
)
def test_a_secret_must_be_printable_text(name, build, value):
    """Empty, not text, a newline that would end a header, anything but ASCII: refused by name."""
    assert refusal(lambda: build(value)).startswith(f"{name} must ")


@pytest.mark.parametrize("value", [value for value in SECRETS if value is not None])
def test_a_security_token_must_be_printable_text(value):
    """As a secret; None stands for permanent keys."""
    words = refusal(lambda: AkSk("AK", "made up", security_token=value))
    assert words.startswith("security_token must ")


@pytest.mark.parametrize("value", [value for value in SECRETS if value != f" {PLANTED}"])
@pytest.mark.parametrize("client", [ITwin, AsyncITwin])
def test_a_token_must_be_printable_text(client, value):
    """As a secret; spaces around it are harmless."""
    assert refusal(lambda: client(value)).startswith("auth must ")


@pytest.mark.parametrize("value", [value for value in SECRETS if value != f" {PLANTED}"])
@pytest.mark.parametrize("client", [Apig, AsyncApig])
def test_a_token_of_a_project_must_be_printable_text(client, value):
    """As a secret, for APIG too."""
    build = partial(client, "https://apig.example.com", value, project_id="p")
    assert refusal(build).startswith("auth must ")


@pytest.mark.parametrize("auth", [ClientCredentials, object(), {"token": PLANTED}, 1.5])
def test_what_is_no_way_to_authenticate_is_refused(auth):
    """A class instead of an object, a dictionary: the message says what would do."""
    assert "a callable that returns one, not" in refusal(lambda: ITwin(auth))


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
    """The message says which are right."""
    assert words in refusal(build)


@pytest.mark.parametrize(
    "device", ["", "short", f"{DEVICE}0", f"{DEVICE[:-1]}ä", f"{DEVICE[:-1]}-", f"{DEVICE[:-1]}\n"]
)
def test_a_device_id_of_the_wrong_form_is_refused(device):
    """20 of `\\w`, ASCII only."""
    assert refusal(lambda: Catenis(device, API_SECRET)).startswith("device_id must ")


def test_swapped_arguments_do_not_show_the_secret():
    """Who gives the secret for the device id reads which argument is wrong, and not the secret."""
    assert "device_id must be 20" in refusal(lambda: Catenis(PLANTED, DEVICE))


@pytest.mark.parametrize("value", [None, 7, PLANTED.encode(), [PLANTED], ""])
@pytest.mark.parametrize("name", ["auth_url", "username", "password", "domain_name"])
def test_a_login_must_be_text(name, value):
    """Empty or not text: refused by name."""
    given = {"auth_url": "https://iam", "username": "u", "password": "p", "domain_name": "d"}
    words = refusal(lambda: IamPassword(**(given | {name: value}), project_id="p"))
    assert words == f"{name} must be text, and not empty"


@pytest.mark.parametrize("password", [" ", "p", " leading", "pässwörd\n\u2028\0", "\udc80", "🔑"])
def test_any_password_may_be_one(password):
    """It goes into JSON, so nothing but the empty text is refused."""
    auth = IamPassword("https://iam", "u", password, domain_name="d", project_id="p")
    assert auth._password.reveal() == password


@pytest.mark.parametrize(
    ("project", "words"),
    [
        ({}, "give project_name or project_id, not neither"),
        ({"project_id": "p", "project_name": "n"}, "give project_name or project_id, not both"),
        ({"project_id": ""}, "project_id must be text"),
        ({"project_name": " "}, "project_name must be text"),
        ({"project_name": 7}, "project_name must be text"),
    ],
)
def test_a_project_is_given_once(project, words):
    """By name or by id, not both, not neither."""
    assert words in refusal(lambda: IAM(**project))


@pytest.mark.parametrize("auth", ["made-up", lambda: "made-up", KEYS])
def test_without_a_login_the_project_must_be_given(auth):
    """Only the identity service's answer says which project it is."""
    words = refusal(lambda: Apig("https://apig.example.com", auth))
    assert words == "project_id must be given with this auth"


@pytest.mark.parametrize("project", ["..", "a/b", "a?b", "a%b", "a\nb"])
@pytest.mark.parametrize("auth", ["made-up", KEYS, IAM(project_name="n")])
def test_a_project_id_must_fit_a_path(project, auth):
    """It cannot choose another path."""
    words = refusal(lambda: Apig("https://apig.example.com", auth, project_id=project))
    assert words.startswith("project_id must ")


@pytest.mark.parametrize("project", ["pröject", " p", "p "])
def test_a_signed_project_id_must_fit_a_header(project):
    """With AK/SK it is also `X-Project-Id`."""
    words = refusal(lambda: Apig("https://apig.example.com", KEYS, project_id=project))
    assert words.startswith("project_id must ")


def test_a_misspelt_option_is_named_and_its_value_is_not():
    """It may have been meant for the credentials."""
    words = refusal(lambda: ITwin("made-up", client_secret=PLANTED))
    assert words.startswith("unknown option client_secret; there are ")


# --- addresses ------------------------------------------------------------------------------------

BUILDERS: dict[str, Callable[[str], Any]] = {
    "base_url": lambda url: ITwin("made-up", base_url=url),
    "token_url": lambda url: ClientCredentials("client", "made up", token_url=url),
    "auth_url": lambda url: IamPassword(url, "u", "p", domain_name="d", project_id="p"),
    "endpoint": lambda url: Apig(url, "made-up", project_id="p"),
}
CATENIS = {"base_url": lambda url: Catenis(DEVICE, API_SECRET, base_url=url)}


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://10.0.0.1",
        "http://[::2]/",
        "http://localhost.example.com",
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
        f"https://{'a' * 64}.com",
        "https://" + "a." * 130 + "com",
        f"https://example.com/\udc80{PLANTED}",
    ],
)
@pytest.mark.parametrize("name", BUILDERS)
def test_an_address_that_cannot_be_right_is_refused(name, url):
    """By name; the message never quotes it, since it may hold a password."""
    assert refusal(lambda: BUILDERS[name](url)).startswith(f"{name} must ")


@pytest.mark.parametrize("url", [None, 7, PLANTED.encode(), [PLANTED]])
@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "auth_url"])
def test_an_address_must_be_text(name, url):
    """None and bytes are refused too."""
    assert refusal(lambda: BUILDERS[name](url)).startswith(f"{name} must be text, not ")


@pytest.mark.parametrize("url", ["http://catenis.io/api/0.7", f"https://{PLANTED}@catenis.io"])
def test_an_address_of_catenis_is_looked_at_as_well(url):
    """`base_url` of Catenis too."""
    assert refusal(lambda: CATENIS["base_url"](url)).startswith("base_url must ")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://API.example.com", Address("https://api.example.com", "api.example.com", "")),
        ("api.example.com/v1/", Address("https://api.example.com", "api.example.com", "/v1")),
        ("https://h:443/", Address("https://h", "h", "")),
        ("https://h:8443/a%2Fb//c/", Address("https://h:8443", "h:8443", "/a%2Fb//c")),
        ("https://h/ä b", Address("https://h", "h", "/%C3%A4%20b")),
        ("https://ü.example", Address("https://xn--tda.example", "xn--tda.example", "")),
        ("https://my_host.example.", Address("https://my_host.example.", "my_host.example.", "")),
        ("http://localhost:80", Address("http://localhost", "localhost", "")),
        ("http://127.1.2.3:81", Address("http://127.1.2.3:81", "127.1.2.3:81", "")),
        ("http://[::1]:82/x", Address("http://[::1]:82", "[::1]:82", "/x")),
        ("https://[2001:DB8::1]", Address("https://[2001:DB8::1]", "[2001:DB8::1]", "")),
        ("http://a.localhost", Address("http://a.localhost", "a.localhost", "")),
    ],
)
def test_an_address_is_taken_apart(url, expected):
    """Origin, `Host` and base path, as they will be sent and signed."""
    assert address(url, "base_url") == expected


def tried(function: Callable[..., Any], *arguments: Any) -> Any:
    """What it returns, or what it is refused with."""
    try:
        return function(*arguments)
    except ConfigurationError as error:
        return str(error)


@given(st.text() | st.from_regex(r"https?://[^/]*(/.*)?", fullmatch=True))
def test_no_address_does_anything_else_than_fit_or_be_refused(url):
    """Whatever the text: an address, or a `ConfigurationError`; both hold ASCII only."""
    found = tried(address, url, "base_url")
    if isinstance(found, str):
        assert found.startswith("base_url must ")
    else:
        assert found.origin.endswith(f"://{found.host}")
        assert (found.host + found.prefix).isascii()
        assert (found.host + found.prefix).isprintable()
        assert " " not in found.host + found.prefix


@given(st.text())
def test_no_id_does_anything_else_than_fit_or_be_refused(job_id):
    """Whatever the text: itself, or a `ConfigurationError`."""
    found = tried(check_id, job_id, "the job id")
    assert found == job_id or found.startswith("the job id ")


@pytest.mark.parametrize(
    "job_id", [None, 7, b"j", "", ".", "..", " . ", "a/b", "a\\b", "a%2f", "a?"]
)
def test_an_id_that_cannot_stand_in_a_path_is_refused(job_id):
    """Before any request."""
    assert refusal(lambda: ITwin("made-up").progress(job_id)).startswith("the job id must ")


# --- the pure signatures --------------------------------------------------------------------------


def test_a_naive_timestamp_is_refused():
    """Both signatures want to know the time zone."""
    common = {"method": "GET", "target": "/", "host": "h", "body": b""}
    naive = datetime(2026, 1, 1)
    for sign in (
        partial(ctn1.sign, **common, device_id=DEVICE, secret=PLANTED),
        partial(aksk.sign, **common, headers={}, access_key="AK", secret_key=PLANTED),
    ):
        assert "has no time zone" in refusal(lambda sign=sign: sign(timestamp=naive))
