"""Whose words a spec uses: its document's, or ours with a mark.

`x-own` says that words are ours: `true` those of the node, a list these sentences of them.
"""

import re
from collections.abc import Iterator
from typing import Any

from documents import wording, words

Place = tuple[str | int, ...]
Problem = tuple[Place, str]

TEXTS = ("summary", "description")
_EXAMPLE = ("example", "examples", "value", "x-wait", "x-codeSamples", "properties")


def words_are_quoted(content: dict[str, Any], document: str) -> Iterator[Problem]:
    """Each sentence of a description or summary is in the document, or is marked as ours."""
    if not document:
        return
    said, worded = words(document), wording(document)
    for place, node in _described(content, ()):
        own = node.get("x-own", [])
        if own is not True and not (isinstance(own, list) and all(isinstance(o, str) for o in own)):
            text = "must be true, or a list of sentences; correct it"
            yield (*place, "x-own"), text
            continue
        ours = {sentence for key in TEXTS for sentence in _sentences(node.get(key, ""))}
        ours = {it for it in ours if words(it) not in said or wording(it) not in worded}
        listed = [*ours] if own is True else own
        unmarked = [
            (key, sentence)
            for key in TEXTS
            for sentence in _sentences(node.get(key, ""))
            if sentence in ours and words(sentence) not in map(words, listed)
        ]
        for key in dict(unmarked):
            *others, last = [repr(sentence) for each, sentence in unmarked if each == key]
            text = f"{last} isn't in the document; quote it, or mark it with x-own"
            if others:
                text = f"{', '.join(others)} and {last} aren't in the document"
                text = f"{text}; quote them, or mark them with x-own"
            yield (*place, key), text
        if unmarked:
            continue
        if own is True and not ours:
            yield (*place, "x-own"), "every word of it is the document's; remove x-own"
        for sentence in own if isinstance(own, list) else []:
            if words(sentence) not in map(words, ours):
                yield (
                    (*place, "x-own"),
                    f"{sentence!r} is in the document, or isn't in this text; remove it from x-own",
                )
        for index, sample in enumerate(node.get("x-codeSamples", [])):
            if str(sample.get("source")).strip() not in document:
                at = (*place, "x-codeSamples", index, "source")
                yield at, "isn't a sample of the document; quote it"


def everything(node: Any) -> str:
    """Return the words of each text of a spec that isn't an addition, without case, one a line."""
    return "\n".join(words(text).casefold() for text in _texts(node))


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, child in node.items() if "x-addition" not in node else ():
            yield str(key)
            yield from _texts(child)
    elif isinstance(node, list):
        for child in node:
            yield from _texts(child)
    else:
        yield str(node)


def _described(node: Any, place: Place) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each object with a text, or with a claim on one, that isn't all ours anyway."""
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from _described(child, (*place, index))
    elif isinstance(node, dict) and "x-addition" not in node:
        if any(isinstance(node.get(key), str) for key in (*TEXTS, "x-own")) or "x-own" in node:
            yield place, node
        if "x-inferred" in node and (place[:1] != ("paths",) or "responses" in place):
            return  # on a path or an operation, it is about the address or a header
        for key, child in node.items():
            if key == "properties" and isinstance(child, dict):
                for name, schema in child.items():
                    yield from _described(schema, (*place, key, name))
            elif key == "examples" and isinstance(child, dict):
                for name, example in child.items():
                    own = {k: v for k, v in example.items() if k != "value"}
                    yield from _described(own, (*place, key, name))
            elif key not in _EXAMPLE:
                yield from _described(child, (*place, key))


def _sentences(text: str) -> list[str]:
    found = re.split(r"\n\s*\n|(?<=[.;?!])\s+", text)
    return [sentence.strip() for sentence in found if sentence.strip()]
