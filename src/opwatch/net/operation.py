"""The request that a generated operation describes, as its own httpx client would send it.

An operation's `build_request` returns the arguments of `httpx.Client.request`. They are encoded
here as httpx 0.28 encodes them, without httpx; tests/net/test_operation.py compares the two.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, urlencode

from opwatch.errors import ConfigurationError
from opwatch.net.message import Address, Request

# What httpx percent-encodes in a URL. `%` isn't in it: what is encoded already stays as it is.
_UNSAFE = re.compile(r"[^!$-;=?-_a-z|~]")


def outgoing(
    address: Address, kwargs: dict[str, Any], headers: tuple[tuple[str, str], ...]
) -> Request:
    """Return the operation's request, with those of `headers` that it doesn't set itself.

    Raises `ConfigurationError` if an argument can't be sent. The transport adds `Content-Length`.
    """
    url, body = kwargs["url"], b""
    path, mark, query = url.partition("#")[0].partition("?")
    if path.startswith("//") or ("/." in path and not {".", ".."}.isdisjoint(path.split("/"))):
        # httpx would remove these segments and request another resource.
        raise ConfigurationError(f"a path parameter must not be empty, '.' or '..': {url}")
    if len(kwargs) > 2:  # more than a method and a URL
        try:
            if (params := kwargs.get("params")) is not None:  # they replace the URL's own query
                mark, query = "?" if params else "", urlencode(_pairs(params))
            body, content_type = _body(kwargs)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"an argument of {url} can't be sent: {error}") from None
        own = dict(kwargs.get("headers", {}))
        if cookies := kwargs.get("cookies"):
            own["Cookie"] = "; ".join(f"{name}={value}" for name, value in _pairs(cookies))
        names = {name.lower() for name in own}
        if content_type and "content-type" not in names:
            own["Content-Type"] = content_type
        headers = (*(one for one in headers if one[0].lower() not in names), *own.items())
    target = _UNSAFE.sub(lambda match: quote(match[0], safe=""), path + mark + query)
    return Request(kwargs["method"].upper(), address, address.prefix + target, headers, body)


def _pairs(fields: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and values as httpx writes them: None is empty, True is `true`."""
    pairs = []
    for name, value in fields.items():
        for item in value if isinstance(value, (list, tuple)) else (value,):
            text = "" if item is None else str(item)
            pairs.append((name, text.lower() if isinstance(item, bool) else text))
    return pairs


def _body(kwargs: dict[str, Any]) -> tuple[bytes, str]:
    """Return the body, and the media type that it has unless the operation names another."""
    if "files" in kwargs:
        raise TypeError(
            "opwatch doesn't upload files; call the operation's own `sync_detailed` or "
            "`asyncio_detailed`"
        )
    if (content := kwargs.get("content")) is not None:
        content = content.read() if hasattr(content, "read") else content
        return content.encode() if isinstance(content, str) else content, ""
    if data := kwargs.get("data"):
        return urlencode(_pairs(data)).encode(), "application/x-www-form-urlencoded"
    if (value := kwargs.get("json")) is not None:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode(), "application/json"
    return b"", ""
