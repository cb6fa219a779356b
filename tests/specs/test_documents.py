"""Specs match their documents: a change in only one of them is found, with its place and fix."""

import dataclasses
import hashlib
import re
from typing import Any

import documents
import pytest
import spec_generation
import spec_rules

SPECS = {path.stem: spec_rules.read(path) for path in spec_generation.specs()}
TRANSCRIBED = [name for name, spec in SPECS.items() if spec.document]


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_a_mark_excuses_no_more_than_it_says(name: str) -> None:
    """Without its marks, a spec is full of findings: each of them is needed."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: bare(v) for k, v in value.items() if not re.fullmatch("x-(own|dev.*)", k)}
        return [bare(each) for each in value] if isinstance(value, list) else value

    spec = dataclasses.replace(SPECS[name], content=bare(SPECS[name].content))
    for rule in ("document-words", "document-value"):
        assert [*spec_rules.RULES[rule](spec)]


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_another_document_is_found_by_its_hash(name: str) -> None:
    """One more space in a document is found, and the finding gives the hash to write down."""
    spec = dataclasses.replace(SPECS[name], document=SPECS[name].document + " ")
    ((rule, text),) = [(each.rule, each.text) for each in spec_rules.check(spec)]
    assert rule == "document"
    assert hashlib.sha256(spec.document.encode()).hexdigest() in text


def test_the_words_of_a_text() -> None:
    """Markup, white space and punctuation don't count; words, numbers and units do."""
    same = " The progress error_code in % 15 30 "
    assert documents.words("The *progress*, **error_code** in % [15,30]") == same
    assert documents.words("The <b>progress</b>&nbsp;`error_code`\n in %: 15, 30.") == same
    assert documents.words("the :ref:`progress <label>`") == " the progress "
    assert documents.words("<br>...") == "  "


def test_the_three_notations_are_read() -> None:
    """Tables of Markdown and of reStructuredText, and schemas, give what they say."""
    read = {name: documents.read(SPECS[name].document) for name in TRANSCRIBED}
    assert read["catenis"].path == "GET /messages/{messageId}/progress"
    assert [*read["catenis"].statuses] == ["200", "400", "500", "503"]
    assert read["catenis"].messages["500"] == ["Internal server error"]
    data = read["catenis"].bodies["200"]["properties"]["data"]
    assert data["required"] == ["action", "progress"]
    assert data["properties"]["progress"]["properties"]["error"]["required"] == ["code", "message"]
    assert read["itwin"].statuses["429"] == "Too many requests"
    assert len(read["itwin"].schemas) == 5
    assert [*read["apig"].bodies] == ["200", "401", "403", "404", "500"]
    assert read["apig"].bodies["200"]["properties"]["progress"]["enum"] == [30, 50, 80, 90, 100]
    assert read["apig"].parameters["instance_id"]["required"] is True
    assert read["apig"].links == ["apig-api-180713009", "errorcode"]


def test_a_link_leads_to_an_operation() -> None:
    """The progress of an iTwin job links to the job: an operation there is, with its parameter."""
    content = SPECS["itwin"].content
    (link,) = content["paths"]["/jobs/{id}/progress"]["get"]["responses"]["200"]["links"].values()
    operations = {each["get"]["operationId"]: each["get"] for each in content["paths"].values()}
    (given,) = operations[link["operationId"]]["parameters"]
    parameter = content["components"]["parameters"][given["$ref"].rpartition("/")[2]]
    assert link["parameters"] == {parameter["name"]: "$request.path.id"}
