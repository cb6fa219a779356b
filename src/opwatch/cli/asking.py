"""`opwatch progress`: one query for one job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from opwatch.bars import stand
from opwatch.cli import exits, values
from opwatch.cli.clients import blocking
from opwatch.cli.events import Event, Kind, line, utcnow
from opwatch.errors import OpwatchError
from opwatch.progress import Progress
from opwatch.services import names
from opwatch.text import printable


def ask(words: Sequence[str], *, as_json: bool, env_file: Path | None, verbose: bool) -> int:
    """Ask, print, and give the exit code of what the answer says."""
    jobs = values.jobs(words, names())
    if len(jobs) != 1:
        raise click.UsageError("progress asks for one job; opwatch watch takes several")
    if verbose:
        from opwatch.cli.wirelog import log_requests

        log_requests()
    [(service, job_id)] = jobs
    try:
        progress = _progress(service, job_id, env_file)
    except OpwatchError as error:
        if as_json:
            _print("result", service, job_id, error=error)
        raise
    if as_json:
        _print("progress", service, job_id, last=progress)
    else:
        print(f"{service} {printable(job_id)} {stand(progress)}")
    return exits.of_phase(progress.phase)


def _progress(service: str, job_id: str, env_file: Path | None) -> Progress[Any]:
    if env_file is not None:
        values.load_environment(env_file)
    with blocking(service) as client:
        return client.progress(job_id)


def _print(kind: Kind, service: str, job_id: str, **what: Any) -> None:
    print(line(Event(kind=kind, service=service, job_id=job_id, time=utcnow(), **what)))
