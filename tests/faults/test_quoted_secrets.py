"""What an error quotes of a response: everything except possible forms of a secret.

Two rules. A text that happens to contain a short secret stays as it is. Of a 401 or 403, and of any
response of a token endpoint, only documented codes and known texts are quoted, never the body: so
it doesn't matter in which encoding a server echoes what it was sent.
"""

import base64
import html
import logging
import quopri
import traceback
from urllib.parse import quote

import pytest
from faults_support import DEVICE, DRIVERS, Server, answer, outcome

from opwatch import AkSk, ClientCredentials, IamPassword
from opwatch.errors import OpwatchError
from opwatch.testing import Script, reply

# --- a short secret in a text ---------------------------------------------------------------------

TEXT = "the tenant test-stage has not been tested"
SHORT = {
    "itwin token": lambda: DRIVERS["blocking"].clients["itwin"]("test"),
    "itwin callable": lambda: DRIVERS["blocking"].clients["itwin"](lambda: "test"),
    "itwin client secret": lambda: DRIVERS["blocking"].clients["itwin"](
        ClientCredentials("a-client", "test")
    ),
    "catenis": lambda: DRIVERS["blocking"].clients["catenis"](DEVICE, "test"),
    "apig token": lambda: apig("test"),
    "apig key": lambda: apig(AkSk("test", "test", security_token="test")),
    "apig password": lambda: apig(
        IamPassword("https://login.example.com/v3", "test", "test", domain_name="d", project_id="p")
    ),
}


def apig(auth):
    return DRIVERS["blocking"].clients["apig"]("https://apig.example.com", auth, project_id="p")


def saying(text):
    """The errors of all three services at once."""
    return {
        "status": "error",
        "message": text,
        "error": {"code": "SomeCode", "message": text},
        "error_code": "APIC.7000",
        "error_msg": text,
    }


@pytest.mark.parametrize("status", [400, 404, 409, 500])
@pytest.mark.parametrize("which", SHORT)
def test_a_text_that_contains_a_short_secret_stays_as_it_is(which, status):
    """With the password `test`, a message about tests is quoted word by word."""
    token = {"access_token": "test", "token": {"project": {"id": "p"}}}
    fields = saying(TEXT)
    if which.startswith("apig"):
        del fields["error"]  # would be taken for the identity service's form

    def handler(request):
        if request.method == "POST":
            return reply(200, token, {"X-Subject-Token": "test"})
        return reply(status, fields)

    with Script(handler), SHORT[which]() as client, pytest.raises(OpwatchError) as raised:
        client.progress("j")
    assert TEXT in str(raised.value)
    assert "***" not in str(raised.value)


# --- what may be quoted of a refusal --------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "status", "sent", "code"),
    [
        ("itwin", 401, "Unauthorized", "Unauthorized"),
        ("itwin", 401, "HeaderNotFound", "HeaderNotFound"),
        ("itwin", 403, "InsufficientPermissions", "InsufficientPermissions"),
        ("itwin", 401, "KnownToNobody", None),
        ("itwin", 403, "KnownToNobody", None),
        ("apig", 401, "APIG.0301", "APIG.0301"),
        ("apig", 401, "APIC.7102", "APIC.7102"),
        ("apig", 403, "APIC.7106", "APIC.7106"),
        ("apig", 401, "KnownToNobody", None),
        ("apig", 403, "APIC.7106.Nobody", None),
    ],
)
def test_only_documented_codes_of_a_refusal_are_reported(service, status, sent, code):
    """A code of a 401 or 403 shows if a document lists it, and an unknown text never does."""
    words = "a text of nobody's"
    if service == "itwin":
        fields = {"error": {"code": sent, "message": words}}
    else:
        fields = {"error_code": sent, "error_msg": words}
    make = DRIVERS["blocking"].clients["itwin"] if service == "itwin" else apig
    with (
        Script({"": [reply(status, fields)]}),
        make("an-access-token") as client,
        pytest.raises(OpwatchError) as raised,
    ):
        client.progress("j")
    assert (raised.value.code, raised.value.status) == (code, status)
    assert "nobody" not in str(raised.value).lower()


# --- echoes ---------------------------------------------------------------------------------------

ASCII = "Zq7+Xw/9vK=Jb3~Rt5&Ym8*Hd2"
PASSWORD = "pässwörd-Ωmega+Ж7=日本-Straße/ñandú"


def quoted_printable(text):
    return quopri.encodestring(text.encode(), quotetabs=True).decode("ascii").replace("=\n", "")


FORMS = {
    "raw": str,
    "upper case": str.upper,
    "percent": lambda text: quote(text, safe=""),
    "percent, every byte": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "backslash x": lambda text: "".join(f"\\x{byte:02X}" for byte in text.encode()),
    "percent u": lambda text: "".join(f"%u{ord(char):04X}" for char in text),
    "quoted-printable": quoted_printable,
    "base64": lambda text: base64.b64encode(text.encode()).decode("ascii"),
    "base64 of a pair": lambda text: base64.b64encode(f"a-client:{text}".encode()).decode("ascii"),
    "hex": lambda text: text.encode().hex(),
    "cut off": lambda text: text[:12],
    "HTML": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "reversed": lambda text: text[::-1],
}
PLACES = {
    "json": None,
    "html": "<html><body><p>You sent <b>{}</b></p></body></html>",
    "header-like": "GET / HTTP/1.1\r\nAuthorization: Bearer {0}\r\nX-Auth-Token: {0}\r\n\r\n",
}


def fields_of(form):
    """Every documented field of an error, of every service and token endpoint, with the echo."""
    error = {"code": form, "message": form, "title": form, "target": form}
    common = {
        "status": "error",
        "message": form,
        "error_code": form,
        "error_msg": form,
        "request_id": form,
        "error_description": form,
        "error_uri": form,
        "detail": form,
        form: form,
    }
    return [
        common | {"error": {**error, "details": [error]}},
        common | {"error": form},
    ]


def bodies(form):
    """The responses in which a server could echo a form of the secret."""
    for fields in fields_of(form):
        yield answer(0, fields, headers_of(form))
    yield answer(0, form.encode(), headers_of(form))
    for template in (PLACES["html"], PLACES["header-like"]):
        shown = html.escape(form) if "<" in template else form
        yield answer(0, template.format(shown).encode(), headers_of(form))


def headers_of(form):
    """Response headers with the echo, if it can stand in one."""
    if not (form.isascii() and form.isprintable()):
        return []
    names = ["X-Request-Id", "x-correlation-id", "WWW-Authenticate", "X-Error", "Location"]
    return [(name, form) for name in names]


def with_status(response, status):
    return response.replace(b"HTTP/1.1 0 ", f"HTTP/1.1 {status} ".encode(), 1)


def of_itwin(url, secret):
    return "itwin", (secret,), {"base_url": url}


def of_itwins_endpoint(url, secret):
    auth = ClientCredentials("a-client", secret, token_url=f"{url}/token")
    return "itwin", (auth,), {"base_url": url}


def of_basic(url, secret):
    auth = ClientCredentials("a-client", secret, token_url=f"{url}/token", basic=True)
    return "itwin", (auth,), {"base_url": url}


def of_catenis(url, secret):
    return "catenis", (DEVICE, secret), {"base_url": f"{url}/api/0.7"}


def of_apig_token(url, secret):
    return "apig", (url, secret), {"project_id": "a-project"}


def of_apig_key(url, secret):
    keys = AkSk("a-key", secret, security_token=secret + "-of-the-session")
    return "apig", (url, keys), {"project_id": "a-project"}


def of_identity(url, secret):
    auth = IamPassword(f"{url}/v3", "a-user", secret, domain_name="d", project_name="a-project")
    return "apig", (url, auth), {}


REFUSED = [401, 403]
ENDPOINT = [400, 401, 403, 500, 200]
CASES = [
    *((of_itwin, status, ASCII) for status in REFUSED),
    *((of_catenis, status, ASCII) for status in REFUSED),
    *((of_apig_token, status, ASCII) for status in REFUSED),
    *((of_apig_key, status, ASCII) for status in REFUSED),
    *((of_itwins_endpoint, status, ASCII) for status in ENDPOINT),
    *((of_basic, status, ASCII) for status in ENDPOINT),
    *((of_identity, status, ASCII) for status in ENDPOINT),
    *((of_identity, status, PASSWORD) for status in ENDPOINT),
]


class Listening(logging.Handler):
    """Keeps everything that any library logs, at DEBUG."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.heard = []

    def emit(self, record):
        self.heard += [record.getMessage(), repr(record.args), repr(record.msg)]
        if record.exc_info:
            self.heard += traceback.format_exception(*record.exc_info)

    def __enter__(self):
        root = logging.getLogger()
        self._before = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        return self

    def __exit__(self, *what):
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._before)


def shown_by(error):
    """Every text in which an error could show something."""
    waiting, seen = [error], []
    while waiting:
        one = waiting.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        waiting += [one.__cause__, one.__context__]
        yield from (str(one), repr(one), repr(one.args), repr(vars(one)))
        yield from map(repr, getattr(one, "__notes__", []))
        yield from map(str, vars(one).values())
    yield "".join(traceback.format_exception(error))


def pieces(secret, form):
    """What must not show: the echo, its beginning, and the secret's own beginning."""
    echoes = {form, form[:12], html.escape(form)[:12], secret, secret[:12]}
    return {repr(echo)[1:-1].lower() for echo in echoes} | {echo.lower() for echo in echoes}


@pytest.fixture(scope="module")
def echoing():
    """A server that answers whatever a test puts into the list."""
    response = []
    with Server(lambda request: response[0]) as server:
        server.response = response
        yield server


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("make", "status", "secret"),
    CASES,
    ids=[
        f"{make.__name__}-{status}-{'ascii' if secret is ASCII else 'unicode'}"
        for make, status, secret in CASES
    ],
)
def test_no_form_of_a_secret_shows(echoing, make, status, secret, form):
    """Whatever a server echoes, in errors, tracebacks and logs there is no form of the secret."""
    echo = FORMS[form](secret)
    for body in bodies(echo):
        echoing.response[:] = [with_status(body, status)]
        service, args, options = make(echoing.url, secret)
        check(DRIVERS["blocking"], service, args, options, pieces(secret, echo))


@pytest.mark.parametrize("driver", ["asyncio", "trio"])
@pytest.mark.parametrize("make", [of_itwin, of_catenis, of_apig_key, of_identity, of_basic])
def test_no_form_of_a_secret_shows_from_an_async_client(echoing, make, driver):
    """The same of a 401, for async clients."""
    echo = FORMS["base64"](ASCII)
    for body in bodies(echo):
        echoing.response[:] = [with_status(body, 401)]
        service, args, options = make(echoing.url, ASCII)
        check(DRIVERS[driver], service, args, options, pieces(ASCII, echo))


def check(driver, service, args, options, hidden):
    """Ask once, and look for the secret in all that shows."""

    async def scenario(driver):
        client = driver.clients[service](*args, **options)
        async with driver.opened(client):
            return await outcome(driver, client.progress, "j")

    with Listening() as log:
        error = driver.run(scenario)
    assert isinstance(error, OpwatchError)
    for shown in [*shown_by(error), *log.heard]:
        found = [piece for piece in hidden if piece in shown.lower()]
        assert not found, f"{found} in {shown}"
