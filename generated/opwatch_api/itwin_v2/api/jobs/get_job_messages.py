from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import errors
from ...models.error_response import ErrorResponse
from ...models.job_messages_response import JobMessagesResponse
from ...types import Response, json_object, path_segment

if TYPE_CHECKING:
    import httpx

    from ...client import AuthenticatedClient, Client


def build_request(
    id: str,
) -> dict[str, Any]:
    """Return the request as arguments of `httpx.Client.request`.

    Raises:
        ValueError: If a value can't be a part of the path: None, UNSET, bytes, a list, an empty string, `.` or `..`.
    """

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/jobs/{id}/messages".format(
            id=path_segment("id", id),
        ),
    }

    _kwargs["headers"] = {"Accept": "application/vnd.bentley.itwin-platform.v2+json"}
    return _kwargs


def parse_response(
    response: httpx.Response, *, raise_on_unexpected_status: bool = True
) -> ErrorResponse | JobMessagesResponse | None:
    """Return the parsed response, as documented for its status.

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless `raise_on_unexpected_status` is
            False; then None is returned.
        errors.UnexpectedBody: If the body doesn't have the documented form.
    """
    try:
        if response.status_code == 200:
            response_200 = JobMessagesResponse.from_dict(json_object(response))

            return response_200

        if response.status_code == 401:
            response_401 = ErrorResponse.from_dict(json_object(response))

            return response_401

        if response.status_code == 403:
            response_403 = ErrorResponse.from_dict(json_object(response))

            return response_403

        if response.status_code == 404:
            response_404 = ErrorResponse.from_dict(json_object(response))

            return response_404

        if response.status_code == 429:
            response_429 = ErrorResponse.from_dict(json_object(response))

            return response_429

    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        pass
    else:
        if not raise_on_unexpected_status:
            return None
        raise errors.UnexpectedStatus(response.status_code, response.content, response.headers)
    raise errors.UnexpectedBody(response.status_code, response.content, response.headers)


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[ErrorResponse | JobMessagesResponse]:
    return Response(
        status_code=response.status_code,
        content=response.content,
        headers=response.headers,
        parsed=parse_response(
            response, raise_on_unexpected_status=client.raise_on_unexpected_status
        ),
    )


def sync_detailed(
    id: str,
    *,
    client: AuthenticatedClient | Client,
) -> Response[ErrorResponse | JobMessagesResponse]:
    """Get job messages.

     Why a job failed, and what went wrong without ending it.

    Requires Authorization header with valid Bearer token for scope itwin-platform.

    Request header Accept: setting to application/vnd.bentley.itwin-platform.v2+json is recommended.

    Args:
        id (str):

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless Client.raise_on_unexpected_status is False.
        errors.UnexpectedBody: If the body doesn't have the documented form.
        httpx.TimeoutException: If connecting, sending or receiving takes longer than Client.timeout.
        httpx.RequestError: If the request fails otherwise, or the body can't be decompressed.

    Returns:
        Response[ErrorResponse | JobMessagesResponse]
    """

    kwargs = build_request(
        id=id,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    id: str,
    *,
    client: AuthenticatedClient | Client,
) -> ErrorResponse | JobMessagesResponse | None:
    """Get job messages.

     Why a job failed, and what went wrong without ending it.

    Requires Authorization header with valid Bearer token for scope itwin-platform.

    Request header Accept: setting to application/vnd.bentley.itwin-platform.v2+json is recommended.

    Args:
        id (str):

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless Client.raise_on_unexpected_status is False.
        errors.UnexpectedBody: If the body doesn't have the documented form.
        httpx.TimeoutException: If connecting, sending or receiving takes longer than Client.timeout.
        httpx.RequestError: If the request fails otherwise, or the body can't be decompressed.

    Returns:
        ErrorResponse | JobMessagesResponse
    """

    return sync_detailed(
        id=id,
        client=client,
    ).parsed


async def asyncio_detailed(
    id: str,
    *,
    client: AuthenticatedClient | Client,
) -> Response[ErrorResponse | JobMessagesResponse]:
    """Get job messages.

     Why a job failed, and what went wrong without ending it.

    Requires Authorization header with valid Bearer token for scope itwin-platform.

    Request header Accept: setting to application/vnd.bentley.itwin-platform.v2+json is recommended.

    Args:
        id (str):

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless Client.raise_on_unexpected_status is False.
        errors.UnexpectedBody: If the body doesn't have the documented form.
        httpx.TimeoutException: If connecting, sending or receiving takes longer than Client.timeout.
        httpx.RequestError: If the request fails otherwise, or the body can't be decompressed.

    Returns:
        Response[ErrorResponse | JobMessagesResponse]
    """

    kwargs = build_request(
        id=id,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    id: str,
    *,
    client: AuthenticatedClient | Client,
) -> ErrorResponse | JobMessagesResponse | None:
    """Get job messages.

     Why a job failed, and what went wrong without ending it.

    Requires Authorization header with valid Bearer token for scope itwin-platform.

    Request header Accept: setting to application/vnd.bentley.itwin-platform.v2+json is recommended.

    Args:
        id (str):

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless Client.raise_on_unexpected_status is False.
        errors.UnexpectedBody: If the body doesn't have the documented form.
        httpx.TimeoutException: If connecting, sending or receiving takes longer than Client.timeout.
        httpx.RequestError: If the request fails otherwise, or the body can't be decompressed.

    Returns:
        ErrorResponse | JobMessagesResponse
    """

    return (
        await asyncio_detailed(
            id=id,
            client=client,
        )
    ).parsed
