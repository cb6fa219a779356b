"""What must hold of a spec, rule by rule.

A spec is a transcription by hand. `openapi-spec-validator` sees that it is OpenAPI; the other rules
see that it agrees with its document and its README, and that the generators make of it what the
rest of the code relies on. A rule is a function from a spec to its problems, each a place in the
spec and what is wrong there.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import document_rules
import documents
import yaml

from opwatch.cli.generating import examples as wait_examples
from opwatch.cli.generating import rules as wait_rules
from opwatch.cli.generating import spec as files
from opwatch.cli.generating import yaml_rules
from opwatch.cli.generating.spec import Finding, Place, Problem, pointer
from opwatch.cli.generating.waits import compiled
from opwatch.cli.generating.yaml_rules import Unreadable

Rule = Callable[["Spec"], Iterator[Problem]]

MARKS = ("x-inferred", "x-addition", "x-deviation")
# Headers that the client sends itself; a parameter of that name would become an argument.
OWN_HEADERS = {"authorization", "accept", "content-type", "x-auth-token", "x-bcot-timestamp"}
SCHEMAS = ("components", "schemas")
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


@dataclass(frozen=True)
class Spec:
    """One spec, and what it must agree with: its document and its part of the README."""

    name: str
    content: dict[str, Any]
    lines: Mapping[Place, int]
    document: str
    readme: str
    sums: str
    """The hashes of all documents."""


def read(path: Path) -> Spec:
    """Read a spec, its document `documents/{name}.txt`, and its part of `README.md`.

    Raises `Unreadable` if one of them can't be read.
    """
    yaml_rules.check(yaml_rules.text(path, f"specs/{path.name}"), f"specs/{path.name}")
    content, lines = files.load(path)
    document = f"documents/{path.stem}.txt"
    has_document = (path.parent / document).exists()
    readme = yaml_rules.text(path.parent / "README.md", "specs/README.md")
    sums = "documents/SHA256SUMS"
    return Spec(
        name=path.name,
        content=content,
        lines=lines,
        document=yaml_rules.text(path.parent / document, f"specs/{document}")
        if has_document
        else "",
        readme=_section(readme, path.name),
        sums=yaml_rules.text(path.parent / sums, f"specs/{sums}"),
    )


def check_all(folder: Path) -> list[Finding]:
    """Everything that is wrong with the specs of a folder, those that are missing included."""
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
            # A file that isn't there, or YAML that holds what no OpenAPI document does.
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
    """Everything that is wrong with a spec. One that is not OpenAPI is not looked at further, and
    neither is the wait of one whose schemas and examples are wrong."""
    if findings := _apply("structure", structure, spec):
        return findings
    findings = [finding for name, rule in RULES.items() for finding in _apply(name, rule, spec)]
    if {finding.rule for finding in findings}.isdisjoint({"example", "named-schema"}):
        for name, rule in WAIT_RULES.items():
            findings += _apply(name, rule, spec)
    return findings


def samples(document: str) -> list[Any]:
    """The JSON objects of a document, in its order, without those that are schemas."""
    return [
        block
        for block in documents.json_blocks(document)
        if "type" not in block and "enum" not in block
    ]


def structure(spec: Spec) -> Iterator[Problem]:
    """The spec is OpenAPI 3.1, and each example has a value."""
    yield from files.structure(spec.content)
    for place, node in _objects(spec.content):
        if place[-1:] == ("examples",) and "properties" not in place[-2:-1]:
            for name, example in node.items():
                if not isinstance(example, dict) or "value" not in example:
                    yield (*place, name), "an example without a value; add `value`"


def examples_fit(spec: Spec) -> Iterator[Problem]:
    """Each example is valid by the schema it stands beside."""
    from openapi_schema_validator import OAS31Validator

    for place, schema, value in examples(spec):
        # References in the schema begin at the root of the spec.
        components = {"components": spec.content.get("components", {})}
        validator = OAS31Validator(schema | components)
        for error in validator.iter_errors(value):
            yield (*place, *error.absolute_path), error.message


def samples_are_kept(spec: Spec) -> Iterator[Problem]:
    """Each JSON sample of the document is an example of the spec, value for value."""
    present = {_canonical(value) for _, _, value in examples(spec)}
    for sample in samples(spec.document):
        if _canonical(sample) not in present:
            yield (), f"this sample of the document is no example: {json.dumps(sample)}"


def keywords_are_known(spec: Spec) -> Iterator[Problem]:
    """Each keyword of a schema is one of JSON Schema or OpenAPI, or begins with `x-`."""
    for place, node in _schemas(spec.content):
        for key in node:
            if key not in KEYWORDS and not str(key).startswith("x-"):
                near = difflib.get_close_matches(str(key), KEYWORDS, 1, 0.8)
                fix = f"write {near[0]}" if near else "remove it, or begin it with x-"
                yield (*place, key), f"{key!r} isn't a keyword of a schema; {fix}"


def no_own_headers(spec: Spec) -> Iterator[Problem]:
    """No parameter is a header that the client sets itself."""
    for place, node in _objects(spec.content):
        if node.get("in") == "header" and "securitySchemes" not in place:
            name = str(node.get("name"))
            if name.lower() in OWN_HEADERS:
                yield place, f"{name} must not be a parameter: it would become an argument"


def security_for_all(spec: Spec) -> Iterator[Problem]:
    """Security stands at the root alone, or the functions would demand a client with a token."""
    if not spec.content.get("security"):
        yield (), "no security at the root"
    for place, node in _objects(spec.content):
        if place and "security" in node:
            yield (*place, "security"), "security must stand at the root alone"


def schemas_are_named(spec: Spec) -> Iterator[Problem]:
    """Each object is a component, and no title gives it another name."""
    for place, node in _schemas(spec.content):
        named = place[:2] == SCHEMAS and len(place) == 3
        if not named and ("properties" in node or "object" in _types(node)):
            yield place, "an object without a name: make it a component"
        if "title" in node:
            yield place, "a title would rename the class: use x-title"
    for place, node in _objects(spec.content):
        if "content" in place and "schema" in node and "$ref" not in node["schema"]:
            yield (*place, "schema"), "the schema of a body must be a component"


def enums_are_open(spec: Spec) -> Iterator[Problem]:
    """An enumeration is a component, and beside it any string is allowed."""
    enums = set()
    for place, node in _schemas(spec.content):
        if "const" in node:
            yield place, "a constant would raise on another value: use a string"
        if "enum" in node:
            enums.add(pointer(place))
            if place[:2] != SCHEMAS or len(place) != 3:
                yield place, "an enumeration without a name: make it a component"
    for place, node in _schemas(spec.content):
        if node.get("$ref") in enums:
            beside = _at(spec.content, place[:-1])
            if place[-2] != "anyOf" or {"type": "string"} not in beside:
                yield place, "an enumeration that is not open: anyOf it and {type: string}"


def marks_are_listed(spec: Spec) -> Iterator[Problem]:
    """The README lists each mark with its text, and no other."""
    present = {(pointer(place), mark): text for place, mark, text in marks(spec)}
    rows = re.findall(r"^\| `(#\S*)` \| (x-\S+) \| (.+) \|$", spec.readme, re.MULTILINE)
    listed = {(place, mark): text for place, mark, text in rows}
    for (place, mark), text in present.items():
        if listed.get((place, mark)) != text:
            row = f"| `{place}` | {mark} | {text} |"
            yield _place(place), f"README.md lacks this row: {row}"
    for place, mark in listed.keys() - present.keys():
        yield (), f"README.md lists a mark that is not there: {place} {mark}"


def readme_places_exist(spec: Spec) -> Iterator[Problem]:
    """Each place that the README names is in the spec."""
    for place in re.findall(r"`(#/\S*)`", spec.readme):
        try:
            _at(spec.content, _place(place))
        except (LookupError, ValueError, TypeError):
            yield (), f"README.md names a place that is not there: {place}"


def lines_are_accounted_for(spec: Spec) -> Iterator[Problem]:
    """The README says where the document's lines went: each row those from its own words on."""
    if not (lines := [line.strip() for line in spec.document.splitlines()]):
        return
    number = 0
    for row, start in enumerate(re.findall(r'^\| "(.+?)" \|', spec.readme, re.MULTILINE)):
        same = [n for n, line in enumerate(lines) if n >= number and line == start]
        found = same or [n for n, line in enumerate(lines) if n >= number and start in line]
        if not found:
            text = f"README.md begins a row with {start!r}, which isn't in a later line"
            yield (), f"{text} than the row above"
            return
        if row == 0 and any(map(str.strip, map(documents.words, lines[: found[0]]))):
            yield (), f"README.md doesn't say where the lines before {start!r} went"
        number = found[0] + 1
    if not number:
        yield (), "README.md doesn't say where the lines of the document went"


def document_is_the_one(spec: Spec) -> Iterator[Problem]:
    """The document is there, and is the one that was transcribed."""
    name = f"{Path(spec.name).stem}.txt"
    if not spec.document:
        if "x-addition" not in spec.content:
            text = f"documents/{name} is missing; restore it"
            yield (), f"{text}, or say with x-addition why there is none"
        return
    digest = hashlib.sha256(spec.document.encode()).hexdigest()
    if f"{digest}  {name}" not in spec.sums.splitlines():
        yield (
            (),
            f"documents/{name} isn't the one that was transcribed: {digest} isn't in SHA256SUMS",
        )


def words_are_quoted(spec: Spec) -> Iterator[Problem]:
    """Each sentence of the spec is in the document, or is marked."""
    yield from document_rules.words_are_quoted(spec.content, spec.document)


def values_agree(spec: Spec) -> Iterator[Problem]:
    """What the document lists is in the spec, and the reverse."""
    yield from document_rules.values_agree(spec.content, spec.document)


def links_are_listed(spec: Spec) -> Iterator[Problem]:
    """The README names each link of the document."""
    yield from document_rules.links_are_listed(spec.readme, spec.document)


def waits_are_formed(spec: Spec) -> Iterator[Problem]:
    """Each `x-wait` block has the form of x-wait.schema.json, and what it names is there."""
    yield from wait_rules.form(spec.content)


def wait_pointers_exist(spec: Spec) -> Iterator[Problem]:
    """Each pointer of an `x-wait` block leads to a field of the schema it reads."""
    yield from wait_rules.pointers_exist(spec.content)


def wait_states_have_phases(spec: Spec) -> Iterator[Problem]:
    """Each state that the schema lists has a phase."""
    yield from wait_rules.states_have_phases(spec.content)


def wait_examples_are_read(spec: Spec) -> Iterator[Problem]:
    """Each example of an answer is read to the phase it is labelled with."""
    source = partial(compiled, Path(spec.name).stem, spec.content)
    yield from wait_examples.are_read(spec.content, source)


def wait_claims_have_sources(spec: Spec) -> Iterator[Problem]:
    """What an `x-wait` block says is in the document or has a mark."""
    yield from wait_rules.claims_have_sources(spec.content, spec.document)


RULES: dict[str, Rule] = {
    "keyword": keywords_are_known,
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
    "document-link": links_are_listed,
}
WAIT_RULES: dict[str, Rule] = {
    "wait-form": waits_are_formed,
    "wait-pointer": wait_pointers_exist,
    "wait-phase": wait_states_have_phases,
    "wait-example": wait_examples_are_read,
    "wait-source": wait_claims_have_sources,
}


def examples(spec: Spec) -> Iterator[tuple[Place, dict[str, Any], Any]]:
    """Each example of a spec: its place, its schema, its value."""
    for place, node in _objects(spec.content):
        if isinstance(node.get("schema"), dict):
            if "example" in node:
                yield (*place, "example"), node["schema"], node["example"]
            for name, example in node.get("examples", {}).items():
                yield (*place, "examples", name, "value"), node["schema"], example["value"]
    for place, node in _schemas(spec.content):
        for index, value in enumerate(node.get("examples", [])):
            yield (*place, "examples", index), node, value


def marks(spec: Spec) -> Iterator[tuple[Place, str, str]]:
    """Each mark of a spec: its place, its kind, its text on one line."""
    for place, node in _objects(spec.content):
        for mark in MARKS:
            if mark in node:
                yield place, mark, " ".join(str(node[mark]).split())


def _apply(name: str, rule: Rule, spec: Spec) -> list[Finding]:
    try:
        return files.found(f"specs/{spec.name}", spec.lines, name, rule(spec))
    except Exception as error:  # noqa: BLE001 (a spec may be wrong in ways that no rule expects)
        text = f"can't be checked ({type(error).__name__}: {error}); correct what it is about"
        return [Finding(f"specs/{spec.name}", 1, "#", name, text)]


def _objects(node: Any, place: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each mapping of a spec except those inside the values of examples."""
    if isinstance(node, dict):
        yield place, node
        for key, child in node.items():
            if not _holds_example((*place, key), child):
                yield from _objects(child, (*place, key))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _objects(child, (*place, index))


def _holds_example(place: Place, child: Any) -> bool:
    key, parents = place[-1], place[:-1]
    if parents[-1:] == ("properties",):  # a property of that name
        return False
    in_list = key == "examples" and isinstance(child, list)
    return in_list or key == "example" or (key == "value" and parents[-2:-1] == ("examples",))


def _schemas(content: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each schema of a spec: the components, those beside an example, and all inside them."""
    for place, node in _objects(content):
        parent = place[:-1]
        if parent == SCHEMAS or place[-1:] == ("schema",):
            yield from _subschemas(node, place)


def _subschemas(node: dict[str, Any], place: Place) -> Iterator[tuple[Place, dict[str, Any]]]:
    yield place, node
    for key in ("properties", "patternProperties"):
        for name, child in node.get(key, {}).items():
            yield from _subschemas(child, (*place, key, name))
    for key in ("anyOf", "oneOf", "allOf"):
        for index, child in enumerate(node.get(key, [])):
            yield from _subschemas(child, (*place, key, index))
    for key in ("items", "additionalProperties", "not"):
        if isinstance(node.get(key), dict):
            yield from _subschemas(node[key], (*place, key))


def _types(schema: dict[str, Any]) -> list[str]:
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else types


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _place(text: str) -> Place:
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in text.split("/")[1:])


def _at(content: Any, place: Place) -> Any:
    for key in place:
        content = content[int(key)] if isinstance(content, list) else content[key]
    return content


def _section(readme: str, name: str) -> str:
    """The part of the README under the heading that names the spec."""
    parts = re.split(r"^## ", readme, flags=re.MULTILINE)
    return "".join(part for part in parts if part.startswith(name))
