"""Addresses: what is accepted and refused, and that httpx would send the same."""

from __future__ import annotations

from itertools import product

import httpx
import pytest

from opwatch.errors import ConfigurationError
from opwatch.net.address import address, endpoint, is_loopback
from opwatch.net.message import Address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://API.example.com", Address("https://api.example.com", "api.example.com")),
        ("api.example.com/v1/", Address("https://api.example.com", "api.example.com", "/v1")),
        ("HTTPS://h:443/", Address("https://h", "h")),
        ("https://h:8443/a%2Fb//c/", Address("https://h:8443", "h:8443", "/a%2Fb//c")),
        ("https://ü.example", Address("https://xn--tda.example", "xn--tda.example")),
        ("http://localhost:80", Address("http://localhost", "localhost")),
        ("http://[::1]:82/x", Address("http://[::1]:82", "[::1]:82", "/x")),
    ],
)
def test_a_url_is_split(url: str, expected: Address) -> None:
    """Into the origin, the `Host` header and the path, as they will be sent and signed."""
    assert address(url, "base_url") == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h", ("h", 443)),
        ("http://[::1]", ("::1", 80)),
        ("https://[fd00::1]:8443", ("fd00::1", 8443)),
    ],
)
def test_an_address_says_where_to_connect(url: str, expected: tuple[str, int]) -> None:
    """The host without brackets, and the port even if it is the default."""
    assert endpoint(address(url, "base_url")) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("a.localhost", False),
        ("localhost.", False),
        ("::ffff:127.0.0.1", False),
        ("10.0.0.1", False),
        ("2130706433", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    """`localhost` and literal addresses; where `*.localhost` leads is up to DNS."""
    assert is_loopback(host) is expected
    shown = f"[{host}]" if ":" in host else host
    if expected:
        assert address(f"http://{shown}", "base_url").host == shown
    else:
        with pytest.raises(
            ConfigurationError, match=r"^`base_url` must be an https URL: http would"
        ):
            address(f"http://{shown}", "base_url")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (7, "must be a string, not int"),
        ("https://user:planted@h", "must be a URL like https://example.com/path, without user "),
        ("https://h?planted", "must be a URL like https://example.com/path, without user "),
        ("https://h#planted", "must be a URL like https://example.com/path, without user "),
        ("ftp://planted", "must be a URL like https://example.com/path"),
        ("https://h:planted", "must be a URL like https://example.com/path"),
        ("https://h/planted ä", "must be a URL like https://example.com/path"),
        ("https://h/../planted", "must be a URL like https://example.com/path"),
    ],
)
def test_an_error_names_the_argument_and_not_the_url(url: object, problem: str) -> None:
    """The URL may contain a password."""
    with pytest.raises(ConfigurationError) as caught:
        address(url, "token_url")  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"`token_url` {problem}")
    assert "planted" not in f"{caught.value} {caught.value.__context__!r}"


HOSTS = (
    *("h", "API.Example.com", "127.0.0.1", "[::1]", "ü.example", "xn--tda.example", "1.2.3.4"),
    *("1.2.3.400", "a..b", "my_host.example.", "-a", "a-", "", "exa mple", "a\\b", "999"),
    *(
        "faß.de",
        "日本.jp",
        "ex%41mple",
        "[v1.x]",
        "a" * 63,
        "a" * 64,
        "Ü.example",
        "[::1",
        "\udc80",
    ),
)
PORTS = ("", ":", ":0", ":80", ":443", ":65535", ":65536", ":-1", ":port", ":0080")
PATHS = (
    *("", "/", "/a/", "/a//b", "/./a", "/../a", "/a/../", "/ä b", "/%zz", "/%2f", "/a;b=1", "/{}"),
    *("/a\\b", "/\udc80", "/a.b/..c", "/..", "//", "/a/./b/../c/", "/a:b", "/x\x7f", "/http://y"),
)


def by_httpx(url: str) -> tuple[str, str] | None:
    """Return the authority and the path that httpx would send."""
    try:
        parsed = httpx.URL(url)
        return parsed.netloc.decode(), parsed.raw_path.decode().rstrip("/")
    except (httpx.InvalidURL, ValueError):
        return None


def test_what_is_accepted_is_what_httpx_would_send() -> None:
    """For every combination of these hosts, ports and paths."""
    accepted = 0
    for host, port, path in product(HOSTS, PORTS, PATHS):
        url = f"https://{host}{port}{path}"
        try:
            found = address(url, "base_url")
        except ConfigurationError:
            continue
        accepted += 1
        assert (found.host, found.prefix) == by_httpx(url), url
    assert accepted > 500
