"""Whether a spec is OpenAPI, and has the form that the other rules rely on."""

import keyword
import re
from collections.abc import Iterator
from typing import Any

from spec_file import HOLDERS, MARKS, Spec, objects, place_of, schemas

from opwatch.cli.generating import document
from opwatch.cli.generating import spec as files
from opwatch.cli.generating.spec import Place, Problem
from opwatch.reading import object_in

_MAPS = {"x-strict", "x-websocket", "x-env"}


def structure(spec: Spec) -> Iterator[Problem]:
    """The spec is OpenAPI 3.1, and each example has a value."""
    version = str(spec.content.get("openapi"))
    if not version.startswith("3.1."):
        yield ("openapi",), f"{version:.20} isn't an OpenAPI 3.1 version; write openapi: 3.1.0"
        return
    if malformed := [*_malformed(spec)]:
        yield from malformed  # which the validator would fail at
        return
    messages = spec.content.get("x-websocket", {})
    yield from (
        [*files.structure(spec.content)]
        or [*files.lost_references(spec.content, messages, ("x-websocket",))]
        or [*_without_values(spec), *_without_variables(spec), *_without_end(spec)]
        or [*_without_names(spec)]
    )


def statuses_are_shared(spec: Spec) -> Iterator[Problem]:
    """The operations of a service have the same statuses."""
    first, *others = document.operations(spec.content)
    for other in others:
        for one, two in ((other, first), (first, other)):
            named = (set(each.content["responses"]) for each in (two, one))
            if lost := sorted(set.difference(*named)):
                text = f"lacks {', '.join(lost)}, which {two.content['operationId']} has; add it"
                yield (*one.place, "responses"), text
                break


def _without_names(spec: Spec) -> Iterator[Problem]:
    for each in document.operations(spec.content):
        name = each.content["operationId"]
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) or keyword.iskeyword(name):
            text = f"{name!r} isn't a name in Python; write one of letters, digits and _"
            yield (*each.place, "operationId"), text


def _without_variables(spec: Spec) -> Iterator[Problem]:
    for place, node in objects(spec.content):
        for name in re.findall("{(.*?)}", str(node.get("url"))) if "servers" in place[-2:] else ():
            if name not in node.get("variables", {}):
                yield (*place, "url"), f"{name!r} isn't in its variables; add it, or correct it"


def _without_end(spec: Spec) -> Iterator[Problem]:
    for place, node in schemas(spec.content):
        for part in node.get("allOf", []):
            if place == place_of(part.get("$ref", "")):
                yield place, "is made of itself; write its definition instead"


def _without_values(spec: Spec) -> Iterator[Problem]:
    for place, node in objects(spec.content):
        if place[-1:] == ("examples",) and "properties" not in place[-2:-1]:
            for name, example in node.items():
                if not isinstance(example, dict) or "value" not in example:
                    yield (*place, name), "an example without a value; add `value`"


def _malformed(spec: Spec) -> Iterator[Problem]:
    for place, node in objects(spec.content):
        for mark in MARKS:
            if mark in node and not isinstance(node[mark], str):
                yield (*place, mark), "must be a string; write the source or the reason"
        for key in _MAPS & node.keys():
            if not isinstance(node[key], dict):
                yield (*place, key), "must be a map; write one"
        if "schema" in node and not isinstance(node.get("examples", {}), dict):
            yield (*place, "examples"), "must be a map; write {name: {value: …}}"
        for error in _schema_errors(object_in(node.get("x-strict"))):
            yield (*place, "x-strict", *error.path), f"{error.message}; correct it"
        samples = node.get("x-codeSamples", [])
        if not (isinstance(samples, list) and all(isinstance(each, dict) for each in samples)):
            yield (*place, "x-codeSamples"), "must be a list of maps; write {lang: …, source: …}"
        if not isinstance(node.get("$ref", ""), str) and place[-1:] != ("properties",):
            yield (*place, "$ref"), "must be a string; write one such as #/components/schemas/Name"
        for key in ("then", "else"):
            if not isinstance(node.get(key, {}), dict) and place[-1:] != ("properties",):
                yield (*place, key), "must be a map; write {properties: …, required: […]}"
        if "if" in node and place[-1:] != ("properties",) and not _is_test(node["if"]):
            text = "must test a constant; write {properties: {name: {const: true}}}"
            yield (*place, "if"), text
    for place, schema in schemas(spec.content):
        if not isinstance(schema, dict):
            yield place, "a schema must be a map; write one, such as {type: string}"
            continue
        for key, kind in HOLDERS.items():
            if not isinstance(schema.get(key, kind()), kind):
                what = "map" if kind is dict else "list"
                yield (*place, key), f"must be a {what} of schemas; write one"


def _is_test(node: Any) -> bool:
    tests = object_in(object_in(node).get("properties")).values()
    return any(True for _ in tests) and all(
        "const" in object_in(each) or _is_test(each) for each in tests
    )


def _schema_errors(schema: dict[str, Any]) -> Iterator[Any]:
    from jsonschema import Draft202012Validator as Validator  # type: ignore[import-untyped]

    yield from Validator(Validator.META_SCHEMA).iter_errors(schema) if schema else ()


def media_types_are_named(spec: Spec) -> Iterator[Problem]:
    """The vendor's media types of the bodies are those that the texts name; each is a type."""
    used: dict[str, Place] = {}
    named: dict[str, Place] = {}
    for place, node in objects(spec.content):
        for media in node if place[-1:] == ("content",) else ():
            if not re.fullmatch(r"[\w.+-]+/[\w.+-]+(;.*)?", str(media)):
                yield (*place, media), f"{media!r} isn't a media type; write application/json"
                return
            used |= {media: (*place, media)} if "/vnd." in media else {}
        found = re.findall(r"\w+/vnd\.[\w.+-]*\w", str(node.get("description", "")))
        named |= dict.fromkeys(found, (*place, "description"))
    for each in document.operations(spec.content):
        if each.content.get("responses", {}).get("200", {}).get("content") and not each.media_type:
            text = "no media type is JSON; write application/json"
            yield (*each.place, "responses", "200", "content"), text
    for media in used.keys() - named.keys():
        fix = "correct it, or mention it in the operation's description"
        yield used[media], f"no description mentions {media}; {fix}"
    for media in named.keys() - used.keys():
        yield named[media], f"no body has the media type {media}; correct it, or add one"
