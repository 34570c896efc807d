"""Glue's promises: jobs run with their own role, crawlers describe what is there, triggers fire in their order; refusals are AWS's."""

from __future__ import annotations

import datetime
import json
from typing import Any

import botocore.exceptions
import pytest

from .conftest import IDENTITY, Account, assert_fits, wait_for
from .test_serverless import event_queue

ENDED = ("SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT")
LOGS = {
    "Effect": "Allow",
    "Action": "logs:*",
    "Resource": "arn:aws:logs:us-east-1:000000000000:log-group:/aws-glue/jobs/test*",
}


@pytest.fixture(scope="module")
def glue(root: Account) -> Any:
    return root.client("glue")


@pytest.fixture(scope="module")
def role(root: Account, bucket: str) -> str:
    s3 = root.client("s3")
    s3.put_object(
        Bucket=bucket,
        Key="glue/identity.py",
        Body=IDENTITY.encode(),
    )
    s3.put_object(Bucket=bucket, Key="glue/sleep.py", Body=b"import time\ntime.sleep(600)\n")
    rights = {"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}
    catalog = {"Effect": "Allow", "Action": "glue:*", "Resource": "*"}
    return root.role("glue-job", "glue.amazonaws.com", rights, LOGS, catalog)


@pytest.fixture
def job(glue: Any, role: str, bucket: str) -> Any:
    glue.create_job(**definition(role, bucket, "test-job"), Tags={"Stack": "test"})
    yield "test-job"
    glue.delete_job(JobName="test-job")


def definition(role: str, bucket: str, name: str) -> dict[str, Any]:
    return {
        "Name": name,
        "Role": role,
        "GlueVersion": "5.1",
        "Command": {"Name": "glueetl", "PythonVersion": "3", "ScriptLocation": f"s3://{bucket}/glue/identity.py"},
        "DefaultArguments": {"--custom-logGroup-prefix": "/aws-glue/jobs/test", "--datalake-formats": "iceberg"},
        "WorkerType": "G.1X",
        "NumberOfWorkers": 2,
        "ExecutionProperty": {"MaxConcurrentRuns": 1},
    }


def ended(glue: Any, job: str, run: str) -> dict[str, Any]:
    def over() -> Any:
        got = glue.get_job_run(JobName=job, RunId=run)
        assert_fits("glue", "GetJobRun", got)
        return got["JobRun"] if got["JobRun"]["JobRunState"] in ENDED else None

    found: dict[str, Any] = wait_for(over)
    return found


def test_run_has_its_jobs_role_its_arguments_and_its_log(root: Account, glue: Any, job: str) -> None:
    queue = event_queue(root, "glue-jobs", "aws.glue", "Glue Job State Change")
    started = glue.start_job_run(JobName=job, Arguments={"--order": "x"}, WorkerType="G.2X", NumberOfWorkers=3)
    assert_fits("glue", "StartJobRun", started)
    run = ended(glue, job, started["JobRunId"])
    assert run["JobRunState"] == "SUCCEEDED", run
    assert (run["WorkerType"], run["NumberOfWorkers"]) == ("G.2X", 3)
    events = root.client("logs").get_log_events(logGroupName="/aws-glue/jobs/test/output", logStreamName=run["Id"])
    words = events["events"][-1]["message"].split()
    assert words[0] == "arn:aws:sts::000000000000:assumed-role/glue-job/GlueJobRunnerSession"
    assert (
        dict(zip(words[1::2], words[2::2], strict=True)).items()
        >= {
            "--order": "x",
            "--JOB_NAME": job,
            "--JOB_RUN_ID": run["Id"],
        }.items()
    )
    message = wait_for(lambda: root.client("sqs").receive_message(QueueUrl=queue).get("Messages"))[0]
    assert json.loads(message["Body"])["detail"] == {
        "jobName": job,
        "severity": "INFO",
        "state": "SUCCEEDED",
        "jobRunId": run["Id"],
        "message": "Job run succeeded",
    }
    assert [found["Id"] for found in glue.get_job_runs(JobName=job)["JobRuns"]] == [run["Id"]]


def test_job_reads_s3_where_its_settings_say_and_else_asks_another_region(
    root: Account, glue: Any, job: str, bucket: str
) -> None:
    read = f"from pyspark.sql import SparkSession\nSparkSession.builder.getOrCreate().read.text('s3://{bucket}/glue').count()\n"
    root.client("s3").put_object(Bucket=bucket, Key="read.py", Body=read.encode())
    script = {"--scriptLocation": f"s3://{bucket}/read.py"}  # which Glue brings itself
    without = ended(glue, job, glue.start_job_run(JobName=job, Arguments=script)["JobRunId"])
    setting = {"--conf": "spark.hadoop.fs.s3a.endpoint.region=us-east-1"}
    within = ended(glue, job, glue.start_job_run(JobName=job, Arguments=script | setting)["JobRunId"])
    assert [without["JobRunState"], within["JobRunState"]] == ["FAILED", "SUCCEEDED"]


def test_encrypted_logs_are_in_groups_named_after_what_encrypts_them_and_the_role(
    root: Account, glue: Any, job: str
) -> None:
    key = root.client("kms").create_key()["KeyMetadata"]["Arn"]
    encrypted = {"CloudWatchEncryption": {"CloudWatchEncryptionMode": "SSE-KMS", "KmsKeyArn": key}}
    glue.create_security_configuration(Name="under-key", EncryptionConfiguration=encrypted)
    run = ended(glue, job, glue.start_job_run(JobName=job, SecurityConfiguration="under-key")["JobRunId"])
    assert run["JobRunState"] == "SUCCEEDED", run
    group = "/aws-glue/jobs/test/under-key-role/glue-job/output"
    assert root.client("logs").get_log_events(logGroupName=group, logStreamName=run["Id"])["events"]
    glue.delete_security_configuration(Name="under-key")


def test_no_more_runs_than_the_job_allows_and_stopping_one(glue: Any, job: str, bucket: str) -> None:
    sleep = {"--scriptLocation": f"s3://{bucket}/glue/sleep.py"}
    first = glue.start_job_run(JobName=job, Arguments=sleep)["JobRunId"]
    with pytest.raises(glue.exceptions.ConcurrentRunsExceededException):
        glue.start_job_run(JobName=job)
    wait_for(lambda: glue.get_job_run(JobName=job, RunId=first)["JobRun"]["JobRunState"] == "RUNNING")
    stopped = glue.batch_stop_job_run(JobName=job, JobRunIds=[first, "jr_none"])
    assert_fits("glue", "BatchStopJobRun", stopped)
    assert [run["JobRunId"] for run in stopped["SuccessfulSubmissions"]] == [first]
    assert [error["ErrorDetail"]["ErrorCode"] for error in stopped["Errors"]] == ["EntityNotFoundException"]
    assert ended(glue, job, first)["JobRunState"] == "STOPPED"


def test_iceberg_is_there_for_who_asks_only(glue: Any, job: str) -> None:
    arguments = {"--conf": "spark.sql.catalog.lake=org.apache.iceberg.spark.SparkCatalog", "--datalake-formats": "hudi"}
    run = ended(glue, job, glue.start_job_run(JobName=job, Arguments=arguments)["JobRunId"])
    assert run["JobRunState"] == "FAILED"
    assert run["ErrorMessage"] == "java.lang.ClassNotFoundException: org.apache.iceberg.spark.SparkCatalog"


def test_what_aws_refuses_is_refused(root: Account, glue: Any, role: str, bucket: str) -> None:
    wanted = definition(role, bucket, "refused")
    for fault, match in (
        ({"Role": "arn:aws:iam::000000000000:role/nobody"}, "does not exist"),
        ({"GlueVersion": "9.9"}, "Glue versions"),
        ({"MaxCapacity": 2.0}, "Max Capacity"),
        ({"SecurityConfiguration": "none"}, "not found"),
    ):
        with pytest.raises(botocore.exceptions.ClientError, match=match):
            glue.create_job(**{**wanted, **fault})
    part = {"CloudWatchEncryptionMode": "SSE-KMS", "KmsKeyArn": "arn:aws:kms:us-east-1:000000000000:key/none"}
    with pytest.raises(botocore.exceptions.ClientError, match="KMS key that exists"):
        glue.create_security_configuration(Name="s", EncryptionConfiguration={"CloudWatchEncryption": part})
    start = {
        "Effect": "Allow",
        "Action": "glue:StartJobRun",
        "Resource": "arn:aws:glue:us-east-1:000000000000:job/mine",
    }
    caller = root.as_role(root.role("glue-starter", "lambda.amazonaws.com", start)).client("glue")
    with pytest.raises(botocore.exceptions.ClientError, match="not authorized to perform: glue:StartJobRun"):
        caller.start_job_run(JobName="theirs")
    with pytest.raises(caller.exceptions.EntityNotFoundException):
        caller.start_job_run(JobName="mine")


@pytest.fixture(scope="module")
def crawler(root: Account, glue: Any, role: str) -> Any:
    s3 = root.client("s3")
    s3.create_bucket(Bucket="landed")
    for key, text in {
        "orders/2024-01-01/a.csv": "id;Sold At;note\n1;x;\n",
        "orders/2024-01-02/b.csv": 'id;Sold At;note\n2;y;"a;b"\n',
        "orders/2024-01-02/_COMPLETE": "x",
    }.items():
        s3.put_object(Bucket="landed", Key=key, Body=text.encode())
    landed = {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": ["arn:aws:s3:::landed", "arn:aws:s3:::landed/*"],
    }
    catalog = {"Effect": "Allow", "Action": "glue:*", "Resource": "*"}
    crawls = root.role("glue-crawler", "glue.amazonaws.com", landed, catalog)
    glue.create_database(DatabaseInput={"Name": "landing"})
    csv = {
        "Name": "semicolons",
        "Delimiter": ";",
        "QuoteSymbol": '"',
        "ContainsHeader": "PRESENT",
        "Serde": "OpenCSVSerDe",
    }
    glue.create_classifier(CsvClassifier={**csv, "CustomDatatypeConfigured": True, "CustomDatatypes": ["STRING"]})
    glue.create_crawler(
        Name="landing",
        Role=crawls,
        DatabaseName="landing",
        Classifiers=["semicolons"],
        Targets={
            "S3Targets": [
                {"Path": f"s3://landed/{feed}", "Exclusions": ["**/_COMPLETE"]} for feed in ("orders", "none")
            ]
        },
    )
    yield "landing"
    glue.delete_crawler(Name="landing")


def crawled(glue: Any, name: str) -> dict[str, Any]:
    got = wait_for(lambda: (c := glue.get_crawler(Name=name)["Crawler"])["State"] == "READY" and "LastCrawl" in c and c)
    return dict(got)


def test_updated_crawler_has_its_new_targets_and_no_schedule(glue: Any, crawler: str) -> None:
    orders = {"Path": "s3://landed/orders", "Exclusions": ["**/_COMPLETE"]}
    glue.update_crawler(Name=crawler, Targets={"S3Targets": [orders]}, Schedule="")
    described = glue.get_crawler(Name=crawler)["Crawler"]
    assert described["Targets"]["S3Targets"] == [orders]
    assert "Schedule" not in described
    assert described["Version"] == 2


def test_crawler_describes_what_landed_and_triggers_follow_it(root: Account, glue: Any, crawler: str, job: str) -> None:
    glue.start_crawler(Name=crawler)
    with pytest.raises(glue.exceptions.CrawlerRunningException):
        glue.start_crawler(Name=crawler)
    assert crawled(glue, crawler)["LastCrawl"]["Status"] == "SUCCEEDED"
    tables = glue.get_tables(DatabaseName="landing")["TableList"]
    assert [table["Name"] for table in tables] == ["orders"]
    assert [(c["Name"], c["Type"]) for c in tables[0]["StorageDescriptor"]["Columns"]] == [
        ("id", "string"),
        ("sold_at", "string"),
        ("note", "string"),
    ]
    assert tables[0]["PartitionKeys"] == [{"Name": "partition_0", "Type": "string"}]
    partitions = glue.get_partitions(DatabaseName="landing", TableName="orders")["Partitions"]
    assert [p["Values"] for p in partitions] == [["2024-01-01"], ["2024-01-02"]]
    assert partitions[1]["StorageDescriptor"]["Location"] == "s3://landed/orders/2024-01-02/"

    # A job that nobody's trigger started sets off nothing.
    glue.create_workflow(Name="nightly", MaxConcurrentRuns=1)
    glue.create_trigger(Name="begin", Type="ON_DEMAND", WorkflowName="nightly", Actions=[{"CrawlerName": crawler}])
    condition = {"LogicalOperator": "EQUALS", "CrawlerName": crawler, "CrawlState": "SUCCEEDED"}
    glue.create_trigger(
        Name="then",
        Type="CONDITIONAL",
        WorkflowName="nightly",
        StartOnCreation=True,
        Predicate={"Conditions": [condition]},
        Actions=[{"JobName": job}],
    )
    run = glue.start_workflow_run(Name="nightly")["RunId"]
    with pytest.raises(glue.exceptions.ConcurrentRunsExceededException):
        glue.start_workflow_run(Name="nightly")

    def over() -> Any:
        got = glue.get_workflow_run(Name="nightly", RunId=run)
        assert_fits("glue", "GetWorkflowRun", got)
        return got["Run"] if got["Run"]["Status"] != "RUNNING" else None

    assert wait_for(over)["Statistics"]["SucceededActions"] == 2
    assert [r["TriggerName"] for r in glue.get_job_runs(JobName=job)["JobRuns"]] == ["then"]
    assert len(glue.get_partitions(DatabaseName="landing", TableName="orders")["Partitions"]) == 2
    for name in ("begin", "then"):
        glue.delete_trigger(Name=name)
    glue.delete_workflow(Name="nightly")

    # By the clock, for who is activated.
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=1)
    glue.create_trigger(
        Name="clock",
        Type="SCHEDULED",
        Schedule=f"cron({soon.minute} {soon.hour} * * ? *)",
        Actions=[{"CrawlerName": crawler}],
    )
    assert glue.get_trigger(Name="clock")["Trigger"]["State"] == "CREATED"
    glue.start_trigger(Name="clock")
    before = crawled(glue, crawler)["LastCrawl"]["StartTime"]
    wait_for(lambda: crawled(glue, crawler)["LastCrawl"]["StartTime"] > before, 90)
    glue.stop_trigger(Name="clock")
    assert glue.get_trigger(Name="clock")["Trigger"]["State"] == "DEACTIVATED"
    glue.delete_trigger(Name="clock")


def test_crawl_of_a_bucket_makes_a_table_of_each_folder_and_reads_samples(
    root: Account, glue: Any, crawler: str
) -> None:
    s3 = root.client("s3")
    s3.create_bucket(Bucket="arrivals")
    landed = {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": ["arn:aws:s3:::arrivals", "arn:aws:s3:::arrivals/*"],
    }
    catalog = {"Effect": "Allow", "Action": "glue:*", "Resource": "*"}
    glue.create_database(DatabaseInput={"Name": "arrivals"})
    target = {"Path": "s3://arrivals", "Exclusions": ["**/_COMPLETE"], "SampleSize": 1}
    asked = {
        "Name": "arrivals",
        "Role": root.role("glue-arrivals", "glue.amazonaws.com", landed, catalog),
        "DatabaseName": "arrivals",
        "Classifiers": ["semicolons"],
        "Targets": {"S3Targets": [target]},
    }
    with pytest.raises(glue.exceptions.InvalidInputException, match="TableLevelConfiguration 2"):
        glue.create_crawler(**asked)
    level = json.dumps({"Version": 1.0, "Grouping": {"TableLevelConfiguration": 2}})
    glue.create_crawler(**asked, Configuration=level)

    def crawl() -> dict[str, list[str]]:
        glue.start_crawler(Name="arrivals")
        assert crawled(glue, "arrivals")["LastCrawl"]["Status"] == "SUCCEEDED"
        names = [table["Name"] for table in glue.get_tables(DatabaseName="arrivals")["TableList"]]
        found = {name: glue.get_partitions(DatabaseName="arrivals", TableName=name)["Partitions"] for name in names}
        return {name: sorted(p["Values"][0] for p in partitions) for name, partitions in found.items()}

    assert crawl() == {}
    for key, text in {
        "orders/2024-01-01/a.csv": "id;note\n1;x\n",
        "orders/2024-01-01/b.csv": "nobody;reads;this\n",
        "orders/2024-01-01/_COMPLETE": "x",
        "sales/2024-01-02/a.csv": "id\n2\n",
        "stray.csv": "id\n2\n",
        "stray/a/b.csv": "id\n2\n",
        "stray/c.csv": "id\n2\n",
    }.items():
        s3.put_object(Bucket="arrivals", Key=key, Body=text.encode())
    assert crawl() == {"orders": ["2024-01-01"], "sales": ["2024-01-02"]}
    glue.delete_crawler(Name="arrivals")


def test_crawl_of_a_folder_without_files_fails(glue: Any, crawler: str) -> None:
    described = glue.get_crawler(Name=crawler)["Crawler"]
    targets = {"S3Targets": [{"Path": "s3://landed/none"}]}
    glue.create_crawler(Name="nothing", Role=described["Role"], DatabaseName="landing", Targets=targets)
    glue.start_crawler(Name="nothing")
    last = crawled(glue, "nothing")["LastCrawl"]
    assert (last["Status"], last["ErrorMessage"]) == ("FAILED", "The S3 location s3://landed/none does not exist")
    glue.delete_crawler(Name="nothing")


def test_crawler_says_what_it_cannot_do(root: Account, glue: Any, crawler: str) -> None:
    root.client("s3").put_object(Bucket="landed", Key="orders/2024-01-03/c.csv", Body=b"id;other\n1;2\n")
    glue.start_crawler(Name=crawler)
    last = crawled(glue, crawler)["LastCrawl"]
    assert last["Status"] == "FAILED"
    assert "different headers" in last["ErrorMessage"]
