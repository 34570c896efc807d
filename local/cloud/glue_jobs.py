"""Glue's jobs: each run is a Spark process of this machine with the role of its job, its arguments, and its logs in CloudWatch."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions
from ministack.core.responses import AccountRegionScopedDict, get_account_id, get_region, request_scope
from ministack.services import glue as catalog

from local.cloud import events, roles
from local.cloud.services import Data, Refused, Service, now, page
from local.cloud.steps import Result, Step, engine_defaults

_log = logging.getLogger(__name__)

_SERVICE = "glue.amazonaws.com"
_OPEN = ("STARTING", "RUNNING", "STOPPING", "WAITING")
_VERSIONS = ("4.0", "5.0", "5.1")
_ICEBERG = "local:/usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar"
# What a job has by default, and a run may have of its own.
_SIZES = ("WorkerType", "NumberOfWorkers", "MaxCapacity", "Timeout", "SecurityConfiguration", "ExecutionClass")


@dataclass
class GlueStep(Step):
    """A run's process, whose output goes to CloudWatch."""

    log_group: str = ""
    stream: str = ""
    objects: Mapping[str, Path] = field(default_factory=dict)
    """Where Glue brings the script and the Python files that it names, by their S3 addresses: Spark does not read them from S3."""

    def _bring(self) -> bool:
        s3 = boto3.client(
            "s3",
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            region_name=self.env["AWS_REGION"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=self.env["AWS_SESSION_TOKEN"],
        )
        for uri, path in self.objects.items():
            address = urlsplit(uri)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.write_bytes(s3.get_object(Bucket=address.netloc, Key=address.path.lstrip("/"))["Body"].read())
            except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
                (self.folder / "stderr").write_text(f"LAUNCH ERROR | {uri}: {error}\n")
                return False
        return True

    def _keep_logs(self, controller: list[str]) -> str:
        logs = boto3.client(
            "logs",
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            region_name=self.env["AWS_REGION"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=self.env["AWS_SESSION_TOKEN"],
        )
        try:
            for file, group in (("stdout", "output"), ("stderr", "error")):
                path = self.folder / file
                lines = path.read_text(errors="replace").splitlines() if path.exists() else []
                name = f"{self.log_group}/{group}"
                for make, options in (
                    (logs.create_log_group, {}),
                    (logs.create_log_stream, {"logStreamName": self.stream}),
                ):
                    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
                        make(logGroupName=name, **options)
                batch = [{"timestamp": int(now() * 1000), "message": line[:10000]} for line in lines[-1000:] if line]
                if batch:
                    logs.put_log_events(logGroupName=name, logStreamName=self.stream, logEvents=batch)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            return f"logs not kept in {self.log_group}: {error}"
        return ""


class Jobs(Service):
    """The part of Glue that runs jobs."""

    invalid = "InvalidInputException"

    def __init__(self, home: Path, jars: Path, endpoint: str) -> None:
        super().__init__()
        self._home, self._jars, self._endpoint = home, jars, endpoint
        self._jobs = AccountRegionScopedDict()
        self._running: dict[str, Step] = {}
        self._stopped = False

    # What the other parts of Glue have.

    def security_configuration(self, name: str) -> Data:
        """The security configuration of this name."""
        raise NotImplementedError

    def ended(self, kind: str, name: str, state: str, origin: Data | None) -> None:
        """Tells the triggers that something ended which a trigger had started."""

    def kill_runs(self) -> None:
        """Kills the process of every run."""
        for step in list(self._running.values()):
            step.cancel(terminate=True)

    # --- jobs -----------------------------------------------------------------------------------------------------

    def _do_CreateJob(self, data: Data) -> Data:
        if data["Name"] in self._jobs:
            raise Refused(f"Job {data['Name']} already exists", "IdempotentParameterMismatchException")
        self._check_job(data)
        job = {name: value for name, value in data.items() if name != "Tags"}
        self._jobs[data["Name"]] = {
            "Job": {**_defaults(), **job, "CreatedOn": now(), "LastModifiedOn": now()},
            "Runs": [],
            "Scope": [get_account_id(), get_region()],
        }
        catalog._tags[catalog._arn("job", data["Name"])] = dict(data.get("Tags", {}))
        return {"Name": data["Name"]}

    def _do_UpdateJob(self, data: Data) -> Data:
        job = self._job(data["JobName"])["Job"]
        # Glue replaces the whole definition: what the update does not name is gone.
        changed = {**_defaults(), **data["JobUpdate"], "Name": job["Name"], "CreatedOn": job["CreatedOn"]}
        self._check_job(changed)
        job.clear()
        job |= {**changed, "LastModifiedOn": now()}
        return {"JobName": job["Name"]}

    def _do_GetJob(self, data: Data) -> Data:
        return {"Job": self._job(data["JobName"])["Job"]}

    def _do_GetJobs(self, data: Data) -> Data:
        return page("Jobs", [record["Job"] for record in self._jobs.values()], data, "NextToken", "MaxResults", 100)

    def _do_DeleteJob(self, data: Data) -> Data:
        record = self._jobs.get(data["JobName"])
        if record is not None:
            for run in record["Runs"]:
                if work := self._running.get(run["Id"]):
                    work.cancel(terminate=True)
            del self._jobs[data["JobName"]]
            catalog._tags.pop(catalog._arn("job", data["JobName"]), None)
        return {"JobName": data["JobName"]}

    def _check_job(self, data: Data) -> None:
        role = roles.role(data["Role"])
        roles.check_pass(self._caller, role, _SERVICE)
        if data["Command"].get("Name") != "glueetl" or not data["Command"].get("ScriptLocation", "").startswith(
            "s3://"
        ):
            raise Refused("The local cloud runs Spark jobs: Command must be glueetl with a script in S3.", self.invalid)
        if data.get("GlueVersion") not in _VERSIONS:
            raise Refused(f"The local cloud knows the Glue versions {', '.join(_VERSIONS)}.", self.invalid)
        _check_workers(data)
        if "SecurityConfiguration" in data:
            self.security_configuration(data["SecurityConfiguration"])

    def _job(self, name: str) -> Data:
        record: Data | None = self._jobs.get(name)
        if record is None:
            raise Refused(f"Entity Not Found: job {name}", "EntityNotFoundException")
        return record

    # --- runs -----------------------------------------------------------------------------------------------------

    def _do_StartJobRun(self, data: Data) -> Data:
        return {"JobRunId": self.start_job(data["JobName"], data, None)}

    def start_job(self, name: str, data: Data, origin: Data | None) -> str:
        """Starts a run of a job; origin is the trigger that does, where one does."""
        record = self._job(name)
        job = record["Job"]
        most = job["ExecutionProperty"]["MaxConcurrentRuns"]
        if len([run for run in record["Runs"] if run["JobRunState"] in _OPEN]) >= most:
            raise Refused(f"Concurrent runs exceeded for {name}", "ConcurrentRunsExceededException")
        _check_workers(data)
        if "SecurityConfiguration" in data:
            self.security_configuration(data["SecurityConfiguration"])
        run: Data = {
            "Id": "jr_" + secrets.token_hex(32),
            "Attempt": 0,
            "JobName": name,
            "StartedOn": now(),
            "LastModifiedOn": now(),
            "JobRunState": "STARTING",
            "Arguments": data.get("Arguments", {}),
            "ExecutionTime": 0,
            "PredecessorRuns": [],
            "GlueVersion": job["GlueVersion"],
            "LogGroupName": "/aws-glue/jobs",
            **{member: job[member] for member in _SIZES if member in job},
            **{member: data[member] for member in _SIZES if member in data},
            **({"TriggerName": origin["Trigger"]} if origin else {}),
            "_origin": origin,
        }
        record["Runs"].append(run)
        work = functools.partial(self._run_job, record["Scope"], record, run)
        threading.Thread(target=work, name=f"glue-{run['Id'][:12]}", daemon=True).start()
        return str(run["Id"])

    def _do_GetJobRun(self, data: Data) -> Data:
        return {"JobRun": _shown(self._run(data["JobName"], data["RunId"]))}

    def _do_GetJobRuns(self, data: Data) -> Data:
        newest_first = [_shown(run) for run in reversed(self._job(data["JobName"])["Runs"])]
        return page("JobRuns", newest_first, data, "NextToken", "MaxResults", 200)

    def _do_BatchStopJobRun(self, data: Data) -> Data:
        stopped, errors = [], []
        for run_id in data["JobRunIds"]:
            reference = {"JobName": data["JobName"], "JobRunId": run_id}
            try:
                run = self._run(data["JobName"], run_id)
                if run["JobRunState"] not in ("STARTING", "RUNNING", "WAITING"):
                    raise Refused("Job Run is not in running state", "JobRunNotInTerminalStateException")
                run["JobRunState"] = "STOPPING"
                if work := self._running.get(run_id):
                    work.cancel(terminate=True)
                stopped.append(reference)
            except Refused as error:
                errors.append({**reference, "ErrorDetail": {"ErrorCode": error.code, "ErrorMessage": str(error)}})
        return {"SuccessfulSubmissions": stopped, "Errors": errors}

    def _run(self, job: str, run_id: str) -> Data:
        for run in self._job(job)["Runs"]:
            if run["Id"] == run_id:
                found: Data = run
                return found
        raise Refused(f"Entity Not Found: job run {run_id}", "EntityNotFoundException")

    def _run_job(self, scope: list[str], record: Data, run: Data) -> None:
        """Runs one run to its end, in a thread of its own."""
        with request_scope(*scope):
            try:
                result = self._execute(record["Job"], run)
            except Exception as error:
                if not isinstance(error, roles.Refused):
                    _log.exception("job run %s", run["Id"])
                result = Result(1, f"{type(error).__name__}: {error}", None)
            with self._lock:
                self._running.pop(run["Id"], None)
                if not self._stopped:
                    self._finish_run(run, result)

    def _execute(self, job: Data, run: Data) -> Result:
        arguments = {**job.get("DefaultArguments", {}), **run["Arguments"], **job.get("NonOverridableArguments", {})}
        folder = self._home / "cloud/glue" / job["Name"] / run["Id"]
        objects: dict[str, Path] = {}

        def bring(uri: str) -> str:
            return os.fspath(objects.setdefault(uri, folder / f"work/glue/{len(objects)}" / uri.rpartition("/")[2]))

        command = _command(job, run, arguments, bring)
        if isinstance(command, Result):
            return command
        region = get_region()
        work = GlueStep(
            args=command,
            objects=objects,
            folder=folder,
            jars=self._jars,
            defaults=engine_defaults(run["GlueVersion"], region),
            env={
                **roles.assume(roles.role(job["Role"]), _SERVICE, "GlueJobRunnerSession"),
                "AWS_ENDPOINT_URL": self._endpoint,
                "AWS_REGION": region,
                "AWS_DEFAULT_REGION": region,
            },
            logs=None,
            log_group=self._log_group(job, run, arguments),
            stream=run["Id"],
        )
        with self._lock:
            if run["JobRunState"] != "STARTING":
                return Result(1, "stopped before it started", None)
            run["JobRunState"] = "RUNNING"
            self._running[run["Id"]] = work
        return work.run()

    def _log_group(self, job: Data, run: Data, arguments: Data) -> str:
        """What a run's log groups' names begin with, by "Log group naming with security configuration" in Glue's guide."""
        prefix = str(arguments.get("--custom-logGroup-prefix", "/aws-glue/jobs"))
        if "SecurityConfiguration" not in run:
            return prefix
        encryption = self.security_configuration(run["SecurityConfiguration"])["EncryptionConfiguration"]
        if encryption.get("CloudWatchEncryption", {}).get("CloudWatchEncryptionMode") != "SSE-KMS":
            return prefix
        return f"{prefix}/{run['SecurityConfiguration']}-role/{job['Role'].rpartition('/')[2]}"

    def _finish_run(self, run: Data, result: Result) -> None:
        if run.get("_late"):
            state, message = "TIMEOUT", "Job run timed out"
        elif run["JobRunState"] == "STOPPING":
            state, message = "STOPPED", "Job run stopped"
        elif result.code == 0:
            state, message = "SUCCEEDED", "Job run succeeded"
        else:
            state, message = "FAILED", (result.tail.splitlines() or [f"SystemExit: {result.code}"])[-1]
        if state != "SUCCEEDED":
            run["ErrorMessage"] = message
        elapsed = int(now() - run["StartedOn"])
        run |= {"JobRunState": state, "CompletedOn": now(), "LastModifiedOn": now(), "ExecutionTime": elapsed}
        # "Glue Job State Change", as Glue's documentation shows it; it is sent for ends only.
        severity = "INFO" if state in ("SUCCEEDED", "STOPPED") else "ERROR" if state == "FAILED" else "WARN"
        detail = {
            "jobName": run["JobName"],
            "severity": severity,
            "state": state,
            "jobRunId": run["Id"],
            "message": message,
        }
        events.publish("aws.glue", "Glue Job State Change", detail)
        self.ended("Job", run["JobName"], state, run["_origin"])

    def end_late_runs(self) -> None:
        """Ends the runs that take longer than they may."""
        for run_id, work in list(self._running.items()):
            for record in self._jobs._data.values():
                for run in record["Runs"]:
                    if run["Id"] == run_id and now() - run["StartedOn"] > 60 * run["Timeout"] and "_late" not in run:
                        run["_late"] = True
                        work.cancel(terminate=True)

    def fail_lost_runs(self) -> None:
        """Ends the runs that ran when the local cloud was stopped."""
        for record in list(self._jobs._data.values()):
            with request_scope(*record["Scope"]):
                for run in record["Runs"]:
                    if run["JobRunState"] in _OPEN:
                        self._finish_run(run, Result(1, "the local cloud was stopped while the job ran", None))


def _defaults() -> Data:
    return {
        "ExecutionProperty": {"MaxConcurrentRuns": 1},
        "MaxRetries": 0,
        "Timeout": 480,
        "ExecutionClass": "STANDARD",
    }


def _shown(run: Data) -> Data:
    return {name: value for name, value in run.items() if not name.startswith("_")}


def _check_workers(data: Data) -> None:
    if "MaxCapacity" in data and ("WorkerType" in data or "NumberOfWorkers" in data):
        raise Refused(
            "Please do not set Max Capacity if using Worker Type and Number of Workers.", "InvalidInputException"
        )
    if ("WorkerType" in data) != ("NumberOfWorkers" in data):
        raise Refused("WorkerType and NumberOfWorkers go together.", "InvalidInputException")
    if data.get("NumberOfWorkers", 2) < 2:
        raise Refused("A Spark job needs at least two workers.", "InvalidInputException")


def _command(job: Data, run: Data, arguments: dict[str, str], bring: Callable[[str], str]) -> list[str] | Result:
    """The spark-submit for a run, as Glue's own runner has it: every argument is the script's too. `bring` has Glue fetch a file."""
    settings = [setting.strip() for setting in arguments.get("--conf", "").split(" --conf ") if setting.strip()]
    formats = arguments.get("--datalake-formats", "").split(",")
    if any("org.apache.iceberg" in setting for setting in settings) and "iceberg" not in formats:
        return Result(1, "java.lang.ClassNotFoundException: org.apache.iceberg.spark.SparkCatalog", None)
    files = arguments.get("--extra-py-files", "")
    own: dict[str, Any] = {"--JOB_NAME": job["Name"], "--JOB_RUN_ID": run["Id"], "--JOB_ID": "j_" + run["Id"][3:]}
    return [
        "spark-submit",
        *[part for setting in settings for part in ("--conf", setting)],
        *(["--jars", _ICEBERG] if "iceberg" in formats else []),
        *(["--py-files", ",".join(map(bring, files.split(",")))] if files else []),
        bring(arguments.get("--scriptLocation", job["Command"]["ScriptLocation"])),
        *[part for item in {**arguments, **own}.items() for part in item],
    ]
