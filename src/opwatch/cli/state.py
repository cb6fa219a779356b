"""The state file of `--state`: where each wait stands, so that another run can continue with it.

One JSON file holds the token of each unfinished wait and the last answer of each job that is
over. It is written whole after every query, beside the old one and then put in its place, so a
crash at any moment leaves the old one or the new one. A token holds no address and no credential;
the file is still readable by its owner alone.

A job that is over is not asked for again: its outcome is repeated. Of a wait that ended by itself
(deadline, stall, an error that no retry fixed) only that is kept: a run that names the job begins
a new wait.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from opwatch.cli.events import answer, from_answer
from opwatch.cli.values import Job
from opwatch.core import polling
from opwatch.errors import ConfigurationError
from opwatch.progress import Progress

VERSION = 1
logger = logging.getLogger("opwatch")


class StateFile:
    """The waits that a file holds; without a path it only remembers."""

    def __init__(self, path: Path | None) -> None:
        self._path = path.resolve() if path is not None else None
        self.tokens: dict[Job, str] = {}
        """The token of each unfinished wait."""
        self.ended: dict[Job, Progress[Any]] = {}
        """The last answer of each job that is over."""
        self.stopped: dict[Job, str] = {}
        """How each wait ended that ended without the job's end."""
        self._failing = False
        if self._path is not None:
            self._read(self._path)

    @property
    def exists(self) -> bool:
        return self._path is not None and self._path.exists()

    @property
    def jobs(self) -> list[Job]:
        """Those that there is something to say of without beginning again."""
        return [*self.tokens, *self.ended]

    def waits(self, job: Job, token: str) -> None:
        """Note where a wait stands."""
        self.stopped.pop(job, None)
        self.tokens[job] = token
        self._save()

    def over(self, job: Job, progress: Progress[Any]) -> None:
        """Note how a job ended."""
        self.tokens.pop(job, None)
        self.stopped.pop(job, None)
        self.ended[job] = progress
        self._save()

    def stops(self, job: Job, outcome: str) -> None:
        """Note that a wait ended by itself, and how."""
        self.tokens.pop(job, None)
        self.stopped[job] = outcome
        self._save()

    def _save(self) -> None:
        """As `write`; a disk that is full for a while does not end a wait of hours."""
        try:
            self.write()
        except ConfigurationError as error:
            if not self._failing:
                logger.warning("%s; the watching continues", error)
            self._failing = True
        else:
            self._failing = False

    def write(self) -> None:
        """Put the file in its place; `ConfigurationError` where it cannot be written."""
        if self._path is None:
            return
        try:
            _replace(self._path, self._text())
        except OSError as error:
            raise ConfigurationError(
                f"cannot write the state file {self._path}: {error.strerror}"
            ) from None

    def _text(self) -> str:
        waiting = [
            {"service": service, "job_id": job_id, "token": token}
            for (service, job_id), token in self.tokens.items()
        ]
        ended = [
            {"service": service, "job_id": job_id, "answer": answer(progress)}
            for (service, job_id), progress in self.ended.items()
        ]
        stopped = [
            {"service": service, "job_id": job_id, "stopped": outcome}
            for (service, job_id), outcome in self.stopped.items()
        ]
        jobs = [*waiting, *ended, *stopped]
        return json.dumps({"opwatch_state": VERSION, "jobs": jobs}, indent=1)

    def _read(self, path: Path) -> None:
        if path.exists() and not path.is_file():  # a device may be read without end
            raise ConfigurationError(f"the state file {path} is not a regular file")
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigurationError(
                f"cannot read the state file {path}: {error.strerror}"
            ) from None
        except UnicodeDecodeError:
            text = ""
        try:
            for entry in _entries(text):
                self._take(entry)
        except polling.NewerVersion as error:
            what = "a token in it" if error.argument else "it"
            raise ConfigurationError(
                f"the state file {path}: {what} {error.problem}", advice=error.advice
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigurationError(
                f"damaged state file {path} ({_why(error)}); delete it to start again"
            ) from None

    def _take(self, entry: dict[str, Any]) -> None:
        job = (str(entry["service"]), str(entry["job_id"]))
        if "stopped" in entry:
            self.stopped[job] = str(entry["stopped"])
            return
        if "token" not in entry:
            progress = from_answer(*job, entry["answer"])
            if not progress.phase.is_final:
                raise ValueError("a job without a token is not over")
            self.ended[job] = progress
            return
        found, _ = polling.load(entry["token"], service=job[0], now=0.0, epoch=0.0)
        if found != job[1]:
            raise ValueError("a token is of another job")
        self.tokens[job] = entry["token"]


def _entries(text: str) -> list[dict[str, Any]]:
    fields = json.loads(text)
    version = fields["opwatch_state"]
    if type(version) is int and version > VERSION:
        raise polling.NewerVersion(
            f"has version {version}; this opwatch reads version {VERSION}", advice=polling.NEWER
        )
    if version != VERSION:
        raise ValueError(f"version {version!r:.20}, this opwatch reads version {VERSION}")
    entries: list[dict[str, Any]] = fields["jobs"]
    return entries


def _why(error: Exception) -> str:
    if isinstance(error, ConfigurationError):
        return error.message
    if type(error) is ValueError:
        return str(error)
    return "not what opwatch writes"


def _replace(path: Path, text: str) -> None:
    """Write a file beside `path`, to the disk, and put it in its place: all or nothing."""
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the renaming last; only POSIX opens folders."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
