"""What changes while requests are in flight: pauses, refusals, and responses that are cut off."""

import threading
from itertools import count

import anyio
import pytest
from fault_server import FaultServer

from opwatch import AkSk, AsyncApig, AsyncITwin, ITwin
from opwatch.core.options import Settings
from opwatch.errors import (
    AuthenticationError,
    ConfigurationError,
    OpwatchError,
    RateLimited,
    TransportError,
)
from opwatch.net.address import address
from opwatch.net.asynchronous import AsyncTransport
from opwatch.net.blocking import Transport
from opwatch.net.message import Request
from opwatch.testing import FakeClock, Script, reply

ACTIVE = reply(200, {"jobProgress": {"state": "Active", "percentage": 5}})
REFUSED = reply(401, {"error_code": "APIC.7102", "error_msg": "no"})
CREATING = reply(200, {"status": "creating", "progress": 30})


@pytest.mark.parametrize("mode", ["blocking", "asyncio", "trio"])
def test_a_request_is_not_sent_once_the_rules_have_changed_while_it_connected(mode):
    """A pause that another request met meanwhile holds this one too, though it has a connection."""

    def refuse(request):
        raise RateLimited("not now")

    with FaultServer(lambda peer: peer.request()) as server:
        request = Request("GET", address(server.url, "url"), "/jobs/j/progress")
        if mode == "blocking":
            transport = Transport(Settings())
            transport.admit = refuse
            with pytest.raises(RateLimited, match="not now"):
                transport.send(request, 1e12)
            transport.close()
        else:

            async def main():
                transport = AsyncTransport(Settings())
                transport.admit = refuse
                with pytest.raises(RateLimited, match="not now"):
                    await transport.send(request, 1e12)
                await transport.aclose()

            anyio.run(main, backend=mode)
        assert server.requests == []


@pytest.mark.parametrize("mode", ["blocking", "asyncio", "trio"])
def test_an_answer_that_breaks_off_may_have_asked_for_a_pause(mode):
    """Its head has arrived, and with it the `Retry-After`: nothing is sent while that lasts."""

    def play(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nRetry-After: 100\r\nContent-Length: 999\r\n\r\n{")

    with FaultServer(play) as server:
        if mode == "blocking":
            with ITwin("a token", base_url=server.url) as client:
                with pytest.raises(TransportError) as broke:
                    client.progress("j")
                with pytest.raises(RateLimited) as held:
                    client.progress("j")
        else:

            async def main():
                async with AsyncITwin("a token", base_url=server.url) as client:
                    with pytest.raises(TransportError) as broke:
                        await client.progress("j")
                    with pytest.raises(RateLimited) as held:
                        await client.progress("j")
                return broke, held

            broke, held = anyio.run(main, backend=mode)
        assert "head" not in vars(broke.value)
        assert 90 < held.value.retry_after <= 100
        assert len(server.requests) == 1


def test_refused_proxy_credentials_are_sent_once(monkeypatch):
    """A proxy that says 407 isn't asked again by the same client: accounts get locked."""

    def play(peer):
        while peer.request():
            peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with FaultServer(play) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url.replace("http://", "http://user:word@"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with FakeClock(), ITwin("a token") as client:
            for _ in range(3):
                with pytest.raises(TransportError, match=r"refused the credentials \(407\)"):
                    client.wait("j", timeout=600)
        assert len(server.requests) == 1


def test_keys_that_are_refused_midway_are_sent_five_times_at_most():
    """Six refusals in a row lock a key pair, so no more than five requests are in flight."""
    sent = count()
    answers = iter([CREATING] * 3)

    def answer(request):
        next(sent)
        return next(answers, REFUSED)

    async def main():
        async with AsyncApig("apig.example", AkSk("AK", "a-secret-key"), project_id="p") as client:
            many = client.watch_many([f"g{n}" for n in range(40)], timeout=600)
            async for _ in many:
                pass
            return many.errors

    with FakeClock(), Script(answer):
        errors = anyio.run(main)
    assert len(errors) == 40
    assert {type(error) for error in errors.values()} == {AuthenticationError}
    assert next(sent) - 3 <= 5


def test_a_job_is_not_sent_with_one_refused_token_after_the_other():
    """However many tokens a callable has, a poll tries one more after the first."""
    tokens, sent = count(), {}

    def answer(request):
        job = request.target.split("/")[-2]
        sent[job] = sent.get(job, 0) + 1
        return reply(401, {"error": {"code": "Unauthorized", "message": "no"}})

    async def main():
        async with AsyncITwin(lambda: f"token-{next(tokens)}") as client:
            many = client.watch_many([f"j{n}" for n in range(100)], timeout=600)
            async for _ in many:
                pass
            return many.errors

    with FakeClock(), Script(answer):
        errors = anyio.run(main)
    assert len(errors) == 100
    assert max(sent.values()) <= 2


def test_the_user_agent_is_sent_as_it_is():
    """The caller's name once, and opwatch's own once behind it, also over https."""
    agents = []

    def answer(request):
        agents.append(dict(request.headers)["User-Agent"])
        return ACTIVE

    with Script(answer):
        ITwin("a token", user_agent="mine/1").progress("j")
        ITwin("a token").progress("j")
    assert agents[0] == f"mine/1 {agents[1]}"
    assert agents[1].count("opwatch/") == 1


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("max_in_flight", lambda: ITwin("t", max_in_flight=10**9)),
        ("request_timeout", lambda: ITwin("t", request_timeout=10**5000)),
        ("timeout", lambda: ITwin("t").watch("j", timeout=10**5000)),
    ],
)
def test_a_number_that_is_far_too_large_is_refused_by_name(argument, make):
    """Nothing is created for it, and the number itself need not be printable."""
    with pytest.raises(ConfigurationError) as raised:
        make()
    assert raised.value.argument == argument


def test_time_that_is_used_up_before_a_request_is_no_fault_of_the_server(monkeypatch):
    """A token callable that takes all of `request_timeout` is what the error speaks of."""
    ended = threading.Event()
    with (
        FaultServer(lambda peer: peer.request()) as server,
        ITwin(lambda: ended.wait(0.3) or "t", base_url=server.url, request_timeout=0.1) as client,
    ):
        with pytest.raises(OpwatchError, match="passed before the request"):
            client.progress("j")
        assert server.requests == []


def test_a_pause_of_hundreds_of_digits_is_over_a_day():
    """It is no number to wait for, and no reason to send at once either."""
    limited = reply(429, {}, {"Retry-After": "9" * 400})
    script = Script({"/progress": [limited, ACTIVE]})
    with FakeClock(), script, pytest.raises(RateLimited, match="over a day"):
        ITwin("t").wait("j", timeout=None)
