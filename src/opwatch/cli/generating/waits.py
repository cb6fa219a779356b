"""Compile the `x-wait` block of a spec to a typed Python module: `opwatch_waits/{service}.py`.

The block says what an answer means for a wait (docs/x-wait.md lists its keys). The module reads the
parsed JSON, which an odd value elsewhere in the answer can't spoil, and hands the generated model
on as `Progress.wire`. Nothing here checks a block: rules.py does, before.

No name that a spec gives can be mixed up with one of a module's own: what is imported from the
generated client is imported as another name, and a variable that holds a field ends in `_field`.
"""

import re
from typing import Any

from opwatch.cli.generating import security
from opwatch.cli.generating.document import (
    Operation,
    identifier,
    listed,
    package_of,
    security_of,
    shown,
    waited,
)
from opwatch.cli.generating.python import (
    among,
    as_tuple,
    indented,
    named,
    phase,
    plain,
    quoted,
)
from opwatch.cli.generating.readers import Reader, Readers
from opwatch.text import printable

KINDS = {
    "gone": "JobGone",
    "rate limited": "RateLimited",
    "unavailable": "Unavailable",
    "forbidden": "PermissionDenied",
    "refused": "AuthenticationError",
}
UNITS = {"seconds": "", "milliseconds": ", 1000", "epoch": ", since=since"}
"""What `again` is given in, as arguments of `pause`."""
ATTRIBUTES = {"percent": "percent", "step": "step", "bytes": "bytes_processed"}
MODULES = {
    "opwatch.auth.scheme": ["Scheme"],
    "opwatch.core.polling": ["Schedule"],
    "opwatch.core.session": ["Complaint", "Seen", "Service", "Session"],
    "opwatch.errors": [
        *("AuthenticationError", "BadResponse", "JobGone", "PermissionDenied"),
        *("RateLimited", "ServiceError", "Unavailable"),
    ],
    "opwatch.net.message": ["Answer"],
    "opwatch.progress": ["Fault", "Phase", "Progress"],
    "opwatch.reading": [
        *(
            "as_fault",
            "count",
            "filled",
            "inside",
            "is_another",
            "longest",
            "milliseconds",
            "object_in",
            "objects_in",
        ),
        *("parse_time", "pause", "percent", "seconds", "sent_at", "share", "state", "text"),
        *("titled", "words_of"),
    ],
}
"""Where the names come from that a module may use."""


def compiled(
    service: str, content: dict[str, Any], client: str | None = None, source: str | None = None
) -> str | None:
    """The module of a spec, not formatted; None if none of its operations has an `x-wait`.

    `client` is the package of the generated client, and `source` what the spec's file is called.
    """
    for operation in waited(content):
        module = _Module(service, content, operation)
        return module.text(
            client or f"opwatch_api.{package_of(service)}", source or f"specs/{service}.yaml"
        )
    return None


class _Module(Readers):
    """The module of one spec, part by part."""

    def text(self, client: str, source: str) -> str:
        body = "\n\n".join(
            filter(
                None,
                [
                    self._phases("_PHASES", self.block["state"]),
                    self._phases("_OUTCOMES", self.block.get("outcome", {}).get("state")),
                    self._query(),
                    self._problem(),
                    self._read(),
                    self._phase(),
                    self._outcome(),
                    self._read_outcome(),
                    self._complaint(),
                    self._pause(),
                    self._service(),
                    self._client(own_client=not client.startswith("opwatch_api.")),
                ],
            )
        )
        return f"{self._head(body, client, source)}\n\n{body}\n"

    def _head(self, body: str, client: str, source: str) -> str:
        used = [("poll_operation", self.operation), ("outcome_operation", self.outcome)]
        lines = [
            f'"""How to read the responses of {self.service} about a job.',
            "",
            f"Compiled from the `x-wait` block of {source}. Don't edit.",
            '"""',
            "",
            "from __future__ import annotations",
            "",
            "from collections.abc import Awaitable, Callable",
            "from typing import TYPE_CHECKING, Any",
            "",
            "import attrs",
            *(
                f"from {client}.api.{each.package} import {each.module} as {name}"
                for name, each in used
                if each
            ),
            f"from {client}.models import {self.operation.model} as Wire",
            "",
        ]
        for module, names in MODULES.items():
            needed = [name for name in names if re.search(rf"\b{name}\b", body)]
            if needed:
                lines.append(f"from {module} import {', '.join(needed)}")
        return "\n".join(
            [*lines, "", "if TYPE_CHECKING:", "    from opwatch.core.loop import Turn"]
        )

    def _phases(self, name: str, states: Any) -> str:
        if not isinstance(states, dict):
            return ""
        members = (f"{quoted(plain(key))}: {phase(value)}," for key, value in states["is"].items())
        lines = dict.fromkeys(members)  # two that differ by case alone
        return "\n".join([f"{name} = {{", *lines, "}"])

    # --- polling ---

    def _query(self) -> str:
        parts, arguments = self._parts("job_id", self.operation)
        call = ["turn", "poll_operation", *map(quoted, self.required), *arguments]
        given = "session: Session[Wire], turn: Turn, job_id: str, closer: bool"
        lines = [
            f"async def query({given}) -> Seen[Wire]:",
            '"""Poll one job."""',
            *parts,
            f"fields, wire = await session.fetch({', '.join(call)})",
        ]
        if self.is_demanding:
            given = "fields, job_id" if "same" in self.block else "fields"
            lines += [
                f"if (problem := _problem({given})) is not None:",
                "    del fields, wire  # tracebacks show the locals of this frame",
                "    raise BadResponse(problem, status=200)",
            ]
        reader = Reader(self.required)
        pauses = [
            f"pause({reader.at(one['at'])}{UNITS[one.get('as', 'seconds')]})"
            for one in self.block.get("again", [])
            if "at" in one
        ]
        seen = "read(session, job_id, fields, wire)"
        if pauses:
            longest = f"longest({', '.join(pauses)})" if len(pauses) > 1 else pauses[0]
            seen += f", pause={longest}"
        return indented([*lines, *reader.lines, f"return Seen({seen})"])

    def _parts(self, job_id: str, operation: Operation) -> tuple[list[str], list[str]]:
        """The line that takes a job's ID apart, and the arguments that an operation needs: the
        session has those that aren't part of the ID."""
        used = [name for name in self.parts if name in operation.parameters]
        given = [identifier(name) for name in operation.parameters if name not in self.parts]
        others = [f"{name}=await session.parameter({quoted(name)}, turn)" for name in given]
        if len(self.parts) == 1 or not used:
            return [], [*others, *(f"{identifier(name)}={job_id}" for name in used)]
        own = {name: f"part_{n}" for n, name in enumerate(self.parts, 1)}
        taken = ", ".join(own[name] if name in used else "_" for name in self.parts)
        arguments = [f"{identifier(name)}={own[name]}" for name in used]
        return [f'{taken} = {job_id}.split("/")'], [*others, *arguments]

    # --- how a job ended, where another operation says so ---

    def _outcome(self) -> str:
        if self.outcome is None:
            return ""
        parts, given = self._parts("progress.job_id", self.outcome)
        required = self._envelope(self.outcome, self.block["outcome"])
        call = ["turn", "outcome_operation", *map(quoted, required), *given]
        found = "read_outcome(session, progress, fields)"
        lines = ["fields, _ = await", f"return {found}"]
        if self.completes == "succeeded":
            lines = ["fields, details = await", f"found = {found}"]
            lines += ["return found and attrs.evolve(found, details=details)"]
        lines[0] += f" session.fetch({', '.join(call)})"
        head = "session: Session[Wire], turn: Turn, progress: Progress[Wire]"
        return indented(
            [
                f"async def outcome({head}) -> Progress[Wire] | None:",
                '"""Request more about a job; return None if the response is about another one."""',
                *parts,
                *lines,
            ]
        )

    # --- reading an error ---

    def _complaint(self) -> str:
        errors = self.block["errors"]
        reader = Reader(())
        code, message = (
            " or ".join(f"text({reader.at(pointer)})" for pointer in listed(errors.get(key, [])))
            for key in ("code", "message")
        )
        request = errors.get("request-id", {})
        ids = [f"text({reader.at(request['at'])})"] if "at" in request else []
        if "header" in request:
            ids.append(f"answer.header({quoted(request['header'].lower())})")
        cases = errors.get("cases", [])
        lines = [f"code = {code}" if code else "", f"message = {message}" if message else ""]
        for key in ("code", "message"):
            if any(key in case for case in cases):
                lines.append(f'{key}_ = ({key} or "").lower()')
        if cases:
            lines.append("kind: type[ServiceError] | None = None")
        for n, case in enumerate(cases):
            lines += [f"{'elif' if n else 'if'} {' and '.join(self._tests(case))}:"]
            lines += [f"    kind = {KINDS[case['is']]}"]
        fields = {"code": "code" if code else "None", "message": "message" if message else "None"}
        fields |= {"kind": "kind" if cases else "None", "request_id": " or ".join(ids) or "None"}
        return indented(
            [
                "def complaint(answer: Answer, fields: dict[str, Any]) -> Complaint:",
                '"""Return what an error response says."""',
                *reader.lines,
                *filter(None, lines),
                f"return Complaint({', '.join(fields.values())})",
            ]
        )

    def _tests(self, case: dict[str, Any]) -> list[str]:
        tests = []
        if "status" in case:
            tests.append(among("answer.status", listed(case["status"])))
        if "code" in case:
            tests.append(among("code_", [str(code).lower() for code in listed(case["code"])]))
        if "message" in case:
            words = [quoted(text.lower()) for text in listed(case["message"])]
            found = " or ".join(f"{text} in message_" for text in words)
            tests.append(f"({found})" if len(words) > 1 else found)
        for name, value in case.get("header", {}).items():
            tests.append(f"answer.header({quoted(name.lower())}) == {quoted(str(value))}")
        return tests

    def _pause(self) -> str:
        """What reads the service's own headers that say when to send the next request."""
        pauses = []
        for one in self.block.get("again", []):
            if "header" in one:
                unit = UNITS[one.get("as", "seconds")]
                call = f"pause(answer.all({quoted(one['header'].lower())}){unit})"
                tests = [
                    f"answer.header({quoted(name.lower())}) == {quoted(str(value))}"
                    for name, value in one.get("when", {}).items()
                ]
                pauses.append(f"{call} if {' and '.join(tests)} else None" if tests else call)
        if not pauses:
            return ""
        return indented(
            [
                "def asked(answer: Answer, epoch: float) -> float | None:",
                '"""Return the length of the pause that a response asks for, in seconds."""',
                *(["since = sent_at(answer, epoch)"] if "since" in "".join(pauses) else []),
                f"return longest({', '.join(pauses)})",
            ]
        )

    # --- all of it ---

    def _service(self) -> str:
        block, schedule = self.block, self.block["schedule"]
        delays = schedule["delays"] if isinstance(schedule, dict) else schedule
        watched = shown(block).get(block.get("restart-on-change", ""))
        marker = f"progress.{ATTRIBUTES[watched]}" if watched else "None"
        errors = block["errors"]
        known = set(map(str, listed(errors.get("known", []))))
        for case in errors.get("cases", []):
            if case["is"] in ("refused", "forbidden"):
                known.update(map(str, listed(case.get("code", []))))
        needed = security_of(self.content, self.operation)
        variables = security.arguments(self.service, self.content, needed).get("variables", {})
        usual = f"check `base_url` ({variables['base_url']})" if variables else "check the address"
        advice = {name: printable(text) for name, text in errors.get("advice", {}).items()}
        advice = {"not found": usual, **advice}
        address_help = advice.pop("not found")
        fields = {
            "name": quoted(self.service),
            "id_name": quoted(printable(block["id"]["called"], 80)),
            "schedule": f"Schedule({as_tuple(list(map(str, delays)))})",
            "accept": quoted(self.operation.media_type),
            "query": "query",
            "complaint": "complaint",
            "marker": f"lambda progress: {marker}",
            "address_help": quoted(address_help),
        }
        if advice:
            told = [f"{KINDS[name]}: {quoted(text)}" for name, text in advice.items()]
            fields["help"] = f"{{{', '.join(told)}}}"
        if known:
            fields["known"] = f"frozenset({{{', '.join(map(quoted, sorted(known)))}}})"
        if self.outcome is not None:
            fields["outcome"] = "outcome"
            if self.completes != "ended":
                fields["completes"] = phase(self.completes)
        if len(self.parts) > 1:
            fields["id_parts"] = str(len(self.parts))
        if (statuses := block.get("statuses", [200])) != [200]:
            fields["statuses"] = as_tuple(list(map(str, statuses)))
        if headers := block.get("headers"):
            pairs = [f"({quoted(name)}, {quoted(str(value))})" for name, value in headers.items()]
            fields["headers"] = as_tuple(pairs)
        if any("header" in one for one in block.get("again", [])):
            fields["pause"] = "asked"
        return f"SERVICE = Service({named(fields)})"

    def _client(self, *, own_client: bool) -> str:
        """Where the service is, and what it takes: for a client that needs nothing else."""
        needed = security_of(self.content, self.operation)
        names = {name for each in needed or [] for name in each}
        schemes = security.schemes(self.content)
        if not own_client and not any("x-env" in schemes.get(name, {}) for name in names):
            return ""
        found = security.arguments(self.service, self.content, needed)
        scheme = named({name: repr(value) for name, value in found.items()})
        base_url = f"BASE_URL = {quoted(security.base_url(self.content, self.operation.place))}"
        return f"{base_url}\nSCHEME = Scheme({scheme})"
