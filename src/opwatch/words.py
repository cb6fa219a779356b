"""Events and answers in words: for lines, bars and reports.

What a service sent is made printable here, since it ends on a terminal or in a log.
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
    """What an event says of its job, without the time."""
    if isinstance(event, Started):
        return "taken up from the state file" if event.resumed else "watched"
    if isinstance(event, Retrying) and event.error is not None:
        return f"{in_short(event.error)}: {printable(in_words(event.error), 300)}"
    if isinstance(event, Held):
        return "not due yet" if event.resumed else "held by a rate limit"
    if isinstance(event, Ended) and event.error is not None:
        return f"{event.outcome}: {printable(in_words(event.error), 300)}"
    return stand(event.progress) if event.progress is not None else "no answer yet"


def in_short(error: OpwatchError) -> str:
    """An error in a few words, with its status: "rate limited (429)"."""
    phrase = exits.of_error(error).phrase
    status = getattr(error, "status", None)
    return f"{phrase} ({status})" if status else phrase


def says(error: OpwatchError) -> str:
    """An error as a line for a person at a shell, who has no use for a program's advice."""
    if isinstance(error, (WaitTimeout, WaitStalled, WaitCancelled)):
        return str(error).removesuffix(f"; {error.advice}")
    return str(error)


def reason(event: Ended[Any]) -> str | None:
    """Why a job did not succeed; an interrupt needs no reason but its own line."""
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
    """What a service's error says besides its reason: "(404 JobNotFound)", "[request 1]"."""
    if not isinstance(event.error, ServiceError):
        return []
    codes = [str(code) for code in (event.error.status, event.error.code) if code is not None]
    found = [f"({' '.join(codes)})"] if codes else []
    request = event.error.request_id
    return [*found, f"[request {request}]"] if request else found


# --- answers --------------------------------------------------------------------------------------


def stand(progress: Progress[Any]) -> str:
    """Where a job stands: "running, 62 %, Reconstruction"."""
    parts = [str(progress.phase), amount(progress)]
    if progress.step and not progress.phase.is_final:
        parts.append(printable(progress.step, 120))
    if progress.phase is Phase.ENDED:
        parts.append("the service does not say how it ended")
    text = ", ".join(filter(None, parts))
    return f"{text}: {printable(str(progress.fault), 500)}" if progress.fault else text


def amount(progress: Progress[Any]) -> str:
    """How much is done, "62 %" or "12.3 kB"; empty if it is not known."""
    if progress.percent is not None:
        return f"{progress.percent:.4g} %"
    return "" if progress.bytes_processed is None else size(progress.bytes_processed)


def size(count: int) -> str:
    """Bytes in the nearest unit of 1000."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    minutes, secs = divmod(max(int(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


def shortened(text: str, width: int, gap: str = "…") -> str:
    """`text` in at most `width` characters: the middle left out, as ids differ at their ends."""
    if len(text) <= width:
        return text
    kept = width - len(gap)
    head = kept // 2
    return f"{text[:head]}{gap}{text[len(text) - (kept - head) :]}"
