"""What a spec must have so that `opwatch generate` can make a package of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from opwatch.cli.generating import examples, reduced, rules, security, spec, yaml_rules
from opwatch.cli.generating.document import (
    Operation,
    follow_up,
    listed,
    needed,
    referred,
    security_of,
    waited,
)
from opwatch.cli.generating.spec import Finding, Place, Problem
from opwatch.cli.generating.waits import compiled
from opwatch.errors import ConfigurationError
from opwatch.net.message import HEADER_NAME
from opwatch.reading import object_in

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME = 60
_OWN = ("apig", "catenis", "itwin", "itwin-v2")
_COOKIE = re.compile(f"({HEADER_NAME.pattern})=([ -:<-~]*[!-:<-~])?")
_PATH = re.compile(r"(?!//)(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)+")


class Invalid(ConfigurationError):
    """A spec that breaks rules; `findings` says which, and where."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        super().__init__("\n".join(map(str, findings)))


class Unnamed(ConfigurationError):
    """The name of a spec's file, or the one that was given, can't be a service's."""


def checked_name(path: Path, name: str | None) -> str:
    """Return the name of a service, by default that of its spec's file.

    Raises `Unnamed` for one that it can't have.
    """
    found = name or re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    if not _NAME.fullmatch(found) or len(found) > _LONGEST_NAME:
        form = f"at most {_LONGEST_NAME} lowercase letters, digits and single hyphens"
        raise Unnamed(f"{found!r:.40} isn't a valid name; use {form}, and start with a letter")
    if found in _OWN:
        raise Unnamed(f"{found!r} is one of opwatch's own services")
    if found in ("api", "waits"):  # opwatch_api and opwatch_waits
        raise Unnamed(f"opwatch_{found} is one of opwatch's own packages")
    if found in ("none", "true", "false"):
        raise Unnamed(f"{found!r} isn't a valid name: its class name would be a keyword")
    return found


def checked(path: Path, name: str) -> tuple[dict[str, Any], bytes]:
    """Return what the wait needs of a spec, and its file; raise `Invalid` if it breaks a rule."""
    data, content, lines = _loaded(path)
    content = spec.unlimited(needed(content))
    parts = spec.placed(content)
    groups: list[dict[str, Any]] = [
        {"structure": spec.structure},
        {"wait-form": rules.form, "security": security.schemes_are_usable},
        {"wait-use": _uses, "wait-form": rules.schedules_are_slow},
        {"wait-pointer": rules.pointers_exist, "wait-phase": rules.states_have_phases},
        {"wait-example": lambda content: _examples(content, name)},
    ]
    for group in groups:
        findings = []
        for rule, problems in group.items():
            findings += spec.found(str(path), lines, rule, problems(parts))
        if findings:
            raise Invalid(findings)
    return content, data


def _loaded(path: Path) -> tuple[bytes, Any, Any]:
    try:
        data = yaml_rules.raw(path, str(path))
        text = yaml_rules.decoded(data, str(path)).removeprefix("\ufeff")
        is_json = spec.is_json(path, text)
        yaml_rules.check(text, str(path), strict=False, is_json=is_json)
        content, lines = spec.load(path, text)
        _follow_path_items(content)
        json.dumps(content, default=str, ensure_ascii=False).encode()
    except yaml_rules.Unreadable as error:
        raise Invalid(error.findings) from None
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from None
    except UnicodeEncodeError:
        problem = "contains a lone surrogate (\\ud800 to \\udfff); write the character itself"
        raise ConfigurationError(f"{path} {problem}") from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{path} isn't JSON: {error}") from None
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise ConfigurationError(f"{path} isn't YAML: {text}") from None
    except RecursionError:
        raise ConfigurationError(f"{path} is nested too deeply, or contains itself") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigurationError(f"{path} has a value that can't be read: {error}") from None
    return data, content, lines


def _follow_path_items(content: Any) -> None:
    """Put each path item in place of a reference to it, with what is beside the reference."""
    paths = object_in(object_in(content).get("paths"))
    for path, item in paths.items():
        if str(object_in(item).get("$ref")).startswith("#/"):
            with suppress(LookupError, TypeError, ValueError, RecursionError):  # which are findings
                own = {key: part for key, part in item.items() if key != "$ref"}
                found = referred(content, item)
                paths[path] = found | own if isinstance(found, dict) else found


def _examples(content: dict[str, Any], name: str) -> Iterator[Problem]:
    def source() -> str | None:
        return compiled(name, reduced.reduced(name, content))

    return examples.are_read(content, source, labelled=False)


def _uses(content: dict[str, Any]) -> Iterator[Problem]:
    """The spec has what a package needs beside its wait."""
    found = waited(content)
    if not found:
        yield (), "no operation has an x-wait block; add one (see the documentation of x-wait)"
    for operation in found:
        block = operation.content["x-wait"]
        others = [n for n in operation.parameters if n not in listed(block["id"]["parameter"])]
        if others:
            them = "it" if len(others) == 1 else "them"
            text = f"the path also needs {', '.join(others)}; add {them} to the ID"
            yield (*operation.place, "x-wait", "id", "parameter"), text
        if not security.arguments("", content, security_of(content, operation)):
            text = (
                f"none of these is supported; opwatch supports {security.SUPPORTED}, one at a time"
            )
            above = operation.place if "security" in operation.content else ()
            yield (*above, "security"), text
        yield from security.servers_are_usable(content, operation)
        outcome = follow_up(content, block)
        if outcome is not None:
            yield from _is_like(content, operation, outcome)
        key = str(security.arguments("", content, security_of(content, operation)).get("header"))
        wait_headers = (*operation.place, "x-wait", "headers")
        sent: dict[Place, str] = {(*wait_headers, name): name for name in block.get("headers", {})}
        for each in filter(None, (operation, outcome)):
            for place, parameter in reduced.parameters_of(content, each):
                if parameter["in"] == "header" and parameter.get("required"):
                    sent[place] = parameter["name"]
        for at, name in sent.items():
            if name.lower() == key.lower():
                yield at, f"the credentials are sent in {name}; leave it out"
        for each in filter(None, (operation, outcome)):
            yield from _answers(content, each)
            yield from _arguments(content, each)


def _is_like(
    content: dict[str, Any], operation: Operation, outcome: Operation
) -> Iterator[Problem]:
    """Two operations are at one server, and take the same credentials."""
    url, other = (security.server(content, each.place).get("url") for each in (operation, outcome))
    if url != other:
        text = f"uses the server {other!r}, unlike the operation with x-wait"
        yield outcome.place, f"{text}; opwatch sends both requests to one server"
    given, needed = (
        security.arguments("", content, security_of(content, each)) for each in (operation, outcome)
    )
    if needed != given and needed.get("kind") != "none" and "optional" not in needed:
        text = "takes different credentials; opwatch sends the same to both operations"
        yield (*outcome.place, "security"), text


def _answers(content: dict[str, Any], operation: Operation) -> Iterator[Problem]:
    """The answer is JSON, and one object, of which a class can be made."""
    place = (*operation.place, "responses", "200")
    if not operation.media_type:
        yield (*place, "content"), "no media type is JSON; add application/json"
        return
    place = (*place, "content", operation.media_type)
    if not operation.schema:
        yield place, "no schema; describe the response"
        return
    schema = reduced.merged(content, operation.schema)
    kinds = {*listed(schema.get("type", "object"))} - {"null"}
    if kinds != {"object"} or not {"type", "properties"} & schema.keys():
        yield place, "the schema must describe one object; write one with `properties`"


def _arguments(content: dict[str, Any], operation: Operation) -> Iterator[Problem]:
    """What opwatch would have to send, and doesn't know or can't."""
    plain = re.sub(r"\{[^{}]+\}", "x", operation.path)
    if not _PATH.fullmatch(plain) or {".", ".."} & set(unquote(plain).split("/")):
        text = "the path isn't a valid URL path; percent-encode its special characters"
        yield operation.place[:2], text
    for place, parameter in reduced.parameters_of(content, operation):
        what = f"the {parameter['in']} parameter {parameter['name']!r}"
        if parameter["in"] == "path" and parameter.get("style", "simple") != "simple":
            style = parameter["style"]
            yield place, f"{what} has the style {style!r}, but opwatch supports only 'simple'"
        if parameter["in"] == "path" or not parameter.get("required"):
            continue
        if (value := reduced.default_of(content, parameter)) is None:
            fix = "give its schema a default (a single value), which opwatch will send"
            yield place, f"{what} is required, but opwatch has no value for it; {fix}"
        elif parameter["in"] == "header":
            for problem in filter(None, rules.header_problems(parameter["name"], value)):
                yield place, problem
        elif parameter["in"] == "cookie" and not _COOKIE.fullmatch(f"{parameter['name']}={value}"):
            yield place, f"{what} can't be sent as it is; use printable ASCII without semicolons"
    body = referred(content, operation.content.get("requestBody", {}))
    if body.get("required"):
        yield (
            (*operation.place, "requestBody"),
            "opwatch sends no request body; use an operation that doesn't require one",
        )
