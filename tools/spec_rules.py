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
from functools import partial
from pathlib import Path
from typing import Any

import document_rules
import document_words
import documents
import yaml
from spec_file import (
    HOLDERS,
    MARKS,
    SCHEMAS,
    Spec,
    at,
    examples,
    marks,
    objects,
    place_of,
    read,
    schemas,
)

from opwatch.cli.generating import examples as wait_examples
from opwatch.cli.generating import rules as wait_rules
from opwatch.cli.generating import security
from opwatch.cli.generating import spec as files
from opwatch.cli.generating.spec import Finding, Line, Problem, pointer
from opwatch.cli.generating.waits import compiled
from opwatch.cli.generating.yaml_rules import Unreadable
from opwatch.reading import object_in

Rule = Callable[[Spec], Iterator[Problem]]

# Headers that the client sends itself; a parameter of that name would become an argument.
OWN_HEADERS = {"authorization", "accept", "content-type", "x-auth-token", "x-bcot-timestamp"}
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
        findings.append(Finding("specs/README.md", 1, "#", "file", text))
        return findings
    named = re.findall(r"^## (\S+)\.yaml$", readme, re.MULTILINE)
    for name in sorted({*named, *(path.stem for path in folder.glob("documents/*.txt"))}):
        if not (folder / f"{name}.yaml").exists():
            text = "is missing; restore it, or delete its document and its part of README.md"
            findings.append(Finding(f"specs/{name}.yaml", 1, "#", "file", text))
    return findings


def check(spec: Spec) -> list[Finding]:
    """Return everything that is wrong with a spec. If it isn't OpenAPI, nothing else is checked; if
    its schemas or examples are wrong, its wait isn't checked."""
    spec = dataclasses.replace(spec, content=files.placed(spec.content))
    if findings := _apply("structure", structure, spec):
        return findings
    findings = [finding for name, rule in RULES.items() for finding in _apply(name, rule, spec)]
    if {finding.rule for finding in findings}.isdisjoint({"example", "named-schema", "security"}):
        for name, rule in WAIT_RULES.items():
            findings += _apply(name, rule, spec)
    return findings


def structure(spec: Spec) -> Iterator[Problem]:
    """The spec is OpenAPI 3.1, and each example has a value."""
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
                yield (*place, mark), "must be a text; write the source or the reason"
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
    """Each example is valid against the schema beside it."""
    from openapi_schema_validator import OAS31Validator

    for place, schema, value in examples(spec):
        # References in the schema begin at the root of the spec.
        components = {"components": spec.content.get("components", {})}
        validator = OAS31Validator(schema | components)
        for error in validator.iter_errors(value):
            text = f"{error.message}; correct the example or its schema"
            yield (*place, *error.absolute_path), text


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


def descriptions_are_there(spec: Spec) -> Iterator[Problem]:
    """Each operation, parameter, response, header, schema and field has a description."""
    for place, node in objects(spec.content):
        is_one = place[-2:-1] in DESCRIBED or (place[:1] == ("paths",) and len(place) == 3)
        is_one = is_one and "$ref" not in node and {"if", "then", "else"}.isdisjoint(place)
        if is_one and documents.words(str(node.get("description", ""))).isspace():
            yield place, "has no description; quote the document's, or write one with x-own"


def keywords_are_known(spec: Spec) -> Iterator[Problem]:
    """Each keyword of a schema belongs to JSON Schema or OpenAPI, or begins with `x-`."""
    for place, node in schemas(spec.content):
        for key in node:
            if key not in KEYWORDS and not str(key).startswith("x-"):
                near = difflib.get_close_matches(str(key), KEYWORDS, 1, 0.8)
                fix = f"write {near[0]}" if near else "remove it, or begin it with x-"
                yield (*place, key), f"{key!r} isn't a keyword of a schema; {fix}"


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
            yield (*place, "security"), "security must stand at the root alone; move it there"
    yield from security.schemes_are_usable(spec.content)


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
        if "enum" in node:
            enums.add(pointer(place))
            if place[:2] != SCHEMAS or len(place) != 3:
                yield place, "an enumeration without a name; make it a component"
    for place, node in schemas(spec.content):
        if node.get("$ref") in enums:
            beside = at(spec.content, place[:-1])
            if place[-2] != "anyOf" or {"type": "string"} not in beside:
                yield place, "an enumeration that isn't open; write anyOf: it and {type: string}"


def marks_are_listed(spec: Spec) -> Iterator[Problem]:
    """The README lists each mark with its text, and no other."""
    present = {(pointer(place), mark): text for place, mark, text in marks(spec)}
    rows = re.findall(r"^\| `(#\S*)` \| (x-\S+) \| (.+) \|$", spec.readme, re.MULTILINE)
    listed = {(place, mark): text for place, mark, text in rows}
    for (place, mark), text in present.items():
        if listed.get((place, mark)) != text:
            row = f"| `{place}` | {mark} | {text} |"
            yield place_of(place), f"README.md lacks this row; add it: {row}"
    for place, mark in listed.keys() - present.keys():
        text = f"{place} of {spec.name} has no {mark}; restore it, or remove this row"
        yield spec.in_readme(f"| `{place}` | {mark} |"), text


def readme_places_exist(spec: Spec) -> Iterator[Problem]:
    """Each place that the README names is in the spec."""
    for place in re.findall(r"`(#/\S*)`", spec.readme):
        try:
            at(spec.content, place_of(place))
        except (LookupError, ValueError, TypeError):
            text = f"{place} isn't in {spec.name}; restore it, or correct this line"
            yield spec.in_readme(f"`{place}`"), text


def lines_are_accounted_for(spec: Spec) -> Iterator[Problem]:
    """The README says where each line of the document went: a row covers the lines from its own
    words on."""
    if not (lines := [line.strip() for line in spec.document.splitlines()]):
        return
    number = 0
    for row, start in enumerate(re.findall(r'^\| "(.+?)" \|', spec.readme, re.MULTILINE)):
        same = [n for n, line in enumerate(lines) if n >= number and line == start]
        found = same or [n for n, line in enumerate(lines) if n >= number and start in line]
        if not found:
            text = f"{start!r} isn't in a later line of the document than the row above; correct it"
            yield spec.in_readme(f'| "{start}" |'), text
            return
        if row == 0 and any(map(str.strip, map(documents.words, lines[: found[0]]))):
            text = f"no row says where the lines before {start!r} went; add one"
            yield spec.in_readme(f'| "{start}" |'), text
        number = found[0] + 1
    if not number:
        yield spec.in_readme(spec.name), "no row says where the document's lines went; add them"


def document_is_the_one(spec: Spec) -> Iterator[Problem]:
    """The document exists and is the one that was transcribed."""
    name = f"{Path(spec.name).stem}.txt"
    if not spec.document:
        if "x-addition" not in spec.content:
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


def links_are_listed(spec: Spec) -> Iterator[Problem]:
    """The README names each link of the document."""
    for link in documents.read(spec.document).links:
        if f"`{link}`" not in spec.readme:
            text = f"README.md doesn't name `{link}`, to which this line links; add it"
            yield spec.in_document(documents.line_of(spec.document, link)), text


def waits_are_formed(spec: Spec) -> Iterator[Problem]:
    """Each `x-wait` block is valid against x-wait.schema.json, and everything it names exists. None
    polls more than once a second."""
    problems = [*wait_rules.form(spec.content)]
    yield from problems or wait_rules.schedules_are_slow(spec.content)


def wait_pointers_exist(spec: Spec) -> Iterator[Problem]:
    """Each pointer of an `x-wait` block leads to a field of the schema that it reads."""
    yield from wait_rules.pointers_exist(spec.content)


def wait_states_have_phases(spec: Spec) -> Iterator[Problem]:
    """Each state that the schema lists has a phase."""
    yield from wait_rules.states_have_phases(spec.content)


def wait_examples_are_read(spec: Spec) -> Iterator[Problem]:
    """Each example of a response is read as the phase in its label."""
    source = partial(compiled, Path(spec.name).stem, spec.content)
    yield from wait_examples.are_read(spec.content, source)


def wait_claims_have_sources(spec: Spec) -> Iterator[Problem]:
    """The values of an `x-wait` block are in the document or have a mark."""
    yield from wait_rules.claims_have_sources(spec.content, spec.document)


RULES: dict[str, Rule] = {
    "keyword": keywords_are_known,
    "description": descriptions_are_there,
    "example": examples_fit,
    "sample": samples_are_kept,
    "own-header": no_own_headers,
    "security": security_for_all,
    "named-schema": schemas_are_named,
    "open-enum": enums_are_open,
    "mark": marks_are_listed,
    "readme-place": readme_places_exist,
    "document": document_is_the_one,
    "document-line": lines_are_accounted_for,
    "document-words": words_are_quoted,
    "document-value": values_agree,
    "document-mark": marks_are_needed,
    "document-link": links_are_listed,
}
WAIT_RULES: dict[str, Rule] = {
    "wait-form": waits_are_formed,
    "wait-pointer": wait_pointers_exist,
    "wait-phase": wait_states_have_phases,
    "wait-example": wait_examples_are_read,
    "wait-source": wait_claims_have_sources,
}


def _apply(name: str, rule: Rule, spec: Spec) -> list[Finding]:
    try:
        return files.found(f"specs/{spec.name}", spec.lines, name, rule(spec))
    except Exception as error:  # noqa: BLE001 (a spec may be wrong in ways that no rule expects)
        text = f"can't be checked ({type(error).__name__}: {error}); correct what it is about"
        return [Finding(f"specs/{spec.name}", 1, "#", name, text)]


def _types(schema: dict[str, Any]) -> list[str]:
    types = schema.get("type") or []
    return [types] if isinstance(types, str) else types


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
