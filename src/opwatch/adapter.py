"""opwatch's credentials as an `httpx.Auth`: for the typed clients, and any other httpx client.

The flows are those of the clients (`opwatch.auth`). Each request of a flow, the service's own and
those for a token, is handed to the httpx client that the auth is used with, which sends it. This is
the only file that imports httpx.
"""

from __future__ import annotations

import sys
import threading
import time
import types
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import closing, suppress
from typing import Any

import httpx

from opwatch import clock as clocks
from opwatch.auth.flight import Flight
from opwatch.auth.iam import IamPassword
from opwatch.auth.oauth2 import ClientCredentials
from opwatch.auth.signing import AkSk, AkSkAuth, Ctn1, Ctn1Auth
from opwatch.auth.tokens import Auth, TokenAuth
from opwatch.clock import Clock
from opwatch.core.holds import Holds
from opwatch.core.loop import AsyncIo, BlockingIo, Turn
from opwatch.errors import (
    AuthenticationError,
    ConfigurationError,
    OpwatchError,
    ServiceError,
    TransportError,
)
from opwatch.net import fork
from opwatch.net.address import address
from opwatch.net.message import Address, Answer, Request, Secret


def httpx_auth(
    credentials: Ctn1 | ClientCredentials | IamPassword | AkSk, *, project_id: str | None = None
) -> httpx.Auth:
    """Return an `httpx.Auth` that authenticates the requests of an httpx client.

    It works with blocking and async clients, and threads and tasks can share it. `Ctn1` and `AkSk`
    sign each request. `ClientCredentials` and `IamPassword` get a token through the same httpx
    client, keep it, renew it before it expires, and after a 401, send the request once more with a
    new one. `project_id` is only for `AkSk`, which sends it as `X-Project-Id`.

    An auth works for one origin, that of its first request, which must be https or this machine;
    any other raises `ConfigurationError`. If the service refuses the credentials, the 401 response
    is returned. If a token endpoint refuses them, `AuthenticationError` is raised; if `Ctn1` or
    `AkSk` were refused before, it is raised without sending anything. Other errors from a token
    endpoint are raised as `OpwatchError`. A request that waits for another request's token raises
    `TransportError` if that request fails or takes longer than its own timeout. Raises
    `ConfigurationError` for any other kind of credentials.

    If the client follows redirects, `X-Auth-Token` and `X-Security-Token` are removed, and httpx
    removes `Authorization` for another host. A token endpoint that redirects is an error.
    """
    clock = clocks.current.get()
    if project_id is not None and not isinstance(credentials, AkSk):
        raise ConfigurationError("is for AkSk only", argument="project_id")
    auth: Auth
    if isinstance(credentials, Ctn1):
        auth = Ctn1Auth(credentials, clock)
    elif isinstance(credentials, AkSk):
        auth = AkSkAuth(credentials, project_id, clock)
    elif isinstance(credentials, ClientCredentials):
        auth = TokenAuth(credentials, clock, header="Authorization", prefix="Bearer ")
    elif isinstance(credentials, IamPassword):
        auth = TokenAuth(credentials, clock, header="X-Auth-Token")
    else:
        kind = type(credentials).__name__  # what was given may be a token
        problem = f"must be Ctn1, ClientCredentials, IamPassword or AkSk, not {kind}"
        raise ConfigurationError(problem, argument="credentials")
    return _HttpxAuth(auth, clock)


@types.coroutine
def _outside(wanted: Any) -> Generator[Any, Any, Any]:
    """Let the caller of the flow do something."""
    return (yield wanted)


class _Io:
    """Sends by asking httpx to, which has its own time limits."""

    _slot: Any
    after_fork: Any
    request_timeout = 0.0  # each turn has the caller's

    def __init__(self, auth: Auth, clock: Clock, holds: Holds) -> None:
        self.clock = clock
        self.holds = holds
        is_limited = auth.max_in_flight < Auth.max_in_flight
        self.max_in_flight = auth.max_in_flight if is_limited else 0
        self.after_fork()
        fork.watch(self)

    def _late(self, awaited: str = "token that another request was fetching") -> TransportError:
        return TransportError(f"timed out waiting for the {awaited}")

    async def send(self, request: Request, turn: Turn) -> Answer:
        is_limited = self.max_in_flight and _is_own(request)
        slot = await self._slot(turn.left()) if is_limited else None
        if is_limited and slot is None:
            problem = f"timed out waiting for {self.max_in_flight} other requests"
            raise TransportError(f"{problem}, since more could lock the keys if they are refused")
        try:
            self.holds.check(request)
            answer: Answer = await _outside(request)
        finally:
            if slot is not None:
                slot.release()
        if not _is_own(request):
            turn.learn(request, answer)
        return answer


class _BlockingIo(_Io, BlockingIo):
    pass


class _AsyncIo(_Io, AsyncIo):
    async def _slot(self, seconds: float) -> Any:
        return await _outside(super()._slot(seconds))

    async def landing(self, flight: Flight, turn: Turn, *awaited: str) -> None:
        await _outside(super().landing(flight, turn, *awaited))


def _is_own(request: Request) -> bool:
    """Whether it is the caller's request, and not one for a token: its origin isn't named here, so
    that no pause of a token endpoint holds it."""
    return not request.address.origin


class _RefusedHere(ServiceError):
    """A token was refused. That isn't remembered, because it may be valid at another address."""


class _HttpxAuth(httpx.Auth):
    def __init__(self, auth: Auth, clock: Clock) -> None:
        self._auth = auth
        holds = Holds(clock)
        self._io = _BlockingIo(auth, clock, holds)
        self._async_io = _AsyncIo(auth, clock, holds)
        self._origins: dict[str, str] = {}

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        _check_body(request, httpx.SyncByteStream, "must not be async in a blocking client")
        request.read()
        with closing(self._steps(request, self._io)) as steps:
            response = None
            while (step := steps.send(response)) is not None:
                response = yield step
                if step is not request:
                    response.read()

    def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        return _AsyncFlow(request, self._steps(request, self._async_io))

    def _steps(self, request: httpx.Request, io: Any) -> Generator[Any, Any, None]:
        """Yield each request that httpx is to send, what an async flow waits for, and last None."""
        phases = request.extensions.get("timeout", {}).values()
        limit = max(phases) if phases and None not in phases else threading.TIMEOUT_MAX
        turn = Turn(io, None)
        turn.end = time.monotonic() + limit
        flow = self._auth.flow(turn, self._own(request), self._explain)
        sent: httpx.Request | None = None
        reply, before = None, 0
        with closing(flow):
            try:
                while True:
                    wanted = flow.send(reply)
                    if not isinstance(wanted, Request):
                        reply = yield wanted
                        continue
                    sent = _outgoing(wanted, request)
                    began = time.monotonic()
                    plain, sent.url = sent.url, _Url(sent, wanted)
                    try:
                        response = yield sent
                    except GeneratorExit as end:
                        if sent is not request:
                            _fail(flow, end, io.clock.now())
                        raise
                    finally:
                        sent.url = plain
                    turn.end = time.monotonic() + limit
                    # What was sent was answered by the first of these; a redirect led to the rest.
                    direct = [*response.history, response][before]
                    if sent is request:  # whose history mustn't hold a request for a token
                        for each in (*response.history, response):
                            each.history = each.history[before:]
                    before += 1
                    reply = Answer(
                        direct.status_code,
                        tuple((name.lower(), value) for name, value in direct.headers.raw),
                        b"" if sent is request else direct.content,
                        time.monotonic() - began,
                        wanted.secrets,
                    )
            except StopIteration:
                pass
            except (AuthenticationError, _RefusedHere) as error:
                if sent is not request:
                    if isinstance(error, AuthenticationError):
                        raise
                    raise AuthenticationError(error.message, status=error.status) from None
                # httpx returns the response that says so.
            yield None

    def _own(self, request: httpx.Request) -> Request:
        """Return what a flow must know of the caller's request."""
        url = request.url
        place = address(f"{url.scheme}://{url.netloc.decode('ascii')}", "url")
        origin = self._origins.setdefault("", place.origin)
        if origin != place.origin:
            problem = f"was first used for {origin}, so it can't be used for {place.origin}"
            advice = "call httpx_auth again for another address"
            raise ConfigurationError(problem, argument="auth", advice=advice)
        own = Address("", request.headers.setdefault("Host", url.netloc.decode("ascii")))
        target = url.raw_path.decode("ascii")
        return Request(request.method, own, target, body=request.content)

    def _explain(self, answer: Answer, turn: Turn) -> ServiceError:
        """Return why these credentials aren't sent again."""
        advice = "check them, and call httpx_auth again"
        text = "the credentials were refused earlier, so opwatch won't send them again"
        if isinstance(self._auth, TokenAuth):
            return _RefusedHere("the new token was refused as well", status=answer.status)
        return AuthenticationError(text, status=answer.status, advice=advice)


class _AsyncFlow(AsyncGenerator[httpx.Request, httpx.Response]):
    """The steps of a flow, which learn what they are closed for; in an async generator of Python's,
    they would not."""

    def __init__(self, request: httpx.Request, steps: Generator[Any, Any, None]) -> None:
        self._request = request
        self._steps = steps
        self._sent: httpx.Request | None = None

    async def asend(self, value: Any) -> httpx.Request:
        if self._sent is None:
            _check_body(self._request, httpx.AsyncByteStream, "must be async in an async client")
            await self._request.aread()
        elif self._sent is not self._request:
            await value.aread()
        step = self._steps.send(value)
        while step is not None and not isinstance(step, httpx.Request):
            step = self._steps.send(await step)
        if step is None:
            raise StopAsyncIteration
        self._sent = step
        return step

    async def athrow(self, *args: Any) -> Any:
        return self._steps.throw(*args)

    async def aclose(self) -> None:
        self._steps.close()


def _check_body(request: httpx.Request, kind: type, problem: str) -> None:
    if not isinstance(request.stream, kind):
        raise ConfigurationError(problem, argument="content")


_UNREADABLE = httpx.DecodingError, httpx.InvalidURL, UnicodeError


def _fail(flow: Coroutine[Any, Any, Answer], end: GeneratorExit, now: float) -> None:
    """Have whoever waits for a token know that the request for it failed.

    httpx closes a flow while it handles what ended the request. A task that was cancelled is no
    failure: another takes over. What the token endpoint sent is raised as `TransportError` if httpx
    can't read it: httpx raises errors for a `Location` that no redirect can lead to.
    """
    cause: BaseException | None = end
    while isinstance(cause, GeneratorExit):
        cause = cause.__context__
    if isinstance(cause, Exception):
        problem = f"the request for a token failed: {type(cause).__name__}"
        error = TransportError(problem, held_until=now)  # the next request may try again at once
        with suppress(OpwatchError):
            flow.throw(error)
        if isinstance(cause, _UNREADABLE) or isinstance(cause.__context__, httpx.InvalidURL):
            raise error from None


def _outgoing(wanted: Request, request: httpx.Request) -> httpx.Request:
    """Return the request as httpx sends it: the caller's own with more headers, or another."""
    pairs = ((n, v.encode().decode() if isinstance(v, Secret) else v) for n, v in wanted.headers)
    if _is_own(wanted):
        request.headers.update(dict(pairs))
        return request
    body = wanted.body.encode() if isinstance(wanted.body, Secret) else wanted.body
    headers = {**dict(pairs), "Content-Length": str(len(body))}
    limit = {key: value for key, value in request.extensions.items() if key == "timeout"}
    url = wanted.address.origin + wanted.target
    return httpx.Request(wanted.method, url, headers=headers, content=body, extensions=limit)


class _Url(httpx.URL):
    """The URL of a request on its way, which notices that httpx makes a redirect of the request.

    An auth is asked about no redirect. But before httpx copies the headers and the body to one, and
    only then, its client reads the fragment.
    """

    def __init__(self, sent: httpx.Request, wanted: Request) -> None:
        super().__init__(sent.url)
        self._sent, self._wanted = sent, wanted

    @property
    def fragment(self) -> str:
        """Remove what must not follow a redirect.

        That is all of a request for a token. Of any other it is the service's own headers: httpx
        itself sends `Authorization` to the same origin only.
        """
        sent, wanted = self._sent, self._wanted
        if sys._getframe(1).f_globals.get("__name__") != httpx.Client.send.__module__:
            pass  # a hook reads it
        elif _is_own(wanted):
            for name, value in wanted.headers:
                if isinstance(value, Secret) and name != "Authorization":
                    sent.headers.pop(name, None)
        else:
            sent.headers = httpx.Headers({"Host": wanted.address.host})
            sent.stream = httpx.ByteStream(b"")
        return super().fragment
