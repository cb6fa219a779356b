"""`opwatch progress`: one query for one job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from opwatch.bars import stand
from opwatch.cli import exits, values
from opwatch.cli.clients import blocking
from opwatch.cli.events import Event, line, utcnow
from opwatch.reading import printable
from opwatch.services import names


def ask(words: Sequence[str], *, as_json: bool, env_file: Path | None, verbose: bool) -> int:
    """Ask, print, and give the exit code of what the answer says."""
    jobs = values.jobs(words, names())
    if len(jobs) != 1:
        raise click.UsageError("progress asks for one job; opwatch watch takes several")
    if env_file is not None:
        values.load_environment(env_file)
    if verbose:
        from opwatch.cli.wirelog import log_requests

        log_requests()
    [(service, job_id)] = jobs
    with blocking(service) as client:
        progress = client.progress(job_id)
    if as_json:
        what = Event(kind="progress", service=service, job_id=job_id, time=utcnow(), last=progress)
        print(line(what))
    else:
        print(f"{service} {printable(job_id)} {stand(progress)}")
    return exits.of_phase(progress.phase)
