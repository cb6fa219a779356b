"""The proxy that the environment names, and what must not be shown of it."""

from __future__ import annotations

import base64
import urllib.request
from typing import Any

import httpcore
import httpx

from opwatch.errors import ConfigurationError
from opwatch.transport.addresses import is_host, url_of
from opwatch.wire import Address, Secret, is_loopback


def find(address: Address) -> httpx.Proxy | None:
    """The proxy that the environment names for an address (HTTPS_PROXY, ALL_PROXY, NO_PROXY)."""
    base = url_of(address)
    host = base.host
    if is_loopback(host):
        return None
    url = _url_for(base.scheme)
    if not url.reveal() or urllib.request.proxy_bypass(host):
        return None
    proxy = _parsed(url)
    if proxy is None:
        raise ConfigurationError(
            f"the proxy of the environment ({base.scheme.upper()}_PROXY) must be an http address; "
            "one that is spoken to over TLS or SOCKS is not supported"
        )
    return proxy


def _url_for(scheme: str) -> Secret:
    proxies = urllib.request.getproxies()
    return Secret(proxies.get(scheme) or proxies.get("all") or "")


def _parsed(url: Secret) -> httpx.Proxy | None:
    text = url.reveal()
    try:
        proxy = httpx.Proxy(text if "://" in text else f"http://{text}")
        # TLS within TLS would keep no time limit.
        fits = proxy.url.scheme == "http" and is_host(proxy.url.raw_host.decode("ascii"))
        return proxy if fits else None
    except (httpx.InvalidURL, ValueError):
        return None


def secrets(proxy: httpx.Proxy | None) -> tuple[Secret, ...]:
    """What a proxy is authenticated with, as it is sent and as it is set."""
    if proxy is None or proxy.raw_auth is None:
        return ()
    pair = base64.b64encode(b":".join(proxy.raw_auth)).decode("ascii")
    return Secret(pair), Secret(proxy.raw_auth[1].decode("utf-8", "replace"))


def options(proxy: httpx.Proxy | None) -> dict[str, Any]:
    """What a pool of connections through it is made with, beside what any pool is."""
    if proxy is None:
        return {}
    return {
        "proxy_url": httpcore.URL(
            scheme=proxy.url.raw_scheme,
            host=proxy.url.raw_host,
            port=proxy.url.port,
            target=proxy.url.raw_path,
        ),
        "proxy_auth": proxy.raw_auth,
        "proxy_headers": proxy.headers.raw,
    }
