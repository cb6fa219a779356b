"""OpenTelemetry, if the program has loaded it: a span for each wait and each request, and metrics.

Nothing is imported before the program itself has imported `opentelemetry.trace`, which it does to
configure it; until then, each call here costs one look into `sys.modules`. Nothing that is raised
there ends a wait. Attributes follow the semantic conventions for HTTP clients. No span contains
a header, a body or a query string.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import lru_cache
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

from opwatch._version import __version__
from opwatch.events import Ended, Event, Retrying, Started
from opwatch.net.address import endpoint
from opwatch.net.message import Request

_NOTHING = nullcontext(SimpleNamespace())


@lru_cache(maxsize=1)
def _instruments(trace: ModuleType) -> SimpleNamespace:
    """Return what is created once."""
    meter = import_module("opentelemetry.metrics").get_meter("opwatch", __version__)
    retries = "Polls that failed and were retried"
    delay = "Time from the end of a job, as reported by its service, to the poll that detected it"
    return SimpleNamespace(
        trace=trace,
        tracer=trace.get_tracer("opwatch", __version__),
        polls=meter.create_counter("opwatch.polls", "{poll}", "Polls made, successful or not"),
        retries=meter.create_counter("opwatch.retries", "{poll}", retries),
        delay=meter.create_histogram("opwatch.detection_delay", "s", delay),
    )


def _loaded() -> SimpleNamespace | None:
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or getattr(trace.__spec__, "_initializing", False):
        return None  # another thread is importing it
    with suppress(Exception):
        return _instruments(trace)
    return None


def is_loaded() -> bool:
    """Return whether anything records telemetry."""
    return "opentelemetry.trace" in sys.modules


def note(event: Event[Any], span: Any) -> Any:
    """Take an event of a wait; return the wait's span, which `Started` begins and `Ended` ends."""
    if (found := _loaded()) is None:
        return span
    about = {"opwatch.service": event.service}
    with suppress(Exception):
        if isinstance(event, Started):
            attributes = about | {"opwatch.job_id": event.job_id, "opwatch.resumed": event.resumed}
            return found.tracer.start_span(f"wait {event.service}", attributes=attributes)
        if isinstance(event, Retrying):
            found.retries.add(1, about | {"error.type": type(event.error).__name__})
        if isinstance(event, Ended):
            _end(found, event, span, about)
    return span


def _end(found: SimpleNamespace, event: Ended[Any], span: Any, about: dict[str, str]) -> None:
    progress = event.progress
    if event.error is None and progress is not None and progress.finished_at is not None:
        late = (event.time - progress.finished_at).total_seconds()
        found.delay.record(max(late, 0.0), about)
    if span is not None:
        span.set_attribute("opwatch.outcome", event.outcome)
        span.set_attribute("opwatch.attempts", event.attempt)
        if event.exit_code and event.error is not None:
            span.set_attribute("error.type", type(event.error).__name__)
        if event.exit_code:
            span.set_status(found.trace.StatusCode.ERROR, event.outcome)
        span.end()


def polled(service: str) -> None:
    """Count a poll, whatever it brought."""
    if (found := _loaded()) is not None:
        with suppress(Exception):
            found.polls.add(1, {"opwatch.service": service})


def inside(span: Any) -> AbstractContextManager[Any]:
    """Make a wait's span the parent of what is sent."""
    if span is None or (found := _loaded()) is None:
        return _NOTHING
    how = {"record_exception": False, "set_status_on_exception": False}
    within: AbstractContextManager[Any] = found.trace.use_span(span, **how)
    return within


def request(request: Request) -> AbstractContextManager[Any]:
    """Return the context manager that a request is sent in; set its `status` to the answer's."""
    if "opentelemetry.trace" in sys.modules and (found := _loaded()) is not None:
        with suppress(Exception):
            host, port = endpoint(request.address)
            span = found.tracer.start_span(
                request.method,
                kind=found.trace.SpanKind.CLIENT,
                attributes={
                    "http.request.method": request.method,
                    "server.address": host,
                    "server.port": port,
                    "url.full": request.address.origin + request.target.partition("?")[0],
                },
            )
            return _traced(found, span)
    return _NOTHING


@contextmanager
def _traced(found: SimpleNamespace, span: Any) -> Iterator[SimpleNamespace]:
    traced, wrong = SimpleNamespace(status=None), None
    try:
        yield traced
    except BaseException as error:
        wrong = type(error).__name__
        raise
    finally:
        with suppress(Exception):
            if traced.status is not None:
                span.set_attribute("http.response.status_code", traced.status)
                wrong = str(traced.status) if traced.status >= 400 else None
            if wrong is not None:
                span.set_attribute("error.type", wrong)
                span.set_status(found.trace.StatusCode.ERROR)
            span.end()
