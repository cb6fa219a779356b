"""Look for a response that the readers do not survive: `make fuzz`.

Atheris draws the inputs, by the code that they reach. The first bytes of an input choose the
service, the status and a header; the others are a body, either as it is or with each byte standing
for a word, so that JSON of the right form is found soon. Not part of the tests: it needs minutes,
and an environment of its own.
"""

from __future__ import annotations

import json
import logging
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "network"))

with atheris.instrument_imports(include=["opwatch", "opwatch_api", "email", "json"]):
    from fault_errors import FOREIGN, REFUSALS
    from fault_services import SAMPLES, Sample

    from opwatch import Phase, Progress
    from opwatch.errors import OpwatchError
    from opwatch.testing import FakeClock, Reply, Script

STATUSES = (200, 200, 200, 200, 201, 302, 304, 400, 401, 403, 404, 408, 429, 500, 503, 999)
HEADERS = ("Retry-After", "Date", "X-Request-Id", "x-correlation-id")
WORDS = (
    *("{", "}", "[", "]", ":", ",", "null", "true", "false", "0", "1", "100", "-1", "1e999", "NaN"),
    *('"status"', '"data"', '"action"', '"progress"', '"bytesProcessed"', '"done"', '"success"'),
    *('"error"', '"code"', '"message"', '"finishDate"', '"result"', '"messageId"', '"log"'),
    *('"jobProgress"', '"percentage"', '"state"', '"step"', '"job"', '"executionInformation"'),
    *('"errors"', '"title"', '"endedDateTime"', '"Over"', '"Active"', '"failed"', '"cancelled"'),
    *('"error_code"', '"error_msg"', '"start_time"', '"end_time"', '"request_id"', '"creating"'),
    *('"2019-03-13T14:09:10.121Z"', "1597390224911", '"JobNotFound"', '"APIC.7302"', '"\\ud800"'),
    *('{"status":"success","data":{"action":"log","progress":{"bytesProcessed":28,"done":true',),
    *('{"jobProgress":{"percentage":100,"state":"Over"}}', '{"job":{"id":"j","state":"success"'),
    '{"progress":100,"status":"success"',
)


class Fuzzer:
    """The three services. Each input gets a new client, since one remembers refused credentials
    and pauses."""

    def __call__(self, data: bytes) -> None:
        """One input."""
        if len(data) < 4:
            return
        chosen = data[0] % len(SAMPLES)
        header = (HEADERS[data[1] % len(HEADERS)], data[4:40].decode("latin-1"))
        status = STATUSES[data[2] % len(STATUSES)]
        # iTwin is asked twice where a job is over: what stands behind the first NUL comes then.
        body = data[4:] if data[3] % 2 else worded(data[4:])
        answers = [Reply(status, part, (header,)) for part in body.split(b"\0\0", 1)]

        def answer(request: Any) -> Reply:
            """The responses in turn; the last one is repeated."""
            return answers.pop(0) if len(answers) > 1 else answers[0]

        with FakeClock(), Script(answer):
            client = SAMPLES[chosen].make("http://127.0.0.1:9")
        try:
            outcome = client.progress(SAMPLES[chosen].job_id)
        except OpwatchError as error:
            check_error(error)
        else:
            check_progress(outcome, SAMPLES[chosen], status, body)


def worded(data: bytes) -> bytes:
    """A word for each byte; the byte itself if there is none for it."""
    return b"".join(
        WORDS[byte - 1].encode() if 0 < byte <= len(WORDS) else bytes([byte]) for byte in data
    )


def check_error(error: OpwatchError) -> None:
    line = str(error)
    assert line.isprintable()
    assert len(line) < 1500
    assert str(pickle.loads(pickle.dumps(error))) == line


def check_progress(progress: Progress[Any], sample: Sample, status: int, body: bytes) -> None:
    assert status == 200
    assert progress.job_id == sample.job_id
    assert progress.percent is None or 0 <= progress.percent <= 100
    assert progress.bytes_processed is None or progress.bytes_processed >= 0
    assert progress.phase.is_final or progress.finished_at is None
    for text in (progress.step, str(progress.fault)):
        (text or "").encode()
    if progress.phase is Phase.SUCCEEDED:
        plain = body.replace(b"\0", b"").lower()
        assert b"success" in plain or b"\\u" in plain


def write_corpus(folder: Path) -> None:
    """What the services and others are known to answer, to begin with."""
    for number, sample in enumerate(SAMPLES):
        bodies = [sample.body()]
        for many in sample.ended.values():
            bodies.append(b"\0\0".join(json.dumps(one).encode() for one in many))
        bodies += [json.dumps(one.body).encode() for one in REFUSALS if one.sample is sample]
        bodies += FOREIGN.values()
        for n, body in enumerate(bodies):
            for status in (0, 8, 12):
                head = bytes([number, n % 4, status, 1])
                (folder / f"{sample.name}-{n}-{status}").write_bytes(head + body[:4000])

    for n in range(len(WORDS)):
        (folder / f"word-{n}").write_bytes(bytes([n % len(SAMPLES), 0, 0, 0, n + 1]))


def main() -> None:
    """Run until the time that the arguments give is up, or until something is found."""
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder))
        atheris.Setup([*sys.argv, folder, "-max_len=5000"], Fuzzer())
        atheris.Fuzz()


if __name__ == "__main__":
    main()
