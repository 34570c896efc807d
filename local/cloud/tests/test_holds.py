"""Holds' promises: what is held waits and counts as running, can be ended, and never happens when it was; what is let go happens."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from . import test_glue, test_serverless
from .conftest import Account, Launched, run_job_flow, step, wait_for
from .test_emr import finished
from .test_serverless import application, serverless  # noqa: F401

PUT = """
import boto3, sys
boto3.Session("000000000000", "local", region_name="us-east-1").client("s3", endpoint_url=sys.argv[1]).put_object(
    Bucket=sys.argv[2], Key="held/gone", Body=b"x")
"""


class Holds:
    """The holds of a local cloud, by HTTP as any test has them."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def ask(self, method: str, name: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.endpoint}/_local/holds/{name}", data, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def put(self, name: str, kind: str, pattern: str) -> None:
        assert self.ask("PUT", name, {kind: pattern}) == (200, {})

    def let_go(self, name: str) -> None:
        assert self.ask("DELETE", name) == (200, {})

    def held(self, name: str, count: int = 1) -> list[str]:
        """What the hold keeps, once it is so many."""

        def kept() -> Any:
            found = self.ask("GET", name)[1]["held"]
            return (found,) if len(found) == count else None

        (found,) = wait_for(kept)
        return list(found)


@pytest.fixture
def holds(cloud: Launched) -> Iterator[Holds]:
    made = Holds(cloud.endpoint)
    yield made
    for name in ("first", "second"):
        made.let_go(name)


@pytest.fixture(scope="module")
def emr(root: Account) -> Any:
    return root.client("emr")


@pytest.fixture
def cluster(root: Account, emr: Any, service_role: str, job_profile: str, bucket: str) -> Any:
    request = run_job_flow(root, service_role, job_profile, LogUri=f"s3://{bucket}/held-logs/", StepConcurrencyLevel=2)
    cluster_id = emr.run_job_flow(**request)["JobFlowId"]
    yield cluster_id
    emr.terminate_job_flows(JobFlowIds=[cluster_id])


def state_of(emr: Any, cluster: str, step_id: str) -> str:
    return str(emr.describe_step(ClusterId=cluster, StepId=step_id)["Step"]["Status"]["State"])


def test_held_step_runs_until_it_is_let_go_and_keeps_no_other_back(emr: Any, cluster: str, holds: Holds) -> None:
    holds.put("first", "steps", r"runs/us/1/order\.json$")
    steps = [step("echo", "runs/us/1/order.json"), step("echo", "runs/us/2/order.json")]
    held, other = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps)["StepIds"]
    assert finished(emr, cluster, other)["State"] == "COMPLETED"
    assert holds.held("first") == ["echo runs/us/1/order.json"]
    assert state_of(emr, cluster, held) == "RUNNING"
    holds.let_go("first")
    assert finished(emr, cluster, held)["State"] == "COMPLETED"


def test_step_that_two_holds_keep_waits_for_both(emr: Any, cluster: str, holds: Holds) -> None:
    holds.put("first", "steps", "both")
    holds.put("second", "steps", "bot")
    (held,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("echo", "both")])["StepIds"]
    assert holds.held("first") == ["echo both"]
    holds.let_go("first")
    assert holds.held("second") == ["echo both"]
    assert state_of(emr, cluster, held) == "RUNNING"
    holds.let_go("second")
    assert finished(emr, cluster, held)["State"] == "COMPLETED"


def test_held_step_that_is_cancelled_never_starts(
    root: Account, emr: Any, cluster: str, holds: Holds, bucket: str
) -> None:
    holds.put("first", "steps", "marker")
    (held,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("echo", "marker")])["StepIds"]
    holds.held("first")
    emr.cancel_steps(ClusterId=cluster, StepIds=[held])
    assert finished(emr, cluster, held)["State"] == "CANCELLED"
    assert holds.held("first", 0) == []
    folder, s3 = f"held-logs/{cluster}/steps/{held}", root.client("s3")
    logs = {
        name: gzip.decompress(s3.get_object(Bucket=bucket, Key=f"{folder}/{name}.gz")["Body"].read()).decode()
        for name in ("controller", "stdout")
    }
    assert "INFO cancelled before its process started" in logs["controller"]
    assert logs["stdout"] == ""


def test_held_step_ends_with_its_cluster(emr: Any, cluster: str, holds: Holds) -> None:
    holds.put("first", "steps", "echo")
    (held,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("echo", "x")])["StepIds"]
    holds.held("first")
    emr.terminate_job_flows(JobFlowIds=[cluster])
    assert finished(emr, cluster, held)["State"] == "CANCELLED"
    wait_for(lambda: emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"] == "TERMINATED")


@pytest.fixture(scope="module")
def serverless_role(root: Account, bucket: str) -> str:
    return root.role("held-serverless", "emr-serverless.amazonaws.com")


def test_held_serverless_run_runs_and_can_be_cancelled(
    serverless: Any,  # noqa: F811
    application: str,  # noqa: F811
    serverless_role: str,
    bucket: str,
    holds: Holds,
) -> None:
    holds.put("first", "steps", r"sleep\.py --order x$")
    request = test_serverless.request(application, serverless_role, bucket, "sleep")
    run = serverless.start_job_run(**request)["jobRunId"]
    assert holds.held("first")[0].endswith(f"s3://{bucket}/jobs/sleep.py --order x")
    assert test_serverless.run_of(serverless, application, run)["state"] == "RUNNING"
    serverless.cancel_job_run(applicationId=application, jobRunId=run)
    assert test_serverless.ended(serverless, application, run)["state"] == "CANCELLED"


def test_held_glue_run_runs_and_can_be_stopped(root: Account, bucket: str, holds: Holds) -> None:
    glue, role = root.client("glue"), root.role("held-glue", "glue.amazonaws.com")
    glue.create_job(**test_glue.definition(role, bucket, "held-job"))
    try:
        holds.put("first", "steps", "--order held ")
        run = glue.start_job_run(JobName="held-job", Arguments={"--order": "held"})["JobRunId"]
        holds.held("first")
        assert glue.get_job_run(JobName="held-job", RunId=run)["JobRun"]["JobRunState"] == "RUNNING"
        glue.batch_stop_job_run(JobName="held-job", JobRunIds=[run])
        assert test_glue.ended(glue, "held-job", run)["JobRunState"] == "STOPPED"
    finally:
        glue.delete_job(JobName="held-job")


def test_neither_a_held_step_nor_its_hold_outlives_the_cloud(tmp_path: Path) -> None:
    first = Launched(tmp_path)
    account, holds = Account(first.endpoint), Holds(first.endpoint)
    account.role("emr-service", "elasticmapreduce.amazonaws.com")
    profile, emr = account.profile("emr-job"), account.client("emr")
    holds.put("first", "steps", "echo")
    request = run_job_flow(account, "emr-service", profile, Steps=[step("echo", "x")])
    cluster = emr.run_job_flow(**request)["JobFlowId"]
    holds.held("first")
    assert first.stop() == 0
    second = Launched(tmp_path)
    try:
        (held,) = wait_for(lambda: emr.list_steps(ClusterId=cluster, StepStates=["FAILED"])["Steps"])
        reason = held["Status"]["FailureDetails"]["Message"]
        assert reason == "the local cloud was stopped while the step ran"
        assert holds.ask("GET", "first")[0] == 404
    finally:
        assert second.stop() == 0


def test_held_request_is_executed_once_it_is_let_go(root: Account, bucket: str, holds: Holds) -> None:
    s3 = root.client("s3")
    holds.put("first", "requests", f"^arn:aws:iam::000000000000:root PUT /{bucket}/held/later")
    sent = threading.Thread(target=s3.put_object, kwargs={"Bucket": bucket, "Key": "held/later", "Body": b"x" * 100000})
    sent.start()
    assert holds.held("first")[0].startswith(f"arn:aws:iam::000000000000:root PUT /{bucket}/held/later")
    s3.put_object(Bucket=bucket, Key="held/other", Body=b"y")
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket, Prefix="held/")["Contents"]] == ["held/other"]
    holds.let_go("first")
    sent.join(30)
    assert s3.get_object(Bucket=bucket, Key="held/later")["Body"].read() == b"x" * 100000


def test_held_request_whose_sender_died_is_never_executed(root: Account, bucket: str, holds: Holds) -> None:
    holds.put("first", "requests", "PUT .*held/gone")
    with subprocess.Popen([sys.executable, "-c", PUT, holds.endpoint, bucket]) as sender:
        holds.held("first")
        sender.kill()
    assert holds.held("first", 0) == []
    holds.let_go("first")
    with pytest.raises(botocore.exceptions.ClientError, match="Not Found"):
        root.client("s3").head_object(Bucket=bucket, Key="held/gone")


def test_request_is_known_by_its_operation_and_its_body(root: Account, holds: Holds) -> None:
    sqs = root.client("sqs")
    holds.put("first", "requests", "AmazonSQS.CreateQueue .*held-queue")
    made: list[str] = []
    sent = threading.Thread(target=lambda: made.append(sqs.create_queue(QueueName="held-queue")["QueueUrl"]))
    sent.start()
    holds.held("first")
    assert sqs.list_queues(QueueNamePrefix="held-queue").get("QueueUrls", []) == []
    holds.let_go("first")
    sent.join(30)
    assert sqs.list_queues(QueueNamePrefix="held-queue")["QueueUrls"] == made


def test_hold_that_cannot_be_is_refused(holds: Holds) -> None:
    assert holds.ask("GET", "first") == (404, {"message": "there is no hold first"})
    for body in ({"steps": "("}, {"runs": "x"}, {}, {"steps": "x", "requests": "x"}, {"steps": 1}):
        status, answer = holds.ask("PUT", "first", body)
        assert (status, answer["message"][:9]) == (400, "no hold: "), body
    assert holds.ask("PUT", "", {"steps": "x"})[0] == 400
    holds.put("first", "steps", "x")
    holds.put("first", "steps", "x")
    assert holds.ask("PUT", "first", {"requests": "y"})[0] == 409
    assert holds.ask("GET", "first") == (200, {"steps": "x", "held": []})
    assert holds.ask("POST", "first", {})[0] == 405
