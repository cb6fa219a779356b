"""Writes `docs/what-happens-when.md` from the tables and the tests that prove it.

    python tests/network/fault_page.py

Nothing on the page is written by hand but the words around the tables.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from fault_claims import CLAIMS
from fault_errors import (
    APIG_REFUSALS,
    CATENIS_REFUSALS,
    FOREIGN,
    FOREIGN_STATUSES,
    ITWIN_REFUSALS,
    Refusal,
)
from fault_scenarios import GROUPS, SCENARIOS, Gives, Scenario

from opwatch import Phase
from opwatch.testing import Reply

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "what-happens-when.md"

INTRO = f"""\
<!-- Written by tests/network/fault_page.py from the tests. Do not edit. -->
# What happens when…

Networks break, proxies answer in a service's place, and services change. This page lists what may
come and what you get. It is written from the tests. Each of the {len(SCENARIOS)} cases in the
first tables is played by a server on raw sockets and run for each of the three services, with the
blocking and the async client, as one query and as a wait.

Five things hold in every case:

- You get a `Progress`, or an [error of opwatch's](errors.md). No other exception comes through.
- A wait ends as succeeded only where the service said so.
- A query ends within `request_timeout`. One thing is not in opwatch's hands: how long a blocking
  client's operating system takes to look up a name.
- An answer takes less than 64 MiB of memory, whatever it unpacks to. More than 1 MiB is not read.
- A request is not sent again to a server that answered it, but for one thing: after a 401 it is
  sent once more with a new token, or with a signature by the server's clock.

*One query* is `progress()`. *A wait* is `wait()`, `watch()`, `step()` and the others. Where a wait
"asks again", it does so up to `max_failures` times in a row, and then raises that error.
"""

FOREIGN_NOTE = f"""\
An error answer of another form, a proxy's page say, has its class from its status alone. Its
message quotes the beginning of what came: one short line without control characters, escape
sequences or direction marks. This is tested with {len(FOREIGN)} bodies, each with
{len(FOREIGN_STATUSES)} statuses and each service.
"""

FUZZ_NOTE = """\
Beside these, answers are drawn at random: statuses, headers and bodies, from spoilt answers of the
services to any bytes. The same holds for them. `OPWATCH_FUZZ=10000 python -m pytest
tests/network/test_fuzz.py` draws ten thousand for each service; `make fuzz` looks for inputs that
reach new code, for five minutes.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRO]
    for title, scenarios in GROUPS.items():
        parts += [f"## {title}\n", scenario_table(scenarios)]
    parts += ["## Connections kept from one poll to the next\n"]
    parts += [sentences("test_kept_connections.py")]
    parts += ["## Names, addresses and proxies\n", sentences("test_ways.py")]
    parts += ["## What sounds like success and is none\n", CLAIMS_INTRO, *map(claims, CLAIMS)]
    parts += ["## The services' own errors\n", ERRORS_INTRO]
    parts += ["### Catenis\n", refusals(CATENIS_REFUSALS), "### iTwin\n", refusals(ITWIN_REFUSALS)]
    parts += ["### APIG\n", refusals(APIG_REFUSALS), "### Errors of another form\n"]
    parts += [FOREIGN_NOTE, "## Anything else\n", FUZZ_NOTE]
    return "\n".join(parts)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |\n"

    heads = list(heads)
    return line(heads) + line("---" for _ in heads) + "".join(map(line, rows))


# --- the scenarios --------------------------------------------------------------------------------


def scenario_table(scenarios: Iterable[Scenario]) -> str:
    rows = []
    for (title, gives), several in groupby(scenarios, key=_family):
        same = list(several)
        codes = [match[1] for one in same if (match := STATUS.match(one.title))]
        what = title.format(", ".join(codes))
        rows.append((_sentence(what), one_query(gives, same[0].note), a_wait(gives)))
    return table(("what happens", "one query gives", "a wait"), rows)


STATUS = re.compile(r"status ([\w-]+)")


def _family(scenario: Scenario) -> tuple[str, Gives]:
    """Scenarios that differ in their status alone share a row."""
    gives = scenario.gives
    if not STATUS.match(scenario.title):
        return scenario.title.replace("{", "{{").replace("}", "}}"), gives
    return STATUS.sub("status {}", scenario.title), Gives(gives.what, None, gives.retry_after)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def one_query(gives: Gives, note: str = "") -> str:
    if isinstance(gives.what, Phase):
        words = "the answer" if gives.what is Phase.RUNNING else f"`Phase.{gives.what.name}`"
    else:
        words = f"`{gives.what.__name__}`"
    if gives.says:
        words += f": “… {gives.says} …”"
    if gives.retry_after is not None:
        words += f", `retry_after` {gives.retry_after:g}"
    return f"{words}. {note}" if note else words


def a_wait(gives: Gives) -> str:
    if isinstance(gives.what, Phase):
        over = "asks again, and is over at last" if gives.asks_again else "is over"
        return over if gives.what.is_final else "goes on"
    if not gives.what.transient:
        return "ends with it at once"
    if gives.retry_after is not None:
        return f"asks again, {gives.retry_after:g} s later at the earliest"
    return "asks again"


# --- what tests say in their first line -----------------------------------------------------------


def sentences(name: str) -> str:
    """The docstrings of a file's tests, which state what they show."""
    tree = ast.parse((HERE / name).read_text("utf-8"))
    return "".join(f"- {text}\n" for text in _docstrings(tree))


def _docstrings(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield " ".join((ast.get_docstring(node) or "").split())


# --- claims ---------------------------------------------------------------------------------------

CLAIMS_INTRO = """\
Only the service's own word for success is one, in the place where its document has it. Everything
else is read as what it says, or not at all. Words are compared without regard to case.
`Phase.UNKNOWN` is a state that this version does not know, and waited through; `Phase.ENDED` is
over, outcome unknown.
"""
NAMES = {"catenis": "Catenis", "itwin": "iTwin", "apig": "APIG"}


def claims(service: str) -> str:
    rows = (
        (" then ".join(map(_shown, _several(answers))), one_query(gives), a_wait(gives))
        for answers, gives in CLAIMS[service].values()
    )
    return f"### {NAMES[service]}\n\n" + table(("the service answers", "read as", "a wait"), rows)


def _several(answers: Any) -> list[Any]:
    return answers if isinstance(answers, list) and len(answers) > 1 else [answers]


def _shown(answer: Any) -> str:
    if isinstance(answer, Reply):
        return f"status {answer.status}" + (f" `{answer.body.decode()}`" if answer.body else "")
    text = json.dumps(answer, separators=(",", ":"))
    return f"`{text if len(text) <= 160 else text[:159] + '…'}`"


# --- the services' errors -------------------------------------------------------------------------

ERRORS_INTRO = """\
A job that failed is no error of the query: the services report it with status 200, and `progress`
gives `Phase.FAILED` with its `fault`.
"""


def refusals(several: Iterable[Refusal]) -> str:
    rows = []
    for key, same in groupby(several, key=lambda one: (one.status, one.kind, one.retry_after)):
        status, kind, retry_after = key
        said = ", ".join(f"`{one.code}`" if one.code else f"“{one.message}”" for one in same)
        gives = Gives(kind, status, retry_after)
        rows.append((str(status), said, one_query(gives), a_wait(gives)))
    return table(("status", "code or message", "one query gives", "a wait"), rows)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
