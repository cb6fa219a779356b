"""The identity service of Open Telekom Cloud and Huawei Cloud (Keystone v3): passwords."""

from __future__ import annotations

import json

from opwatch.auth import require_text
from opwatch.auth.endpoint import TokenEndpoint
from opwatch.auth.tokens import DEFAULT_LIFE, Token
from opwatch.errors import ConfigurationError, OpwatchError
from opwatch.net.address import address, check_id
from opwatch.net.message import Answer, Request, Secret
from opwatch.reading import any_json, http_date, object_in, parse_time, text


class IamPassword(TokenEndpoint):
    """A user of the identity service, for `Apig`.

    `auth_url` ends in `/v3`: `https://iam.eu-de.otc.t-systems.com/v3`. Pass either the project's
    name or its ID. The token lasts 24 hours; it is renewed before it expires, and if it dies
    earlier, as it does when the password or the rights change. Raises `ConfigurationError` for a
    missing, empty or non-string argument, and for an address that isn't https.
    """

    client = "Apig"
    _called = "identity service"
    _advice = "check `auth_url` (OS_AUTH_URL)"
    _codes = frozenset(
        {"Unauthorized", "Bad Request", "Forbidden", "Not Found", "Too Many Requests"}
    )
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
        domain_name: str,
        project_name: str | None = None,
        project_id: str | None = None,
    ) -> None:
        password = secret = Secret(password)  # type: ignore[assignment]
        require_text(auth_url=auth_url, username=username, domain_name=domain_name, password=secret)
        if (project_name is None) == (project_id is None):
            given = "neither" if project_id is None else "both"
            raise ConfigurationError(f"pass `project_name` or `project_id`, not {given}")
        if project_id is None:
            require_text(project_name=project_name)
        else:
            require_text(project_id=project_id)
        self.username = username
        self.domain_name = domain_name
        self.project_name = project_name
        self.project_id = project_id
        self._secret = secret
        self._address = address(auth_url, "auth_url")

    def _request(self) -> Request:
        scope = {"name": self.project_name} if self.project_id is None else {"id": self.project_id}
        domain, password = {"name": self.domain_name}, self._secret.reveal()
        user = {"name": self.username, "password": password, "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = json.dumps({"auth": {"identity": identity, "scope": {"project": scope}}})
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
        life = DEFAULT_LIFE if end is None else max(end.timestamp() - now, 0.0)
        project_id = text(object_in(fields.get("project")).get("id"))
        try:
            project_id = check_id(project_id, "project ID") if project_id else self.project_id
        except ConfigurationError:
            return self._bad_answer(answer, "names a project with an invalid ID")
        return Token(secret, life, project_id)

    def __repr__(self) -> str:
        known = vars(self)  # empty in a traceback out of the constructor
        project = known.get("project_id") or known.get("project_name")
        user, domain = known.get("username"), known.get("domain_name")
        return f"IamPassword({user!r}, '***', {domain!r}, {project!r})"
