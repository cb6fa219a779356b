"""Writes `docs/every-case.md` from the tables and the tests that prove it.

    python tests/network/fault_page.py

Only the text around the tables is written by hand.
"""

from __future__ import annotations

import ast
import json
import re
import sys
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
    ITWIN_V2_REFUSALS,
    Refusal,
)
from fault_plays import Gives, Scenario
from fault_scenarios import GROUPS, SCENARIOS

from opwatch import Phase
from opwatch.testing import Reply

HERE = Path(__file__).resolve().parent
for folder in ("notifications", "webhooks"):
    sys.path.append(str(HERE.parent / folder))
from channel_faults import BROKEN, LIES  # noqa: E402
from webhook_faults import REFUSED  # noqa: E402

PAGE = HERE.parents[1] / "docs" / "every-case.md"

INTRO = f"""\
<!-- Written by tests/network/fault_page.py from the tests. Do not edit. -->
# Every case

This is the full list behind [What happens when…](what-happens-when.md). It is generated from the
tests: a server on raw sockets simulates each of the {len(SCENARIOS)} cases in the first seven
tables for Catenis, iTwin and APIG, with the blocking and the async client, for one poll and for a
wait.

*One poll* means `progress()`. *A wait* means `wait()`, `watch()`, `step()` and the like. A wait
that "polls again" raises the error after `max_failures` failed polls in a row.

In addition to the [guarantees](what-happens-when.md#guarantees), the tests check that

- a response takes less than 64 MiB of memory, however large it is when decompressed;
- once a server has begun to respond to a request, it never gets that request again, except after a
  401, when opwatch sends it once more with a new token or a signature that uses the server's time.
"""

FOREIGN_NOTE = f"""\
For any other error response, such as a proxy's page, the status alone determines the error.
Its message quotes the beginning of the response as one short line without control characters,
escape sequences or direction marks. A 401 or 403 is never quoted, because it may repeat the
credentials; only codes and messages that the service documents are shown. The tests cover
{len(FOREIGN)} bodies, each with {len(FOREIGN_STATUSES)} statuses for each service.
"""

FUZZ_NOTE = """\
The tests also send random responses: any status, any headers, and bodies that range from damaged
service responses to arbitrary bytes. opwatch must keep the same guarantees for all of them.
`make test-slow` sends ten thousand per service, and `make fuzz` spends five minutes searching for
inputs that reach new code.
"""


def page() -> str:
    """Return the page."""
    parts = [INTRO]
    for title, scenarios in GROUPS.items():
        parts += [f"## {title}\n", scenario_table(scenarios)]
    parts += ["## Connections kept from one poll to the next\n"]
    parts += [sentences("test_kept_connections.py")]
    parts += ["## Names, addresses and proxies\n", sentences("test_ways.py")]
    parts += ["## What looks like success but isn't\n", CLAIMS_INTRO, *map(claims, CLAIMS)]
    parts += ["## The services' own errors\n", ERRORS_INTRO]
    parts += ["### Catenis\n", refusals(CATENIS_REFUSALS), "### iTwin\n", refusals(ITWIN_REFUSALS)]
    parts += ["### iTwin v2\n", refusals(ITWIN_V2_REFUSALS)]
    parts += ["### APIG\n", refusals(APIG_REFUSALS), "### Other errors\n"]
    parts += [FOREIGN_NOTE, "## Notifications\n", NOTIFICATIONS_INTRO, channel_faults()]
    parts += [LIES_INTRO]
    parts += ["## Webhooks\n", WEBHOOKS_INTRO, webhook_faults()]
    parts += ["## Anything else\n", FUZZ_NOTE]
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
        rows.append((_sentence(what), one_poll(gives, same[0].note), a_wait(gives)))
    return table(("what happens", "one poll gives", "a wait"), rows)


STATUS = re.compile(r"status ([\w-]+)")


def _family(scenario: Scenario) -> tuple[str, Gives]:
    """Put scenarios that differ only in their status into one row."""
    gives = scenario.gives
    if not STATUS.match(scenario.title):
        return scenario.title.replace("{", "{{").replace("}", "}}"), gives
    return STATUS.sub("status {}", scenario.title), Gives(gives.what, None, gives.retry_after)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def one_poll(gives: Gives, note: str = "") -> str:
    if isinstance(gives.what, Phase):
        words = f"`Phase.{gives.what.name}`"
    else:
        words = f"`{gives.what.__name__}`"
    if gives.says:
        words += f": “… {gives.says} …”"
    if gives.retry_after is not None:
        words += f", `retry_after` {gives.retry_after:g}"
    return f"{words}. {note}" if note else words


def a_wait(gives: Gives) -> str:
    if isinstance(gives.what, Phase):
        over = "retries the request for the outcome, then ends" if gives.asks_again else "ends"
        return over if gives.what.is_final else "continues"
    if gives.is_final or not gives.what.transient:
        return "ends with this error"
    if gives.retry_after is not None:
        return f"polls again after at least {gives.retry_after:g} s"
    return "polls again"


# --- the first lines of tests ---------------------------------------------------------------------


def sentences(name: str) -> str:
    """Return the docstrings of a file's tests, which state what each one shows."""
    tree = ast.parse((HERE / name).read_text("utf-8"))
    return "".join(f"- {text}\n" for text in _docstrings(tree))


def _docstrings(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield " ".join((ast.get_docstring(node) or "").split())


# --- claims ---------------------------------------------------------------------------------------

CLAIMS_INTRO = """\
Only the documented success value counts, and only in the documented field. Case doesn't matter.
`Phase.UNKNOWN` is a state that this version doesn't know; the wait continues. `Phase.ENDED` means
that the job is over and its outcome is unknown.
"""
NAMES = {"catenis": "Catenis", "itwin": "iTwin", "itwin-v2": "iTwin v2", "apig": "APIG"}


def claims(service: str) -> str:
    rows = (
        (" then ".join(map(_shown, _several(answers))), one_poll(gives), a_wait(gives))
        for answers, gives in CLAIMS[service].values()
    )
    return f"### {NAMES[service]}\n\n" + table(("the service sends", "read as", "a wait"), rows)


def _several(answers: Any) -> list[Any]:
    return answers if isinstance(answers, list) and len(answers) > 1 else [answers]


def _shown(answer: Any) -> str:
    if isinstance(answer, Reply):
        return f"status {answer.status}" + (f" `{answer.body.decode()}`" if answer.body else "")
    text = json.dumps(answer, separators=(",", ":"))
    return f"`{text if len(text) <= 160 else text[:159] + '…'}`"


# --- the services' errors -------------------------------------------------------------------------

ERRORS_INTRO = """\
A failed job is not a failed poll: the services report it with status 200, and `progress()` returns
a result with `Phase.FAILED` and a `fault`.
"""


def refusals(several: Iterable[Refusal]) -> str:
    rows = []
    ordered = sorted(several, key=lambda one: one.status)
    for key, same in groupby(ordered, key=lambda one: (one.status, one.kind, one.retry_after)):
        status, kind, retry_after = key
        said = [f"`{one.code}`" if one.code else f"“{one.message}”" for one in same]
        gives = Gives(kind, status, retry_after)
        rows.append((str(status), ", ".join(dict.fromkeys(said)), one_poll(gives), a_wait(gives)))
    return table(("status", "code or message", "one poll gives", "a wait"), rows)


# --- notifications and webhooks -------------------------------------------------------------------

NOTIFICATIONS_INTRO = """\
Whatever happens to the channel for [Catenis notifications](waiting.md#catenis-notifications), each
wait continues to poll on its schedule. The client logs one warning to the logger `opwatch` and
reopens the channel after increasing pauses of up to a minute, or after the `Retry-After` of the
response, unless the response makes this pointless (401, 404). A channel that is slow to open delays
a wait's first poll by at most a second. An event never ends a wait: it triggers one poll, and the
response to that poll decides.
"""
LIES_INTRO = "These have no effect at all:\n\n" + "".join(f"- {what}\n" for what in LIES)
WEBHOOKS_INTRO = """\
`opwatch.webhooks.itwin.verify` returns an event or raises `InvalidWebhook`. It also refuses events
that were queued more than a day ago, are dated more than a day ahead, or don't say when they were
queued.
"""


def channel_faults() -> str:
    rows = ((_sentence(what), _words(says)) for what, says in BROKEN.values())
    return table(("what happens", "the warning says"), rows)


def _words(pattern: str) -> str:
    """Return the texts that a regular expression matches."""
    found = re.sub(r"\\(.)", r"\1", pattern).replace(".*", "…").split("|")
    return " or ".join(f"“… {text} …”" for text in found)


def webhook_faults() -> str:
    rows = ((_sentence(what), f"“… {says} …”") for what, (_, _, says) in REFUSED.items())
    return table(("the request has", "the error says"), rows)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
