"""Types of the strict models that pydantic doesn't have: copied from tools/, never edit."""

import datetime as dt
import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Self

import pydantic


def _is_date_time(value: object) -> object:
    written = isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[Tt]", value)
    if not (written or isinstance(value, dt.datetime)):
        raise ValueError("must be a date and time of RFC 3339, such as 2019-03-13T14:09:10Z")
    return value


AwareDatetime = Annotated[pydantic.AwareDatetime, pydantic.BeforeValidator(_is_date_time)]
"""A date and time with its zone. pydantic's own also takes numbers, and texts with a number."""


class Conditional(pydantic.BaseModel):
    """A model in which some fields depend on the values of others."""

    conditions: ClassVar[dict[str, Any]] = {}
    """The `if`, `then` and `else` of its schema."""

    @pydantic.model_validator(mode="after")
    def _check_conditions(self) -> Self:
        values = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        if problems := [*_problems(self.conditions, values, "")]:
            raise ValueError(", ".join(problems))
        return self


def _problems(schema: Any, value: Any, name: str) -> Iterator[str]:
    if schema is False:
        yield f"{name} isn't returned in this case"
    if not isinstance(schema, dict):
        return
    if "const" in schema and value != schema["const"]:
        yield f"{name} isn't {schema['const']}"
    fields = value if isinstance(value, dict) else {}
    for key in schema.get("required", ()):
        if key not in fields:
            yield f"{key} is required in this case"
    for key, inner in schema.get("properties", {}).items():
        if key in fields:
            yield from _problems(inner, fields[key], key)
    if "if" in schema:
        is_so = not any(_problems(schema["if"], value, name))
        yield from _problems(schema.get("then" if is_so else "else"), value, name)
