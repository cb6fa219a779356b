"""What a server echoes of a request's secrets is found, however it is quoted, and nothing else."""

from __future__ import annotations

import html
import itertools
import json
import re
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opwatch.wire import LONGEST_SHOWN, Answer, Secret

QUOTED = {
    "raw": str,
    "json": lambda text: json.dumps(text)[1:-1],
    "json in unicode": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json of php": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "json of go": lambda text: (
        json.dumps(text)[1:-1].replace("&", "\\u0026").replace("<", "\\u003c")
    ),
    "url": lambda text: quote(text, errors="surrogatepass"),
    "url, all of it": lambda text: quote(text, safe="", errors="surrogatepass"),
    "form": lambda text: quote_plus(text, errors="surrogatepass"),
    "html": html.escape,
    "html entities": lambda text: text.encode("ascii", "xmlcharrefreplace").decode("ascii"),
}
TWICE = [*itertools.product(QUOTED, QUOTED)]
LETTERS = st.text("abcXYZ0123456789", min_size=6, max_size=20)
SECRETS = [
    "plain-and.simple_~1",
    "a+b/c=d e~!@#$%^&*()fg",
    "\"quoted\" and 'quoted'",
    "back\\slash\\\\es\\",
    "made%2Bup%2525secret&amp;\\u0041x",
    "<b>&bold</b>&",
    "pässwörd 🔑\n\t\u2028",
]


def erased(text: str, secret: str) -> str:
    return Answer(400, secrets=(Secret(secret),)).erased(text)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("outer", QUOTED)
def test_an_echo_is_found_however_it_is_quoted(outer, secret):
    """In one way of quoting within another."""
    for inner in QUOTED.values():
        left = erased(f"<<{QUOTED[outer](inner(secret))}>>", secret)
        assert "***" in left
        assert not any(letters in left for letters in re.findall(r"[a-zA-Z0-9]{4,}", secret))


@st.composite
def secrets(draw, alphabet):
    """Letters enough, and anything among them."""
    pieces = draw(st.lists(LETTERS, min_size=1, max_size=3))
    return "".join(draw(st.text(alphabet, max_size=4)) + piece for piece in pieces)


PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126)


@given(secrets(PRINTABLE) | secrets(st.characters()), st.sampled_from(TWICE))
def test_any_secret_is_found(secret, ways):
    """Whatever characters it has beside its letters, also those that are no text."""
    inner, outer = ways
    left = erased(f"before <{QUOTED[outer](QUOTED[inner](secret))}> after", secret)
    assert left.startswith("before <")
    assert left.endswith("> after")
    assert not any(piece in left for piece in secret.split() if len(piece) >= 6)


@given(st.text(min_size=1), st.sampled_from([name for name in QUOTED if name != "html entities"]))
def test_any_password_is_found(secret, way):
    """Also a short one, or one without letters, in each single way of quoting."""
    left = erased(f"<{QUOTED[way](secret)}>", secret).replace("***", "")
    assert secret not in left or secret in "<>"


@given(st.text(), st.text("abcdefgh", min_size=8))
def test_other_text_stays_as_it_is(text, secret):
    """What is no echo is not touched."""
    assert erased(text, secret + "ijk") == text


def test_only_the_echo_is_replaced():
    """What stands before and after it stays, quoted as it is."""
    text = 'a %41 "made\\/up+token%3D" &amp; b'
    assert erased(text, "made/up+token=") == 'a %41 "***%3D" &amp; b'


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_an_echo_in_another_encoding_is_found(encoding):
    """A password that was read wrongly on the way."""
    raw = "pässwörd".encode(encoding)
    for echo in (raw.decode("utf-8", "replace"), raw.decode("latin-1")):
        assert erased(f"before:{echo}:after", "pässwörd") == "before:***:after"


def test_the_longest_secret_is_taken_out_first():
    """One that is part of another leaves no end of the other behind."""
    known = (Secret("made-up"), Secret("made-up-and-longer"), Secret("made"))
    answer = Answer(400, secrets=known)
    assert answer.erased("made-up-and-longer made-up made") == "*** *** ***"


def test_a_short_secret_is_not_looked_for_in_an_answer_not_read_yet():
    """A token `t` of somebody's test must not turn `true` into nonsense; in words it is erased."""
    answer = Answer(200, body=b'{"done": true}', secrets=(Secret("t"), Secret("true-and-longer")))
    assert answer.redacted() is answer
    assert answer.erased("token t") == "***oken ***"


def test_an_answer_is_redacted_byte_by_byte():
    """The rest of its bytes stay as they are, text or not."""
    body = b'\xff{"step": "made-up-token", "\xc3\xa9": 1}\x00'
    answer = Answer(200, body=body, secrets=(Secret("made-up-token"),))
    assert answer.redacted().body == body.replace(b"made-up-token", b"***")


@pytest.mark.parametrize("secret", SECRETS[:-1])
@pytest.mark.parametrize("inner", ["raw", "url, all of it", "html"])
@pytest.mark.parametrize("outer", ["json", "json in unicode", "json of php"])
def test_an_echo_in_a_good_answer_is_found(inner, outer, secret):
    """In JSON, and in JSON within JSON: in a failed job's message, a step, a state."""
    echo = QUOTED[outer](QUOTED[inner](secret))
    body = f'{{"step": "{echo}", "percentage": 7}}'
    answer = Answer(200, body=body.encode(), secrets=(Secret(secret),))
    assert answer.redacted().body == b'{"step": "***", "percentage": 7}'
    again = Answer(200, body=json.dumps(body).encode(), secrets=(Secret(secret),))
    assert json.loads(json.loads(again.redacted().body))["percentage"] == 7
    if inner == "raw":
        assert json.loads(json.loads(again.redacted().body))["step"] == "***"


@pytest.mark.parametrize("before", range(0, LONGEST_SHOWN * 3, 611))
def test_an_echo_that_is_cut_off_leaves_no_beginning(before):
    """A long token, echoed again and again up to where the answer is cut off."""
    token = "x".join(f"{n:05d}" for n in range(500))
    left = erased("-" * before + f"{token} " * 60, token)
    assert left.replace("***", "").strip("- ") == ""
    assert left.startswith("-" * before + "*** *** ***")


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("\\" * 200, "\\" * 1_000_000),
        ("%25" * 60, "%25" * 300_000),
        ("&amp;" * 60, "&amp;" * 200_000),
        ("a&" * 3000, "a&amp;amp;" * 100_000),
        ("a" * 3000, "a" * 1_000_000),
        ("é" * 100, "\ufffd" * 1_000_000),
    ],
)
def test_no_answer_makes_the_search_take_long(secret, text):
    """Nor does a hostile one: a millionfold echo is searched in the time of a beginning."""
    began = time.process_time()
    erased(text, secret)
    assert time.process_time() - began < 10
