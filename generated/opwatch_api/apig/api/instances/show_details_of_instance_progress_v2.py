from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import errors
from ...models.error_response import ErrorResponse
from ...models.instance_progress import InstanceProgress
from ...types import Response, json_object, path_segment

if TYPE_CHECKING:
    import httpx

    from ...client import AuthenticatedClient, Client


def build_request(
    project_id: str,
    instance_id: str,
) -> dict[str, Any]:
    """Return the request as arguments of `httpx.Client.request`.

    Raises:
        ValueError: If a value can't be a part of the path: None, UNSET, bytes, a list, an empty string, `.` or `..`.
    """

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/v2/{project_id}/apigw/instances/{instance_id}/progress".format(
            project_id=path_segment("project_id", project_id),
            instance_id=path_segment("instance_id", instance_id),
        ),
    }

    _kwargs["headers"] = {"Accept": "application/json"}
    return _kwargs


def parse_response(
    response: httpx.Response, *, raise_on_unexpected_status: bool = True
) -> ErrorResponse | InstanceProgress | None:
    """Return the parsed response, as documented for its status.

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless `raise_on_unexpected_status` is
            False; then None is returned.
        errors.UnexpectedBody: If the body doesn't have the documented form.
    """
    try:
        if response.status_code == 200:
            response_200 = InstanceProgress.from_dict(json_object(response))

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

        if response.status_code == 500:
            response_500 = ErrorResponse.from_dict(json_object(response))

            return response_500

        if response.status_code == 502:
            response_502 = ErrorResponse.from_dict(json_object(response))

            return response_502

        if response.status_code == 503:
            response_503 = ErrorResponse.from_dict(json_object(response))

            return response_503

        if response.status_code == 504:
            response_504 = ErrorResponse.from_dict(json_object(response))

            return response_504

    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        pass
    else:
        if not raise_on_unexpected_status:
            return None
        raise errors.UnexpectedStatus(response.status_code, response.content, response.headers)
    raise errors.UnexpectedBody(response.status_code, response.content, response.headers)


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[ErrorResponse | InstanceProgress]:
    return Response(
        status_code=response.status_code,
        content=response.content,
        headers=response.headers,
        parsed=parse_response(
            response, raise_on_unexpected_status=client.raise_on_unexpected_status
        ),
    )


def sync_detailed(
    project_id: str,
    instance_id: str,
    *,
    client: AuthenticatedClient | Client,
) -> Response[ErrorResponse | InstanceProgress]:
    """Querying the Creation Progress of a Dedicated Gateway

     This API is used to query the creation progress of a dedicated gateway.

    A failed creation is also reported with status 200: `status` is then failed, and `error_code` says
    why.

    Args:
        project_id (str):
        instance_id (str):

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless Client.raise_on_unexpected_status is False.
        errors.UnexpectedBody: If the body doesn't have the documented form.
        httpx.TimeoutException: If connecting, sending or receiving takes longer than Client.timeout.
        httpx.RequestError: If the request fails otherwise, or the body can't be decompressed.

    Returns:
        Response[ErrorResponse | InstanceProgress]
    """

    kwargs = build_request(
        project_id=project_id,
        instance_id=instance_id,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    project_id: str,
    instance_id: str,
    *,
    client: AuthenticatedClient | Client,
) -> ErrorResponse | InstanceProgress | None:
    """Querying the Creation Progress of a Dedicated Gateway

     This API is used to query the creation progress of a dedicated gateway.

    A failed creation is also reported with status 200: `status` is then failed, and `error_code` says
    why.

    Args:
        project_id (str):
        instance_id (str):

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless Client.raise_on_unexpected_status is False.
        errors.UnexpectedBody: If the body doesn't have the documented form.
        httpx.TimeoutException: If connecting, sending or receiving takes longer than Client.timeout.
        httpx.RequestError: If the request fails otherwise, or the body can't be decompressed.

    Returns:
        ErrorResponse | InstanceProgress
    """

    return sync_detailed(
        project_id=project_id,
        instance_id=instance_id,
        client=client,
    ).parsed


async def asyncio_detailed(
    project_id: str,
    instance_id: str,
    *,
    client: AuthenticatedClient | Client,
) -> Response[ErrorResponse | InstanceProgress]:
    """Querying the Creation Progress of a Dedicated Gateway

     This API is used to query the creation progress of a dedicated gateway.

    A failed creation is also reported with status 200: `status` is then failed, and `error_code` says
    why.

    Args:
        project_id (str):
        instance_id (str):

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless Client.raise_on_unexpected_status is False.
        errors.UnexpectedBody: If the body doesn't have the documented form.
        httpx.TimeoutException: If connecting, sending or receiving takes longer than Client.timeout.
        httpx.RequestError: If the request fails otherwise, or the body can't be decompressed.

    Returns:
        Response[ErrorResponse | InstanceProgress]
    """

    kwargs = build_request(
        project_id=project_id,
        instance_id=instance_id,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    project_id: str,
    instance_id: str,
    *,
    client: AuthenticatedClient | Client,
) -> ErrorResponse | InstanceProgress | None:
    """Querying the Creation Progress of a Dedicated Gateway

     This API is used to query the creation progress of a dedicated gateway.

    A failed creation is also reported with status 200: `status` is then failed, and `error_code` says
    why.

    Args:
        project_id (str):
        instance_id (str):

    Raises:
        errors.UnexpectedStatus: If the status is undocumented, unless Client.raise_on_unexpected_status is False.
        errors.UnexpectedBody: If the body doesn't have the documented form.
        httpx.TimeoutException: If connecting, sending or receiving takes longer than Client.timeout.
        httpx.RequestError: If the request fails otherwise, or the body can't be decompressed.

    Returns:
        ErrorResponse | InstanceProgress
    """

    return (
        await asyncio_detailed(
            project_id=project_id,
            instance_id=instance_id,
            client=client,
        )
    ).parsed
