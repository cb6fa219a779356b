"""Made-up secrets, one for each place where one can be, and everything in which they could show.

Each secret contains a word of its own that no encoding changes, among characters that encodings do
change. The search is for the beginning of that word, so that a secret that was cut off is found.
"""

from __future__ import annotations

import base64
import copy
import gc
import logging
import pickle
import re
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType, TracebackType
from typing import Any, Self

import pytest
from rich.pretty import pretty_repr

from opwatch import net
from opwatch.net.blocking import Transport
from opwatch.net.message import Answer, Request

HERE = str(Path(__file__).parent)

SECRETS = {
    # What a service is sent begins with plain characters: an excerpt that holds them isn't shown.
    "api access secret": 'AppleSecretOfCatenis"/+=&<%41\\',
    "access token": "CherryTokenOfOauth/+=~.-",
    "static token": 'DamsonTokenOfMine"/+=',
    "callable's token": "ElderTokenOfCallable'/+=",
    "subject token": "GrapeTokenOfSubject/+==",
    "secret key": "HazelSecretOfKeys/+=&\\",
    "security token": "IrisTokenOfSecurity/+==",
    # Nothing that a token endpoint says is quoted.
    "client secret": "x/+ =BananaSecretOfOauth&%2B'\"",
    "password": 'ä"/\n\\FigsPasswordOfIam& \u2028<🔑>',
    "continuation token": "x/+=JuniperTokenOfReading==",
    "misplaced secret": "KumquatSecretMisplaced",
}
WORDS = {
    name: word
    for name, text in SECRETS.items()
    for word in re.findall(r"[A-Z][a-z]+(?:Secret|Token|Password)", text)
}
PAIR = base64.b64encode(b"a-client:" + b"x%2F%2B%20%3DBananaSecret").decode("ascii")[:40]
"""What every Basic authentication of the client begins with."""
SIGNATURE = re.compile(r"Signature=([0-9a-f]{64})")


class Witness:
    """Collects everything that was shown, and finds the secrets in it."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self.signatures: set[str] = set()

    def note(self, where: str, what: object) -> None:
        self._shown.setdefault(what if isinstance(what, str) else repr(what), where)

    def sees(self, where: str, *objects: Any) -> None:
        """Note the texts of objects, and those of their attributes."""
        for one in objects:
            self.note(f"repr of {where}", repr(one))
            self.note(f"str of {where}", str(one))
            self.note(f"format of {where}", format(one))
            self.note(f"% of {where}", "%s %r" % (one, one))  # noqa: UP031
            for name, value in getattr(one, "__dict__", {}).items():
                self.note(f"{name} of {where}", repr(value))

    def inspects(self, client: Any) -> None:
        """Note the texts of a client and of every object of ours that it is made of."""
        for part in parts(client):
            self.sees(type(part).__name__, part)

    def hears(self, error: BaseException, *, pickled: bool = True) -> None:
        """Note what an error tracker would send: texts, notes, causes, contexts, frames."""
        for one in chain(error):
            kind = type(one).__name__
            self.sees(kind, one)
            self.note(f"args of {kind}", one.args)
            self.note(f"notes of {kind}", getattr(one, "__notes__", ""))
            for frame, _ in traceback.walk_tb(one.__traceback__):
                if not frame.f_code.co_filename.startswith(HERE):
                    for name, value in frame.f_locals.items():
                        where = f"{name} in {frame.f_code.co_qualname} under {kind}"
                        self.note(where, represented(value))
            told = traceback.TracebackException.from_exception(one)
            told.stack = traceback.StackSummary.from_list(
                [line for line in told.stack if not line.filename.startswith(HERE)]
            )
            self.note(f"traceback of {kind}", "".join(told.format(chain=False)))
            if pickled:
                self.pickles(kind, one)

    def pickles(self, where: str, one: Any) -> None:
        """Note the pickle, and the texts of what it is unpickled to."""
        try:
            data = pickle.dumps(one)
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            self.note(f"refusal to pickle {where}", error)
        else:
            self.note(f"pickle of {where}", data.decode("latin-1"))
            self.note(f"pickled {where}", str(pickle.loads(data)))

    def found(self) -> list[str]:
        """Return which secret was shown where."""
        words = WORDS | {"Basic pair": PAIR}
        words |= {f"signature {text[:4]}": text[:20] for text in self.signatures}
        return [
            f"{name} in {where}: ...{text[max(0, text.find(word) - 120) : text.find(word) + 60]}..."
            for text, where in self._shown.items()
            for name, word in words.items()
            if word in text
        ]

    def __len__(self) -> int:
        return len(self._shown)


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it came from or contains, even if that would not be printed."""
    seen: dict[int, BaseException] = {}
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen[id(one)] = one
            inner: Iterable[BaseException] = getattr(one, "exceptions", ())
            waiting += [more for more in (one.__cause__, one.__context__, *inner) if more]
    yield from seen.values()


def represented(value: object) -> str:
    """Return a local variable as error reports show it: its repr, and what is in a collection or an
    attrs object, whatever that's own repr says."""
    inside = value
    if isinstance(value, (Mapping, tuple)):  # as Sentry does
        inside = dict(value) if isinstance(value, Mapping) else [*value]
    try:
        return f"{value!r}\n{pretty_repr(inside, max_depth=8)}"
    except Exception as error:  # an object of another library that is not complete
        return f"{type(value).__name__}: {error!r}"


class Listening(logging.Handler):
    """Shows a witness everything that any library logs, at DEBUG."""

    def __init__(self, witness: Witness) -> None:
        super().__init__(logging.DEBUG)
        self._witness = witness
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        self._witness.note(f"log of {record.name}", record.getMessage())
        self._witness.note(f"log record of {record.name}", repr(vars(record)))
        if record.exc_info and record.exc_info[1] is not None:
            self._witness.hears(record.exc_info[1])

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._before = root.level, root.handlers
        root.handlers = [self]  # those of pytest would format each of thousands of records
        root.setLevel(logging.DEBUG)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        root = logging.getLogger()
        level, root.handlers = self._before
        root.setLevel(level)


def refuses_copies(one: Any) -> None:
    """Check that something can be neither pickled nor copied."""
    for copying in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="can't be pickled"):
            copying(one)


def parts(one: Any) -> Iterator[Any]:
    """Yield an object and every object of opwatch that it refers to."""
    seen: dict[int, Any] = {}
    waiting = [one]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, (type, ModuleType, FunctionType)):
            continue
        seen[id(found)] = found
        if type(found).__module__.partition(".")[0] == "opwatch":
            yield found
        elif not isinstance(found, (dict, list, tuple, set, deque)):
            continue
        waiting += gc.get_referents(found)


@contextmanager
def playing(handler: Callable[[Request], Answer]) -> Iterator[list[Request | Answer]]:
    """Let blocking clients exchange requests with a handler; yield both as they are in the client.

    A `Script` would give its handler the plain credentials.
    """
    exchanged: list[Request | Answer] = []

    class Playing(Transport):
        def send(self, request: Request, end: float) -> Answer:
            try:
                answer = handler(request)
            except BaseException as error:  # as the real one, without the frames below
                raise error.with_traceback(None) from None
            exchanged.extend((request, answer))
            return answer

    before = net.open_blocking.set(Playing)
    try:
        yield exchanged
    finally:
        net.open_blocking.reset(before)
