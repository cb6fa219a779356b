"""Contains some shared types for properties"""

from collections.abc import Iterable, Mapping, MutableMapping
from typing import IO, Any, BinaryIO, Generic, Literal, TypeVar
from urllib.parse import quote

from attrs import define


class Unset:
    """The value of a field that wasn't sent.

    Each service's client has a single instance, `UNSET`; copying or unpickling it returns that same object.
    """

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNSET"

    def __reduce__(self) -> str:
        return "UNSET"


UNSET: Unset = Unset()

# The types that `httpx.Client(files=)` can accept, copied from that library.
FileContent = IO[bytes] | bytes | str
FileTypes = (
    # (filename, file (or bytes), content_type)
    tuple[str | None, FileContent, str | None]
    # (filename, file (or bytes), content_type, headers)
    | tuple[str | None, FileContent, str | None, Mapping[str, str]]
)
RequestFiles = list[tuple[str, FileTypes]]


@define
class File:
    """Contains information for file uploads"""

    payload: BinaryIO
    file_name: str | None = None
    mime_type: str | None = None

    def to_tuple(self) -> FileTypes:
        """Return a tuple representation that httpx will accept for multipart/form-data"""
        return self.file_name, self.payload, self.mime_type


T = TypeVar("T")


@define
class Response(Generic[T]):
    """A response from an endpoint"""

    status_code: int
    content: bytes
    headers: MutableMapping[str, str]
    parsed: T | None


def json_object(response: Any) -> dict[str, Any]:
    """Return the JSON object in a response; raise TypeError if it has another value."""
    if not isinstance(body := response.json(), dict):
        raise TypeError("not a JSON object")
    return body


def path_segment(name: str, value: Any) -> str:
    """Return a value as one segment of a path; raise ValueError if it would lead to another path."""
    # Each service has its own Unset; bytes and lists would become their repr.
    is_text = isinstance(value, str) or not isinstance(value, Iterable)
    if (
        not is_text
        or type(value).__name__ in ("NoneType", "Unset")
        or str(value) in ("", ".", "..")
    ):
        raise ValueError(f"`{name}` must not be None, UNSET, bytes, a list, empty, '.' or '..'")
    try:
        return quote(str(value), safe="")
    except UnicodeEncodeError:
        raise ValueError(f"`{name}` must not contain a lone surrogate") from None


__all__ = [
    "UNSET",
    "File",
    "FileTypes",
    "RequestFiles",
    "Response",
    "Unset",
    "json_object",
    "path_segment",
]
