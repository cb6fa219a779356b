"""The status and the body of a response: rows of the table."""

from __future__ import annotations

import json
from collections.abc import Iterable

from fault_plays import (
    BAD,
    BROKEN,
    HEAD_OF_200,
    HEAD_OF_CHUNKED,
    MIB,
    PAGE,
    RIGHT,
    Gives,
    Scenario,
    answer,
    body,
    endless,
    good,
    http,
    just,
    padded,
    then,
)
from fault_server import Peer

from opwatch.errors import (
    AuthenticationError,
    BadResponse,
    NotFound,
    OpwatchError,
    PermissionDenied,
    RateLimited,
    ServiceError,
    Unavailable,
)


def statuses(
    codes: Iterable[int], kind: type[OpwatchError], title: str = "", says: str = ""
) -> Iterable[Scenario]:
    for code in codes:
        empty = code in (204, 304)
        yield Scenario(
            f"status-{code}",
            f"status {code}{title}",
            answer(
                lambda sample, code=code, empty=empty: http(
                    b"" if empty else PAGE, status=code, length=not empty
                )
            ),
            Gives(kind, code, says=says),
        )


def redirects(codes: Iterable[int]) -> Iterable[Scenario]:
    for code in codes:
        yield Scenario(
            f"redirect-{code}",
            f"status {code}, redirecting to another address",
            body(just(PAGE), "Location: http://127.0.0.1:9/elsewhere", status=code),
            Gives(ServiceError, code, says="opwatch doesn't follow"),
        )


DATE = "Mon, 01 Jan 2024 00:00:00 GMT"
LATER = "Mon, 01 Jan 2024 00:01:30 GMT"

STATUS = (
    *statuses((201, 202, 203, 204, 205, 206, 299), BadResponse),
    *redirects((300, 301, 302, 303, 305, 307, 308)),
    *statuses((304,), BadResponse),
    *statuses((400, 402, 405, 406, 409, 410, 418, 422, 431, 451, 499), ServiceError),
    *statuses((401,), AuthenticationError),
    *statuses((403,), PermissionDenied),
    *statuses((404,), NotFound),
    *statuses((408, 425), Unavailable),
    *statuses((429,), RateLimited),
    *statuses((500, 501, 502, 503, 504, 511, 520, 529, 599, 600, 777, 999), Unavailable),
    Scenario(
        "retry-after",
        "status 429 with `Retry-After: 90`",
        body(just(b""), "Retry-After: 90", status=429),
        Gives(RateLimited, 429, 90.0),
    ),
    Scenario(
        "retry-after-date",
        "status 503 with `Retry-After` as a date",
        body(just(b""), f"Date: {DATE}", f"Retry-After: {LATER}", status=503),
        Gives(Unavailable, 503, 90.0),
        note="The date is compared with the response's own `Date`.",
    ),
    Scenario(
        "retry-after-garbage",
        "status 429 with an invalid `Retry-After`",
        body(just(b""), "Retry-After: soon", status=429),
        Gives(RateLimited, 429),
    ),
    Scenario(
        "retry-after-negative",
        "status 429 with a negative `Retry-After`",
        body(just(b""), "Retry-After: -5", status=429),
        Gives(RateLimited, 429),
    ),
    Scenario(
        "error-encoded",
        "status 429 with a body in brotli",
        body(just(b"\x0b\x02\x80"), "Retry-After: 90", "Content-Encoding: br", status=429),
        Gives(RateLimited, 429, 90.0),
    ),
    Scenario(
        "error-too-long",
        "status 503 with a page of 2 MiB",
        body(just(PAGE + b"x" * 2 * MIB), "Retry-After: 90", status=503),
        Gives(Unavailable, 503, 90.0),
    ),
    Scenario(
        "error-cut",
        "status 429 whose body is cut off",
        then(lambda sample: http(PAGE, "Retry-After: 90", status=429)[:-9], Peer.close),
        Gives(RateLimited, 429, 90.0),
    ),
    Scenario(
        "error-silent-in-body",
        "status 503 whose body stalls",
        then(lambda sample: http(PAGE, "Retry-After: 90", status=503)[:-9], Peer.hold),
        Gives(Unavailable, 503, 90.0),
        slow=True,
    ),
    *(
        Scenario(
            f"status-{code}".replace(" ", "-"),
            f"status {code}",
            answer(lambda sample, code=code: http(good(sample), status=code)),
            BROKEN,
        )
        for code in ("000", "099", "1000", "20", "abc", "2OO", "-1")
    ),
)

WORDS = {
    "boom": b'"boom"',
    "null": b"null",
    "list": b"[]",
    "number": b"42",
    "true": b"true",
    "NaN": b"NaN",
}
NESTED = b"[" * 100_000 + b"]" * 100_000
BODY = (
    Scenario("empty", "an empty body", body(just(b"")), BAD),
    Scenario("blank", "a blank body", body(just(b" \r\n\t ")), BAD),
    Scenario("html", "an HTML page with status 200", body(just(PAGE), "X-Portal: yes"), BAD),
    Scenario("text", "text", body(just(b"OK")), BAD),
    *(
        Scenario(f"json-{name}", f"the JSON value `{raw.decode()}`", body(just(raw)), BAD)
        for name, raw in WORDS.items()
    ),
    Scenario("json-empty-object", "the JSON object `{}`", body(just(b"{}")), BAD),
    Scenario(
        "json-foreign",
        "JSON from another service",
        body(just(b'{"message": "hello", "code": 0}')),
        BAD,
    ),
    Scenario(
        "json-listed",
        "the expected response in a list",
        body(lambda sample: b"[" + good(sample) + b"]"),
        BAD,
    ),
    Scenario(
        "json-in-text",
        "the expected response as a JSON string",
        body(lambda sample: json.dumps(good(sample).decode()).encode()),
        BAD,
    ),
    Scenario("json-cut", "truncated JSON", body(lambda sample: good(sample)[:-1]), BAD),
    Scenario(
        "json-trailing",
        "JSON followed by something else",
        body(lambda sample: good(sample) + b"}"),
        BAD,
    ),
    Scenario(
        "json-twice",
        "two JSON objects",
        body(lambda sample: good(sample) + b"\n" + good(sample)),
        BAD,
    ),
    Scenario(
        "json-duplicate-keys",
        "a duplicate name in an object",
        body(lambda sample: sample.body(extra=',"extra":1,"extra":2')),
        BAD,
    ),
    Scenario(
        "json-nested",
        "100,000 nested brackets",
        body(just(NESTED)),
        BAD,
    ),
    Scenario(
        "json-nested-inside",
        "100,000 nested brackets in another field",
        body(lambda sample: sample.body(extra=f',"extra":{NESTED.decode()}')),
        BAD,
    ),
    Scenario(
        "json-nested-objects",
        "100,000 nested objects",
        body(just(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
        BAD,
    ),
    Scenario(
        "json-nested-a-little",
        "200 nested brackets in another field",
        body(lambda sample: sample.body(extra=f',"extra":{"[" * 200 + "]" * 200}')),
        RIGHT,
    ),
    Scenario(
        "json-huge-integer",
        "an integer of 5,000 digits",
        body(lambda sample: sample.body(number="9" * 5000)),
        BAD,
    ),
    Scenario(
        "json-further-fields",
        "undocumented fields",
        body(lambda sample: sample.body(extra=',"extra":{"a":[1,null]}')),
        RIGHT,
    ),
    Scenario(
        "json-surrogate",
        "half a surrogate pair in a string",
        body(lambda sample: sample.body(text='"\\ud800"')),
        RIGHT,
        note="The string can be printed.",
    ),
    Scenario(
        "json-bom", "a byte order mark", body(lambda sample: b"\xef\xbb\xbf" + good(sample)), RIGHT
    ),
    Scenario(
        "utf-16", "UTF-16", body(lambda sample: good(sample).decode().encode("utf-16")), RIGHT
    ),
    Scenario(
        "not-utf-8",
        "bytes that are not UTF-8",
        body(lambda sample: sample.body(text='"M%s"').replace(b"%s", b"\xfc")),
        BAD,
    ),
    Scenario("nul-bytes", "a body of NUL bytes", body(just(b"\0" * 100)), BAD),
    Scenario(
        "content-type-wrong",
        "the expected JSON with another `Content-Type`",
        answer(lambda sample: http(good(sample)).replace(b"application/json", b"text/html")),
        RIGHT,
    ),
    Scenario(
        "content-type-missing",
        "the expected JSON without a `Content-Type`",
        answer(
            lambda sample: http(good(sample)).replace(b"Content-Type: application/json\r\n", b"")
        ),
        RIGHT,
    ),
    Scenario("just-fits", "a response of 1 MiB", body(lambda sample: padded(sample, MIB)), RIGHT),
    Scenario(
        "too-long",
        "a response of 1 MiB and a byte",
        body(lambda sample: padded(sample, MIB + 1)),
        BAD,
    ),
    Scenario(
        "much-too-long", "a response of 2 MiB", body(lambda sample: padded(sample, 2 * MIB)), BAD
    ),
    Scenario(
        "endless",
        "an endless response",
        endless(HEAD_OF_200 + b"\r\n", b"x" * 65536),
        BAD,
        on_trio=True,
    ),
    Scenario(
        "endless-chunks",
        "endless chunks",
        endless(HEAD_OF_CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        BAD,
    ),
)

NUMBERS = (
    *(
        Scenario(
            f"number-{name}",
            f"`{written}` where a number should be",
            body(lambda sample, written=written: sample.body(number=written)),
            RIGHT,
            note="The number is `None`; `wire` has it as received.",
        )
        for name, written in {
            "nan": "NaN",
            "infinite": "Infinity",
            "minus-infinite": "-Infinity",
            "1e999": "1e999",
            "negative": "-1",
            "null": "null",
            "true": "true",
            "list": "[1]",
            "object": "{}",
            "word": '"much"',
        }.items()
    ),
)
