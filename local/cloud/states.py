"""Step Functions: a rule starts a state machine, and the machine does its tasks, with the rights of the roles that they have.

MiniStack runs state machines without asking whether they may do what they do, and counts nothing.
"""

from __future__ import annotations

import contextvars
import logging
from typing import Any

from ministack.services import cloudwatch, eventbridge, stepfunctions

from local.cloud import roles

_log = logging.getLogger(__name__)

Data = dict[str, Any]

_machine: contextvars.ContextVar[Data] = contextvars.ContextVar("states_machine")
_target: contextvars.ContextVar[Data] = contextvars.ContextVar("states_target")


def install() -> None:
    """Puts the corrections in place."""
    stock_run, stock_invoke, stock_target, stock_dispatch = (
        stepfunctions._run_execution,
        stepfunctions._invoke_resource,
        eventbridge._invoke_target,
        eventbridge._dispatch_to_stepfunctions,
    )

    def run(execution_arn: str) -> None:
        execution = stepfunctions._executions[execution_arn]
        _machine.set(stepfunctions._state_machines[execution["stateMachineArn"]])
        _count("ExecutionsStarted")
        stock_run(execution_arn)
        _count(f"Executions{execution['status'].capitalize()}")

    def invoke(resource: str, data: Data) -> Any:
        try:
            _check(_machine.get()["roleArn"], "states.amazonaws.com", *needed(resource, data))
        except roles.Refused as error:
            raise stepfunctions._ExecutionError("States.Permissions", str(error)) from error
        return stock_invoke(resource, data)

    def invoke_target(target: Data, event: Data, rule: Data, view: Any = None) -> None:
        _target.set(target)
        stock_target(target, event, rule, view)

    def dispatch(arn: str, payload: str) -> None:
        try:
            _check(_target.get().get("RoleArn", ""), "events.amazonaws.com", "states:StartExecution", arn)
        except roles.Refused as error:
            _log.warning("EventBridge → state machine %s: %s", arn, error)
            return
        stock_dispatch(arn, payload)

    stepfunctions._run_execution = run
    stepfunctions._invoke_resource = invoke
    eventbridge._invoke_target = invoke_target
    eventbridge._dispatch_to_stepfunctions = dispatch


def needed(resource: str, data: Data) -> tuple[str, str]:
    """The action and the resource that a task needs to be allowed; refused for a task of which that is not known here."""
    if resource == "arn:aws:states:::lambda:invoke":
        return "lambda:InvokeFunction", data["FunctionName"]
    if resource == "arn:aws:states:::states:startExecution":
        return "states:StartExecution", data["StateMachineArn"]
    if resource == "arn:aws:states:::aws-sdk:sfn:listExecutions":
        return "states:ListExecutions", data["StateMachineArn"]
    raise roles.Refused(f"the local cloud does not know what rights {resource} needs")


def _check(role_arn: str, service: str, action: str, arn: str) -> None:
    session = roles.assume(roles.role(role_arn), service, "local")
    roles.check_may(session["AWS_ACCESS_KEY_ID"], action, arn)


def _count(metric: str) -> None:
    dimensions = {"StateMachineArn": _machine.get()["stateMachineArn"]}
    cloudwatch.record_metric("AWS/States", metric, 1.0, "Count", dimensions)
