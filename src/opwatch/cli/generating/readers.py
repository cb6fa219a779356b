"""Compile the part of a module that reads an answer about a job: functions of the parsed JSON."""

from collections.abc import Iterator
from typing import Any

from opwatch.cli.generating.document import (
    Keys,
    Operation,
    envelope,
    follow_up,
    keys_of,
    listed,
    pointers_of,
)
from opwatch.cli.generating.python import (
    as_tuple,
    condition,
    indented,
    local,
    named,
    otherwise,
    phase,
    quoted,
)
from opwatch.text import printable

_UNKNOWN = {"ended": "Phase.UNKNOWN", "succeeded": "session.unknown(found)"}
"""What an outcome is whose state isn't known: of a job that is over, the end stays as it was."""
TIMES = {"date-time": "parse_time", "seconds": "seconds", "milliseconds": "milliseconds"}


class Reader:
    """The local variables of one function that reads an answer."""

    def __init__(self, required: Keys, root: str = "fields") -> None:
        self._required = required
        self._names: dict[Keys, str] = {(): root}
        self._taken: set[str] = set()
        self.lines: list[str] = []

    def at(self, pointer: str, base: Keys = ()) -> str:
        """The expression of what is at a pointer."""
        keys = base + keys_of(pointer)
        return f"{self.object(keys[:-1])}.get({quoted(keys[-1])})"

    def strictly(self, pointer: str) -> str:
        """As `at`, but a value that should be an object and isn't one counts as present."""
        keys = keys_of(pointer)
        if keys[:-1] == self._required[: len(keys) - 1]:
            return self.at(pointer)
        return f"inside({self._names[()]}, {', '.join(map(quoted, keys))})"

    def name(self, keys: Keys) -> str:
        """A name for a local variable that isn't taken."""
        name = local(keys[-1])
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


class Readers:
    """The functions that read the answers of one spec; each is empty if it isn't needed."""

    def __init__(self, service: str, content: dict[str, Any], operation: Operation) -> None:
        self.service = service
        self.content = content
        self.operation = operation
        self.block: dict[str, Any] = operation.content["x-wait"]
        self.outcome = follow_up(content, self.block)
        self.completes: str = self.block.get("outcome", {}).get("after", "ended")
        self.required = self._envelope(operation, self.block)
        self.parts: list[str] = listed(self.block["id"]["parameter"])
        self.is_demanding = "require" in self.block or "same" in self.block

    def _same(
        self, block: dict[str, Any], reader: Reader, job_id: str, *, must: bool = False
    ) -> Iterator[str]:
        """The tests of the fields that name the job, which `must` be there or needn't."""
        for pointer, name in block.get("same", {}).items():
            part = job_id
            if len(self.parts) > 1:
                part = f'{job_id}.split("/")[{self.parts.index(name)}]'
            found = reader.strictly(pointer)
            yield (
                f"if is_another({found}, {part}, must=True):"
                if must
                else f"if is_another({found}, {part}):"
            )

    def _problem(self) -> str:
        if not self.is_demanding:
            return ""
        same = self.block.get("same")
        head = "fields: dict[str, Any], job_id: str" if same else "fields: dict[str, Any]"
        reader = Reader(self.required)
        body = []
        for test in self._same(self.block, reader, "job_id"):
            body += [test, '    return "the response is about another job"']
        for pointer, value in self.block.get("require", {}).get("is", {}).items():
            name = pointer.strip("/").replace("/", ".")
            wanted = str(value).lower() if isinstance(value, bool) else value
            problem = f"the response's `{name}` isn't {wanted}"
            body += [f"if {otherwise(reader.at(pointer), value)}:"]
            body += [f"    return {quoted(problem)}"]
        if some := listed(self.block.get("require", {}).get("any", [])):
            names = as_tuple([quoted(keys_of(pointer)[-1]) for pointer in some])
            holder = reader.object(keys_of(some[0])[:-1])
            body += [f"if {holder}.keys().isdisjoint({names}):"]
            body += ['    return "the response contains no documented field"']
        return indented(
            [
                f"def _problem({head}) -> str | None:",
                '"""Return what is wrong with the response, or None if it is valid."""',
                *reader.lines,
                *body,
                "return None",
            ]
        )

    def _read(self) -> str:
        block = self.block
        reader = Reader(self.required)
        fields = {"service": quoted(self.service), "job_id": "job_id", "phase": "phase"}
        if isinstance(block["state"], dict):
            found = reader.at(block["state"]["at"])
            lines = [
                f"found = state({found})",
                'phase = _PHASES.get(found or "") or session.unknown(found)',
            ]
        else:
            lines = ["phase = _phase(session, fields)"]
        lines += self._contradictions(block, reader)
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
        head = "session: Session[Wire], job_id: str, fields: dict[str, Any], wire: Wire"
        return indented(
            [
                f"def read({head}) -> Progress[Wire]:",
                '"""Return the progress that a response reports."""',
                *reader.lines,
                *lines,
                f"return Progress({named(fields)}, wire=wire)",
            ]
        )

    def _contradictions(self, block: dict[str, Any], reader: Reader) -> list[str]:
        """The tests for a success that isn't believed. If it is how a job that is over ended, the
        answer is an error, which is retried."""
        lines = []
        for pointer in listed(block.get("contradiction", [])):
            field = printable(pointer.strip("/").replace("/", "."))
            then = f"phase = session.contradicted({quoted(field)})"
            if "operation" in block and self.completes == "ended":
                problem = f"the response reports both success and an error (`{field}`)"
                then = f"raise BadResponse({quoted(problem)}, status=200)"
            lines += [f"if phase is Phase.SUCCEEDED and {reader.strictly(pointer)}:", f"    {then}"]
        return lines

    def _phase(self) -> str:
        rows = self.block["state"]
        if isinstance(rows, dict):
            return ""
        reader = Reader(self.required)
        found: dict[str, str] = {}
        lines: list[str] = []
        for pointer in dict.fromkeys(pointer for row in rows for pointer in row["when"]):
            found[pointer] = reader.name(keys_of(pointer))
            lines.append(f"{found[pointer]} = {reader.strictly(pointer)}")
        for row in rows:
            tests = [condition(found[pointer], value) for pointer, value in row["when"].items()]
            lines += [f"if {' and '.join(tests)}:", f"    return {phase(row['is'])}"]
        told = ", ".join(f"{quoted(keys_of(key)[-1])}: {name}" for key, name in found.items())
        return indented(
            [
                "def _phase(session: Session[Wire], fields: dict[str, Any]) -> Phase:",
                '"""Return the phase: the first one whose condition holds."""',
                *reader.lines,
                *lines,
                f"return session.unknown(words_of({{{told}}}))",
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
            each = Reader((), root="each")
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
        if "params" in told:
            message = f"filled({message}, {reader.at(told['params'], base)})"
        return f"({code}, {message if title == 'None' else f'titled({title}, {message})'})"

    def _time(self, told: Any, reader: Reader) -> str:
        told = told if isinstance(told, dict) else {"at": told}
        return f"{TIMES[told.get('as', 'date-time')]}({reader.at(told['at'])})"

    def _read_outcome(self) -> str:
        if self.outcome is None:
            return ""
        block = self.block["outcome"]
        reader = Reader(self._envelope(self.outcome, block))
        is_result = self.completes == "succeeded"
        tests = self._same(block, reader, "progress.job_id", must=is_result)
        lines = [line for test in tests for line in (test, "    return None")]
        if self.completes == "failed":
            fields = {"fault": f"{self._fault(block['fault'], reader)} or progress.fault"}
        else:
            lines += [
                f"found = state({reader.at(block['state']['at'])})",
                f'phase = _OUTCOMES.get(found or "") or {_UNKNOWN[self.completes]}',
                *self._contradictions(block, reader),
            ]
            fields = {"phase": "phase"}
            if "step" in block:
                fields["step"] = f"None if phase.is_final else text({reader.at(block['step'])})"
            fields |= self._ended(block, reader)
        head = "session: Session[Wire], progress: Progress[Wire], fields: dict[str, Any]"
        said = "Return the progress with what the response adds; None if it is about another job."
        return indented(
            [
                f"def read_outcome({head}) -> Progress[Wire] | None:",
                f'"""{said}"""',
                *reader.lines,
                *lines,
                f"return attrs.evolve(progress, {named(fields)})",
            ]
        )

    def _envelope(self, operation: Operation, block: dict[str, Any]) -> Keys:
        pointers = [(place, keys_of(pointer)) for place, pointer in pointers_of(block)]
        states = [keys for place, keys in pointers if place[0] == "state"]
        return envelope(self.content, operation.schema, states or [keys for _, keys in pointers])
