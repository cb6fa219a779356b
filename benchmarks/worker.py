"""One contender in a process of its own.

`worker.py NAME PORT` reads a number of calls from each line of standard input, makes them, and
prints the CPU seconds of one call.

Each contender requests the progress of one job with its library, and creates its client once. httpx
requests it from each service, since their answers differ in length.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

PROJECT = "73d69ae0cfcf460190522d06b60f05ad"
ITWIN_PATH = "/jobs/job/progress"
CATENIS_PATH = "/api/0.7/messages/message/progress"
APIG_PATH = f"/v2/{PROJECT}/apigw/instances/gateway/progress"
DEVICE, SECRET = "d" * 20, "made-up"
ACCEPT = {"Accept": "application/vnd.bentley.itwin-platform.v1+json", "Authorization": "Bearer t"}

Call = Callable[[], object]
AsyncCall = Callable[[], Awaitable[object]]


def http_client(port: int) -> Call:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port)

    def call() -> object:
        connection.request("GET", ITWIN_PATH, headers=ACCEPT)
        return json.loads(connection.getresponse().read())

    return call


def httpx_client(port: int, path: str = ITWIN_PATH) -> Call:
    import httpx

    client = httpx.Client()
    return lambda: client.get(f"http://127.0.0.1:{port}{path}", headers=ACCEPT).json()


def httpx_catenis(port: int) -> Call:
    return httpx_client(port, CATENIS_PATH)


def httpx_apig(port: int) -> Call:
    return httpx_client(port, APIG_PATH)


def requests_session(port: int) -> Call:
    import requests

    session = requests.Session()
    return lambda: session.get(f"http://127.0.0.1:{port}{ITWIN_PATH}", headers=ACCEPT).json()


def itwin(port: int) -> Call:
    from opwatch import ITwin

    client = ITwin("t", base_url=f"http://127.0.0.1:{port}")
    return lambda: client.progress("job")


def catenis(port: int) -> Call:
    from opwatch import Catenis

    client = Catenis(DEVICE, SECRET, base_url=f"http://127.0.0.1:{port}/api/0.7")
    return lambda: client.progress("message")


def apig_token(port: int) -> Call:
    from opwatch import Apig

    client = Apig(f"http://127.0.0.1:{port}", "t", project_id=PROJECT)
    return lambda: client.progress("gateway")


def apig_aksk(port: int) -> Call:
    from opwatch import AkSk, Apig

    client = Apig(f"http://127.0.0.1:{port}", AkSk("AK", SECRET), project_id=PROJECT)
    return lambda: client.progress("gateway")


def huaweicloudsdkapig(port: int) -> Call:
    from huaweicloudsdkapig.v2 import ApigClient, ShowDetailsOfInstanceProgressV2Request
    from huaweicloudsdkcore.auth.credentials import BasicCredentials

    credentials = BasicCredentials("AK", SECRET, PROJECT)
    client = (
        ApigClient.new_builder()
        .with_credentials(credentials)
        .with_endpoint(f"http://127.0.0.1:{port}")
        .build()
    )
    request = ShowDetailsOfInstanceProgressV2Request(instance_id="gateway")
    return lambda: client.show_details_of_instance_progress_v2(request)


def otcextensions(port: int) -> Call:
    import openstack
    from otcextensions import sdk

    auth = {"endpoint": f"http://127.0.0.1:{port}/v2/{PROJECT}", "token": "t"}
    connection = openstack.connection.Connection(
        auth_type="admin_token", auth=auth, region_name="eu-de"
    )
    sdk.register_otc_extensions(connection)
    return lambda: connection.apig.get_gateway_progress("gateway")


def async_httpx(port: int, path: str = ITWIN_PATH) -> AsyncCall:
    import httpx

    client = httpx.AsyncClient()

    async def call() -> object:
        response = await client.get(f"http://127.0.0.1:{port}{path}", headers=ACCEPT)
        return response.json()

    return call


def async_httpx_catenis(port: int) -> AsyncCall:
    return async_httpx(port, CATENIS_PATH)


def async_httpx_apig(port: int) -> AsyncCall:
    return async_httpx(port, APIG_PATH)


def async_itwin(port: int) -> AsyncCall:
    from opwatch import AsyncITwin

    client = AsyncITwin("t", base_url=f"http://127.0.0.1:{port}")
    return lambda: client.progress("job")


def async_catenis(port: int) -> AsyncCall:
    from opwatch import AsyncCatenis

    client = AsyncCatenis(DEVICE, SECRET, base_url=f"http://127.0.0.1:{port}/api/0.7")
    return lambda: client.progress("message")


def async_apig_token(port: int) -> AsyncCall:
    from opwatch import AsyncApig

    client = AsyncApig(f"http://127.0.0.1:{port}", "t", project_id=PROJECT)
    return lambda: client.progress("gateway")


def async_apig_aksk(port: int) -> AsyncCall:
    from opwatch import AkSk, AsyncApig

    client = AsyncApig(f"http://127.0.0.1:{port}", AkSk("AK", SECRET), project_id=PROJECT)
    return lambda: client.progress("gateway")


BLOCKING = [
    http_client,
    httpx_client,
    httpx_catenis,
    httpx_apig,
    requests_session,
    itwin,
    catenis,
    apig_token,
    apig_aksk,
    huaweicloudsdkapig,
    otcextensions,
]
ASYNC = [async_httpx, async_httpx_catenis, async_httpx_apig]
ASYNC += [async_itwin, async_catenis, async_apig_token, async_apig_aksk]


def run(call: Call) -> None:
    call()
    for line in sys.stdin:
        calls = int(line)
        start = time.process_time()
        for _ in range(calls):
            call()
        print((time.process_time() - start) / calls, flush=True)


async def run_async(call: AsyncCall) -> None:
    await call()
    for line in sys.stdin:  # blocks the event loop, between rounds only
        calls = int(line)
        start = time.process_time()
        for _ in range(calls):
            await call()
        print((time.process_time() - start) / calls, flush=True)


def main() -> None:
    name, port = sys.argv[1], int(sys.argv[2])
    for make in BLOCKING:
        if make.__name__ == name:
            run(make(port))
    for make_async in ASYNC:
        if make_async.__name__ == name:
            asyncio.run(run_async(make_async(port)))


if __name__ == "__main__":
    main()
