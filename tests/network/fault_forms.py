"""The form of a response, and its encoding: rows of the table."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

from fault_plays import (
    BAD,
    BROKEN,
    CHUNKED,
    HEAD_OF_200,
    HEAD_OF_CHUNKED,
    RIGHT,
    Play,
    Scenario,
    answer,
    body,
    bomb,
    chunks,
    endless,
    good,
    good_answer,
    http,
    just,
    mismeasured,
    then,
)
from fault_server import Peer

FRAMING = (
    Scenario("plain", "a complete response", answer(good_answer()), RIGHT, on_trio=True),
    Scenario(
        "length-missing",
        "the body's length isn't given; closing the connection ends it",
        then(lambda sample: http(good(sample), length=False), Peer.close),
        RIGHT,
        on_trio=True,
    ),
    Scenario(
        "length-missing-cut",
        "the body's length isn't given, and it ends early",
        then(lambda sample: http(good(sample)[:-10], length=False), Peer.close),
        BAD,
    ),
    Scenario(
        "http-1.0",
        "an HTTP/1.0 response",
        then(lambda sample: http(good(sample), version="1.0"), Peer.close),
        RIGHT,
    ),
    Scenario(
        "length-too-short",
        "`Content-Length` is less than what arrives",
        then(mismeasured(-9), Peer.close),
        BAD,
    ),
    Scenario(
        "length-too-long",
        "`Content-Length` is more than what arrives, and the connection is closed",
        then(
            mismeasured(9),
            Peer.close,
        ),
        BROKEN,
    ),
    Scenario(
        "length-too-long-held",
        "`Content-Length` is more than what arrives, and the connection stays open",
        then(
            mismeasured(9),
            Peer.hold,
        ),
        BROKEN,
        slow=True,
    ),
    Scenario(
        "length-twice-the-same",
        "two `Content-Length` headers with the same value",
        answer(lambda sample: http(good(sample), f"Content-Length: {len(good(sample))}")),
        RIGHT,
    ),
    Scenario(
        "length-twice",
        "two `Content-Length` headers with different values",
        answer(lambda sample: http(good(sample), "Content-Length: 1")),
        BROKEN,
    ),
    Scenario(
        "length-negative",
        "`Content-Length` is negative",
        answer(lambda sample: http(good(sample), "Content-Length: -1", length=False)),
        BROKEN,
    ),
    Scenario(
        "length-no-number",
        "`Content-Length` is not a number",
        answer(lambda sample: http(good(sample), "Content-Length: 0x10", length=False)),
        BROKEN,
    ),
    Scenario(
        "length-huge",
        "`Content-Length` is several exabytes",
        then(
            lambda sample: http(good(sample), "Content-Length: 9999999999999999999", length=False),
            Peer.close,
        ),
        BROKEN,
    ),
    Scenario(
        "bytes-after-the-body",
        "more bytes arrive after the end of the response",
        answer(lambda sample: http(good(sample)) + b"\r\nand more"),
        RIGHT,
        note="A later poll never mistakes them for its response.",
    ),
    Scenario(
        "second-answer",
        "a second response that was not requested",
        answer(lambda sample: http(good(sample)) + http(sample.body(number="99"))),
        RIGHT,
        note="A later poll never mistakes it for its own.",
    ),
    Scenario(
        "chunked",
        "the body comes in chunks",
        answer(lambda sample: http(chunks(good(sample)), CHUNKED, length=False)),
        RIGHT,
        on_trio=True,
    ),
    Scenario(
        "chunked-trailers",
        "trailers follow the chunks",
        answer(
            lambda sample: http(
                chunks(good(sample), trailers=b"X-Sum: 1\r\n"), CHUNKED, length=False
            )
        ),
        RIGHT,
    ),
    Scenario(
        "chunked-extensions",
        "the chunks have extensions",
        answer(lambda sample: http(chunks(good(sample), extension=b";a=b"), CHUNKED, length=False)),
        RIGHT,
    ),
    Scenario(
        "chunked-and-length",
        "the body comes in chunks, and there is a `Content-Length`",
        answer(lambda sample: http(chunks(good(sample)), CHUNKED)),
        RIGHT,
    ),
    Scenario(
        "chunked-cut",
        "the last chunk is missing",
        then(
            lambda sample: http(chunks(good(sample))[:-5], CHUNKED, length=False),
            Peer.close,
        ),
        BROKEN,
    ),
    Scenario(
        "chunked-no-size",
        "a chunk's size is not a number",
        answer(lambda sample: http(b"zz\r\n" + good(sample), CHUNKED, length=False)),
        BROKEN,
    ),
    Scenario(
        "chunked-size-too-small",
        "a chunk is longer than its size says",
        answer(
            lambda sample: http(b"5\r\n" + good(sample) + b"\r\n0\r\n\r\n", CHUNKED, length=False)
        ),
        BROKEN,
    ),
    Scenario(
        "chunked-size-huge",
        "a chunk's size has 40 digits",
        answer(lambda sample: http(b"f" * 40 + b"\r\n" + good(sample), CHUNKED, length=False)),
        BROKEN,
    ),
    Scenario(
        "chunked-endless-extension",
        "a chunk's extension never ends",
        endless(HEAD_OF_CHUNKED + b"5;", b"x" * 4096),
        BROKEN,
    ),
    Scenario(
        "chunked-endless-trailers",
        "the trailers never end",
        endless(HEAD_OF_CHUNKED + b"0\r\n", b"X-More: x\r\n" * 100),
        BROKEN,
    ),
    Scenario(
        "transfer-encoding-unknown",
        "a `Transfer-Encoding` that was not requested",
        answer(lambda sample: http(good(sample), "Transfer-Encoding: gzip", length=False)),
        BROKEN,
    ),
    Scenario("http-0.9", "a body without headers or status", then(good, Peer.close), BROKEN),
    Scenario(
        "http-2",
        "the server speaks HTTP/2",
        then(just(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), Peer.hold),
        BROKEN,
    ),
    Scenario(
        "http-2-preface",
        "the server sends an HTTP/2 connection preface",
        then(just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Peer.hold),
        BROKEN,
    ),
    Scenario(
        "garbage",
        "random bytes",
        then(just(bytes(range(256)) * 4), Peer.close),
        BROKEN,
    ),
    Scenario(
        "other-protocol",
        "another protocol's greeting",
        then(just(b"220 mail.invalid ESMTP\r\n"), Peer.close),
        BROKEN,
    ),
    Scenario(
        "no-reason",
        "a status without a reason",
        answer(lambda sample: http(good(sample)).replace(b" Some Reason", b"")),
        RIGHT,
    ),
    Scenario(
        "bare-newlines",
        "lines that end without a carriage return",
        answer(lambda sample: http(good(sample)).replace(b"\r\n", b"\n")),
        RIGHT,
    ),
    Scenario(
        "header-without-colon",
        "a header line without a colon",
        answer(good_answer("what is this")),
        BROKEN,
    ),
    Scenario(
        "header-folded",
        "a header folded over two lines",
        answer(good_answer("X-Folded: a", " b")),
        RIGHT,
    ),
    Scenario("header-nul", "a header with a NUL", answer(good_answer("X-Nul: \0")), BROKEN),
    Scenario(
        "header-not-ascii",
        "a header that is not ASCII",
        answer(good_answer("X-Name: M\xfcller")),
        RIGHT,
    ),
    Scenario(
        "header-name-wrong",
        "a header name with a space",
        answer(good_answer("X Name: a")),
        BROKEN,
    ),
    Scenario(
        "headers-many",
        "a thousand headers",
        answer(good_answer(*(f"X-Filler-{n}: {'x' * 60}" for n in range(1000)))),
        RIGHT,
    ),
    Scenario(
        "header-flood",
        "endless headers",
        endless(HEAD_OF_200, b"X-Filler: x\r\n" * 100),
        BROKEN,
    ),
    Scenario(
        "header-huge",
        "a header of several megabytes",
        endless(HEAD_OF_200 + b"X-Filler: ", b"x" * 65536),
        BROKEN,
    ),
    Scenario(
        "continue-first",
        "`100 Continue` comes before the response",
        answer(lambda sample: b"HTTP/1.1 100 Continue\r\n\r\n" + http(good(sample))),
        RIGHT,
    ),
    Scenario(
        "hints-first",
        "`103 Early Hints` comes before the response",
        answer(lambda sample: b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + http(good(sample))),
        RIGHT,
    ),
    Scenario(
        "continue-only",
        "`100 Continue` comes, and nothing follows it",
        then(just(b"HTTP/1.1 100 Continue\r\n\r\n"), Peer.close),
        BROKEN,
    ),
    Scenario(
        "switching-protocols",
        "`101 Switching Protocols`",
        then(just(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), Peer.hold),
        BROKEN,
    ),
)


def coded(encode: Callable[[bytes], bytes], name: str) -> Play:
    return body(lambda sample: encode(good(sample)), f"Content-Encoding: {name}")


def raw_deflate(data: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(data) + coder.flush()


ENCODING = (
    Scenario("gzip", "gzip, although it was not requested", coded(gzip.compress, "gzip"), RIGHT),
    Scenario(
        "deflate", "deflate, although it was not requested", coded(zlib.compress, "deflate"), RIGHT
    ),
    Scenario(
        "deflate-raw",
        "deflate without the zlib header, as some servers send it",
        coded(raw_deflate, "deflate"),
        RIGHT,
    ),
    Scenario(
        "gzip-members",
        "gzip in several members",
        coded(lambda data: gzip.compress(data[:20]) + gzip.compress(data[20:]), "gzip"),
        RIGHT,
    ),
    Scenario(
        "gzip-and-more",
        "gzip with other bytes after it",
        coded(lambda data: gzip.compress(data) + b"and more", "gzip"),
        BAD,
    ),
    Scenario(
        "deflate-and-more",
        "deflate with other bytes after it",
        coded(lambda data: zlib.compress(data) + b"and more", "deflate"),
        BAD,
    ),
    Scenario("identity", "`Content-Encoding: identity`", coded(bytes, "identity"), RIGHT),
    Scenario(
        "gzip-twice",
        "gzip in gzip",
        coded(lambda data: gzip.compress(gzip.compress(data)), "gzip, gzip"),
        BAD,
    ),
    Scenario("gzip-not", "plain text labelled as gzip", coded(bytes, "gzip"), BAD),
    Scenario(
        "gzip-cut",
        "truncated gzip",
        coded(lambda data: gzip.compress(data)[:-9], "gzip"),
        BAD,
    ),
    Scenario(
        "gzip-sum-wrong",
        "gzip whose checksum is wrong",
        coded(lambda data: gzip.compress(data)[:-8] + b"\0" * 8, "gzip"),
        BAD,
    ),
    Scenario(
        "gzip-bomb",
        "a gzip bomb: 64 KiB that unpacks to 64 MiB",
        body(bomb, "Content-Encoding: gzip"),
        BAD,
    ),
    Scenario("brotli", "brotli", coded(bytes, "br"), BAD),
    Scenario("zstd", "zstd", coded(bytes, "zstd"), BAD),
    Scenario("encoding-unknown", "an unknown encoding", coded(bytes, "rot13"), BAD),
)
