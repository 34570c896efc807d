"""Lambda: the environment that a function's process sees, who may invoke it, and what happens when it fails.

MiniStack runs a function once for a message of SNS or an event of EventBridge and forgets a failure or a throttle. Here
every asynchronous invocation is AWS's: throttled ones wait, failed ones are repeated, and what failed for good goes to
the function's destination or dead-letter queue, sent with the function's own role.
"""

from __future__ import annotations

import contextvars
import datetime
import json
import logging
import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
from ministack.core import lambda_runtime
from ministack.core.responses import get_region, request_scope
from ministack.services import cloudwatch, eventbridge, lambda_svc, s3, sns

from local.cloud import access

_log = logging.getLogger(__name__)

Data = dict[str, Any]

# What a function may see of the server's own environment; all else would leak this machine into it.
_INHERITED = frozenset({"PATH", "LANG", "TZ", "AWS_ENDPOINT_URL"})
# AWS waits a minute and then two before it repeats a failed invocation; nobody wants to wait so long at a desk.
_RETRY_SECONDS = (1.0, 2.0)
_THROTTLE_SECONDS = 0.2
_THROTTLE_MAX_SECONDS = 1.0
_MAX_EVENT_AGE_SECONDS = 21600

_rule: contextvars.ContextVar[str] = contextvars.ContextVar("functions_rule", default="")


def install(home: Path) -> None:
    """Puts the corrections in place."""
    stock_environment = lambda_svc._provided_worker_env
    stock_target = eventbridge._invoke_target
    stock_config = lambda_svc._put_event_invoke_config

    def environment(config: Data, code_dir: str, port: int) -> dict[str, str]:
        env: dict[str, str] = stock_environment(config, code_dir, port)
        inherited = {name for name, value in os.environ.items() if env.get(name) == value}
        clean = {name: value for name, value in env.items() if name in _INHERITED or name not in inherited}
        return clean | _google(home)

    def invoke_target(target: Data, event: Data, rule: Data, view: Any = None) -> None:
        token = _rule.set(rule.get("Arn", ""))
        try:
            stock_target(target, event, rule, view)
        finally:
            _rule.reset(token)

    def eventbridge_to_function(arn: str, payload: str) -> None:
        _deliver("events.amazonaws.com", _rule.get(), arn, json.loads(payload))

    def s3_to_function(arn: str, payload: Data, _region: str) -> None:
        _deliver("s3.amazonaws.com", payload["Records"][0]["s3"]["bucket"]["arn"], arn, payload)

    def sns_to_function(endpoint: str, envelope: str, topic_arn: str, sub_arn: str, *_rest: Any) -> None:
        record = {
            "EventSource": "aws:sns",
            "EventVersion": "1.0",
            "EventSubscriptionArn": sub_arn,
            "Sns": json.loads(envelope),
        }
        _deliver("sns.amazonaws.com", topic_arn, endpoint, {"Records": [record]})

    def put_event_invoke_config(name: str, qualifier: str | None, data: Data) -> Any:
        status, headers, body = stock_config(name, qualifier, data)
        if status != 200 or "MaximumEventAgeInSeconds" in data:
            return status, headers, body
        # What was not set is not described.
        config = lambda_svc._functions[name]["event_invoke_configs"][qualifier or ""]
        del config["MaximumEventAgeInSeconds"]
        return lambda_svc.json_response(config)

    lambda_svc._provided_worker_env = environment
    lambda_svc._put_event_invoke_config = put_event_invoke_config
    lambda_svc.invoke_async_with_retry = invoke_later
    eventbridge._invoke_target = invoke_target
    eventbridge._dispatch_to_lambda = eventbridge_to_function
    s3._deliver_event_to_lambda = s3_to_function
    sns._deliver_to_lambda = sns_to_function


def invoke_later(function: Data, event: Any) -> None:
    """Invokes a function asynchronously, as Invoke with the type Event does."""
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(_invoke, function, event), daemon=True).start()


def _deliver(service: str, source: str, arn: str, event: Any) -> None:
    """Brings an event of a service to a function, if the function's policy lets the service in."""
    record, config, name = lambda_svc._get_func_record_for_ref(arn)
    if not record or not config:
        _log.warning("%s → function %s: there is none", source, name)
    elif not access.permits(record.get("policy"), "lambda:InvokeFunction", config["FunctionArn"], service, source):
        _log.warning("%s → function %s: its policy does not let %s invoke it", source, name, service)
    else:
        invoke_later(lambda_svc._execution_record_for_config(record, config), event)


def _invoke(function: Data, event: Any) -> None:
    config = function.get("config") or function
    account, region = lambda_svc._account_region_from_function_config(config)
    with request_scope(account, region):
        every = function.get("event_invoke_configs") or {}
        settings = function.get("event_invoke_config") or every.get("$LATEST") or {}
        retries = settings.get("MaximumRetryAttempts")
        retries = 2 if retries is None else int(retries)
        began = time.monotonic()
        expires = began + int(settings.get("MaximumEventAgeInSeconds") or _MAX_EVENT_AGE_SECONDS)
        failures, wait = 0, _THROTTLE_SECONDS
        while True:
            if config.get("Version", "$LATEST") == "$LATEST":
                # An event that waited meets the function as it is then.
                record, current, _ = lambda_svc._get_func_record_for_ref(config["FunctionArn"])
                if record and current:
                    config, function = current, lambda_svc._execution_record_for_config(record, current)
            age = 1000 * (time.monotonic() - began)
            cloudwatch.record_metric(
                "AWS/Lambda", "AsyncEventAge", age, "Milliseconds", {"FunctionName": config["FunctionName"]}
            )
            result: Data = lambda_svc._execute_function(function, event)
            if not result.get("error"):
                _send(config, settings, "OnSuccess", "Success", failures + 1, event, result)
                return
            if result.get("throttle"):
                delay, wait = wait, min(wait * 2, _THROTTLE_MAX_SECONDS)
            else:
                failures += 1
                _log.warning("function %s failed (%d): %s", config["FunctionName"], failures, result.get("body"))
                if failures > retries:
                    _fail(config, settings, "RetriesExhausted", failures, event, result)
                    return
                delay = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS)) - 1]
            if time.monotonic() + delay > expires:
                _fail(config, settings, "EventAgeExceeded", failures, event, result)
                return
            time.sleep(delay)


def _fail(config: Data, settings: Data, condition: str, count: int, event: Any, result: Data) -> None:
    _send(config, settings, "OnFailure", condition, count, event, result)
    if target := (config.get("DeadLetterConfig") or {}).get("TargetArn"):
        # A dead-letter queue gets the bare event.
        _put(config, target, json.dumps(event))


def _send(config: Data, settings: Data, which: str, condition: str, count: int, event: Any, result: Data) -> None:
    """Sends the record of an invocation to the destination, where the function has one."""
    target = ((settings.get("DestinationConfig") or {}).get(which) or {}).get("Destination")
    if not target:
        return
    failed = which == "OnFailure"
    record = {
        "version": "1.0",
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "functionArn": f"{config['FunctionArn']}:{config.get('Version', '$LATEST')}",
            "condition": condition,
            "approximateInvokeCount": count,
        },
        "requestPayload": event,
        "responseContext": {
            "statusCode": 200,
            "executedVersion": config.get("Version", "$LATEST"),
            **({"functionError": "Unhandled"} if failed else {}),
        },
        "responsePayload": result.get("body"),
    }
    _put(config, target, json.dumps(record))


def _put(config: Data, target: str, body: str) -> None:
    """Brings a text to a queue, topic or function, with the rights of the function that it is about."""
    keys = lambda_runtime.execution_credentials(config)
    session = boto3.Session(
        keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], keys["AWS_SESSION_TOKEN"], region_name=get_region()
    )
    service = target.split(":")[2]
    client = session.client(service, endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    try:
        if service == "sns":
            client.publish(TopicArn=target, Message=body)
        elif service == "sqs":
            account, name = target.split(":")[4:6]
            client.send_message(QueueUrl=f"{os.environ['AWS_ENDPOINT_URL']}/{account}/{name}", MessageBody=body)
        elif service == "lambda":
            client.invoke(FunctionName=target, InvocationType="Event", Payload=body)
        else:
            _log.error("function %s: no way to send to %s", config["FunctionName"], target)
    except botocore.exceptions.ClientError as error:
        _log.error("function %s: destination %s: %s", config["FunctionName"], target, error)


def _google(home: Path) -> dict[str, str]:
    """The proxy and the certificates that bring `*.googleapis.com` to the local front, once it runs."""
    try:
        cloud = json.loads((home / "cloud.json").read_text())
        return {"HTTPS_PROXY": cloud["endpoints"]["google"], "SSL_CERT_FILE": cloud["ca"]}
    except (OSError, KeyError, ValueError):
        return {}
