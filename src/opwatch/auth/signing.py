"""Requests that are signed: CTN1 for Catenis, AK/SK for Open Telekom Cloud and Huawei Cloud.

The signatures themselves are pure functions (`ctn1`, `aksk`). This file adds the clock, and handles
refusals: refused credentials are remembered, and never sent again by the same client.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from opwatch.auth import aksk, ctn1, require
from opwatch.auth.flight import Flight, Pilot, Single
from opwatch.auth.tokens import Auth, Credentials, Explain
from opwatch.clock import Clock
from opwatch.errors import ConfigurationError
from opwatch.net.message import Answer, Request, Secret, hidden
from opwatch.reading import http_date

if TYPE_CHECKING:
    from opwatch.core.loop import Turn

LONGEST_SKEW = 86_400.0
"""The most seconds by which a clock is corrected: a `Date` that is further off isn't believed."""


class _Signing(Auth):
    _sign: Callable[..., dict[str, str]]

    def __init__(self, clock: Clock, *secrets: Secret | None, **how: Any) -> None:
        self._clock = clock
        self._secrets = [secret for secret in secrets if secret]
        """The first is the credential that a refusal is about."""
        self._how = how
        """What is passed to `_sign` in addition to the request and the time."""

    def _signed(self, request: Request, skew: float = 0.0) -> Request:
        when = datetime.fromtimestamp(self._clock.epoch() + skew, UTC)
        headers, signature = hidden(self._headers, request, when)
        return request.authenticated(headers, *self._secrets, signature)

    def _headers(self, request: Request, when: datetime) -> tuple[list[Any], Secret]:
        """Return the headers to add, and the signature among them."""
        added = self._sign(
            method=request.method,
            target=request.target,
            host=request.address.host,
            body=request.body,
            timestamp=when,
            **self._how,
        )
        signature = Secret(added["Authorization"].rpartition("Signature=")[2])
        secrets = ("Authorization", "X-Security-Token")
        return [
            (n, Secret(value) if n in secrets else value) for n, value in added.items()
        ], signature


# --- CTN1 -----------------------------------------------------------------------------------------


class Ctn1(Credentials):
    """A Catenis device and its API access secret, for `httpx_auth`; `Catenis` takes them as two
    arguments.

    `from_env` reads `CATENIS_DEVICE_ID` and `CATENIS_API_ACCESS_SECRET`. Raises
    `ConfigurationError` for a missing, empty or non-string credential, and for a device ID that
    isn't 20 letters, digits or underscores.
    """

    client = "Catenis"
    variables: ClassVar = {
        "device_id": "CATENIS_DEVICE_ID",
        "api_access_secret": "CATENIS_API_ACCESS_SECRET",
    }

    def __init__(self, device_id: str, api_access_secret: str) -> None:
        # Neither shows in a traceback: if the two are swapped, the first is the secret.
        device_id = device = Secret(device_id)  # type: ignore[assignment]
        api_access_secret = secret = Secret(api_access_secret)  # type: ignore[assignment]
        require(device_id=device, api_access_secret=secret)
        if not re.fullmatch(r"\w{20}", device.reveal(), re.ASCII):
            problem = "must be 20 letters, digits or underscores"
            raise ConfigurationError(problem, argument="device_id")
        self.device_id: str = device.reveal()
        self._secret = secret

    def __repr__(self) -> str:
        return f"Ctn1({vars(self).get('device_id')!r}, '***')"


_TOLERANCE = ctn1.CLOCK_TOLERANCE.total_seconds() - 1
_CLOCK = "check this machine's clock, which differs from the service's"
_DEVICE = (
    "check the device ID, its API access secret and the environment (sandbox or production); a "
    "reverse proxy in between must preserve the `Host` header, which is signed"
)


class Ctn1Auth(_Signing):
    """Signs each request; corrects this machine's clock once a server has refused it."""

    _sign = staticmethod(ctn1.sign)

    def __init__(self, device: Ctn1, clock: Clock) -> None:
        secret = device._secret
        super().__init__(clock, secret, device_id=device.device_id, secret=secret)
        self._skew = 0.0

    def signed(self, request: Request) -> Request:
        """Return the request, signed now: for a channel, which sends it in another form."""
        return self._signed(request, self._skew)

    async def flow(self, turn: Turn, request: Request, explain: Explain) -> Answer:
        used = self._skew  # another caller may correct it before this request is answered
        answer = await turn.send(self._signed(request, used))
        skew = self._wrong(answer, used)
        if skew is not None and abs(skew) <= LONGEST_SKEW:
            self._skew = used = skew if abs(skew) >= _TOLERANCE else 0.0
            answer = await turn.send(self._signed(request, used))
            skew = self._wrong(answer, used)
        if answer.status == 401:
            error = explain(answer, turn)
            if skew is None:
                raise turn.holds.refuse(self._secrets[0], error, _DEVICE)
            error.advice = _CLOCK  # the secret may be right
            raise error
        return answer

    def _wrong(self, answer: Answer, used: float) -> float | None:
        """Return by how much the clock is wrong if a refusal shows that it was off, corrected by
        `used`, by more than the server accepts."""
        if answer.status != 401:
            return None
        skew = measured_skew(answer, self._clock.epoch())
        return None if skew is None or abs(skew - used) < _TOLERANCE else skew


def measured_skew(answer: Answer, epoch: float) -> float | None:
    """Return how far ahead the server's clock is, in seconds, at the middle of the request.

    None if the answer has no `Date`, or an `Age`: then a cache wrote it some time ago.
    """
    date = http_date(answer.header("date"))
    if date is None or answer.header("age") is not None:
        return None
    return date - (epoch - answer.elapsed / 2)


# --- AK/SK ----------------------------------------------------------------------------------------


class AkSk(Credentials):
    """An access key and secret key for Open Telekom Cloud or Huawei Cloud.

    Temporary keys also have a `security_token`. A refused key pair is never sent again: six
    refusals in a row would lock it for five minutes.

    `from_env` reads `HUAWEICLOUD_SDK_AK`, `HUAWEICLOUD_SDK_SK` and, for temporary keys,
    `HUAWEICLOUD_SDK_SECURITY_TOKEN`. Raises `ConfigurationError` for a missing, empty or non-string
    credential.
    """

    client = "Apig"
    variables: ClassVar = {
        "access_key": "HUAWEICLOUD_SDK_AK",
        "secret_key": "HUAWEICLOUD_SDK_SK",
        "security_token": "HUAWEICLOUD_SDK_SECURITY_TOKEN",
    }
    optional = ("security_token",)

    def __init__(
        self, access_key: str, secret_key: str, *, security_token: str | None = None
    ) -> None:
        secret_key = secret = Secret(secret_key)  # type: ignore[assignment]
        security_token = token = None if security_token is None else Secret(security_token)  # type: ignore[assignment]
        require(access_key=access_key, secret_key=secret)
        if token is not None:
            require(security_token=token)
        self.access_key = access_key
        self._secret_key = secret
        self._security_token = token

    def __repr__(self) -> str:
        return f"AkSk({vars(self).get('access_key')!r}, '***')"


class AkSkAuth(_Signing):
    """Signs each request with `Host`, `X-Sdk-Date` and `X-Project-Id`, and nothing more.

    Until a signature has been accepted, one request is in flight at a time, so that wrong keys are
    sent once and not by sixteen jobs at the same moment; and never more than five in one event
    loop, since keys that are refused six times in a row are locked.
    """

    max_in_flight = 5
    _sign = staticmethod(aksk.sign)

    def __init__(self, keys: AkSk, project_id: str | None, clock: Clock) -> None:
        if project_id is not None:
            require(project_id=project_id)  # it is also sent as a header
        secret, token = keys._secret_key, keys._security_token
        how: dict[str, Any] = {"access_key": keys.access_key, "project_id": project_id}
        how |= {"secret_key": secret, "security_token": token, "headers": {}}
        super().__init__(clock, secret, token, **how)
        what = "the keys and the `security_token`, which expires"
        if token is None:
            what = "the keys (temporary ones also need a `security_token`)"
        what += ", and this machine's clock"
        self._advice = f"check {what}; six refusals in a row lock the keys for five minutes"
        self._is_proven = False
        self._flights: Single[Flight] = Single()

    async def flow(self, turn: Turn, request: Request, explain: Explain) -> Answer:
        while not self._is_proven:
            turn.holds.check_credential(self._secrets[0])
            pilot = Pilot(self._flights)
            if pilot.is_flying:
                try:
                    return await self._send(turn, request, explain)
                finally:
                    pilot.land()
            await turn.io.landing(pilot.flight, turn, "response to the first signed request")
        return await self._send(turn, request, explain)

    async def _send(self, turn: Turn, request: Request, explain: Explain) -> Answer:
        answer = await turn.send(self._signed(request))
        if answer.status == 401:
            error = explain(answer, turn)
            error.transient = False  # a retry would send nothing
            raise turn.holds.refuse(self._secrets[0], error, self._advice, could_lock=True)
        if answer.is_success or answer.status == 404:
            self._is_proven = True
        return answer
