from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import errors
from ...models.error_response import ErrorResponse
from ...models.message_progress_response import MessageProgressResponse
from ...types import Response, json_object, path_segment

if TYPE_CHECKING:
    import httpx

    from ...client import AuthenticatedClient, Client


def build_request(
    ephemeral_message_id: str,
) -> dict[str, Any]:
    """Return the request as arguments of `httpx.Client.request`.

    Raises:
        ValueError: If a value can't be a part of the path: None, UNSET, bytes, a list, an empty string, `.` or `..`.
    """

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/messages/{ephemeral_message_id}/progress".format(
            ephemeral_message_id=path_segment("ephemeral_message_id", ephemeral_message_id),
        ),
    }

    _kwargs["headers"] = {"Accept": "application/json"}
    return _kwargs


def parse_response(
    response: httpx.Response, *, raise_on_unexpected_status: bool = True
) -> ErrorResponse | MessageProgressResponse | None:
    """Return the parsed response, as documented for its status.

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless `raise_on_unexpected_status` is
            False; then None is returned.
        errors.UnexpectedBody: If the body doesn't have the documented form.
    """
    try:
        if response.status_code == 200:
            response_200 = MessageProgressResponse.from_dict(json_object(response))

            return response_200

        if response.status_code == 400:
            response_400 = ErrorResponse.from_dict(json_object(response))

            return response_400

        if response.status_code == 401:
            response_401 = ErrorResponse.from_dict(json_object(response))

            return response_401

        if response.status_code == 429:
            response_429 = ErrorResponse.from_dict(json_object(response))

            return response_429

        if response.status_code == 500:
            response_500 = ErrorResponse.from_dict(json_object(response))

            return response_500

        if response.status_code == 503:
            response_503 = ErrorResponse.from_dict(json_object(response))

            return response_503

    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        pass
    else:
        if not raise_on_unexpected_status:
            return None
        raise errors.UnexpectedStatus(response.status_code, response.content, response.headers)
    raise errors.UnexpectedBody(response.status_code, response.content, response.headers)


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[ErrorResponse | MessageProgressResponse]:
    return Response(
        status_code=response.status_code,
        content=response.content,
        headers=response.headers,
        parsed=parse_response(
            response, raise_on_unexpected_status=client.raise_on_unexpected_status
        ),
    )


def sync_detailed(
    ephemeral_message_id: str,
    *,
    client: AuthenticatedClient | Client,
) -> Response[ErrorResponse | MessageProgressResponse]:
    """Retrieve Message Progress

     Retrieves the current status of the asynchronous processing of a message.

    Alternatively, instead of calling this API method, one may choose to receive a final-msg-progress
    notification event.

    A message whose processing failed is also reported with status 200: look at `done`, then at
    `success`.

    Args:
        ephemeral_message_id (str):

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless Client.raise_on_unexpected_status is False.
        errors.UnexpectedBody: If the body doesn't have the documented form.
        httpx.TimeoutException: If connecting, sending or receiving takes longer than Client.timeout.
        httpx.RequestError: If the request fails otherwise, or the body can't be decompressed.

    Returns:
        Response[ErrorResponse | MessageProgressResponse]
    """

    kwargs = build_request(
        ephemeral_message_id=ephemeral_message_id,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    ephemeral_message_id: str,
    *,
    client: AuthenticatedClient | Client,
) -> ErrorResponse | MessageProgressResponse | None:
    """Retrieve Message Progress

     Retrieves the current status of the asynchronous processing of a message.

    Alternatively, instead of calling this API method, one may choose to receive a final-msg-progress
    notification event.

    A message whose processing failed is also reported with status 200: look at `done`, then at
    `success`.

    Args:
        ephemeral_message_id (str):

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless Client.raise_on_unexpected_status is False.
        errors.UnexpectedBody: If the body doesn't have the documented form.
        httpx.TimeoutException: If connecting, sending or receiving takes longer than Client.timeout.
        httpx.RequestError: If the request fails otherwise, or the body can't be decompressed.

    Returns:
        ErrorResponse | MessageProgressResponse
    """

    return sync_detailed(
        ephemeral_message_id=ephemeral_message_id,
        client=client,
    ).parsed


async def asyncio_detailed(
    ephemeral_message_id: str,
    *,
    client: AuthenticatedClient | Client,
) -> Response[ErrorResponse | MessageProgressResponse]:
    """Retrieve Message Progress

     Retrieves the current status of the asynchronous processing of a message.

    Alternatively, instead of calling this API method, one may choose to receive a final-msg-progress
    notification event.

    A message whose processing failed is also reported with status 200: look at `done`, then at
    `success`.

    Args:
        ephemeral_message_id (str):

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless Client.raise_on_unexpected_status is False.
        errors.UnexpectedBody: If the body doesn't have the documented form.
        httpx.TimeoutException: If connecting, sending or receiving takes longer than Client.timeout.
        httpx.RequestError: If the request fails otherwise, or the body can't be decompressed.

    Returns:
        Response[ErrorResponse | MessageProgressResponse]
    """

    kwargs = build_request(
        ephemeral_message_id=ephemeral_message_id,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    ephemeral_message_id: str,
    *,
    client: AuthenticatedClient | Client,
) -> ErrorResponse | MessageProgressResponse | None:
    """Retrieve Message Progress

     Retrieves the current status of the asynchronous processing of a message.

    Alternatively, instead of calling this API method, one may choose to receive a final-msg-progress
    notification event.

    A message whose processing failed is also reported with status 200: look at `done`, then at
    `success`.

    Args:
        ephemeral_message_id (str):

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless Client.raise_on_unexpected_status is False.
        errors.UnexpectedBody: If the body doesn't have the documented form.
        httpx.TimeoutException: If connecting, sending or receiving takes longer than Client.timeout.
        httpx.RequestError: If the request fails otherwise, or the body can't be decompressed.

    Returns:
        ErrorResponse | MessageProgressResponse
    """

    return (
        await asyncio_detailed(
            ephemeral_message_id=ephemeral_message_id,
            client=client,
        )
    ).parsed
