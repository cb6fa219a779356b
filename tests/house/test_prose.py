"""Pages and messages read like plain English: phrases that aren't idiomatic stay out of the README,
docs/, and the texts that opwatch shows.

The list is short on purpose: phrases that came back more than once, each with what to write
instead. Code, output and quoted terms are exempt.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "opwatch").rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

PHRASES = {
    r"\b(one|first|last|next|second|a|each|every|five) quer(y|ies)\b": "poll",
    r"\bquer(y|ies) (is|are|was|comes?|takes?)\b": "poll",
    r"\basks? (once|again|every|after|only|no more|nothing|twice)\b": "poll",
    r"\basked (again|for again|a third time|too early|about)\b": "polled, requested",
    r"\btroubles?\b": "error, retryable error",
    r"\banew\b": "again",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bfor ever\b": "indefinitely",
    r"\bstands? still\b|\bstood still\b|\bstanding still\b": "makes no progress",
    r"\bwithout a word\b": "prints nothing",
    r"\bthe watching\b": "the wait, or opwatch",
    r"\bof an? (\w+ )?(form|kind|sort) of (its|your|their) own\b": "its own",
    r"\b(is|are|was|were) told\b": "reported",
    r"\blives? through\b": "retries, survives",
    r"\bhow far (it|the job|a job) is\b": "how far it has got, its progress",
    r"\bto its end\b": "until it finishes",
    r"\btakes? (it |them )?for (success|a failure|an answer)\b": "treats as",
    r"\b[Ww]here (it|one|something|none|several|neither|success) (is|are|fits|matters)\b"
    r"(?! from)": "if",
}


IN_MESSAGES = PHRASES | {
    r"\b(next|first|last|one) quer(y|ies)\b": "poll",
    r"\bis no (duration|list|number|file|key|event)\b": "is not a …",
    r"\bthere (is|are) no (job|state file)\b": "no jobs given, doesn't exist",
    r"; (\w+ )?there are \S": "the services are …",
    r"\btaken up\b": "resumed",
    r"\bas its script says\b": "as scripted",
    r"\bstands? (behind|in front)\b": "follows, precedes",
    r"\bmust hold\b": "must contain",
}
"""What is kept out of messages, in addition to the phrases for pages."""


def prose(page: Path) -> str:
    """Return a page without code, output, quoted terms, addresses and comments, with its lines."""
    text = page.read_text("utf-8")
    text = re.sub(r"^( *)(```+).*?^ *\2 *$", _blank, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^---\n.*?^---\n", _blank, text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`|<!--.*?-->|\]\([^)]*\)", _blank, text)


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


def messages(source: str) -> list[tuple[int, str]]:
    """Return the texts in a module that people may see, with their lines."""
    tree = ast.parse(source)
    is_shown = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and any("command" in ast.unparse(made) for made in node.decorator_list)
        and isinstance(node.body[0], ast.Expr)
    }  # a command's docstring is its help
    is_hidden = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and node.value not in is_shown
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
            found.append((node.lineno, "".join(map(str, parts))))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [(node.lineno, node.value)] * (node not in is_hidden and " " in node.value)
    return [(line, re.sub(r"`[^`\n]*`|<[^>]*>", "x", text)) for line, text in found]


def marked(text: str, phrases: dict[str, str] = PHRASES) -> list[tuple[int, str, str]]:
    """Return each phrase of the list in a text: its line, the phrase, and what to write."""
    found = [
        (text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), instead)
        for pattern, instead in phrases.items()
        for match in re.finditer(pattern.replace(" ", r"\s+"), text)
    ]
    return sorted(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_has_no_phrase_of_the_list(page: Path) -> None:
    """The README and each page of docs/ say it in standard terms."""
    assert marked(prose(page)) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_message_has_no_phrase_of_the_list(path: Path) -> None:
    """Errors, warnings, help texts and output say it in standard terms."""
    found = [
        (line, *phrase)
        for line, text in messages(path.read_text("utf-8"))
        for phrase in marked(text, IN_MESSAGES)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        'raise Error(f"{word} is no duration; give 90s")',
        'print("taken up from the state file")',
        'text = f" (next query in {seconds} s)"',
        '@command()\ndef watch():\n    """Watch a job to its end."""',
    ],
)
def test_a_phrase_in_a_message_is_found(line: str) -> None:
    """In an f-string, and in the help of a command, but not in another docstring."""
    assert any(marked(text, IN_MESSAGES) for _, text in messages(line))


def test_a_docstring_is_no_message() -> None:
    """Only what users see is checked."""
    assert messages('def wait():\n    """Watch a job to its end."""') == []


@pytest.mark.parametrize(
    "sentence",
    [
        "The first query is made at once.",
        "opwatch asks every 20 seconds.",
        "It waits out trouble.",
        "a job that stands still",
        "Call wait anew.",
        "exit code 130, without a word",
        "Watch a job to\nits end.",
    ],
)
def test_a_phrase_of_the_list_is_found(sentence: str) -> None:
    """The list finds the sentences that it was made from, across the end of a line too."""
    assert marked(sentence)


def test_code_and_quoted_terms_are_exempt(tmp_path: Path) -> None:
    """A program's output, a field called `trouble` and an address may use any word."""
    page = tmp_path / "page.md"
    page.write_text("`trouble`\n\n```text\ntrouble\n```\n\n[a link](trouble.md)\n", "utf-8")
    assert marked(prose(page)) == []
