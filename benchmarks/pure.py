"""What needs no network, measured in one process: signing, the state machine, many jobs.

`pure.py CASE` prints a line of JSON for each round: the CPU seconds that each contender takes.
"""

import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime

PROJECT = "73d69ae0cfcf460190522d06b60f05ad"
PATH = f"/v2/{PROJECT}/apigw/instances/eddc4d25480b4cd6b512f270a1b8b341/progress"
HOST = "apig.eu-de.otc.t-systems.com"
SAMPLE = '{ "jobProgress": { "percentage": 56, "state": "Active", "step": "Reconstruction" } }'
JOBS = 10_000
ROUNDS = 21


def timed(contenders: dict[str, Callable[[], object]], turns: int) -> None:
    for _ in range(ROUNDS):
        line = {}
        for name, contender in contenders.items():
            start = time.process_time()
            for _ in range(turns):
                contender()
            line[name] = (time.process_time() - start) / turns
        print(json.dumps(line), flush=True)


def job_ids() -> list[str]:
    return [f"{n:08x}-0000-4000-8000-000000000000" for n in range(JOBS)]


def signing() -> None:
    from huaweicloudsdkcore.auth.credentials import BasicCredentials
    from huaweicloudsdkcore.sdk_request import SdkRequest
    from huaweicloudsdkcore.signer.signer import Signer

    from opwatch.auth import aksk, ctn1

    signer = Signer(BasicCredentials("AK", "SK", PROJECT))

    def official() -> object:
        request = SdkRequest(
            method="GET",
            schema="https",
            host=HOST,
            resource_path=PATH,
            uri=PATH,
            query_params=[],
            header_params={"X-Project-Id": PROJECT},
            body="",
        )
        return signer.sign(request)

    timed(
        {
            "huaweicloudsdkcore": official,
            "aksk": lambda: aksk.sign(
                method="GET",
                target=PATH,
                host=HOST,
                headers={},
                body=b"",
                access_key="AK",
                secret_key="SK",
                timestamp=datetime.now(UTC),
                project_id=PROJECT,
            ),
            "ctn1": lambda: ctn1.sign(
                method="GET",
                target="/api/0.7/messages/hfHtyPCS68toB9FjA8rM/progress",
                host="sandbox.catenis.io",
                body=b"",
                device_id="d" * 20,
                secret="made-up",
                timestamp=datetime.now(UTC),
            ),
        },
        2000,
    )


def machine() -> None:
    from opwatch.core.polling import Plan, Reading, Schedule, advance, begin
    from opwatch.progress import Phase

    state = begin(Plan(Schedule((15, 30, 60, 120)), deadline=3600.0), 0.0)
    state, _ = advance(state, Reading(Phase.RUNNING, 55.0), 0.0)
    reading = Reading(Phase.RUNNING, 56.0)
    timed(
        {
            "json.loads": lambda: json.loads(SAMPLE),
            "advance": lambda: advance(state, reading, 15.0, 0.5),
        },
        20_000,
    )


def many() -> None:
    """The CPU of a poll through `watch_many`, and of the same poll by `progress`.

    Neither uses the network, so the difference is what scheduling the poll takes.
    """
    from opwatch import ITwin
    from opwatch.testing import FakeClock, Script, reply

    ids = job_ids()
    answer = reply(200, json.loads(SAMPLE))
    for _ in range(7):
        with FakeClock(seed=1), Script(lambda _: answer) as script:
            client = ITwin("t")
            start = time.process_time()
            for _ in range(3):
                for job_id in ids:
                    client.progress(job_id)
                script.sent.clear()  # or the garbage collector looks through it, too
            alone = (time.process_time() - start) / (3 * JOBS)
        with FakeClock(seed=1), Script(lambda _: answer) as script:
            client = ITwin("t")
            watch = client.watch_many(ids, timeout=None)
            start = time.process_time()
            for _ in range(3):
                for _ in ids:
                    next(watch)
                script.sent.clear()
            together = (time.process_time() - start) / (3 * JOBS)
        print(json.dumps({"alone": alone, "watch_many": together}), flush=True)


def memory() -> None:
    """The bytes that a watched job takes once it has been polled, with its last answer."""
    from opwatch import ITwin
    from opwatch.testing import FakeClock, Script, reply

    answer = reply(200, json.loads(SAMPLE))
    ids = job_ids()
    with FakeClock(), Script(lambda _: answer) as script:
        client = ITwin("t")
        for _ in client.watch_many(ids[:100], timeout=0.0):
            pass
        script.sent.clear()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        watch = client.watch_many(ids, timeout=None)
        for _ in range(JOBS):
            next(watch)
        script.sent.clear()
        after = tracemalloc.get_traced_memory()[0]
    print(json.dumps({"bytes": (after - before) / JOBS}), flush=True)


CASES = {"signing": signing, "machine": machine, "many": many, "memory": memory}

if __name__ == "__main__":
    CASES[sys.argv[1]]()
