"""The identity service of Open Telekom Cloud and Huawei Cloud (Keystone v3): passwords."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Self

from opwatch.auth import require_text
from opwatch.auth.endpoint import TokenEndpoint
from opwatch.auth.tokens import DEFAULT_LIFE, Token
from opwatch.environment import arguments, is_set
from opwatch.errors import ConfigurationError, OpwatchError
from opwatch.net.address import address, check_id
from opwatch.net.message import Answer, Request, Secret
from opwatch.reading import any_json, http_date, object_in, parse_time, text

_EITHER = (
    ("domain_name", "user_domain_id"),
    ("project_name", "project_id"),
    ("project_domain_name", "project_domain_id"),
)
"""A name and an ID, of which one is enough."""


class IamPassword(TokenEndpoint):
    """A user name and password for the identity service, for `Apig`.

    `auth_url` ends in `/v3`: `https://iam.eu-de.otc.t-systems.com/v3`. Pass either the project's
    name or its ID, and the user's domain by its name (`domain_name`) or its ID (`user_domain_id`).
    A project's name is looked up in the user's domain, unless `project_domain_name` or
    `project_domain_id` is passed; a project's ID needs no domain.

    The token lasts 24 hours. It is renewed before it expires, or when it is revoked, for example
    because the password or the permissions changed.

    `from_env` reads `OS_AUTH_URL`, `OS_USERNAME`, `OS_PASSWORD`, `OS_USER_DOMAIN_NAME` or
    `OS_USER_DOMAIN_ID`, `OS_PROJECT_NAME` or `OS_PROJECT_ID`, and optionally
    `OS_PROJECT_DOMAIN_NAME` or `OS_PROJECT_DOMAIN_ID`. An ID takes precedence over a name. Raises
    `ConfigurationError` for a missing, empty or non-string argument, and for an address that isn't
    https.
    """

    client = "Apig"
    variables: ClassVar = {
        "auth_url": "OS_AUTH_URL",
        "username": "OS_USERNAME",
        "password": "OS_PASSWORD",
        "domain_name": "OS_USER_DOMAIN_NAME",
        "user_domain_id": "OS_USER_DOMAIN_ID",
        "project_name": "OS_PROJECT_NAME",
        "project_id": "OS_PROJECT_ID",
        "project_domain_name": "OS_PROJECT_DOMAIN_NAME",
        "project_domain_id": "OS_PROJECT_DOMAIN_ID",
    }
    _called = "identity service"
    _advice = "check `auth_url` (OS_AUTH_URL)"
    _credentials = (
        "check the user and password, the user's domain (OS_USER_DOMAIN_NAME or "
        "OS_USER_DOMAIN_ID), the project (OS_PROJECT_NAME or OS_PROJECT_ID), and its domain "
        "(OS_PROJECT_DOMAIN_NAME or OS_PROJECT_DOMAIN_ID; by default the user's)"
    )
    _codes: ClassVar = {
        "Unauthorized": "the credentials were refused",
        "Bad Request": "the token request was invalid",
        "Forbidden": "access was denied",
        "Not Found": "the resource wasn't found",
        "Too Many Requests": "too many requests",
    }
    _texts = (
        "Expecting to find domain in project",
        "Expecting to find domain in user",
        "The request you have made requires authentication.",
        "The username or password is wrong.",
        "Invalid username or password",
    )

    def __init__(
        self,
        auth_url: str,
        username: str,
        password: str,
        *,
        domain_name: str | None = None,
        project_name: str | None = None,
        project_id: str | None = None,
        project_domain_name: str | None = None,
        project_domain_id: str | None = None,
        user_domain_id: str | None = None,
    ) -> None:
        password = secret = Secret(password)  # type: ignore[assignment]
        require_text(auth_url=auth_url, username=username, password=secret)
        self._user_domain = _one_of(domain_name=domain_name, user_domain_id=user_domain_id)
        project = _one_of(project_name=project_name, project_id=project_id)
        domain = self._user_domain
        if project_domain_name is not None or project_domain_id is not None:
            domain = _one_of(
                project_domain_name=project_domain_name, project_domain_id=project_domain_id
            )
        self._scope = project if project_id else {**project, "domain": domain}
        self.username = username
        self.domain_name = domain_name
        self.project_name = project_name
        self.project_id = project_id and check_id(project_id, "project ID", "project_id")
        self._secret = secret
        self._address = address(auth_url, "auth_url")
        if not self._address.prefix.endswith("/v3"):
            self._advice = "check `auth_url` (OS_AUTH_URL): it must end in /v3"

    @classmethod
    def _from_env(cls, *also: str, instead: str = "") -> Self:
        """As `from_env`; an ID takes precedence over a name. `instead` says what else to set."""
        names = dict(cls.variables)
        for name, its_id in _EITHER:
            del names[name if is_set(names[its_id]) else its_id]
        needed = [of for name, of in names.items() if not name.startswith("project_domain")]
        pairs = [pair for pair in _EITHER[:2] if pair[0] in names and not is_set(names[pair[0]])]
        ids = " and ".join(cls.variables[its_id] for _, its_id in pairs)
        hint = f"{ids} can replace the name{'s'[: len(pairs) - 1]}" if ids else ""
        instead = "; ".join(filter(None, (hint, instead)))
        return cls(**arguments(names, *also, *needed, instead=instead))

    def _request(self) -> Request:
        password = self._secret.reveal()
        user = {"name": self.username, "password": password, "domain": self._user_domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = json.dumps({"auth": {"identity": identity, "scope": {"project": self._scope}}})
        headers = [("Content-Type", "application/json;charset=utf8")]
        return self._post(f"{self._address.prefix}/auth/tokens?nocatalog=true", headers, body)

    def _read(self, answer: Answer, epoch: float) -> Token | OpwatchError:
        body = object_in(any_json(answer.body))
        if not answer.is_success:
            error = object_in(body.get("error"))
            return self._refusal(answer, epoch, [error.get("title"), error.get("message")])
        secret = Secret(answer.header("x-subject-token"))
        if secret.fault():
            return self._bad_answer(answer, "has no X-Subject-Token")
        fields = body.get("token")
        if not isinstance(fields, dict):
            return self._bad_answer(answer, "has no token")
        end = parse_time(fields.get("expires_at"))
        now = http_date(answer.header("date")) or epoch
        life = DEFAULT_LIFE if end is None else end.timestamp() - now
        if life <= 0:  # one of the clocks is wrong
            life = DEFAULT_LIFE
        project_id = text(object_in(fields.get("project")).get("id"))
        try:
            project_id = check_id(project_id, "project ID") if project_id else self.project_id
        except ConfigurationError:
            return self._bad_answer(answer, "names a project with an invalid ID")
        return Token(secret, life, {"project_id": project_id} if project_id else {})

    def __repr__(self) -> str:
        known = vars(self)  # empty in a traceback out of the constructor
        project = known.get("project_id") or known.get("project_name")
        domain = next(iter(known.get("_user_domain", {}).values()), None)
        return f"IamPassword({known.get('username')!r}, '***', {domain!r}, {project!r})"


def _one_of(**values: str | None) -> dict[str, Any]:
    """Return the one that was passed as the identity service takes it: `{"name": …}` or
    `{"id": …}`, by the end of its argument's name."""
    given = {name: value for name, value in values.items() if value is not None}
    if len(given) != 1:
        first, second = values
        if given:
            raise ConfigurationError(f"pass `{first}` or `{second}`, not both")
        raise ConfigurationError(f"or `{second}` must be passed", argument=first)
    require_text(**given)
    return {name.rpartition("_")[2]: value for name, value in given.items()}
