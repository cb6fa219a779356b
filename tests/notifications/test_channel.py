"""Catenis notifications: an end is detected at once, but no notification is trusted."""

import os
import ssl
import sys
import threading
from types import ModuleType
from typing import Any

import pytest
import trustme
from agenda import Agenda
from channel_faults import LIES
from channel_server import DEVICE_ID, SECRET, ChannelServer, Opened
from channel_support import DONE, ID, QUARTER, RUNNING, Messages, opened, playing, scripted, times
from wsproto import events

from opwatch import AsyncCatenis, Catenis, Phase
from opwatch.core import channel
from opwatch.errors import ConfigurationError
from opwatch.testing import FakeClock, Script

# --- what it is for -------------------------------------------------------------------------------


def test_an_end_is_noticed_when_it_is_told(wait: Any) -> None:
    """The channel is open before the first poll, and its event makes one at once."""
    with playing({ID: 40}) as (server, clock, script):
        clock.at(40, lambda: server.opened.get().event(ID))
        progress = wait(server, ID)
    assert times(script) == [0, 15, 30, 40]
    assert progress.phase is Phase.SUCCEEDED


def test_one_channel_serves_many_jobs(wait: Any) -> None:
    """Each event is for its job."""
    with playing({"a": 20, "b": 10}) as (server, clock, script):
        clock.at(10, lambda: server.opened.get().event("b"))
        wait(server, "a", "b")
        assert server.opened.empty()
    polls = [(sent.target.split("/")[-2], sent.time) for sent in script.sent]
    assert sorted(polls) == [("a", 0), ("a", 15), ("a", 30), ("b", 0), ("b", 10)]


def test_one_channel_serves_one_wait_after_another() -> None:
    """It stays open between waits; each poll is signed, and so is the channel."""
    with opened({"/progress": [DONE]}) as (server, client):
        client.wait("a", timeout=10)
        client.wait("b", timeout=10)
        [progress] = client.watch("c", timeout=10)
        client.progress("d")
        assert len(server.hellos) == 1
    assert progress.phase is Phase.SUCCEEDED


def test_a_single_poll_opens_no_channel() -> None:
    """`progress` and `step` wait for nothing, so they have no use for one."""
    with opened({"/progress": [RUNNING]}) as (server, client):
        client.progress("a")
        client.start("a", timeout=10)
        assert server.hellos == []


def test_a_ping_is_answered() -> None:
    """The server pings every 30 s, and gives up a client that doesn't answer."""
    with opened({"/progress": [DONE]}) as (server, client):
        client.wait("a", timeout=10)
        server.opened.get().told()


def test_interim_answers_before_the_channel_opens(caplog: pytest.LogCaptureFixture) -> None:
    """A server or a proxy may send any number of 1xx first."""
    with ChannelServer("open after hints") as server, FakeClock(), scripted({"/progress": [DONE]}):
        with Catenis(DEVICE_ID, SECRET, base_url=server.url, notifications=True) as client:
            client.wait("a", timeout=10)
        assert len(server.hellos) == 1
    assert caplog.records == []


def test_without_notifications_no_thread_is_started() -> None:
    """A blocking client starts none unless it is asked to."""
    before = set(threading.enumerate())
    with FakeClock(), scripted({"/progress": [RUNNING, DONE]}):
        Catenis(DEVICE_ID, SECRET, base_url="http://127.0.0.1:1/api/0.7").wait("a", timeout=99)
    assert set(threading.enumerate()) <= before


def test_the_channel_is_as_encrypted_as_the_polls() -> None:
    """Over https it is `wss`, by the client's own certificates, and closes politely."""
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    options: Any = {"notifications": True, "ssl_context": client_side}
    with (
        ChannelServer(tls=server_side) as server,
        Agenda() as clock,
        scripted(Messages(clock, **{ID: 20})) as script,
    ):
        with Catenis(DEVICE_ID, SECRET, base_url=server.url, **options) as client:
            channel: list[Opened] = []
            clock.at(1, lambda: channel.append(server.opened.get()))
            clock.at(20, lambda: channel[0].event(ID))
            client.wait(ID, timeout=100, schedule=QUARTER)
        assert channel[0].next(events.CloseConnection).code == 1000
    assert times(script) == [0, 15, 20]


def test_a_certificate_that_is_not_trusted(caplog: pytest.LogCaptureFixture) -> None:
    """The channel is opened with the same strictness as any connection."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server_side)
    with ChannelServer(tls=server_side) as server, FakeClock(), scripted({"/progress": [DONE]}):
        with Catenis(DEVICE_ID, SECRET, base_url=server.url, notifications=True) as client:
            client.wait(ID, timeout=100)
        assert server.hellos == []
    assert "certificate verify failed: the issuer is unknown" in caplog.text


# --- what may be told -----------------------------------------------------------------------------


@pytest.mark.parametrize("lie", LIES)
def test_what_tells_nothing_changes_nothing(wait: Any, lie: str) -> None:
    """Polling continues on its schedule."""
    with playing({ID: 40}) as (server, clock, script):
        clock.at(20, lambda: server.opened.get().told(*LIES[lie]))
        wait(server, ID)
    assert times(script) == [0, 15, 30, 45]


def test_an_event_is_not_believed(wait: Any) -> None:
    """An event that says success makes a poll, whose answer decides."""
    with playing({ID: 40}) as (server, clock, script):
        success = {"progress": {"done": True, "success": True}}
        clock.at(20, lambda: server.opened.get().event(ID, **success))
        progress = wait(server, ID)
    assert times(script) == [0, 15, 20, 30, 45]
    assert progress.phase is Phase.SUCCEEDED


# --- a client's life ------------------------------------------------------------------------------


def test_a_closed_client_can_be_used_again() -> None:
    """Closing closes the channel; another wait opens another."""
    with ChannelServer() as server, FakeClock(), scripted({"/progress": [DONE]}):
        client = Catenis(DEVICE_ID, SECRET, base_url=server.url, notifications=True)
        for _ in range(2):
            with client:
                client.wait("a", timeout=10)
            assert server.opened.get().sock.recv(100)[:1] == b"\x88"  # it says goodbye
        assert len(server.hellos) == 2


def test_a_wait_does_not_reopen_what_was_closed() -> None:
    """A client that is closed while it is watching goes on by polling."""
    replies = {"/progress": [RUNNING, RUNNING, DONE]}
    with opened(replies) as (server, client):
        watch = client.watch("a", timeout=3600)
        next(watch)
        client.close()
        assert [progress.phase for progress in watch][-1] is Phase.SUCCEEDED
        assert len(server.hellos) == 1


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No attempt ends by itself."""
    monkeypatch.setattr(channel, "OPENING", 3600.0)


@pytest.mark.usefixtures("patient", "no_patience")
@pytest.mark.parametrize("script", ["silent", "never confirm"])
def test_closing_ends_an_attempt(script: str) -> None:
    """Whatever it waits for; and it leaves the channel alone that was opened meanwhile."""
    with ChannelServer(script, "open") as server, FakeClock(), scripted({"/progress": [DONE]}):
        client = Catenis(DEVICE_ID, SECRET, base_url=server.url, notifications=True)
        client.wait("a", timeout=10)
        client.close()
        client.wait("b", timeout=10)
        opened = server.opened.get()
        assert {server.attempts.get(), server.attempts.get()} == {script, "open"}
        client.close()
        assert opened.sock.recv(100)[:1] == b"\x88"


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("script", ["open and ping", "open and ping, but never read"])
def test_closing_ends_a_channel_on_which_a_server_pings_without_end(script: str) -> None:
    """Whether or not it reads the answers."""
    with ChannelServer(script) as server, FakeClock(), scripted({"/progress": [DONE]}):
        with Catenis(DEVICE_ID, SECRET, base_url=server.url, notifications=True) as client:
            client.wait("a", timeout=10)
        assert server.attempts.get() == script


@pytest.mark.parametrize("is_late", [False, True])
def test_an_interrupt_while_the_thread_is_started(is_late: bool, monkeypatch: Any) -> None:
    """The next wait starts another, and waits for that one."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        is_channel = thread.name.startswith("opwatch")
        if is_late or not is_channel:
            start(thread)
        if is_channel:
            raise KeyboardInterrupt

    with opened({"/progress": [DONE]}) as (server, client):
        monkeypatch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.wait("a", timeout=10)
        monkeypatch.undo()
        for thread in threading.enumerate():
            if thread.name.startswith("opwatch"):
                thread.join()
        before = len(server.hellos)  # the server may not have counted the first one yet
        client.wait("b", timeout=10)
        assert len(server.hellos) > before


def test_a_dropped_client_closes_its_channel() -> None:
    """Nothing keeps a client alive that nobody has any more."""
    with ChannelServer() as server, FakeClock(), scripted({"/progress": [DONE]}):
        client = Catenis(DEVICE_ID, SECRET, base_url=server.url, notifications=True)
        client.wait("a", timeout=10)
        del client
        assert server.opened.get().sock.recv(100)[:1] == b"\x88"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_opens_a_channel_of_its_own() -> None:
    """After a fork, the parent's channel still works, and the child's next wait opens another."""
    with opened({"/progress": [DONE]}) as (server, client):
        client.wait("a", timeout=10)
        channel = server.opened.get()
        if (child := os.fork()) == 0:
            status = 1
            try:
                status = 0 if client.wait("b", timeout=10).phase is Phase.SUCCEEDED else 2
                client.close()
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert server.opened.get() is not channel
        channel.told()
        assert len(server.hellos) == 2


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_notifications_is_a_switch(value: Any) -> None:
    """Anything but True and False is a mistake that is named."""
    with pytest.raises(ConfigurationError, match="`notifications` must be True or False"):
        Catenis(DEVICE_ID, SECRET, notifications=value)


@pytest.mark.parametrize("found", [None, ModuleType("wsproto")], ids=["none", "another"])
@pytest.mark.parametrize("client", [Catenis, AsyncCatenis])
def test_the_extra_is_named_if_it_is_missing(client: Any, found: Any, monkeypatch: Any) -> None:
    """Without wsproto, or with another package of that name, switching notifications on says what
    to install; nothing else needs it."""
    monkeypatch.setitem(sys.modules, "wsproto", found)
    monkeypatch.delitem(sys.modules, "opwatch.net.websocket", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'opwatch\[notifications\]'"):
        client(DEVICE_ID, SECRET, notifications=True)
    client(DEVICE_ID, SECRET)


def test_polling_does_without_a_thread(monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A process that can't start one, at its end or at a limit, polls."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with FakeClock(), scripted({"/progress": [RUNNING, DONE]}):
        client = Catenis(DEVICE_ID, SECRET, base_url="http://127.0.0.1:1", notifications=True)
        monkeypatch.setattr(threading.Thread, "start", start)
        assert client.wait(ID, timeout=99).phase is Phase.SUCCEEDED
    assert caplog.text.count("can't start a thread") == 1


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
def test_polling_does_without_more_files(caplog: pytest.LogCaptureFixture) -> None:
    """A process that has no file left for the channel polls, on the connections that it has."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with FakeClock(), scripted({"/progress": [DONE, RUNNING, RUNNING, DONE]}):
        url = "http://127.0.0.1:1"
        Catenis(DEVICE_ID, SECRET, base_url=url).wait(ID, timeout=9)  # what is imported late
        with Catenis(DEVICE_ID, SECRET, base_url=url, notifications=True) as client:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                assert client.wait(ID, timeout=99).phase is Phase.SUCCEEDED
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caplog.text.count("Too many open files") == 1
    assert caplog.text.count("notifications failed") == 1


def test_a_script_has_no_channel(caplog: pytest.LogCaptureFixture) -> None:
    """A scripted client leaves the network alone, and polls."""
    with FakeClock(), Script({"/progress": [RUNNING, DONE]}):
        assert Catenis(DEVICE_ID, SECRET, notifications=True).wait(ID, timeout=99)
    assert "a script has no WebSocket; call client.nudge()" in caplog.text
