"""What every `from_env` needs: environment variables, and errors that name them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, KeysView, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

from opwatch.errors import ConfigurationError


@attrs.frozen
class Connection:
    """Credentials that a program stores under one name, as Airflow does."""

    login: str | None
    password: Any
    """A `Secret`, or None."""
    address: str | None
    extra: dict[str, Any] = attrs.field(repr=False)

    def take(self, *names: str) -> dict[str, Any]:
        """Return those of the extra fields that are there."""
        return {name: self.extra[name] for name in names if self.extra.get(name) is not None}

    def base_url(self) -> dict[str, Any]:
        """Return the address as an argument, if there is one."""
        return {} if self.address is None else {"base_url": self.address}


class Environment:
    """Some environment variables, whose values are hidden.

    It is no `Mapping`: error reports show what is in one, whatever its own repr says.
    """

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def keys(self) -> KeysView[str]:
        return self._values.keys()

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def __repr__(self) -> str:
        known = getattr(self, "_values", ())  # none in a traceback out of the constructor
        return f"<environment variables {', '.join(known)}>"


def is_set(variable: str) -> bool:
    """Return whether an environment variable has a value; a blank one counts as none."""
    return bool(os.environ.get(variable, "").strip())


def environment(*names: str, instead: str | None = None) -> Environment:
    """Return those environment variables; raise a `ConfigurationError` that names all missing ones.

    `instead` says what could be set instead, as a sentence without a period.
    """
    if missing := [name for name in names if not is_set(name)]:
        other = f" ({instead})" if instead else ""
        raise ConfigurationError(f"not set in the environment: {', '.join(missing)}{other}")
    return Environment({name: os.environ[name] for name in names})


def arguments(
    variables: Mapping[str, str], *required: str, instead: str | None = None
) -> Environment:
    """Return the values of those variables that are set, by the names of the arguments.

    Raises `ConfigurationError` if one that is required isn't set, or an address isn't one.
    """
    environment(*required, instead=instead)
    found = Environment({})
    for name, variable in variables.items():
        if is_set(variable):  # its value is no local: the next one may raise
            found[name] = os.environ[variable]
            is_address = name.endswith(("url", "endpoint"))
            # A bare word could be an address, but is more likely something else.
            if is_address and not re.search(r"://|^[^/]*\.", found[name]):
                raise ConfigurationError(f"{variable} must be a URL like https://example.com/path")
    return found


@contextmanager
def taken_from(variables: Mapping[str, str]) -> Iterator[None]:
    """Make a `ConfigurationError` name the variable that the argument at fault was taken from.

    The keys are the names of arguments.
    """
    try:
        yield
    except ConfigurationError as error:
        if variable := variables.get(error.argument or ""):
            error.taken_from(variable)
        raise
