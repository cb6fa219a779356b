"""The documents' own samples, read by the models of the generated clients and by the strict
models."""

import copy
import datetime as dt
import json
from importlib import import_module
from typing import Any, NamedTuple

import documents
import pydantic
import pytest
import spec_generation
import spec_rules
from opwatch_api.apig import models as apig
from opwatch_api.apig.types import UNSET as APIG_UNSET
from opwatch_api.catenis import models as catenis
from opwatch_api.catenis.types import UNSET as CATENIS_UNSET
from opwatch_api.itwin import models as itwin
from opwatch_api.itwin.types import UNSET as ITWIN_UNSET

SPECS = {path.stem: spec_rules.read(path) for path in spec_generation.specs()}


class Sample(NamedTuple):
    """A body, and the name of the schema it is of."""

    service: str
    schema: str
    body: dict[str, Any]


def from_document(service: str, index: int, schema: str) -> Sample:
    return Sample(service, schema, documents.read(SPECS[service].document).samples[index][2])


CATENIS_READ = from_document("catenis", 0, "MessageProgressResponse")
ITWIN_ACTIVE = from_document("itwin", 0, "JobProgressResponse")
ITWIN_ERRORS = [from_document("itwin", index, "ErrorResponse") for index in (1, 2, 3)]
APIG_ANSWERS = [from_document("apig", index, "InstanceProgress") for index in range(5)]
APIG_ERRORS = [from_document("apig", index, "ErrorResponse") for index in range(5, 9)]
TOO_MANY = "The client sent more requests than allowed by this API"
SAMPLES = [CATENIS_READ, ITWIN_ACTIVE, *ITWIN_ERRORS, *APIG_ANSWERS, *APIG_ERRORS]


def spec_examples() -> list[Sample]:
    """Every example of a body in the specs, with the schema it stands beside."""
    return [
        Sample(service, schema["$ref"].rpartition("/")[2], value)
        for service, spec in SPECS.items()
        for _, schema, value in spec_rules.examples(spec)
        if "$ref" in schema
    ]


def parse(sample: Sample) -> Any:
    package = sample.service.replace("-", "_")
    module = import_module(f"opwatch_api.{package}.models")
    return getattr(module, sample.schema).from_dict(sample.body)


def parse_strictly(sample: Sample) -> Any:
    module = import_module(f"opwatch_api.wire.{sample.service.replace('-', '_')}")
    model: type[pydantic.BaseModel] = getattr(module, sample.schema)
    return model.model_validate_json(json.dumps(sample.body))


def changed(sample: Sample, *path: str, **changes: Any) -> Sample:
    """The sample with other values at a path; None removes nothing, it is a null."""
    body = copy.deepcopy(sample.body)
    node = body
    for key in path:
        node = node[key]
    node.update(changes)
    return sample._replace(body=body)


def without(sample: Sample, *path: str) -> Sample:
    """The sample without the value at a path."""
    body = copy.deepcopy(sample.body)
    node = body
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    return sample._replace(body=body)


def with_instants(value: Any) -> Any:
    """The value with each text that is a date and time as the instant it means."""
    if isinstance(value, dict):
        return {key: with_instants(child) for key, child in value.items()}
    if isinstance(value, list):
        return [with_instants(child) for child in value]
    if isinstance(value, str) and value[4:5] == "-" and "T" in value:
        return dt.datetime.fromisoformat(value)
    return value


def test_no_sample_is_overlooked() -> None:
    """The documents have fourteen samples: one of Catenis, four of iTwin, nine of APIG."""
    read = [documents.read(SPECS[name].document) for name in ("catenis", "itwin", "apig")]
    found = [value for document in read for _, _, value in document.samples]
    assert len(found) == len(SAMPLES) == 14
    assert all(sample.body in found for sample in SAMPLES)


@pytest.mark.parametrize("sample", [*SAMPLES, *spec_examples()])
def test_a_sample_survives_the_client_models(sample: Sample) -> None:
    """What a client's model reads from a body, it writes back as the same body."""
    assert with_instants(parse(sample).to_dict()) == with_instants(sample.body)


@pytest.mark.parametrize("sample", [*SAMPLES, *spec_examples()])
def test_a_sample_passes_the_strict_models(sample: Sample) -> None:
    """The strict models take each body, and write the same body."""
    written = parse_strictly(sample).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert with_instants(written) == with_instants(sample.body)


def test_catenis_read() -> None:
    """The sample of Catenis is a message that was read, with a token to continue."""
    answer = parse(CATENIS_READ)
    assert answer.status == "success"
    assert answer.data.action is catenis.MessageAction.READ
    progress = answer.data.progress
    assert (progress.bytes_processed, progress.done, progress.success) == (28, True, True)
    assert progress.error is CATENIS_UNSET
    assert progress.finish_date == dt.datetime(2019, 3, 13, 14, 9, 10, 121000, tzinfo=dt.UTC)
    assert answer.data.result.message_id == "mt7ZYbBYpM3zcgAf3H8X"
    assert answer.data.result.continuation_token == "kjXP2CZaSdkTKCi2jDi2"
    strict = parse_strictly(CATENIS_READ)
    assert strict.data.progress.finish_date == progress.finish_date
    assert strict.data.result.message_id == "mt7ZYbBYpM3zcgAf3H8X"


@pytest.mark.parametrize("action", ["log", "send", "read"])
def test_catenis_in_progress(action: str) -> None:
    """Before the end there is no `success`, `error`, `finishDate` or `result`, by the table."""
    progress = {"bytesProcessed": 1024, "done": False}
    body = {"status": "success", "data": {"action": action, "progress": progress}}
    sample = Sample("catenis", "MessageProgressResponse", body)
    data = parse(sample).data
    assert data.action == catenis.MessageAction(action)
    assert (data.progress.bytes_processed, data.progress.done) == (1024, False)
    assert (
        data.progress.success is data.progress.error is data.progress.finish_date is CATENIS_UNSET
    )
    assert data.result is CATENIS_UNSET
    assert parse_strictly(sample).data.progress.done is False


@pytest.mark.parametrize("action", ["log", "send", "read"])
def test_catenis_failed(action: str) -> None:
    """A message that failed has an `error` with a numeric code and no `result`, by the table."""
    sample = without(changed(CATENIS_READ, "data", action=action), "data", "result")
    error = {"code": 500, "message": "Internal server error"}
    sample = changed(sample, "data", "progress", success=False, error=error)
    data = parse(sample).data
    assert (data.progress.done, data.progress.success) == (True, False)
    assert data.progress.error == catenis.ProcessingError(code=500, message="Internal server error")
    assert data.result is CATENIS_UNSET
    assert parse_strictly(sample).data.progress.error.code == 500


@pytest.mark.parametrize("action", ["log", "send"])
def test_catenis_written(action: str) -> None:
    """A message that was logged or sent has a message id and no continuation token."""
    sample = without(
        changed(CATENIS_READ, "data", action=action), "data", "result", "continuationToken"
    )
    result = parse(sample).data.result
    assert result.message_id == "mt7ZYbBYpM3zcgAf3H8X"
    assert result.continuation_token is CATENIS_UNSET


def test_itwin_active() -> None:
    """The sample of iTwin is an active job at 56 percent, in its reconstruction."""
    progress = parse(ITWIN_ACTIVE).job_progress
    assert (progress.percentage, progress.step) == (56, "Reconstruction")
    assert progress.state is itwin.JobProgressState.ACTIVE
    assert parse_strictly(ITWIN_ACTIVE).job_progress.percentage == 56


@pytest.mark.parametrize(
    ("sample", "code", "message"),
    [
        (
            ITWIN_ERRORS[0],
            "HeaderNotFound",
            "Header Authorization was not found in the request. Access denied.",
        ),
        (ITWIN_ERRORS[1], "JobNotFound", "Requested job is not available."),
        (
            ITWIN_ERRORS[2],
            "RateLimitExceeded",
            f"{TOO_MANY} for the current tier of the client.",
        ),
    ],
)
def test_itwin_errors(sample: Sample, code: str, message: str) -> None:
    """The samples of iTwin's errors carry a code and a message, and no target."""
    error = parse(sample).error
    assert (error.code, error.message) == (code, message)
    assert error.target is error.details is ITWIN_UNSET
    assert parse_strictly(sample).error.code == code


@pytest.mark.parametrize(
    ("sample", "percent", "status", "code"),
    [
        (APIG_ANSWERS[0], 100, "success", None),
        (APIG_ANSWERS[1], 50, "creating", None),
        (APIG_ANSWERS[2], 0, "failed", "APIC.9218"),
        (APIG_ANSWERS[3], 0, "failed", "APIC.9219"),
        (APIG_ANSWERS[4], 0, "failed", "APIC.9206"),
    ],
)
def test_apig_answers(sample: Sample, percent: int, status: str, code: str | None) -> None:
    """The samples of APIG: one created, one being created, three failed at 0 percent."""
    answer = parse(sample)
    assert (answer.progress, answer.error_code) == (percent, code)
    assert answer.status is apig.InstanceStatus(status)
    assert answer.error_msg == (code and "create failed...")
    assert (answer.start_time, answer.end_time) == (1597389901161, 1597390224911)
    assert parse_strictly(sample).status == status


@pytest.mark.parametrize(
    ("sample", "code", "message"),
    [
        (APIG_ERRORS[0], "APIC.7102", "Incorrect token or token resolution failed"),
        (APIG_ERRORS[1], "APIC.7106", "No permissions to request for the method"),
        (APIG_ERRORS[2], "APIC.7302", "Instance not found"),
        (APIG_ERRORS[3], "APIC.9000", "Failed to request internal service"),
    ],
)
def test_apig_errors(sample: Sample, code: str, message: str) -> None:
    """The samples of APIG's errors carry a code and a message."""
    error = parse(sample)
    assert (error.error_code, error.error_msg, error.request_id) == (code, message, APIG_UNSET)
    assert parse_strictly(sample).error_code == code


@pytest.mark.parametrize(
    "sample",
    [
        changed(CATENIS_READ, "data", action="forget"),
        changed(CATENIS_READ, status="banana"),
        changed(CATENIS_READ, "data", result=None),
        changed(CATENIS_READ, "data", "progress", error=None, success=None, finishDate=None),
        changed(CATENIS_READ, "data", "progress", finishDate="13 March"),
        changed(CATENIS_READ, "data", "progress", chunks=3),
        changed(ITWIN_ACTIVE, "jobProgress", state="paused"),
        changed(ITWIN_ACTIVE, "jobProgress", state=None, percentage=None, step=None),
        changed(ITWIN_ACTIVE, "jobProgress", eta="soon"),
        Sample("itwin", "JobProgressResponse", {"jobProgress": {}}),
        changed(ITWIN_ERRORS[1], error=None),
        changed(ITWIN_ERRORS[1], "error", code=None, message=None, target=None, details=None),
        changed(ITWIN_ERRORS[1], "error", details=[{"code": None}, {}]),
        Sample("itwin", "JobResponse", {"job": {"executionInformation": None}}),
        Sample("itwin", "JobResponse", {"job": {"executionInformation": {"errors": None}}}),
        Sample("itwin", "JobResponse", {"job": {"executionInformation": {"endedDateTime": "?"}}}),
        changed(APIG_ANSWERS[1], status="queued"),
        changed(APIG_ANSWERS[1], progress=None, status=None, start_time=None, end_time=None),
        Sample("apig", "InstanceProgress", {}),
        Sample("apig", "ErrorResponse", {"request_id": None}),
    ],
)
def test_the_client_models_survive_odd_answers(sample: Sample) -> None:
    """Unknown values, nulls, absent and new fields are read as they are, and nothing is raised."""
    assert with_instants(parse(sample).to_dict()) == with_instants(sample.body)


@pytest.mark.parametrize(
    "sample",
    [
        changed(CATENIS_READ, "data", "progress", bytesProcessed="28"),
        changed(CATENIS_READ, "data", "progress", bytesProcessed=28.0),
        changed(CATENIS_READ, "data", "progress", bytesProcessed=-1),
        changed(CATENIS_READ, "data", "progress", done=1),
        changed(CATENIS_READ, "data", "progress", error={"code": "500", "message": "no"}),
        changed(CATENIS_READ, "data", "progress", error={"code": 500, "message": "no"}),
        changed(CATENIS_READ, "data", "progress", done=False),
        changed(CATENIS_READ, "data", "progress", success=False),
        changed(CATENIS_READ, "data", "progress", success=None),
        changed(CATENIS_READ, "data", "progress", finishDate=None),
        changed(CATENIS_READ, "data", "progress", finishDate="yesterday"),
        changed(CATENIS_READ, "data", "progress", finishDate="2019-03-13"),
        changed(CATENIS_READ, "data", "progress", finishDate=1552486150),
        changed(CATENIS_READ, "data", "progress", finishDate="1552486150"),
        changed(CATENIS_READ, "data", "progress", finishDate="2019-03-13T14:09:10"),
        changed(CATENIS_READ, "data", "progress", bytesProcessed=2**63),
        changed(CATENIS_READ, "data", action="send"),
        without(CATENIS_READ, "data", "result"),
        without(CATENIS_READ, "data", "result", "continuationToken"),
        changed(CATENIS_READ, "data", progress={"bytesProcessed": 28, "done": False}),
        changed(CATENIS_READ, status="failure"),
        Sample("catenis", "ErrorResponse", {"status": "success", "message": "no"}),
        changed(CATENIS_READ, "data", action="burn"),
        without(CATENIS_READ, "data", "progress", "success"),
        without(CATENIS_READ, "data", "progress", "finishDate"),
        changed(CATENIS_READ, "data", "progress", finish_date="2019-03-13T14:09:10.121Z"),
        changed(CATENIS_READ, "data", message_id="mt7ZYbBYpM3zcgAf3H8X"),
        without(CATENIS_READ, "status"),
        without(CATENIS_READ, "data", "action"),
        without(CATENIS_READ, "data", "progress"),
        without(CATENIS_READ, "data", "progress", "done"),
        without(CATENIS_READ, "data", "progress", "bytesProcessed"),
        without(CATENIS_READ, "data", "result", "messageId"),
        changed(ITWIN_ACTIVE, "jobProgress", percentage="56"),
        changed(ITWIN_ACTIVE, "jobProgress", percentage=True),
        changed(ITWIN_ACTIVE, "jobProgress", percentage=-4),
        changed(ITWIN_ACTIVE, "jobProgress", percentage=100.5),
        changed(ITWIN_ACTIVE, "jobProgress", state="banana"),
        changed(ITWIN_ACTIVE, "jobProgress", State="Active"),
        Sample("itwin", "JobProgressResponse", {"job_progress": {}}),
        Sample("itwin", "JobProgressResponse", {"jobProgress": None}),
        Sample("itwin", "JobProgressResponse", {}),
        Sample("itwin", "JobResponse", {"job": {"created_date_time": "2024-06-01T08:00:00Z"}}),
        Sample("itwin", "JobResponse", {"job": {"executionInformation": []}}),
        without(ITWIN_ERRORS[1], "error", "code"),
        without(ITWIN_ERRORS[1], "error", "message"),
        changed(APIG_ANSWERS[1], progress="50"),
        changed(APIG_ANSWERS[1], progress=50.5),
        changed(APIG_ANSWERS[1], progress=101),
        changed(APIG_ANSWERS[1], status="banana"),
        changed(APIG_ANSWERS[1], progress=-1),
        changed(APIG_ANSWERS[1], start_time="1597389901161"),
        changed(APIG_ANSWERS[1], errorCode="APIC.9218"),
        changed(APIG_ANSWERS[1], start_time=2**63),
        changed(APIG_ERRORS[1], error_code=7106),
        Sample("itwin-v2", "JobProgressResponse", {"progress": {"state": "Over"}}),
        Sample("itwin-v2", "JobProgressResponse", {"progress": {"percentage": 101}}),
    ],
)
def test_the_strict_models_refuse(sample: Sample) -> None:
    """Another type, another spelling of a field, a missing or an unknown field is refused."""
    with pytest.raises(pydantic.ValidationError):
        parse_strictly(sample)


@pytest.mark.parametrize("service", ["itwin", "itwin-v2"])
def test_the_strict_models_take_the_fields_that_a_document_allows(service: str) -> None:
    """An iTwin error may have more fields; the object that holds it may not."""
    body = {"error": {"code": "JobNotFound", "message": "gone", "innerError": {"code": "a"}}}
    taken = parse_strictly(Sample(service, "ErrorResponse", body))
    assert taken.model_dump(by_alias=True, exclude_none=True) == body
    with pytest.raises(pydantic.ValidationError):
        parse_strictly(Sample(service, "ErrorResponse", body | {"innerError": {}}))


def test_the_strict_models_are_made_in_python_too() -> None:
    """A date and time of Python is one, and is written as RFC 3339 has it."""
    module = import_module("opwatch_api.wire.catenis")
    now = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    made = module.MessageProgressDoneSuccess(
        bytesProcessed=1, done=True, success=True, finishDate=now
    )
    assert made.finish_date == now
    assert '"finishDate":"2026-01-02T03:04:05Z"' in made.model_dump_json(by_alias=True)


def spec_schemas() -> list[tuple[dict[str, Any], str]]:
    """The schemas that iTwin's document prints, and the component each became."""
    names = ["JobProgressState", "JobProgress", "JobProgressResponse", "Error", "ErrorResponse"]
    return list(zip(documents.read(SPECS["itwin"].document).schemas, names, strict=True))


@pytest.mark.parametrize(("printed", "name"), spec_schemas())
def test_a_printed_schema_is_kept(printed: dict[str, Any], name: str) -> None:
    """A schema that iTwin's document prints is a component with its title, texts and fields."""
    component = SPECS["itwin"].content["components"]["schemas"][name]
    assert component.get("x-title") == printed.get("title")
    assert component.get("enum") == printed.get("enum")
    assert component.get("required") == printed.get("required")
    assert component["description"] == printed.get("description", component["description"])
    for field, schema in printed.get("properties", {}).items():
        kept = component["properties"][field]
        assert kept["description"] == schema["description"]
        assert schema.get("type", "") in kept.get("type", "")
