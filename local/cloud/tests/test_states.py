"""State machines: the polling driver as it is deployed, and what roles let a machine and a rule do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from local.cloud.launcher import CHECKOUT

from .conftest import Account, wait_for

LOOK = """
import pathlib
def handle(event):
    calls = pathlib.Path("CALLS")
    name, last = "NAME", LAST
    with calls.open("a") as file:
        file.write(name + " " + json.dumps(event) + "\\n")
    looks = calls.read_text().count("look")
    if looks == 2 and name == "look":
        raise RuntimeError("on purpose")
    return {"moving": 0 if looks >= last else 1}
"""


def may(action: str, *resources: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": list(resources)}


def ended(root: Account, machine: str) -> list[str]:
    """The states of all executions of a machine, the oldest first, once none runs any more."""
    states = root.client("stepfunctions")

    def done() -> list[str] | None:
        found = [e["status"] for e in states.list_executions(stateMachineArn=machine)["executions"]]
        return None if not found or "RUNNING" in found else found[::-1]

    return list(wait_for(done))


def polling(functions: dict[str, str], rounds: int) -> str:
    """The polling driver's definition, with functions of the test's, in quick and few rounds."""
    inventory = json.loads((CHECKOUT / "infra/testdata/polling.json").read_text())
    (machine,) = [r for r in inventory if r["type"] == "aws:sfn/stateMachine:StateMachine"]
    text = json.dumps(machine["inputs"]["definition"])
    for name, arn in functions.items():
        assert f"arn:Function:us-{name}" in text
        text = text.replace(f"arn:Function:us-{name}", arn)
    definition = json.loads(text)
    for wait in ("Wait", "Settle"):
        definition["States"][wait]["Seconds"] = 1
    return json.dumps(definition).replace("$round >= 1000", f"$round >= {rounds}")


def test_polling_goes_on_until_nothing_moves_and_hands_over_in_time(root: Account, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.touch()
    role = root.role("polled-function", "lambda.amazonaws.com")
    functions = {
        folder: root.function(
            f"polled-{folder}",
            role,
            LOOK.replace("CALLS", str(calls)).replace("NAME", name).replace("LAST", "9"),
        )
        for folder, name in {"start-jobs": "start", "queue-jobs": "look", "stop-cluster": "stop"}.items()
    }
    itself = "arn:aws:states:us-east-1:000000000000:stateMachine:polled"
    rights = [may("lambda:InvokeFunction", *functions.values())]
    rights += [may("states:ListExecutions", itself), may("states:StartExecution", itself)]
    states = root.client("stepfunctions")
    states.create_state_machine(
        name="polled",
        definition=polling(functions, 3),
        roleArn=root.role("polled-machine", "states.amazonaws.com", *rights),
    )
    states.start_execution(stateMachineArn=itself, input="{}")
    wait_for(lambda: "look" in calls.read_text())
    # While one polls, another ends at once.
    other = states.start_execution(stateMachineArn=itself, input="{}")["executionArn"]
    wait_for(lambda: states.describe_execution(executionArn=other)["status"] == "SUCCEEDED")
    # Handed over twice, after four looks each; one that failed was repeated in the next round.
    assert ended(root, itself) == ["SUCCEEDED"] * 4
    lines = calls.read_text().splitlines()
    assert lines == ["start {}", "look {}"] * 9 + ['stop {"done": true}']


def test_polling_that_finds_nothing_to_do_ends_and_stops_no_server(root: Account, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.touch()
    role = root.role("idle-function", "lambda.amazonaws.com")
    source = LOOK.replace("CALLS", str(calls)).replace("LAST", "1")
    functions = {
        folder: root.function(f"idle-{folder}", role, source.replace("NAME", name))
        for folder, name in {"start-jobs": "start", "queue-jobs": "look", "stop-cluster": "stop"}.items()
    }
    itself = "arn:aws:states:us-east-1:000000000000:stateMachine:idle"
    rights = [may("lambda:InvokeFunction", *functions.values()), may("states:ListExecutions", itself)]
    root.client("stepfunctions").create_state_machine(
        name="idle",
        definition=polling(functions, 3),
        roleArn=root.role("idle-machine", "states.amazonaws.com", *rights),
    )
    starter = root.role("idle-rule", "events.amazonaws.com", may("states:StartExecution", itself))
    deaf = root.role("deaf-rule", "events.amazonaws.com")
    events = root.client("events")
    for name, rule_role in {"deaf": deaf, "idle": starter}.items():
        events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
        events.put_targets(Rule=name, Targets=[{"Id": "machine", "Arn": itself, "RoleArn": rule_role, "Input": "{}"}])
        events.put_events(Entries=[{"Source": name, "DetailType": "test", "Detail": "{}"}])
    # The rule whose role may not start it did not.
    assert ended(root, itself) == ["SUCCEEDED"]
    assert calls.read_text().splitlines() == ["start {}", "look {}"]


def test_machine_may_do_what_its_role_may(root: Account) -> None:
    function = root.function(
        "closed", root.role("closed-function", "lambda.amazonaws.com"), "def handle(event): return 1"
    )
    states = root.client("stepfunctions")
    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True}
    for name, arguments, error in (
        ("unlawful", {"FunctionName": function}, "States.Permissions"),
        ("lawful", {"FunctionName": function}, None),
    ):
        rights = [may("lambda:InvokeFunction", function)] if error is None else []
        machine = states.create_state_machine(
            name=name,
            definition=json.dumps({"StartAt": "Do", "States": {"Do": {**task, "Parameters": arguments}}}),
            roleArn=root.role(f"{name}-machine", "states.amazonaws.com", *rights),
        )["stateMachineArn"]
        execution = states.start_execution(stateMachineArn=machine)["executionArn"]
        ended(root, machine)
        assert states.describe_execution(executionArn=execution).get("error") == error
