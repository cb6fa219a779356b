"""Events and answers in words: for lines, bars and reports.

Text from a service is made printable here, since it ends up on a terminal or in a log.
"""

from __future__ import annotations

from typing import Any

from opwatch import exits
from opwatch.errors import (
    OpwatchError,
    ServiceError,
    WaitCancelled,
    WaitStalled,
    WaitTimeout,
    in_words,
)
from opwatch.events import Ended, Event, Held, Retrying, Started
from opwatch.progress import Phase, Progress
from opwatch.text import printable

# --- events ---------------------------------------------------------------------------------------


def told(event: Event[Any]) -> str:
    """Return what an event says about its job, without the time."""
    if isinstance(event, Started):
        return started(resumed=event.resumed)
    if isinstance(event, Retrying) and event.error is not None:
        return f"{in_short(event.error)}: {printable(in_words(event.error), 300)}"
    if isinstance(event, Held):
        return held(resumed=event.resumed)
    if isinstance(event, Ended) and event.error is not None:
        words = printable(in_words(event.error), 300)
        return words if words.startswith(event.outcome) else f"{event.outcome}: {words}"
    return stand(event.progress) if event.progress is not None else "no response yet"


def started(*, resumed: bool) -> str:
    return "resumed" if resumed else "watching"


def held(*, resumed: bool) -> str:
    """Return why nothing was sent: a resumed wait isn't due yet, or a rate limit pauses it."""
    return "waiting" if resumed else "paused by a rate limit"


def in_short(error: OpwatchError) -> str:
    """Return an error in a few words, with its status: "rate limited (429)"."""
    phrase = exits.of_error(error).phrase
    status = getattr(error, "status", None)
    return f"{phrase} ({status})" if status else phrase


def says(error: OpwatchError) -> str:
    """Return an error as a line for a shell, without advice that is meant for a program."""
    if isinstance(error, (WaitTimeout, WaitStalled, WaitCancelled)):
        return str(error).removesuffix(f"; {error.advice}")
    return str(error)


def reason(event: Ended[Any]) -> str | None:
    """Return why a job didn't succeed, or None; an interrupt has its own line."""
    if isinstance(event.error, WaitCancelled):
        return None
    if event.error is not None:
        return in_words(event.error)
    if event.progress is None or event.progress.phase is Phase.SUCCEEDED:
        return None
    if event.progress.fault is not None:
        return str(event.progress.fault)
    return "the service does not say how it ended" if event.outcome == "ended" else None


def details(event: Ended[Any]) -> list[str]:
    """Return the details of a service's error: "(404 JobNotFound)", "[request 1]"."""
    if not isinstance(event.error, ServiceError):
        return []
    codes = [str(code) for code in (event.error.status, event.error.code) if code is not None]
    found = [f"({' '.join(codes)})"] if codes else []
    request = event.error.request_id
    return [*found, f"[request {request}]"] if request else found


# --- answers --------------------------------------------------------------------------------------


def stand(progress: Progress[Any]) -> str:
    """Return a job's progress in words: "running, 62 %, Reconstruction"."""
    parts = [str(progress.phase), amount(progress)]
    if progress.step and not progress.phase.is_final:
        parts.append(printable(progress.step, 120))
    if progress.phase is Phase.ENDED:
        parts.append("the service does not say how it ended")
    text = ", ".join(filter(None, parts))
    return f"{text}: {printable(str(progress.fault), 500)}" if progress.fault else text


def amount(progress: Progress[Any]) -> str:
    """Return how much is done, "62 %" or "12.3 kB", or an empty string if that isn't known."""
    if progress.percent is not None:
        return f"{progress.percent:.4g} %"
    return "" if progress.bytes_processed is None else size(progress.bytes_processed)


def size(count: int) -> str:
    """Return a number of bytes in the nearest decimal unit: "12.3 kB"."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """Return a duration like `0:07`, `12:30` or `1:02:03`."""
    minutes, secs = divmod(max(int(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


def shortened(text: str, width: int, gap: str = "…") -> str:
    """Return `text` in `width` characters, cut in the middle, as IDs differ at their ends."""
    if len(text) <= width:
        return text
    kept = width - len(gap)
    head = kept // 2
    return f"{text[:head]}{gap}{text[len(text) - (kept - head) :]}"
