"""The proxy that the environment names for an address. Opens no connection.

Plain http is for loopback only, and loopback is never proxied. So the proxy is the one for https:
`https_proxy`, `HTTPS_PROXY`, `all_proxy` or `ALL_PROXY`; a lower-case variable wins. It is spoken
to over plain http, as in `http://user:password@proxy.example.com:3128`.

`no_proxy` or `NO_PROXY` lists the hosts to connect to directly, separated by commas; case, IDNA
form and spaces around commas do not matter:

| entry | matches |
|---|---|
| `*` | every host |
| `example.com`, `.example.com`, `*.example.com` | that host and its subdomains |
| `10.1.2.3`, `fd00::1`, `[fd00::1]` | that address |
| `example.com:8443`, `10.1.2.3:8443`, `[fd00::1]:8443` | the same, on this port only |
| `10.0.0.0/8`, `fd00::/8` | every address of that network |
"""

from __future__ import annotations

import base64
import os
import re
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import unquote

from opwatch.errors import ConfigurationError
from opwatch.net.address import endpoint, host_and_port, is_loopback
from opwatch.net.message import Address, Secret


class Proxy(NamedTuple):
    host: str
    port: int
    authorization: Secret | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def find(address: Address) -> Proxy | None:
    """Return the proxy for an address, or None to connect directly; no error quotes a variable."""
    host, port = endpoint(address)
    if is_loopback(host) or is_exempt(host, port, _variable("no_proxy")):
        return None
    for name in ("https_proxy", "all_proxy"):
        if url := Secret(_variable(name)):
            if found := _parsed(url):
                return found
            raise ConfigurationError(
                f"`{name.upper()}` must be the URL of an http proxy, like "
                "http://user:password@proxy.example.com:3128; in the password, write / as %2F and "
                "# as %23; https and SOCKS proxies are not supported"
            )
    return None


def is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Return whether `no_proxy` lists this host."""
    return any(_matches(entry.strip(), host, port) for entry in no_proxy.split(","))


def _matches(entry: str, host: str, port: int) -> bool:
    address = _ip(host)
    with suppress(ValueError):
        network = ip_network(entry, strict=False)
        return address is not None and address in network
    found = host_and_port(entry.removeprefix("*").removeprefix("."))
    if found is None or found[1] not in (None, port):
        return entry == "*"
    if address is not None:
        return _ip(found[0]) == address
    return f".{host.removesuffix('.')}".endswith(f".{found[0].removesuffix('.')}")


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _variable(name: str) -> str:
    """Return a variable; an empty lower-case one counts too, and unsets the other."""
    return os.environ.get(name, os.environ.get(name.upper(), ""))


def _parsed(url: Secret) -> Proxy | None:
    scheme, _, rest = url.reveal().rpartition("://")
    before, *path = re.split("[/?#]", rest, maxsplit=1)
    userinfo, _, authority = before.rpartition("@")
    found = host_and_port(authority)
    is_cut = any("@" in part for part in path)  # by a `/`, `?` or `#` of the password
    if scheme.lower() not in ("", "http") or found is None or is_cut:
        return None
    user, _, password = userinfo.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode("utf-8", "surrogateescape")
    authorization = Secret(f"Basic {base64.b64encode(pair).decode()}") if userinfo else None
    return Proxy(found[0], found[1] or 80, authorization)
