"""A local Google with a stand-in for the local AWS, and a federated client of it, for the tests of this folder."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.cloud.google.front import CHECKOUT, Google

PROJECT = "sluice-test"
ACCOUNT = "000000000000"
KEY = Credentials("AKIDEXAMPLE", "secret", "session+token/=")
URL = "https://sts.us-east-1.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
BUCKET = "load-1"


class Sts(BaseHTTPRequestHandler):
    """STS as far as GetCallerIdentity: answers what KEY signed, and nothing else."""

    def do_POST(self) -> None:
        """Compare the signature with one made over the same headers."""
        names = self.headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        again = AWSRequest(
            "POST", "https://" + self.headers["Host"] + self.path, headers={n: self.headers[n] for n in names}
        )
        again.context["timestamp"] = self.headers["X-Amz-Date"]
        signer = SigV4Auth(KEY, "sts", "us-east-1")
        canonical = signer.canonical_request(again)
        signature = signer.signature(signer.string_to_sign(again, canonical), again)
        good = self.headers["Authorization"].endswith("Signature=" + signature)
        arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/export-table/run"
        body = f"<R><Arn>{arn}</Arn><Account>{ACCOUNT}</Account><UserId>AROA:run</UserId></R>" if good else "<E>no</E>"
        self.send_response(200 if good else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@dataclass
class World:
    """A running local Google, and ways to speak to it."""

    google: Google
    operator: httpx.Client
    number: str

    @property
    def audience(self) -> str:
        """The provider that the tests federate through."""
        return (
            f"//iam.googleapis.com/projects/{self.number}/locations/global/workloadIdentityPools/pool-1/providers/aws-1"
        )

    @property
    def member(self) -> str:
        """The IAM member that the role of KEY is."""
        pool = self.audience.partition("/providers/")[0]
        return f"principalSet:{pool}/attribute.aws_role/arn:aws:sts::{ACCOUNT}:assumed-role/export-table"

    def account(self, name: str) -> str:
        """The email of a service account of the project."""
        return f"{name}@{PROJECT}.iam.gserviceaccount.com"

    def call(self, method: str, url: str, **options: Any) -> Any:
        """An operator's request, which must succeed."""
        answer = self.operator.request(method, url, **options)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def proxied(self, token: str | None = None) -> httpx.Client:
        """A client that knows the proxy and the certificate, nothing else."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        context = ssl.create_default_context(cafile=str(self.google.ca))
        return httpx.Client(
            proxy=self.google.endpoints["google"], verify=context, headers=headers, timeout=30, trust_env=False
        )

    def subject_token(self, **changes: Any) -> str:
        """A signed GetCallerIdentity as Google's clients write it."""
        request = AWSRequest("POST", changes.get("url", URL), headers={"x-goog-cloud-target-resource": self.audience})
        SigV4Auth(changes.get("key", KEY), "sts", "us-east-1").add_auth(request)
        headers = {"host": "sts.us-east-1.amazonaws.com", **dict(request.headers), **changes.get("headers", {})}
        signed = {"url": request.url, "method": "POST", "headers": [{"key": k, "value": v} for k, v in headers.items()]}
        return urllib.parse.quote_plus(json.dumps(signed))

    def exchange(self, subject_token: str, audience: str | None = None) -> httpx.Response:
        """A token exchange."""
        with self.proxied() as client:
            return client.post(
                "https://sts.googleapis.com/v1/token",
                data={
                    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                    "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
                    "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
                    "audience": audience or self.audience,
                    "scope": "https://www.googleapis.com/auth/cloud-platform",
                    "subject_token": subject_token,
                },
            )

    def impersonate(self, name: str) -> httpx.Response:
        """Act as a service account, from the federated identity."""
        federated = self.exchange(self.subject_token()).json()["access_token"]
        with self.proxied(federated) as client:
            return client.post(
                f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{self.account(name)}:generateAccessToken",
                json={"scope": ["https://www.googleapis.com/auth/cloud-platform"]},
            )

    def client(self, name: str = "exporter") -> httpx.Client:
        """A client with the token of a service account."""
        return self.proxied(self.impersonate(name).json()["accessToken"])


def build(world: World) -> None:
    """What a deployment makes: a provider, accounts, a bucket and a dataset that the exporter may write."""
    iam = f"/iam.googleapis.com/v1/projects/{PROJECT}"
    pools = f"{iam}/locations/global/workloadIdentityPools"
    world.call("POST", f"{pools}?workloadIdentityPoolId=pool-1", json={})
    world.call(
        "POST",
        f"{pools}/pool-1/providers?workloadIdentityPoolProviderId=aws-1",
        json={"aws": {"accountId": ACCOUNT}, "attributeCondition": "attribute.aws_role.endsWith('/export-table')"},
    )
    exporter = "serviceAccount:" + world.account("exporter")
    for name in ("exporter", "stranger", "closed"):
        world.call("POST", f"{iam}/serviceAccounts", json={"accountId": name})
        if name != "closed":
            policy = {"bindings": [{"role": "roles/iam.workloadIdentityUser", "members": [world.member]}]}
            world.call("POST", f"{iam}/serviceAccounts/{world.account(name)}:setIamPolicy", json={"policy": policy})
    project = {"bindings": [{"role": "roles/bigquery.jobUser", "members": [exporter]}]}
    world.call(
        "POST", f"/cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}:setIamPolicy", json={"policy": project}
    )
    world.call(
        "POST",
        f"/storage.googleapis.com/storage/v1/b?project={PROJECT}",
        json={"name": BUCKET, "location": "europe-west1"},
    )
    roles = ("roles/storage.objectAdmin", "roles/storage.legacyBucketReader")
    policy = {"bindings": [{"role": role, "members": [exporter]} for role in roles]}
    world.call("PUT", f"/storage.googleapis.com/storage/v1/b/{BUCKET}/iam", json=policy)
    datasets = f"/bigquery.googleapis.com/bigquery/v2/projects/{PROJECT}/datasets"
    made = world.call("POST", datasets, json={"datasetReference": {"datasetId": "us"}, "location": "europe-west1"})
    access = [*made["access"], {"role": "WRITER", "userByEmail": world.account("exporter")}]
    world.call("PATCH", f"{datasets}/us", json={"access": access})


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One local Google for all tests; each test makes its own tables and objects in it."""
    aws = ThreadingHTTPServer(("127.0.0.1", 0), Sts)
    threading.Thread(target=aws.serve_forever, daemon=True).start()
    home: Path = tmp_path_factory.mktemp("home")
    google = Google(home, f"http://127.0.0.1:{aws.server_address[1]}", CHECKOUT / "bin/fake-gcs-server")
    google.start()
    try:
        headers = {"authorization": "Bearer local"}
        with httpx.Client(
            base_url=google.endpoints["google"], headers=headers, timeout=30, trust_env=False
        ) as operator:
            number = operator.get(f"/cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}").json()["projectNumber"]
            world = World(google, operator, number)
            build(world)
            yield world
    finally:
        google.stop()
        aws.shutdown()
