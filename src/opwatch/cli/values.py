"""Values from the command line: durations, jobs, env files.

Each error is one line that says what is expected. A value in an env file may be a credential, so no
message shows one.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

# --- durations ------------------------------------------------------------------------------------

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def seconds(text: str) -> float:
    """Return `"90s"`, `"15m"`, `"1h30m"` or `"3600"` in seconds; otherwise, raise ValueError."""
    text = text.strip().lower()
    if re.fullmatch(r"\d+(?:\.\d+)?", text, re.ASCII):
        total = float(text)
    elif re.fullmatch(f"(?:{_PART.pattern})+", text, re.ASCII):
        total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    else:
        raise ValueError(text)
    if not math.isfinite(total):
        raise ValueError(text)
    return total


LEAST_DELAY = 1.0
"""The minimum seconds between two polls that the command accepts, to spare the service."""


def duration(ctx: click.Context, param: click.Parameter, value: str) -> float | None:
    """Return an option's value in seconds, or None for "none"."""
    if value.strip().lower() == "none":
        return None
    try:
        return _fitting(seconds(value), 0.0)
    except ValueError:
        raise click.BadParameter(
            f"{value!r:.40} is not a duration; use 90s, 15m, 2h, 1h30m, 7d, 3600, or none for no "
            "limit",
            ctx,
            param,
        ) from None
    except _OutOfRange as error:
        raise click.BadParameter(f"{value!r:.40} is {error}", ctx, param) from None


def delays(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """Return the delays of a schedule in seconds, or None if the option isn't given."""
    if value is None:
        return None
    try:
        return tuple(_fitting(seconds(part), LEAST_DELAY) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{value!r:.80} is not a list of durations like 5s,10s,30s", ctx, param
        ) from None
    except _OutOfRange as error:
        raise click.BadParameter(f"a delay in {value!r:.80} is {error}", ctx, param) from None


class _OutOfRange(Exception):
    """A duration that the option doesn't accept; the message says why."""


def _fitting(total: float, least: float) -> float:
    from opwatch.core.polling import LONGEST  # here, since it costs more than all of --help

    if total < least:
        raise _OutOfRange(f"too short (minimum {least:g}s)")
    if total > LONGEST:
        raise _OutOfRange(f"too long (maximum {LONGEST / 86_400:.0f}d)")
    return total


# --- jobs -----------------------------------------------------------------------------------------

Job = tuple[str, str]
"""A service's name and the ID of one of its jobs."""


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return a shell's completions for a job: the services, as IDs can't be guessed."""
    from opwatch.services import names

    given = ctx.params.get(param.name or "") or ()
    if given and ":" not in given[0]:
        return []
    return [name for name in names() if name.startswith(incomplete)]


def jobs(words: Sequence[str], known: Iterable[str]) -> list[Job]:
    """Return the jobs that `SERVICE ID...` or `SERVICE:ID...` names, in order, without duplicates.

    Raises `click.UsageError` for a service that isn't in `known`, and if an ID is missing.
    """
    services = list(known)
    first, *ids = words
    if ":" in first:
        pairs = [_pair(word, services) for word in words]
    else:
        _check_service(first, services)
        if not ids:
            raise click.UsageError(f"missing job ID after {first!r}")
        pairs = [(first, job_id) for job_id in ids]
        for job_id in ids:
            if job_id.partition(":")[0] in services:
                raise click.UsageError(
                    f"{job_id!r} after {first!r} mixes two forms; "
                    "use SERVICE ID... or SERVICE:ID for every job"
                )
    return list(dict.fromkeys(_checked(pair) for pair in pairs))


def of_spec(spec: Path, ids: Sequence[str]) -> list[str]:
    """Add the service of a spec; return its jobs as `SERVICE:ID`."""
    from opwatch.cli.generating import command

    name = command.added(spec)
    return [f"{name}:{job_id.removeprefix(f'{name}:')}" for job_id in ids]


def _pair(word: str, services: list[str]) -> Job:
    service, colon, job_id = word.partition(":")
    if not colon:
        raise click.UsageError(f"{word!r} has no service; use SERVICE:{word}")
    _check_service(service, services)
    return service, job_id


def _check_service(name: str, services: list[str]) -> None:
    if name not in services:
        raise click.UsageError(unknown("service", name, services))


def _checked(job: Job) -> Job:
    from opwatch.cli.clients import plugin
    from opwatch.errors import ConfigurationError
    from opwatch.net.address import check_id

    parts = plugin(job[0]).id_parts
    try:
        check_id(job[1], "job ID", parts=parts)
    except ConfigurationError as error:
        raise click.UsageError(f"the {job[0]} job ID {error.problem}") from None
    return job


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return a message about an unknown name: similar names, then all names."""
    import difflib

    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.5)
    these = f"did you mean {' or '.join(near)}? The" if near else "the"
    return f"unknown {kind} {name!r:.80}; {these} {kind}s are {', '.join(names)}"


# --- env files ------------------------------------------------------------------------------------

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")
_COMMENT = re.compile(r"[ \t]#")
_BLANK = " \t"
_LARGEST = 1024 * 1024
"""Bytes of a file: a larger one is refused, as a device has no end."""


def load_environment(path: Path) -> None:
    """Set the variables of a file: `NAME=value` lines, `#` comments, quotes around a whole value.

    The file takes precedence over the environment, since the user named it. Raises
    `ConfigurationError` with the number of the first invalid line, and then sets nothing.
    """
    os.environ.update(_variables(re.split(r"\r?\n", _text(path)), path))


def _text(path: Path) -> str:
    from opwatch.cli.files import refused
    from opwatch.errors import ConfigurationError

    with refused("read the env file", path), path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ConfigurationError(f"the env file {path} is larger than {_LARGEST // 1024} KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass  # the error's text contains what was read
    raise ConfigurationError(f"can't read the env file {path}: it is not UTF-8 text")


def _variables(lines: list[str], path: Path) -> dict[str, str]:
    from opwatch.errors import ConfigurationError

    found = {}
    for number, raw in enumerate(lines, 1):
        line = raw.strip(_BLANK)
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or "\0" in line:
            raise ConfigurationError(f"{path}, line {number}: expected NAME=value")
        wrong = _wrong(match[2])
        if wrong is not None:
            raise ConfigurationError(f"{path}, line {number}: {wrong}")
        value = _unquoted(match[2].strip(_BLANK))
        if not _is_encodable(value):
            raise ConfigurationError(
                f"{path}, line {number}: the locale can't encode the value of {match[1]}; "
                "set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
            )
        found[match[1]] = value
    return found


def _wrong(text: str) -> str | None:
    """Return what is wrong with the text after `NAME=`, without quoting it: it may be a secret."""
    value = text.strip(_BLANK)
    if value[:1] in ("'", '"'):
        _, *parts = value.split(value[0])
        if len(parts) == 1:
            return f"the quote {value[0]} is not closed"
        if parts[-1] or any(_COMMENT.match(part) for part in parts[1:]):
            return "unexpected text after the closing quote; put comments on their own lines"
    elif _COMMENT.search(text):
        return (
            "a # after a space doesn't start a comment here; put the comment on its own line, "
            "or quote the value"
        )
    return None


def _is_encodable(value: str) -> bool:
    try:
        os.fsencode(value)
    except UnicodeEncodeError:  # its text contains the value
        return False
    return True


def _unquoted(value: str) -> str:
    return value[1:-1] if value[:1] in ("'", '"') else value
