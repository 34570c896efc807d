"""The launcher's promises: one per home, on loopback, the same address again, nothing left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from .conftest import Account, Launched, alive, children, run_job_flow, step, wait_for


def test_second_start_on_the_same_home_is_refused(cloud: Launched) -> None:
    second = Launched(cloud.home)
    assert second.process.wait(120) == 1
    assert second.process.stdout is not None
    assert f"one already runs on {cloud.home} (pid {cloud.process.pid})" in second.process.stdout.read()


def test_listens_on_loopback_only(cloud: Launched) -> None:
    pids = [cloud.process.pid, *children(cloud.process.pid)]
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append(fields[1].partition(":")[0])
    assert set(listening) == {"0100007F"}


def test_restart_keeps_address_and_state(tmp_path: Path) -> None:
    first = Launched(tmp_path)
    endpoint = first.endpoint
    account = Account(endpoint)
    account.client("s3").create_bucket(Bucket="kept")
    account.client("s3").put_object(Bucket="kept", Key="a", Body=b"text")
    account.client("sqs").create_queue(QueueName="kept")
    account.role("emr-service", "elasticmapreduce.amazonaws.com")
    profile = account.profile("emr-job")
    emr = account.client("emr")
    cluster = emr.run_job_flow(**run_job_flow(account, "emr-service", profile))["JobFlowId"]
    running = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("sleep", "600")])["StepIds"][0]
    wait_for(lambda: emr.describe_step(ClusterId=cluster, StepId=running)["Step"]["Status"]["State"] == "RUNNING")
    everyone = children(first.process.pid)
    assert first.stop() == 0
    assert first.state["pid"] is None
    assert [pid for pid in everyone if alive(pid)] == []
    assert not (tmp_path / "cloud/unsaved").exists()

    second = Launched(tmp_path)
    try:
        assert second.endpoint == endpoint
        assert account.client("s3").get_object(Bucket="kept", Key="a")["Body"].read() == b"text"
        assert account.client("sqs").get_queue_url(QueueName="kept")["QueueUrl"].startswith(endpoint)
        wait_for(lambda: emr.list_steps(ClusterId=cluster, StepStates=["FAILED"])["Steps"])
        status = emr.describe_step(ClusterId=cluster, StepId=running)["Step"]["Status"]
        assert status["FailureDetails"]["Message"] == "the local cloud was stopped while the step ran"
        assert emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"] == "WAITING"
    finally:
        assert second.stop() == 0


def test_killed_launcher_leaves_no_child(tmp_path: Path) -> None:
    launched = Launched(tmp_path)
    account = Account(launched.endpoint)
    account.role("emr-service", "elasticmapreduce.amazonaws.com")
    profile = account.profile("emr-job")
    emr = account.client("emr")
    cluster = emr.run_job_flow(**run_job_flow(account, "emr-service", profile, Steps=[step("sleep", "600")]))[
        "JobFlowId"
    ]
    wait_for(lambda: emr.list_steps(ClusterId=cluster, StepStates=["RUNNING"])["Steps"])
    everyone = children(launched.process.pid)
    launched.stop(signal.SIGKILL)
    wait_for(lambda: not [pid for pid in everyone if alive(pid)])


def test_killed_server_ends_the_launcher_and_every_child(tmp_path: Path) -> None:
    launched = Launched(tmp_path)
    everyone = children(launched.process.pid)
    os.kill(launched.state["pids"]["aws"], signal.SIGKILL)
    assert launched.process.wait(120) == 1
    assert [pid for pid in everyone if alive(pid)] == []
    assert launched.state["pid"] is None
    assert (tmp_path / "cloud/unsaved").exists()


def test_new_role_is_unknown_to_services_for_as_long_as_the_launcher_says(tmp_path: Path) -> None:
    cloud = Launched(tmp_path, "--role-seconds", "3600")
    try:
        root = Account(cloud.endpoint)
        root.client("s3").create_bucket(Bucket="new")
        put = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::new/*"}
        arn = root.role("new", "lambda.amazonaws.com", put)
        with pytest.raises(ClientError, match="AccessDenied"):
            root.as_role(arn).client("s3").put_object(Bucket="new", Key="a", Body=b"x")
        with pytest.raises(ClientError, match="cannot be assumed by Lambda"):
            root.function("new", arn, "def handle(event): return {}")
        root.client("glue").create_database(DatabaseInput={"Name": "new"})
        glue = root.role("new-glue", "glue.amazonaws.com", put)
        targets = {"S3Targets": [{"Path": "s3://new/a"}]}
        with pytest.raises(ClientError, match="cannot be assumed by glue"):
            root.client("glue").create_crawler(Name="new", Role=glue, DatabaseName="new", Targets=targets)
    finally:
        cloud.stop()
