"""Addresses: check the URL that a user gives, and split it into what a request needs.

Knows nothing about requests or connections.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from opwatch.errors import ConfigurationError
from opwatch.net.message import Address

_DEFAULT_PORTS = {"https": 443, "http": 80}
_SEGMENT = r"/(?!\.\.?(?:/|$))[\w.~!$&'()*+,;=:%-]*"  # RFC 3986, without dot segments
_URL = re.compile(rf"(?ai)(?:(https?)://|(?![^/]*://))([^/]+)((?:{_SEGMENT})*)")
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:@\[\]]+))(?::([1-9][0-9]{0,4})?)?")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?!.{{255}}){_LABEL}(?:\.{_LABEL})*\.?")
_IPV4 = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_BAD_ID = re.compile(
    r"[/\\%?#\x00-\x1f\x7f-\x9f\ud800-\udfff"
    r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"  # which change how text is shown
)


def address(url: str, name: str) -> Address:
    """Return `url` as the address of a service; `name` is the argument or variable it came from.

    Raises `ConfigurationError` unless it is an https URL, or an http URL of this machine. The
    message never quotes it: it may contain a password.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"must be a string, not {type(url).__name__}", argument=name)
    found = _URL.fullmatch(url)
    place = host_and_port(found[2]) if found else None
    if found is None or place is None:
        problem = "must be a URL like https://example.com/path, without user information"
        raise ConfigurationError(f"{problem}, query or fragment", argument=name)
    scheme, (host, port) = (found[1] or "https").lower(), place
    if scheme == "http" and not is_loopback(host):
        problem = "must be an https URL: http would send credentials unencrypted"
        allowed = "and is allowed only for localhost and loopback addresses"
        raise ConfigurationError(f"{problem}, {allowed}", argument=name)
    shown = f"[{host}]" if ":" in host else host
    if port not in (None, _DEFAULT_PORTS[scheme]):
        shown = f"{shown}:{port}"
    return Address(f"{scheme}://{shown}", shown, found[3].rstrip("/"))


def endpoint(address: Address) -> tuple[str, int]:
    """Return the host, without brackets, and the port to connect to."""
    host, port = host_and_port(address.host) or ("", None)
    return host, port or _DEFAULT_PORTS["https" if address.is_https else "http"]


def host_and_port(authority: str) -> tuple[str, int | None] | None:
    """Return the host in its ASCII form, without brackets, and the port; None if not valid."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None or int(found[3] or 0) > 65_535:
        return None
    host = found[1] or found[2].lower()
    try:
        if found[1]:
            IPv6Address(host)
        elif _IPV4.fullmatch(host):
            IPv4Address(host)
        elif not host.isascii():
            import idna  # its tables take longer to load than the rest of this module

            host = idna.encode(host).decode()
    except ValueError:
        return None
    if not (found[1] or _NAME.fullmatch(host)):
        return None
    return host, int(found[3]) if found[3] else None


def is_loopback(host: str) -> bool:
    """Return whether a valid host is this machine; of `*.localhost`, some systems ask DNS."""
    return host in ("localhost", "::1") or (host.startswith("127.") and bool(_IPV4.fullmatch(host)))


def check_id(value: object, called: str, argument: str = "job_id", parts: int = 1) -> str:
    """Return `value` if it can be a segment of a path; the service calls it `called`.

    An ID of several `parts` has one such segment for each, with `/` between them.
    """
    if not isinstance(value, str):
        problem = f"must be a string, not {type(value).__name__}"
    elif parts > 1:
        if value.count("/") != parts - 1:
            problem = f"must have {parts} parts, separated by /: {value!r:.80}"
        else:
            return "/".join(check_id(part, called, argument) for part in value.split("/"))
    elif value.strip() in ("", ".", ".."):
        problem = f"must not be empty, blank, '.' or '..': {value!r:.80}"
    elif _BAD_ID.search(value):
        problem = f"must not contain / \\ % ? # or control characters: {value!r:.80}"
    else:
        return str.__str__(value)  # not `str(value)`, which may be another text: an enum's name
    raise ConfigurationError(problem, argument=argument, advice=f"pass the {called}")
