"""Rules about a spec and its document: they must agree, or a mark must give the reason.
spec_rules.py applies these rules along with its own.

`x-addition` on a node means that the node isn't in the document, so neither the node nor its
contents are compared. `x-inferred` means the same, except for the texts and values of its own node.
`x-deviation` excuses what its text names in its own node: that a value may be null or is an
integer, other bounds or another format, an open enumeration, or further properties.
"""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from documents import Document, read, words
from schema_rules import (
    Place,
    Problem,
    is_ours,
    own_schema,
    resolved,
    same_names,
    says,
    schema_agrees,
)

from opwatch.reading import object_in

_METHODS = ("get", "put", "post", "delete", "patch")


def values_agree(content: dict[str, Any], document: str) -> Iterator[Problem]:
    """Each path, parameter, status, field, type, enumeration and `required` of the document is in
    the spec, and the reverse."""
    if not document:
        return
    found = read(document)
    operations = [*_operations(content)]
    if len(operations) != 1:
        text = f"the document describes one operation, but {len(operations)} here are unmarked"
        yield ("paths",), f"{text}; mark what it doesn't describe with x-addition"
        return
    place, operation = operations[0]
    if other := [*_names(content, place, operation, found)]:
        yield from other
        return
    yield from _addresses(content, document)
    yield from _restart(operation, place, document)
    yield from _parameters(content, place, operation, found)
    yield from _statuses(content, place, operation, found)
    yield from _headers(content, found)
    yield from _security(content, found, document)
    yield from _deprecated(content, ())
    for schema in found.schemas:
        yield from own_schema(content, schema)


def marks_are_needed(content: dict[str, Any], document: str) -> Iterator[Problem]:
    """Each `x-deviation` marks something that differs."""
    for place in _deviations(content, ()) if document else ():
        if not any(values_agree(_unmarked(content, place), document)):
            yield (*place, "x-deviation"), "nothing differs from the document here; remove the mark"


def _deviations(node: Any, place: Place) -> Iterator[Place]:
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(child, dict | list) and key not in ("value", "x-wait"):
            yield from _deviations(child, (*place, key))
    if "x-deviation" in node:
        yield place


def _unmarked(node: Any, place: Place) -> Any:
    """Return a copy of a spec without the mark at a place."""
    if not place:
        return {key: child for key, child in node.items() if key != "x-deviation"}
    if isinstance(node, list):
        return [
            _unmarked(child, place[1:]) if index == place[0] else child
            for index, child in enumerate(node)
        ]
    return node | {place[0]: _unmarked(node[place[0]], place[1:])}


def _operations(content: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    for path, item in content.get("paths", {}).items():
        if "x-addition" not in item:
            for method in _METHODS:
                if method in item and "x-addition" not in item[method]:
                    yield ("paths", path, method), item[method]


def _names(
    content: dict[str, Any], place: Place, operation: dict[str, Any], found: Document
) -> Iterator[Problem]:
    """Compare the document's name for the operation, its route, and the names of the route's
    parts."""
    path = str(place[1])
    item = content["paths"][path]
    name = str(operation.get("operationId"))
    is_other = found.name is not None and found.name.casefold() != name.casefold()
    if is_other and str(found.name) not in operation.get("x-deviation", ""):
        text = f"the document calls it {found.name}; explain the different name with x-deviation"
        yield (*place, "operationId"), text
    if found.path is None:
        if not is_ours(item):
            yield place[:2], "the document has no route; name its source in an x-inferred"
        return
    own = f"{str(place[-1]).upper()} {path}"
    if re.sub("{[^}]*}", "{}", own) != re.sub("{[^}]*}", "{}", found.path):
        yield place, f"the document says {found.path}, not {own}; correct it"
        return
    excused = any("x-deviation" in each for each in operation.get("parameters", []))
    if own != found.path and not excused:
        text = f"the document says {found.path}; say with x-deviation why a parameter is renamed"
        yield (*place, "parameters"), text


def _addresses(content: dict[str, Any], document: str) -> Iterator[Problem]:
    """Each address, version and media type is in the document as it is, or an address in its mark.
    One is only missed where no longer one is that contains it."""
    literals: list[tuple[Place, str]] = [(("info", "version"), str(content["info"]["version"]))]
    for place, node, url in _urls(content):
        literal = url
        for name, variable in node.get("variables", {}).items():
            literal = literal.replace(f"{{{name}}}", str(variable["default"]))
        own = re.escape(url.partition("{")[0].partition("://")[2].rstrip("/"))
        texts = " ".join(str(node[key]) for key in ("x-inferred", "x-addition") if key in node)
        if not texts:
            literals.append((place, literal))
        elif not re.search(rf"(?<![\w.-]){own}(?![\w/-])", texts):
            yield place, f"its mark doesn't name {url}; correct one of them"
    for place, _ in _media_types(content, ()):
        if "vnd." in str(place[-1]):
            literals.append((place, str(place[-1])))
    missed: list[str] = []
    for place, literal in sorted(literals, key=lambda each: -len(each[1])):
        is_there = re.search(rf"(?<!\w){re.escape(literal)}(?!\w)", document)
        if not is_there and not any(literal in longer for longer in missed):
            missed.append(literal)
            text = "isn't in the document; correct it, or name its source in a mark"
            yield place, f"{literal} {text}"


def _urls(content: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any], str]]:
    """Each address of a server and of a token endpoint, with the node that has it."""
    for index, server in enumerate(content.get("servers", [])):
        yield ("servers", index, "url"), server, str(server["url"])
    for name, scheme in content.get("components", {}).get("securitySchemes", {}).items():
        for kind, flow in scheme.get("flows", {}).items():
            if "tokenUrl" in flow:
                place = ("components", "securitySchemes", name, "flows", kind, "tokenUrl")
                yield place, flow, str(flow["tokenUrl"])


def _media_types(node: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        if place[-1:] == ("content",):
            yield (*place, key), child
        elif isinstance(child, dict | list) and key not in ("value", "x-wait", "schemas"):
            yield from _media_types(child, (*place, key))


def _restart(operation: dict[str, Any], place: Place, document: str) -> Iterator[Problem]:
    """What restarts the schedule is what the document says, if it says so."""
    block = operation.get("x-wait")
    pointer = str(block.get("restart-on-change", "")) if isinstance(block, dict) else ""
    for sentence in re.split(r"[.\n]", document):
        said = words(sentence).casefold()
        if " restarted " in said and words(pointer.rpartition("/")[2]).casefold() not in said:
            text = f"the document says {sentence.strip()!r}; name the field that it means"
            yield (*place, "x-wait", "restart-on-change"), text


def _headers(content: dict[str, Any], found: Document) -> Iterator[Problem]:
    """Compare the headers of the document with the security schemes."""
    place: Place = ("components", "securitySchemes")
    schemes = content.get("components", {}).get("securitySchemes", {})
    named = {scheme.get("name"): (key, scheme) for key, scheme in schemes.items()}
    for header, said in found.headers.items():
        if header not in named:
            yield place, f"the document's header {header} isn't the name of a scheme; add one"
            continue
        key, scheme = named[header]
        yield from says(said["description"], scheme.get("description", ""), (*place, key))
        if scheme.get("in") != "header":
            yield (*place, key, "in"), f"the document says that {header} is a header; correct it"
        if said["type"] != "string":
            yield (*place, key), f"the document says type {said['type']}, not string; correct it"
        if said["required"] == ({} in content.get("security", [])):
            text = "requires" if said["required"] else "doesn't require"
            yield ("security",), f"the document {text} the header {header}; correct it"


def _security(content: dict[str, Any], found: Document, document: str) -> Iterator[Problem]:
    """The credentials that the document names are one alternative, and have its scopes."""
    schemes = content.get("components", {}).get("securitySchemes", {})
    headers = {key: str(scheme.get("name", "Authorization")) for key, scheme in schemes.items()}
    said = {
        key
        for key, name in headers.items()
        if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", document)
    }
    together = " and ".join(headers[key] for key in sorted(said))
    scopes = {*re.findall(r"\bscope ([a-z][\w.:-]*\w)", document)}
    for index, need in enumerate(content.get("security", [])):
        place: Place = ("security", index)
        if not found.headers and said and not need:
            yield place, f"the document requires {together}; remove this alternative"
        elif said & need.keys() and said != need.keys():
            text = f"the document asks for {together}, no more and no less"
            yield place, f"{text}; write that as one alternative"
        for key, given in need.items():
            if schemes.get(key, {}).get("type") == "oauth2" and {*given} != scopes:
                text = f"the document says scope {', '.join(sorted(scopes)) or 'nothing'}"
                yield (*place, key), f"{text}; correct it"


def _deprecated(node: Any, place: Place) -> Iterator[Problem]:
    """What the document calls deprecated is, and nothing else."""
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from _deprecated(child, (*place, index))
    if not isinstance(node, dict) or "x-addition" in node:
        return
    told = " ".join(str(node.get(key, "")) for key in ("summary", "description", "x-inferred"))
    is_told = " deprecated " in words(told).casefold()
    if is_told != (node.get("deprecated") is True) and place[-1:] != ("properties",):
        fix = "calls this deprecated; add deprecated: true"
        fix = fix if is_told else "doesn't call this deprecated; remove it, or quote where it does"
        yield (*place, "deprecated"), f"the document {fix}"
    for key, child in node.items():
        if key not in ("value", "example", "examples", "x-wait"):
            yield from _deprecated(child, (*place, key))


def _parameters(
    content: dict[str, Any], place: Place, operation: dict[str, Any], found: Document
) -> Iterator[Problem]:
    present = {}
    for index, given in enumerate(operation.get("parameters", [])):
        parameter, where = resolved(content, given, (*place, "parameters", index))
        present[parameter["name"]] = parameter, where
    names = {name: where for name, (_, where) in present.items()}
    ours = {name for name, (parameter, _) in present.items() if is_ours(parameter)}
    if found.parameters:
        yield from same_names("parameter", found.parameters, names, ours, (*place, "parameters"))
    for name in found.parameters.keys() & present.keys():
        said, (parameter, where) = found.parameters[name], present[name]
        if "required" in said and bool(parameter.get("required")) != said["required"]:
            text = f"the document says {str(said['required']).lower()}; correct it"
            yield (*where, "required"), text
        yield from says(said["description"], parameter.get("description", ""), where)
        for keyword in ("type", "format"):
            if keyword in said and parameter["schema"].get(keyword) != said[keyword]:
                yield (*where, "schema"), f"the document says {keyword} {said[keyword]}; write it"


def _statuses(
    content: dict[str, Any], place: Place, operation: dict[str, Any], found: Document
) -> Iterator[Problem]:
    responses = {
        status: resolved(content, given, (*place, "responses", status))
        for status, given in operation["responses"].items()
    }
    names = {status: where for status, (_, where) in responses.items()}
    ours = {status for status, (response, _) in responses.items() if is_ours(response)}
    if other := [*same_names("status", found.statuses, names, ours, (*place, "responses"))]:
        yield from other
        return
    for status, reason in found.statuses.items():
        response, where = responses[status]
        bodies = response.get("content", {})
        if status in found.bodies and not bodies:
            yield where, "the document gives it a body; add content"
        elif status in found.bodies:
            media = next(iter(bodies))
            schema = bodies[media]["schema"]
            inner = (*where, "content", media, "schema")
            yield from schema_agrees(content, found.bodies[status], schema, inner)
        elif found.bodies and bodies and status not in found.messages:
            yield where, "the document gives it no body; remove content, or correct the document"
        if status in found.messages:
            yield from _messages(found.messages[status], bodies, where)
        if reason and (
            found.bodies or reason.casefold() != HTTPStatus(int(status)).phrase.casefold()
        ):
            yield from says(reason, response.get("description", ""), where)


def _messages(said: list[str], bodies: dict[str, Any], where: Place) -> Iterator[Problem]:
    present, ours = {}, set()
    for media, body in bodies.items():
        for name, example in body.get("examples", {}).items():
            message = str(object_in(example["value"]).get("message"))
            present[message] = (*where, "content", media, "examples", name)
            ours |= {message} if is_ours(example) else set()
    yield from same_names("message", said, present, ours, (*where, "content"))


def examples(content: dict[str, Any]) -> Iterator[tuple[str, Place, dict[str, Any]]]:
    """Yield each example of a response, with its status, for the operations that a document
    describes."""
    for place, operation in _operations(content):
        for status, given in operation["responses"].items():
            response, where = resolved(content, given, (*place, "responses", status))
            for media, body in response.get("content", {}).items():
                for name, example in body.get("examples", {}).items():
                    if not is_ours(response):
                        yield status, (*where, "content", media, "examples", name), example
