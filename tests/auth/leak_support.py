"""Made-up secrets, one for each place where one can be, and everything in which they could show.

Each secret holds a word of its own that no way of quoting changes, among characters that every way
of quoting changes. What is searched for is the beginning of that word: a secret that was cut off
is found too.
"""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import re
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

HERE = str(Path(__file__).parent)

SECRETS = {
    "api access secret": 'x"/+=AppleSecretOfCatenis&<%41\\',
    "client secret": "x/+ =BananaSecretOfOauth&%2B'\"",
    "access token": "x/+=CherryTokenOfOauth~.-",
    "static token": 'x"/+=DamsonTokenOfMine',
    "callable's token": "x'/+=ElderTokenOfCallable",
    "password": 'ä"/\n\\FigsPasswordOfIam& \u2028<🔑>',
    "subject token": "x/+=GrapeTokenOfSubject==",
    "secret key": "x/+=HazelSecretOfKeys&\\",
    "security token": "x/+=IrisTokenOfSecurity==",
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
    """Collects all that was shown, and says where a secret stands in it."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self.signatures: set[str] = set()

    def note(self, where: str, what: object) -> None:
        self._shown.setdefault(what if isinstance(what, str) else repr(what), where)

    def sees(self, where: str, *objects: Any) -> None:
        """An object's texts, and those of what it holds."""
        for one in objects:
            self.note(f"repr of {where}", repr(one))
            self.note(f"str of {where}", str(one))
            self.note(f"format of {where}", format(one))
            self.note(f"% of {where}", "%s %r" % (one, one))  # noqa: UP031
            for name, value in getattr(one, "__dict__", {}).items():
                self.note(f"{name} of {where}", repr(value))

    def hears(self, error: BaseException, *, pickled: bool = True) -> None:
        """Everything an error tracker would send: texts, notes, causes, contexts, frames."""
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
            told = traceback.TracebackException.from_exception(one, capture_locals=True)
            told.stack = traceback.StackSummary.from_list(
                [line for line in told.stack if not line.filename.startswith(HERE)]
            )
            self.note(f"traceback of {kind}", "".join(told.format(chain=False)))
            if pickled:
                self.pickles(kind, one)

    def pickles(self, where: str, one: Any) -> None:
        """What can be pickled; also by value of what it refers to."""
        try:
            data = pickle.dumps(one)
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            self.note(f"refusal to pickle {where}", error)
        else:
            self.note(f"pickle of {where}", data.decode("latin-1"))
            self.note(f"pickled {where}", str(pickle.loads(data)))

    def found(self) -> list[str]:
        """Where which secret was shown."""
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
    """An error, and all that it came from or holds, whether or not it would be printed."""
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
    try:
        return repr(value)
    except Exception as error:  # somebody else's half-made object
        return f"{type(value).__name__}: {error!r}"


class Listening(logging.Handler):
    """Hands everything that any library logs to a witness, at DEBUG."""

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
    """Neither pickled nor copied in depth."""
    for copying in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            copying(one)
