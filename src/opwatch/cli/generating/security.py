"""Which credentials a spec asks for: its `securitySchemes`, as the arguments of a `Scheme`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from opwatch.cli.generating.spec import Place, Problem

VARIABLES: dict[str, dict[str, str]] = {
    "none": {},
    "token": {"token": "auth"},
    "key": {"api_key": "auth"},
    "basic": {"username": "username", "password": "password"},
    "oauth2": {
        "access_token": "auth",
        **{name: name for name in ("client_id", "client_secret", "scope", "token_url")},
    },
}
"""What `x-env` may name, by kind, and which argument it is."""
SUPPORTED = (
    "a bearer token (http), an API key in a header, basic (http), or OAuth2 client credentials"
)


def arguments(service: str, content: dict[str, Any], security: Any) -> dict[str, Any]:
    """Return the arguments of the `Scheme` that a `security` list asks for; empty if opwatch has
    none for it.

    `service` is the name from which variables get theirs, unless an `x-env` says otherwise.
    """
    needs = [list(each) for each in security or [{}]]
    schemes = content.get("components", {}).get("securitySchemes", {})
    chosen = [
        (kind, schemes[names[0]])
        for names in needs
        if len(names) == 1 and (kind := _kind(schemes.get(names[0], {})))
    ]
    if not chosen and [] not in needs:
        return {}
    kind, scheme = chosen[0] if chosen else ("none", {})
    prefix = service.upper().replace("-", "_")
    told = {"base_url": f"{prefix}_BASE_URL"} | {
        name: f"{prefix}_{name.upper()}" for name in VARIABLES[kind]
    }
    told |= scheme.get("x-env", {})
    flow = scheme.get("flows", {}).get("clientCredentials", {})
    found: dict[str, Any] = {
        "kind": "token" if kind == "key" else kind,
        "variables": {VARIABLES[kind].get(name, name): of for name, of in told.items()},
    }
    if kind == "key":
        found["header"] = scheme["name"]
    elif kind != "none":
        found["prefix"] = "Basic " if kind == "basic" else "Bearer "
    if flow:
        found |= {"token_url": flow["tokenUrl"], "scope": " ".join(flow.get("scopes", {}))}
    if chosen and [] in needs:
        found["optional"] = True
    return {name: value for name, value in found.items() if value != ""}


def _kind(scheme: dict[str, Any]) -> str | None:
    of = scheme.get("type")
    if of == "http":
        return {"bearer": "token", "basic": "basic"}.get(str(scheme.get("scheme")).lower())
    if of == "apiKey":
        return "key" if scheme.get("in") == "header" else None
    return "oauth2" if of == "oauth2" and "clientCredentials" in scheme.get("flows", {}) else None


def variables_exist(content: dict[str, Any]) -> Iterator[Problem]:
    """Each name of an `x-env` is one that its scheme has."""
    for name, scheme in content.get("components", {}).get("securitySchemes", {}).items():
        if "x-env" not in scheme:
            continue
        place: Place = ("components", "securitySchemes", name, "x-env")
        kind = _kind(scheme)
        known = [*VARIABLES[kind], "base_url"] if kind else []
        for key, variable in scheme["x-env"].items():
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", str(variable)):
                yield (*place, key), f"{variable!r} can't be a variable; write one like PRESS_TOKEN"
            if key not in known:
                others = f"name one of {', '.join(known)}" if known else f"supported: {SUPPORTED}"
                yield (*place, key), f"{key!r} isn't an argument of this scheme; {others}"


def token_header(content: dict[str, Any]) -> tuple[str, str]:
    """Return the header that a typed client sends a token in, and what stands in front of it there.

    The header is empty if no way to authenticate is a token alone: then each request is signed.
    """
    scheme = arguments("", content, content.get("security"))
    if not scheme or "header" in scheme:
        return scheme.get("header", ""), ""
    return "Authorization", scheme.get("prefix", "Bearer ").strip()


def base_url(content: dict[str, Any]) -> str:
    """Return the address of the first server; empty if it isn't a complete one."""
    urls = [str(server.get("url", "")) for server in content.get("servers", [])]
    url = urls[0] if urls else ""
    return url if "://" in url and "{" not in url else ""
