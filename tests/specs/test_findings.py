"""A broken spec or document is a finding with file, line, rule and fix, and never a traceback."""

import copy
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import spec_generation
import spec_rules

import specs as command_line
from opwatch.cli.generating import yaml_rules
from opwatch.cli.generating.spec import Finding, Place, pointer

Edit = Callable[[bytes], bytes]


def change(old: str, new: str) -> Edit:
    """An edit that replaces a text, which must be there, once."""

    def edit(content: bytes) -> bytes:
        assert old.encode() in content, old
        return content.replace(old.encode(), new.encode("latin-1" if "\xe9" in new else "utf-8"), 1)

    return edit


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


LAUGHS = b"\nx-0: &x0 ha\n" + b"\n".join(
    b"x-%d: &x%d [%b]" % (n, n, b"*x%d, " % (n - 1) * 10) for n in range(1, 12)
)
BROKEN: list[tuple[str, Edit, str, str]] = [
    (
        "apig.yaml",
        change(
            '$ref: "#/components/schemas/InstanceProgress"', '$ref: "#/components/schemas/Gone"'
        ),
        "structure",
        "isn't in this file",
    ),
    ("itwin.yaml", change("components:\n", "component:\n"), "structure", "correct its name"),
    ("apig.yaml", change("Gateway creation status.", "Gateway cr\xe9ation."), "utf-8", "as UTF-8"),
    ("documents/apig.txt", change("Function", "Fonction \xe9"), "utf-8", "save the file as UTF-8"),
    ("README.md", change("# The specs", "# The sp\xe9cs"), "utf-8", "save the file as UTF-8"),
    (
        "catenis.yaml",
        change('finishDate: "2019-03-13T14:09:10.121Z"', "finishDate: 2019-03-13T14:09:10.121Z"),
        "yaml",
        "is read as a date; quote it",
    ),
    ("catenis.yaml", change("done: true", "done: yes"), "yaml", "quote it, or write true or false"),
    (
        "catenis.yaml",
        change("action: read\n", "action: no\n"),
        "yaml",
        "no is read as true",
    ),
    ("catenis.yaml", change('version: "0.7"', "version: 0.7"), "structure", "0.7"),
    ("catenis.yaml", change("bytesProcessed: 28", "bytesProcessed: 0o34"), "example", "0o34"),
    (
        "catenis.yaml",
        change("bytesProcessed: 28", "bytesProcessed: 1:28"),
        "yaml",
        "different number",
    ),
    (
        "catenis.yaml",
        change("bytesProcessed: 28", "bytesProcessed: 034"),
        "yaml",
        "different number",
    ),
    ("catenis.yaml", change("action: read\n", "action: ~\n"), "yaml", "read as null"),
    (
        "itwin.yaml",
        change('"401":', "401:"),
        "yaml",
        "the key 401 isn't read as a string; quote it",
    ),
    (
        "itwin.yaml",
        change(
            "                  value:\n                    jobProgress:",
            "                  val:\n                    jobProgress:",
        ),
        "structure",
        "",
    ),
    (
        "catenis.yaml",
        change("                  value: {status: error, message: Device is deleted}\n", ""),
        "structure",
        "an example without a value; add `value`",
    ),
    ("apig.yaml", change("  title:", "   title:"), "yaml", "check the indentation"),
    ("apig.yaml", change("  title:", "\ttitle:"), "yaml", "check the indentation"),
    ("apig.yaml", change("title: APIG", 'title: "APIG'), "yaml", "check the indentation"),
    ("apig.yaml", change("  version: v2", "  version: v2\n  version: v3"), "yaml", "a second key"),
    (
        "itwin.yaml",
        change("operationId: getJob\n      s", "operationId: getJobProgress\n      s"),
        "structure",
        "getJobProgress",
    ),
    ("apig.yaml", change("minimum: 0", "minimun: 0"), "keyword", "write minimum"),
    ("apig.yaml", change("maximum: 100", "most: 100"), "keyword", "or begin it with x-"),
    ("apig.yaml", change("openapi: 3.1.0", "openapi: 2.0.0"), "structure", "must be OpenAPI 3.1"),
    ("apig.yaml", lambda content: b"", "yaml", "must be an OpenAPI document"),
    ("apig.yaml", lambda content: b"- 1\n", "yaml", "must be an OpenAPI document"),
    ("apig.yaml", lambda content: content + b"\0", "yaml", "remove it"),
    ("apig.yaml", change("paths:\n", "paths: &all\n  <<: *all\n"), "yaml", "contains itself"),
    ("apig.yaml", lambda content: content + LAUGHS, "file", "more than 1,000,000 values"),
    ("apig.yaml", lambda content: b"#" * (16 * 1024**2 + 1), "file", "larger than 16 MiB"),
    ("apig.yaml", change("      responses:\n", "      response:\n"), "structure", ""),
    ("apig.yaml", change("type: object", "type: objekt"), "structure", "objekt"),
    ("apig.yaml", change("enum: [creating, success, failed]", "enum: creating"), "structure", ""),
    ("apig.yaml", change("in: path", "in: road"), "structure", ""),
    ("apig.yaml", change("\npaths:", "\npath:"), "structure", "correct its name, or remove it"),
    (
        "apig.yaml",
        change(
            "    IpDetails:\n",
            '    Loop:\n      $ref: "#/components/schemas/Loop"\n    IpDetails:\n',
        ),
        "structure",
        "#/components/schemas/Loop refers to itself",
    ),
    (
        "apig.yaml",
        change("type: object", "type: !foo object"),
        "yaml",
        "the tag !foo; remove the tag",
    ),
    ("apig.yaml", change("servers:", "? [a, b]\n: c\nservers:"), "yaml", "a key must be a string"),
    (
        "apig.yaml",
        change("progress: 50", f"progress: {'9' * 5000}"),
        "yaml",
        "a number of 5000 digits",
    ),
    (
        "apig.yaml",
        lambda content: content + b"x-a: " + b"[" * 300 + b"]" * 300,
        "yaml",
        "too deeply",
    ),
    ("documents/apig.txt", lambda content: b"", "document", "is empty; restore it"),
    (
        "documents/apig.txt",
        lambda content: content.replace(b"\n", b"\r\n"),
        "file",
        "end with a carriage return",
    ),
    (
        "itwin.yaml",
        change("x-deviation: Null is read as absent.", "x-deviation: true"),
        "structure",
        "must be a string; write the source or the reason",
    ),
    (
        "catenis.yaml",
        change(
            "anyOf:\n        - type: string\n          format: date-time\n        - type: string",
            "anyOf: text",
        ),
        "structure",
        "must be a list of schemas; write one",
    ),
    (
        "apig.yaml",
        change(
            '$ref: "#/components/schemas/GatewayStatus"\n            - type: string',
            "\n            - true",
        ),
        "structure",
        "a schema must be a map; write one",
    ),
]


@pytest.mark.parametrize(("file", "edit", "rule", "text"), BROKEN, ids=range(len(BROKEN)))
def test_what_is_broken_is_a_finding(
    folder: Path, file: str, edit: Edit, rule: str, text: str
) -> None:
    """Each finding begins with file and line, and one of them is of the rule that it breaks."""
    path = folder / file
    before = path.read_bytes()
    path.write_bytes(edit(before))
    name = path.stem if path.suffix in (".yaml", ".txt") else "apig"
    found = findings(folder, name)
    assert [line for line in found if f": {rule}: " in line and text in line], found
    for line in found:
        where, number, _ = line.split(":", 2)
        assert where in (f"specs/{file}", f"specs/documents/{name}.txt")
        assert int(number) > 0


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("catenis.yaml", change("\ncomponents:", "\ncomponent:")),
        ("catenis.yaml", change("/messages/{", "/message/{")),
        ("catenis.yaml", change("    get:\n", "    post:\n")),
        ("catenis.yaml", change("openapi: 3.1.0", "openapi: 3.0.0")),
        ("README.md", change("## catenis.yaml", "## catenis")),
        ("documents/SHA256SUMS", lambda content: b"hello"),
        ("documents/SHA256SUMS", None),
        ("README.md", None),
    ],
)
def test_one_mistake_has_few_findings(folder: Path, file: str, edit: Edit | None) -> None:
    """Whatever else it moves is counted, not listed, and nothing is listed twice."""
    path = folder / file
    content = path.read_bytes()
    path.unlink()
    if edit is not None:
        path.write_bytes(edit(content))
    found = spec_rules.check_all(folder)
    assert 0 < len(found) <= 4, [*map(str, found)]
    assert len({*found}) == len(found)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("apig.yaml", "minimum: 0", "minimun: 0"),
        ("apig.yaml", "components:", "component:"),
        ("apig.yaml", "status: creating\n", "status: on\n"),
        ("itwin.yaml", "state: Active", "state: Active\n                      state: Over"),
        ("itwin.yaml", "percentage: 56", "percentage: 2019-03-13"),
    ],
)
def test_a_finding_names_the_line(folder: Path, file: str, old: str, new: str) -> None:
    """The line is that of what is wrong."""
    path = folder / file
    text = path.read_text(encoding="utf-8").replace(old, new, 1)
    path.write_text(text, encoding="utf-8")
    last = new.rpartition("\n")[2] or new
    line = text[: text.index(new) + len(new) - len(last)].count("\n") + 1
    (found,) = [each for each in findings(folder, path.stem) if "document-" not in each]
    assert found.startswith(f"specs/{file}:{line}: #/")


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
        ("apig", "1progress/get/responses", "document-value", "has no 'responses'; add it"),
        ("apig", f"{ANSWER}/schema", "document-value", "has no 'schema'; add it"),
        ("apig", f"{ANSWER}", "document-value", "the document gives it a body; add content"),
        ("apig", "/x-wait/errors/code", "wait-form", "no pointer leads to the code; add `code`"),
        ("itwin", "/flows/clientCredentials", "security", "isn't an argument of this scheme"),
        ("catenis", "/then/if/properties/success", "structure", "must test one boolean; write"),
        ("catenis", "/FinalMessageProgressEvent", "structure", "isn't in this file; copy it here"),
    ],
)
def test_what_is_deleted_is_named(name: str, end: str, rule: str, text: str) -> None:
    """One finding is about what is missing, at the part of the spec that lacks or needs it."""
    place = next(each for each in places(SPECS[name].content) if pointer(each).endswith(end))
    found = [each for each in without(name, place) if each.rule == rule and text in each.text]
    assert found, without(name, place)
    assert min(each.line for each in found) > 3  # where the comment above the spec ends


@pytest.mark.parametrize("name", SPECS)
def test_each_finding_about_a_deletion_has_a_line_and_a_fix(name: str) -> None:
    """Whatever is deleted, no rule fails, and each finding says where, and what to do."""
    for place in [*places(SPECS[name].content)][::29]:
        for found in without(name, place):
            assert found.line > 1, (place, str(found))
            assert "; " in found.text or "must be" in found.text, (place, str(found))
            assert "can't be checked" not in found.text, (place, str(found))


def test_a_row_of_the_readme_is_named(folder: Path) -> None:
    """A mark that isn't there is a finding about the line of the README that lists it."""
    path = folder / "apig.yaml"
    text = path.read_text(encoding="utf-8")
    mark = text.index("      x-deviation: No field is required")
    path.write_text(text[:mark] + text[text.index("\n", mark) + 1 :], encoding="utf-8")
    rows = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    row = "| `#/components/schemas/InstanceProgress` | x-deviation |"
    line = next(n for n, each in enumerate(rows, 1) if each.startswith(row))
    assert any(
        each.startswith(f"specs/README.md:{line}: #: mark: ") for each in findings(folder, "apig")
    )


def test_a_sample_is_named(folder: Path) -> None:
    """A sample that the spec lacks is a finding about the line of the document where it begins."""
    path = folder / "documents" / "apig.txt"
    text = path.read_text(encoding="utf-8").replace('"progress" : 50', '"progress" : 55')
    path.write_text(text, encoding="utf-8")
    line = text[: text.index('"progress" : 55')].count("\n") - 3
    start = (
        f"specs/documents/apig.txt:{line}: #: sample: this sample isn't an example of status 200"
    )
    assert any(each.startswith(start) for each in findings(folder, "apig"))


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
    found = [each for each in findings(folder, name) if ": document: " not in each]
    assert len(found) == 1, found
    start = f"specs/documents/{name}.txt:{number}: #: sample: can't be read as a schema: "
    assert found[0].startswith(start)
    assert text in found[0]


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


@pytest.mark.parametrize("file", ["README.md", "documents/SHA256SUMS"])
def test_a_file_that_is_missing_is_a_finding(folder: Path, file: str) -> None:
    """So is a file beside the specs that isn't there."""
    (folder / file).unlink()
    assert findings(folder, "apig") == [f"specs/{file}:1: #: file: is missing; restore it"]


def run(monkeypatch: pytest.MonkeyPatch, command: str) -> int:
    monkeypatch.setattr("sys.argv", ["specs.py", command])
    return command_line.main()


@pytest.mark.parametrize("command", ["generate", "check"])
@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda content: b"", "yaml: must be an OpenAPI document"),
        (change("  title:", "   title:"), "yaml: "),
        (change("status.", "st\xe9tus."), "utf-8: byte 0xe9 isn't UTF-8"),
        (
            change("schemas/InstanceProgress", "schemas/Gone"),
            "structure: #/components/schemas/Gone",
        ),
        (change("creating: running", "creating: runing"), "wait-form: "),
    ],
)
def test_a_broken_spec_is_not_generated(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    edit: Edit,
    text: str,
    command: str,
) -> None:
    """`generate` and `check` say what `validate` says of it, and run no generator."""
    path = folder / "apig.yaml"
    path.write_bytes(edit(path.read_bytes()))
    monkeypatch.setattr(spec_generation, "SPECS", folder)
    monkeypatch.delattr(spec_generation, "_generate")
    assert run(monkeypatch, "validate") == run(monkeypatch, command) == 1
    printed = capsys.readouterr().err.splitlines()
    assert printed[: len(printed) // 2] == printed[len(printed) // 2 :]
    assert text in printed[0]


def test_a_deleted_spec_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While its document or its part of the README is there, `validate` asks for the spec."""
    monkeypatch.setattr(spec_generation, "SPECS", folder)
    (folder / "itwin.yaml").unlink()
    for _ in range(2):
        assert run(monkeypatch, "validate") == 1
        found = [line for line in capsys.readouterr().err.splitlines() if "itwin" in line]
        text = "is missing; restore it, or delete its document and its part of README.md"
        assert found == [f"specs/itwin.yaml:1: #: file: {text}"]
        (folder / "documents" / "itwin.txt").unlink(missing_ok=True)


def test_a_client_is_never_deleted_silently(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its spec, `generate` writes nothing, and `check` says to restore the spec."""
    generated = folder.parent / "generated"
    shutil.copytree(spec_generation.GENERATED, generated)
    before = {file: file.read_bytes() for file in generated.rglob("*.py")}
    monkeypatch.setattr(spec_generation, "SPECS", folder)
    for function in (spec_generation.write, spec_generation.drift, spec_generation.lost):
        monkeypatch.setattr(function, "__defaults__", (generated,))
    monkeypatch.setattr(spec_generation, "_generate", _all_but_itwin)
    (folder / "itwin.yaml").unlink()
    monkeypatch.setattr(spec_rules, "check_all", lambda folder: [])
    assert run(monkeypatch, "generate") == 1
    assert capsys.readouterr().err.startswith("the spec of itwin is missing; restore it, or delete")
    assert {file: file.read_bytes() for file in generated.rglob("*.py")} == before
    assert run(monkeypatch, "check") == 1
    printed = capsys.readouterr().err.splitlines()
    assert "generated/: new: opwatch_api/itwin/client.py" in printed
    assert printed[-1].endswith("restore the spec of itwin, or delete what was made of it")


def _all_but_itwin(target: Path, home: Path) -> None:
    shutil.copytree(spec_generation.GENERATED, target)
    for path in [*target.rglob("itwin"), *target.rglob("itwin.py")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("itwin.yaml", lambda content: content.replace(b"servers:", b"{id}: x\nservers:", 1)),
        ("itwin.yaml", lambda content: content.replace(b"servers:", b"<<: 5\nservers:", 1)),
        ("itwin.yaml", lambda content: content.replace(b"type: object", b"type: !foo object", 1)),
        ("itwin.yaml", lambda content: b"[" * 5000),
        (
            "itwin.yaml",
            lambda content: content.replace(b"minItems", b"x", 1) + b"x-n: " + b"9" * 5000,
        ),
        ("README.md", None),
        ("itwin.yaml", None),
        ("x-wait.schema.json", lambda content: b"[" * 100_000),
    ],
)
def test_what_cannot_be_read_is_a_finding(folder: Path, file: str, edit: Edit | None) -> None:
    """Also a file that is missing or a folder, and YAML that no OpenAPI document has."""
    path = folder / file
    content = path.read_bytes()
    path.unlink()
    if edit is None:
        path.mkdir()
    else:
        path.write_bytes(edit(content))
    lines = [str(finding) for finding in spec_rules.check_all(folder)]
    assert any(line.startswith(f"specs/{file}:") for line in lines), lines
