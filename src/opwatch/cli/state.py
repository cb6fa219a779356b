"""The file of `--state`: the state of each wait, so that another run can resume it.

The file is a JSON object: the token of each unfinished wait, the last answer of each finished job,
and the outcome of each wait that ended before its job. During a run, a line is appended for each
change, so a save costs the same for any number of jobs. When the lines outgrow the object, and at
the end of a run, everything is rewritten as one object in a new file, which replaces the old one. A
line that a crash cut off is ignored. Tokens contain no addresses or credentials; even so, only the
owner can read the file. The run that uses it locks it.

A line is also written right before each request. If a run is killed before it saves the answer, the
service was polled nevertheless, so the next run waits as long as it would after an answer.

A finished job isn't polled again: its outcome is repeated. If a wait ended before its job (with a
deadline, a stall, or an error that no retry fixed), only its outcome is saved, and a run that names
the job begins a new wait.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from opwatch import clock as clocks
from opwatch import exits, services
from opwatch.cli.files import limited, refused
from opwatch.cli.values import Job, unknown
from opwatch.core import polling
from opwatch.errors import ConfigurationError, WaitCancelled
from opwatch.events import Ended, Event
from opwatch.net.address import check_id
from opwatch.progress import Fault, Phase, Progress
from opwatch.reading import count, parse_time, percent, text

VERSION = 1
LEAST_JOURNAL = 64 * 1024
"""Bytes of lines after the object up to which it isn't worth rewriting the file."""
logger = logging.getLogger("opwatch")


class StateFile:
    """The waits in a state file; without a path, they are kept in memory only."""

    def __init__(self, path: Path | None) -> None:
        self._path: Path | None = None
        self.tokens: dict[Job, str] = {}
        """The token of each unfinished wait."""
        self.ended: dict[Job, Progress[Any]] = {}
        """The last answer of each finished job."""
        self.stopped: dict[Job, str] = {}
        """The outcome of each wait that ended before its job."""
        self.exists = False
        self._file: BinaryIO | None = None
        self._size = 0
        """Bytes of the object in the file."""
        self._journal = 0
        """Bytes of the lines after it."""
        self._failing = self._must_rewrite = False
        """Whether the next save writes the whole file: the last one failed, or was cut off."""
        if path is not None:
            with refused("read the state file", path):
                self._path = path.resolve()
                self._file = _locked(self._path, path)
                content = limited(self._file, f"the state file {path}") if self._file else b""
            self.exists = self._file is not None
            if self.exists:
                self._read(content, path)

    @property
    def jobs(self) -> list[Job]:
        """The jobs that can be resumed, or whose outcome can be repeated."""
        return [*self.tokens, *self.ended]

    def on_event(self, event: Event[Any]) -> None:
        """Save what an event changes."""
        progress, error = event.progress, event.error
        is_cancelled = isinstance(error, WaitCancelled)
        if isinstance(event, Ended) and error is not None and not is_cancelled:
            self.stops(event.job, event.outcome)
        elif is_cancelled and event.token is not None:  # a poll in flight counts in this one
            self.waits(event.job, event.token)
        elif progress is not None and progress.phase.is_final and event.next_poll_in is None:
            if event.job not in self.ended:
                self.over(event.job, progress)
        elif event.token is not None and event.token != self.tokens.get(event.job):
            self.waits(event.job, event.token)

    def sending(self, job: Job) -> None:
        """Save that a poll is about to be sent."""
        self._save(job, sent=clocks.current.get().epoch())

    def waits(self, job: Job, token: str) -> None:
        """Save the token of a wait."""
        self._forget(job)
        self.tokens[job] = token
        self._save(job, token=token)

    def over(self, job: Job, progress: Progress[Any]) -> None:
        """Save how a job ended."""
        self._forget(job)
        self.ended[job] = progress
        self._save(job, answer=progress.to_dict())

    def stops(self, job: Job, outcome: str) -> None:
        """Save the outcome of a wait that ended before its job."""
        self._forget(job)
        self.stopped[job] = outcome
        self._save(job, stopped=outcome)

    def _forget(self, job: Job) -> None:
        for kept in (self.tokens, self.ended, self.stopped):
            kept.pop(job, None)

    def _save(self, job: Job, **what: Any) -> None:
        """Write a line; a disk that is temporarily full doesn't end a wait of hours."""
        if self._path is None:
            return
        line = (json.dumps(_entry(job, **what)) + "\n").encode()
        is_outgrown = self._journal + len(line) > max(self._size, LEAST_JOURNAL)
        file = self._in_place(self._path)
        try:
            if file is None or is_outgrown or self._must_rewrite:
                self.write()
            else:
                with refused("write the state file", self._path):
                    file.write(line)
                    file.flush()
                self._journal += len(line)
        except ConfigurationError as error:
            if not self._failing:
                logger.warning("%s; the wait continues", error)
            self._failing = self._must_rewrite = True
        else:
            self._failing = False

    def _in_place(self, path: Path) -> BinaryIO | None:
        """Return the open file if the path still names it."""
        try:
            return self._file if self._file is not None and _is(self._file, path) else None
        except OSError:
            return None

    def write(self) -> None:
        """Replace the complete file; raise `ConfigurationError` if it can't be written."""
        if self._path is None:
            return
        content = self._text().encode()
        with refused("write the state file", self._path):
            is_new = os.name == "posix" and self._in_place(self._path) is None
            file = _replace(self._path, content, is_new=is_new)
        self._unlock()
        self._file, self._size, self._journal = file, len(content), 0
        self._must_rewrite, self.exists = False, True

    def close(self) -> None:
        """Rewrite the file as one object, and unlock it."""
        if self._file is not None and self._journal:
            try:
                self.write()
            except ConfigurationError as error:
                logger.warning("%s", error)
        self._unlock()

    def __del__(self) -> None:
        self._unlock()

    def _unlock(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what a full disk didn't take
                file.close()

    def _text(self) -> str:
        waiting = (_entry(job, token=token) for job, token in self.tokens.items())
        ended = (_entry(job, answer=last.to_dict()) for job, last in self.ended.items())
        stopped = (_entry(job, stopped=outcome) for job, outcome in self.stopped.items())
        entries = [json.dumps(entry) for kind in (waiting, ended, stopped) for entry in kind]
        jobs = ",\n  ".join(entries)
        return f'{{\n "opwatch_state": {VERSION},\n "jobs": [\n  {jobs}\n ]\n}}\n'

    # Reading: everything is checked before it is used or shown.

    def _read(self, content: bytes, path: Path) -> None:
        self._must_rewrite = True  # after lines, or half a line, of a run that was killed
        if not content:  # of `mktemp`: opwatch never leaves an empty file
            return
        sent: dict[Job, float] = {}
        known = services.names()
        try:
            for entry in _entries(content.decode("utf-8")):
                self._take(_job(entry, known), entry, sent)
            for job, epoch in sent.items():
                self.tokens[job] = _after_a_lost_answer(job, self.tokens[job], epoch)
        except polling.NewerVersion as error:
            what = f"the state file {path}"
            what = f"a token in {what}" if error.argument else what
            raise ConfigurationError(f"{what} {error.problem}", advice=error.advice) from None
        except _UnknownService as error:
            raise ConfigurationError(f"the state file {path}: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            fix = "use another file, or delete this one"
            raise ConfigurationError(
                f"the state file {path} is damaged ({_why(error)}); {fix}"
            ) from None

    def _take(self, job: Job, entry: dict[str, Any], sent: dict[Job, float]) -> None:
        if "sent" in entry:
            if job in self.tokens:
                sent[job] = _time(entry["sent"])
            return
        sent.pop(job, None)
        self._forget(job)
        if "stopped" in entry:
            if entry["stopped"] not in exits.OUTCOMES:
                raise _Damaged("an outcome that opwatch doesn't know")
            self.stopped[job] = entry["stopped"]
        elif "token" in entry:
            found, _ = polling.load(entry["token"], service=job[0], now=0.0, epoch=0.0)
            if found != job[1]:
                raise _Damaged("a token belongs to another job")
            self.tokens[job] = entry["token"]
        else:
            self.ended[job] = _answer(job, entry["answer"])


def _entry(job: Job, **what: Any) -> dict[str, Any]:
    return {"service": job[0], "job_id": job[1], **what}


class _Damaged(ValueError):
    """What the user is told about a damaged file."""


class _UnknownService(Exception):
    """An entry's service isn't installed; the message names those that are."""


def _entries(content: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of the object, then those of the lines after it."""
    fields, end = json.JSONDecoder().raw_decode(content)
    version = fields["opwatch_state"]
    if type(version) is int and version > VERSION:
        raise polling.NewerVersion(
            f"has format version {version}, but {polling.READS} {VERSION}",
            advice=polling.NEWER,
        )
    if type(version) is not int or version != VERSION:
        raise _Damaged(
            f"format version {version!r:.20}; this version of opwatch reads version {VERSION}"
        )
    yield from fields["jobs"]
    if content[end : end + 1] not in ("", "\n"):
        raise _Damaged("unexpected text after the JSON object")
    *lines, last = content[end:].split("\n")
    if last[:1] not in ("", "{", "\0"):  # not a line that a crash cut off
        raise _Damaged("the last line isn't valid JSON")
    yield from (json.loads(line) for line in lines if line)


def _job(entry: dict[str, Any], known: list[str]) -> Job:
    service, job_id = entry["service"], entry["job_id"]
    if service not in known:
        raise _UnknownService(unknown("service", str(service), known))
    return service, check_id(job_id, "job ID")


def _time(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) < 1e12:
        raise _Damaged("an invalid time")
    return float(value)


def _answer(job: Job, fields: dict[str, Any]) -> Progress[None]:
    """Return the progress that `to_dict` wrote, without the model."""
    fault = fields["fault"]
    phase = Phase(fields["phase"])
    if not phase.is_final:
        raise _Damaged("an unfinished job has no token")
    return Progress(
        service=job[0],
        job_id=job[1],
        phase=phase,
        percent=percent(fields["percent"]),
        step=text(fields["step"]),
        bytes_processed=count(fields["bytes_processed"]),
        fault=None if fault is None else Fault(text(fault["code"]), text(fault["message"])),
        started_at=parse_time(fields["started_at"]),
        finished_at=parse_time(fields["finished_at"]),
        wire=None,
    )


def _after_a_lost_answer(job: Job, token: str, epoch: float) -> str:
    """Return the token of a wait that sent a request at `epoch` and was killed before it ended."""
    _, state = polling.load(token, service=job[0], now=0.0, epoch=epoch)
    state = polling.unanswered(state, 0.0)
    return polling.dump(state, service=job[0], job_id=job[1], now=0.0, epoch=epoch)


def _why(error: Exception) -> str:
    if isinstance(error, ConfigurationError):
        return error.message
    return str(error) if isinstance(error, _Damaged) else "its content isn't what opwatch writes"


# --- the file system ------------------------------------------------------------------------------


def _locked(path: Path, named: Path) -> BinaryIO | None:
    """Open and lock an existing file; None if there is none."""
    while True:
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # reading a device may never end
                raise ConfigurationError(f"the state file {named} is not a regular file")
            file = path.open("r+b")
        except FileNotFoundError:
            return None
        try:
            _lock(file, named)
            if _is(file, path):  # not one that another run has just replaced
                file.seek(0)
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()


def _is(file: BinaryIO, path: Path) -> bool:
    return os.path.samestat(os.fstat(file.fileno()), path.stat())


def _lock(file: BinaryIO, path: Path) -> None:
    """Lock a file until it is closed, which the end of a process does, too."""
    try:
        import fcntl
    except ImportError:  # Windows: nothing keeps two runs apart
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(path) from None
    except OSError:
        return  # the file system has no locks


def _in_use(path: Path) -> ConfigurationError:
    problem = f"the state file {path} is in use by another run of opwatch"
    return ConfigurationError(f"{problem}; stop that run, or use another file")


def _replace(path: Path, content: bytes, *, is_new: bool) -> BinaryIO | None:
    """Write a file beside `path`, to the disk, and put it in its place: all or nothing.

    Return it, open and locked. If it `is_new`, it doesn't replace one that another run has just
    created.
    """
    number, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)  # mode 0600
    file = os.fdopen(number, "r+b")
    try:
        file.write(content)
        file.flush()
        os.fsync(number)
        if os.name == "posix":
            _lock(file, path)
        else:
            file.close()  # Windows renames no open file, so there each save writes a new one
        if not (is_new and _linked(Path(name), path)):
            Path(name).replace(path)
    except BaseException:
        file.close()
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return None if file.closed else file


def _linked(file: Path, path: Path) -> bool:
    """Give a file its name, unless it is taken; False if the file system has no hard links."""
    try:
        path.hardlink_to(file)
    except FileExistsError:
        if path.is_file():
            raise _in_use(path) from None
        raise
    except OSError:
        return False
    file.unlink()
    return True


def _sync_folder(folder: Path) -> None:
    """Make the rename durable, if folders can be opened and synced."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
