"""Catenis notifications: whatever goes wrong with the channel, polling does without it."""

import logging
import re
import socket
import threading
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from agenda import Agenda
from channel_faults import BROKEN
from channel_server import DEVICE_ID, SECRET, ChannelServer
from channel_support import DONE, DRIVERS, ID, RUNNING, blocking, opened, playing, scripted, times

from opwatch import AsyncCatenis, Catenis, Phase, Schedule
from opwatch.errors import AuthenticationError, WaitCancelled
from opwatch.testing import FakeClock, reply

REFUSED = reply(401, {"status": "error", "message": "You must be logged in to do this."})


# --- what may go wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("script", BROKEN)
def test_polling_does_without_a_channel(
    wait: Any, script: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever keeps the channel from opening costs one warning, which quotes no credential."""
    with playing({ID: 40}, script) as (server, _, polls):
        assert wait(server, ID).phase is Phase.SUCCEEDED
    assert times(polls) == [0, 15, 30, 45]
    [record] = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert record.name == "opwatch"
    assert record.getMessage().startswith("catenis: notifications failed (")
    assert re.search(BROKEN[script][1], record.getMessage())
    assert "Signature" not in caplog.text
    assert DEVICE_ID not in caplog.text


@pytest.mark.parametrize("status", [200, 302, 401, 404, 429, 503])
@pytest.mark.parametrize("pause", ["300", "100000", "1e300", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_what_refuses_the_channel_holds_no_poll(status: int, pause: str) -> None:
    """However long a pause it asks for; only the channel's next attempt is delayed by it."""
    with playing({ID: 40}, f"{status} {pause}") as (server, _, polls):
        assert blocking(server, ID, timeout=50).phase is Phase.SUCCEEDED
        assert server.attempts.get()
        assert server.attempts.empty()
    assert times(polls) == [0, 15, 30, 45]


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("script", ["silent", "never confirm"])
def test_a_channel_that_takes_too_long_delays_one_poll(
    wait: Any, script: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Waits begin without it, and only the first waits for it at all."""
    with playing({"a": 20, "b": 20}, script) as (server, _, polls):
        wait(server, "a", "b")
    assert times(polls)[:2] == [0, 0]
    assert caplog.records == []


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_channel_that_opens_late_nudges(driver: str) -> None:
    """Earlier notifications are lost, so each job is polled once when the channel opens."""
    with (
        ChannelServer("open late") as server,
        scripted({"/progress": [RUNNING, DONE]}) as script,
    ):
        DRIVERS[driver](
            server,
            ID,
            timeout=None,
            schedule=Schedule((3600,)),
            on_progress=lambda _: server.may_open.set(),
        )
    assert len(script.sent) == 2


@pytest.mark.parametrize("how", ["watch", "watch_many"])
def test_cancel_ends_a_wait_for_the_channel(how: str) -> None:
    """Without a poll."""
    cancel = threading.Event()
    with ChannelServer("silent") as server, scripted({"/progress": [DONE]}) as script:
        setting = threading.Thread(target=lambda: server.requests.get() and cancel.set())
        setting.start()
        with Catenis(DEVICE_ID, SECRET, base_url=server.url, notifications=True) as client:
            job: Any = ID if how == "watch" else [ID]
            answers = getattr(client, how)(job, timeout=None, cancel=cancel)
            with pytest.raises(WaitCancelled):
                list(answers)
        setting.join()
    assert script.sent == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancel_ends_an_async_wait_for_the_channel(backend: str) -> None:
    """Without a poll."""

    async def main(server: ChannelServer) -> None:
        cancel = anyio.Event()
        url = server.url
        async with (
            AsyncCatenis(DEVICE_ID, SECRET, base_url=url, notifications=True) as client,
            anyio.create_task_group() as group,
        ):

            async def set_it() -> None:
                await anyio.to_thread.run_sync(server.requests.get)
                cancel.set()

            group.start_soon(set_it)
            with pytest.raises(WaitCancelled):
                await client.wait(ID, timeout=None, cancel=cancel)

    with ChannelServer("silent") as server, scripted({"/progress": [DONE]}) as script:
        anyio.run(main, server, backend=backend)
    assert script.sent == []


def test_nobody_listens(wait: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A port that nothing listens on, for the channel alone."""
    with socket.socket() as taken, FakeClock(), scripted({"/progress": [RUNNING, DONE]}):
        taken.bind(("127.0.0.1", 0))  # no other test's server gets it meanwhile
        nowhere = SimpleNamespace(url=f"http://127.0.0.1:{taken.getsockname()[1]}/api/0.7")
        assert wait(nowhere, ID).phase is Phase.SUCCEEDED
    assert caplog.text.count("notifications failed") == 1


def test_a_cut_channel_is_opened_again_and_all_jobs_are_polled() -> None:
    """Notifications in the meantime are lost, so each job is polled once when the channel is
    back."""
    with (
        ChannelServer("open", "500", "open") as server,
        scripted({"/progress": [RUNNING, DONE]}) as script,
    ):
        client = Catenis(DEVICE_ID, SECRET, base_url=server.url, notifications=True)
        with client:
            cut = threading.Thread(target=lambda: server.opened.get().drop())
            cut.start()
            progress = client.wait(ID, timeout=None, schedule=Schedule((3600,)))
            cut.join()
    assert progress.phase is Phase.SUCCEEDED
    assert len(script.sent) == 2
    assert len(server.hellos) == 2


def test_an_open_channel_survives_a_pause_that_the_service_asks_for() -> None:
    """During a `Retry-After`, an event sends nothing; the poll is made when it is over."""
    paused = reply(200, RUNNING.body, {"Retry-After": "100"})
    with ChannelServer() as server, Agenda() as clock, scripted({"/progress": [paused, DONE]}) as s:
        clock.at(20, lambda: server.opened.get().event(ID))
        blocking(server, ID, schedule=Schedule((600,), jitter=0))
    assert times(s) == [0, 100]


def test_refused_credentials_are_not_sent_over_a_channel() -> None:
    """A client whose polls were refused opens none with the same credentials."""
    with opened({"/progress": [REFUSED]}) as (server, client):
        with pytest.raises(AuthenticationError):
            client.progress(ID)
        with pytest.raises(AuthenticationError):
            client.wait(ID, timeout=10)
        assert server.hellos == []
