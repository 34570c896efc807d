"""CloudWatch: metrics that the services publish by themselves, alarms over them, and who may be told.

MiniStack looks at an alarm when somebody puts metric data, over every point of the metric's name whatever its dimensions,
and never because data is missing. Here an alarm is evaluated on a clock, as AWS does: by its own dimensions, period by
period, with what it says about missing data; and its message reaches only a topic whose policy, and whose key's policy,
let CloudWatch in.
"""

from __future__ import annotations

import json
import logging
import operator
import threading
import time
from collections.abc import Callable
from typing import Any

from ministack.core.responses import get_account_id, request_scope
from ministack.services import cloudwatch, cloudwatch_logs, kms, lambda_svc, sns, sqs

from local.cloud import access

_log = logging.getLogger(__name__)

Data = dict[str, Any]

_TICK_SECONDS = 2.0
# SQS reports each minute; a change is reported at once, because nobody wants to wait so long at a desk.
_QUEUE_SECONDS = 60.0
# AWS looks at a few more periods than an alarm asks for, so that late data is no missing data.
_MORE_PERIODS = 2

_BREACHES: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}

_reported: dict[tuple[str, str], tuple[float, tuple[float, ...]]] = {}


def install() -> None:
    """Puts the corrections in place."""
    stock_logs, stock_append = lambda_svc._emit_lambda_logs, cloudwatch_logs._append_log_events
    stock_put, stock_dispatch = cloudwatch._put_metric_alarm, cloudwatch._dispatch_alarm_actions

    def emit_lambda_logs(
        func: Data, request_id: str, log_text: str, error: bool, duration_ms: int, **options: Any
    ) -> None:
        name = (func.get("config") or func)["FunctionName"]
        for metric, value, unit in (
            ("Invocations", 1, "Count"),
            ("Errors", int(error), "Count"),
            ("Duration", duration_ms, "Milliseconds"),
        ):
            cloudwatch.record_metric("AWS/Lambda", metric, value, unit, {"FunctionName": name})
        stock_logs(func, request_id, log_text, error, duration_ms, **options)

    def emit_lambda_metrics(function_name: str, duration_ms: float, error: bool, throttle: bool) -> None:
        # Called for invocations through the API only, except for throttles; those come first and with no duration.
        if throttle and not duration_ms:
            cloudwatch.record_metric("AWS/Lambda", "Throttles", 1, "Count", {"FunctionName": function_name})

    def append_log_events(stream: Data, events: list[Data]) -> None:
        stock_append(stream, events)
        for event in events:
            _extract(event["message"])

    def put_metric_alarm(params: Data, data: Data, is_cbor: bool, is_json: bool = False) -> Any:
        answer = stock_put(params, data, is_cbor, is_json)
        if answer[0] == 200 and not is_cbor and not is_json:
            # In the Query protocol MiniStack leaves these out.
            alarm = cloudwatch._alarms[cloudwatch._p(params, "AlarmName")]
            alarm["InsufficientDataActions"] = members(params, "InsufficientDataActions")
        return answer

    def dispatch(alarm: Data, old: str, new: str, reason: str) -> None:
        lists = {"ALARM": "AlarmActions", "OK": "OKActions", "INSUFFICIENT_DATA": "InsufficientDataActions"}
        admitted = [
            action
            for action in alarm.get(lists[new]) or []
            if ":sns:" not in action or _admits(action, alarm["AlarmArn"])
        ]
        stock_dispatch({**alarm, lists[new]: admitted}, old, new, reason)

    lambda_svc._emit_lambda_logs = emit_lambda_logs
    lambda_svc._emit_lambda_metrics = emit_lambda_metrics
    cloudwatch_logs._append_log_events = append_log_events
    cloudwatch._put_metric_alarm = put_metric_alarm
    cloudwatch._evaluate_alarm = evaluate
    cloudwatch._dispatch_alarm_actions = dispatch


def start() -> None:
    """Starts the clock."""
    threading.Thread(target=_tick, name="alarms", daemon=True).start()


def members(params: Data, name: str) -> list[str]:
    """A list of the Query protocol."""
    values: list[str] = []
    while value := cloudwatch._p(params, f"{name}.member.{len(values) + 1}"):
        values.append(value)
    return values


def _tick() -> None:
    while True:
        time.sleep(_TICK_SECONDS)
        try:
            for (account, region, url), queue in sqs._queues.all_items():
                with request_scope(account, region):
                    _report_queue(url, queue)
            for (account, region, _name), alarm in cloudwatch._alarms.all_items():
                with request_scope(account, region):
                    evaluate(alarm)
        except Exception:
            _log.exception("alarms")


def _report_queue(url: str, queue: Data) -> None:
    now = time.time()
    messages = list(queue["messages"])
    visible = [m for m in messages if m.get("visible_at", 0) <= now]
    hidden = [m for m in messages if m.get("visible_at", 0) > now and m.get("receive_count")]
    oldest = max((now - m.get("sent_at", now) for m in messages), default=0.0)
    counts = (float(len(visible)), float(len(hidden)))
    last, before = _reported.get((get_account_id(), url), (0.0, ()))
    if counts == before and now - last < _QUEUE_SECONDS:
        return
    _reported[(get_account_id(), url)] = (now, counts)
    dimensions = {"QueueName": url.rpartition("/")[2]}
    for metric, value, unit in (
        ("ApproximateNumberOfMessagesVisible", counts[0], "Count"),
        ("ApproximateNumberOfMessagesNotVisible", counts[1], "Count"),
        ("ApproximateAgeOfOldestMessage", oldest, "Seconds"),
    ):
        cloudwatch.record_metric("AWS/SQS", metric, value, unit, dimensions)


def _extract(line: str) -> None:
    """Records the metrics of a log line in the embedded metric format."""
    if '"_aws"' not in line:
        return
    try:
        event = json.loads(line[line.index("{") :])
        for directive in event["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = {name: event[name] for name in names}
                for metric in directive["Metrics"]:
                    value, unit = float(event[metric["Name"]]), metric.get("Unit", "None")
                    cloudwatch.record_metric(directive["Namespace"], metric["Name"], value, unit, dimensions)
    except (KeyError, TypeError, ValueError) as error:
        # AWS drops such a line too; whoever looks for a metric finds this.
        _log.warning("not in the embedded metric format (%r): %s", error, line)


def evaluate(alarm: Data) -> None:
    """Moves an alarm to the state that its metric puts it in, and tells whom it names."""
    if not alarm.get("Namespace") or not alarm.get("MetricName"):
        return  # no metric alarm, or one over metric math
    if alarm["ComparisonOperator"] not in _BREACHES:
        _log.error("alarm %s: no %s here", alarm["AlarmName"], alarm["ComparisonOperator"])
        return
    values = _values(alarm, time.time())
    old, new = alarm["StateValue"], state(alarm, values)
    if new == old:
        return
    statistic = alarm.get("ExtendedStatistic") or alarm["Statistic"]
    seen = ", ".join("none" if value is None else f"{value:g}" for value in values)
    reason = (
        f"Threshold Crossed: {statistic} of {alarm['MetricName']} {alarm['ComparisonOperator']} {alarm['Threshold']:g}: {seen}"
        if new == "ALARM"
        else f"{statistic} of {alarm['MetricName']}, newest first: {seen}"
    )
    alarm.update(StateValue=new, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
    cloudwatch._record_history(alarm["AlarmName"], old, new, reason)
    cloudwatch._dispatch_alarm_actions(alarm, old, new, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def _values(alarm: Data, now: float) -> list[float | None]:
    """The statistic of each period that is looked at, newest first; the running one counts once it has data."""
    dimensions = cloudwatch._dims_key({d["Name"]: d["Value"] for d in alarm.get("Dimensions") or []})
    points = cloudwatch._metrics.get((alarm["Namespace"], alarm["MetricName"], dimensions)) or []
    period = alarm["Period"]
    running = int(now // period)
    count = alarm["EvaluationPeriods"] + _MORE_PERIODS
    buckets: dict[int, list[Data]] = {}
    for point in reversed(points):
        bucket = int(point["Timestamp"] // period)
        if bucket < running - count:
            break
        buckets.setdefault(bucket, []).append(point)
    newest = running if running in buckets else running - 1
    statistic = alarm.get("ExtendedStatistic") or alarm["Statistic"]

    def value(found: list[Data]) -> float | None:
        got: float | None = cloudwatch._stat_value(cloudwatch._calc_stats(found), statistic, found)
        return got

    return [value(buckets[b]) if b in buckets else None for b in range(newest, newest - count, -1)]


def state(alarm: Data, values: list[float | None]) -> str:
    """The state of an alarm whose metric has these values, newest first; a period without data has none."""
    wanted = alarm["EvaluationPeriods"]
    needed = alarm.get("DatapointsToAlarm") or wanted
    treatment, old = alarm.get("TreatMissingData") or "missing", str(alarm["StateValue"])
    breaches = [None if v is None else _BREACHES[alarm["ComparisonOperator"]](v, alarm["Threshold"]) for v in values]
    real = [b for b in breaches if b is not None]
    if len(real) >= wanted:
        real = real[:wanted]  # with enough data, late or missing periods do not count
    elif treatment in ("breaching", "notBreaching"):
        real += [treatment == "breaching"] * (wanted - len(real))
    elif not real:
        return old if treatment == "ignore" else "INSUFFICIENT_DATA"
    elif all(real) and treatment == "missing":
        # As long ago as it takes, and nothing good since.
        oldest = max(i for i, b in enumerate(breaches) if b)
        return "ALARM" if oldest + 1 >= needed else old
    elif treatment == "ignore" and sum(real) < needed and len(real) - sum(real) <= wanted - needed:
        return old
    return "ALARM" if sum(real) >= needed else "OK"


def _admits(topic_arn: str, alarm_arn: str) -> bool:
    """Whether CloudWatch may publish to a topic for this alarm, and use the topic's key."""
    attributes = (sns._topics.get(topic_arn) or {}).get("attributes") or {}
    asked = [("sns:Publish", topic_arn, attributes.get("Policy"))]
    if name := attributes.get("KmsMasterKeyId"):
        key = kms._resolve_key(name) or {}
        asked += [
            (action, key.get("Arn", name), key.get("Policy")) for action in ("kms:GenerateDataKey", "kms:Decrypt")
        ]
    for action, resource, policy in asked:
        if not access.permits(policy, action, resource, "cloudwatch.amazonaws.com", alarm_arn):
            _log.error("alarm %s: no %s on %s for CloudWatch", alarm_arn, action, resource)
            return False
    return True
