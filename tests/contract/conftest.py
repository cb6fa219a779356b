"""Says what the tests of this folder proved: the first sentence of each docstring, once."""

import inspect
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what a test proves with its report."""
    report = yield
    proves = (inspect.getdoc(item.function) or item.name).split("\n\n")[0]
    report.user_properties.append(("proves", " ".join(proves.split())))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each proof."""
    properties = [
        entry
        for report in terminalreporter.getreports("passed")
        if report.when == "call"
        for entry in report.user_properties
    ]
    if proofs := dict.fromkeys(text for name, text in properties if name == "proves"):
        terminalreporter.section("what this proved")
        for proof in proofs:
            terminalreporter.line(f"- {proof}")
