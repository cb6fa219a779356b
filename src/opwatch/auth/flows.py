"""How a request is authenticated: generators that yield requests and are sent answers.

In the manner of httpx's auth flows, without httpx: a flow yields an `Outgoing` and receives its
`Answer`; the driver that sends it blocks or awaits. So each decision (sign anew, renew a token,
give up) is written once. A flow may also yield a `Flight`, a request of somebody else's that it
waits for, or an `Ask`, a callable of the user's. No lock is held across a yield.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

from opwatch.auth import aksk, ctn1
from opwatch.clock import Clock
from opwatch.errors import ConfigurationError, OpwatchError
from opwatch.reading import http_date
from opwatch.wire import Answer, Outgoing, Secret

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


class Ask:
    """A callable of the user's, blocking or async, that returns a token.

    The repr does not show it: it may hold what the token is asked for with.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


class Token(NamedTuple):
    """A token, and for how long it is good."""

    secret: Secret
    life: float | None = None
    """Seconds; None where nobody said: then it is kept until it is refused."""
    project_id: str | None = None


class Flight:
    """A token request under way: those who need its token wait for it to land.

    It lands with a token, with a failure, or with neither, where whoever made it was cancelled.
    """

    def __init__(self) -> None:
        from concurrent.futures import Future  # not where a request is signed

        self.landed: Future[None] = Future()
        self.token: Token | None = None
        self.failure: OpwatchError | None = None
        """Why it brought no token, for all who waited for it."""


Effect: TypeAlias = Outgoing | Ask | Flight
Flow: TypeAlias = Generator[Effect, Any, T]


class Auth(Protocol):
    """What a client authenticates with."""

    def flow(self, request: Outgoing) -> Flow[Answer]:
        """Send `request` authenticated, as often as it takes; the last answer."""
        ...

    def project_id(self) -> Flow[str | None]:
        """The project that the credentials are for, where they say."""
        ...


def require(**values: Any) -> None:
    """Refuse what is empty or not text, by name; secrets are not quoted."""
    for name, value in values.items():
        if fault := Secret(value).fault():
            raise ConfigurationError(f"{name} {fault}")


def _signature(headers: dict[str, str]) -> Secret:
    """The part of a signed request's `Authorization` that must not be quoted."""
    return Secret(headers["Authorization"].rpartition("Signature=")[2])


# --- CTN1 -----------------------------------------------------------------------------------------

LONGEST_SKEW = 86_400.0
"""Seconds of a clock's error that are corrected: a wilder `Date` is not believed."""


class Ctn1Auth:
    """Signs each request anew; corrects this machine's clock once a server has refused it."""

    def __init__(self, device_id: str, secret: Secret, clock: Clock) -> None:
        self._device_id = device_id
        self._secret = secret
        self._clock = clock
        self._skew = 0.0

    def flow(self, request: Outgoing) -> Flow[Answer]:
        skew = self._skew  # another caller may correct it before this request is answered
        answer: Answer = yield self._signed(request, skew)
        if answer.status == 401 and self._learns_from(answer, skew):
            answer = yield self._signed(request, self._skew)
        return answer

    def project_id(self) -> Flow[str | None]:
        return None
        yield

    def _signed(self, request: Outgoing, skew: float) -> Outgoing:
        added = ctn1.sign(
            method=request.method,
            target=request.target,
            host=request.address.host,
            body=request.body,
            device_id=self._device_id,
            secret=self._secret,
            timestamp=datetime.fromtimestamp(self._clock.epoch() + skew, UTC),
        )
        return request.with_headers(added.items(), _signature(added), self._secret)

    def _learns_from(self, answer: Answer, used: float) -> bool:
        """Whether a refusal shows that the clock, corrected by `used`, was off by more than the
        server takes."""
        skew = measured_skew(answer, self._clock.epoch())
        tolerance = ctn1.CLOCK_TOLERANCE.total_seconds() - 1
        if skew is None or abs(skew) > LONGEST_SKEW or abs(skew - used) < tolerance:
            return False
        self._skew = skew if abs(skew) >= tolerance else 0.0
        return True

    def __repr__(self) -> str:
        return f"<CTN1 of device {self._device_id}>"


def measured_skew(answer: Answer, epoch: float) -> float | None:
    """How far the server's clock is ahead, in seconds, against the middle of the request.

    None where the answer has no `Date`, or an `Age`: then a cache wrote it, some time ago.
    """
    date = http_date(answer.header("date"))
    if date is None or answer.header("age") is not None:
        return None
    return date - (epoch - answer.elapsed / 2)


# --- AK/SK ----------------------------------------------------------------------------------------


class AkSk:
    """Access key and secret key of Open Telekom Cloud or Huawei Cloud.

    With temporary keys, `security_token` too. Raises `ConfigurationError` for what is empty or not
    text. A refused signature is never tried again: six in a row would lock the keys.
    """

    def __init__(
        self, access_key: str, secret_key: str, *, security_token: str | None = None
    ) -> None:
        secret_key = Secret(secret_key)  # type: ignore[assignment]
        security_token = None if security_token is None else Secret(security_token)  # type: ignore[assignment]
        require(access_key=access_key, secret_key=secret_key)
        if security_token is not None:
            require(security_token=security_token)
        self.access_key = access_key
        self._secret_key: Secret = secret_key  # type: ignore[assignment]
        self._security_token: Secret | None = security_token  # type: ignore[assignment]

    def bind(self, clock: Clock, project_id: str | None) -> AkSkAuth:
        return AkSkAuth(self.access_key, self._secret_key, self._security_token, project_id, clock)

    def __repr__(self) -> str:
        return f"AkSk({vars(self).get('access_key')!r}, '***')"


class AkSkAuth:
    """Signs each request with `Host`, `X-Sdk-Date` and `X-Project-Id`, and nothing more."""

    def __init__(
        self,
        access_key: str,
        secret_key: Secret,
        security_token: Secret | None,
        project_id: str | None,
        clock: Clock,
    ) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._security_token = security_token
        self._project_id = project_id
        self._clock = clock

    def flow(self, request: Outgoing) -> Flow[Answer]:
        answer: Answer = yield self._signed(request)
        return answer

    def project_id(self) -> Flow[str | None]:
        return self._project_id
        yield

    def _signed(self, request: Outgoing) -> Outgoing:
        token = self._security_token
        added = aksk.sign(
            method=request.method,
            target=request.target,
            host=request.address.host,
            headers={},
            body=request.body,
            access_key=self._access_key,
            secret_key=self._secret_key,
            timestamp=datetime.fromtimestamp(math.floor(self._clock.epoch()), UTC),
            project_id=self._project_id,
            security_token=token,
        )
        secrets = [_signature(added), self._secret_key]
        return request.with_headers(added.items(), *secrets, *([token] if token else []))

    def __repr__(self) -> str:
        return f"<AK/SK of {self._access_key}>"
