"""Read the documents of specs/, which are written in three notations.

Tables become JSON schemas, so that they can be compared with a spec like a document's own schemas.
`words` removes a text's markup, so that texts can be compared.
"""

import functools
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Schema = dict[str, Any]

TYPES: dict[str, Schema] = {
    "String": {"type": "string"},
    "Number": {"type": "number"},
    "Boolean": {"type": "boolean"},
    "Object": {"type": "object"},
    "Integer": {"type": "integer", "format": "int32"},
    "Long": {"type": "integer", "format": "int64"},
}
CONDITIONS = {
    "processing has already been finished": {"done": True},
    "processing finished with error": {"done": True, "success": False},
    "processing finished successfully": {"done": True, "success": True},
}
"""The conditions after "only returned if", as values of fields."""
_STATUS = r"^\*\*Status code: (\d+)\*\*$|^Response (\d{3}) "
_CAPTION = r"(?m)^(?:> |-  )(.+)\s+(?:```\w*|\.\. code-block::)\s+\Z"
_NOT_WORDS = re.compile(r"<!--.*?-->|<[^>]*>|(?<=`)\s*<[^>]*>", re.DOTALL)


@dataclass
class Document:
    """The content of a document about one operation."""

    name: str | None = None
    """Its name for the operation, if it has one."""
    path: str | None = None
    """Method and path, if it gives them."""
    parameters: dict[str, Schema] = field(default_factory=dict)
    headers: dict[str, Schema] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    """Each status code and its text."""
    bodies: dict[str, Schema] = field(default_factory=dict)
    """The schema of the body of each status that has a table."""
    schemas: list[Schema] = field(default_factory=list)
    """The document's own schemas."""
    samples: list[tuple[int, str, Any]] = field(default_factory=list)
    """Each JSON sample: its line, its status, its value."""
    captions: dict[int, str] = field(default_factory=dict)
    """The line of each sample that has a heading of its own, with that."""
    broken: list[tuple[int, str]] = field(default_factory=list)
    """The lines of tables and of JSON that can't be read, and why."""
    messages: dict[str, list[str]] = field(default_factory=dict)
    """The messages of each status."""
    links: list[str] = field(default_factory=list)
    """The targets of its links."""
    taken: set[int] = field(default_factory=set)
    """The lines that all of this was read from."""


def words(text: str) -> str:
    """Return the words and numbers of a text, without markup, with a space around each."""
    return _tokens(text, r"[\w%‰°]+")


def wording(text: str) -> str:
    """Return the words of a text with the marks between them that no markup uses."""
    return _tokens(text, r"[\w%‰°]+|[^\w\s,*|-]").rstrip(" .:;") + " "


@functools.cache
def _tokens(text: str, token: str) -> str:
    text = re.sub(r":ref:`([^`<]*)<[^`]*`", r"\1", text)
    text = html.unescape(_NOT_WORDS.sub(" ", text))
    return " " + " ".join(re.findall(token, re.sub(r"[_*]{2}|`", " ", text))) + " "


@functools.cache
def read(text: str) -> Document:
    """Read a document in any of the three notations."""
    found = Document(links=[*_links(text)])
    if route := re.search(r"^(GET|POST|PUT|DELETE) (/\S+)$", text, re.MULTILINE):
        path = re.sub("`:([^`]*)`", r"{\1}", route[2])
        found.path = f"{route[1]} {path}"
    if name := re.match(r":original_name: (\w+)", text):
        found.name = name[1]
    for name, description in re.findall(r"<li>`(\w+)`: (.*?)</li>", text):
        found.parameters[name] = {"description": description}
    for status, reason in re.findall(r"^Response (\d{3}) (.+)$", text, re.MULTILINE):
        found.statuses[status] = reason
    _take_json(found, text)
    caption, status = "", "200"
    for number, kind, body in _parts(text, found.taken):
        found.taken.add(number)
        if kind == "caption":
            caption = body
        elif kind == "status":
            status = body
            found.statuses.setdefault(status, "")
        else:
            try:
                _take(found, [*body], caption, status)
            except ValueError:
                problem = "the rows don't have the columns that its head or its caption promises"
                found.broken.append((number, f"as a table: {problem}"))
    return found


_TAKEN = re.compile(
    r"(GET|POST|PUT|DELETE) /\S+|Response \d{3} .*|<li>`\w+`: .*</li>|:original_name:.*"
    r"|\.\. (_\S+:|code-block::)|```\S*|<!--.*-->|<\?php"
)


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Each line that `read` takes no data from and that has words: its number, its words."""
    comment = re.compile(r"<!--.*?-->", re.DOTALL)
    taken = read(text).taken
    text = comment.sub(lambda found: "\n" * found[0].count("\n"), text)
    for number, line in enumerate(text.splitlines(), 1):
        if number not in taken and not _TAKEN.fullmatch(line.strip()) and words(line).strip():
            yield number, words(line)


def line_of(document: str, text: str) -> int:
    """Return the number of the first line that contains a text, or 1 if none does."""
    return document.count("\n", 0, max(document.find(text), 0)) + 1


def _take_json(found: Document, text: str) -> None:
    """Read each JSON object at the start of a line: a schema, or a sample for the status above
    it."""
    end = 0
    for start in re.finditer(r"^[ ]*(?=\{)", text, re.MULTILINE):
        if start.end() < end:
            continue
        line = text.count("\n", 0, start.end()) + 1
        try:
            block, end = json.JSONDecoder().raw_decode(text, start.end())
        except json.JSONDecodeError as error:
            found.broken.append((error.lineno, f"as JSON: {error.msg} at column {error.colno}"))
            continue
        except (ValueError, RecursionError) as error:
            is_deep = isinstance(error, RecursionError)
            problem = "nested too deeply" if is_deep else "a number with too many digits"
            found.broken.append((line, f"as JSON: {problem}"))
            continue
        found.taken |= {*range(line, text.count("\n", 0, end) + 2)}
        if "type" in block or "enum" in block:
            if fault := _fault(block):
                found.broken.append((line, f"as a schema: {fault}"))
            else:
                found.schemas.append(block)
        else:
            above = re.findall(_STATUS, text[: start.end()], re.MULTILINE)
            found.samples.append((line, "".join(above[-1]) if above else "200", block))
            if caption := re.search(_CAPTION, text[: start.end()]):
                found.captions[line] = caption[1]


def _fault(schema: Schema) -> str:
    """Return why a schema can't be compared with one of a spec, if it can't."""
    # Slow to import.
    from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]

    if {"title", "description"}.isdisjoint(schema):
        return "it has neither a title nor a description"
    try:
        Draft202012Validator.check_schema(schema)
    except RecursionError:
        return "nested too deeply"
    except SchemaError as error:
        return str(error.message)
    return "" if _is_plain(schema) else "an empty enumeration, or a property without a schema"


def _is_plain(schema: Any) -> bool:
    return (
        isinstance(schema, dict)
        and schema.get("enum") != []
        and all(map(_is_plain, schema.get("properties", {}).values()))
    )


def _links(text: str) -> Iterator[str]:
    for href, ref in re.findall(r'href="([^"]+)"|:ref:`[^`]*<([^>`]+)>`', text):
        yield href or ref


def _take(found: Document, rows: list[list[str]], caption: str, status: str) -> None:
    """Read a table, whose first row names its columns."""
    columns = [" ".join(words(cell).split()) for cell in rows[0]]
    if columns == ["Property", "Type", "Description"]:
        found.bodies["200"] = _nested([(*row,) for row in rows[1:]])
        found.statuses.setdefault("200", "")
    elif columns == ["Status code", "Error message"]:
        for code, text in rows[1:]:
            found.statuses[code] = ""
            found.messages[code] = [" ".join(_plain(each).split()) for each in text.split("<br>")]
    elif columns == ["Status Code", "Description"]:
        found.statuses |= {row[0]: row[1] for row in rows[1:]}
    elif caption.endswith("body parameters"):
        properties = {name: _typed(kind, text) for name, kind, text in rows[1:]}
        found.bodies[status] = {"type": "object", "properties": properties}
    elif caption.endswith("Path Parameters"):
        for name, mandatory, kind, text in rows[1:]:
            found.parameters[name] = _typed(kind, text) | {"required": mandatory == "Yes"}
    elif caption.endswith("header parameters"):
        for name, mandatory, kind, text in rows[1:]:
            found.headers[name] = _typed(kind, text) | {"required": mandatory == "Yes"}


def _typed(kind: str, text: str) -> Schema:
    schema = TYPES.get(kind, {"type": kind}) | {"description": text}
    if listed := re.search(r"Enumeration values:(.*)", text, re.DOTALL):
        values = re.findall(r"\*\*(\w+)\*\*", listed[1])
        schema["enum"] = [int(each) if each.isdigit() else each for each in values]
    elif listed := re.search(r"One of: (.*)\.", text):
        schema["enum"] = re.findall(r"`(\w+)`", listed[1])
    elif constant := re.search(r"The value \W+(\w+)", text):
        schema["enum"] = [constant[1]]
    if "ISO 8601" in text:
        schema["format"] = "date-time"
    return schema


def _nested(rows: list[tuple[str, ...]]) -> Schema:
    """Return the schema of a table whose first column is indented; fields that are "only returned
    if" aren't required."""
    root: Schema = {"type": "object", "properties": {}, "required": []}
    above = [(-1, root)]
    for name, kind, text in rows:
        depth = name.count("&nbsp;")
        while above[-1][0] >= depth:
            above.pop()
        parent, own = above[-1][1], name.replace("&nbsp;", "").strip("` ")
        schema = _typed(kind, text)
        parent.setdefault("properties", {})[own] = schema
        if condition := re.search(r"only returned if ([^)]+?)\)", text):
            schema["x-when"] = CONDITIONS.get(condition[1], {})
        else:
            parent.setdefault("required", []).append(own)
        above.append((depth, schema))
    return root


def _plain(text: str) -> str:
    return html.unescape(_NOT_WORDS.sub("", text))


def _parts(text: str, taken: set[int]) -> Iterator[tuple[int, str, Any]]:
    """Yield the captions, status headings and tables of a document, in order, with their lines. The
    lines of tables are added to `taken`."""
    numbered = enumerate(text.splitlines(), 1)
    lines = _taking(numbered, taken)
    for number, line in numbered:
        bare = line.strip()
        if caption := re.match(r"\.\. table:: \*\*Table \d+\*\* (.+)", bare):
            yield number, "caption", caption[1]
        elif status := re.fullmatch(r"\*\*Status code: (\d+)\*\*", bare):
            yield number, "status", status[1]
        elif bare.startswith("+-"):
            yield number, "table", _grid(lines)
        elif re.fullmatch(r"=+( +=+)+", bare):
            yield number, "table", _simple(bare, len(line) - len(line.lstrip()), lines)
        elif re.fullmatch(r"\|( .* \|)+", bare):
            yield number, "table", _piped(bare, lines)


def _taking(numbered: Iterator[tuple[int, str]], taken: set[int]) -> Iterator[str]:
    for number, line in numbered:
        taken.add(number)
        yield line


def _grid(lines: Iterator[str]) -> Iterator[list[str]]:
    row: list[list[str]] = []
    for line in lines:
        bare = line.strip()
        if bare.startswith("|"):
            cells = [cell.strip() for cell in bare.strip("|").split("|")]
            row = row or [[] for _ in cells]
            for cell, text in zip(row, cells, strict=True):
                cell.append(text)
        else:
            if row:
                yield ["\n".join(cell).strip() for cell in row]
            row = []
            if not bare:
                return


def _simple(rule: str, indent: int, lines: Iterator[str]) -> Iterator[list[str]]:
    spans = [found.span() for found in re.finditer("=+", rule)]
    ends = [span[0] for span in spans[1:]] + [None]
    rules = 1
    for line in lines:
        text = line[indent:]
        if text.startswith("="):
            rules += 1
            if rules == 3:
                return
        else:
            yield [text[start:end].strip() for (start, _), end in zip(spans, ends, strict=True)]


def _piped(first: str, lines: Iterator[str]) -> Iterator[list[str]]:
    line: str | None = first
    while line and line.strip().startswith("|"):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not all(re.fullmatch("-+", cell) for cell in cells):
            yield cells
        line = next(lines, None)
