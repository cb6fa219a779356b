"""Which credentials a spec asks for: its `securitySchemes`, as the arguments of a `Scheme`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from opwatch.cli.generating.document import Operation, at, operations, referred
from opwatch.cli.generating.spec import Place, Problem
from opwatch.errors import ConfigurationError
from opwatch.net.address import address
from opwatch.net.message import HEADER_NAME

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
SUPPORTED = "HTTP bearer tokens, HTTP basic authentication, API keys in a header, and OAuth2"


def arguments(service: str, content: dict[str, Any], security: Any) -> dict[str, Any]:
    """Return the arguments of the `Scheme` that a `security` list asks for; empty if opwatch has
    none for it.

    `service` is the name from which variables get theirs, unless an `x-env` says otherwise.
    """
    needs = security or [{}]
    known = schemes(content)
    chosen = [
        (kind, known[name], scopes)
        for need in needs
        for name, scopes in need.items()
        if len(need) == 1 and (kind := kind_of(known.get(name, {})))
    ]
    if not chosen and {} not in needs:
        return {}
    kind, scheme, scopes = chosen[0] if chosen else ("none", {}, [])
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
        scopes = scopes or flow.get("scopes", {})
        found |= {"token_url": flow["tokenUrl"], "scope": " ".join(scopes)}
    if chosen and {} in needs:
        found["optional"] = True
    return {name: value for name, value in found.items() if value != ""}


def schemes(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the `securitySchemes` of a spec by their names, references followed."""
    found = content.get("components", {}).get("securitySchemes", {})
    return {name: referred(content, scheme) for name, scheme in found.items()}


def kind_of(scheme: dict[str, Any]) -> str | None:
    """Return which of the supported kinds a scheme is."""
    of = scheme.get("type")
    if of == "http":
        return {"bearer": "token", "basic": "basic"}.get(str(scheme.get("scheme")).lower())
    if of == "apiKey":
        return "key" if scheme.get("in") == "header" else None
    if of == "oauth2" and "clientCredentials" in scheme.get("flows", {}):
        return "oauth2"
    return "token" if of in ("oauth2", "openIdConnect") else None


def schemes_are_usable(content: dict[str, Any]) -> Iterator[Problem]:
    """Each scheme and scope that is asked for is there, each name of an `x-env` is one that its
    scheme has, and headers and addresses can be used."""
    yield from _needs_are_there(content)
    for name, scheme in schemes(content).items():
        place: Place = ("components", "securitySchemes", name)
        kind = kind_of(scheme)
        if kind == "key":
            header = str(scheme["name"])
            problem = header_problem(header)
            if header.lower() in OWN_HEADERS - {"authorization"}:
                problem = f"{header} is set by opwatch; use another header"
            if problem:
                yield (*place, "name"), problem
        if kind == "oauth2":
            url = scheme["flows"]["clientCredentials"]["tokenUrl"]
            if problem := _address_problem(url):
                yield (*place, "flows", "clientCredentials", "tokenUrl"), problem
        if "x-env" in scheme:
            yield from _variables_exist(scheme["x-env"], kind, (*place, "x-env"))


def _needs_are_there(content: dict[str, Any]) -> Iterator[Problem]:
    known = schemes(content)
    holders = [((), content), *((found.place, found.content) for found in operations(content))]
    for place, holder in holders:
        for index, need in enumerate(holder.get("security") or []):
            for name, scopes in need.items():
                at_need = (*place, "security", index, name)
                if name not in known:
                    yield at_need, f"no scheme is called {name!r}; {_one_of(name, known)}"
                    continue
                flows = known[name].get("flows", {}).values()
                listed = {scope for flow in flows for scope in flow.get("scopes", {})}
                for n, scope in enumerate(scopes if listed else []):
                    if scope not in listed:
                        text = f"{name} has no scope {scope!r}; {_one_of(scope, listed)}"
                        yield (*at_need, n), text


def _one_of(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1) or sorted(known)
    return f"write {' or '.join(near)}" if near else "add it to components/securitySchemes"


def _variables_exist(variables: Any, kind: str | None, place: Place) -> Iterator[Problem]:
    known = [*VARIABLES[kind], "base_url"] if kind else []
    if not isinstance(variables, dict):
        yield place, f"must be a map, such as {{{(known or ['token'])[0]}: PRESS_TOKEN}}"
        return
    if not known:
        yield place, f"opwatch doesn't support this scheme; it supports {SUPPORTED}"
        return
    for key, variable in variables.items():
        is_text = isinstance(variable, str)
        if not (is_text and re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", variable)):
            yield (*place, key), f"{variable!r} isn't a variable name; write one like PRESS_TOKEN"
        if key not in known:
            others = f"use one of {', '.join(known)}"
            yield (*place, key), f"{key!r} isn't an argument of this scheme; {others}"


def header_problem(name: str) -> str | None:
    """Return why a spec can't have opwatch send a header of this name; None if it can."""
    if not HEADER_NAME.fullmatch(name):
        return f"{name!r} isn't a valid header name; use letters, digits and hyphens"
    if name.lower() in CONNECTION_HEADERS:
        return f"{name} can't be set here, because it controls the connection; use another header"
    return None


OWN_HEADERS = {
    *("accept", "accept-encoding", "authorization", "content-type", "user-agent"),
}
CONNECTION_HEADERS = {
    *("connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
}


def servers_are_usable(content: dict[str, Any], operation: Operation) -> Iterator[Problem]:
    """The address of a server can be used as it is."""
    url = base_url(content, operation.place)
    if url and (problem := _address_problem(url)):
        yield (*_servers(content, operation.place)[0], "servers", 0, "url"), problem


def _address_problem(url: Any) -> str | None:
    if "://" not in str(url):
        return "must be a complete URL, such as https://press.example/token"
    try:
        address(url, "")
    except ConfigurationError as error:
        return error.problem
    return None


def token_header(content: dict[str, Any]) -> tuple[str, str]:
    """Return the header that a typed client sends a token in, and the prefix of the token.

    The header is empty if no way to authenticate is a token alone: then each request is signed.
    """
    scheme = arguments("", content, content.get("security"))
    if not scheme or "header" in scheme:
        return scheme.get("header", ""), ""
    return "Authorization", scheme.get("prefix", "Bearer ").strip()


def base_url(content: dict[str, Any], place: Place = ()) -> str:
    """Return the address of the first server of the operation at a place; empty if it isn't a
    complete one."""
    url = str(server(content, place).get("url", ""))
    return url if "://" in url and "{" not in url else ""


def server(content: dict[str, Any], place: Place) -> dict[str, Any]:
    """Return the first of the servers that count at a place; empty if there are none."""
    return _servers(content, place)[1]


def _servers(content: dict[str, Any], place: Place) -> tuple[Place, dict[str, Any]]:
    """Return the first server of those that count at a place, the nearest, and where they stand."""
    for length in range(len(place), -1, -1):
        above = tuple(map(str, place[:length]))
        if servers := at(content, above).get("servers"):
            return above, servers[0]
    return (), {}
