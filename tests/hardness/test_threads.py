"""One blocking client shared by many threads, which Python switches as often as it can."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hardness_support import ITWIN, service, times

from opwatch.errors import OpwatchError, Unavailable

THREADS = 8


@pytest.fixture
def switching() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("switching")
@pytest.mark.parametrize("token_uses", [20, 60])
def test_a_token_that_others_use_up(token_uses: int) -> None:
    """A token that is used up by other threads is replaced: no poll counts it as refused. One that
    can't keep up with them is told to try again."""
    with (
        service(token_uses=token_uses) as server,
        ITWIN.blocking(server.url, max_in_flight=4, request_timeout=60) as client,
        ThreadPoolExecutor(THREADS) as pool,
    ):

        def poll() -> Counter[str]:
            found: Counter[str] = Counter()
            for _ in range(times(500)):
                try:
                    found[client.progress("running-37").job_id] += 1
                except Unavailable:
                    found["running-37"] += 1
                except OpwatchError as error:
                    found[str(error)] += 1
            return found

        found = sum(
            (future.result() for future in [pool.submit(poll) for _ in range(THREADS)]), Counter()
        )
    assert found == {"running-37": THREADS * times(500)}
