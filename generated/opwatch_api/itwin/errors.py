"""What an operation raises for a response that isn't a documented one"""

from collections.abc import Mapping
from typing import Any, ClassVar


class ResponseError(ValueError):
    """A response that isn't a documented one. Its message quotes nothing from the response,
    which may contain a credential."""

    _problem: ClassVar[str]

    def __init__(self, status_code: int, content: bytes, headers: Mapping[str, str] | None = None):
        super().__init__(
            f"status {status_code}: {self._problem}; `content` has the body ({len(content)} bytes)"
        )
        self.status_code = status_code
        self.content = content
        """The body as it was received."""
        self.headers: Mapping[str, str] = {} if headers is None else headers

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status_code, self.content, self.headers)


class UnexpectedStatus(ResponseError):
    """The status isn't a documented one: a redirect, or 520 from a proxy, for example."""

    _problem = "not a documented status of this operation"


class UnexpectedBody(ResponseError):
    """The body doesn't have the documented form: an HTML page, for example, or an object that lacks
    a required field."""

    _problem = "the body doesn't have the documented form"


__all__ = ["ResponseError", "UnexpectedBody", "UnexpectedStatus"]
