"""Pieces of Python. What a spec says gets into a module in two ways alone: as a text that `quoted`
wrote, or as the name of a variable that `local` made."""

import re
from typing import Any


def quoted(text: str) -> str:
    """The text as Python, whatever is in it."""
    return repr(str(text))


def local(name: str) -> str:
    """A name for a variable that holds a field. No name of a module's own ends like it."""
    words = re.sub("([a-z0-9])([A-Z])", r"\1_\2", name).lower()
    found = f"{re.sub('[^a-z0-9]+', '_', words).strip('_')[:60]}_field"
    return found if found.isidentifier() else f"_{found}"


def phase(name: str) -> str:
    """The phase as Python."""
    return f"Phase.{name.upper()}"


def named(fields: dict[str, str]) -> str:
    """Named arguments."""
    return ", ".join(f"{name}={value}" for name, value in fields.items())


def as_tuple(values: list[str]) -> str:
    """A tuple."""
    return f"({', '.join(values)}{',' if len(values) == 1 else ''})"


def condition(name: str, value: Any) -> str:
    """The test for a value, or for one of several: identity for a boolean and null, so that 1 and
    "true" aren't true; texts without case."""
    if isinstance(value, list):
        texts = [plain(one) for one in value if isinstance(one, str)]
        tests = [condition(name, one) for one in value if not isinstance(one, str)]
        tests += [among(f"state({name})", texts)] if texts else []
        return f"({' or '.join(tests)})" if len(tests) > 1 else tests[0]
    if isinstance(value, bool) or value is None:
        return f"{name} is {value}"
    return f"state({name}) == {quoted(plain(value))}"


def otherwise(name: str, value: str | bool) -> str:
    """The test for any other value."""
    if isinstance(value, bool):
        return f"{name} is not {value}"
    return f"state({name}) != {quoted(plain(value))}"


def plain(text: str) -> str:
    """A text as `state` returns it."""
    return text.strip().lower()


def among(name: str, values: list[Any]) -> str:
    """The test whether it is one of these."""
    texts = [quoted(value) if isinstance(value, str) else str(value) for value in values]
    return f"{name} == {texts[0]}" if len(texts) == 1 else f"{name} in {as_tuple(texts)}"


def indented(lines: list[str]) -> str:
    """A function: its first line, and the rest inside it."""
    return "\n".join([lines[0], *(f"    {line}" for line in lines[1:])])
