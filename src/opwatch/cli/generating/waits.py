"""Compile the `x-wait` block of a spec to a typed Python module: `opwatch_waits/{service}.py`.

The block says what an answer means for a wait (docs/x-wait.md lists its keys). The module reads the
parsed JSON, which an odd value elsewhere in the answer can't spoil, and hands the generated model
on as `Progress.wire`. Nothing here checks a block: wait_rules.py does, before.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opwatch.cli.generating import security

Keys = tuple[str, ...]
KINDS = {
    "gone": "JobGone",
    "rate limited": "RateLimited",
    "unavailable": "Unavailable",
    "forbidden": "PermissionDenied",
}
TIMES = {"date-time": "parse_time", "seconds": "seconds", "milliseconds": "milliseconds"}
UNITS = {"seconds": "", "milliseconds": ", 1000", "epoch": ", since=since"}
"""What `again` is given in, as arguments of `pause`."""
SHOWN = ("percent", "step", "bytes")
"""What may be named as `restart-on-change`: the pointers of these, which `Progress` keeps."""
ATTRIBUTES = {"percent": "percent", "step": "step", "bytes": "bytes_processed"}
MODULES = {
    "opwatch.auth.scheme": ["Scheme"],
    "opwatch.core.polling": ["Schedule"],
    "opwatch.core.session": ["Complaint", "Seen", "Service", "Session"],
    "opwatch.errors": [
        *("BadResponse", "JobGone", "PermissionDenied"),
        *("RateLimited", "ServiceError", "Unavailable"),
    ],
    "opwatch.net.message": ["Answer"],
    "opwatch.progress": ["Fault", "Phase", "Progress"],
    "opwatch.reading": [
        *("as_fault", "count", "is_another", "longest", "milliseconds", "object_in", "objects_in"),
        *("parse_time", "pause", "percent", "seconds", "sent_at", "share", "state", "text"),
        *("titled", "word"),
    ],
}
"""Where the names come from that a module may use."""


@dataclass(frozen=True)
class Operation:
    """One operation of a spec."""

    path: str
    method: str
    content: dict[str, Any]

    @property
    def place(self) -> tuple[str, ...]:
        """Where it stands in its spec."""
        return ("paths", self.path, self.method)

    @property
    def module(self) -> str:
        """The module of the generated client."""
        return identifier(self.content["operationId"])

    @property
    def package(self) -> str:
        """The package of that module."""
        return identifier(self.content.get("tags", ["default"])[0])

    @property
    def parameters(self) -> list[str]:
        """What stands in its path, in order."""
        return re.findall(r"\{([^{}]+)\}", self.path)

    @property
    def media_type(self) -> str:
        """The first media type of its answer."""
        return str(next(iter(self.content["responses"]["200"]["content"])))

    @property
    def schema(self) -> dict[str, Any]:
        """The schema of its answer."""
        found: dict[str, Any] = self.content["responses"]["200"]["content"][self.media_type]
        return dict(found["schema"])

    @property
    def model(self) -> str:
        """The class of its answer."""
        return class_name(str(self.schema["$ref"]).rpartition("/")[2])


def package_of(service: str) -> str:
    """The name of a service as a Python package."""
    return service.replace("-", "_")


def identifier(name: str) -> str:
    """The name as the client generator writes it in Python."""
    from openapi_python_client.strings import PythonIdentifier  # 0.3 s, not for `check` of a rule

    return str(PythonIdentifier(name, prefix="field_"))


def class_name(name: str) -> str:
    """The name of a component as the client generator writes it in Python."""
    from openapi_python_client.strings import ClassName

    return str(ClassName(name, prefix="field_"))


def operations(content: dict[str, Any]) -> Iterator[Operation]:
    """Each operation of a spec."""
    for path, item in content.get("paths", {}).items():
        for method, operation in item.items():
            if isinstance(operation, dict) and "operationId" in operation:
                yield Operation(path, method, _answered(content, operation))


def _answered(content: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The operation with its 200 answer in place of a reference to one."""
    responses = operation.get("responses", {})
    if "$ref" not in (answer := responses.get("200", {})):
        return operation
    return operation | {"responses": responses | {"200": referred(content, answer)}}


def referred(content: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The node, or what it refers to."""
    if "$ref" not in node:
        return node
    return referred(content, at(content, keys_of(node["$ref"][1:])))


def waited(content: dict[str, Any]) -> list[Operation]:
    """The operations that have an `x-wait` block: at most one."""
    return [found for found in operations(content) if "x-wait" in found.content]


def follow_up(content: dict[str, Any], block: dict[str, Any]) -> Operation | None:
    """The operation that says how a job ended, where the block names one."""
    name = block.get("outcome", {}).get("operation")
    found = (each for each in operations(content) if each.content["operationId"] == name)
    return next(found, None)


def security_of(content: dict[str, Any], operation: Operation) -> Any:
    """What an operation demands of who calls it: a `security` list, or None."""
    return operation.content.get("security", content.get("security"))


def keys_of(pointer: str) -> Keys:
    """The keys of a JSON Pointer."""
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:])


def at(content: Any, keys: Keys) -> Any:
    """What stands at the end of a pointer."""
    for key in keys:
        content = content[key]
    return content


def listed(value: Any) -> list[Any]:
    """The value as a list: what may be one or several, several deep."""
    if not isinstance(value, list):
        return [value]
    return [part for item in value for part in listed(item)]


# --- schemas --------------------------------------------------------------------------------------


def variants(content: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """What a schema may be: itself, or each of its alternatives, references followed."""
    if "$ref" in schema:
        return variants(content, at(content, keys_of(schema["$ref"][1:])))
    inner = [each for key in ("anyOf", "oneOf", "allOf") for each in schema.get(key, [])]
    return [found for each in inner for found in variants(content, each)] if inner else [schema]


def below(content: dict[str, Any], schema: dict[str, Any], keys: Keys) -> list[dict[str, Any]]:
    """The schemas at the end of a pointer; none if it leads nowhere."""
    found = variants(content, schema)
    for key in keys:
        inner = (
            each.get("items") if key == "*" else each.get("properties", {}).get(key)
            for each in found
        )
        found = [one for each in inner if each is not None for one in variants(content, each)]
    return found


def envelope(content: dict[str, Any], schema: dict[str, Any], pointers: list[Keys]) -> Keys:
    """The objects that must be in an answer, each inside the one before."""
    longest: Keys = ()
    for keys in pointers:
        for length in range(1, len(keys)):
            *above, last = keys[:length]
            holders = below(content, schema, tuple(above))
            if not all(last in each.get("required", []) for each in holders):
                break
            longest = max(longest, keys[:length], key=len)
    return longest


# --- the module -----------------------------------------------------------------------------------


class Reader:
    """The local variables of one function that reads an answer."""

    def __init__(self, required: Keys, taken: set[str], root: str = "fields") -> None:
        self._required = required
        self._names: dict[Keys, str] = {(): root}
        self._taken = taken
        self.lines: list[str] = []

    def at(self, pointer: str, base: Keys = ()) -> str:
        """The expression of what is at a pointer."""
        keys = base + keys_of(pointer)
        return f"{self.object(keys[:-1])}.get({quoted(keys[-1])})"

    def name(self, keys: Keys) -> str:
        """A name for a local variable that isn't taken."""
        name = identifier(keys[-1])
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def object(self, keys: Keys) -> str:
        """The name of the object at some keys; empty where the answer has none."""
        if keys not in self._names:
            above = self.object(keys[:-1])
            name = self.name(keys)
            if keys == self._required[: len(keys)]:
                self.lines.append(f"{name} = {above}[{quoted(keys[-1])}]")
            else:
                self.lines.append(f"{name} = object_in({above}.get({quoted(keys[-1])}))")
            self._names[keys] = name
        return self._names[keys]


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


class _Module:
    """The module of one spec, part by part."""

    def __init__(self, service: str, content: dict[str, Any], operation: Operation) -> None:
        self.service = service
        self.content = content
        self.operation = operation
        self.block: dict[str, Any] = operation.content["x-wait"]
        self.outcome = follow_up(content, self.block)
        self.model = operation.model
        self.required = self._envelope(operation, self.block)
        self.parts: list[str] = listed(self.block["id"]["parameter"])
        names = {name for group in MODULES.values() for name in group}
        self.names = names | {
            "session",
            "turn",
            "job_id",
            "fields",
            "wire",
            "phase",
            "found",
            "since",
        }

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
        title = re.sub(r'[\\"\s]+', " ", self.content["info"]["title"]).strip()
        used = filter(None, (self.operation, self.outcome))
        lines = [
            f'"""{title}: what an answer says about a job.',
            "",
            f"Compiled from the `x-wait` block of {source}: never edit.",
            '"""',
            "",
            "from __future__ import annotations",
            "",
            "from collections.abc import Awaitable, Callable",
            "from typing import TYPE_CHECKING, Any",
            "",
            "import attrs",
            *(f"from {client}.api.{each.package} import {each.module}" for each in used),
            f"from {client}.models import {self.model}",
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
        members = (f"{quoted(key.lower())}: {phase(value)}," for key, value in states["is"].items())
        lines = dict.fromkeys(members)  # two that differ by case alone
        return "\n".join([f"{name} = {{", *lines, "}"])

    # --- polling ---

    def _query(self) -> str:
        extra = [identifier(name) for name in self._others]
        more = ["*"] + [f"{name}: str" for name in extra] if extra else []
        parts, own = self._parts("job_id", self.operation)
        arguments = [f"{name}={name}" for name in extra] + own
        call = ["turn", self.operation.module, *map(quoted, self.required), *arguments]
        head = ["session: " + self._session, "turn: Turn", "job_id: str", "closer: bool", *more]
        lines = [
            f"async def query({', '.join(head)}) -> Seen[{self.model}]:",
            '"""Poll one job."""',
            *parts,
            f"fields, wire = await session.fetch({', '.join(call)})",
        ]
        if self._is_demanding(self.block):
            given = "fields, job_id" if "same" in self.block else "fields"
            lines += [
                f"if (problem := _problem({given})) is not None:",
                "    del fields, wire  # tracebacks show the locals of this frame",
                "    raise BadResponse(problem, status=200)",
            ]
        reader = Reader(self.required, set(self.names))
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
        """The line that takes a job's ID apart, and the arguments that an operation needs of it."""
        used = {name: identifier(name) for name in self.parts if name in operation.parameters}
        if len(self.parts) == 1:
            return [], [f"{name}={job_id}" for name in used.values()]
        taken = {*self.names, "closer", "progress"}
        own = {name: f"{told}_" if told in taken else told for name, told in used.items()}
        line = f'{", ".join(own.get(name, "_") for name in self.parts)} = {job_id}.split("/")'
        return [line], [f"{told}={own[name]}" for name, told in used.items()]

    def _same(self, block: dict[str, Any], reader: Reader, job_id: str) -> Iterator[str]:
        """The tests of the fields that name the job."""
        for pointer, name in block.get("same", {}).items():
            part = job_id
            if len(self.parts) > 1:
                part = f'{job_id}.split("/")[{self.parts.index(name)}]'
            yield f"if is_another({reader.at(pointer)}, {part}):"

    def _problem(self) -> str:
        if not self._is_demanding(self.block):
            return ""
        same = self.block.get("same")
        head = "fields: dict[str, Any], job_id: str" if same else "fields: dict[str, Any]"
        reader = Reader(self.required, {*self.names, "problem"})
        body = []
        for test in self._same(self.block, reader, "job_id"):
            body += [test, '    return "the answer is about another job"']
        for pointer, value in self.block.get("require", {}).get("is", {}).items():
            name = pointer.strip("/").replace("/", ".")
            body += [f"if state({reader.at(pointer)}) != {quoted(str(value).lower())}:"]
            body += [
                f"    return {quoted(f'the answer’s `{name}` isn’t {value}'.replace('’', chr(39)))}"
            ]
        if wanted := self.block.get("require", {}).get("any"):
            names = as_tuple([quoted(keys_of(pointer)[-1]) for pointer in wanted])
            holder = reader.at(wanted[0]).rpartition(".get(")[0]
            body += [f"if {holder}.keys().isdisjoint({names}):"]
            body += ['    return "the answer holds no documented field"']
        return indented(
            [
                f"def _problem({head}) -> str | None:",
                '"""Return why this is no answer about the job; None if it is one."""',
                *reader.lines,
                *body,
                "return None",
            ]
        )

    # --- reading an answer ---

    def _read(self) -> str:
        block = self.block
        reader = Reader(self.required, set(self.names))
        fields = {"service": quoted(self.service), "job_id": "job_id", "phase": "phase"}
        if isinstance(block["state"], dict):
            found = reader.at(block["state"]["at"])
            lines = [
                f"found = state({found})",
                'phase = _PHASES.get(found or "") or session.unknown(found)',
            ]
        else:
            lines = ["phase = _phase(session, fields)"]
        if pointer := block.get("contradiction"):
            field = pointer.strip("/").replace("/", ".")
            lines += [
                f"if phase is Phase.SUCCEEDED and {reader.at(pointer)}:",
                f"    phase = session.contradicted({quoted(field)})",
            ]
        if isinstance(percent := block.get("percent"), dict):
            counts = f"{reader.at(percent['count'])}, {reader.at(percent['total'])}"
            fields["percent"] = f"share({counts})"
        elif percent:
            fields["percent"] = f"percent({reader.at(percent)})"
        if "step" in block:
            fields["step"] = f"text({reader.at(block['step'])})"
        if "bytes" in block:
            fields["bytes_processed"] = f"count({reader.at(block['bytes'])})"
        fields |= self._ended(block, reader)
        head = f"session: {self._session}, job_id: str, fields: dict[str, Any], wire: {self.model}"
        return indented(
            [
                f"def read({head}) -> Progress[{self.model}]:",
                '"""Return what an answer says about the job."""',
                *reader.lines,
                *lines,
                f"return Progress({named(fields)}, wire=wire)",
            ]
        )

    def _phase(self) -> str:
        rows = self.block["state"]
        if isinstance(rows, dict):
            return ""
        reader = Reader(self.required, set(self.names))
        found: dict[str, str] = {}
        lines: list[str] = []
        for pointer in dict.fromkeys(pointer for row in rows for pointer in row["when"]):
            value = reader.at(pointer)
            name = reader.name(keys_of(pointer))
            found[pointer] = name
            values = [one for row in rows for one in listed(row["when"].get(pointer))]
            texts = any(isinstance(one, str) for one in values)
            lines.append(f"{name} = {f'state({value})' if texts else value}")
        for row in rows:
            tests = [condition(found[pointer], value) for pointer, value in row["when"].items()]
            lines += [f"if {' and '.join(tests)}:", f"    return {phase(row['is'])}"]
        told = ", ".join(f"{keys_of(key)[-1]}: {{word({name})}}" for key, name in found.items())
        return indented(
            [
                f"def _phase(session: {self._session}, fields: dict[str, Any]) -> Phase:",
                '"""Return the phase: the first of these that holds."""',
                *reader.lines,
                *lines,
                f'return session.unknown(f"{told}")',
            ]
        )

    def _ended(self, block: dict[str, Any], reader: Reader) -> dict[str, str]:
        """The arguments of `Progress` that say how the job ran."""
        fields = {}
        if told := block.get("fault"):
            fault = self._fault(told, reader)
            always = told.get("in") == "any phase"
            fields["fault"] = fault if always else f"({fault}) if phase is Phase.FAILED else None"
        if "started" in block:
            fields["started_at"] = self._time(block["started"], reader)
        if "finished" in block:
            time = self._time(block["finished"], reader)
            fields["finished_at"] = f"{time} if phase.is_final else None"
        return fields

    def _fault(self, told: dict[str, Any], reader: Reader) -> str:
        base = keys_of(told.get("at", ""))
        if base[-1:] == ("*",):
            each = Reader((), {*self.names, "each"}, root="each")
            holder = f"objects_in({reader.at(told['at'].removesuffix('/*'))})"
            return f"as_fault({self._words(told, each, ())} for each in {holder})"
        words = f"Fault({self._words(told, reader, base)[1:-1]})"
        if base:
            return f"{words} if {reader.object(base)} else None"
        return words

    def _words(self, told: dict[str, Any], reader: Reader, base: Keys) -> str:
        """The code and the message of a fault, as a tuple."""
        code, title, message = (
            f"text({reader.at(told[key], base)})" if key in told else "None"
            for key in ("code", "title", "message")
        )
        return f"({code}, {message if title == 'None' else f'titled({title}, {message})'})"

    def _time(self, told: Any, reader: Reader) -> str:
        told = told if isinstance(told, dict) else {"at": told}
        return f"{TIMES[told.get('as', 'date-time')]}({reader.at(told['at'])})"

    # --- how a job ended, where another operation says so ---

    def _outcome(self) -> str:
        if self.outcome is None:
            return ""
        parts, given = self._parts("progress.job_id", self.outcome)
        required = self._envelope(self.outcome, self.block["outcome"])
        call = ["turn", self.outcome.module, *map(quoted, required), *given]
        head = f"session: {self._session}, turn: Turn, progress: Progress[{self.model}]"
        return indented(
            [
                f"async def outcome({head}) -> Progress[{self.model}] | None:",
                '"""Look up how a job ended; None if the answer is about another job."""',
                *parts,
                f"fields, _ = await session.fetch({', '.join(call)})",
                "return read_outcome(progress, fields)",
            ]
        )

    def _read_outcome(self) -> str:
        if self.outcome is None:
            return ""
        block = self.block["outcome"]
        reader = Reader(self._envelope(self.outcome, block), {*self.names, "progress"})
        tests = self._same(block, reader, "progress.job_id")
        same = [line for test in tests for line in (test, "    return None")]
        found = reader.at(block["state"]["at"])
        ended = self._ended(block, reader)
        head = f"progress: Progress[{self.model}], fields: dict[str, Any]"
        return indented(
            [
                f"def read_outcome({head}) -> Progress[{self.model}] | None:",
                '"""Return the progress with what the answer says about the end."""',
                *reader.lines,
                *same,
                f'phase = _OUTCOMES.get(state({found}) or "", Phase.UNKNOWN)',
                f"return attrs.evolve(progress, {named({'phase': 'phase', **ended})})",
            ]
        )

    # --- reading an error ---

    def _complaint(self) -> str:
        errors = self.block["errors"]
        reader = Reader((), {*self.names, "answer", "code", "message", "kind", "request_id"})
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
                '"""Return what an error answer says."""',
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
                '"""Return the seconds for which an answer asks for no requests."""',
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
        known = sorted(map(str, listed(block["errors"].get("known", []))))
        query = f"Callable[[{self._session}, Turn, str, bool], Awaitable[Seen[{self.model}]]]"
        head = f"query: {query}, *, address_help: str" if self._others else "*, address_help: str"
        fields = {
            "name": quoted(self.service),
            "id_name": quoted(block["id"]["called"]),
            "schedule": f"Schedule({as_tuple(list(map(str, delays)))})",
            "accept": quoted(self.operation.media_type),
            "query": "query",
            "complaint": "complaint",
            "marker": f"lambda progress: {marker}",
            "address_help": "address_help",
        }
        if known:
            fields["known"] = f"frozenset({{{', '.join(map(quoted, known))}}})"
        if self.outcome is not None:
            fields["outcome"] = "outcome"
        if len(self.parts) > 1:
            fields["id_parts"] = str(len(self.parts))
        if (statuses := block.get("statuses", [200])) != [200]:
            fields["statuses"] = as_tuple(list(map(str, statuses)))
        if headers := block.get("headers"):
            pairs = [f"({quoted(name)}, {quoted(str(value))})" for name, value in headers.items()]
            fields["headers"] = as_tuple(pairs)
        if any("header" in one for one in block.get("again", [])):
            fields["pause"] = "asked"
        doc = "Return the service; `address_help` is what to check if nothing is found."
        if self._others:
            doc = f"Return the service, whose `query` adds {' and '.join(self._others)}."
        return indented(
            [
                f"def service({head}) -> Service[{self.model}]:",
                f'"""{doc}"""',
                f"return Service({named(fields)})",
            ]
        )

    def _client(self, *, own_client: bool) -> str:
        """Where the service is, and what it takes: for a client that needs nothing else."""
        needed = security_of(self.content, self.operation)
        names = {name for each in needed or [] for name in each}
        schemes = self.content.get("components", {}).get("securitySchemes", {})
        if not own_client and not any("x-env" in schemes[name] for name in names):
            return ""
        found = security.arguments(self.service, self.content, needed)
        scheme = named({name: json.dumps(value) for name, value in found.items()})
        base_url = f"BASE_URL = {quoted(security.base_url(self.content))}"
        return f"{base_url}\nSCHEME = Scheme({scheme.replace('=true', '=True')})"

    @property
    def _session(self) -> str:
        return f"Session[{self.model}]"

    @property
    def _others(self) -> list[str]:
        """The parameters of the path beside the ID: the service's own file gives them."""
        return [name for name in self.operation.parameters if name not in self.parts]

    def _envelope(self, operation: Operation, block: dict[str, Any]) -> Keys:
        pointers = [keys_of(pointer) for _, pointer in pointers_of(block)]
        return envelope(self.content, operation.schema, pointers)

    @staticmethod
    def _is_demanding(block: dict[str, Any]) -> bool:
        return "require" in block or "same" in block


def shown(block: dict[str, Any]) -> dict[str, str]:
    """What `restart-on-change` may name: pointers, and which key each belongs to."""
    percent = block.get("percent")
    found = {percent["count"]: "percent"} if isinstance(percent, dict) else {}
    return found | {block[name]: name for name in SHOWN if isinstance(block.get(name), str)}


def pointers_of(block: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each pointer into an answer of the operation itself, and where it stands in the block."""
    for name in ("restart-on-change", "contradiction", *SHOWN):
        if isinstance(block.get(name), str):
            yield (name,), block[name]
    if isinstance(percent := block.get("percent"), dict):
        for name in ("count", "total"):
            yield ("percent", name), percent[name]
    states = block.get("state", {})
    if isinstance(states, dict) and "at" in states:
        yield ("state", "at"), states["at"]
    for index, row in enumerate(states if isinstance(states, list) else []):
        for pointer in row["when"]:
            yield ("state", index, "when", pointer), pointer
    for pointer in block.get("same", {}):
        yield ("same", pointer), pointer
    for pointer in block.get("require", {}).get("is", {}):
        yield ("require", "is", pointer), pointer
    for index, pointer in enumerate(block.get("require", {}).get("any", [])):
        yield ("require", "any", index), pointer
    fault = block.get("fault", {})
    if "at" in fault:
        yield ("fault", "at"), fault["at"]
    for name in ("code", "title", "message"):
        if name in fault:
            yield ("fault", name), fault.get("at", "") + fault[name]
    for name in ("started", "finished"):
        if name in block:
            told = block[name]
            yield (name,), told["at"] if isinstance(told, dict) else told
    for index, one in enumerate(block.get("again", [])):
        if "at" in one:
            yield ("again", index, "at"), one["at"]


def error_pointers(block: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each pointer into an error answer, and where it stands in the block."""
    errors = block.get("errors", {})
    for name in ("code", "message"):
        for pointer in listed(errors.get(name, [])):
            yield ("errors", name), pointer
    if "at" in errors.get("request-id", {}):
        yield ("errors", "request-id", "at"), errors["request-id"]["at"]


# --- Python ---------------------------------------------------------------------------------------


def quoted(text: str) -> str:
    """The text as Python."""
    return json.dumps(text, ensure_ascii=False)


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
    """The test for a value: identity for a boolean, so that 1 and "true" aren't true."""
    if isinstance(value, list):
        texts = [one.lower() for one in value if isinstance(one, str)]
        tests = [condition(name, one) for one in value if not isinstance(one, str)]
        tests += [among(name, texts)] if texts else []
        return f"({' or '.join(tests)})" if len(tests) > 1 else tests[0]
    if isinstance(value, bool) or value is None:
        return f"{name} is {value}"
    return f"{name} == {quoted(value.lower())}" if isinstance(value, str) else f"{name} == {value}"


def among(name: str, values: list[Any]) -> str:
    """The test whether it is one of these."""
    texts = [quoted(value) if isinstance(value, str) else str(value) for value in values]
    return f"{name} == {texts[0]}" if len(texts) == 1 else f"{name} in {as_tuple(texts)}"


def indented(lines: list[str]) -> str:
    """A function: its first line, and the rest inside it."""
    return "\n".join([lines[0], *(f"    {line}" for line in lines[1:])])
