"""Alarms: what puts one in which state, and who hears of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.cloud import alarms

from .conftest import Account, assert_fits, wait_for

TICKER = """
import sys, time
def handle(event):
    if event.get("fail"):
        raise RuntimeError("on purpose")
    metric = {"Namespace": "Shop", "Dimensions": [["Country"]], "Metrics": [{"Name": "Sold", "Unit": "Count"}]}
    line = {"msg": "sold", "Country": "us", "Sold": 3, "_aws": {"Timestamp": 1, "CloudWatchMetrics": [metric]}}
    print(json.dumps(line), file=sys.stderr, flush=True)
"""


def alarm(periods: int = 3, points: int | None = None, missing: str = "missing", old: str = "OK") -> dict[str, Any]:
    return {
        "EvaluationPeriods": periods,
        "DatapointsToAlarm": points,
        "TreatMissingData": missing,
        "StateValue": old,
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 1.0,
    }


@pytest.mark.parametrize(
    ("options", "values", "state"),
    [
        # Newest first; 2 breaches, 0 does not, a hyphen is missing.
        ({}, "22200", "ALARM"),
        ({}, "22022", "OK"),
        ({"points": 2}, "20200", "ALARM"),
        ({}, "-222-", "ALARM"),
        ({}, "-----", "INSUFFICIENT_DATA"),
        ({"missing": "breaching"}, "-----", "ALARM"),
        ({"missing": "notBreaching"}, "-----", "OK"),
        ({"missing": "ignore", "old": "ALARM"}, "-----", "ALARM"),
        ({"missing": "notBreaching"}, "22---", "OK"),
        ({"missing": "breaching"}, "22---", "ALARM"),
        ({"missing": "breaching"}, "20---", "OK"),
        ({}, "2----", "OK"),
        ({}, "--2--", "ALARM"),
        ({"missing": "ignore", "old": "ALARM"}, "2----", "ALARM"),
        ({"missing": "ignore", "old": "ALARM", "periods": 1}, "0--", "OK"),
    ],
)
def test_state_follows_the_periods_and_what_missing_data_means(options: Any, values: str, state: str) -> None:
    assert alarms.state(alarm(**options), [None if v == "-" else float(v) for v in values]) == state


def topic_with_ear(root: Account, name: str, *admitted: str) -> tuple[str, str]:
    """A topic that lets these services publish, and a queue that hears it: the topic's ARN and the queue's URL."""
    sns, sqs = root.client("sns"), root.client("sqs")
    topic = sns.create_topic(Name=name)["TopicArn"]
    statement = {
        "Effect": "Allow",
        "Action": "sns:Publish",
        "Resource": topic,
        "Principal": {"Service": list(admitted)},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(policy))
    url = sqs.create_queue(QueueName=f"{name}-ear")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    hear = {**statement, "Action": "sqs:SendMessage", "Resource": arn, "Principal": {"Service": "sns.amazonaws.com"}}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({**policy, "Statement": [hear]})})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return topic, url


def heard(root: Account, url: str) -> dict[str, Any]:
    """The next message of an alarm that comes to a queue."""
    sqs = root.client("sqs")
    got = wait_for(lambda: sqs.receive_message(QueueUrl=url).get("Messages"))[0]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"])
    message: dict[str, Any] = json.loads(json.loads(got["Body"])["Message"])
    return message


def put_alarm(
    root: Account, name: str, namespace: str, metric: str, dimensions: dict[str, str], **options: Any
) -> None:
    root.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": k, "Value": v} for k, v in dimensions.items()],
        **{
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 0.0,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        }
        | options,
    )


def state_of(root: Account, name: str) -> str:
    answer = root.client("cloudwatch").describe_alarms(AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    assert_fits("cloudwatch", "DescribeAlarms", answer)
    return str((answer["MetricAlarms"] + answer["CompositeAlarms"])[0]["StateValue"])


def test_message_among_the_dead_letters_is_heard_of_once(root: Account) -> None:
    sqs = root.client("sqs")
    topic, ear = topic_with_ear(root, "alerts", "cloudwatch.amazonaws.com")
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    metric, options = "ApproximateNumberOfMessagesVisible", {"Statistic": "Maximum", "AlarmActions": [topic]}
    put_alarm(root, "dead-letters", "AWS/SQS", metric, {"QueueName": "dead"}, **options)
    wait_for(lambda: state_of(root, "dead-letters") == "OK")
    sqs.send_message(QueueUrl=dead, MessageBody="{}")
    message = heard(root, ear)
    assert (message["AlarmName"], message["OldStateValue"], message["NewStateValue"]) == ("dead-letters", "OK", "ALARM")
    assert "Messages" not in sqs.receive_message(QueueUrl=ear, WaitTimeSeconds=5)


def test_alarm_is_not_heard_where_cloudwatch_is_not_let_in(root: Account) -> None:
    deaf, ear = topic_with_ear(root, "deaf", "events.amazonaws.com")
    kms = root.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]  # for the account only, as keys are by default
    locked, locked_ear = topic_with_ear(root, "locked", "cloudwatch.amazonaws.com")
    root.client("sns").set_topic_attributes(TopicArn=locked, AttributeName="KmsMasterKeyId", AttributeValue=key)
    put_alarm(root, "unheard", "Shop", "Lost", {}, AlarmActions=[deaf, locked])
    root.client("cloudwatch").put_metric_data(Namespace="Shop", MetricData=[{"MetricName": "Lost", "Value": 1}])
    wait_for(lambda: state_of(root, "unheard") == "ALARM")
    for url in (ear, locked_ear):
        assert "Messages" not in root.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=2)


def test_failing_function_puts_its_own_alarm_off_and_no_other(root: Account) -> None:
    role = root.role("ticker", "lambda.amazonaws.com")
    for name in ("ticker", "other"):
        root.function(name, role, TICKER)
        put_alarm(root, f"{name}-errors", "AWS/Lambda", "Errors", {"FunctionName": name})
    root.client("lambda").invoke(FunctionName="other", Payload=b"{}")
    root.client("lambda").invoke(FunctionName="ticker", Payload=b'{"fail": true}')
    wait_for(lambda: state_of(root, "ticker-errors") == "ALARM")
    assert state_of(root, "other-errors") == "OK"


def test_metric_in_a_functions_log_line_is_a_metric(root: Account) -> None:
    root.function("seller", root.role("seller", "lambda.amazonaws.com"), TICKER)
    put_alarm(root, "sold", "Shop", "Sold", {"Country": "us"}, Threshold=2.5)
    put_alarm(root, "sold-elsewhere", "Shop", "Sold", {"Country": "uy"}, TreatMissingData="missing")
    root.client("lambda").invoke(FunctionName="seller", Payload=b"{}")
    wait_for(lambda: state_of(root, "sold") == "ALARM")
    assert state_of(root, "sold-elsewhere") == "INSUFFICIENT_DATA"


def test_composite_alarm_needs_both_and_tells_once_they_agree(root: Account) -> None:
    cloudwatch = root.client("cloudwatch")
    topic, ear = topic_with_ear(root, "idle", "cloudwatch.amazonaws.com")
    put_alarm(root, "quiet", "Shop", "Cpu", {"Country": "us"}, ComparisonOperator="LessThanThreshold", Threshold=40)
    put_alarm(root, "idle", "Shop", "IsIdle", {"Country": "us"})
    rule = 'ALARM("quiet") AND ALARM("idle")'
    cloudwatch.put_composite_alarm(AlarmName="both", AlarmRule=rule, AlarmActions=[topic])

    def put(metric: str, value: float) -> None:
        dimensions = [{"Name": "Country", "Value": "us"}]
        data = {"MetricName": metric, "Dimensions": dimensions, "Value": value}
        cloudwatch.put_metric_data(Namespace="Shop", MetricData=[data])

    put("Cpu", 10)
    wait_for(lambda: state_of(root, "quiet") == "ALARM")
    assert state_of(root, "both") == "OK" or state_of(root, "both") == "INSUFFICIENT_DATA"
    put("IsIdle", 1)
    assert heard(root, ear)["AlarmName"] == "both"
    assert state_of(root, "both") == "ALARM"
