"""Programs of somebody who isn't opwatch, for test_outside.py: an environment that has the packages
they import runs them, and each prints what it was answered as JSON."""

import json
import os
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from opwatch.auth import ctn1


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


def otcextensions(url: str, user: str, password: str, domain: str, project: str, job: str) -> Any:
    """The cloud's own extension of the OpenStack SDK logs in and reads a gateway's progress."""
    import openstack
    import otcextensions.sdk

    cloud = openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth={
            "auth_url": f"{url}/v3",
            "username": user,
            "password": password,
            "user_domain_name": domain,
            "project_name": project,
            "project_domain_name": domain,
        },
        apigv2_endpoint_override=f"{url}/v2/%(project_id)s",
    )
    otcextensions.sdk.load(cloud)
    found = cloud.apig.get_gateway_progress(job)
    return [found.status, found.progress, found.start_time, found.error_code]


def openapi(spec: str, server: str, requests_to_send: str) -> Any:
    """An implementation of OpenAPI holds requests and their answers to a spec.

    A request is a path and its credentials. Returns the status of each response.
    """
    import requests
    import yaml
    from openapi_core import OpenAPI
    from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse

    content = yaml.safe_load(Path(spec).read_text(encoding="utf-8"))
    content["servers"] = [{"url": server}]
    checked = OpenAPI.from_dict(content)
    session, found = requests.Session(), []
    for path, credentials in json.loads(requests_to_send):
        request = requests.Request("GET", server + path, auth=with_credentials(credentials))
        prepared = session.prepare_request(request)
        answer = session.send(prepared)
        sent = RequestsOpenAPIRequest(
            requests.Request("GET", server + path, dict(prepared.headers))
        )
        if answer.status_code != 401:  # sent without what the spec demands
            checked.validate_request(sent)
        checked.validate_response(sent, RequestsOpenAPIResponse(answer))
        found.append(answer.status_code)
    return found


def schemathesis(spec: str, server: str, parameters: str, right: str, wrong: str) -> Any:
    """A tester made of a spec sends requests, and holds each response to the spec.

    `parameters` are values for the parts of a path, `right` and `wrong` are credentials. Returns
    how many answers had each status.
    """
    import schemathesis
    import yaml
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
    from schemathesis.checks import ignored_auth, positive_data_acceptance

    content = yaml.safe_load(Path(spec).read_text(encoding="utf-8"))
    answered = Counter[int]()

    def check(case: Any, chosen: dict[str, str | None], is_right: bool) -> None:
        for name in case.path_parameters:
            case.path_parameters[name] = chosen[name] or case.path_parameters[name]
        credentials = json.loads(right if is_right else wrong)
        answer = case.call(base_url=server, auth=with_credentials(credentials))
        # Our credentials aren't ones that it made, and Catenis has 400 for an unknown message.
        case.validate_response(answer, excluded_checks=[ignored_auth, positive_data_acceptance])
        assert is_right == (answer.status_code != 401), answer
        answered[answer.status_code] += 1

    known = {name: st.sampled_from([*of, None]) for name, of in json.loads(parameters).items()}
    for each in schemathesis.openapi.from_dict(content).get_all_operations():
        drawn = given(each.ok().as_strategy(), st.fixed_dictionaries(known), st.booleans())
        settings(
            max_examples=EXAMPLES,
            derandomize=True,  # the same requests every time
            database=None,
            deadline=None,
            suppress_health_check=[*HealthCheck],
        )(drawn(check))()
    return answered


EXAMPLES = 100
"""How many requests of each operation are generated."""


def with_credentials(credentials: dict[str, str]) -> Any:
    """What gives a request its credentials: headers, or a signature for Catenis by opwatch."""

    def prepared(request: Any) -> Any:
        headers = credentials
        if "device_id" in credentials:
            headers = ctn1.sign(
                method=request.method,
                target=request.path_url,
                host=urlsplit(request.url).netloc,
                body=b"",
                timestamp=datetime.now(UTC),
                **credentials,
            )
        request.headers.update(headers)
        return request

    return prepared


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
