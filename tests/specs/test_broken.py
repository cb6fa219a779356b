"""A mistake in a spec, a document or what is beside them is one finding: file, line, rule and fix.

broken/*.yaml has the mistakes, each with its finding, in which the beginning of a line stands for
its number, and a name for a hash: `<sum of apig.txt>`, or `<new sum of apig.txt>` if the mistake is
in that document. So a correct change of a document breaks no row.
"""

import copy
import dataclasses
import hashlib
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import spec_generation
import spec_rules
import yaml

from opwatch.cli.generating import yaml_rules
from opwatch.cli.generating.spec import Finding

HERE = Path(__file__).parent
SPECS = {path.stem: spec_rules.read(path) for path in spec_generation.specs()}
Row = dict[str, Any]


def rows(name: str) -> list[Row]:
    found: list[Row] = yaml.safe_load((HERE / "broken" / f"{name}.yaml").read_text("utf-8"))
    return found


def numbered(found: list[Row]) -> Any:
    """Give a test each row: one in four in `make test`, all of them in `make test-slow`."""
    slow = pytest.mark.slow
    rows = [pytest.param(row, id=str(n), marks=[slow] * (n % 4 > 0)) for n, row in enumerate(found)]
    return pytest.mark.parametrize("row", rows)


def sums(folder: Path) -> dict[str, str]:
    """Return the hash of each document of a folder, by its name."""
    paths = folder.glob("documents/*.txt")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def told(found: Iterable[Finding], folder: Path) -> list[str]:
    """Findings with the beginnings of lines instead of their numbers, and names of hashes."""
    names = {digest: f"<new sum of {name}>" for name, digest in sums(folder).items()}
    names |= {digest: f"<sum of {name}>" for name, digest in sums(spec_generation.SPECS).items()}

    def start(path: Path, number: int) -> str:
        text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
        return named(text.split("\n")[number - 1].strip())[:40]

    def named(text: str) -> str:
        return re.sub("[0-9a-f]{64}", lambda match: names.get(match[0], match[0]), text)

    lines = []
    for each in found:
        path = folder / each.spec.removeprefix("specs/")
        document = folder / "documents" / f"{path.stem}.txt"
        text = re.sub(
            r"line (\d+) of the document",
            lambda match, document=document: f"the line <{start(document, int(match[1]))}>",
            named(each.text),
        )
        where = f"{path.relative_to(folder)}: {start(path, each.line)}"
        lines.append(f"{where}: {each.rule}: {text}")
    return lines


def findings(path: Path) -> list[Finding]:
    """The findings about one spec."""
    try:
        return spec_rules.check(spec_rules.read(path))
    except yaml_rules.Unreadable as error:
        return error.findings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(spec_generation.SPECS, tmp_path / "specs")
    return tmp_path / "specs"


@numbered(rows("files"))
def test_a_broken_file_is_one_finding(folder: Path, row: Row) -> None:
    """Wherever the mistake is, and whatever follows from it; and the finding says how to fix it."""
    path = folder / row["file"]
    content = path.read_bytes() if row["old"] else b""
    of = sums(folder)
    row = row | {
        key: re.sub("<sum of (.*?)>", lambda match: of[match[1]], row[key])
        for key in ("old", "to", "new")
        if key in row
    }
    old, new = row["old"].encode(), row["new"].encode(row.get("encoding", "utf-8"))
    assert old in content
    if "to" in row:
        end = content.index(row["to"].encode(), content.index(old)) if row["to"] else len(content)
        content = content[: content.index(old)] + new + content[end:]
    else:
        content = content.replace(old, new, -1 if "all" in row else 1) if old else new
    path.write_bytes(content)
    found = findings(path) if path.suffix == ".yaml" else spec_rules.check_all(folder)
    assert told(found, folder) == [row["found"]]
    assert "; " in found[0].text or "must be" in found[0].text


@numbered(rows("documents"))
def test_a_change_of_the_document_is_one_finding(folder: Path, row: Row) -> None:
    """Another number, unit, member, status, type, field or `required` is named, and the file."""
    name, document = row["spec"], SPECS[row["spec"]].document
    assert row["old"] in document
    changed = document.replace(row["old"], row["new"])
    (folder / "documents" / f"{name}.txt").write_text(changed, "utf-8")
    found = spec_rules.check(dataclasses.replace(SPECS[name], document=changed))
    assert told(found, folder) == [row["found"]]


@numbered(rows("contents"))
def test_a_change_of_the_spec_is_one_finding(row: Row) -> None:
    """So is one in the spec, unless it carries a mark."""
    content = copy.deepcopy(SPECS[row["spec"]].content)
    *above, last = row["at"].split()
    node: Any = content
    for key in above:
        node = node[int(key) if isinstance(node, list) else key]
    node[last] = row["value"]
    found = spec_rules.check(dataclasses.replace(SPECS[row["spec"]], content=content))
    assert told(found, spec_generation.SPECS) == [row["found"]]


LAUGHS = b"\nx-0: &x0 ha\n" + b"\n".join(
    b"x-%d: &x%d [%b]" % (n, n, b"*x%d, " % (n - 1) * 10) for n in range(1, 12)
)


def huge(spec: bytes) -> bytes:
    return spec.replace(b"progress: 50", b"progress: " + b"9" * 5000, 1)


@pytest.mark.parametrize(
    ("file", "edit", "at", "text"),
    [
        ("apig.yaml", lambda it: b"", b"", "yaml: must be an OpenAPI document"),
        ("apig.yaml", lambda it: b"- 1\n", b"", "yaml: must be an OpenAPI document"),
        ("apig.yaml", lambda it: b"[" * 5000, b"", "yaml: nested too deeply; flatten it"),
        ("apig.yaml", lambda it: it + b"x-a: " + b"[" * 300, b"x-a: [", "yaml: nested too deeply"),
        ("apig.yaml", lambda it: it + LAUGHS, b"x-6:", "file: has more than 1,000,000 values"),
        ("apig.yaml", lambda it: b"#" * (16 * 1024**2 + 1), b"", "file: is larger than 16 MiB"),
        ("apig.yaml", huge, b"progress: 999", "yaml: a number of 5000 digits can't be read"),
        ("apig.yaml", lambda it: it.decode().encode("utf-16"), b"", "utf-8: byte 0xff isn't UTF-8"),
        ("apig.yaml", "folder", b"", "file: can't be read: Is a directory; restore it"),
        ("README.md", "folder", b"", "file: can't be read: Is a directory; restore it"),
        ("README.md", "nothing", b"", "file: is missing; restore it"),
        ("documents/SHA256SUMS", "nothing", b"", "file: is missing; restore it"),
        ("documents/apig.txt", "folder", b"", "file: can't be read: Is a directory; restore it"),
        ("documents/apig.txt", lambda it: it.decode().encode("utf-16"), b"", "utf-8: byte 0xff"),
        (
            "documents/apig.txt",
            lambda it: it.replace(b"      {", b'      {"x": ' + b"[" * 100_000, 1),
            b'{"x": [',
            "document: can't be read as JSON: nested too deeply; restore it, or correct it",
        ),
        (
            "documents/itwin.txt",
            lambda it: it.replace(b'"percentage": 56', b'"percentage": ' + b"9" * 5000),
            b"9999",
            "document: can't be read as JSON: a number with too many digits; restore it, or",
        ),
        ("x-wait.schema.json", lambda it: b"[" * 100_000, b"", "file: can't be read: "),
    ],
)
def test_what_cannot_be_read_is_one_finding(
    folder: Path, file: str, edit: Any, at: bytes, text: str
) -> None:
    """Nor is what no editor writes a traceback."""
    path = folder / file
    content = path.read_bytes()
    path.unlink()
    if callable(edit):
        path.write_bytes(edit(content))
    elif edit == "folder":
        path.mkdir()
    (found,) = map(str, spec_rules.check_all(folder))
    content = path.read_bytes() if path.is_file() else b""
    line = content.count(b"\n", 0, content.index(at)) + 1
    assert found.startswith(f"specs/{file}:{line}: ")
    assert f": {text}" in found


@pytest.mark.parametrize(
    "edit", [lambda it: b"\xef\xbb\xbf" + it, lambda it: it.replace(b"\n", b"\r\n")]
)
def test_a_spec_may_be_saved_on_windows(folder: Path, edit: Any) -> None:
    """YAML reads a byte order mark and carriage returns as what they are."""
    path = folder / "apig.yaml"
    path.write_bytes(edit(path.read_bytes()))
    assert spec_rules.check_all(folder) == []


@pytest.mark.parametrize("name", ["apig", "itwin"])
def test_a_finding_cannot_hide_in_the_sums(folder: Path, name: str) -> None:
    """Once the hash of a changed document is written down, each difference is a finding."""
    path = folder / "documents" / f"{name}.txt"
    text = path.read_text("utf-8").replace("Unauthorized", "Refused").replace("Not Found", "Gone")
    path.write_text(text, "utf-8")
    (found,) = spec_rules.check_all(folder)
    assert found.rule == "document"
    old, new = found.text.partition(" by ")[2].partition(" and ")[0].split("  ")
    sums = folder / "documents" / "SHA256SUMS"
    lines = [f"{old}  {new}" if new in line else line for line in sums.read_text().splitlines()]
    sums.write_text("\n".join(lines) + "\n")
    found = spec_rules.check_all(folder)
    assert len(found) > 1
    assert {each.rule for each in found} == {"document-value"}
