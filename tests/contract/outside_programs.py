"""Programs of somebody who isn't opwatch, for test_outside.py: an environment that has the packages
they import runs them, and each prints what it was answered as JSON."""

import json
import os
import sys
from pathlib import Path
from typing import Any


def huawei(endpoint: str, access_key: str, secret_key: str, project: str, gateway: str) -> Any:
    """The provider's official SDK signs by itself."""
    from huaweicloudsdkapig.v2 import ApigClient, ShowDetailsOfInstanceProgressV2Request
    from huaweicloudsdkcore.auth.credentials import BasicCredentials
    from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

    keys = BasicCredentials(access_key, secret_key, project)
    client = ApigClient.new_builder().with_credentials(keys).with_endpoint(endpoint).build()
    try:
        request = ShowDetailsOfInstanceProgressV2Request(instance_id=gateway)
        answer = client.show_details_of_instance_progress_v2(request)
    except ClientRequestException as error:
        return [error.status_code, error.error_code]
    return [200, answer.status]


def keystoneauth(url: str, user: str, password: str, domain: str, project: str, path: str) -> Any:
    """OpenStack's own library logs in and sends a request."""
    from keystoneauth1.identity import v3
    from keystoneauth1.session import Session

    session = Session(
        auth=v3.Password(
            auth_url=f"{url}/v3",
            username=user,
            password=password,
            user_domain_name=domain,
            project_name=project,
            project_domain_name=domain,
        )
    )
    answer = session.get(f"{url}/v2/{session.get_project_id()}{path}", raise_exc=False)
    return [answer.status_code, answer.json()["status"]]


def oauthlib(token_url: str, client_id: str, secret: str, scope: str, url: str) -> Any:
    """The best known OAuth2 client fetches a token and sends a request."""
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # plain http on loopback
    from oauthlib.oauth2 import BackendApplicationClient
    from requests_oauthlib import OAuth2Session

    session = OAuth2Session(client=BackendApplicationClient(client_id=client_id, scope=scope))
    session.fetch_token(
        token_url, client_id=client_id, client_secret=secret, include_client_id=True
    )
    accept = {"Accept": "application/vnd.bentley.itwin-platform.v1+json"}
    answer = session.get(url, headers=accept)
    return [answer.status_code, answer.json()["jobProgress"]["state"]]


def openapi(spec: str, server: str, url: str, headers: str) -> Any:
    """An implementation of OpenAPI holds a request and its answer to a spec."""
    import requests
    import yaml
    from openapi_core import OpenAPI
    from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse

    content = yaml.safe_load(Path(spec).read_text(encoding="utf-8"))
    content["servers"] = [{"url": server}]
    checked = OpenAPI.from_dict(content)
    session = requests.Session()
    request = session.prepare_request(requests.Request("GET", url, json.loads(headers)))
    answer = session.send(request)
    sent = RequestsOpenAPIRequest(requests.Request("GET", url, json.loads(headers)))
    checked.validate_response(sent, RequestsOpenAPIResponse(answer))
    return answer.status_code


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
