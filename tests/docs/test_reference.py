"""What the reference lists by hand is what there is."""

import inspect
import re

import pytest
from docs_blocks import DOCS
from opwatch_api import apig, catenis, itwin, itwin_v2


@pytest.mark.parametrize("service", [apig, catenis, itwin, itwin_v2])
def test_the_arguments_of_the_typed_clients_are_listed_with_their_defaults(service: object) -> None:
    """mkdocstrings can't list them, because attrs makes the constructor."""
    page = (DOCS / "reference" / "clients.md").read_text("utf-8")
    part = page.partition("## Typed clients")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`|required) \|", part, re.MULTILINE)
    more = re.findall(r"^\| `(\w+)` \| [^|`r]", part, re.MULTILINE)
    found = inspect.signature(service.Client).parameters.values()  # type: ignore[attr-defined]
    shown = {it.name: repr(it.default).replace("NOTHING", "{}") for it in found}
    assert dict(listed) == shown | {"base_url": ""}
    every = inspect.signature(service.AuthenticatedClient).parameters  # type: ignore[attr-defined]
    assert {*more} == {*every} - {*shown}
