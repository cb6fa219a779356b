"""Everything a network or a server may do to one poll, and what the user gets: the one table.

The tests run each scenario for each service, blocking and async; `docs/every-case.md` is
written from the same table. Nothing here sends anything by itself: a scenario is a function that
plays the server's side of a connection."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import attrs
import fault_tls
from fault_bodies import BODY, NUMBERS, STATUS
from fault_forms import ENCODING, FRAMING
from fault_plays import (
    BAD,
    BROKEN,
    HEAD_OF_200,
    PAGE,
    RIGHT,
    Gives,
    Play,
    Scenario,
    answer,
    cut,
    drip,
    endless,
    good,
    good_answer,
    http,
    just,
    padded,
    then,
)
from fault_server import Peer
from fault_services import Sample

from opwatch.errors import TransportError

# --- the table ------------------------------------------------------------------------------------
CONNECTION = (
    Scenario(
        "refused", "no server is listening", None, Gives(TransportError, says="could not connect")
    ),
    Scenario(
        "reset-at-once",
        "the connection is reset as soon as it is opened",
        lambda peer, sample: peer.reset(),
        BROKEN,
    ),
    Scenario(
        "closed-at-once",
        "the connection is closed as soon as it is opened",
        lambda peer, sample: peer.close(),
        BROKEN,
    ),
    Scenario(
        "reset-unanswered",
        "the connection is reset before any response",
        then(just(b""), Peer.reset),
        BROKEN,
        on_trio=True,
    ),
    Scenario(
        "closed-unanswered",
        "the connection is closed before any response",
        then(just(b""), Peer.close),
        BROKEN,
        on_trio=True,
    ),
    Scenario(
        "silent",
        "no response arrives",
        then(just(b""), Peer.hold),
        Gives(TransportError, says="no complete response"),
        slow=True,
        on_trio=True,
    ),
    Scenario(
        "cut-in-status-line",
        "the response is cut off in its first line",
        then(just(b"HTTP/1.1 20"), Peer.close),
        BROKEN,
    ),
    Scenario(
        "cut-in-head",
        "the response is cut off in its headers",
        then(just(HEAD_OF_200), Peer.close),
        BROKEN,
    ),
    Scenario(
        "reset-in-head",
        "the connection is reset during the headers",
        then(just(HEAD_OF_200), Peer.reset),
        BROKEN,
    ),
    Scenario(
        "cut-after-head",
        "the response is cut off after its headers",
        then(just(HEAD_OF_200 + b"Content-Length: 50\r\n\r\n"), Peer.close),
        BROKEN,
    ),
    Scenario(
        "cut-in-body",
        "the response is cut off in its body",
        then(cut(good_answer(), -10), Peer.close),
        BROKEN,
        on_trio=True,
    ),
    Scenario(
        "reset-in-body",
        "the connection is reset during the body",
        then(cut(good_answer(), -10), Peer.reset),
        BROKEN,
        on_trio=True,
    ),
    Scenario(
        "silent-in-body",
        "the response stalls in its body",
        then(cut(good_answer(), -10), Peer.hold),
        Gives(TransportError, says="no complete response"),
        slow=True,
    ),
    Scenario(
        "dripped-head",
        "the headers arrive one byte at a time",
        drip(good_answer("X-Filler: " + "x" * 5000)),
        Gives(TransportError, says="no complete response"),
        slow=True,
        on_trio=True,
    ),
    Scenario(
        "dripped-body",
        "the body arrives one byte at a time",
        drip(lambda sample: http(padded(sample, 5000)), whole_head=True),
        Gives(TransportError, says="no complete response"),
        slow=True,
        on_trio=True,
    ),
    Scenario(
        "dripped-interim-answers",
        "interim responses arrive slowly, one after another",
        drip(just(b"HTTP/1.1 100 Continue\r\n\r\n" * 500)),
        Gives(TransportError, says="no complete response"),
        slow=True,
    ),
    Scenario(
        "endless-interim-answers",
        "interim responses never end",
        endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 100),
        Gives(TransportError, says="no complete response"),
        slow=True,
    ),
)


def over_tls(context: Callable[[], ssl.SSLContext], play: Play) -> Play:
    """The same, once TLS is agreed upon with this certificate."""

    def start(peer: Peer, sample: Sample) -> None:
        peer.start_tls(context())
        play(peer, sample)

    return start


PLAIN = answer(good_answer())
CERTIFICATE = Gives(TransportError, says="certificate")
TLS = (
    Scenario(
        "tls",
        "a complete response over TLS",
        over_tls(fault_tls.good, PLAIN),
        RIGHT,
        https=True,
        on_trio=True,
    ),
    Scenario(
        "tls-untrusted",
        "a certificate from an unknown authority",
        over_tls(fault_tls.untrusted, PLAIN),
        attrs.evolve(CERTIFICATE, is_final=True),
        https=True,
        on_trio=True,
    ),
    Scenario(
        "tls-someone-else",
        "a certificate for another host",
        over_tls(fault_tls.someone_else, PLAIN),
        CERTIFICATE,
        https=True,
        on_trio=True,
    ),
    Scenario(
        "tls-expired",
        "a certificate that has expired",
        over_tls(fault_tls.expired, PLAIN),
        CERTIFICATE,
        https=True,
    ),
    Scenario(
        "tls-to-plain",
        "TLS to a port that doesn't speak it",
        lambda peer, sample: peer.send(http(PAGE, status=400)),
        Gives(TransportError, says="could not connect"),
        https=True,
    ),
    Scenario(
        "plain-to-tls",
        "plain HTTP to a port that speaks TLS",
        over_tls(fault_tls.good, PLAIN),
        BROKEN,
    ),
    Scenario(
        "tls-closed-in-handshake",
        "the connection is closed during the handshake",
        lambda peer, sample: peer.drop_handshake(Peer.close),
        Gives(TransportError, says="could not connect"),
        https=True,
        on_trio=True,
    ),
    Scenario(
        "tls-reset-in-handshake",
        "the connection is reset during the handshake",
        lambda peer, sample: peer.drop_handshake(Peer.reset),
        Gives(TransportError, says="could not connect"),
        https=True,
    ),
    Scenario(
        "tls-silent-in-handshake",
        "the handshake never ends",
        lambda peer, sample: peer.hold(),
        Gives(TransportError, says="could not connect"),
        https=True,
        slow=True,
        on_trio=True,
    ),
    Scenario(
        "tls-dripped-handshake",
        "the handshake arrives one byte at a time",
        lambda peer, sample: peer.drip(b"\x16\x03\x03\x40\x00" + b"\x02" * 500),
        Gives(TransportError, says="could not connect"),
        https=True,
        slow=True,
    ),
    Scenario(
        "tls-silent",
        "no response arrives over TLS",
        over_tls(fault_tls.good, then(just(b""), Peer.hold)),
        Gives(TransportError, says="no complete response"),
        https=True,
        slow=True,
    ),
    Scenario(
        "tls-dripped-body",
        "the body arrives one byte at a time over TLS",
        over_tls(fault_tls.good, drip(lambda sample: http(padded(sample, 5000)), whole_head=True)),
        Gives(TransportError, says="no complete response"),
        https=True,
        slow=True,
        on_trio=True,
    ),
    Scenario(
        "tls-closed-unanswered",
        "the connection is closed before any response over TLS",
        over_tls(fault_tls.good, then(just(b""), Peer.close)),
        BROKEN,
        https=True,
        on_trio=True,
    ),
    Scenario(
        "tls-cut-in-body",
        "the response is cut off in its body over TLS",
        over_tls(fault_tls.good, then(cut(good_answer(), -10), Peer.close)),
        BROKEN,
        https=True,
    ),
    Scenario(
        "tls-reset-in-body",
        "the connection is reset during the body over TLS",
        over_tls(fault_tls.good, then(cut(good_answer(), -10), Peer.reset)),
        BROKEN,
        https=True,
    ),
    Scenario(
        "tls-length-missing-cut",
        "TLS is cut off in a body whose length isn't given",
        over_tls(
            fault_tls.good,
            then(lambda sample: http(good(sample)[:-10], length=False), Peer.close),
        ),
        BAD,
        https=True,
    ),
    Scenario(
        "tls-garbage-in-body",
        "bytes that are not TLS arrive in the body",
        over_tls(
            fault_tls.good, then(cut(good_answer(), -10), lambda peer: peer.send_below_tls(PAGE))
        ),
        BROKEN,
        https=True,
        on_trio=True,
    ),
    Scenario(
        "tls-endless",
        "an endless response over TLS",
        over_tls(fault_tls.good, endless(HEAD_OF_200 + b"\r\n", b"x" * 65536)),
        BAD,
        https=True,
    ),
)

GROUPS: dict[str, tuple[Scenario, ...]] = {
    "The connection": CONNECTION,
    "TLS": TLS,
    "The form of the response": FRAMING,
    "The encoding of the body": ENCODING,
    "The status": STATUS,
    "The body, with status 200": BODY,
    "Numbers": NUMBERS,
}
SCENARIOS = tuple(scenario for group in GROUPS.values() for scenario in group)
