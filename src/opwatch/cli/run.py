"""`opwatch watch`: from the options to the exit code.

Everything that can be checked is checked before the first poll: services, IDs, credentials, the
state file. `watching` then watches the jobs; this file chooses the output and handles interrupts.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click

from opwatch import bars, exits
from opwatch.cli import complain, values
from opwatch.cli.clients import asynchronous
from opwatch.cli.files import Named, check_target, refused
from opwatch.cli.lines import JsonLines, Lines, Quiet
from opwatch.cli.signals import Interrupt, current, until_signal
from opwatch.cli.state import StateFile
from opwatch.cli.streams import OutputLost
from opwatch.cli.values import Job
from opwatch.cli.watching import Crew, Limits, Sink
from opwatch.client import AsyncClient, Options
from opwatch.core.polling import Schedule
from opwatch.errors import ConfigurationError
from opwatch.events import Event
from opwatch.services import names
from opwatch.text import printable


def run(
    words: Sequence[str],
    *,
    timeout: float | None,
    stall_timeout: float | None,
    schedule: tuple[float, ...] | None,
    given: Sequence[str] = (),
    state: Path | None,
    as_json: bool,
    quiet: bool,
    report: Path | None,
    env_file: Path | None,
    no_color: bool,
    verbose: bool,
    spec: Path | None = None,
) -> int:
    """Watch, and return the exit code of all jobs.

    `given` names those of the options `timeout`, `stall_timeout` and `schedule` that were set on
    the command line: a wait resumed from a state file ignores them, and a message says so.
    """
    if as_json and quiet:
        raise click.UsageError("--json and --quiet can't be used together")
    if env_file is not None:
        values.load_environment(env_file)
    for option, path in (("--state", state), ("--report", report)):
        if str(path) == "-":
            raise click.UsageError(f"{option} must be a file name, not '-'")
    read: tuple[Named, ...] = ("the env file", env_file), ("the spec", spec)
    check_target("--state", state, *read)
    check_target("--report", report, *read, ("the state file", state))
    if spec is not None:
        words = values.of_spec(spec, words)
    current.get().only_notes()
    kept = StateFile(state)
    again = _command(state, env_file, spec)
    jobs = _jobs(words, kept, state, again)
    others = [] if words else [exits.of_outcome(outcome) for outcome in kept.stopped.values()]
    if not jobs:
        return exits.of_all(others)
    if verbose:
        from opwatch.cli.wirelog import log_requests

        log_requests()
    clients = _clients(sorted({name for name, _ in jobs}), _options(schedule))
    kept.write()
    _say_what_is_ignored(given, [job for job in jobs if job in kept.tokens])
    sinks = [shown(as_json=as_json, quiet=quiet, color=not no_color)]
    if report is not None:
        sinks.append(Report(report))
    crew = Crew(kept, *sinks)
    resume = (
        "run the same command to start over; to be able to resume, use --state FILE from the start"
    )
    if state is not None:
        resume = f"to resume: {shlex.join(again)}"
    code = watch(crew, jobs, clients, Limits(timeout, stall_timeout), resume)
    return exits.of_all([code, *others])


def _clients(services: Sequence[str], options: Options) -> dict[str, AsyncClient[Any]]:
    """Return a client for each service; a single error names everything that is missing."""
    found, problems = {}, []
    for name in services:
        try:
            found[name] = asynchronous(name, options)
        except ConfigurationError as error:
            problems.append(str(error))
    if problems:
        raise ConfigurationError("; ".join(problems))
    return found


def _jobs(
    words: Sequence[str], kept: StateFile, state: Path | None, again: Sequence[str]
) -> list[Job]:
    known = names()
    if words:
        return values.jobs(words, known)
    if state is None:
        raise click.UsageError(
            "no jobs given; pass SERVICE ID..., or --state FILE from an earlier run"
        )
    if not kept.exists:
        raise click.UsageError(
            f"the state file {state} doesn't exist; pass SERVICE ID... to create it"
        )
    if not kept.jobs and not kept.stopped:
        raise click.UsageError(f"the state file {state} contains no jobs; pass SERVICE ID...")
    if kept.stopped:
        complain(f"these waits have ended and won't be resumed: {_stopped(kept, again)}")
    for service, _ in kept.jobs:
        if service not in known:
            raise ConfigurationError(values.unknown("service", service, known))
    return kept.jobs


def _stopped(kept: StateFile, again: Sequence[str]) -> str:
    """Return which waits ended before their jobs, and how to begin them again."""
    jobs = [f"{service}:{job_id}" for service, job_id in kept.stopped]
    ends = [
        f"{service} {printable(job_id)} {outcome}"
        for (service, job_id), outcome in kept.stopped.items()
    ]
    return f"{', '.join(ends)}; to watch them again: {shlex.join([*again, *jobs])}"


def _say_what_is_ignored(given: Sequence[str], resumed: Sequence[Job]) -> None:
    """Report options that resumed waits ignore: a resumed wait keeps its own limits."""
    if given and resumed:
        *first, last = given
        what = f"{', '.join(first)} and {last} are ignored" if first else f"{last} is ignored"
        complain(f"{what} for {_named(resumed)}: a resumed wait keeps its original options")


def _options(schedule: tuple[float, ...] | None) -> Options:
    return {} if schedule is None else {"schedule": Schedule(schedule)}


def _command(state: Path | None, env_file: Path | None, spec: Path | None) -> list[str]:
    """Return the command that resumes the jobs of the state file.

    It has FILE in place of what can be read only once, such as a pipe.
    """
    words = ["opwatch", "watch"] if state is None else ["opwatch", "watch", "--state", str(state)]
    for option, path in (("--env-file", env_file), ("--spec", spec)):
        if path is not None:
            words += [option, str(path) if path.is_file() else "FILE"]
    return words


# --- output ---------------------------------------------------------------------------------------


class Bars:
    """Progress bars while jobs run, and a table of outcomes at the end."""

    def __init__(self, *, color: bool) -> None:
        self._board = bars.Board()
        self._drawing = bars.Drawing(
            self._board, bars.console(sys.stdout, color=color), leave=False
        )

    def on_event(self, event: Event[Any]) -> None:
        self._board.show(event)
        self._drawing.start()

    def close(self) -> None:
        self._drawing.stop()
        if self._board.rows:
            self._drawing.console.print(self._board.summary())


class Report:
    """Collects the events, and writes a report of them at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._events: list[dict[str, Any]] = []
        with refused("write the report", path):
            if path.is_fifo():  # its reader would get two pages, or there is none
                raise ConfigurationError(f"the report {path} is not a regular file")
        self.close()  # fails before the first poll if the path can't be written

    def on_event(self, event: Event[Any]) -> None:
        self._events.append(event.to_dict())

    def close(self) -> None:
        from opwatch.cli.report import save

        save(self._events, self._path)


def shown(*, as_json: bool = False, quiet: bool = False, color: bool = True) -> Sink:
    """Return the output that was chosen: by default, bars on a terminal, otherwise lines."""
    if as_json:
        return JsonLines(sys.stdout, sys.stderr)
    if quiet:
        return Quiet(sys.stderr)
    return Bars(color=color) if bars.is_live(sys.stdout) else Lines(sys.stdout, sys.stderr)


# --- watching -------------------------------------------------------------------------------------


def watch(
    crew: Crew,
    jobs: list[Job],
    clients: Mapping[str, AsyncClient[Any]],
    limits: Limits,
    resume: str | None = None,
) -> int:
    """Watch until all jobs finish or an interrupt; return the exit code of all jobs.

    `resume` says how to resume after an interrupt if jobs are still running.
    """
    interrupt = current.get()
    interrupt.only_notes()
    try:
        _run(crew, jobs, clients, limits, interrupt)
    except OutputLost:
        if not interrupt.came:  # when a terminal hangs up, output is lost, too
            raise
    if interrupt.came:
        still = f"; {_still_running(crew, jobs)}; {resume}" if resume else ""
        complain(f"interrupted{still}")
        return exits.INTERRUPTED
    return exits.of_all(event.exit_code for event in crew.results.values())


def _run(
    crew: Crew,
    jobs: list[Job],
    clients: Mapping[str, AsyncClient[Any]],
    limits: Limits,
    interrupt: Interrupt,
) -> None:
    try:
        with _warnings_shown():
            anyio.run(until_signal, partial(crew.watch, jobs, clients, limits))
    except KeyboardInterrupt:
        interrupt.came = True
    except BaseExceptionGroup as group:
        raise _leaf(group) from None
    finally:
        crew.close()


def _leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the only exception in a group, or the group if there are several."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        found = found.exceptions[0]
    return found


def _still_running(crew: Crew, jobs: list[Job]) -> str:
    """Return "itwin j1 and 2 more jobs are still running"."""
    left = [
        job
        for job in jobs
        if job not in crew.results or crew.results[job].exit_code == exits.INTERRUPTED
    ]
    if not left:
        return "all waits had already ended"
    return f"{_named(left)} {'is' if len(left) == 1 else 'are'} still running"


def _named(jobs: Sequence[Job]) -> str:
    """Return the first job and the number of others: "itwin j1 and 2 more jobs"."""
    service, job_id = jobs[0]
    name, more = f"{service} {printable(job_id)}", len(jobs) - 1
    return f"{name} and {more} more {'job' if more == 1 else 'jobs'}" if more else name


class _Complaints(logging.Handler):
    """Shows the library's warnings as messages of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(printable(record.getMessage(), 1000))


@contextmanager
def _warnings_shown() -> Iterator[None]:
    handler = _Complaints(logging.WARNING)
    logger = logging.getLogger("opwatch")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
