"""The rules for a spec.

A spec is transcribed by hand. `openapi-spec-validator` checks that it is OpenAPI; the other rules
check that it agrees with its document and its README, and that the generators produce what the rest
of the code relies on. A rule is a function that takes a spec and yields problems, each a place in
the spec and what is wrong there.
"""

import dataclasses
import difflib
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import document_rules
import document_words
import documents
import spec_readme
import spec_waits
from spec_file import (
    MARKS,
    SCHEMAS,
    SUMS,
    Rule,
    Spec,
    at,
    examples,
    objects,
    read,
    schemas,
)
from spec_structure import media_types_are_named, statuses_are_shared, structure

from opwatch.cli.generating import document, security
from opwatch.cli.generating import spec as files
from opwatch.cli.generating.spec import Finding, Line, Place, Problem, pointer
from opwatch.cli.generating.yaml_rules import Unreadable
from opwatch.reading import object_in

# Headers that the client sends itself; a parameter of that name would become an argument.
OWN_HEADERS = {"authorization", "accept", "content-type", "x-auth-token", "x-bcot-timestamp"}
MOST = 5
"""How many findings of one rule about one spec are shown: one mistake may have many."""
_CONDITION = ("if", "then", "else")
DESCRIBED = [
    *(("parameters",), ("responses",), ("headers",), ("properties",), ("schemas",)),
    ("securitySchemes",),
]
OURS = [
    *(*MARKS, "x-own", "x-title", "x-strict", "x-phase", "x-reads", "x-error", "x-wait", "x-env"),
    *("x-codeSamples", "x-websocket"),
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
    packages: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        other = packages.setdefault(document.package_of(path.stem), path.name)
        if other != path.name:
            text = f"would be generated into the same package as {other}; rename or remove one"
            return [Finding(f"specs/{path.name}", 1, "#", "file", text)]
    for path in sorted(folder.glob("*.yaml")):
        try:
            findings += check(read(path))
        except Unreadable as error:
            findings += error.findings
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
    """Return what is wrong with a spec. A step of rules is only taken if the one before it found
    nothing, because what it would find may follow from that. A document that isn't the one that was
    transcribed is one finding: what differs if that is one thing, else that it is another."""
    spec = dataclasses.replace(spec, content=files.placed(spec.content))
    if findings := _first(ALONE, spec):
        return findings
    findings = _first(COMPARED, spec)
    if len(findings) > 1 and len(lost := _apply("mark", spec_readme.marks_are_kept, spec)) == 1:
        findings = lost  # what it excused are several
    if not (another := _apply("document", document_is_the_one, spec)):
        return findings
    if len(findings) != 1:
        return another
    text = f"{findings[0].text}; or restore {Path(spec.name).stem}.txt, which was changed"
    return [dataclasses.replace(findings[0], text=text)]


def _first(steps: Iterable[Mapping[str, Rule]], spec: Spec) -> list[Finding]:
    """Return the findings of the first step that has any."""
    found = ([each for name in step for each in _apply(name, step[name], spec)] for step in steps)
    return next(filter(None, found), [])


def examples_fit(spec: Spec) -> Iterator[Problem]:
    """Each example is valid against the schema beside it, and has only its fields."""
    from openapi_schema_validator import OAS31Validator

    # References in the schema begin at the root of the spec.
    components = {"components": _closed(spec.content.get("components", {}))}
    seen: set[Any] = set()
    for place, schema, value in examples(spec):
        validator = OAS31Validator(_closed(schema) | components)
        errors = {}
        for error in map(files.deepest, validator.iter_errors(value)):
            errors[(*place, *error.absolute_path, *files.unexpected(error))] = error
        problems = [(where, error.message) for where, error in errors.items()]
        fresh = []
        for where, text in files.innermost(problems):
            error, path = errors[where], [*errors[where].absolute_schema_path]
            same: Any = where[-1], error.validator, _canonical(error.schema)
            if branch := next((n for n, key in enumerate(path) if key in _CONDITION), 0):
                same = tuple(path[:branch])
            if same not in seen:  # a wrong schema has a finding, not one for each example
                fresh.append((where, text))
            seen.add(same)
        more = f" (and {len(fresh) - 1} more here)" if len(fresh) > 1 else ""
        for where, text in fresh[:1]:
            yield where, f"{text}{more}; correct the example or its schema"


def _closed(node: Any, place: Place = ()) -> Any:
    """A copy of a schema in which no object takes an unknown field, unless it says so."""
    if isinstance(node, list):
        return [_closed(child, (*place, n)) for n, child in enumerate(node)]
    if not isinstance(node, dict):
        return node
    found = {key: _closed(child, (*place, key)) for key, child in node.items()}
    is_one = place[-1:] != ("properties",) and {*_CONDITION}.isdisjoint(place)
    if isinstance(found.get("properties"), dict) and is_one:
        found.setdefault("additionalProperties", False)
    return found | (found["x-strict"] if isinstance(found.get("x-strict"), dict) else {})


def samples_are_kept(spec: Spec) -> Iterator[Problem]:
    """Each JSON sample of the document is an example of its status, value for value, and each
    example that isn't marked is one of them."""
    if not spec.document:
        return
    found = documents.read(spec.document)
    samples = {(status, _canonical(value)): line for line, status, value in found.samples}
    present, extra = set(), []
    for status, place, example in document_rules.examples(spec.content):
        value = example["value"]
        present.add((status, _canonical(value)))
        line = samples.get((status, _canonical(value)), 0)
        is_message = object_in(value).get("message") in found.messages.get(status, [])
        if not line and not is_message and not {*MARKS} & example.keys():
            extra.append((status, place, value))
        caption, summary = found.captions.get(line), str(example.get("summary", ""))
        if caption and documents.words(summary) != documents.words(caption):
            text = f"the document calls this sample {caption!r}; quote it as its summary"
            yield (*place, "summary"), text
    for line, status, sample in found.samples:
        if (status, _canonical(sample)) in present:
            continue
        same = [each for each in extra if each[2] == sample or each[0] == status]
        if not same:
            text = f"this sample isn't an example of status {status} in {spec.name}; add it"
            yield spec.in_document(line), text
            continue
        extra.remove(same[0])
        _, place, value = same[0]
        inner, text = _difference(sample, value) or ((), f"is a sample of status {status}")
        yield (*place, "value", *inner), f"{text} in line {line} of the document; correct it"
    for _, place, _ in extra:
        yield place, "isn't a sample of the document; correct it, or mark it with x-addition"


def _difference(sample: Any, value: Any, place: Place = ()) -> tuple[Place, str] | None:
    """Where an example first differs from a sample of the document, and what that has there."""
    if isinstance(sample, dict) and isinstance(value, dict):
        if sample.keys() != value.keys():
            return place, f"the fields are {', '.join(sample)}"
        pairs = [(key, sample[key], value[key]) for key in sample]
        return next(filter(None, (_difference(a, b, (*place, key)) for key, a, b in pairs)), None)
    is_same = _canonical(sample) == _canonical(value)
    return None if is_same else (place, f"is {_canonical(sample):.100}")


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
    """Each keyword of a schema belongs to JSON Schema or OpenAPI, or begins with `x-`; and none of
    ours is misspelled."""
    conditions = (
        (place, node)
        for place, node in objects(spec.content)
        if not {"if", "then", "else"}.isdisjoint(place) and place[-1] != "properties"
    )
    unknown: list[Place] = []
    for place, node in (*schemas(spec.content), *conditions):
        if any(place[: len(other)] == other for other in unknown):
            continue
        keys = [key for key in node if key not in KEYWORDS and not str(key).startswith("x-")]
        unknown += [(*place, key) for key in keys]
        if keys:
            near = [
                each for key in keys for each in difflib.get_close_matches(key, KEYWORDS, 1, 0.8)
            ]
            fix = f"write {', '.join(near)}" if near else "remove it, or begin it with x-"
            text = f"{', '.join(map(repr, keys))} isn't a keyword of a schema; {fix}"
            yield (*place, keys[0]), text
    for place, node in objects(spec.content):
        for key in node:
            if (near := _near_ours(str(key))) and key not in OURS:
                yield (*place, key), f"{key!r} isn't read; write {near[0]}"


@functools.cache
def _near_ours(key: str) -> list[str]:
    return difflib.get_close_matches(key, OURS, 1, 0.85)


def conditions_name_fields(spec: Spec) -> Iterator[Problem]:
    """An `if`, and what follows from it, is about fields of its schema, or of one in these."""
    every = {name for _, schema in schemas(spec.content) for name in schema.get("properties", {})}
    for place, schema in schemas(spec.content):
        own = schema.get("properties", {})
        for inner, node in objects({key: schema[key] for key in _CONDITION if key in schema}):
            named = [*node] if inner[-1:] == ("properties",) else node.get("required", [])
            known = every if "properties" in inner[:-1] else own
            for name in named if inner else ():
                if name not in known:
                    near = difflib.get_close_matches(str(name), known, 1) or [*own]
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
    """Security and servers are only at the root; otherwise, the functions would require a client
    with a token, or ignore the servers."""
    if not spec.content.get("security"):
        yield (), "no security at the root; add it"
    for place, node in objects(spec.content):
        if place and "security" in node:
            yield (*place, "security"), "security belongs only at the root; move it there"
        if "servers" in node and place[:1] == ("paths",):
            yield (*place, "servers"), "servers belong only at the root; move them there"
    yield from security.schemes_are_usable(spec.content)


def components_are_used(spec: Spec) -> Iterator[Problem]:
    """Something refers to each component, each tag of an operation is one of the spec's, and each
    link leads to an operation."""
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
    operations = [each.content["operationId"] for each in document.operations(spec.content)]
    for place, node in objects(spec.content):
        name = node.get("operationId")
        if place[-2:-1] == ("links",) and name not in operations:
            text = f"no operation is called {name!r}; write {' or '.join(operations)}"
            yield (*place, "operationId"), text
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
        is_body = place[-1] == "schema" and "content" in place and "$ref" not in node
        if is_body or (not named and ("properties" in node or "object" in _types(node))):
            yield place, "an object without a name; make it a component"
        if "title" in node:
            yield place, "a title would rename the class; use x-title"


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
                yield (
                    place,
                    "this enumeration isn't open; wrap it in anyOf together with {type: string}",
                )


def document_is_there(spec: Spec) -> Iterator[Problem]:
    """The document exists, isn't empty, and can be read."""
    if spec.has_document and not spec.document.strip():
        yield spec.in_document(1), "is empty; restore it"
    elif not spec.has_document and "x-addition" not in spec.content:
        text = f"documents/{Path(spec.name).stem}.txt is missing; restore it"
        yield (), f"{text}, or say with x-addition why there is none"
    for line, error in documents.read(spec.document).broken:
        yield spec.in_document(line), f"can't be read {error}; restore it, or correct it"


def document_is_the_one(spec: Spec) -> Iterator[Problem]:
    """The document is the one that was transcribed."""
    name = f"{Path(spec.name).stem}.txt"
    digest = hashlib.sha256(spec.document.encode()).hexdigest()
    if spec.document and f"{digest}  {name}" not in spec.sums.splitlines():
        text = f"documents/{name} isn't the one that was transcribed; restore it, or replace its"
        text += f" line here by {digest}  {name} and correct what differs then"
        yield Line(f"specs/{SUMS}", documents.line_of(spec.sums, name)), text


def words_are_quoted(spec: Spec) -> Iterator[Problem]:
    """Each sentence of the spec is in the document, or is marked."""
    yield from document_words.words_are_quoted(spec.content, spec.document)


def values_agree(spec: Spec) -> Iterator[Problem]:
    """Everything that the document lists is in the spec, and the reverse."""
    yield from document_rules.values_agree(spec.content, spec.document)


def marks_are_needed(spec: Spec) -> Iterator[Problem]:
    """Each `x-deviation` marks something that differs from the document."""
    yield from document_rules.marks_are_needed(spec.content, spec.document)


ALONE: list[dict[str, Rule]] = [
    {"structure": structure},
    {"keyword": keywords_are_known},
    {
        "condition": conditions_name_fields,
        "own-header": no_own_headers,
        "security": security_for_all,
        "media-type": media_types_are_named,
        "named-schema": schemas_are_named,
        "open-enum": enums_are_open,
        "document": document_is_there,
    },
    spec_waits.FORM,
]
"""The steps that look at a spec alone: what follows from a mistake comes after it."""
COMPARED: list[dict[str, Rule]] = [
    {"document-value": values_agree},
    {"description": descriptions_are_there, "example": examples_fit},
    {"status": statuses_are_shared},
    {"component": components_are_used},
    {"sample": samples_are_kept},
    {"document-words": words_are_quoted},
    *spec_waits.STEPS,
    {"readme-table": spec_readme.tables_are_complete},
    {"document-line": spec_readme.lines_are_accounted_for},
    {
        "document-mark": marks_are_needed,
        "document-link": spec_readme.links_are_listed,
        "readme-place": spec_readme.readme_places_exist,
        "mark": spec_readme.marks_are_listed,
    },
]
"""The steps that compare it with its document and its README, and its wait with all of these."""
RULES = {name: rule for step in (*ALONE, *COMPARED) for name, rule in step.items()}


def _apply(name: str, rule: Rule, spec: Spec) -> list[Finding]:
    lines: dict[Finding, dict[int, None]] = {}
    for each in files.found(f"specs/{spec.name}", spec.lines, name, rule(spec)):
        same = (other for other in lines if (other.spec, other.text) == (each.spec, each.text))
        lines.setdefault(next(same, each), {})[each.line] = None
    found = [
        dataclasses.replace(each, text=f"{each.text} (also on line {', '.join(others)})")
        if (others := [str(line) for line in lines[each] if line != each.line])
        else each
        for each in lines
    ]
    if more := found[MOST:]:
        text = f"and {len(more)} more of this rule; correct those above first"
        found = [*found[:MOST], dataclasses.replace(more[0], text=text)]
    return found


def _types(schema: dict[str, Any]) -> list[str]:
    types = schema.get("type") or []
    return [types] if isinstance(types, str) else types


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
