"""Amazon EMR Serverless: applications that start and stop themselves, and Spark job runs that really run, each with its own role.

MiniStack has no such service. An application here is a record; a run is a process of this machine, whatever workers it asks for, but
waits while its workers would not fit into what its application may have.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import re
import secrets
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ministack.core.responses import AccountRegionScopedDict, get_account_id, get_region, request_scope
from ministack.services import kms

from local.cloud import access, events, models, roles
from local.cloud.services import Data, Refused, Service, now, page, parse
from local.cloud.steps import Result, Step, engine_defaults

_log = logging.getLogger(__name__)

_SERVICE = "emr-serverless.amazonaws.com"
_SETTLE_SECONDS = 0.3
_OPEN = ("SUBMITTED", "PENDING", "SCHEDULED", "QUEUED", "RUNNING", "CANCELLING")
_RESTING = ("CREATED", "STOPPED")
# Workers' sizes: vCPUs, with the least and the most memory, in gigabytes.
_WORKERS = {1: (2, 8), 2: (4, 16), 4: (8, 30), 8: (16, 60), 16: (32, 120)}


class Serverless(Service):
    """The service: MiniStack calls `handle_request` and persists what `get_state` returns."""

    name = "emr-serverless"
    content_type = "application/json"

    def __init__(self, home: Path, jars: Path, endpoint: str) -> None:
        super().__init__()
        self._home, self._jars, self._endpoint = home, jars, endpoint
        self._applications = AccountRegionScopedDict()
        self._running: dict[str, Step] = {}
        self._stopped = False

    # --- what MiniStack asks of a service -------------------------------------------------------------------------

    async def handle_request(self, method: str, path: str, headers: Data, body: bytes, query_params: Data) -> Any:
        """Answers one request of the service's REST protocol."""
        try:
            operation, data = models.route(self.name, method, path, query_params, parse(body))
        except models.Invalid as error:
            return self._error("ValidationException", str(error))
        return self.answer(operation, data, headers, query_params)

    def get_state(self) -> Data:
        """What outlives a restart."""
        with self._lock:
            return {"applications": copy.deepcopy(self._applications)}

    def load_persisted_state(self, data: Data) -> None:
        """Takes up the applications of an earlier run; runs that ran when it ended have failed."""
        self._applications.update(data.get("applications", {}))

    def reset(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._kill()
            self._applications.clear()

    def start(self) -> None:
        """Starts the clock, once all services are there."""
        threading.Thread(target=self._tick, name="emr-serverless-clock", daemon=True).start()

    def stop(self) -> None:
        """Kills every run; their records stay as they are, so that the next start tells what happened."""
        with self._lock:
            self._stopped = True
        self._kill()

    def _kill(self) -> None:
        for step in list(self._running.values()):
            step.cancel(terminate=True)

    def tags(self) -> list[tuple[str, dict[str, str]]]:
        """Every application of the current account and region with its tags, for IAM's condition keys."""
        return [(r["Application"]["arn"], r["Application"].get("tags", {})) for r in self._applications.values()]

    # --- applications ---------------------------------------------------------------------------------------------

    def _do_CreateApplication(self, data: Data) -> Data:
        for record in self._applications.values():
            if record["Token"] == data["clientToken"]:
                return _reference(record)
        _check_application(data)
        application_id = "00" + secrets.token_hex(7)
        arn = f"arn:aws:emr-serverless:{get_region()}:{get_account_id()}:/applications/{application_id}"
        application = {
            "applicationId": application_id,
            "arn": arn,
            "type": data["type"].capitalize(),
            "state": "CREATING",
            "createdAt": now(),
            "updatedAt": now(),
            "architecture": "X86_64",
            "autoStartConfiguration": {"enabled": True},
            "autoStopConfiguration": {"enabled": True, "idleTimeoutMinutes": 15},
            "tags": {},
            **{name: value for name, value in data.items() if name not in ("clientToken", "type")},
        }
        self._applications[application_id] = {
            "Application": application,
            "Token": data["clientToken"],
            "Runs": [],
            "Since": now(),
            "Scope": [get_account_id(), get_region()],
        }
        _application_event(application)
        return _reference(self._applications[application_id])

    def _do_GetApplication(self, data: Data) -> Data:
        return {"application": self._record(data["applicationId"])["Application"]}

    def _do_ListApplications(self, data: Data) -> Data:
        states = data.get("states")
        found = [
            {
                "id": application["applicationId"],
                **{
                    name: application[name]
                    for name in ("name", "arn", "type", "state", "releaseLabel")
                    if name in application
                },
                **{name: application[name] for name in ("createdAt", "updatedAt", "architecture")},
            }
            for application in (record["Application"] for record in self._applications.values())
            if not states or application["state"] in states
        ]
        return page("applications", found, data, "nextToken", "maxResults", 50)

    def _do_UpdateApplication(self, data: Data) -> Data:
        application = self._record(data["applicationId"])["Application"]
        _check_resting(application, "updated")
        _check_application({**application, **data})
        application |= {name: value for name, value in data.items() if name not in ("applicationId", "clientToken")}
        application["updatedAt"] = now()
        return {"application": application}

    def _do_DeleteApplication(self, data: Data) -> None:
        record = self._record(data["applicationId"])
        application = record["Application"]
        _check_resting(application, "deleted")
        self._set_application(record, "TERMINATED")

    def _do_StartApplication(self, data: Data) -> None:
        self._start_application(self._record(data["applicationId"]))

    def _do_StopApplication(self, data: Data) -> None:
        record = self._record(data["applicationId"])
        if any(run["state"] in _OPEN for run in record["Runs"]):
            raise Refused(
                f"Application {data['applicationId']} has active job runs; cancel them or wait until they end.",
                "ConflictException",
            )
        if record["Application"]["state"] in ("STARTING", "STARTED"):
            self._set_application(record, "STOPPING")

    def _start_application(self, record: Data) -> None:
        state = record["Application"]["state"]
        if state in ("CREATED", "STOPPED"):
            self._set_application(record, "STARTING")
        elif state not in ("STARTING", "STARTED"):
            raise Refused(
                f"Application {record['Application']['applicationId']} cannot be started while it is {state}."
            )

    def _do_ListTagsForResource(self, data: Data) -> Data:
        return {"tags": self._tagged(data["resourceArn"])["tags"]}

    def _do_TagResource(self, data: Data) -> None:
        self._tagged(data["resourceArn"])["tags"] |= data["tags"]

    def _do_UntagResource(self, data: Data) -> None:
        for key in data["tagKeys"]:
            self._tagged(data["resourceArn"])["tags"].pop(key, None)

    def _tagged(self, arn: str) -> Data:
        for record in self._applications.values():
            for item in (record["Application"], *record["Runs"]):
                if item["arn"] == arn:
                    found: Data = item
                    return found
        raise Refused(f"Resource {arn} does not exist", "ResourceNotFoundException")

    def _record(self, application_id: str) -> Data:
        record: Data | None = self._applications.get(application_id)
        if record is None:
            raise Refused(f"Application {application_id} does not exist", "ResourceNotFoundException")
        return record

    # --- job runs -------------------------------------------------------------------------------------------------

    def _do_StartJobRun(self, data: Data) -> Data:
        record = self._record(data["applicationId"])
        application = record["Application"]
        request = json.dumps({name: value for name, value in data.items() if name != "clientToken"}, sort_keys=True)
        for known in record["Runs"]:
            if known["_token"] == data["clientToken"]:
                if known["_request"] != request:
                    raise Refused("The client token was used with other parameters.", "ConflictException")
                return {
                    "applicationId": application["applicationId"],
                    "jobRunId": known["jobRunId"],
                    "arn": known["arn"],
                }
        if "executionRoleArn" not in data:
            raise Refused("executionRoleArn is required for a Spark job run.")
        role = roles.role(data["executionRoleArn"])
        roles.check_trust(role, _SERVICE)
        roles.check_pass(self._caller, role, _SERVICE)
        run_id = "00" + secrets.token_hex(7)
        arn = f"{application['arn']}/jobruns/{run_id}"
        if data.get("tags"):
            roles.check_may(self._caller, "emr-serverless:TagResource", arn)
        if disks := data.get("configurationOverrides", {}).get("diskEncryptionConfiguration"):
            self._check_disks(disks, role, application["arn"])
        if "sparkSubmit" not in data.get("jobDriver", {}):
            raise Refused("The local cloud runs sparkSubmit job drivers only.")
        if application["state"] not in ("STARTING", "STARTED") and not application["autoStartConfiguration"]["enabled"]:
            raise Refused(
                f"Application {application['applicationId']} is {application['state']} and does not start by itself."
            )
        _workers(data["jobDriver"]["sparkSubmit"].get("sparkSubmitParameters", ""))
        self._start_application(record)
        run: Data = {
            "applicationId": application["applicationId"],
            "jobRunId": run_id,
            "arn": arn,
            "createdBy": f"arn:aws:iam::{get_account_id()}:root",
            "createdAt": now(),
            "updatedAt": now(),
            "executionRole": data["executionRoleArn"],
            "state": "SUBMITTED",
            "stateDetails": "Job run is SUBMITTED.",
            "releaseLabel": application["releaseLabel"],
            "configurationOverrides": data.get("configurationOverrides", {}),
            "jobDriver": data["jobDriver"],
            "tags": data.get("tags", {}),
            "executionTimeoutMinutes": data.get("executionTimeoutMinutes", 720),
            "attempt": 1,
            **({"name": data["name"]} if "name" in data else {}),
            "_token": data["clientToken"],
            "_request": request,
        }
        record["Runs"].append(run)
        _run_event(run, "")
        return {"applicationId": application["applicationId"], "jobRunId": run_id, "arn": arn}

    def _check_disks(self, disks: Data, role: Data, application: str) -> None:
        """Refuses a key for workers' disks that the caller, the run's role or the service may not use.

        https://docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/disk-encryption-cmk.html
        """
        name = disks.get("encryptionKeyArn", "")
        key = kms._resolve_key(name)
        if key is None or key["KeyState"] != "Enabled" or key["KeySpec"] != "SYMMETRIC_DEFAULT":
            raise Refused(f"{name} is no enabled symmetric key to encrypt disks with.")
        bound = {f"kms:EncryptionContext:{field}": value for field, value in disks.get("encryptionContext", {}).items()}
        through = {"kms:ViaService": f"emr-serverless.{get_region()}.amazonaws.com", **bound}
        roles.check_may(self._caller, "kms:DescribeKey", key["Arn"], through)
        run = roles.assume(role, _SERVICE, "disks")["AWS_ACCESS_KEY_ID"]
        for action in ("kms:GenerateDataKey", "kms:Decrypt"):
            roles.check_may(self._caller, action, key["Arn"], through)
            roles.check_may(run, action, key["Arn"], bound)
            if not access.permits(key["Policy"], action, key["Arn"], _SERVICE, application, bound):
                raise Refused(f"{_SERVICE} is not authorized to perform: {action} on resource: {key['Arn']}")

    def _do_GetJobRun(self, data: Data) -> Data:
        return {"jobRun": _shown(self._run(data))}

    def _do_ListJobRuns(self, data: Data) -> Data:
        after, before = data.get("createdAtAfter"), data.get("createdAtBefore")
        summary = (
            "applicationId",
            "name",
            "arn",
            "createdBy",
            "createdAt",
            "updatedAt",
            "executionRole",
            "state",
            "stateDetails",
            "releaseLabel",
            "attempt",
        )
        found = [
            {"id": run["jobRunId"], "type": "SPARK", **{name: run[name] for name in summary if name in run}}
            for run in reversed(self._record(data["applicationId"])["Runs"])
            if (after is None or run["createdAt"] >= after.timestamp())
            and (before is None or run["createdAt"] <= before.timestamp())
            and (not data.get("states") or run["state"] in data["states"])
        ]
        return page("jobRuns", found, data, "nextToken", "maxResults", 50)

    def _do_CancelJobRun(self, data: Data) -> Data:
        run = self._run(data)
        if run["state"] not in _OPEN:
            raise Refused(f"Job run {run['jobRunId']} is {run['state']} and cannot be cancelled.")
        self._cancel(run, "Job run was cancelled by the user.")
        return {"applicationId": run["applicationId"], "jobRunId": run["jobRunId"]}

    def _run(self, data: Data) -> Data:
        for run in self._record(data["applicationId"])["Runs"]:
            if run["jobRunId"] == data["jobRunId"]:
                found: Data = run
                return found
        raise Refused(f"Job run {data['jobRunId']} does not exist", "ResourceNotFoundException")

    def _cancel(self, run: Data, why: str) -> None:
        if run["state"] == "CANCELLING":
            return
        run["_why"] = why
        if work := self._running.get(run["jobRunId"]):
            _set_run(run, "CANCELLING", why)
            work.cancel(terminate=True)
        elif run["state"] == "RUNNING":
            _set_run(run, "CANCELLING", why)
        else:
            _set_run(run, "CANCELLED", why)

    def _work(self, scope: list[str], run: Data) -> None:
        """Runs one job run to its end, in a thread of its own."""
        with request_scope(*scope):
            try:
                result = self._execute(run)
            except Exception as error:
                _log.exception("job run %s", run["jobRunId"])
                result = Result(1, f"{type(error).__name__}: {error}", None)
            with self._lock:
                self._running.pop(run["jobRunId"], None)
                if not self._stopped:
                    self._finish(run, result)

    def _finish(self, run: Data, result: Result) -> None:
        if run["state"] == "CANCELLING":
            _set_run(run, "CANCELLED", run["_why"])
        elif result.code == 0:
            _set_run(run, "SUCCESS", "")
        else:
            where = f" See the logs: {result.log_file}." if result.log_file else ""
            _set_run(run, "FAILED", f"Job failed, exit code {result.code}: {result.tail}{where}")

    def _execute(self, run: Data) -> Result:
        submit = run["jobDriver"]["sparkSubmit"]
        region = get_region()
        monitoring = (
            run["configurationOverrides"].get("monitoringConfiguration", {}).get("s3MonitoringConfiguration", {})
        )
        logs = monitoring.get("logUri", "").rstrip("/")
        work = Step(
            args=[
                "spark-submit",
                *shlex.split(submit.get("sparkSubmitParameters", "")),
                submit["entryPoint"],
                *submit.get("entryPointArguments", []),
            ],
            folder=self._home / "cloud/emr-serverless" / run["applicationId"] / run["jobRunId"],
            jars=self._jars,
            defaults=engine_defaults(
                run["releaseLabel"], region, run["configurationOverrides"].get("applicationConfiguration", [])
            ),
            env={
                **roles.assume(roles.role(run["executionRole"]), _SERVICE, run["jobRunId"]),
                "AWS_ENDPOINT_URL": self._endpoint,
                "AWS_REGION": region,
                "AWS_DEFAULT_REGION": region,
            },
            logs=f"{logs}/applications/{run['applicationId']}/jobs/{run['jobRunId']}/SPARK_DRIVER" if logs else None,
            log_names=("stdout", "stderr"),
            logs_key=monitoring.get("encryptionKeyArn"),
        )
        with self._lock:
            if run["state"] != "RUNNING":
                return Result(1, "cancelled before it started", None)
            self._running[run["jobRunId"]] = work
        return work.run()

    # --- time -----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        with self._lock:
            for record in self._records():
                for run in record["Runs"]:
                    if run["state"] in ("RUNNING", "CANCELLING"):
                        self._finish(run, Result(1, "the local cloud was stopped while the run ran", None))
        while True:
            with self._lock:
                for record in self._records():
                    self._advance(record)
            time.sleep(0.2)

    def _records(self) -> Iterator[Data]:
        """Every application of every account, each in its own scope."""
        for record in list(self._applications._data.values()):
            with request_scope(*record["Scope"]):
                yield record

    def _advance(self, record: Data) -> None:
        application, elapsed = record["Application"], now() - record["Since"]
        state, open_runs = application["state"], [run for run in record["Runs"] if run["state"] in _OPEN]
        if state in ("CREATING", "STARTING", "STOPPING") and elapsed >= _SETTLE_SECONDS:
            self._set_application(record, {"CREATING": "CREATED", "STARTING": "STARTED", "STOPPING": "STOPPED"}[state])
        elif state == "STARTED":
            stop = application["autoStopConfiguration"]
            idle_since = max([record["Since"], *(run["updatedAt"] for run in record["Runs"])])
            if not open_runs and stop["enabled"] and now() - idle_since >= 60 * stop["idleTimeoutMinutes"]:
                self._set_application(record, "STOPPING")
            self._schedule(record)
        for run in open_runs:
            if now() - run["createdAt"] > 60 * run["executionTimeoutMinutes"]:
                self._cancel(run, "Job run timed out.")

    def _schedule(self, record: Data) -> None:
        """Moves each waiting run on; it runs when its driver and first executors fit beside those that run."""
        limit = record["Application"].get("maximumCapacity")
        used = sum(_vcpus(run) for run in record["Runs"] if run["state"] in ("RUNNING", "CANCELLING"))
        for run in record["Runs"]:
            if run["state"] in ("SUBMITTED", "PENDING"):
                _set_run(run, {"SUBMITTED": "PENDING", "PENDING": "SCHEDULED"}[run["state"]], "")
            elif run["state"] == "SCHEDULED":
                needs, most = _vcpus(run), _number(limit["cpu"]) if limit else math.inf
                if needs > most:
                    _set_run(
                        run,
                        "FAILED",
                        "Job failed to start: worker could not be allocated as the application has exceeded maximumCapacity settings: [cpu]",
                    )
                elif used + needs <= most:
                    used += needs
                    _set_run(run, "RUNNING", "")
                    threading.Thread(
                        target=self._work,
                        args=(record["Scope"], run),
                        name=f"emr-serverless-{run['jobRunId']}",
                        daemon=True,
                    ).start()

    def _set_application(self, record: Data, state: str) -> None:
        record["Application"] |= {"state": state, "updatedAt": now()}
        record["Since"] = now()
        _application_event(record["Application"])


def _reference(record: Data) -> Data:
    application = record["Application"]
    return {name: application[name] for name in ("applicationId", "name", "arn") if name in application}


def _shown(run: Data) -> Data:
    return {name: value for name, value in run.items() if not name.startswith("_")}


def _set_run(run: Data, state: str, details: str) -> None:
    before, run["state"] = run["state"], state
    run |= {"stateDetails": details[:2048] or f"Job run is {state}.", "updatedAt": now()}
    if state == "RUNNING":
        run["startedAt"] = now()
    if state not in _OPEN:
        run["endedAt"] = now()
    _run_event(run, before)


def _check_resting(application: Data, what: str) -> None:
    if application["state"] not in _RESTING:
        name, state = application["applicationId"], application["state"]
        raise Refused(f"Application {name} must be CREATED or STOPPED to be {what}. Current state: {state}")


def _check_application(data: Data) -> None:
    if data["type"].lower() not in ("spark", "hive"):
        raise Refused(f"Application type {data['type']} is not supported.")
    if not re.fullmatch(r"emr-[67]\.\d+\.\d+|emr-spark-8\.\S+", data["releaseLabel"]):
        raise Refused(f"Release label {data['releaseLabel']} is not supported.")
    minutes = data.get("autoStopConfiguration", {}).get("idleTimeoutMinutes", 15)
    if not 1 <= minutes <= 10080:
        raise Refused("idleTimeoutMinutes must be between 1 and 10080.")
    used = 0.0
    for kind, capacity in data.get("initialCapacity", {}).items():
        if kind not in ("Driver", "Executor"):
            raise Refused(f"Worker type {kind} is not valid for a Spark application.")
        worker = capacity["workerConfiguration"]
        _check_worker(_number(worker["cpu"]), _number(worker["memory"]))
        used += capacity["workerCount"] * _number(worker["cpu"])
    limit = data.get("maximumCapacity")
    if limit and used > _number(limit["cpu"]):
        raise Refused("initialCapacity exceeds maximumCapacity.")


def _check_worker(cpus: float, memory: float) -> None:
    least, most = _WORKERS.get(int(cpus), (0, 0))
    if cpus not in _WORKERS or not least <= memory <= most:
        raise Refused(f"A worker of {cpus:g} vCPU with {memory:g} GB of memory is not supported.")


def _workers(parameters: str) -> float:
    """How many vCPUs a run begins with: its driver's and its first executors'. Refuses workers that the service does not have."""
    settings = dict(re.findall(r"--conf\s+(spark\.[\w.]+)=(\S+)", parameters))
    cores = {}
    for part in ("driver", "executor"):
        cores[part] = int(settings.get(f"spark.{part}.cores", 4))
        heap = settings.get(f"spark.{part}.memory", "14g")
        if not re.fullmatch(r"\d+[gG]", heap):
            raise Refused(f"The local cloud reads spark.{part}.memory in whole gigabytes, not {heap}.")
        _check_worker(cores[part], math.ceil(int(heap[:-1]) * 1.1))
    return cores["driver"] + int(settings.get("spark.executor.instances", 3)) * cores["executor"]


def _vcpus(run: Data) -> float:
    return _workers(run["jobDriver"]["sparkSubmit"].get("sparkSubmitParameters", ""))


def _number(text: str) -> float:
    """The number in "4 vCPU" or "16 GB"."""
    match = re.match(r"[\d.]+", text)
    if match is None:
        raise Refused(f"{text!r} has no number.")
    return float(match[0])


def _application_event(application: Data) -> None:
    names = ("applicationId", "arn", "releaseLabel", "state", "type")
    detail = {"applicationName": application.get("name", ""), **{name: application[name] for name in names}}
    detail |= {
        "autoStopConfig": application["autoStopConfiguration"],
        "autoStartConfig": application["autoStartConfiguration"],
    }
    events.publish(
        "aws.emr-serverless",
        "EMR Serverless Application State Change",
        {**detail, "updatedAt": _moment(application["updatedAt"]), "createdAt": _moment(application["createdAt"])},
    )


def _run_event(run: Data, before: str) -> None:
    """EMR Serverless Job Run State Change, as the service's documentation shows it: without the run's name."""
    names = ("jobRunId", "applicationId", "arn", "releaseLabel", "state", "createdBy")
    events.publish(
        "aws.emr-serverless",
        "EMR Serverless Job Run State Change",
        {
            **{name: run[name] for name in names},
            "previousState": before,
            "updatedAt": _moment(run["updatedAt"]),
            "createdAt": _moment(run["createdAt"]),
        },
    )


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1e6):06d}Z"
