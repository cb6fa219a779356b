"""Types of the strict models that pydantic doesn't have: copied from tools/, never edit."""

import datetime as dt
import re
from typing import Annotated

import pydantic


def _is_date_time(value: object) -> object:
    written = isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[Tt]", value)
    if not (written or isinstance(value, dt.datetime)):
        raise ValueError("must be a date and time of RFC 3339, such as 2019-03-13T14:09:10Z")
    return value


AwareDatetime = Annotated[pydantic.AwareDatetime, pydantic.BeforeValidator(_is_date_time)]
"""A date and time with its zone. pydantic's own also takes numbers, and texts with a number."""
