"""Scripts of simulated jobs: frames, by time or by poll.

A `Frame` is one answer: a state of the job in the words of `Progress`, or something that goes
wrong. A timeline says which frame a poll meets. `Timed` (what a plain list of frames is) goes by
seconds since the job was first polled; `Polls` goes by the number of polls. Either way the last
frame repeats. Plain values; nothing here knows a service or a server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, runtime_checkable

import attrs

from opwatch.errors import ConfigurationError
from opwatch.progress import Fault, Phase


def _phase(value: str | None) -> Phase | None:
    try:
        return None if value is None else Phase(value)
    except ValueError:
        names = ", ".join(Phase)
        raise ConfigurationError(f"unknown phase {value!r}; the phases are {names}") from None


def _frozen(value: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(value))


@attrs.frozen
class Frame:
    """One response of a simulated job. It is one of these:

    - a state of the job: `phase`, with `percent`, `step`, `bytes_processed` and `fault` as in
      `Progress`; each service uses its own name for the phase (`state` overrides it)
    - an error: `error` is the service's own code (Catenis: its message), or pass only `status`; the
      rest of the documented response is filled in
    - `body`: any JSON value that the service's document allows
    - `raw`: any bytes, unchecked: a proxy's HTML, for example
    - `silent`: no response until the simulator stops

    Raises `ConfigurationError` unless it is exactly one of them.
    """

    phase: Phase | None = attrs.field(default=None, converter=_phase)
    at: float = attrs.field(default=0.0, kw_only=True)
    """Seconds after the job was first polled; ignored in `Polls`."""
    times: int | None = attrs.field(default=None, kw_only=True)
    """How many polls get it. None: until the next frame by time; in `Polls`, one."""
    percent: float | None = attrs.field(default=None, kw_only=True)
    step: str | None = attrs.field(default=None, kw_only=True)
    """What the job is doing (iTwin), or which action it is (Catenis: log, send or read)."""
    bytes_processed: int | None = attrs.field(default=None, kw_only=True)
    fault: Fault | None = attrs.field(default=None, kw_only=True)
    """Why it failed; each service has its own reason if none is given."""
    state: str | None = attrs.field(default=None, kw_only=True)
    """The service's name for the state, instead of the one for `phase`."""
    error: str | None = attrs.field(default=None, kw_only=True)
    message: str | None = attrs.field(default=None, kw_only=True)
    """The text of an error, instead of the documented one."""
    status: int | None = attrs.field(default=None, kw_only=True)
    """The HTTP status, instead of the documented one."""
    retry_after: float | timedelta | str | None = attrs.field(default=None, kw_only=True)
    """`Retry-After`: seconds, a timedelta to send it as an HTTP-date, or a string to send
    unchanged."""
    headers: Mapping[str, str] = attrs.field(factory=dict, converter=_frozen, kw_only=True)
    """Headers to add to the response or to replace in it."""
    body: Any = attrs.field(default=None, kw_only=True)
    raw: bytes | None = attrs.field(default=None, kw_only=True)
    cut: bool = attrs.field(default=False, kw_only=True)
    """Close the connection halfway through the response."""
    silent: bool = attrs.field(default=False, kw_only=True)
    lookup: Frame | None = attrs.field(default=None, kw_only=True)
    """The response to a second request in the meantime, instead of the one derived from `phase`: an
    iTwin job, an iTwin v2 job's messages, or an APIG gateway."""

    def __attrs_post_init__(self) -> None:
        kinds = {
            "phase": self.phase is not None,
            "error or status": self.is_refusal,
            "body": self.body is not None,
            "raw": self.raw is not None,
            "silent": self.silent,
        }
        given = [name for name, is_given in kinds.items() if is_given]
        if len(given) != 1:
            raise ConfigurationError(
                f"a frame needs exactly one of: {', '.join(kinds)}; "
                f"it has {' and '.join(given) or 'none'}"
            )
        if self.times is not None and self.times < 1:
            raise ConfigurationError(f"`times` must be a positive integer, not {self.times!r}")

    def __repr__(self) -> str:
        plain = {"phase": self.phase and self.phase.value, "headers": dict(self.headers)}
        values = attrs.asdict(self, recurse=False) | plain
        defaults = {one.name: one.default for one in attrs.fields(Frame)} | {"headers": {}}
        given = (f"{name}={it!r}" for name, it in values.items() if it != defaults[name])
        return f"Frame({', '.join(given)})"

    @property
    def is_refusal(self) -> bool:
        """Whether it is an error of the service, in its envelope."""
        exact = self.body is not None or self.raw is not None or self.phase is not None
        return self.error is not None or (self.status is not None and not exact)

    @property
    def is_state(self) -> bool:
        return self.phase is not None

    @property
    def is_undocumented(self) -> bool:
        """Whether it says on purpose what no document allows: a new state, or an unknown end."""
        return self.state is not None or self.phase in (Phase.ENDED, Phase.UNKNOWN)


@runtime_checkable
class Timeline(Protocol):
    """Which frame a poll meets. Pure: what was met so far is an argument."""

    @property
    def frames(self) -> tuple[Frame, ...]: ...

    def pick(self, elapsed: float, met: Sequence[int]) -> int:
        """The index of the frame at `elapsed` seconds, where frame n was met `met[n]` times."""
        ...

    def start(self, index: int) -> float | None:
        """Seconds to the beginning of that frame; None if it is not by time."""
        ...


def _frames(frames: Iterable[Frame]) -> tuple[Frame, ...]:
    found = tuple(frames)
    if not found or not all(isinstance(frame, Frame) for frame in found):
        raise ConfigurationError(f"a timeline must contain one or more Frames, not {found!r:.200}")
    return found


@attrs.frozen
class Timed(Timeline):
    """Frames by time. A frame with `times` is for that many polls, starting at its time.

    Raises `ConfigurationError` if frames are out of order or have the same time.
    """

    frames: tuple[Frame, ...] = attrs.field(converter=_frames)

    def __attrs_post_init__(self) -> None:
        if self.frames[0].at != 0:
            raise ConfigurationError("the first frame must be at 0")
        lasting = [frame.at for frame in self.frames if frame.times is None]
        if [frame.at for frame in self.frames] != sorted(frame.at for frame in self.frames):
            raise ConfigurationError("the frames must be ordered by time")
        if len(set(lasting)) != len(lasting):
            raise ConfigurationError(
                "two frames have the same time; use Polls for one frame per poll"
            )

    def pick(self, elapsed: float, met: Sequence[int]) -> int:
        reached = [n for n, frame in enumerate(self.frames) if frame.at <= elapsed] or [0]
        for index in reached:
            times = self.frames[index].times
            if times is not None and met[index] < times:
                return index
        lasting = [n for n in reached if self.frames[n].times is None]
        return lasting[-1] if lasting else reached[-1]

    def start(self, index: int) -> float | None:
        return self.frames[index].at


@attrs.frozen
class Polls(Timeline):
    """Frames by poll: each is used for one poll, or for `times` polls; the last one repeats."""

    frames: tuple[Frame, ...] = attrs.field(converter=_frames)

    def pick(self, elapsed: float, met: Sequence[int]) -> int:
        for index, frame in enumerate(self.frames[:-1]):
            if met[index] < (frame.times or 1):
                return index
        return len(self.frames) - 1

    def start(self, index: int) -> float | None:
        return None


Frames: TypeAlias = Timeline | Iterable[Frame] | Frame


def timeline(script: Frames) -> Timeline:
    """Return a timeline, made from a timeline, a list of frames by time, or one frame."""
    if isinstance(script, Timeline):
        return script
    if isinstance(script, Frame):
        return Polls((script,))
    if not isinstance(script, Iterable):
        raise ConfigurationError(f"a timeline must be one or more Frames, not {script!r:.200}")
    return Timed(tuple(script))
