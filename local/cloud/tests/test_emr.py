"""EMR's promises: steps run, in their order, with the right credentials, and EMR's refusals are EMR's."""

from __future__ import annotations

import gzip
import json
import os
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import pytest

from local.cloud.launcher import CHECKOUT

from .conftest import Account, Launched, assert_fits, run_job_flow, step, wait_for


@pytest.fixture(scope="module")
def emr(root: Account) -> Any:
    return root.client("emr")


def finished(emr: Any, cluster: str, step_id: str) -> dict[str, Any]:
    """A step's status once it has ended."""

    def ended() -> Any:
        status = emr.describe_step(ClusterId=cluster, StepId=step_id)["Step"]["Status"]
        return status if status["State"] in ("COMPLETED", "FAILED", "CANCELLED") else None

    status: dict[str, Any] = wait_for(ended)
    return status


def cluster_state(emr: Any, cluster: str) -> str:
    return str(emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"])


@pytest.fixture
def cluster(root: Account, emr: Any, service_role: str, job_profile: str, bucket: str) -> Any:
    request = run_job_flow(root, service_role, job_profile, LogUri=f"s3://{bucket}/logs/", StepConcurrencyLevel=2)
    cluster_id = emr.run_job_flow(**request)["JobFlowId"]
    yield cluster_id
    emr.terminate_job_flows(JobFlowIds=[cluster_id])


def test_step_has_the_role_of_the_instance_profile_and_keeps_its_logs(
    root: Account, emr: Any, cluster: str, bucket: str
) -> None:
    program = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    step_id = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("python3", "-c", program)])["StepIds"][0]
    status = finished(emr, cluster, step_id)
    folder = f"logs/{cluster}/steps/{step_id}"
    s3 = root.client("s3")
    logs = {
        name: gzip.decompress(s3.get_object(Bucket=bucket, Key=f"{folder}/{name}.gz")["Body"].read()).decode()
        for name in ("controller", "stdout", "stderr")
    }
    assert status["State"] == "COMPLETED", logs
    assert logs["stdout"].startswith("arn:aws:sts::000000000000:assumed-role/emr-job/i-")
    assert "exit code 0" in logs["controller"]
    described = emr.describe_step(ClusterId=cluster, StepId=step_id)
    assert_fits("emr", "DescribeStep", described)
    assert described["Step"]["Config"]["Args"] == ["python3", "-c", program]


def test_failing_step_says_why(emr: Any, cluster: str, bucket: str) -> None:
    step_id = emr.add_job_flow_steps(
        JobFlowId=cluster, Steps=[step("bash", "-c", "echo first >&2; echo the reason >&2; exit 3")]
    )["StepIds"][0]
    status = finished(emr, cluster, step_id)
    assert status["State"] == "FAILED"
    assert status["FailureDetails"] == {
        "Reason": "Unknown Error.",
        "Message": "first\nthe reason",
        "LogFile": f"s3://{bucket}/logs/{cluster}/steps/{step_id}/stderr.gz",
    }
    wait_for(lambda: cluster_state(emr, cluster) == "WAITING")


def test_steps_run_as_many_at_once_as_the_cluster_allows(emr: Any, cluster: str) -> None:
    steps = [step("sleep", "600", name=f"s{number}") for number in range(3)]
    first, second, third = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps)["StepIds"]
    wait_for(lambda: len(emr.list_steps(ClusterId=cluster, StepStates=["RUNNING"])["Steps"]) == 2)
    assert [s["Id"] for s in emr.list_steps(ClusterId=cluster, StepStates=["PENDING"])["Steps"]] == [third]
    answer = emr.cancel_steps(ClusterId=cluster, StepIds=[first, third])
    assert_fits("emr", "CancelSteps", answer)
    assert {info["StepId"]: info["Status"] for info in answer["CancelStepsInfoList"]} == {
        first: "SUBMITTED",
        third: "SUBMITTED",
    }
    assert finished(emr, cluster, first)["State"] == "CANCELLED"
    assert finished(emr, cluster, third)["State"] == "CANCELLED"
    assert emr.describe_step(ClusterId=cluster, StepId=second)["Step"]["Status"]["State"] == "RUNNING"
    emr.cancel_steps(ClusterId=cluster, StepIds=[second], StepCancellationOption="TERMINATE_PROCESS")
    assert finished(emr, cluster, second)["State"] == "CANCELLED"
    again = emr.cancel_steps(ClusterId=cluster, StepIds=[second])["CancelStepsInfoList"]
    assert [info["Status"] for info in again] == ["FAILED"]


def test_step_reads_s3_where_the_cluster_says_and_else_asks_another_region(
    root: Account, emr: Any, service_role: str, job_profile: str, bucket: str
) -> None:
    root.client("s3").put_object(Bucket=bucket, Key="jobs/nothing.py", Body=b"")
    core_site = {"Classification": "core-site", "Properties": {"fs.s3a.endpoint.region": "us-east-1"}}
    submit = step("spark-submit", f"s3://{bucket}/jobs/nothing.py")
    ended = {}
    for release, configurations in (("emr-7.13.0", []), ("emr-7.13.0", [core_site]), ("emr-7.9.0", [])):
        request = run_job_flow(root, service_role, job_profile, Configurations=configurations, Steps=[submit])
        request |= {"ReleaseLabel": release, "LogUri": f"s3://{bucket}/logs/"}
        cluster = emr.run_job_flow(**request)["JobFlowId"]
        status = finished(emr, cluster, emr.list_steps(ClusterId=cluster)["Steps"][0]["Id"])
        ended[release, bool(configurations)] = status
        emr.terminate_job_flows(JobFlowIds=[cluster])
    assert {which: status["State"] for which, status in ended.items()} == {
        ("emr-7.13.0", False): "FAILED",
        ("emr-7.13.0", True): "COMPLETED",
        ("emr-7.9.0", False): "COMPLETED",
    }
    log = ended["emr-7.13.0", False]["FailureDetails"]["LogFile"].removeprefix(f"s3://{bucket}/")
    stderr = gzip.decompress(root.client("s3").get_object(Bucket=bucket, Key=log)["Body"].read()).decode()
    assert "Status Code: 301; Error Code: 301 Moved Permanently" in stderr


def test_transient_cluster_ends_with_its_last_step(
    root: Account, emr: Any, service_role: str, job_profile: str
) -> None:
    request = run_job_flow(
        root, service_role, job_profile, Steps=[step("true")], Instances={"KeepJobFlowAliveWhenNoSteps": False}
    )
    cluster = emr.run_job_flow(**request)["JobFlowId"]
    wait_for(lambda: cluster_state(emr, cluster) == "TERMINATED")
    reason = emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["StateChangeReason"]
    assert reason == {"Code": "ALL_STEPS_COMPLETED", "Message": "Steps completed"}
    with pytest.raises(botocore.exceptions.ClientError, match="may not be modified"):
        emr.add_job_flow_steps(JobFlowId=cluster, Steps=[step("true")])


def test_failed_step_can_end_its_cluster(root: Account, emr: Any, service_role: str, job_profile: str) -> None:
    steps = [step("false", on_failure="TERMINATE_CLUSTER"), step("true", name="never")]
    cluster = emr.run_job_flow(**run_job_flow(root, service_role, job_profile, Steps=steps))["JobFlowId"]
    wait_for(lambda: cluster_state(emr, cluster) == "TERMINATED_WITH_ERRORS")
    states = {s["Name"]: s["Status"]["State"] for s in emr.list_steps(ClusterId=cluster)["Steps"]}
    assert states == {"step": "FAILED", "never": "CANCELLED"}


def test_events_are_on_the_default_bus(root: Account, emr: Any, service_role: str, job_profile: str) -> None:
    sqs, rules = root.client("sqs"), root.client("events")
    queue = sqs.create_queue(QueueName="emr-events")["QueueUrl"]
    arn = "arn:aws:sqs:us-east-1:000000000000:emr-events"
    rule = rules.put_rule(
        Name="emr",
        EventPattern=json.dumps(
            {
                "source": ["aws.emr"],
                "detail-type": ["EMR Step Status Change", "EMR Cluster State Change"],
                "detail": {"name": [{"prefix": "sluice/local/us/"}]},
            }
        ),
    )["RuleArn"]
    policy = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": document})
    rules.put_targets(Rule="emr", Targets=[{"Id": "queue", "Arn": arn}])
    request = run_job_flow(
        root,
        service_role,
        job_profile,
        Name="sluice/local/us/cluster",
        Steps=[step("true", name="sluice/local/us/step"), step("true", name="other")],
        Instances={"KeepJobFlowAliveWhenNoSteps": False},
    )
    cluster = emr.run_job_flow(**request)["JobFlowId"]
    events: list[dict[str, Any]] = []

    def all_came() -> bool:
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            events.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return len(events) >= 6

    wait_for(all_came)
    assert sorted((e["detail-type"], e["detail"]["state"]) for e in events) == [
        ("EMR Cluster State Change", "RUNNING"),
        ("EMR Cluster State Change", "STARTING"),
        ("EMR Cluster State Change", "TERMINATED"),
        ("EMR Step Status Change", "COMPLETED"),
        ("EMR Step Status Change", "PENDING"),
        ("EMR Step Status Change", "RUNNING"),
    ]
    completed = next(e for e in events if e["detail"]["state"] == "COMPLETED")
    assert completed["source"] == "aws.emr"
    assert completed["resources"] == []
    detail = completed["detail"]
    assert detail.pop("message").startswith(
        f"Step {detail['stepId']} (sluice/local/us/step) in Amazon EMR cluster {cluster}"
    )
    assert detail == {
        "severity": "INFO",
        "actionOnFailure": "CONTINUE",
        "stepId": detail["stepId"],
        "name": "sluice/local/us/step",
        "clusterId": cluster,
        "state": "COMPLETED",
    }
    ended = next(e for e in events if e["detail"]["state"] == "TERMINATED")
    assert json.loads(ended["detail"]["stateChangeReason"]) == {
        "code": "ALL_STEPS_COMPLETED",
        "message": "Steps completed",
    }


def test_cluster_is_described_as_it_was_asked_for(root: Account, emr: Any, service_role: str, job_profile: str) -> None:
    emr.create_security_configuration(
        Name="encrypted",
        SecurityConfiguration=json.dumps({"EncryptionConfiguration": {"EnableInTransitEncryption": False}}),
    )
    ebs = {
        "EbsBlockDeviceConfigs": [
            {"VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": 64}, "VolumesPerInstance": 2}
        ]
    }
    request = run_job_flow(
        root,
        service_role,
        job_profile,
        Instances={
            "InstanceFleets": [
                {
                    "InstanceFleetType": kind,
                    "TargetOnDemandCapacity": 1,
                    "InstanceTypeConfigs": [{"InstanceType": "m6g.xlarge", "EbsConfiguration": ebs}],
                }
                for kind in ("MASTER", "CORE")
            ]
        },
        Tags=[{"Key": "country", "Value": "us"}],
        Applications=[{"Name": "Spark"}],
        Configurations=[{"Classification": "spark-defaults", "Properties": {"spark.sql.shuffle.partitions": "8"}}],
        EbsRootVolumeSize=32,
        SecurityConfiguration="encrypted",
        AutoTerminationPolicy={"IdleTimeout": 600},
        ManagedScalingPolicy={
            "ComputeLimits": {"UnitType": "InstanceFleetUnits", "MinimumCapacityUnits": 1, "MaximumCapacityUnits": 4}
        },
    )
    del request["Instances"]["InstanceGroups"]
    started = emr.run_job_flow(**request)
    assert_fits("emr", "RunJobFlow", started)
    cluster = started["JobFlowId"]
    described = emr.describe_cluster(ClusterId=cluster)
    assert_fits("emr", "DescribeCluster", described)
    assert {
        name: described["Cluster"][name]
        for name in (
            "Name",
            "Tags",
            "EbsRootVolumeSize",
            "SecurityConfiguration",
            "InstanceCollectionType",
            "AutoTerminate",
        )
    } == {
        "Name": "test",
        "Tags": [{"Key": "country", "Value": "us"}],
        "EbsRootVolumeSize": 32,
        "SecurityConfiguration": "encrypted",
        "InstanceCollectionType": "INSTANCE_FLEET",
        "AutoTerminate": False,
    }
    fleets = emr.list_instance_fleets(ClusterId=cluster)
    assert_fits("emr", "ListInstanceFleets", fleets)
    devices = fleets["InstanceFleets"][0]["InstanceTypeSpecifications"][0]["EbsBlockDevices"]
    assert [device["Device"] for device in devices] == ["/dev/sdb", "/dev/sdc"]
    for operation in ("list_clusters", "list_security_configurations"):
        assert_fits("emr", "".join(part.capitalize() for part in operation.split("_")), getattr(emr, operation)())
    for operation in (
        "get_auto_termination_policy",
        "get_managed_scaling_policy",
        "list_bootstrap_actions",
        "list_instances",
    ):
        answer = getattr(emr, operation)(ClusterId=cluster)
        assert_fits("emr", "".join(part.capitalize() for part in operation.split("_")), answer)
    assert emr.get_auto_termination_policy(ClusterId=cluster)["AutoTerminationPolicy"] == {"IdleTimeout": 600}
    emr.set_termination_protection(JobFlowIds=[cluster], TerminationProtected=True)
    with pytest.raises(botocore.exceptions.ClientError, match="termination protected"):
        emr.terminate_job_flows(JobFlowIds=[cluster])
    emr.set_termination_protection(JobFlowIds=[cluster], TerminationProtected=False)
    emr.terminate_job_flows(JobFlowIds=[cluster])
    wait_for(lambda: cluster_state(emr, cluster) == "TERMINATED")
    emr.delete_security_configuration(Name="encrypted")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ReleaseLabel": "7.13.0"}, "release label is invalid"),
        ({"ServiceRole": "nobody"}, "role nobody does not exist"),
        ({"ServiceRole": "emr-job"}, "does not trust elasticmapreduce.amazonaws.com"),
        ({"JobFlowRole": "emr-service"}, "instance profile emr-service does not exist"),
        ({"SecurityConfiguration": "none"}, "Security configuration with name 'none' does not exist"),
        ({"Instances": {"Ec2SubnetId": "subnet-0"}}, "subnet ID 'subnet-0' does not exist"),
        ({"Instances": {"EmrManagedMasterSecurityGroup": "sg-0"}}, "security group 'sg-0' does not exist"),
        ({"Instances": {"InstanceGroups": []}}, "exactly one master|1 or 3|Must specify"),
        ({"StepConcurrencyLevel": 300}, "between 1 and 256"),
        ({"AutoTerminationPolicy": {"IdleTimeout": 59}}, "between 60 and 604800"),
        ({"LogUri": "/tmp/logs"}, "LogUri must be an S3 address"),
        (
            {"StepConcurrencyLevel": 2, "Steps": [step("true", on_failure="TERMINATE_CLUSTER")]},
            "several steps at once",
        ),
    ],
)
def test_refuses_what_emr_refuses(
    root: Account, emr: Any, service_role: str, job_profile: str, change: dict[str, Any], reason: str
) -> None:
    instances = change.get("Instances", {})
    request = run_job_flow(root, service_role, job_profile)
    request = {**request, **change, "Instances": {**request["Instances"], **instances}}
    with pytest.raises(botocore.exceptions.ClientError, match=reason):
        emr.run_job_flow(**request)


def test_wrong_casing_is_refused(root: Account) -> None:
    client = root.client("emr")
    client.meta.events.register(
        "before-call.emr.DescribeCluster", lambda params, **_: params.update(body=b'{"clusterId": "j-1"}')
    )
    with pytest.raises(botocore.exceptions.ClientError, match='Unknown parameter in input: "clusterId"'):
        client.describe_cluster(ClusterId="j-1")


def test_caller_must_be_allowed_to_pass_the_roles(root: Account, service_role: str, job_profile: str) -> None:
    start = {
        "Effect": "Allow",
        "Action": ["elasticmapreduce:AddTags", "elasticmapreduce:RunJobFlow"],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:RequestTag/Stack": "local", "elasticmapreduce:RequestTag/Country": "us"}},
    }
    passing = {
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": ["arn:aws:iam::000000000000:role/emr-service", "arn:aws:iam::000000000000:role/emr-job"],
        "Condition": {"StringEquals": {"iam:PassedToService": ["elasticmapreduce.amazonaws.com", "ec2.amazonaws.com"]}},
    }
    tags = [{"Key": "Stack", "Value": "local"}, {"Key": "Country", "Value": "us"}]
    request = run_job_flow(root, service_role, job_profile, Tags=tags)
    without = root.as_role(root.role("starts-only", "lambda.amazonaws.com", start)).client("emr")
    with pytest.raises(botocore.exceptions.ClientError, match="not authorized to perform: iam:PassRole"):
        without.run_job_flow(**request)
    allowed = root.as_role(root.role("starts", "lambda.amazonaws.com", start, passing)).client("emr")
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        allowed.run_job_flow(**{**request, "Tags": [{"Key": "Stack", "Value": "other"}]})
    cluster = allowed.run_job_flow(**request)["JobFlowId"]
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        allowed.describe_cluster(ClusterId=cluster)
    root.client("emr").terminate_job_flows(JobFlowIds=[cluster])


def test_tags_of_a_cluster_decide_who_may_use_it(root: Account, service_role: str, job_profile: str) -> None:
    emr = root.client("emr")
    clusters = {
        country: emr.run_job_flow(
            **run_job_flow(root, service_role, job_profile, Tags=[{"Key": "country", "Value": country}])
        )["JobFlowId"]
        for country in ("us", "pr")
    }
    own = {
        "Effect": "Allow",
        "Action": ["elasticmapreduce:AddJobFlowSteps", "elasticmapreduce:TerminateJobFlows"],
        "Resource": "arn:aws:elasticmapreduce:us-east-1:000000000000:cluster/*",
        "Condition": {"StringEquals": {"elasticmapreduce:ResourceTag/country": "us"}},
    }
    us = root.as_role(root.role("us-steps", "lambda.amazonaws.com", own)).client("emr")
    assert len(us.add_job_flow_steps(JobFlowId=clusters["us"], Steps=[step("true")])["StepIds"]) == 1
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        us.add_job_flow_steps(JobFlowId=clusters["pr"], Steps=[step("true")])
    for both in (list(clusters.values()), list(clusters.values())[::-1]):
        with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
            us.terminate_job_flows(JobFlowIds=both)
    us.terminate_job_flows(JobFlowIds=[clusters["us"]])
    emr.terminate_job_flows(JobFlowIds=[clusters["pr"]])


def test_calls_beyond_the_quota_are_throttled_and_a_new_cluster_is_not_listed_at_once(
    tmp_path: Path,
) -> None:
    launched = Launched(tmp_path, "--emr-quota", "3", "0.001", "--emr-list-seconds", "3600")
    try:
        account = Account(launched.endpoint)
        account.role("emr-service", "elasticmapreduce.amazonaws.com")
        request = run_job_flow(account, "emr-service", account.profile("emr-job"))
        config = botocore.config.Config(retries={"total_max_attempts": 1})
        emr = boto3.Session("000000000000", "local", region_name="us-east-1").client(
            "emr", endpoint_url=launched.endpoint, config=config
        )
        cluster = emr.run_job_flow(**request)["JobFlowId"]
        assert emr.list_clusters()["Clusters"] == []
        for _ in range(3):
            assert emr.describe_cluster(ClusterId=cluster)["Cluster"]["Id"] == cluster
        with pytest.raises(botocore.exceptions.ClientError, match=r"\(ThrottlingException\) .* Rate exceeded"):
            emr.describe_cluster(ClusterId=cluster)
        assert emr.list_steps(ClusterId=cluster)["Steps"] == []  # each operation has a quota of its own
    finally:
        assert launched.stop() == 0


def start_jobs(root: Account, *without: str) -> Any:
    """EMR with the rights that the function start-jobs has, as the golden of its policy has them; without some of its statements."""
    golden = (CHECKOUT / "policies/testdata/function-start-jobs.json").read_text()
    document = golden.replace("eu-west-1:111122223333", "us-east-1:000000000000")
    statements = [s for s in json.loads(document)["Statement"] if "elasticmapreduce" in json.dumps(s)]
    assert set(without) < {s["Sid"] for s in statements}
    passes = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*"}
    name = f"start-jobs-{uuid.uuid4().hex[:8]}"
    rights = [s for s in statements if s["Sid"] not in without]
    return root.as_role(root.role(name, "lambda.amazonaws.com", *rights, passes)).client("emr")


LIMITS = {
    "AutoTerminationPolicy": {"IdleTimeout": 600},
    "ManagedScalingPolicy": {
        "ComputeLimits": {"UnitType": "Instances", "MinimumCapacityUnits": 1, "MaximumCapacityUnits": 2}
    },
}
OWN_TAGS = [{"Key": "Stack", "Value": "prod"}, {"Key": "Country", "Value": "us"}]


def test_start_jobs_starts_clusters_of_its_country_with_tags_and_limits(
    root: Account, service_role: str, job_profile: str
) -> None:
    request = run_job_flow(root, service_role, job_profile, Tags=OWN_TAGS, **LIMITS)
    starter = start_jobs(root)
    cluster = starter.run_job_flow(**request)["JobFlowId"]
    assert len(starter.add_job_flow_steps(JobFlowId=cluster, Steps=[step("true")])["StepIds"]) == 1
    root.client("emr").terminate_job_flows(JobFlowIds=[cluster])
    for tags in ([], [*OWN_TAGS[:1], {"Key": "Country", "Value": "pr"}]):
        with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
            starter.run_job_flow(**{**request, "Tags": tags})
    for statement, action in (("TagStartedClusters", "AddTags"), ("LimitStartedClusters", "PutAutoTerminationPolicy")):
        with pytest.raises(botocore.exceptions.ClientError, match=f"elasticmapreduce:{action} on resource: .*cluster/"):
            start_jobs(root, statement).run_job_flow(**request)


@pytest.mark.parametrize("tags", [[], OWN_TAGS, [{"Key": "Stack", "Value": "prod"}, {"Key": "Country", "Value": "pr"}]])
def test_start_jobs_leaves_tags_and_limits_of_clusters_that_are_there(
    root: Account, service_role: str, job_profile: str, tags: list[dict[str, str]]
) -> None:
    emr, starter = root.client("emr"), start_jobs(root)
    cluster = emr.run_job_flow(**run_job_flow(root, service_role, job_profile, Tags=tags))["JobFlowId"]
    calls: list[Callable[[], Any]] = [partial(starter.add_tags, ResourceId=cluster, Tags=OWN_TAGS)]
    calls += [partial(getattr(starter, name), ClusterId=cluster, **limit) for name, limit in PUT_LIMITS.items()]
    if tags != OWN_TAGS:
        calls += [partial(starter.add_job_flow_steps, JobFlowId=cluster, Steps=[step("true")])]
    for call in calls:
        with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
            call()
    assert emr.describe_cluster(ClusterId=cluster)["Cluster"]["Tags"] == tags
    emr.terminate_job_flows(JobFlowIds=[cluster])


PUT_LIMITS = {
    "put_auto_termination_policy": {"AutoTerminationPolicy": LIMITS["AutoTerminationPolicy"]},
    "put_managed_scaling_policy": {"ManagedScalingPolicy": LIMITS["ManagedScalingPolicy"]},
}


def fleets(task_spot: int = 1) -> list[dict[str, Any]]:
    """Fleets of a primary and a core node on demand, and of task nodes on spot."""
    kinds = [("MASTER", 1, 0), ("CORE", 1, 0), ("TASK", 0, task_spot)]
    return [
        {
            "InstanceFleetType": kind,
            "TargetOnDemandCapacity": on_demand,
            "TargetSpotCapacity": spot,
            "InstanceTypeConfigs": [{"InstanceType": "m6g.xlarge"}, {"InstanceType": "m7g.xlarge"}],
            **(
                {
                    "LaunchSpecifications": {
                        "SpotSpecification": {"TimeoutDurationMinutes": 10, "TimeoutAction": "SWITCH_TO_ON_DEMAND"}
                    }
                }
                if spot
                else {}
            ),
        }
        for kind, on_demand, spot in kinds
    ]


def fleet_cluster(root: Account, service_role: str, job_profile: str, **options: Any) -> str:
    """A cluster of fleets that takes steps."""
    request = run_job_flow(root, service_role, job_profile, **options)
    del request["Instances"]["InstanceGroups"]
    request["Instances"]["InstanceFleets"] = options.get("Fleets", fleets())
    request.pop("Fleets", None)
    emr = root.client("emr")
    cluster = str(emr.run_job_flow(**request)["JobFlowId"])
    wait_for(lambda: cluster_state(emr, cluster) == "WAITING")
    return cluster


def running(emr: Any, cluster: str, kind: str | None = None) -> list[str]:
    """The EC2 ids of a cluster's running instances."""
    options = {"InstanceFleetType": kind} if kind else {}
    answer = emr.list_instances(ClusterId=cluster, InstanceStates=["RUNNING"], **options)
    assert_fits("emr", "ListInstances", answer)
    return [instance["Ec2InstanceId"] for instance in answer["Instances"]]


def test_instances_of_a_cluster_are_ec2s_and_end_with_it(
    root: Account, emr: Any, service_role: str, job_profile: str
) -> None:
    ec2 = root.client("ec2")
    cluster = fleet_cluster(root, service_role, job_profile)
    ids = running(emr, cluster)
    assert len(ids) == 3
    described = [i for r in ec2.describe_instances(InstanceIds=ids)["Reservations"] for i in r["Instances"]]
    assert {i["State"]["Name"] for i in described} == {"running"}
    markets = {i["Market"] for i in emr.list_instances(ClusterId=cluster, InstanceFleetType="TASK")["Instances"]}
    assert markets == {"SPOT"}
    emr.terminate_job_flows(JobFlowIds=[cluster])
    wait_for(lambda: cluster_state(emr, cluster) == "TERMINATED")
    described = [i for r in ec2.describe_instances(InstanceIds=ids)["Reservations"] for i in r["Instances"]]
    assert {i["State"]["Name"] for i in described} == {"terminated"}
    assert running(emr, cluster) == []


def test_security_group_of_a_running_cluster_cannot_be_deleted(
    root: Account, emr: Any, service_role: str, job_profile: str
) -> None:
    ec2 = root.client("ec2")
    vpc = ec2.describe_subnets(SubnetIds=[root.subnet()])["Subnets"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=vpc)["GroupId"]
    instances = {"EmrManagedMasterSecurityGroup": group, "EmrManagedSlaveSecurityGroup": group}
    cluster = fleet_cluster(root, service_role, job_profile, Instances=instances)
    with pytest.raises(botocore.exceptions.ClientError, match="DependencyViolation"):
        ec2.delete_security_group(GroupId=group)
    emr.terminate_job_flows(JobFlowIds=[cluster])
    wait_for(lambda: cluster_state(emr, cluster) == "TERMINATED")
    ec2.delete_security_group(GroupId=group)


def test_cluster_whose_primary_node_cannot_reach_emr_does_not_start(
    root: Account, emr: Any, service_role: str, job_profile: str
) -> None:
    ec2 = root.client("ec2")
    vpc = ec2.describe_subnets(SubnetIds=[root.subnet()])["Subnets"][0]["VpcId"]
    nodes, service = (
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
        for name in ("both", "service")
    )
    instances = {
        "EmrManagedMasterSecurityGroup": nodes,
        "EmrManagedSlaveSecurityGroup": nodes,
        "ServiceAccessSecurityGroup": service,
    }
    request = run_job_flow(root, service_role, job_profile)
    request["Instances"] |= instances
    cluster = emr.run_job_flow(**request)["JobFlowId"]
    wait_for(lambda: cluster_state(emr, cluster) == "TERMINATED_WITH_ERRORS")
    reason = emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["StateChangeReason"]
    assert reason == {
        "Code": "VALIDATION_ERROR",
        "Message": "ServiceAccessSecurityGroup is missing ingress rule from EmrManagedMasterSecurityGroup on port 9443",
    }
    rule = {"IpProtocol": "tcp", "FromPort": 9443, "ToPort": 9443, "UserIdGroupPairs": [{"GroupId": nodes}]}
    ec2.authorize_security_group_ingress(GroupId=service, IpPermissions=[rule])
    cluster = emr.run_job_flow(**request)["JobFlowId"]
    wait_for(lambda: cluster_state(emr, cluster) == "WAITING")
    emr.terminate_job_flows(JobFlowIds=[cluster])


@pytest.mark.parametrize(("fault", "replaced"), [("terminate", True), ("stop", True), ("stop", False)])
def test_lost_node_is_replaced_and_a_sick_one_if_the_cluster_wants_it(
    root: Account, emr: Any, service_role: str, job_profile: str, fault: str, replaced: bool
) -> None:
    cluster = fleet_cluster(root, service_role, job_profile, Instances={"UnhealthyNodeReplacement": replaced})
    [lost] = running(emr, cluster, "CORE")
    getattr(root.client("ec2"), f"{fault}_instances")(InstanceIds=[lost])
    if replaced:
        wait_for(lambda: (now := running(emr, cluster, "CORE")) and now != [lost])
        gone = next(i for i in emr.list_instances(ClusterId=cluster)["Instances"] if i["Ec2InstanceId"] == lost)
        assert gone["Status"]["StateChangeReason"]["Code"] == "INSTANCE_FAILURE"
    else:
        with pytest.raises(pytest.fail.Exception):
            wait_for(lambda: running(emr, cluster, "CORE") != [lost], seconds=3)
    emr.terminate_job_flows(JobFlowIds=[cluster])


def test_cluster_ends_with_its_primary_node(root: Account, emr: Any, service_role: str, job_profile: str) -> None:
    cluster = fleet_cluster(root, service_role, job_profile)
    root.client("ec2").terminate_instances(InstanceIds=running(emr, cluster, "MASTER"))
    wait_for(lambda: cluster_state(emr, cluster) == "TERMINATED_WITH_ERRORS")


def test_managed_scaling_adds_spot_nodes_for_work_and_takes_them_away_after_it(
    root: Account, emr: Any, service_role: str, job_profile: str
) -> None:
    policy = {"ComputeLimits": {"UnitType": "InstanceFleetUnits", "MinimumCapacityUnits": 1, "MaximumCapacityUnits": 3}}
    cluster = fleet_cluster(root, service_role, job_profile, ManagedScalingPolicy=policy, StepConcurrencyLevel=5)
    wait_for(lambda: len(running(emr, cluster, "TASK")) == 0)
    steps = [step("sleep", "600", name=f"s{number}") for number in range(4)]
    ids = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps)["StepIds"]
    wait_for(lambda: len(running(emr, cluster, "TASK")) == 2)
    emr.cancel_steps(ClusterId=cluster, StepIds=ids, StepCancellationOption="TERMINATE_PROCESS")
    wait_for(lambda: len(running(emr, cluster, "TASK")) == 0)
    assert len(running(emr, cluster, "CORE")) == 1
    emr.terminate_job_flows(JobFlowIds=[cluster])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"InstanceTypeConfigs": []}, "has no instance types"),
        ({"InstanceTypeConfigs": [{"InstanceType": "m6g.xlarge"}] * 2}, "twice"),
        (
            {"InstanceTypeConfigs": [{"InstanceType": name} for name in ("m6g.xlarge", "m9.huge", "m7g.xlarge")]},
            "Instance type 'm9.huge' is not supported.",
        ),
        ({"InstanceTypeConfigs": [{"InstanceType": f"m{n}g.xlarge"} for n in range(6)]}, "5 are allowed"),
        ({"TargetSpotCapacity": 0}, "greater than 0"),
        (
            {
                "LaunchSpecifications": {
                    "SpotSpecification": {"TimeoutDurationMinutes": 4, "TimeoutAction": "SWITCH_TO_ON_DEMAND"}
                }
            },
            "between 5 and 1440",
        ),
    ],
)
def test_refuses_fleets_that_emr_refuses(
    root: Account, emr: Any, service_role: str, job_profile: str, change: dict[str, Any], reason: str
) -> None:
    wrong = [*fleets()[:2], {**fleets()[2], **change}]
    with pytest.raises(botocore.exceptions.ClientError, match=reason):
        fleet_cluster(root, service_role, job_profile, Fleets=wrong)


def settled(emr: Any, cluster: str) -> bool:
    return cluster_state(emr, cluster) not in ("STARTING", "BOOTSTRAPPING", "TERMINATING")


def test_cluster_ends_for_one_type_that_its_zone_has_not(
    root: Account, emr: Any, service_role: str, job_profile: str
) -> None:
    ec2 = root.client("ec2")
    kinds = ["m6g.xlarge", "m7gd.xlarge"]
    offered = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": kinds}]
    )["InstanceTypeOfferings"]
    where = {kind: sorted(o["Location"] for o in offered if o["InstanceType"] == kind) for kind in kinds}
    assert where == {
        "m6g.xlarge": ["us-east-1a", "us-east-1b", "us-east-1c"],
        "m7gd.xlarge": ["us-east-1a", "us-east-1b"],
    }
    subnets = {s["AvailabilityZone"]: s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]}
    types = [{"InstanceType": kind} for kind in kinds]
    mixed = [{**fleet, "InstanceTypeConfigs": types} for fleet in fleets()]
    request = run_job_flow(root, service_role, job_profile)
    request["Instances"] = {"KeepJobFlowAliveWhenNoSteps": True, "InstanceFleets": mixed}
    ended = {}
    for zone in ("us-east-1a", "us-east-1c"):
        request["Instances"]["Ec2SubnetIds"] = [subnets[zone]]
        cluster = emr.run_job_flow(**request)["JobFlowId"]
        wait_for(partial(settled, emr, cluster))
        ended[zone] = emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]
        emr.terminate_job_flows(JobFlowIds=[cluster])
    assert ended["us-east-1a"]["State"] in ("RUNNING", "WAITING")
    assert ended["us-east-1c"]["State"] == "TERMINATED_WITH_ERRORS"
    reason = ended["us-east-1c"]["StateChangeReason"]
    assert reason["Code"] == "VALIDATION_ERROR"
    assert reason["Message"].startswith(
        "The requested instance type m7gd.xlarge is not supported in the requested avail"
    )


def in_transit(address: str) -> str:
    """A security configuration whose nodes talk to each other under the certificate at an address."""
    tls = {"TLSCertificateConfiguration": {"CertificateProviderType": "PEM", "S3Object": address}}
    encryption = {"EnableInTransitEncryption": True, "InTransitEncryptionConfiguration": tls}
    return json.dumps({"EncryptionConfiguration": {**encryption, "EnableAtRestEncryption": False}})


def test_cluster_without_its_certificate_does_not_start(
    root: Account, emr: Any, service_role: str, job_profile: str, bucket: str
) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match="no object in S3"):
        emr.create_security_configuration(Name="bad", SecurityConfiguration=in_transit("certificate.zip"))
    emr.create_security_configuration(Name="tls", SecurityConfiguration=in_transit(f"s3://{bucket}/none.zip"))
    request = run_job_flow(root, service_role, job_profile, SecurityConfiguration="tls")
    cluster = emr.run_job_flow(**request)["JobFlowId"]
    wait_for(lambda: cluster_state(emr, cluster) == "TERMINATED_WITH_ERRORS")
    reason = emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["StateChangeReason"]
    assert reason["Code"] == "BOOTSTRAP_FAILURE"
    assert f"the certificate s3://{bucket}/none.zip cannot be used" in reason["Message"]
    emr.delete_security_configuration(Name="tls")


def newest(root: Account, namespace: str, metric: str, dimension: str, value: str) -> float | None:
    """The newest value of a metric."""
    query = {
        "Id": "m",
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": metric,
                "Dimensions": [{"Name": dimension, "Value": value}],
            },
            "Period": 1,
            "Stat": "Average",
        },
    }
    now = time.time()
    answer = root.client("cloudwatch").get_metric_data(MetricDataQueries=[query], StartTime=now - 60, EndTime=now + 1)
    result = answer["MetricDataResults"][0]
    return max(zip(result["Timestamps"], result["Values"], strict=True), default=(None, None))[1]


def test_metrics_of_the_machines_are_what_the_steps_really_use(
    root: Account, emr: Any, service_role: str, job_profile: str
) -> None:
    cluster = fleet_cluster(root, service_role, job_profile)
    [core] = running(emr, cluster, "CORE")

    def cpu() -> float | None:
        return newest(root, "AWS/EC2", "CPUUtilization", "InstanceId", core)

    def idle() -> float | None:
        return newest(root, "AWS/ElasticMapReduce", "IsIdle", "JobFlowId", cluster)

    wait_for(lambda: idle() == 1 and cpu() == 0)
    busy = step("python3", "-c", "while True: pass")
    step_id = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[busy])["StepIds"][0]
    # An endless loop keeps at most one processor busy, and less on a machine that has other work.
    share = 100 / (os.cpu_count() or 1)
    wait_for(lambda: idle() == 0 and share / 50 < (cpu() or 0) <= share * 1.1)
    emr.cancel_steps(ClusterId=cluster, StepIds=[step_id], StepCancellationOption="TERMINATE_PROCESS")
    wait_for(lambda: idle() == 1 and cpu() == 0)
    emr.terminate_job_flows(JobFlowIds=[cluster])
