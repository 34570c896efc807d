"""A local AWS of the tests' own, and what most of them need in it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.validate
import pytest

from local.cloud import models
from local.cloud.launcher import CHECKOUT

JARS = CHECKOUT / ".jars"
TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole"}]}
IDENTITY = """
import importlib.util, sys
from pyspark import SparkContext

assert importlib.util.find_spec("boto3") is None
SparkContext._ensure_initialized()
sts = SparkContext._jvm.software.amazon.awssdk.services.sts.StsClient.create()
print(sts.getCallerIdentity().arn(), *sys.argv[1:])
"""
"""A job that says who it is and with which arguments, asking as jobs have to: its Python has PySpark only."""


class Launched:
    """A launcher of the tests."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "local.cloud",
                "--home",
                home,
                "--aws-only",
                "--jars",
                JARS,
                "--metric-seconds",
                "2",
                *options,
            ],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for(lambda: self.state.get("pid") == self.process.pid or self.process.poll() is not None)

    @property
    def state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self.home / "cloud.json").read_text())
        except FileNotFoundError:
            return {}
        return state

    @property
    def endpoint(self) -> str:
        return str(self.state["endpoints"]["aws"])

    def stop(self, signum: int = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        return self.process.wait(120)


@dataclass
class Account:
    """Clients of the local AWS with somebody's credentials."""

    endpoint: str
    key: str = "000000000000"
    secret: str = "local"
    token: str | None = None

    def client(self, service: str) -> Any:
        session = boto3.Session(self.key, self.secret, self.token, region_name="us-east-1")
        return session.client(service, endpoint_url=self.endpoint)

    def role(self, name: str, service: str, *statements: dict[str, Any], trusts: str = "000000000000") -> str:
        """A role for a service, that the account may assume too; its ARN."""
        iam = self.client("iam")
        principal = {"Service": service, "AWS": trusts}
        document = {"Version": "2012-10-17", "Statement": [{**TRUST["Statement"][0], "Principal": principal}]}  # type: ignore[dict-item]
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(document))["Role"]["Arn"]
        if statements:
            policy = {"Version": "2012-10-17", "Statement": list(statements)}
            iam.put_role_policy(RoleName=name, PolicyName="rights", PolicyDocument=json.dumps(policy))
        return str(arn)

    def profile(self, name: str, *statements: dict[str, Any]) -> str:
        """An instance profile of this name with a role of the same name."""
        self.role(name, "ec2.amazonaws.com", *statements)
        iam = self.client("iam")
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        return name

    def as_role(self, arn: str, **options: Any) -> Account:
        """The same account with a role's temporary credentials."""
        got = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="test", **options)["Credentials"]
        return Account(self.endpoint, got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"])

    def subnet(self) -> str:
        return str(self.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"])

    def function(self, name: str, role: str, source: str, **options: Any) -> str:
        """A custom-runtime function whose handler is the Python function `handle(event)` in the source; its ARN."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            info = zipfile.ZipInfo("bootstrap")
            info.external_attr = 0o755 << 16
            file.writestr(info, BOOTSTRAP.replace("SOURCE", source))
        created = self.client("lambda").create_function(
            FunctionName=name,
            Role=role,
            Runtime="provided.al2023",
            Handler="bootstrap",
            Code={"ZipFile": archive.getvalue()},
            Timeout=20,
            **options,
        )
        return str(created["FunctionArn"])


BOOTSTRAP = f"""#!{sys.executable}
import json, os, urllib.request
SOURCE
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(api + "next") as answer:
        request, event = answer.headers["Lambda-Runtime-Aws-Request-Id"], json.load(answer)
    try:
        path, body = "/response", handle(event)
    except Exception as error:
        path, body = "/error", {{"errorType": type(error).__name__, "errorMessage": str(error)}}
    urllib.request.urlopen(api + request + path, json.dumps(body).encode()).close()
"""


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """The condition's first true value; a failure when it has none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    pytest.fail(f"nothing came within {seconds} s")


def assert_fits(service: str, operation: str, answer: dict[str, Any]) -> None:
    """An answer holds only what AWS's own model of the operation allows, each of its type."""
    shape = models.service(service).operation_model(operation).output_shape
    content = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
    if shape is None:
        assert content == {}
        return
    report = botocore.validate.ParamValidator().validate(content, shape)
    assert not report.has_errors(), report.generate_report()


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    launched = Launched(tmp_path_factory.mktemp("home"))
    yield launched
    assert launched.stop() == 0


@pytest.fixture(scope="session")
def root(cloud: Launched) -> Account:
    return Account(cloud.endpoint)


@pytest.fixture(scope="session")
def bucket(root: Account) -> str:
    root.client("s3").create_bucket(Bucket="lake")
    return "lake"


@pytest.fixture(scope="session")
def service_role(root: Account) -> str:
    root.role("emr-service", "elasticmapreduce.amazonaws.com")
    return "emr-service"


@pytest.fixture(scope="session")
def job_profile(root: Account, bucket: str) -> str:
    return root.profile(
        "emr-job",
        {"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]},
        {"Effect": "Allow", "Action": "glue:*", "Resource": "*"},
    )


def run_job_flow(account: Account, service_role: str, profile: str, **options: Any) -> dict[str, Any]:
    """The smallest cluster that EMR takes, with options over it."""
    instances = {
        "KeepJobFlowAliveWhenNoSteps": True,
        "Ec2SubnetId": account.subnet() if account.token is None else "",
        "InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m6g.xlarge", "InstanceCount": 1}],
    } | options.pop("Instances", {})
    return {
        "Name": "test",
        "ReleaseLabel": "emr-7.13.0",
        "ServiceRole": service_role,
        "JobFlowRole": profile,
        "Instances": instances,
        **options,
    }


def step(*args: str, name: str = "step", on_failure: str = "CONTINUE") -> dict[str, Any]:
    jar = {"Jar": "command-runner.jar", "Args": list(args)}
    return {"Name": name, "ActionOnFailure": on_failure, "HadoopJarStep": jar}


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    """All descendants of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += [int(stat.parent.name), *children(int(stat.parent.name))]
    return found


os.environ.pop("AWS_PROFILE", None)
