"""What the stack relies on in the services that MiniStack brings, and what the launcher corrects in them."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from .conftest import Account, assert_fits, wait_for

ClientError = botocore.exceptions.ClientError
RECORDER = """
import boto3
def handle(event):
    me = boto3.client("sts").get_caller_identity()["Arn"]
    body = json.dumps({"event": event, "me": me, "env": dict(os.environ)})
    boto3.client("s3").put_object(Bucket="events", Key=f"{os.environ['AWS_LAMBDA_FUNCTION_NAME']}/{os.urandom(8).hex()}", Body=body)
    return {"ok": True}
"""
FAILING = "def handle(event): raise RuntimeError('on purpose')"


@pytest.fixture(scope="module")
def events_bucket(root: Account) -> str:
    root.client("s3").create_bucket(Bucket="events")
    return "events"


@pytest.fixture(scope="module")
def recorder_role(root: Account, events_bucket: str) -> str:
    put = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{events_bucket}/*"}
    return root.role("recorder", "lambda.amazonaws.com", put)


def recorded(root: Account, function: str, count: int = 1) -> list[dict[str, Any]]:
    """What a recording function was called with, once it was called so often."""
    s3 = root.client("s3")

    def keys() -> list[str]:
        found = s3.list_objects_v2(Bucket="events", Prefix=f"{function}/").get("Contents", [])
        return [item["Key"] for item in found] if len(found) >= count else []

    return [json.loads(s3.get_object(Bucket="events", Key=key)["Body"].read()) for key in wait_for(keys)]


def allow(root: Account, function: str, service: str, source: str) -> None:
    root.client("lambda").add_permission(
        FunctionName=function,
        StatementId=service.partition(".")[0],
        Action="lambda:InvokeFunction",
        Principal=service,
        SourceArn=source,
    )


def denied(call: Any, **arguments: Any) -> str:
    """The error code with which a call is refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


@pytest.fixture(scope="module", autouse=True)
def scheduled(root: Account, recorder_role: str) -> None:
    """A function on a schedule, from the first test on: the last one looks whether its minute came."""
    rules = root.client("events")
    arn = root.function("tick", recorder_role, RECORDER)
    rule = rules.put_rule(Name="tick", ScheduleExpression="rate(1 minute)")["RuleArn"]
    allow(root, "tick", "events.amazonaws.com", rule)
    rules.put_targets(Rule="tick", Targets=[{"Id": "f", "Arn": arn, "Input": '{"sweep": true}'}])


# --- functions --------------------------------------------------------------------------------------------------------


def test_function_has_its_own_role_and_a_clean_environment(root: Account, recorder_role: str) -> None:
    root.function("clean", recorder_role, RECORDER, Environment={"Variables": {"SETTINGS": "{}"}})
    answer = root.client("lambda").invoke(FunctionName="clean", Payload=b"{}")
    assert json.load(answer["Payload"]) == {"ok": True}
    call = recorded(root, "clean")[0]
    assert call["me"] == "arn:aws:sts::000000000000:assumed-role/recorder/clean"
    assert call["env"]["SETTINGS"] == "{}"
    assert call["env"]["AWS_ENDPOINT_URL"] == root.endpoint
    assert {"AUTH", "STATE_DIR", "HOME", "PYTHONPATH"} & set(call["env"]) == set()


def test_function_is_denied_what_its_role_does_not_allow(root: Account, events_bucket: str) -> None:
    root.function("powerless", root.role("powerless", "lambda.amazonaws.com"), RECORDER)
    answer = root.client("lambda").invoke(FunctionName="powerless", Payload=b"{}")
    assert answer["FunctionError"] == "Unhandled"
    assert "AccessDenied" in json.load(answer["Payload"])["errorMessage"]


def test_new_object_reaches_a_function_that_lets_s3_in(root: Account, recorder_role: str) -> None:
    s3 = root.client("s3")
    s3.create_bucket(Bucket="landing")
    s3.put_bucket_versioning(Bucket="landing", VersioningConfiguration={"Status": "Enabled"})
    arn = root.function("receive", recorder_role, RECORDER)
    shut = root.function("shut", recorder_role, RECORDER)
    allow(root, "receive", "s3.amazonaws.com", "arn:aws:s3:::landing")
    s3.put_bucket_notification_configuration(
        Bucket="landing",
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [
                {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]},
                {"LambdaFunctionArn": shut, "Events": ["s3:ObjectRemoved:*"]},
            ]
        },
    )
    put = s3.put_object(Bucket="landing", Key="flights/2013-01-01/a b.csv", Body=b"1")
    s3.put_object(Bucket="landing", Key="flights/2013-01-01/_COMPLETE", Body=b"")
    records = {
        record["s3"]["object"]["key"]: record
        for call in recorded(root, "receive", 2)
        for record in call["event"]["Records"]
    }
    first, second = records["flights/2013-01-01/a+b.csv"], records["flights/2013-01-01/_COMPLETE"]
    assert first["s3"]["object"]["versionId"] == put["VersionId"]
    assert first["s3"]["object"]["size"] == 1
    assert first["eventName"] == "ObjectCreated:Put"
    assert int(first["s3"]["object"]["sequencer"], 16) < int(second["s3"]["object"]["sequencer"], 16)
    s3.delete_object(Bucket="landing", Key="flights/2013-01-01/_COMPLETE")
    assert s3.list_objects_v2(Bucket="events", Prefix="shut/")["KeyCount"] == 0


# A function that fails on the object "key-bad", and says so of their messages only.
PICKY = RECORDER.replace(
    'return {"ok": True}',
    'return {"batchItemFailures": [{"itemIdentifier": m["messageId"]} for m in event["Records"] if "key-bad" in m["body"]]}',
)


def test_message_that_failed_is_the_only_one_that_is_left_in_its_queue(root: Account, recorder_role: str) -> None:
    s3, sqs = root.client("s3"), root.client("sqs")
    queue = sqs.create_queue(QueueName="landed", Attributes={"VisibilityTimeout": "60"})["QueueUrl"]
    arn = "arn:aws:sqs:us-east-1:000000000000:landed"
    s3.create_bucket(Bucket="queued")
    wanted = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    notify = s3.put_bucket_notification_configuration
    assert denied(notify, Bucket="queued", NotificationConfiguration=wanted) == "InvalidArgument"
    let_in = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {
            "StringEquals": {"aws:SourceAccount": "000000000000"},
            "ArnEquals": {"aws:SourceArn": "arn:aws:s3:::queued"},
        },
    }
    policy = {"Version": "2012-10-17", "Statement": [let_in]}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
    root.function("picky", recorder_role, PICKY)
    mapping = {"FunctionResponseTypes": ["ReportBatchItemFailures"], "BatchSize": 10}
    root.client("lambda").create_event_source_mapping(EventSourceArn=arn, FunctionName="picky", **mapping)
    notify(Bucket="queued", NotificationConfiguration=wanted)
    for key in ["key-good", "key-bad", "key-fine"]:
        s3.put_object(Bucket="queued", Key=key, Body=b"1")

    def taken() -> list[str]:
        """The objects of the bucket that the function heard of, once it heard of all."""
        bodies = [m["body"] for call in recorded(root, "picky") for m in call["event"]["Records"]]
        keys = [r["s3"]["object"]["key"] for body in bodies for r in json.loads(body).get("Records", [])]
        return sorted(keys) if len(keys) >= 3 else []

    assert wait_for(taken) == ["key-bad", "key-fine", "key-good"]

    def left() -> bool:
        got = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        return (got["ApproximateNumberOfMessages"], got["ApproximateNumberOfMessagesNotVisible"]) == ("0", "1")

    assert wait_for(left)


def test_filter_policy_decides_which_messages_reach_a_function(root: Account, recorder_role: str) -> None:
    sns = root.client("sns")
    topic = sns.create_topic(Name="jobs")["TopicArn"]
    arn = root.function("export", recorder_role, RECORDER)
    allow(root, "export", "sns.amazonaws.com", topic)
    subscription = {"FilterPolicy": json.dumps({"type": ["job.succeeded"]})}
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=arn, Attributes=subscription)
    for kind in ("job.ready", "job.succeeded", "job.failed", "job.succeeded"):
        attributes = {"type": {"DataType": "String", "StringValue": kind}}
        sns.publish(TopicArn=topic, Message=json.dumps({"type": kind}), MessageAttributes=attributes)
    calls = recorded(root, "export", 2)
    messages = [json.loads(record["Sns"]["Message"]) for call in calls for record in call["event"]["Records"]]
    assert messages == [{"type": "job.succeeded"}] * 2


def test_one_at_a_time_loses_no_message(root: Account, recorder_role: str) -> None:
    sns = root.client("sns")
    topic = sns.create_topic(Name="ready")["TopicArn"]
    arn = root.function("start", recorder_role, RECORDER)
    root.client("lambda").put_function_concurrency(FunctionName="start", ReservedConcurrentExecutions=1)
    allow(root, "start", "sns.amazonaws.com", topic)
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=arn)
    for number in range(8):
        sns.publish(TopicArn=topic, Message=str(number))
    calls = recorded(root, "start", 8)
    assert sorted(call["event"]["Records"][0]["Sns"]["Message"] for call in calls) == list("01234567")


def test_event_that_fails_for_good_goes_to_the_destination(root: Account) -> None:
    sqs, sns, functions = root.client("sqs"), root.client("sns"), root.client("lambda")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="alerts")["QueueUrl"]
    queue_arn = "arn:aws:sqs:us-east-1:000000000000:alerts"
    statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    publish = {"Effect": "Allow", "Action": "sns:Publish", "Resource": topic}
    arn = root.function("failing", root.role("failing", "lambda.amazonaws.com", publish), FAILING)
    functions.put_function_event_invoke_config(
        FunctionName="failing", MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": topic}}
    )
    described = functions.get_function_event_invoke_config(FunctionName="failing")
    assert_fits("lambda", "GetFunctionEventInvokeConfig", described)
    assert "MaximumEventAgeInSeconds" not in described
    functions.invoke(FunctionName="failing", InvocationType="Event", Payload=b'{"day": 1}')
    message = wait_for(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"))[0]
    record = json.loads(message["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["requestContext"]["functionArn"] == f"{arn}:$LATEST"
    assert record["requestPayload"] == {"day": 1}
    assert record["responsePayload"] == {"errorType": "RuntimeError", "errorMessage": "on purpose"}


def test_event_that_fails_for_good_goes_to_a_function_that_the_role_may_invoke(
    root: Account, recorder_role: str
) -> None:
    functions = root.client("lambda")
    teller = root.function("teller", recorder_role, RECORDER)
    invoke = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": teller}
    arn = root.function("gives-up", root.role("gives-up", "lambda.amazonaws.com", invoke), FAILING)
    root.function("mute", root.role("mute", "lambda.amazonaws.com"), FAILING)
    for name in ("mute", "gives-up"):
        functions.put_function_event_invoke_config(
            FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": teller}}
        )
        functions.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"day": 1}')
    records = [call["event"] for call in recorded(root, "teller", 1)]
    assert [record["requestContext"]["functionArn"] for record in records] == [f"{arn}:$LATEST"]
    assert records[0]["requestPayload"] == {"day": 1}
    assert records[0]["responsePayload"] == {"errorType": "RuntimeError", "errorMessage": "on purpose"}


def test_what_cannot_be_delivered_has_a_queue_in_its_description(root: Account, recorder_role: str) -> None:
    sns, events = root.client("sns"), root.client("events")
    queue = "arn:aws:sqs:us-east-1:000000000000:dead-letters"
    arn = root.function("woken", recorder_role, RECORDER)
    topic = sns.create_topic(Name="wakes")["TopicArn"]
    redrive = json.dumps({"deadLetterTargetArn": queue})
    made = sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=arn, Attributes={"RedrivePolicy": redrive})
    described = sns.get_subscription_attributes(SubscriptionArn=made["SubscriptionArn"])["Attributes"]
    assert json.loads(described["RedrivePolicy"]) == {"deadLetterTargetArn": queue}
    events.put_rule(Name="wakes", ScheduleExpression="rate(1 day)")
    events.put_targets(Rule="wakes", Targets=[{"Id": "1", "Arn": arn, "DeadLetterConfig": {"Arn": queue}}])
    assert events.list_targets_by_rule(Rule="wakes")["Targets"][0]["DeadLetterConfig"] == {"Arn": queue}


# --- data stores ------------------------------------------------------------------------------------------------------


def test_slots_are_never_more_than_the_limit(root: Account) -> None:
    dynamodb = root.client("dynamodb")
    for name, keys in {"progress": ["name"], "jobs": ["feed", "day"]}.items():
        dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[
                {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
        )
    for day in range(8):
        dynamodb.put_item(TableName="jobs", Item={"feed": {"S": "f"}, "day": {"S": str(day)}, "state": {"S": "ready"}})
    outcomes: list[str] = []

    def claim(day: int) -> None:
        try:
            root.client("dynamodb").transact_write_items(
                TransactItems=[
                    {
                        "Update": {
                            "TableName": "progress",
                            "Key": {"name": {"S": "#slots"}},
                            "UpdateExpression": "ADD jobs :job",
                            "ConditionExpression": "attribute_not_exists(jobs) OR size(jobs) < :parallel",
                            "ExpressionAttributeValues": {":job": {"SS": [f"f/{day}"]}, ":parallel": {"N": "5"}},
                        }
                    },
                    {
                        "Update": {
                            "TableName": "jobs",
                            "Key": {"feed": {"S": "f"}, "day": {"S": str(day)}},
                            "UpdateExpression": "SET #s = :running",
                            "ConditionExpression": "#s = :ready",
                            "ExpressionAttributeNames": {"#s": "state"},
                            "ExpressionAttributeValues": {":running": {"S": "running"}, ":ready": {"S": "ready"}},
                        }
                    },
                ]
            )
            outcomes.append("claimed")
        except ClientError as error:
            outcomes.append(str([reason["Code"] for reason in error.response["CancellationReasons"]]))

    threads = [threading.Thread(target=claim, args=(day,)) for day in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["['ConditionalCheckFailed', 'None']"] * 3 + ["claimed"] * 5
    slots = dynamodb.get_item(TableName="progress", Key={"name": {"S": "#slots"}}, ConsistentRead=True)["Item"]
    running = dynamodb.scan(
        TableName="jobs",
        FilterExpression="#s = :r",
        ExpressionAttributeNames={"#s": "state"},
        ExpressionAttributeValues={":r": {"S": "running"}},
    )["Items"]
    assert {f"f/{item['day']['S']}" for item in running} == set(slots["jobs"]["SS"])
    assert len(running) == 5


def test_received_message_is_hidden_until_its_visibility_ends(root: Account) -> None:
    sqs = root.client("sqs")
    queue = sqs.create_queue(QueueName="tickets", Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="ticket")
    receipt = sqs.receive_message(QueueUrl=queue)["Messages"][0]["ReceiptHandle"]
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=receipt, VisibilityTimeout=0)
    again = sqs.receive_message(QueueUrl=queue, AttributeNames=["ApproximateReceiveCount"])["Messages"][0]
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"


def test_batch_needs_the_right_of_its_single_call(root: Account) -> None:
    queue = root.client("sqs").create_queue(QueueName="batches")["QueueUrl"]
    right = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:us-east-1:000000000000:batches"}
    sender = root.as_role(root.role("batch-sender", "lambda.amazonaws.com", right)).client("sqs")
    sent = sender.send_message_batch(QueueUrl=queue, Entries=[{"Id": "1", "MessageBody": "a"}])
    assert [entry["Id"] for entry in sent["Successful"]] == ["1"]
    entries = [{"Id": "1", "ReceiptHandle": "x"}]
    assert denied(sender.delete_message_batch, QueueUrl=queue, Entries=entries) == "AccessDenied"


def test_of_two_commits_on_one_table_version_one_is_refused(root: Account) -> None:
    glue = root.client("glue")
    glue.create_database(DatabaseInput={"Name": "locks"})
    table = {"Name": "t", "TableType": "EXTERNAL_TABLE", "Parameters": {"metadata_location": "0"}}
    glue.create_table(DatabaseName="locks", TableInput=table)
    version = glue.get_table(DatabaseName="locks", Name="t")["Table"]["VersionId"]
    outcomes = []

    def commit(number: int) -> None:
        changed = {**table, "Parameters": {"metadata_location": str(number)}}
        try:
            root.client("glue").update_table(DatabaseName="locks", TableInput=changed, VersionId=version)
            outcomes.append("committed")
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])

    threads = [threading.Thread(target=commit, args=(number,)) for number in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["ConcurrentModificationException"] * 3 + ["committed"]


@pytest.mark.parametrize("protocol", ["smithy-rpc-v2-cbor", "json", "query"])
def test_alarm_is_described_as_it_was_put(root: Account, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", [protocol])
    cloudwatch = root.client("cloudwatch")
    alarm = {
        "AlarmName": "idle",
        "AlarmDescription": "quiet cluster",
        "ActionsEnabled": True,
        "OKActions": [],
        "AlarmActions": ["arn:aws:sns:us-east-1:000000000000:alerts"],
        "InsufficientDataActions": [],
        "MetricName": "CPU",
        "Namespace": "Sluice",
        "Statistic": "Average",
        "Dimensions": [{"Name": "Country", "Value": "us"}],
        "Period": 300,
        "EvaluationPeriods": 6,
        "DatapointsToAlarm": 6,
        "Threshold": 40.0,
        "ComparisonOperator": "LessThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    cloudwatch.put_metric_alarm(**alarm)
    answer = cloudwatch.describe_alarms(AlarmNames=["idle"])
    assert_fits("cloudwatch", "DescribeAlarms", answer)
    described = answer["MetricAlarms"][0]
    assert {name: described.get(name) for name in alarm} == alarm


# --- access -----------------------------------------------------------------------------------------------------------


def test_bucket_policy_decides_on_the_encryption_that_a_write_asks_for(root: Account) -> None:
    s3 = root.client("s3")
    key = root.client("kms").create_key()["KeyMetadata"]["Arn"]
    s3.create_bucket(Bucket="under-key")
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    s3.put_bucket_encryption(
        Bucket="under-key",
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": default}]},
    )
    method, named = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::under-key/*"}
    brought = "s3:x-amz-server-side-encryption-customer-algorithm"
    statements = [
        deny | {"Condition": {"StringNotEquals": {method: "aws:kms"}, "Null": {method: "false"}}},
        deny | {"Condition": {"StringNotEquals": {named: key}, "Null": {named: "false"}}},
        deny | {"Condition": {"StringLike": {method: "aws:kms*"}, "Null": {named: "true"}}},
        deny | {"Condition": {"Null": {brought: "false"}}},
    ]
    s3.put_bucket_policy(Bucket="under-key", Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    rights = [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::under-key/*"},
        {"Effect": "Allow", "Action": "kms:*", "Resource": "*"},
    ]
    writer = root.as_role(root.role("key-writer", "lambda.amazonaws.com", *rights)).client("s3")
    writes = {
        "put": partial(writer.put_object, Bucket="under-key", Key="a", Body=b"x"),
        "parts": partial(writer.create_multipart_upload, Bucket="under-key", Key="b"),
        "copy": partial(writer.copy_object, Bucket="under-key", Key="c", CopySource="under-key/a"),
    }
    for name, write in writes.items():
        for asked in ({}, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}):
            assert write(**asked)["SSEKMSKeyId"] == key, name
        for refused in (
            {"ServerSideEncryption": "aws:kms"},
            {"ServerSideEncryption": "aws:kms:dsse"},
            {"ServerSideEncryption": "AES256"},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/aws/s3"},
            {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32},
        ):
            assert denied(write, **refused) == "AccessDenied", (name, refused)


def test_policy_variable_stands_for_the_callers_tag(root: Account) -> None:
    s3 = root.client("s3")
    s3.create_bucket(Bucket="homes")
    for key in ("us/a", "pr/a"):
        s3.put_object(Bucket="homes", Key=key, Body=b"x")
    own = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::homes/${aws:PrincipalTag/country}/*"}
    arn = root.role("tagged", "lambda.amazonaws.com", own)
    assert denied(root.as_role(arn).client("s3").get_object, Bucket="homes", Key="us/a") == "AccessDenied"
    root.client("iam").tag_role(RoleName="tagged", Tags=[{"Key": "country", "Value": "us"}])
    tagged = root.as_role(arn).client("s3")
    assert tagged.get_object(Bucket="homes", Key="us/a")["Body"].read() == b"x"
    assert denied(tagged.get_object, Bucket="homes", Key="pr/a") == "AccessDenied"


def test_encrypted_objects_need_the_key(root: Account) -> None:
    kms, s3 = root.client("kms"), root.client("s3")
    administrators = {
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [administrators]})
    key = kms.create_key(Policy=policy)["KeyMetadata"]["Arn"]
    s3.create_bucket(Bucket="sealed")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket="sealed", ServerSideEncryptionConfiguration={"Rules": [rule]})
    objects = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::sealed/*"}
    through_s3 = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    write = {"Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": key, "Condition": through_s3}
    read = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key, "Condition": through_s3}
    none, writer, reader = (
        root.as_role(root.role(f"sealed-{name}", "lambda.amazonaws.com", *statements)).client("s3")
        for name, statements in {"none": [objects], "writer": [objects, write], "reader": [objects, read]}.items()
    )
    assert denied(none.put_object, Bucket="sealed", Key="a", Body=b"x") == "AccessDenied"
    assert writer.put_object(Bucket="sealed", Key="a", Body=b"x")["SSEKMSKeyId"] == key
    assert denied(writer.get_object, Bucket="sealed", Key="a") == "AccessDenied"
    assert denied(none.get_object, Bucket="sealed", Key="a") == "AccessDenied"
    assert reader.get_object(Bucket="sealed", Key="a")["Body"].read() == b"x"


def test_other_encryption_can_be_refused_by_the_bucket(root: Account) -> None:
    s3 = root.client("s3")
    s3.create_bucket(Bucket="strict")
    statement = {
        "Sid": "DenyOtherEncryption",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::strict/*",
        "Condition": {
            "StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"},
            "Null": {"s3:x-amz-server-side-encryption": "false"},
        },
    }
    insecure = {
        "Sid": "DenyPlainHTTP",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": "arn:aws:s3:::strict/*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3.put_bucket_policy(
        Bucket="strict", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement, insecure]})
    )
    put = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::strict/*"}
    writer = root.as_role(root.role("strict-writer", "lambda.amazonaws.com", put)).client("s3")
    assert (
        denied(writer.put_object, Bucket="strict", Key="a", Body=b"", ServerSideEncryption="AES256") == "AccessDenied"
    )
    assert writer.put_object(Bucket="strict", Key="a", Body=b"")["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_catalog_rights_are_checked_on_catalog_database_and_table(root: Account) -> None:
    glue = root.client("glue")
    for name in ("mine", "yours"):
        glue.create_database(DatabaseInput={"Name": name})
        glue.create_table(DatabaseName=name, TableInput={"Name": "t"})
    prefix = "arn:aws:glue:us-east-1:000000000000:"
    read = {"Effect": "Allow", "Action": ["glue:GetTable", "glue:GetDatabase"]}
    full = {**read, "Resource": [f"{prefix}catalog", f"{prefix}database/mine", f"{prefix}table/mine/*"]}
    short = {**read, "Resource": [f"{prefix}database/mine"]}
    reader = root.as_role(root.role("glue-reader", "lambda.amazonaws.com", full)).client("glue")
    assert reader.get_table(DatabaseName="mine", Name="t")["Table"]["Name"] == "t"
    assert reader.get_database(Name="mine")["Database"]["Name"] == "mine"
    assert denied(reader.get_table, DatabaseName="yours", Name="t") == "AccessDeniedException"
    lacking = root.as_role(root.role("glue-lacking", "lambda.amazonaws.com", short)).client("glue")
    assert denied(lacking.get_table, DatabaseName="mine", Name="t") == "AccessDeniedException"


# --- time -------------------------------------------------------------------------------------------------------------


def test_schedule_reaches_a_function(root: Account) -> None:
    wait_for(lambda: root.client("s3").list_objects_v2(Bucket="events", Prefix="tick/")["KeyCount"], 90)
    assert recorded(root, "tick")[0]["event"] == {"sweep": True}


# --- descriptions -----------------------------------------------------------------------------------------------------


def test_database_keeps_its_default_permissions(root: Account) -> None:
    glue = root.client("glue")
    nobody: list[dict[str, Any]] = [
        {"Principal": {"DataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"}, "Permissions": ["ALL"]}
    ]
    glue.create_database(DatabaseInput={"Name": "kept", "CreateTableDefaultPermissions": nobody})
    answer = glue.get_database(Name="kept")
    assert_fits("glue", "GetDatabase", answer)
    assert answer["Database"]["CreateTableDefaultPermissions"] == nobody
    glue.update_database(Name="kept", DatabaseInput={"Name": "kept", "CreateTableDefaultPermissions": []})
    assert glue.get_database(Name="kept")["Database"]["CreateTableDefaultPermissions"] == []


def test_endpoint_of_a_network_keeps_its_policy(root: Account) -> None:
    ec2 = root.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Sid": "A<B", "Effect": "Allow", "Action": "*"}]})
    service = "com.amazonaws.us-east-1.s3"
    created = ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=service, PolicyDocument=policy)["VpcEndpoint"]
    assert created["PolicyDocument"] == policy
    answer = ec2.describe_vpc_endpoints(VpcEndpointIds=[created["VpcEndpointId"]])
    assert_fits("ec2", "DescribeVpcEndpoints", answer)
    assert answer["VpcEndpoints"][0]["PolicyDocument"] == policy
    changed = policy.replace("A<B", "C")
    ec2.modify_vpc_endpoint(VpcEndpointId=created["VpcEndpointId"], PolicyDocument=changed)
    described = ec2.describe_vpc_endpoints(VpcEndpointIds=[created["VpcEndpointId"]])["VpcEndpoints"][0]
    assert described["PolicyDocument"] == changed


# --- reports of who reads a bucket ------------------------------------------------------------------------------------


def test_bucket_reports_its_readers_only_where_the_logs_bucket_lets_it(root: Account) -> None:
    s3 = root.client("s3")
    # The product's own policy, of another account.
    golden = (Path(__file__).parents[3] / "policies/testdata/log-bucket.json").read_text()
    policy = golden.replace("111122223333", "000000000000")
    logs, landing, other = (f"sluice-prod-us-{word}-1a2b3c4d" for word in ("logs", "landing", "artifacts"))

    def reports(bucket: str, prefix: str = "access/landing/") -> dict[str, Any]:
        enabled = {"TargetBucket": logs, "TargetPrefix": prefix}
        return {"Bucket": bucket, "BucketLoggingStatus": {"LoggingEnabled": enabled}}

    s3.create_bucket(Bucket=landing)
    s3.create_bucket(Bucket=other)
    assert denied(s3.put_bucket_logging, **reports(landing)) == "InvalidTargetBucketForLogging"
    s3.create_bucket(Bucket=logs)
    assert denied(s3.put_bucket_logging, **reports(landing)) == "InvalidTargetBucketForLogging"
    s3.put_bucket_policy(Bucket=logs, Policy=policy)
    s3.put_bucket_logging(**reports(landing))
    assert s3.get_bucket_logging(Bucket=landing)["LoggingEnabled"]["TargetBucket"] == logs
    assert denied(s3.put_bucket_logging, **reports(landing, "elsewhere/")) == "InvalidTargetBucketForLogging"
    assert denied(s3.put_bucket_logging, **reports(other)) == "InvalidTargetBucketForLogging"
    s3.put_bucket_logging(Bucket=landing, BucketLoggingStatus={})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=landing)


# --- the trail --------------------------------------------------------------------------------------------------------


def test_trail_is_refused_where_it_could_not_deliver_and_keeps_its_tags(root: Account) -> None:
    trails, s3, kms = root.client("cloudtrail"), root.client("s3"), root.client("kms")
    arn = "arn:aws:cloudtrail:us-east-1:000000000000:trail/record"
    trail: dict[str, Any] = {
        "Name": "record",
        "S3BucketName": "records",
        "TagsList": [{"Key": "Owner", "Value": "data"}],
    }
    assert denied(trails.create_trail, **trail) == "S3BucketDoesNotExistException"
    s3.create_bucket(Bucket="records")
    assert denied(trails.create_trail, **trail) == "InsufficientS3BucketPolicyException"
    only = {"Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}}
    of_trail = {"StringEquals": {"aws:SourceArn": arn}}
    look = {**only, "Action": "s3:GetBucketAcl", "Resource": "arn:aws:s3:::records", "Condition": of_trail}
    objects = "arn:aws:s3:::records/AWSLogs/000000000000/*"
    write = {**only, "Action": "s3:PutObject", "Resource": objects, "Condition": of_trail}
    policy = {"Version": "2012-10-17", "Statement": [look, write]}
    s3.put_bucket_policy(Bucket="records", Policy=json.dumps(policy))
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert denied(trails.create_trail, **trail, KmsKeyId=key) == "InsufficientEncryptionPolicyException"
    answer = trails.create_trail(**trail)
    assert_fits("cloudtrail", "CreateTrail", answer)
    listed = trails.list_tags(ResourceIdList=[answer["TrailARN"]])["ResourceTagList"][0]["TagsList"]
    assert listed == [{"Key": "Owner", "Value": "data"}]
    assert denied(trails.update_trail, Name="record", S3BucketName="elsewhere") == "S3BucketDoesNotExistException"


def test_right_to_parameters_below_a_path_is_for_that_path_only(root: Account) -> None:
    root.client("ssm").put_parameter(Name="/sluice/local/compute/us/emr", Value="off", Type="String")
    path = "arn:aws:ssm:us-east-1:000000000000:parameter/sluice/local/compute/us"
    read = {"Effect": "Allow", "Action": "ssm:GetParametersByPath", "Resource": path}
    ssm = root.as_role(root.role("reads-us", "lambda.amazonaws.com", read)).client("ssm")
    found = ssm.get_parameters_by_path(Path="/sluice/local/compute/us")["Parameters"]
    assert [parameter["Value"] for parameter in found] == ["off"]
    for other in ("/sluice/local/compute/pr", "/sluice"):
        with pytest.raises(ClientError, match="AccessDenied"):
            ssm.get_parameters_by_path(Path=other)


def test_right_to_a_parameter_is_for_every_version_of_it_and_no_other_one(root: Account) -> None:
    owner, name = root.client("ssm"), "/sluice/local/countries/us"
    for value in ("first", "second"):
        owner.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)
    owner.put_parameter(Name=f"{name}2", Value="other", Type="String")
    read = {
        "Effect": "Allow",
        "Action": ["ssm:GetParameter", "ssm:GetParameters"],
        "Resource": f"arn:aws:ssm:us-east-1:000000000000:parameter{name}",
    }
    ssm = root.as_role(root.role("reads-country", "lambda.amazonaws.com", read)).client("ssm")
    for asked, value in ((name, "second"), (f"{name}:1", "first"), (f"{name}:2", "second")):
        answer = ssm.get_parameter(Name=asked)
        assert_fits("ssm", "GetParameter", answer)
        assert answer["Parameter"]["Value"] == value
    assert denied(ssm.get_parameter, Name=f"{name}:3") == "ParameterVersionNotFound"
    assert [found["Value"] for found in ssm.get_parameters(Names=[name])["Parameters"]] == ["second"]
    for other in (f"{name}2", f"{name}2:1", "/sluice/local/countries/uy"):
        assert denied(ssm.get_parameter, Name=other) == "AccessDeniedException"
    assert denied(ssm.get_parameters, Names=[name, f"{name}2"]) == "AccessDeniedException"


def test_parameter_holds_what_its_tier_does_and_its_last_hundred_versions(root: Account) -> None:
    ssm, name = root.client("ssm"), "/sluice/local/countries/hundred"
    put = partial(ssm.put_parameter, Name=name, Type="String", Overwrite=True)
    assert denied(put, Value="x" * 4097) == "ValidationException"
    assert denied(put, Value="x" * 4097, Tier="Standard") == "ValidationException"
    assert denied(put, Value="x" * 8193, Tier="Advanced") == "ValidationException"
    assert [put(Value="x" * 4096)["Version"] for _ in range(101)] == list(range(1, 102))
    assert ssm.get_parameter(Name=f"{name}:2")["Parameter"]["Version"] == 2
    assert denied(ssm.get_parameter, Name=f"{name}:1") == "ParameterVersionNotFound"
    ssm.label_parameter_version(Name=name, ParameterVersion=2, Labels=["kept"])
    assert denied(put, Value="x") == "ParameterMaxVersionLimitExceeded"
    assert denied(ssm.get_parameters_by_path, Path="/sluice", MaxResults=11) == "ValidationException"


@pytest.mark.parametrize("own_key", [True, False])
def test_a_key_is_used_only_in_the_encryption_context_that_a_policy_names(root: Account, own_key: bool) -> None:
    kms, s3, name = root.client("kms"), root.client("s3"), f"context-{str(own_key).lower()}"
    key = kms.create_key()["KeyMetadata"]["Arn"]
    s3.create_bucket(Bucket=name)
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": own_key}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    for folder in ("mine", "theirs"):
        s3.put_object(Bucket=name, Key=f"{folder}/a.csv", Body=b"x")
    bound = f"arn:aws:s3:::{name}" if own_key else f"arn:aws:s3:::{name}/mine/*"
    read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}
    through = {
        "StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"},
        "StringLike": {"kms:EncryptionContext:aws:s3:arn": bound},
    }
    sealed = {"StringLike": {"kms:EncryptionContext:sluice:object": "mine/*"}}
    rights = [{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key, "Condition": c} for c in (through, sealed)]
    person = root.as_role(root.role(name, "ec2.amazonaws.com", read, *rights, trusts="arn:aws:iam::000000000000:root"))

    assert person.client("s3").get_object(Bucket=name, Key="mine/a.csv")["Body"].read() == b"x"
    if not own_key:
        with pytest.raises(ClientError, match="AccessDenied"):
            person.client("s3").get_object(Bucket=name, Key="theirs/a.csv")
    for folder in ("mine", "theirs"):
        context = {"sluice:object": f"{folder}/a.csv"}
        made = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)
        asked = {"CiphertextBlob": made["CiphertextBlob"], "EncryptionContext": context}
        if folder == "mine":
            assert person.client("kms").decrypt(**asked)["Plaintext"] == made["Plaintext"]
        else:
            with pytest.raises(ClientError, match="AccessDenied"):
                person.client("kms").decrypt(**asked)
