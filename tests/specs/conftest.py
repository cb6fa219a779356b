"""Lets the tests of the specs import the modules in tools/, and checks an unchanged spec once.

A test that breaks one spec of a folder checks the other three, too: a third of all checks.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import spec_rules


@pytest.fixture(scope="session", autouse=True)
def checked_once() -> Iterator[None]:
    known = {}
    check = spec_rules.check

    def checked(spec):
        key = repr(spec)
        if key not in known:
            known[key] = check(spec)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spec_rules, "check", checked)
        yield
