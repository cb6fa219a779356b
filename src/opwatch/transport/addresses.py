"""Addresses: what a user gives, checked, and what httpx makes of it.

Knows nothing of requests.
"""

from __future__ import annotations

import functools
import ipaddress
import re

import httpx

from opwatch.errors import ConfigurationError
from opwatch.wire import Address, is_loopback


def address(url: str, name: str) -> Address:
    """`url` as the address of a service; `name` is what the caller calls it.

    Raises `ConfigurationError` for anything but an absolute https URL (http to loopback) without
    user information, query or fragment. The message does not quote it: it may hold a password.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"{name} must be text, not {type(url).__name__}")
    for mark, part in (("@", "user information"), ("?", "a query"), ("#", "a fragment")):
        if mark in url:
            raise ConfigurationError(f"{name} must be an address without {part}")
    parsed = _parsed(url if "://" in url else f"https://{url}")
    if parsed is None or parsed.scheme not in ("https", "http"):
        raise ConfigurationError(f"{name} must be an address like https://example.com/path")
    if parsed.scheme == "http" and not is_loopback(parsed.host):
        raise ConfigurationError(
            f"{name} must be https: plain http, which sends credentials in the clear, "
            "is for loopback only"
        )
    host = parsed.netloc.decode("ascii")
    prefix = parsed.raw_path.decode("ascii").rstrip("/")
    return Address(f"{parsed.scheme}://{host}", host, prefix)


def _parsed(url: str) -> httpx.URL | None:
    """`url` where it is one with a host and a port that can be; httpx takes nearly anything."""
    try:
        parsed = httpx.URL(url)
        host, port = parsed.host, parsed.port
    except (httpx.InvalidURL, ValueError):
        return None
    good = is_host(parsed.raw_host.decode("ascii")) and (port is None or 0 < port < 65536)
    return parsed if host and good else None


_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


def is_host(host: str) -> bool:
    if ":" in host:
        return _is_ipv6(host)
    labels = host.removesuffix(".").split(".")
    return len(host) < 255 and all(map(_LABEL.fullmatch, labels))


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.IPv6Address(host).scope_id is None
    except ValueError:
        return False


@functools.lru_cache(maxsize=64)
def url_of(address: Address) -> httpx.URL:
    return httpx.URL(address.origin)
