"""`opwatch progress`: polls one job once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click

from opwatch import clock, exits
from opwatch.cli import complain, values
from opwatch.cli.clients import asynchronous
from opwatch.cli.signals import current, until_signal
from opwatch.client import AsyncClient
from opwatch.errors import ConfigurationError, OpwatchError
from opwatch.events import Ended, Polled
from opwatch.progress import Progress
from opwatch.services import names
from opwatch.text import printable
from opwatch.words import stand


def ask(
    words: Sequence[str],
    *,
    as_json: bool,
    spec: Path | None,
    env_file: Path | None,
    verbose: bool,
) -> int:
    """Poll, print the answer, and return the exit code for it."""
    if spec is not None:
        words = values.of_spec(spec, words)
    jobs = values.jobs(words, names())
    if len(jobs) != 1:
        raise click.UsageError("progress takes one job; use opwatch watch for several")
    if verbose:
        from opwatch.cli.wirelog import log_requests

        log_requests()
    [(service, job_id)] = jobs
    asked: dict[str, Any] = {"service": service, "job_id": job_id}
    try:
        progress = _progress(service, job_id, env_file)
    except OpwatchError as error:
        if as_json:
            asked["attempt"] = int(not isinstance(error, ConfigurationError))  # whether it polled
            print(json.dumps(Ended(error=error, time=_now(), **asked).to_dict()))
        raise
    if progress is None:
        complain("interrupted")
        return exits.INTERRUPTED
    if as_json:
        print(json.dumps(Polled(progress=progress, time=_now(), attempt=1, **asked).to_dict()))
    else:
        print(f"{service} {printable(job_id)} {stand(progress)}")
    return exits.of_phase(progress.phase)


def _now() -> datetime:
    return datetime.fromtimestamp(clock.current.get().epoch(), UTC)


def _progress(service: str, job_id: str, env_file: Path | None) -> Progress[Any] | None:
    """Poll; return None if a signal came first."""
    if env_file is not None:
        values.load_environment(env_file)
    current.get().only_notes()
    return anyio.run(until_signal, partial(_poll, asynchronous(service, {}), job_id))


async def _poll(client: AsyncClient[Any], job_id: str) -> Progress[Any]:
    async with client:
        return await client.progress(job_id)
