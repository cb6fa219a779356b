"""What the services' `from_env` have in common: variables, and refusals that name them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opwatch.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Environment(dict[str, str]):
    """Some environment variables, whose values do not show."""

    def __repr__(self) -> str:
        return f"<environment variables {', '.join(self)}>"


def environment(*names: str, instead: str | None = None) -> Environment:
    """Those environment variables; `ConfigurationError` names all that are missing, at once.

    `instead` says what else would do.
    """
    if missing := [name for name in names if not os.environ.get(name, "").strip()]:
        other = f" (or instead {instead})" if instead else ""
        raise ConfigurationError(f"not set in the environment: {', '.join(missing)}{other}")
    return Environment({name: os.environ[name] for name in names})


def url(variable: str, default: str = "") -> str:
    """The address in a variable; `default` where it is not set.

    Raises `ConfigurationError` for a bare word: as an address without `https://` it could be one,
    and more likely it is something else.
    """
    value = os.environ.get(variable) or default
    if value and "://" not in value and "." not in value.partition("/")[0]:
        raise ConfigurationError(f"{variable} must be an address like https://example.com/path")
    return value


@contextmanager
def taken_from(variables: Mapping[str, str]) -> Iterator[None]:
    """A refusal of an argument names the variable that the argument was taken from.

    The keys are the names of arguments, which is what the refusals of constructors begin with.
    """
    try:
        yield
    except ConfigurationError as error:
        name, space, rest = error.message.partition(" ")
        if name in variables:
            error.message = f"{variables[name]}{space}{rest}"
            error.args = (error.message,)
        raise
