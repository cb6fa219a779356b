"""The rules for a spec.

A spec is transcribed by hand. `openapi-spec-validator` checks that it is OpenAPI; the other rules
check that it agrees with its document and its README, and that the generators produce what the rest
of the code relies on. A rule is a function that takes a spec and yields problems, each a place in
the spec and what is wrong there.
"""

import dataclasses
import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import document_rules
import document_words
import documents
import spec_readme
import spec_waits
import yaml
from spec_file import (
    HOLDERS,
    MARKS,
    SCHEMAS,
    Spec,
    at,
    examples,
    objects,
    read,
    schemas,
)

from opwatch.cli.generating import security
from opwatch.cli.generating import spec as files
from opwatch.cli.generating.spec import Finding, Line, Place, Problem, pointer
from opwatch.cli.generating.yaml_rules import Unreadable
from opwatch.reading import object_in

Rule = Callable[[Spec], Iterator[Problem]]

# Headers that the client sends itself; a parameter of that name would become an argument.
OWN_HEADERS = {"authorization", "accept", "content-type", "x-auth-token", "x-bcot-timestamp"}
MOST = 5
"""How many findings of one rule about one spec are shown: one mistake may have many."""
_CONDITION = ("if", "then", "else")
_NOT_CLOSED = ("properties", *_CONDITION)
DESCRIBED = [
    *(("parameters",), ("responses",), ("headers",), ("properties",), ("schemas",)),
    ("securitySchemes",),
]
KEYWORDS = [
    *("type", "enum", "const", "properties", "patternProperties", "additionalProperties"),
    *("required", "items", "prefixItems", "contains", "anyOf", "oneOf", "allOf", "not", "if"),
    *("then", "else", "dependentRequired", "dependentSchemas", "propertyNames", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength"),
    *("maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "minContains"),
    *("maxContains", "minProperties", "maxProperties", "title", "description", "default"),
    *("deprecated", "readOnly", "writeOnly", "examples", "example", "discriminator", "xml"),
    *("externalDocs", "contentEncoding", "contentMediaType", "contentSchema"),
    *("unevaluatedProperties", "unevaluatedItems", "$ref", "$defs", "$comment", "$id", "$anchor"),
]


def check_all(folder: Path) -> list[Finding]:
    """Return everything that is wrong with the specs of a folder, including missing ones."""
    findings: list[Finding] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            findings += check(read(path))
        except Unreadable as error:
            findings += error.findings
        except (
            OSError,
            yaml.YAMLError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            # A missing file, or YAML with content that can't be OpenAPI.
            mark = getattr(error, "problem_mark", None)
            where = f"specs/{path.name}", mark.line + 1 if mark else 1, "#", "file"
            text = f"can't be read: {type(error).__name__}: {' '.join(str(error).split()):.200}"
            findings.append(Finding(*where, f"{text}; correct what it names"))
    try:
        readme = (folder / "README.md").read_text("utf-8", "replace")
    except OSError as error:
        text = f"can't be read: {error.strerror}; restore it"
        return [*dict.fromkeys(findings)] or [Finding("specs/README.md", 1, "#", "file", text)]
    try:
        json.loads((folder / "x-wait.schema.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        text = f"can't be read: {error}; restore the link to the schema of x-wait"
        findings.append(Finding("specs/x-wait.schema.json", 1, "#", "file", text))
    named = re.findall(r"^## (\S+)\.yaml$", readme, re.MULTILINE)
    for name in sorted({*named, *(path.stem for path in folder.glob("documents/*.txt"))}):
        if not (folder / f"{name}.yaml").exists():
            text = "is missing; restore it, or delete its document and its part of README.md"
            findings.append(Finding(f"specs/{name}.yaml", 1, "#", "file", text))
    return [*dict.fromkeys(findings)]


def check(spec: Spec) -> list[Finding]:
    """Return everything that is wrong with a spec. If it isn't OpenAPI, nothing else is checked; if
    its schemas or examples are wrong, its wait isn't checked."""
    spec = dataclasses.replace(spec, content=files.placed(spec.content))
    if findings := _apply("structure", structure, spec):
        return findings
    findings = [finding for name, rule in RULES.items() for finding in _apply(name, rule, spec)]
    if {finding.rule for finding in findings}.isdisjoint({"example", "named-schema", "security"}):
        for name, rule in spec_waits.RULES.items():
            findings += _apply(name, rule, spec)
    return findings


def structure(spec: Spec) -> Iterator[Problem]:
    """The spec is OpenAPI 3.1, and each example has a value."""
    version = str(spec.content.get("openapi"))
    if not version.startswith("3.1."):
        yield ("openapi",), f"must be OpenAPI 3.1, not {version:.20}; write openapi: 3.1.0"
        return
    if malformed := [*_malformed(spec)]:
        yield from malformed  # which the validator would fail at
        return
    yield from files.structure(spec.content)
    messages = spec.content.get("x-websocket", {})
    yield from files.lost_references(spec.content, messages, ("x-websocket",))
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
        tests = [*object_in(object_in(node.get("if")).get("properties")).values()]
        if "if" in node and [type(object_in(each).get("const")) for each in tests] != [bool]:
            text = "must test one boolean; write {properties: {name: {const: true}}}"
            yield (*place, "if"), text
    for place, schema in schemas(spec.content):
        if not isinstance(schema, dict):
            yield place, "a schema must be a map; write one, such as {type: string}"
            continue
        for key, kind in HOLDERS.items():
            if not isinstance(schema.get(key, kind()), kind):
                what = "map" if kind is dict else "list"
                yield (*place, key), f"must be a {what} of schemas; write one"


def examples_fit(spec: Spec) -> Iterator[Problem]:
    """Each example is valid against the schema beside it, and has only its fields."""
    from openapi_schema_validator import OAS31Validator

    # References in the schema begin at the root of the spec.
    components = {"components": _closed(spec.content.get("components", {}))}
    for place, schema, value in examples(spec):
        validator = OAS31Validator(_closed(schema) | components)
        for error in validator.iter_errors(value):
            error = files.deepest(error)
            text = f"{error.message}; correct the example or its schema"
            yield (*place, *error.absolute_path), text


def _closed(node: Any, place: Place = ()) -> Any:
    """A copy of a schema in which no object takes an unknown field, unless it says so."""
    if isinstance(node, list):
        return [_closed(child, (*place, n)) for n, child in enumerate(node)]
    if not isinstance(node, dict):
        return node
    found = {key: _closed(child, (*place, key)) for key, child in node.items()}
    if isinstance(found.get("properties"), dict) and (place or ("",))[-1] not in _NOT_CLOSED:
        found.setdefault("additionalProperties", False)
    return found | (found["x-strict"] if isinstance(found.get("x-strict"), dict) else {})


def samples_are_kept(spec: Spec) -> Iterator[Problem]:
    """Each JSON sample of the document is an example of its status, value for value, and each
    example that isn't marked is one of them."""
    if not spec.document:
        return
    found = documents.read(spec.document)
    for line, error in found.broken:
        yield spec.in_document(line), f"can't be read {error}; correct it"
    present = {}
    for status, place, example in document_rules.examples(spec.content):
        present[status, _canonical(example["value"])] = place, example
    samples = {(status, _canonical(value)): line for line, status, value in found.samples}
    for (status, value), line in samples.items():
        if (status, value) not in present:
            text = (
                f"this sample isn't an example of status {status} in {spec.name}; add it: {value}"
            )
            yield spec.in_document(line), text
    for (status, value), (place, example) in present.items():
        message = object_in(example["value"]).get("message")
        is_message = message in found.messages.get(status, [])
        if (status, value) not in samples and not is_message and not {*MARKS} & example.keys():
            yield place, "isn't a sample of the document; correct it, or mark it with x-addition"
        caption = found.captions.get(samples.get((status, value), 0))
        summary = str(example.get("summary", ""))
        if caption and documents.words(summary) != documents.words(caption):
            text = f"the document calls this sample {caption!r}; quote it as its summary"
            yield (*place, "summary"), text


def descriptions_are_there(spec: Spec) -> Iterator[Problem]:
    """Each operation, parameter, response, header, schema and field has a description."""
    for place, node in objects(spec.content):
        is_one = place[-2:-1] in DESCRIBED or (place[:1] == ("paths",) and len(place) == 3)
        is_one = is_one and "$ref" not in node and {"if", "then", "else"}.isdisjoint(place)
        if is_one and documents.words(str(node.get("description", ""))).isspace():
            yield place, "has no description; quote the document's, or write one with x-own"
        if not node.get("summary", True):
            yield (*place, "summary"), "is empty; quote the document's, or write one with x-own"


def keywords_are_known(spec: Spec) -> Iterator[Problem]:
    """Each keyword of a schema belongs to JSON Schema or OpenAPI, or begins with `x-`."""
    conditions = (
        (place, node)
        for place, node in objects(spec.content)
        if not {"if", "then", "else"}.isdisjoint(place) and place[-1] != "properties"
    )
    for place, node in (*schemas(spec.content), *conditions):
        for key in node:
            if key not in KEYWORDS and not str(key).startswith("x-"):
                near = difflib.get_close_matches(str(key), KEYWORDS, 1, 0.8)
                fix = f"write {near[0]}" if near else "remove it, or begin it with x-"
                yield (*place, key), f"{key!r} isn't a keyword of a schema; {fix}"


def conditions_name_fields(spec: Spec) -> Iterator[Problem]:
    """An `if`, and what follows from it, is about fields of its schema."""
    for place, schema in schemas(spec.content):
        known = schema.get("properties", {})
        for inner, node in objects({key: schema[key] for key in _CONDITION if key in schema}):
            named = [*node] if inner[-1:] == ("properties",) else node.get("required", [])
            for name in named if inner else ():
                if name not in known:
                    near = difflib.get_close_matches(str(name), known, 1) or [*known]
                    text = f"{name!r} isn't a field of this schema; write {' or '.join(near)}"
                    yield (*place, *inner), text


def no_own_headers(spec: Spec) -> Iterator[Problem]:
    """No parameter is a header that the client sets itself."""
    for place, node in objects(spec.content):
        if node.get("in") == "header" and "securitySchemes" not in place:
            name = str(node.get("name"))
            if name.lower() in OWN_HEADERS:
                text = (
                    f"{name} must not be a parameter, since it would become an argument; remove it"
                )
                yield place, text


def security_for_all(spec: Spec) -> Iterator[Problem]:
    """Security is only at the root; otherwise, the functions would require a client with a
    token."""
    if not spec.content.get("security"):
        yield (), "no security at the root; add it"
    for place, node in objects(spec.content):
        if place and "security" in node:
            yield (*place, "security"), "security belongs only at the root; move it there"
    yield from security.schemes_are_usable(spec.content)


def media_types_are_named(spec: Spec) -> Iterator[Problem]:
    """The vendor's media types of the bodies are those that the texts name."""
    used: dict[str, Place] = {}
    named: dict[str, Place] = {}
    for place, node in objects(spec.content):
        for media in node if place[-1:] == ("content",) else ():
            used |= {media: (*place, media)} if "/vnd." in media else {}
        found = re.findall(r"\w+/vnd\.[\w.+-]*\w", str(node.get("description", "")))
        named |= dict.fromkeys(found, (*place, "description"))
    for media in used.keys() - named.keys():
        yield used[media], f"no text names {media}; correct it, or name it in the operation's"
    for media in named.keys() - used.keys():
        yield named[media], f"no body is {media}; correct it, or add one"


def components_are_used(spec: Spec) -> Iterator[Problem]:
    """Something refers to each component, and each tag of an operation is one of the spec's."""
    used = {node["$ref"] for _, node in objects(spec.content) if isinstance(node.get("$ref"), str)}
    used |= {
        pointer(("components", "securitySchemes", name))
        for need in spec.content.get("security", [])
        for name in need
    }
    for kind, parts in spec.content.get("components", {}).items():
        for name in parts:
            if pointer(("components", kind, name)) not in used:
                yield ("components", kind, name), "nothing refers to it; remove it, or refer to it"
    known = [tag["name"] for tag in spec.content.get("tags", [])]
    for place, node in objects(spec.content.get("paths", {})):
        for index, tag in enumerate(node.get("tags", []) if len(place) == 2 else ()):
            if tag not in known:
                text = f"{tag!r} isn't in the tags of the spec; write one of {', '.join(known)}"
                yield ("paths", *place, "tags", index), text


def schemas_are_named(spec: Spec) -> Iterator[Problem]:
    """Each object is a component, and no title gives it another name."""
    for place, node in schemas(spec.content):
        named = place[:2] == SCHEMAS and len(place) == 3
        if not named and ("properties" in node or "object" in _types(node)):
            yield place, "an object without a name; make it a component"
        if "title" in node:
            yield place, "a title would rename the class; use x-title"
    for place, node in objects(spec.content):
        if "content" in place and "schema" in node and "$ref" not in node["schema"]:
            yield (*place, "schema"), "the schema of a body has no name; make it a component"


def enums_are_open(spec: Spec) -> Iterator[Problem]:
    """An enumeration is a component, and any other string is also allowed."""
    enums = set()
    for place, node in schemas(spec.content):
        if "const" in node:
            yield place, "a constant would raise on another value; use a string"
        if "enum" in node and place[-1] != "x-strict":
            enums.add(pointer(place))
            if place[:2] != SCHEMAS or len(place) != 3:
                yield place, "an enumeration without a name; make it a component"
    for place, node in schemas(spec.content):
        if node.get("$ref") in enums:
            beside = at(spec.content, place[:-1])
            if place[-2] != "anyOf" or {"type": "string"} not in beside:
                yield place, "an enumeration that isn't open; write anyOf: it and {type: string}"


def document_is_the_one(spec: Spec) -> Iterator[Problem]:
    """The document exists and is the one that was transcribed."""
    name = f"{Path(spec.name).stem}.txt"
    if not spec.document:
        if spec.has_document:
            yield spec.in_document(1), "is empty; restore it"
        elif "x-addition" not in spec.content:
            text = f"documents/{name} is missing; restore it"
            yield (), f"{text}, or say with x-addition why there is none"
        return
    digest = hashlib.sha256(spec.document.encode()).hexdigest()
    if f"{digest}  {name}" not in spec.sums.splitlines():
        text = f"documents/{name} isn't the one that was transcribed; restore it, or write {digest}"
        yield Line("specs/documents/SHA256SUMS", documents.line_of(spec.sums, name)), text


def words_are_quoted(spec: Spec) -> Iterator[Problem]:
    """Each sentence of the spec is in the document, or is marked."""
    yield from document_words.words_are_quoted(spec.content, spec.document)


def values_agree(spec: Spec) -> Iterator[Problem]:
    """Everything that the document lists is in the spec, and the reverse."""
    yield from document_rules.values_agree(spec.content, spec.document)


def marks_are_needed(spec: Spec) -> Iterator[Problem]:
    """Each `x-deviation` marks something that differs from the document."""
    yield from document_rules.marks_are_needed(spec.content, spec.document)


RULES: dict[str, Rule] = {
    "keyword": keywords_are_known,
    "condition": conditions_name_fields,
    "description": descriptions_are_there,
    "example": examples_fit,
    "sample": samples_are_kept,
    "own-header": no_own_headers,
    "security": security_for_all,
    "component": components_are_used,
    "media-type": media_types_are_named,
    "named-schema": schemas_are_named,
    "open-enum": enums_are_open,
    "readme-table": spec_readme.tables_are_complete,
    "mark": spec_readme.marks_are_listed,
    "readme-place": spec_readme.readme_places_exist,
    "document": document_is_the_one,
    "document-line": spec_readme.lines_are_accounted_for,
    "document-words": words_are_quoted,
    "document-value": values_agree,
    "document-mark": marks_are_needed,
    "document-link": spec_readme.links_are_listed,
}


def _apply(name: str, rule: Rule, spec: Spec) -> list[Finding]:
    try:
        found = files.found(f"specs/{spec.name}", spec.lines, name, rule(spec))
        found = [*dict.fromkeys(found)]
        if more := found[MOST:]:
            text = f"and {len(more)} more of this rule; correct those above first"
            found = [*found[:MOST], dataclasses.replace(more[0], text=text)]
        return found
    except Exception as error:  # noqa: BLE001 (a spec may be wrong in ways that no rule expects)
        text = f"can't be checked ({type(error).__name__}: {error}); correct what it is about"
        return [Finding(f"specs/{spec.name}", 1, "#", name, text)]


def _types(schema: dict[str, Any]) -> list[str]:
    types = schema.get("type") or []
    return [types] if isinstance(types, str) else types


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
