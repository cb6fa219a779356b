"""A broken spec or document is a finding with file, line, rule and fix, and never a traceback."""

import copy
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spec_generation
import spec_rules

from opwatch.cli.generating import yaml_rules
from opwatch.cli.generating.spec import Finding, Place, pointer


def findings(folder: Path, name: str) -> list[str]:
    """What `validate` says of one spec of a folder."""
    try:
        return [str(each) for each in spec_rules.check(spec_rules.read(folder / f"{name}.yaml"))]
    except yaml_rules.Unreadable as error:
        return [str(each) for each in error.findings]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(spec_generation.SPECS, tmp_path / "specs")
    return tmp_path / "specs"


SPECS = {path.stem: spec_rules.read(path) for path in spec_generation.specs()}
ANSWER = "responses/200/content/application~1json"


def at(content: Any, place: Place) -> Any:
    for key in place:
        content = content[key]
    return content


def without(name: str, place: Place) -> list[Finding]:
    """The findings about a spec whose content lacks what is at a place."""
    content = copy.deepcopy(SPECS[name].content)
    del at(content, place[:-1])[place[-1]]
    return spec_rules.check(dataclasses.replace(SPECS[name], content=content))


def places(node: Any, place: Place = ()) -> Iterator[Place]:
    """The place of each part of a spec."""
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*place, key)
        if isinstance(child, dict | list):
            yield from places(child, (*place, key))


@pytest.mark.parametrize(
    ("name", "end", "rule", "text"),
    [
        ("apig", "/info", "structure", "'info' is a required property; add it"),
        ("apig", "/security", "security", "no security at the root; add it"),
        ("apig", "/tags/0/name", "structure", "'name' is a required property; add it"),
        ("apig", "/parameters/0/name", "structure", "'name' is a required property; add it"),
        ("apig", "1progress/get/parameters", "structure", "was not resolved; correct it"),
        (
            "apig",
            "1progress/get/responses",
            "wait-form",
            "a 200 response with a schema; descr",
        ),
        ("apig", f"{ANSWER}/schema", "document-value", "has no 'schema'; add it"),
        ("apig", f"{ANSWER}", "document-value", "the document gives it a body; add content"),
        (
            "apig",
            "/x-wait/errors/code",
            "wait-form",
            "doesn't say where to find the code; add `code`",
        ),
        ("catenis", "/then/if/properties/success", "structure", "must test a constant; write"),
        ("catenis", "/FinalMessageProgressEvent", "structure", "isn't in this file; copy it here"),
    ],
)
def test_what_is_deleted_is_named(name: str, end: str, rule: str, text: str) -> None:
    """One finding is about what is missing, at the part of the spec that lacks or needs it."""
    place = next(each for each in places(SPECS[name].content) if pointer(each).endswith(end))
    (found,) = without(name, place)
    assert (found.rule, text in found.text) == (rule, True), str(found)
    assert found.line > 3  # where the comment above the spec ends


@pytest.mark.parametrize("step", [97, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SPECS)
def test_each_finding_about_a_deletion_has_a_line_and_a_fix(name: str, step: int) -> None:
    """Whatever is deleted, no rule fails, and each finding says where, and what to do."""
    for place in [*places(SPECS[name].content)][::step]:
        for found in without(name, place):
            assert found.line > 1, (place, str(found))
            assert "; " in found.text or "must be" in found.text, (place, str(found))
            assert "can't be checked" not in found.text, (place, str(found))


@pytest.mark.parametrize("value", [None, True, 1.5, "a", [], {}, [None], {"a": None}], ids=repr)
@pytest.mark.parametrize("step", [293, pytest.param(41, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SPECS)
def test_a_part_of_another_shape_has_its_line(name: str, step: int, value: object) -> None:
    """Whatever a part is replaced by, the finding names the part or one that needs it, and why."""
    shapes = [*places(SPECS[name].content)][::step]
    for place in (each for each in shapes if len(each) > 1):
        content = copy.deepcopy(SPECS[name].content)
        at(content, place[:-1])[place[-1]] = value
        for found in spec_rules.check(dataclasses.replace(SPECS[name], content=content)):
            assert found.line > 1, (place, str(found))
            assert "can't be checked" not in found.text, (place, str(found))


@pytest.mark.parametrize("step", [31, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SPECS)
def test_a_line_that_is_deleted_is_at_most_one_finding(folder: Path, name: str, step: int) -> None:
    """So is the key of a map, whose contents then seem to belong to another, or a mark."""
    path = folder / f"{name}.yaml"
    lines = path.read_text("utf-8").splitlines()
    written = [n for n, line in enumerate(lines) if line.strip() and "# " not in line]
    for n in written if step == 1 else [n for n in written if lines[n].endswith(":")][::step]:
        path.write_text("\n".join([*lines[:n], *lines[n + 1 :]]), "utf-8")
        found = findings(folder, name)
        assert len(found) < 2, (lines[n], found)


@pytest.mark.parametrize(
    ("name", "number", "schema", "text"),
    [
        ("catenis", 53, '{"type":"object","properties":{"a":1}}', "neither a title nor"),
        ("itwin", 50, '{"enum": [], "properties": 1}', "neither a title nor"),
        ("itwin", 50, '{"enum": [], "title": "a"}', "an empty enumeration, or"),
        ("itwin", 50, '{"type": "x", "title": "a"}', "'x' is not valid"),
        ("itwin", 50, '{"type": "object", "title": 1}', "1 is not of type 'string'"),
        ("itwin", 50, '{"type": "a", "title": "a", "properties": {"a": true}}', "'a' is not"),
        ("itwin", 50, '{"type": "object", "title": "a", "properties": {"a": true}}', "a property"),
        ("itwin", 50, '{"type": "object", "title": "a", "required": [[]]}', "[] is not of type"),
    ],
)
def test_a_schema_that_cannot_be_compared_is_named(
    folder: Path, name: str, number: int, schema: str, text: str
) -> None:
    """A schema of a document in which something is wrong is one finding at its line."""
    path = folder / "documents" / f"{name}.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines.insert(number - 1, schema)
    path.write_text("\n".join(lines), encoding="utf-8")
    (found,) = findings(folder, name)
    start = f"specs/documents/{name}.txt:{number}: document: can't be read as a schema: "
    assert found.startswith(start)
    assert text in found


def test_what_a_finding_quotes_is_printable(folder: Path) -> None:
    """Nothing that a spec says reaches the terminal as a control character."""
    path = folder / "itwin.yaml"
    text = path.read_text(encoding="utf-8")
    start = text.index("x-error: ")
    end = text.index("\n", start)
    path.write_text(f'{text[:start]}x-error: "\\e[31m\\a"{text[end:]}', encoding="utf-8")
    found = [each for each in findings(folder, "itwin") if "[31m" in each]
    assert found
    assert all(each.isprintable() for each in found)
