"""EMR Serverless's promises: runs run with their own role, once for a token, within the application's capacity; refusals are AWS's."""

from __future__ import annotations

import gzip
import json
import uuid
from typing import Any

import botocore.exceptions
import pytest

from .conftest import IDENTITY, Account, assert_fits, wait_for

ENDED = ("SUCCESS", "FAILED", "CANCELLED")


@pytest.fixture(scope="module")
def serverless(root: Account) -> Any:
    return root.client("emr-serverless")


@pytest.fixture(scope="module")
def role(root: Account, bucket: str) -> str:
    rights = {"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}
    root.client("s3").put_object(Bucket=bucket, Key="jobs/identity.py", Body=IDENTITY.encode())
    root.client("s3").put_object(Bucket=bucket, Key="jobs/sleep.py", Body=b"import time; time.sleep(600)\n")
    root.client("s3").put_object(Bucket=bucket, Key="jobs/fail.py", Body=b"import sys; sys.exit('the reason')\n")
    return root.role("serverless-job", "emr-serverless.amazonaws.com", rights)


@pytest.fixture
def application(serverless: Any) -> Any:
    created = serverless.create_application(
        name="test",
        type="spark",
        releaseLabel="emr-7.13.0",
        clientToken=uuid.uuid4().hex,
        maximumCapacity={"cpu": "8 vCPU", "memory": "32 GB"},
        tags={"Stack": "test"},
    )
    assert_fits("emr-serverless", "CreateApplication", created)
    name = created["applicationId"]
    wait_for(lambda: state_of(serverless, name) == "CREATED")
    yield name
    for run in serverless.list_job_runs(applicationId=name)["jobRuns"]:
        if run["state"] not in ENDED:
            serverless.cancel_job_run(applicationId=name, jobRunId=run["id"])
            ended(serverless, name, run["id"])
    if state_of(serverless, name) == "STARTED":
        serverless.stop_application(applicationId=name)
        wait_for(lambda: state_of(serverless, name) == "STOPPED")
    serverless.delete_application(applicationId=name)
    assert state_of(serverless, name) == "TERMINATED"


def state_of(serverless: Any, application: str) -> str:
    got = serverless.get_application(applicationId=application)
    assert_fits("emr-serverless", "GetApplication", got)
    return str(got["application"]["state"])


def run_of(serverless: Any, application: str, run: str) -> dict[str, Any]:
    got = serverless.get_job_run(applicationId=application, jobRunId=run)
    assert_fits("emr-serverless", "GetJobRun", got)
    found: dict[str, Any] = got["jobRun"]
    return found


def ended(serverless: Any, application: str, run: str) -> dict[str, Any]:
    def over() -> Any:
        found = run_of(serverless, application, run)
        return found if found["state"] in ENDED else None

    found: dict[str, Any] = wait_for(over)
    return found


def request(application: str, role: str, bucket: str, script: str, **options: Any) -> dict[str, Any]:
    submit = "--conf spark.driver.cores=4 --conf spark.driver.memory=14g --conf spark.executor.instances=1"
    submit += " --conf spark.hadoop.fs.s3a.endpoint.region=us-east-1"
    return {
        "applicationId": application,
        "clientToken": uuid.uuid4().hex,
        "executionRoleArn": role,
        "name": "sluice/local/us/airlines/2013-01-01#1",
        "jobDriver": {
            "sparkSubmit": {
                "entryPoint": f"s3://{bucket}/jobs/{script}.py",
                "entryPointArguments": ["--order", "x"],
                "sparkSubmitParameters": submit,
            }
        },
        "configurationOverrides": {
            "monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": f"s3://{bucket}/logs/"}}
        },
        **options,
    }


def test_run_has_its_own_role_and_keeps_its_logs(
    root: Account, serverless: Any, application: str, role: str, bucket: str
) -> None:
    started = serverless.start_job_run(**request(application, role, bucket, "identity"))
    assert_fits("emr-serverless", "StartJobRun", started)
    run = ended(serverless, application, started["jobRunId"])
    assert run["state"] == "SUCCESS", run["stateDetails"]
    key = f"logs/applications/{application}/jobs/{started['jobRunId']}/SPARK_DRIVER/stdout.gz"
    out = gzip.decompress(root.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()).decode()
    # Java may warn about itself on standard output first.
    assert (
        out.splitlines()[-1] == f"arn:aws:sts::000000000000:assumed-role/serverless-job/{started['jobRunId']} --order x"
    )
    assert state_of(serverless, application) == "STARTED"
    with pytest.raises(botocore.exceptions.ClientError, match="must be CREATED or STOPPED to be deleted"):
        serverless.delete_application(applicationId=application)
    listed = serverless.list_job_runs(applicationId=application, states=["SUCCESS"])
    assert_fits("emr-serverless", "ListJobRuns", listed)
    assert [found["name"] for found in listed["jobRuns"]] == ["sluice/local/us/airlines/2013-01-01#1"]


def test_token_is_good_once(serverless: Any, application: str, role: str, bucket: str) -> None:
    first = request(application, role, bucket, "fail")
    started = serverless.start_job_run(**first)
    assert serverless.start_job_run(**first)["jobRunId"] == started["jobRunId"]
    with pytest.raises(serverless.exceptions.ConflictException):
        serverless.start_job_run(**{**first, "name": "another"})
    run = ended(serverless, application, started["jobRunId"])
    assert run["state"] == "FAILED"
    assert run["stateDetails"].startswith("Job failed, exit code 1: ")


def test_run_waits_until_its_workers_fit(serverless: Any, application: str, role: str, bucket: str) -> None:
    first, second = (
        serverless.start_job_run(**request(application, role, bucket, "sleep"))["jobRunId"] for _ in range(2)
    )
    wait_for(lambda: run_of(serverless, application, first)["state"] == "RUNNING")
    assert run_of(serverless, application, second)["state"] in ("SUBMITTED", "PENDING", "SCHEDULED")
    with pytest.raises(serverless.exceptions.ConflictException):
        serverless.stop_application(applicationId=application)
    serverless.cancel_job_run(applicationId=application, jobRunId=first)
    assert ended(serverless, application, first)["state"] == "CANCELLED"
    wait_for(lambda: run_of(serverless, application, second)["state"] == "RUNNING")


def test_run_larger_than_the_application_fails(serverless: Any, application: str, role: str, bucket: str) -> None:
    large = request(application, role, bucket, "identity")
    large["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"] += " --conf spark.executor.cores=8"
    run = ended(serverless, application, serverless.start_job_run(**large)["jobRunId"])
    assert run["state"] == "FAILED"
    assert "exceeded maximumCapacity" in run["stateDetails"]


def test_what_aws_refuses_is_refused(root: Account, serverless: Any, application: str, role: str, bucket: str) -> None:
    wanted = request(application, role, bucket, "identity")
    with pytest.raises(botocore.exceptions.ClientError, match="does not trust emr-serverless"):
        serverless.start_job_run(**{**wanted, "executionRoleArn": root.role("no-trust", "ec2.amazonaws.com")})
    odd = json.loads(json.dumps(wanted).replace("spark.driver.cores=4", "spark.driver.cores=3"))
    with pytest.raises(botocore.exceptions.ClientError, match="not supported"):
        serverless.start_job_run(**odd)
    arn = f"arn:aws:emr-serverless:us-east-1:000000000000:/applications/{application}"
    start = {"Effect": "Allow", "Action": "emr-serverless:StartJobRun", "Resource": arn}
    caller = root.as_role(root.role("starter", "lambda.amazonaws.com", start)).client("emr-serverless")
    with pytest.raises(botocore.exceptions.ClientError, match="iam:PassRole"):
        caller.start_job_run(**wanted)
    with pytest.raises(
        botocore.exceptions.ClientError, match="not authorized to perform: emr-serverless:GetApplication"
    ):
        caller.get_application(applicationId=application)
    with pytest.raises(botocore.exceptions.ClientError, match="not authorized to perform: emr-serverless:StartJobRun"):
        caller.start_job_run(**{**wanted, "applicationId": "00f1other"})


def test_disks_are_under_a_key_that_everyone_concerned_may_use(
    root: Account, serverless: Any, application: str, bucket: str
) -> None:
    arn = f"arn:aws:emr-serverless:us-east-1:000000000000:/applications/{application}"
    account = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:*"}
    service = {
        "Effect": "Allow",
        "Principal": {"Service": "emr-serverless.amazonaws.com"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Condition": {
            "StringEquals": {"aws:SourceAccount": "000000000000", "kms:EncryptionContext:disks": "us"},
            "ArnLike": {"aws:SourceArn": arn},
        },
    }

    def key(*statements: dict[str, Any]) -> str:
        policy = {"Version": "2012-10-17", "Statement": [{**s, "Resource": "*"} for s in statements]}
        return str(root.client("kms").create_key(Policy=json.dumps(policy))["KeyMetadata"]["Arn"])

    disks, closed = key(account, service), key(account)
    use = {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": [disks, closed]}
    files = {"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}
    role = root.role("disks-job", "emr-serverless.amazonaws.com", use, files)
    keyless = root.role("disks-keyless", "emr-serverless.amazonaws.com", files)

    def start(client: Any, name: str, role: str, bound: str = "us") -> Any:
        wanted = request(application, role, bucket, "identity")
        wanted["configurationOverrides"]["diskEncryptionConfiguration"] = {
            "encryptionKeyArn": name,
            "encryptionContext": {"disks": bound},
        }
        return client.start_job_run(**wanted)

    begin = {"Effect": "Allow", "Action": ["emr-serverless:StartJobRun", "iam:PassRole"], "Resource": [arn, role]}
    blind = root.as_role(root.role("disks-blind", "lambda.amazonaws.com", begin, use)).client("emr-serverless")
    look = {"Effect": "Allow", "Action": "kms:DescribeKey", "Resource": disks}
    unable = root.as_role(root.role("disks-unable", "lambda.amazonaws.com", begin, look)).client("emr-serverless")
    able = root.as_role(root.role("disks-able", "lambda.amazonaws.com", begin, look, use)).client("emr-serverless")
    for client, name, who, bound, refusal in (
        (serverless, closed, role, "us", "emr-serverless.amazonaws.com is not authorized to perform: kms:GenerateData"),
        (serverless, disks, role, "uy", "emr-serverless.amazonaws.com is not authorized to perform: kms:GenerateData"),
        (serverless, disks + "0", role, "us", "no enabled symmetric key"),
        (serverless, disks, keyless, "us", "not authorized to perform: kms:GenerateDataKey"),
        (blind, disks, role, "us", "not authorized to perform: kms:DescribeKey"),
        (unable, disks, role, "us", "not authorized to perform: kms:GenerateDataKey"),
    ):
        with pytest.raises(botocore.exceptions.ClientError, match=refusal):
            start(client, name, who, bound)
    started = start(able, disks, role)
    run = ended(serverless, application, started["jobRunId"])
    assert run["state"] == "SUCCESS", run["stateDetails"]
    assert run["configurationOverrides"]["diskEncryptionConfiguration"]["encryptionKeyArn"] == disks


def test_events_are_on_the_default_bus(
    root: Account, serverless: Any, application: str, role: str, bucket: str
) -> None:
    queue = event_queue(root, "serverless", "aws.emr-serverless", "EMR Serverless Job Run State Change")
    run = serverless.start_job_run(**request(application, role, bucket, "fail"))["jobRunId"]
    ended(serverless, application, run)
    states: list[str] = []

    def all_there() -> bool:
        for message in root.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            detail = json.loads(message["Body"])["detail"]
            assert (detail["applicationId"], detail["jobRunId"]) == (application, run)
            assert "name" not in detail
            states.append(detail["state"])
        return len(states) >= 5

    wait_for(all_there)
    assert states == ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "FAILED"]


def event_queue(root: Account, name: str, source: str, kind: str) -> str:
    """A queue that gets the events of a kind."""
    sqs, rules = root.client("sqs"), root.client("events")
    queue = sqs.create_queue(QueueName=f"{name}-events")["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:000000000000:{name}-events"
    rules.put_rule(Name=name, EventPattern=json.dumps({"source": [source], "detail-type": [kind]}))
    policy = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": document})
    rules.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    return str(queue)
