"""The page *Every case* matches the tests."""

from __future__ import annotations

from fault_page import PAGE, page
from fault_scenarios import SCENARIOS


def test_the_page_is_what_the_tables_say() -> None:
    """`python tests/network/fault_page.py` would write the same page."""
    assert PAGE.read_text("utf-8") == page()


def test_there_are_enough_scenarios_each_with_a_name_of_its_own() -> None:
    """At least sixty, and no two test ids are the same."""
    names = [scenario.name for scenario in SCENARIOS]
    assert len(names) >= 60
    assert len(set(names)) == len(names)
