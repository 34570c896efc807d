"""Glue's triggers and workflows: triggers fire at their times, or when what they watch has ended, and start jobs and crawlers."""

from __future__ import annotations

import datetime
import logging
import uuid
from typing import Any

from ministack.core.responses import AccountRegionScopedDict, get_account_id, get_region, request_scope
from ministack.services import eventbridge
from ministack.services import glue as catalog

from local.cloud.glue_crawlers import Crawlers
from local.cloud.services import Data, Refused, now, page

_log = logging.getLogger(__name__)


class Workflows(Crawlers):
    """The part of Glue that starts things by itself."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._triggers = AccountRegionScopedDict()
        self._workflows = AccountRegionScopedDict()

    # --- triggers -------------------------------------------------------------------------------------------------

    def _do_CreateTrigger(self, data: Data) -> Data:
        if data["Name"] in self._triggers:
            raise Refused(f"Trigger {data['Name']} already exists", "AlreadyExistsException")
        self._check_trigger(data)
        if data.get("StartOnCreation") and data["Type"] == "ON_DEMAND":
            raise Refused("An on-demand trigger cannot be started on creation", self.invalid)
        if data.get("WorkflowName"):
            self._workflow(data["WorkflowName"])
            if data["Type"] != "CONDITIONAL" and self._first(data["WorkflowName"]):
                raise Refused("A workflow has one starting trigger", self.invalid)
        trigger = {name: value for name, value in data.items() if name not in ("Tags", "StartOnCreation")}
        self._triggers[data["Name"]] = {
            "Trigger": {**trigger, "State": "ACTIVATED" if data.get("StartOnCreation") else "CREATED"},
            "Scope": [get_account_id(), get_region()],
            "Since": now(),
            "Seen": {},
        }
        catalog._tags[catalog._arn("trigger", data["Name"])] = dict(data.get("Tags", {}))
        return {"Name": data["Name"]}

    def _do_UpdateTrigger(self, data: Data) -> Data:
        record = self._trigger(data["Name"])
        trigger = record["Trigger"]
        changed = {**trigger, **data["TriggerUpdate"], "Name": data["Name"]}
        self._check_trigger(changed)
        trigger |= changed
        record["Since"] = now()
        return {"Trigger": trigger}

    def _do_GetTrigger(self, data: Data) -> Data:
        return {"Trigger": self._trigger(data["Name"])["Trigger"]}

    def _do_GetTriggers(self, data: Data) -> Data:
        wanted = data.get("DependentJobName")
        every = [record["Trigger"] for record in self._triggers.values()]
        found = [t for t in every if not wanted or any(a.get("JobName") == wanted for a in t["Actions"])]
        return page("Triggers", found, data, "NextToken", "MaxResults", 200)

    def _do_DeleteTrigger(self, data: Data) -> Data:
        if data["Name"] in self._triggers:
            del self._triggers[data["Name"]]
            catalog._tags.pop(catalog._arn("trigger", data["Name"]), None)
        return {"Name": data["Name"]}

    def _do_StartTrigger(self, data: Data) -> Data:
        record = self._trigger(data["Name"])
        if record["Trigger"]["Type"] == "ON_DEMAND":
            self._fire(record, None)
        else:
            record["Trigger"]["State"] = "ACTIVATED"
            record["Since"] = now()
        return {"Name": data["Name"]}

    def _do_StopTrigger(self, data: Data) -> Data:
        self._trigger(data["Name"])["Trigger"]["State"] = "DEACTIVATED"
        return {"Name": data["Name"]}

    def _check_trigger(self, data: Data) -> None:
        kind = data["Type"]
        if kind not in ("SCHEDULED", "CONDITIONAL", "ON_DEMAND"):
            raise Refused(f"The local cloud knows no {kind} triggers.", self.invalid)
        if kind == "SCHEDULED" and eventbridge._parse_cron_fields(data.get("Schedule", "")) is None:
            raise Refused(f"Schedule {data.get('Schedule', '')!r} is no cron expression", self.invalid)
        conditions = data.get("Predicate", {}).get("Conditions", [])
        if (kind == "CONDITIONAL") != bool(conditions):
            raise Refused("A conditional trigger, and no other, has a predicate with conditions", self.invalid)
        for part in [*data["Actions"], *conditions]:
            if ("JobName" in part) == ("CrawlerName" in part):
                raise Refused("Each action and condition names a job or a crawler", self.invalid)
            if "JobName" in part:
                self._job(part["JobName"])
            else:
                self._crawler(part["CrawlerName"])

    def _trigger(self, name: str) -> Data:
        record: Data | None = self._triggers.get(name)
        if record is None:
            raise Refused(f"Trigger {name} not found", "EntityNotFoundException")
        return record

    def fire_schedules(self) -> None:
        """Fires each trigger whose time has come."""
        for record in list(self._triggers._data.values()):
            trigger = record["Trigger"]
            if trigger["Type"] != "SCHEDULED" or trigger["State"] != "ACTIVATED":
                continue
            since = datetime.datetime.fromtimestamp(record["Since"], datetime.UTC)
            due = eventbridge._cron_next_fire(eventbridge._parse_cron_fields(trigger["Schedule"]), since)
            if due is not None and due.timestamp() <= now():
                record["Since"] = now()
                with request_scope(*record["Scope"]):
                    self._fire_quietly(record)

    def _fire_quietly(self, record: Data) -> None:
        """Fires a trigger for which nobody waits: what Glue refuses then, it only logs."""
        try:
            workflow = record["Trigger"].get("WorkflowName")
            run = self._begin(workflow) if workflow else None
            self._fire(record, run)
        except Refused as error:
            _log.warning("trigger %s: %s", record["Trigger"]["Name"], error)

    def _fire(self, record: Data, run: Data | None) -> None:
        trigger = record["Trigger"]
        for action in trigger["Actions"]:
            origin = {
                "Trigger": trigger["Name"],
                "Workflow": trigger.get("WorkflowName"),
                "Run": run["WorkflowRunId"] if run else None,
            }
            if run:
                run["Statistics"]["TotalActions"] += 1
                run["Statistics"]["RunningActions"] += 1
            try:
                if "JobName" in action:
                    self.start_job(
                        action["JobName"],
                        {
                            name: action[name]
                            for name in ("Arguments", "Timeout", "SecurityConfiguration")
                            if name in action
                        },
                        origin,
                    )
                else:
                    self.start_crawler(action["CrawlerName"], origin)
            except Refused as error:
                _log.warning("trigger %s: %s", trigger["Name"], error)
                self._count(run, "FAILED")

    def ended(self, kind: str, name: str, state: str, origin: Data | None) -> None:
        """Fires the triggers that waited for this end. As in Glue, only what a trigger started counts."""
        if origin is None:
            return
        run = self._workflow_run(origin)
        self._count(run, state)
        for record in list(self._triggers.values()):
            trigger = record["Trigger"]
            if (
                trigger["Type"] != "CONDITIONAL"
                or trigger["State"] != "ACTIVATED"
                or trigger.get("WorkflowName") != origin["Workflow"]
            ):
                continue
            conditions = trigger["Predicate"]["Conditions"]
            holds = {
                index
                for index, condition in enumerate(conditions)
                if condition.get("JobName" if kind == "Job" else "CrawlerName") == name
                and condition.get("State" if kind == "Job" else "CrawlState") == state
            }
            seen = record["Seen"].setdefault(str(origin["Run"]), [])
            seen.extend(holds - set(seen))
            if holds and (trigger["Predicate"].get("Logical", "AND") == "ANY" or len(seen) == len(conditions)):
                del record["Seen"][str(origin["Run"])]
                self._fire(record, run)
        if run and run["Statistics"]["RunningActions"] == 0:
            run |= {"Status": "COMPLETED", "CompletedOn": now()}

    # --- workflows ------------------------------------------------------------------------------------------------

    def _do_CreateWorkflow(self, data: Data) -> Data:
        if data["Name"] in self._workflows:
            raise Refused(f"Workflow {data['Name']} already exists", "AlreadyExistsException")
        workflow = {name: value for name, value in data.items() if name != "Tags"}
        self._workflows[data["Name"]] = {
            "Workflow": {**workflow, "CreatedOn": now(), "LastModifiedOn": now()},
            "Runs": [],
        }
        catalog._tags[catalog._arn("workflow", data["Name"])] = dict(data.get("Tags", {}))
        return {"Name": data["Name"]}

    def _do_UpdateWorkflow(self, data: Data) -> Data:
        self._workflow(data["Name"])["Workflow"] |= {**data, "LastModifiedOn": now()}
        return {"Name": data["Name"]}

    def _do_GetWorkflow(self, data: Data) -> Data:
        record = self._workflow(data["Name"])
        return {"Workflow": {**record["Workflow"], **({"LastRun": record["Runs"][-1]} if record["Runs"] else {})}}

    def _do_DeleteWorkflow(self, data: Data) -> Data:
        if data["Name"] in self._workflows:
            del self._workflows[data["Name"]]
            catalog._tags.pop(catalog._arn("workflow", data["Name"]), None)
        return {"Name": data["Name"]}

    def _do_StartWorkflowRun(self, data: Data) -> Data:
        first = self._first(data["Name"])
        if first is None:
            raise Refused(f"Workflow {data['Name']} has no starting trigger", "IllegalWorkflowStateException")
        run = self._begin(data["Name"])
        self._fire(first, run)
        return {"RunId": run["WorkflowRunId"]}

    def _do_GetWorkflowRun(self, data: Data) -> Data:
        for run in self._workflow(data["Name"])["Runs"]:
            if run["WorkflowRunId"] == data["RunId"]:
                return {"Run": run}
        raise Refused(f"Workflow run {data['RunId']} not found", "EntityNotFoundException")

    def _do_GetWorkflowRuns(self, data: Data) -> Data:
        newest_first = self._workflow(data["Name"])["Runs"][::-1]
        return page("Runs", newest_first, data, "NextToken", "MaxResults", 1000)

    def _first(self, workflow: str) -> Data | None:
        """The trigger that starts a workflow."""
        self._workflow(workflow)
        for record in self._triggers.values():
            if record["Trigger"].get("WorkflowName") == workflow and record["Trigger"]["Type"] != "CONDITIONAL":
                found: Data = record
                return found
        return None

    def _begin(self, name: str) -> Data:
        record = self._workflow(name)
        most = record["Workflow"].get("MaxConcurrentRuns")
        if most and len([run for run in record["Runs"] if run["Status"] == "RUNNING"]) >= most:
            raise Refused(f"Workflow {name} runs already", "ConcurrentRunsExceededException")
        counts = ("Total", "Timeout", "Failed", "Stopped", "Succeeded", "Running")
        run = {
            "Name": name,
            "WorkflowRunId": "wr_" + uuid.uuid4().hex + uuid.uuid4().hex,
            "WorkflowRunProperties": record["Workflow"].get("DefaultRunProperties", {}),
            "StartedOn": now(),
            "Status": "RUNNING",
            "Statistics": {f"{count}Actions": 0 for count in counts},
        }
        record["Runs"].append(run)
        return run

    def _workflow(self, name: str) -> Data:
        record: Data | None = self._workflows.get(name)
        if record is None:
            raise Refused(f"Workflow {name} not found", "EntityNotFoundException")
        return record

    def _workflow_run(self, origin: Data) -> Data | None:
        record = self._workflows.get(origin["Workflow"]) if origin["Workflow"] else None
        return next((run for run in (record or {"Runs": []})["Runs"] if run["WorkflowRunId"] == origin["Run"]), None)

    def _count(self, run: Data | None, state: str) -> None:
        if run is None:
            return
        what = {"SUCCEEDED": "Succeeded", "STOPPED": "Stopped", "CANCELLED": "Stopped", "TIMEOUT": "Timeout"}.get(
            state, "Failed"
        )
        run["Statistics"]["RunningActions"] -= 1
        run["Statistics"][f"{what}Actions"] += 1
