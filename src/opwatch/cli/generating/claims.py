"""Whether an `x-wait` block says what its document says, or has marks that name other sources."""

import re
from collections.abc import Iterator
from typing import Any

from opwatch.cli.generating.document import MARKS, keys_of, listed, waited
from opwatch.cli.generating.rules import delays_of, form
from opwatch.cli.generating.spec import Place, Problem

_LIST = re.compile(r"(?<![\w.])[\d.]*\d(?:(?:, ?| and )[\d.]*\d)*(?![\w.]*\d)")
"""Numbers in a text, one or several."""
HOW_TO_MARK = "quote the document, or name the source in an x-inferred beside it"


def claims_have_sources(content: dict[str, Any], document: str) -> Iterator[Problem]:
    """The schedule and each number, state, code and text of a block are in the document or have a
    mark, which names each number. Without a document, the schedule is in the description."""
    if any(form(content)):
        return
    for operation in waited(content):
        place, block = (*operation.place, "x-wait"), operation.content["x-wait"]
        if text := _other_schedule(block, document or operation.content.get("description", "")):
            yield (*place, *delays_of(block)[0]), text
        if not document:
            continue
        lost: dict[Place, list[tuple[Place, Any]]] = {}
        for inner, claim in _claims(block):
            mark = _mark(block, inner)
            if not _stands(claim, f"{document}\n{mark}") and not (mark and isinstance(claim, str)):
                lost.setdefault(inner[:-1], []).append((inner, claim))
        for found in lost.values():  # a mark that is missing is one mistake
            claims = list(dict.fromkeys(repr(claim) for _, claim in found))
            are = "isn't" if len(claims) == 1 else "aren't"
            text = f"{', '.join(claims)} {are} in the document; {HOW_TO_MARK}"
            if _mark(block, found[0][0]):
                text = f"{', '.join(claims)} {are} in the document or the mark; name it in the mark"
            yield (*place, *found[0][0]), text


def _other_schedule(block: dict[str, Any], document: str) -> str | None:
    """How the schedule differs from the list in its mark, or in the document if it has none: from
    each number alone if there is no list."""
    (_, delays), mark = delays_of(block), _mark(block, ("schedule",))
    found = [re.findall(r"[\d.]*\d", text) for text in _LIST.findall(mark or document)]
    said = [each for each in found if each[1:]] or found
    if [f"{delay:g}" for delay in delays] in said:
        return None
    if not mark and said == found:
        return f"{delays} isn't in the document; {HOW_TO_MARK}"
    if not said:
        return f"its mark has no numbers, but the schedule is {delays}; correct one of them"
    told = " or ".join(f"[{', '.join(each)}]" for each in said)
    where = "its mark" if mark else "the document"
    fix = "correct one of them" if mark else "write that, or name the source in an x-inferred"
    return f"{where} says {told}, not {delays}; {fix}"


def _claims(block: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    """What a block takes from the document, apart from its schedule, and where in the block."""
    for above, part in (((), block), (("outcome",), block.get("outcome", {}))):
        states = part.get("state")
        if isinstance(states, dict):
            for name in states["is"]:
                yield (*above, "state", "is", name), name
        for n, row in enumerate(states if isinstance(states, list) else []):
            for pointer, values in row["when"].items():
                for value in listed(values):
                    name = value if isinstance(value, str) else keys_of(pointer)[-1]
                    yield (*above, "state", n, "when", pointer), name
        for pointer, value in part.get("require", {}).get("is", {}).items():
            yield (*above, "require", "is", pointer), value
    for n, case in enumerate(block["errors"].get("cases", [])):
        for key in ("status", "code", "message"):
            for claim in listed(case.get(key, [])):
                yield ("errors", "cases", n, key), claim
    for n, claims in enumerate(block["errors"].get("known", [])):
        for claim in listed(claims):
            yield ("errors", "known", n), claim


def _stands(claim: Any, document: str) -> bool:
    """Whether the document has it, as a word or a number of its own and in its own case."""
    return re.search(rf"(?<![\w.]){re.escape(str(claim))}(?!\w|\.\d)", document) is not None


def _mark(block: dict[str, Any], place: Place) -> str:
    """The text of the mark at a place of a block or above it; empty if there is none."""
    node: Any = block
    for key in (*place, None):
        if isinstance(node, dict):
            for mark in node.keys() & MARKS:
                return str(node[mark]) or mark
        node = node[key] if key is not None else node
    return ""
