"""The rules for the `x-wait` blocks of a spec. spec_rules.py applies them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import documents
from spec_file import MARKS, Rule, Spec, objects

from opwatch.cli.generating import claims as wait_claims
from opwatch.cli.generating import examples as wait_examples
from opwatch.cli.generating import rules as wait_rules
from opwatch.cli.generating.document import below, keys_of, waited
from opwatch.cli.generating.spec import Problem
from opwatch.cli.generating.waits import compiled


def waits_are_formed(spec: Spec) -> Iterator[Problem]:
    """An operation has an `x-wait` block. Each block is valid against x-wait.schema.json, and
    everything it names exists. None polls more than once a second."""
    if not any("x-wait" in node for place, node in objects(spec.content) if len(place) == 3):
        yield ("paths",), "no operation has an x-wait; add one (docs/x-wait.md)"
    problems = [*wait_rules.form(spec.content)]
    yield from problems or wait_rules.schedules_are_slow(spec.content)


def wait_pointers_exist(spec: Spec) -> Iterator[Problem]:
    """Each pointer of an `x-wait` block leads to a field of the schema that it reads."""
    yield from wait_rules.pointers_exist(spec.content)


def wait_states_have_phases(spec: Spec) -> Iterator[Problem]:
    """Each state that the schema lists has a phase."""
    yield from wait_rules.states_have_phases(spec.content)


def wait_examples_are_read(spec: Spec) -> Iterator[Problem]:
    """Each example of a response is read as its labels say."""
    source = partial(compiled, Path(spec.name).stem, spec.content)
    yield from wait_examples.are_read(spec.content, source)


def wait_claims_have_sources(spec: Spec) -> Iterator[Problem]:
    """The values of an `x-wait` block are in the document or have a mark."""
    yield from wait_claims.claims_have_sources(spec.content, spec.document)


def wait_units_are_said(spec: Spec) -> Iterator[Problem]:
    """Each unit of an `x-wait` block is in the description or a mark of its field."""
    for operation in () if any(wait_rules.form(spec.content)) else waited(spec.content):
        for key, part in operation.content["x-wait"].items():
            if isinstance(part, dict) and "as" in part:
                fields = below(spec.content, operation.schema, keys_of(part["at"]))
                texts = [
                    str(field.get(text)) for field in fields for text in ("description", *MARKS)
                ]
                if f" {part['as']} " not in documents.words(" ".join(texts)).casefold():
                    place = (*operation.place, "x-wait", key, "as")
                    yield place, f"no text of the field says {part['as']}; correct one of them"


FORM: dict[str, Rule] = {"wait-form": waits_are_formed}
STEPS: list[dict[str, Rule]] = [
    {"wait-pointer": wait_pointers_exist, "wait-phase": wait_states_have_phases},
    {"wait-source": wait_claims_have_sources, "wait-unit": wait_units_are_said},
    {"wait-example": wait_examples_are_read},
]
"""The rules for a block that is formed, in steps: see spec_rules.py."""
