"""How often a test tries: a few times in `make test`, many times in `make test-slow`.

`OPWATCH_FUZZ=2000` makes each test that draws at random, or that tries one place in many, try that
many.
"""

import os

import pytest

LONG_RUN = int(os.environ.get("OPWATCH_FUZZ", "0"))


def counts(few: int, many: int) -> pytest.MarkDecorator:
    """Give a test the parameter `count`: few, or many in a slow test."""
    choices = [LONG_RUN] if LONG_RUN else [few, pytest.param(many, marks=pytest.mark.slow)]
    return pytest.mark.parametrize("count", choices)
