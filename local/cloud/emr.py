"""Amazon EMR on EC2: clusters that take steps and really run them, with EMR's states, limits, events and logs.

It takes the place of MiniStack's own EMR module, which answers without doing. A cluster's instances are EC2's, but only as
records: its steps run as processes of this machine under the role of its instance profile, and what those use is what the
instances' metrics say.
"""

from __future__ import annotations

import copy
import json
import logging
import re
import secrets
import string
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ministack.core.responses import (
    AccountRegionScopedDict,
    error_response_json,
    get_account_id,
    get_region,
    json_response,
    request_scope,
)
from ministack.core.router import extract_access_key_id
from ministack.services import cloudwatch, ec2

from local.cloud import certificates, events, machines, models, offerings, roles
from local.cloud.steps import Result, Step, engine_defaults

_log = logging.getLogger(__name__)

Data = dict[str, Any]
_START_SECONDS = 0.5
_SAMPLE_SECONDS = 1.0
_SCALE_SECONDS = 2.0
_OPEN = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING")
_STEP_OPEN = ("PENDING", "CANCEL_PENDING", "RUNNING")


class Refused(Exception):
    """A request that EMR refuses, with the error's code."""

    def __init__(self, message: str, code: str = "ValidationException") -> None:
        super().__init__(message)
        self.code = code


class Emr:
    """The service: MiniStack calls `handle_request` and persists what `get_state` returns."""

    def __init__(
        self,
        home: Path,
        jars: Path,
        endpoint: str,
        metric_seconds: float = 60,
        quota: tuple[float, float] | None = None,
        list_seconds: float = 0,
    ) -> None:
        """`quota` is how many calls of an operation an account has at once, and how many come back in a second; none by default.

        `list_seconds` is how long a new cluster is missing in ListClusters.
        """
        self._quota, self._left = quota, dict[tuple[str, str, str], tuple[float, float]]()
        self._list_seconds = list_seconds
        self._home = home
        self._jars = jars
        self._endpoint = endpoint
        self._metric_seconds = metric_seconds
        self._processors = machines.Processors()
        self._measured: dict[str, float] = {}
        self._starting: set[str] = set()
        self._lock = threading.RLock()
        self._clusters = AccountRegionScopedDict()
        self._security = AccountRegionScopedDict()
        self._public_access = AccountRegionScopedDict()
        self._running: dict[str, Step] = {}
        self._caller = ""
        self._stopped = False

    # --- what MiniStack asks of a service -------------------------------------------------------------------------

    async def handle_request(self, _method: str, _path: str, headers: Data, body: bytes, query_params: Data) -> Any:
        """Answers one request of EMR's JSON protocol."""
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        handler: Callable[[Data], Data | None] | None = getattr(self, f"_do_{operation}", None)
        if handler is None:
            message = f"the local cloud does not know the EMR operation {operation!r}"
            return error_response_json("UnknownOperationException", message, 400)
        try:
            data = json.loads(body or b"{}")
            models.check_input("emr", operation, data)
            with self._lock:
                self._throttle(operation)
                self._caller = extract_access_key_id(headers, query_params) or ""
                return json_response(copy.deepcopy(handler(data) or {}))
        except json.JSONDecodeError as error:
            return error_response_json("SerializationException", str(error), 400)
        except (models.Invalid, roles.Refused) as error:
            return error_response_json("ValidationException", str(error), 400)
        except Refused as error:
            return error_response_json(error.code, str(error), 400)

    def _throttle(self, operation: str) -> None:
        """Refuses a call beyond the account's quota of the operation: a burst, and the rate at which that comes back.

        https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-service-limits-what-are.html
        """
        if self._quota is None:
            return
        burst, rate = self._quota
        who, at = (get_account_id(), get_region(), operation), time.monotonic()
        left, since = self._left.get(who, (burst, at))
        left = min(burst, left + (at - since) * rate)
        self._left[who] = (left - 1, at) if left >= 1 else (left, at)
        if left < 1:
            raise Refused("Rate exceeded", "ThrottlingException")

    def get_state(self) -> Data:
        """What outlives a restart."""
        with self._lock:
            return copy.deepcopy(
                {"clusters": self._clusters, "security": self._security, "public_access": self._public_access}
            )

    def load_persisted_state(self, data: Data) -> None:
        """Takes up the clusters of an earlier run; steps that ran when it ended have failed."""
        self._clusters.update(data.get("clusters", {}))
        self._security.update(data.get("security", {}))
        self._public_access.update(data.get("public_access", {}))

    def reset(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._kill_steps()
            for store in (self._clusters, self._security, self._public_access):
                store.clear()

    def start(self) -> None:
        """Starts the clock, once all services are there: goes on with clusters of an earlier run."""
        threading.Thread(target=self._tick, name="emr-clock", daemon=True).start()

    def stop(self) -> None:
        """Kills every step that runs; their records stay as they are, so that the next start tells what happened."""
        with self._lock:
            self._stopped = True
        self._kill_steps()

    def _kill_steps(self) -> None:
        for step in list(self._running.values()):
            step.cancel(terminate=True)

    # --- clusters -------------------------------------------------------------------------------------------------

    def _do_RunJobFlow(self, data: Data) -> Data:
        # EMR takes an empty name for none, which is what the provider sends for what it was not given.
        data["Instances"] = instances = _without_empty(data["Instances"])
        keep = instances.get("KeepJobFlowAliveWhenNoSteps", False)
        self._check_cluster(data)
        cluster_id = _id("j")
        now = _now()
        groups = [_group(config, now) for config in _group_configs(instances)]
        fleets = [_fleet(config, now) for config in instances.get("InstanceFleets", [])]
        subnets = instances.get("Ec2SubnetIds") or [instances["Ec2SubnetId"]]
        cluster: Data = {
            "Id": cluster_id,
            "Name": data["Name"],
            "ClusterArn": f"arn:aws:elasticmapreduce:{get_region()}:{get_account_id()}:cluster/{cluster_id}",
            "Status": {"State": "STARTING", "StateChangeReason": {}, "Timeline": {"CreationDateTime": now}},
            "Ec2InstanceAttributes": {
                **{
                    name: instances[name]
                    for name in (
                        "Ec2KeyName",
                        "EmrManagedMasterSecurityGroup",
                        "EmrManagedSlaveSecurityGroup",
                        "ServiceAccessSecurityGroup",
                        "AdditionalMasterSecurityGroups",
                        "AdditionalSlaveSecurityGroups",
                    )
                    if name in instances
                },
                "Ec2SubnetId": subnets[0],
                "RequestedEc2SubnetIds": subnets,
                "RequestedEc2AvailabilityZones": [],
                "Ec2AvailabilityZone": _subnet(subnets[0])["AvailabilityZone"],
                "IamInstanceProfile": data["JobFlowRole"].rpartition("/")[2],
            },
            "InstanceCollectionType": "INSTANCE_FLEET" if fleets else "INSTANCE_GROUP",
            "AutoTerminate": not keep,
            "TerminationProtected": instances.get("TerminationProtected", False),
            "UnhealthyNodeReplacement": instances.get("UnhealthyNodeReplacement", False),
            "VisibleToAllUsers": data.get("VisibleToAllUsers", True),
            "Applications": [{"Version": "", **application} for application in data.get("Applications", [])],
            "Tags": data.get("Tags", []),
            "NormalizedInstanceHours": 0,
            "MasterPublicDnsName": "ip-10-0-0-1.ec2.internal",
            "Configurations": data.get("Configurations", []),
            "ScaleDownBehavior": data.get("ScaleDownBehavior", "TERMINATE_AT_TASK_COMPLETION"),
            "StepConcurrencyLevel": data.get("StepConcurrencyLevel", 1),
            "PlacementGroups": data.get("PlacementGroupConfigs", []),
            **{
                name: data[name]
                for name in (
                    "LogUri",
                    "LogEncryptionKmsKeyId",
                    "ReleaseLabel",
                    "ServiceRole",
                    "SecurityConfiguration",
                    "AutoScalingRole",
                    "CustomAmiId",
                    "EbsRootVolumeSize",
                    "EbsRootVolumeIops",
                    "EbsRootVolumeThroughput",
                    "RepoUpgradeOnBoot",
                    "KerberosAttributes",
                    "OSReleaseLabel",
                    "ExtendedSupport",
                )
                if name in data
            },
        }
        record = {
            "Cluster": cluster,
            "Groups": groups,
            "Fleets": fleets,
            "Steps": [],
            "BootstrapActions": data.get("BootstrapActions", []),
            "ManagedScalingPolicy": data.get("ManagedScalingPolicy"),
            "AutoTerminationPolicy": data.get("AutoTerminationPolicy"),
            "Instances": [],
            "Scope": [get_account_id(), get_region()],
            "Since": now,
        }
        self._clusters[cluster_id] = record
        for part in groups + fleets:
            _resize(record, part)
        _cluster_event(record)
        self._add_steps(record, data.get("Steps", []))
        return {"JobFlowId": cluster_id, "ClusterArn": cluster["ClusterArn"]}

    def _check_cluster(self, data: Data) -> None:
        """Refuses what EMR refuses before it asks EC2 for a machine."""
        instances = data["Instances"]
        label = data.get("ReleaseLabel", "")
        if not re.fullmatch(r"emr-[67]\.\d+\.\d+", label):
            raise Refused(f"The supplied release label is invalid: {label}.")
        for name in ("ServiceRole", "JobFlowRole"):
            if not data.get(name):
                raise Refused(f"{name} is required for creating a cluster.")
        service_role = roles.role(data["ServiceRole"])
        roles.check_trust(service_role, "elasticmapreduce.amazonaws.com")
        roles.check_pass(self._caller, service_role, "elasticmapreduce.amazonaws.com")
        job_role = roles.role_of_profile(data["JobFlowRole"])
        roles.check_trust(job_role, "ec2.amazonaws.com")
        roles.check_pass(self._caller, job_role, "ec2.amazonaws.com")
        self._check_rights(data)
        if data.get("AutoScalingRole"):
            roles.check_pass(self._caller, roles.role(data["AutoScalingRole"]), "elasticmapreduce.amazonaws.com")
        if bool(instances.get("Ec2SubnetId")) == bool(instances.get("Ec2SubnetIds")):
            raise Refused("Specify either Ec2SubnetId or Ec2SubnetIds.")
        for subnet in instances.get("Ec2SubnetIds") or [instances["Ec2SubnetId"]]:
            _subnet(subnet)
            if _subnet(subnet)["VpcId"] != _subnet((instances.get("Ec2SubnetIds") or [subnet])[0])["VpcId"]:
                raise Refused("The subnets of an instance fleet must be in one VPC.")
            vpc = _subnet(subnet)["VpcId"]
        for group in _security_groups(instances):
            if group not in ec2._security_groups:
                raise Refused(f"The security group '{group}' does not exist")
            if ec2._security_groups[group].get("VpcId", vpc) != vpc:
                raise Refused(f"The security group '{group}' and the subnet are in different VPCs.")
        if "Ec2SubnetIds" in instances and len(instances["Ec2SubnetIds"]) > 1 and "InstanceFleets" not in instances:
            raise Refused("Several subnets can be given for instance fleets only.")
        security = data.get("SecurityConfiguration")
        if security and security not in self._security:
            raise Refused(f"Security configuration with name '{security}' does not exist.", "InvalidRequestException")
        if not re.match(r"s3[na]?://[^/]+", data.get("LogUri", "s3://none")):
            raise Refused("LogUri must be an S3 address: s3://bucket/prefix/")
        if not 1 <= data.get("StepConcurrencyLevel", 1) <= 256:
            raise Refused("StepConcurrencyLevel must be between 1 and 256.")
        _check_capacity(instances)
        _check_types(_types_of(instances))
        if "AutoTerminationPolicy" in data:
            _check_auto_termination(data["AutoTerminationPolicy"], instances.get("KeepJobFlowAliveWhenNoSteps", False))
        if "ManagedScalingPolicy" in data:
            _check_managed_scaling(data["ManagedScalingPolicy"], fleets="InstanceFleets" in instances)
        _check_steps(data.get("Steps", []), data.get("StepConcurrencyLevel", 1))

    def _check_rights(self, data: Data) -> None:
        """Refuses who may not give a cluster what it is to have: tags, which are the request's, and limits, which know no request's tags.

        The cluster has no id yet: EMR asks for `cluster/*`.
        https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-fine-grained-cluster-access.html
        """
        tags = {f"aws:requesttag/{tag['Key']}": tag.get("Value", "") for tag in data.get("Tags", [])}
        for member, action, keys in (
            ("Tags", "AddTags", tags),
            ("AutoTerminationPolicy", "PutAutoTerminationPolicy", {}),
            ("ManagedScalingPolicy", "PutManagedScalingPolicy", {}),
        ):
            if data.get(member):
                arn = f"arn:aws:elasticmapreduce:{get_region()}:{get_account_id()}:cluster/*"
                try:
                    roles.check_may(self._caller, f"elasticmapreduce:{action}", arn, keys)
                except roles.Refused as error:
                    raise Refused(str(error), "AccessDeniedException") from error

    def _do_DescribeCluster(self, data: Data) -> Data:
        return {"Cluster": self._record(data["ClusterId"])["Cluster"]}

    def _do_ListClusters(self, data: Data) -> Data:
        after, before = data.get("CreatedAfter", 0), data.get("CreatedBefore", float("inf"))
        states = data.get("ClusterStates")
        newest_first = sorted(
            (record["Cluster"] for record in self._clusters.values()),
            key=lambda cluster: -float(cluster["Status"]["Timeline"]["CreationDateTime"]),
        )
        summary = ("Id", "Name", "Status", "NormalizedInstanceHours", "ClusterArn")
        return _page(
            "Clusters",
            [
                {name: cluster[name] for name in summary}
                for cluster in newest_first
                if after
                <= cluster["Status"]["Timeline"]["CreationDateTime"]
                <= min(before, _now() - self._list_seconds)
                and (not states or cluster["Status"]["State"] in states)
            ],
            data,
        )

    def _do_TerminateJobFlows(self, data: Data) -> None:
        records = [self._record(cluster_id) for cluster_id in data["JobFlowIds"]]
        for record in records:
            if record["Cluster"]["TerminationProtected"]:
                raise Refused("Could not shut down one or more job flows since they are termination protected.")
        for record in records:
            if record["Cluster"]["Status"]["State"] in _OPEN:
                self._terminate(record, "USER_REQUEST", "Terminated by user request")

    def _do_ModifyCluster(self, data: Data) -> Data:
        cluster = self._open(data["ClusterId"])["Cluster"]
        level = data.get("StepConcurrencyLevel", cluster["StepConcurrencyLevel"])
        if not 1 <= level <= 256:
            raise Refused("StepConcurrencyLevel must be between 1 and 256.")
        cluster["StepConcurrencyLevel"] = level
        return {"StepConcurrencyLevel": level}

    def _set(self, member: str, data: Data, negate: bool = False) -> None:
        for cluster_id in data["JobFlowIds"]:
            value = next(value for name, value in data.items() if name != "JobFlowIds")
            self._record(cluster_id)["Cluster"][member] = value != negate

    def _do_SetTerminationProtection(self, data: Data) -> None:
        self._set("TerminationProtected", data)

    def _do_SetVisibleToAllUsers(self, data: Data) -> None:
        self._set("VisibleToAllUsers", data)

    def _do_SetUnhealthyNodeReplacement(self, data: Data) -> None:
        self._set("UnhealthyNodeReplacement", data)

    def _do_SetKeepJobFlowAliveWhenNoSteps(self, data: Data) -> None:
        self._set("AutoTerminate", data, negate=True)

    def _do_ListBootstrapActions(self, data: Data) -> Data:
        actions = self._record(data["ClusterId"])["BootstrapActions"]
        return {
            "BootstrapActions": [
                {
                    "Name": action["Name"],
                    "ScriptPath": action["ScriptBootstrapAction"]["Path"],
                    "Args": action["ScriptBootstrapAction"].get("Args", []),
                }
                for action in actions
            ]
        }

    def _do_AddTags(self, data: Data) -> None:
        cluster = self._record(data["ResourceId"])["Cluster"]
        added = {tag["Key"] for tag in data["Tags"]}
        cluster["Tags"] = [tag for tag in cluster["Tags"] if tag["Key"] not in added] + data["Tags"]

    def _do_RemoveTags(self, data: Data) -> None:
        cluster = self._record(data["ResourceId"])["Cluster"]
        cluster["Tags"] = [tag for tag in cluster["Tags"] if tag["Key"] not in data["TagKeys"]]

    def tags(self) -> list[tuple[str, dict[str, str]]]:
        """Every cluster of the current account and region with its tags, for IAM's condition keys."""
        clusters = [record["Cluster"] for record in self._clusters.values()]
        return [(c["ClusterArn"], {tag["Key"]: tag.get("Value", "") for tag in c["Tags"]}) for c in clusters]

    # --- steps ----------------------------------------------------------------------------------------------------

    def _do_AddJobFlowSteps(self, data: Data) -> Data:
        record = self._open(data["JobFlowId"])
        if "ExecutionRoleArn" in data:
            raise Refused("The local cloud has no runtime roles for steps: a step has the instance profile's role.")
        _check_steps(data["Steps"], record["Cluster"]["StepConcurrencyLevel"])
        if len([step for step in record["Steps"] if step["Status"]["State"] in _STEP_OPEN]) + len(data["Steps"]) > 256:
            raise Refused("Maximum number of active steps(State = 'Running', 'Pending' or 'Cancel_Pending') is 256.")
        return {"StepIds": self._add_steps(record, data["Steps"])}

    def _do_DescribeStep(self, data: Data) -> Data:
        return {"Step": self._step(self._record(data["ClusterId"]), data["StepId"])}

    def _do_ListSteps(self, data: Data) -> Data:
        record = self._record(data["ClusterId"])
        wanted = [self._step(record, step_id) for step_id in data.get("StepIds", [])]
        states = data.get("StepStates")
        newest_first = wanted or record["Steps"][::-1]
        return _page("Steps", [step for step in newest_first if not states or step["Status"]["State"] in states], data)

    def _do_CancelSteps(self, data: Data) -> Data:
        record = self._record(data["ClusterId"])
        terminate = data.get("StepCancellationOption") == "TERMINATE_PROCESS"
        answers = []
        for step in [self._step(record, step_id) for step_id in data["StepIds"]]:
            state = step["Status"]["State"]
            if state in ("PENDING", "RUNNING"):
                self._cancel(record, step, terminate)
                answers.append({"StepId": step["Id"], "Status": "SUBMITTED"})
            else:
                reason = f"Step {step['Id']} is {state} and cannot be cancelled."
                answers.append({"StepId": step["Id"], "Status": "FAILED", "Reason": reason})
        return {"CancelStepsInfoList": answers}

    def _add_steps(self, record: Data, configs: list[Data]) -> list[str]:
        added = []
        for config in configs:
            jar = config["HadoopJarStep"]
            step = {
                "Id": _id("s"),
                "Name": config["Name"],
                "Config": {
                    "Jar": jar["Jar"],
                    "Args": jar.get("Args", []),
                    "Properties": {item["Key"]: item["Value"] for item in jar.get("Properties", [])},
                    **({"MainClass": jar["MainClass"]} if "MainClass" in jar else {}),
                },
                "ActionOnFailure": config.get("ActionOnFailure", "CONTINUE"),
                "Status": {"State": "PENDING", "StateChangeReason": {}, "Timeline": {"CreationDateTime": _now()}},
            }
            record["Steps"].append(step)
            added.append(step["Id"])
            _step_event(record, step, "was added", "and is pending execution")
        if record["Cluster"]["Status"]["State"] in ("RUNNING", "WAITING"):
            self._schedule(record)
        return added

    def _schedule(self, record: Data) -> None:
        """Starts pending steps as far as the cluster's concurrency allows, then settles the cluster's state."""
        state = record["Cluster"]["Status"]["State"]
        if state not in ("RUNNING", "WAITING") and not (state == "BOOTSTRAPPING" and record.get("Ready")):
            return
        busy = [step for step in record["Steps"] if step["Status"]["State"] in ("RUNNING", "CANCEL_PENDING")]
        pending = [step for step in record["Steps"] if step["Status"]["State"] == "PENDING"]
        for step in pending[: max(0, record["Cluster"]["StepConcurrencyLevel"] - len(busy))]:
            self._start_step(record, step)
        if pending or busy:
            self._set_state(record, "RUNNING")
        elif record["Cluster"]["AutoTerminate"]:
            self._terminate(record, "ALL_STEPS_COMPLETED", "Steps completed")
        else:
            self._set_state(record, "WAITING", message="Cluster ready after last step completed.")

    def _start_step(self, record: Data, step: Data) -> None:
        step["Status"]["State"] = "RUNNING"
        step["Status"]["Timeline"]["StartDateTime"] = _now()
        _step_event(record, step, "started running", "")
        run = partial(self._run_step, record, step)
        threading.Thread(target=run, name=f"emr-{step['Id']}", daemon=True).start()

    def _run_step(self, record: Data, step: Data) -> None:
        """Runs one step to its end, in a thread of its own."""
        with request_scope(*record["Scope"]):
            try:
                result = self._execute(record, step)
            except Exception as error:
                _log.exception("step %s", step["Id"])
                result = Result(1, f"{type(error).__name__}: {error}", None)
            with self._lock:
                self._running.pop(step["Id"], None)
                if self._stopped:
                    return
                self._finish_step(record, step, result)

    def _execute(self, record: Data, step: Data) -> Result:
        cluster, config = record["Cluster"], step["Config"]
        if config["Jar"] != "command-runner.jar" or not config["Args"]:
            problem = f"the local cloud runs command-runner.jar with arguments, not {config['Jar']}"
            return Result(1, problem, None)
        profile = cluster["Ec2InstanceAttributes"]["IamInstanceProfile"]
        primary = next(i["Ec2InstanceId"] for i in record["Instances"] if i["Kind"] == "MASTER")
        credentials = roles.assume(roles.role_of_profile(profile), "ec2.amazonaws.com", primary)
        region = get_region()
        work = Step(
            args=config["Args"],
            folder=self._home / "cloud/emr" / cluster["Id"] / step["Id"],
            jars=self._jars,
            defaults=engine_defaults(cluster["ReleaseLabel"], region, cluster["Configurations"]),
            env={
                **credentials,
                "AWS_ENDPOINT_URL": self._endpoint,
                "AWS_REGION": region,
                "AWS_DEFAULT_REGION": region,
            },
            logs=f"{cluster['LogUri'].rstrip('/')}/{cluster['Id']}/steps/{step['Id']}" if "LogUri" in cluster else None,
            logs_key=cluster.get("LogEncryptionKmsKeyId"),
        )
        with self._lock:
            if step["Status"]["State"] != "RUNNING":
                return Result(1, "cancelled before it started", None)
            self._running[step["Id"]] = work
        return work.run()

    def _finish_step(self, record: Data, step: Data, result: Result) -> None:
        status = step["Status"]
        status["Timeline"]["EndDateTime"] = _now()
        if status["State"] == "CANCEL_PENDING":
            status["State"] = "CANCELLED"
            _step_event(record, step, "was cancelled", "")
        elif result.code == 0:
            status["State"] = "COMPLETED"
            _step_event(record, step, "completed execution", "")
        else:
            status["State"] = "FAILED"
            status["FailureDetails"] = {
                "Reason": "Unknown Error.",
                "Message": result.tail,
                **({"LogFile": result.log_file} if result.log_file else {}),
            }
            _step_event(record, step, "failed", "")
            self._after_failure(record, step)
        self._schedule(record)

    def _after_failure(self, record: Data, step: Data) -> None:
        """What the failed step asked for; more than one step at once allows CONTINUE only."""
        action = step["ActionOnFailure"]
        if record["Cluster"]["StepConcurrencyLevel"] > 1 or action == "CONTINUE":
            return
        for pending in record["Steps"]:
            if pending["Status"]["State"] == "PENDING":
                self._cancel(record, pending, terminate=False)
        if action in ("TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW"):
            self._terminate(record, "STEP_FAILURE", "Shut down as step failed")

    def _cancel(self, record: Data, step: Data, terminate: bool) -> None:
        if step["Status"]["State"] == "RUNNING":
            step["Status"]["State"] = "CANCEL_PENDING"
            if work := self._running.get(step["Id"]):
                work.cancel(terminate)
        elif step["Status"]["State"] == "PENDING":
            step["Status"]["State"] = "CANCELLED"
            step["Status"]["Timeline"]["EndDateTime"] = _now()
            _step_event(record, step, "was cancelled", "")

    # --- instance groups and fleets -------------------------------------------------------------------------------

    def _do_AddInstanceGroups(self, data: Data) -> Data:
        record = self._open(data["JobFlowId"])
        if record["Fleets"]:
            raise Refused("Instance fleets and instance groups are mutually exclusive.", "InvalidRequestException")
        groups = [_group(config, _now()) for config in data["InstanceGroups"]]
        record["Groups"] += groups
        for group in groups:
            _resize(record, group)
        return {
            "JobFlowId": data["JobFlowId"],
            "ClusterArn": record["Cluster"]["ClusterArn"],
            "InstanceGroupIds": [group["Id"] for group in groups],
        }

    def _do_ListInstanceGroups(self, data: Data) -> Data:
        return {"InstanceGroups": self._record(data["ClusterId"])["Groups"]}

    def _do_ModifyInstanceGroups(self, data: Data) -> None:
        groups = {group["Id"]: (record, group) for record in self._clusters.values() for group in record["Groups"]}
        for change in data.get("InstanceGroups", []):
            if change["InstanceGroupId"] not in groups:
                message = f"Instance group id '{change['InstanceGroupId']}' is not valid."
                raise Refused(message, "InvalidRequestException")
            record, group = groups[change["InstanceGroupId"]]
            if "InstanceCount" in change:
                group["RequestedInstanceCount"] = change["InstanceCount"]
                _resize(record, group)
            group.update({name: change[name] for name in ("Configurations", "ShrinkPolicy") if name in change})

    def _do_AddInstanceFleet(self, data: Data) -> Data:
        record = self._open(data["ClusterId"])
        if record["Groups"]:
            raise Refused("Instance fleets and instance groups are mutually exclusive.", "InvalidRequestException")
        kind = data["InstanceFleet"]["InstanceFleetType"]
        if any(fleet["InstanceFleetType"] == kind for fleet in record["Fleets"]):
            raise Refused(f"The cluster has a {kind} fleet already.", "InvalidRequestException")
        _check_fleet(data["InstanceFleet"])
        _check_types([config["InstanceType"] for config in data["InstanceFleet"].get("InstanceTypeConfigs", [])])
        fleet = _fleet(data["InstanceFleet"], _now())
        record["Fleets"].append(fleet)
        _resize(record, fleet)
        arn = record["Cluster"]["ClusterArn"]
        return {"ClusterId": data["ClusterId"], "ClusterArn": arn, "InstanceFleetId": fleet["Id"]}

    def _do_ListInstanceFleets(self, data: Data) -> Data:
        return {"InstanceFleets": self._record(data["ClusterId"])["Fleets"]}

    def _do_ModifyInstanceFleet(self, data: Data) -> None:
        change = data["InstanceFleet"]
        record = self._open(data["ClusterId"])
        for fleet in record["Fleets"]:
            if fleet["Id"] == change["InstanceFleetId"]:
                for market in ("OnDemand", "Spot"):
                    if f"Target{market}Capacity" in change:
                        fleet[f"Target{market}Capacity"] = change[f"Target{market}Capacity"]
                _resize(record, fleet)
                return
        raise Refused(f"Instance fleet '{change['InstanceFleetId']}' is not valid.", "InvalidRequestException")

    def _do_ListInstances(self, data: Data) -> Data:
        record = self._record(data["ClusterId"])
        part = data.get("InstanceGroupId") or data.get("InstanceFleetId")
        kinds = set(data.get("InstanceGroupTypes", []))
        if "InstanceFleetType" in data:
            kinds.add(data["InstanceFleetType"])
        states = data.get("InstanceStates")
        owner = "InstanceFleetId" if record["Fleets"] else "InstanceGroupId"
        instances = [
            {
                **{name: item[name] for name in ("Id", "Ec2InstanceId", "InstanceType", "Market", "Status")},
                **machines.addresses(item["Ec2InstanceId"]),
                owner: item["Part"],
            }
            for item in record["Instances"]
            if (not part or item["Part"] == part)
            and (not kinds or item["Kind"] in kinds)
            and (not states or item["Status"]["State"] in states)
        ]
        return _page("Instances", instances, data)

    # --- policies and security configurations ---------------------------------------------------------------------

    def _do_PutManagedScalingPolicy(self, data: Data) -> None:
        record = self._open(data["ClusterId"])
        _check_managed_scaling(data["ManagedScalingPolicy"], fleets=bool(record["Fleets"]))
        record["ManagedScalingPolicy"] = data["ManagedScalingPolicy"]

    def _do_GetManagedScalingPolicy(self, data: Data) -> Data:
        policy = self._record(data["ClusterId"])["ManagedScalingPolicy"]
        return {"ManagedScalingPolicy": policy} if policy else {}

    def _do_RemoveManagedScalingPolicy(self, data: Data) -> None:
        self._record(data["ClusterId"])["ManagedScalingPolicy"] = None

    def _do_PutAutoTerminationPolicy(self, data: Data) -> None:
        record = self._open(data["ClusterId"])
        policy = data.get("AutoTerminationPolicy", {})
        _check_auto_termination(policy, not record["Cluster"]["AutoTerminate"])
        record["AutoTerminationPolicy"] = policy

    def _do_GetAutoTerminationPolicy(self, data: Data) -> Data:
        policy = self._record(data["ClusterId"])["AutoTerminationPolicy"]
        return {"AutoTerminationPolicy": policy} if policy else {}

    def _do_RemoveAutoTerminationPolicy(self, data: Data) -> None:
        self._record(data["ClusterId"])["AutoTerminationPolicy"] = None

    def _do_CreateSecurityConfiguration(self, data: Data) -> Data:
        if data["Name"] in self._security:
            message = f"Security configuration with name '{data['Name']}' already exists."
            raise Refused(message, "InvalidRequestException")
        try:
            content = json.loads(data["SecurityConfiguration"])
        except ValueError as error:
            raise Refused(f"The security configuration is no JSON: {error}", "InvalidRequestException") from error
        if not isinstance(content, dict) or not content:
            raise Refused("The security configuration must be a JSON object.", "InvalidRequestException")
        if problem := certificates.fault(content.get("EncryptionConfiguration", {})):
            raise Refused(problem, "InvalidRequestException")
        self._security[data["Name"]] = {**data, "CreationDateTime": _now()}
        return {"Name": data["Name"], "CreationDateTime": self._security[data["Name"]]["CreationDateTime"]}

    def _do_DescribeSecurityConfiguration(self, data: Data) -> Data:
        return self._security_configuration(data["Name"])

    def _do_DeleteSecurityConfiguration(self, data: Data) -> None:
        self._security_configuration(data["Name"])
        del self._security[data["Name"]]

    def _do_ListSecurityConfigurations(self, data: Data) -> Data:
        summary = ("Name", "CreationDateTime")
        every = [{name: item[name] for name in summary} for item in self._security.values()]
        return _page("SecurityConfigurations", every, data)

    def _security_configuration(self, name: str) -> Data:
        if name not in self._security:
            raise Refused(f"Security configuration with name '{name}' does not exist.", "InvalidRequestException")
        configuration: Data = self._security[name]
        return configuration

    def _do_GetBlockPublicAccessConfiguration(self, _data: Data) -> Data:
        return dict(self._public_access.get("configuration") or _public_access({"BlockPublicSecurityGroupRules": True}))

    def _do_PutBlockPublicAccessConfiguration(self, data: Data) -> None:
        self._public_access["configuration"] = _public_access(data["BlockPublicAccessConfiguration"])

    # --- states and time ------------------------------------------------------------------------------------------

    def _record(self, cluster_id: str) -> Data:
        record: Data | None = self._clusters.get(cluster_id)
        if record is None:
            raise Refused(f"Cluster id '{cluster_id}' is not valid.", "InvalidRequestException")
        return record

    def _open(self, cluster_id: str) -> Data:
        """A cluster that can still be changed."""
        record = self._record(cluster_id)
        if record["Cluster"]["Status"]["State"] not in _OPEN:
            raise Refused("A job flow that is shutting down, terminated, or finished may not be modified.")
        return record

    def _step(self, record: Data, step_id: str) -> Data:
        for step in record["Steps"]:
            if step["Id"] == step_id:
                found: Data = step
                return found
        raise Refused(f"Step id '{step_id}' is not valid.", "InvalidRequestException")

    def _set_state(self, record: Data, state: str, code: str = "", message: str = "") -> None:
        status = record["Cluster"]["Status"]
        if status["State"] == state:
            return
        status["State"] = state
        reason = {"Code": code, "Message": message}
        status["StateChangeReason"] = {name: value for name, value in reason.items() if value}
        record["Since"] = _now()
        if state in ("RUNNING", "WAITING"):
            status["Timeline"].setdefault("ReadyDateTime", _now())
        if state.startswith("TERMINATED"):
            status["Timeline"]["EndDateTime"] = _now()
        if state not in ("BOOTSTRAPPING", "TERMINATING"):
            _cluster_event(record)

    def _set_ready(self, record: Data) -> None:
        """The machines are up, and every one of them has what it needs."""
        record["Ready"] = True
        _set_instances(record, record["Instances"], "RUNNING")
        self._schedule(record)

    def _bootstrap(self, record: Data) -> None:
        """What happens on a new cluster's machines before they are ready, in a thread of its own."""
        with request_scope(*record["Scope"]):
            problem = self._missing_certificate(record["Cluster"])
            with self._lock:
                self._starting.discard(record["Cluster"]["Id"])
                if self._stopped or record["Cluster"]["Status"]["State"] != "BOOTSTRAPPING":
                    return
                if problem:
                    self._terminate(record, "BOOTSTRAP_FAILURE", f"On the master instance: {problem}")
                else:
                    self._set_ready(record)

    def _missing_certificate(self, cluster: Data) -> str:
        """Why the machines cannot talk to each other as the security configuration wants it; empty when they can."""
        configuration = self._security.get(cluster.get("SecurityConfiguration", ""))
        if configuration is None:
            return ""
        wanted = certificates.wanted(json.loads(configuration["SecurityConfiguration"]))
        if wanted is None:
            return ""
        profile = cluster["Ec2InstanceAttributes"]["IamInstanceProfile"]
        try:
            credentials = roles.assume(roles.role_of_profile(profile), "ec2.amazonaws.com", cluster["Id"])
        except roles.Refused as error:
            return str(error)
        return certificates.problem(wanted, self._endpoint, get_region(), credentials)

    def _terminate(self, record: Data, code: str, message: str) -> None:
        self._set_state(record, "TERMINATING", code, message)
        for step in record["Steps"]:
            self._cancel(record, step, terminate=True)

    def _tick(self) -> None:
        """The clock of all clusters: they start, end when their steps have, and end when they were idle too long."""
        with self._lock:
            for record in self._records():
                self._fail_lost_steps(record)
        sampled = scaled = 0.0
        while True:
            now = time.monotonic()
            with self._lock:
                if sample := now - sampled >= _SAMPLE_SECONDS:
                    sampled = now
                    self._processors.sample(self._sessions())
                if scale := now - scaled >= _SCALE_SECONDS:
                    scaled = now
                for record in self._records():
                    self._advance(record)
                    if sample:
                        self._look_after_machines(record)
                        self._measure(record, now)
                    if scale:
                        _scale(record)
            time.sleep(0.2)

    def _sessions(self) -> dict[int, str]:
        """The cluster of each step that runs, by the session of its processes."""
        owners = {step["Id"]: record["Cluster"]["Id"] for record in self._records() for step in record["Steps"]}
        return {pid: owners[step_id] for step_id, step in self._running.items() if (pid := step.session)}

    def _measure(self, record: Data, now: float) -> None:
        """Publishes what EC2 and EMR publish of a cluster that is up."""
        cluster = record["Cluster"]
        if cluster["Status"]["State"] not in ("RUNNING", "WAITING"):
            self._processors.forget(cluster["Id"])
            self._measured.pop(cluster["Id"], None)
            return
        if cluster["Id"] not in self._measured:
            self._measured[cluster["Id"]] = now
            self._processors.percent(cluster["Id"])
        if now - self._measured[cluster["Id"]] < self._metric_seconds:
            return
        self._measured[cluster["Id"]] = now
        percent = self._processors.percent(cluster["Id"])
        for item in record["Instances"]:
            if item["Status"]["State"] == "RUNNING":
                instance = {"InstanceId": item["Ec2InstanceId"]}
                cloudwatch.record_metric("AWS/EC2", "CPUUtilization", percent, "Percent", instance)
        idle = float(cluster["Status"]["State"] == "WAITING")
        cloudwatch.record_metric("AWS/ElasticMapReduce", "IsIdle", idle, "None", {"JobFlowId": cluster["Id"]})

    def _look_after_machines(self, record: Data) -> None:
        """Replaces machines that are gone, and those that are not well if the cluster asks for that."""
        if record["Cluster"]["Status"]["State"] not in ("RUNNING", "WAITING"):
            return
        for item in record["Instances"]:
            if item["Status"]["State"] != "RUNNING":
                continue
            state = machines.state(item["Ec2InstanceId"])
            gone = state in ("shutting-down", "terminated")
            if state == "running" or (not gone and not record["Cluster"]["UnhealthyNodeReplacement"]):
                continue
            if item["Kind"] == "MASTER":
                self._terminate(record, "INSTANCE_FAILURE", "The master node was terminated.")
                return
            machines.terminate([item["Ec2InstanceId"]])
            _set_instances(record, [item], "TERMINATED", "INSTANCE_FAILURE", f"Instance is {state}")
        for part in record["Groups"] + record["Fleets"]:
            _resize(record, part)

    def _records(self) -> Iterator[Data]:
        """Every cluster of every account, each in its own scope."""
        for record in list(self._clusters._data.values()):
            with request_scope(*record["Scope"]):
                yield record

    def _advance(self, record: Data) -> None:
        state, elapsed = record["Cluster"]["Status"]["State"], _now() - record["Since"]
        if state == "STARTING" and elapsed >= _START_SECONDS:
            if problem := _closed_to_emr(record["Cluster"]["Ec2InstanceAttributes"]) or _missing_in_zone(record):
                self._terminate(record, "VALIDATION_ERROR", problem)
                return
            self._set_state(record, "BOOTSTRAPPING")
            _set_instances(record, record["Instances"], "BOOTSTRAPPING")
        elif state == "BOOTSTRAPPING" and elapsed >= _START_SECONDS and record["Cluster"]["Id"] not in self._starting:
            self._starting.add(record["Cluster"]["Id"])
            threading.Thread(target=self._bootstrap, args=[record], name="emr-bootstrap", daemon=True).start()
        elif state == "TERMINATING" and not any(s["Status"]["State"] in _STEP_OPEN for s in record["Steps"]):
            reason = record["Cluster"]["Status"]["StateChangeReason"]
            failed = reason["Code"] not in ("USER_REQUEST", "ALL_STEPS_COMPLETED")
            self._set_state(
                record, "TERMINATED_WITH_ERRORS" if failed else "TERMINATED", reason["Code"], reason["Message"]
            )
            machines.terminate(item["Ec2InstanceId"] for item in record["Instances"])
            _set_instances(record, record["Instances"], "TERMINATED", "CLUSTER_TERMINATED", "Cluster was terminated.")
            for part in record["Groups"] + record["Fleets"]:
                part["Status"]["State"] = "TERMINATED"
        elif state == "WAITING" and elapsed >= _idle_timeout(record["AutoTerminationPolicy"]):
            self._terminate(record, "ALL_STEPS_COMPLETED", "Cluster was idle for longer than its policy allows")

    def _fail_lost_steps(self, record: Data) -> None:
        for step in record["Steps"]:
            if step["Status"]["State"] in ("RUNNING", "CANCEL_PENDING") and step["Id"] not in self._running:
                self._finish_step(record, step, Result(1, "the local cloud was stopped while the step ran", None))


def _without_empty(instances: Data) -> Data:
    filled = {
        name: [item for item in value if item != ""] if isinstance(value, list) else value
        for name, value in instances.items()
    }
    return {name: value for name, value in filled.items() if value not in ("", [])}


def _group_configs(instances: Data) -> list[Data]:
    """The instance groups, also those of the short form with two types and a count."""
    if "InstanceGroups" in instances or "InstanceFleets" in instances:
        return list(instances.get("InstanceGroups", []))
    configs = [{"InstanceRole": "MASTER", "InstanceType": instances["MasterInstanceType"], "InstanceCount": 1}]
    if instances.get("InstanceCount", 1) > 1:
        kind = instances.get("SlaveInstanceType", instances["MasterInstanceType"])
        configs.append({"InstanceRole": "CORE", "InstanceType": kind, "InstanceCount": instances["InstanceCount"] - 1})
    return configs


def _group(config: Data, now: float) -> Data:
    return {
        "Id": _id("ig"),
        "Name": config.get("Name", config["InstanceRole"].capitalize()),
        "Market": config.get("Market", "SPOT" if "BidPrice" in config else "ON_DEMAND"),
        "InstanceGroupType": config["InstanceRole"],
        "InstanceType": config["InstanceType"],
        "RequestedInstanceCount": config["InstanceCount"],
        "RunningInstanceCount": 0,
        "Status": {"State": "RUNNING", "StateChangeReason": {}, "Timeline": {"CreationDateTime": now}},
        "Configurations": config.get("Configurations", []),
        "EbsBlockDevices": _devices(config.get("EbsConfiguration", {})),
        "EbsOptimized": config.get("EbsConfiguration", {}).get("EbsOptimized", False),
        "ShrinkPolicy": {},
        **{name: config[name] for name in ("BidPrice", "CustomAmiId") if name in config},
        **(
            {"AutoScalingPolicy": {**config["AutoScalingPolicy"], "Status": {"State": "ATTACHED"}}}
            if "AutoScalingPolicy" in config
            else {}
        ),
    }


def _fleet(config: Data, now: float) -> Data:
    types = [
        {
            "WeightedCapacity": 1,
            **{name: value for name, value in kind.items() if name != "EbsConfiguration"},
            "EbsBlockDevices": _devices(kind.get("EbsConfiguration", {})),
            "EbsOptimized": kind.get("EbsConfiguration", {}).get("EbsOptimized", False),
        }
        for kind in config.get("InstanceTypeConfigs", [])
    ]
    on_demand, spot = config.get("TargetOnDemandCapacity", 0), config.get("TargetSpotCapacity", 0)
    return {
        "Id": _id("if"),
        "Name": config.get("Name", config["InstanceFleetType"].capitalize()),
        "Status": {"State": "RUNNING", "StateChangeReason": {}, "Timeline": {"CreationDateTime": now}},
        "InstanceFleetType": config["InstanceFleetType"],
        "TargetOnDemandCapacity": on_demand,
        "TargetSpotCapacity": spot,
        "ProvisionedOnDemandCapacity": 0,
        "ProvisionedSpotCapacity": 0,
        "InstanceTypeSpecifications": types,
        **{name: config[name] for name in ("LaunchSpecifications", "ResizeSpecifications") if name in config},
    }


def _devices(ebs: Data) -> list[Data]:
    return [
        {"VolumeSpecification": config["VolumeSpecification"], "Device": f"/dev/sd{letter}"}
        for config in ebs.get("EbsBlockDeviceConfigs", [])
        for letter in string.ascii_lowercase[1 : 1 + config.get("VolumesPerInstance", 1)]
    ]


def _check_capacity(instances: Data) -> None:
    """Exactly one primary, and groups or fleets but not both."""
    if "InstanceGroups" in instances and "InstanceFleets" in instances:
        raise Refused("Instance fleets and instance groups are mutually exclusive.")
    if "InstanceFleets" in instances:
        kinds = [fleet["InstanceFleetType"] for fleet in instances["InstanceFleets"]]
        for fleet in instances["InstanceFleets"]:
            _check_fleet(fleet)
    elif "InstanceGroups" in instances:
        kinds = [group["InstanceRole"] for group in instances["InstanceGroups"]]
        if any(group["InstanceCount"] < 1 for group in instances["InstanceGroups"] if group["InstanceRole"] != "TASK"):
            raise Refused("Instance groups must have at least one instance.")
        masters = sum(g["InstanceCount"] for g in instances["InstanceGroups"] if g["InstanceRole"] == "MASTER")
        if masters not in (1, 3):
            raise Refused("The master instance group must have 1 or 3 instances.")
    elif "MasterInstanceType" in instances:
        return
    else:
        raise Refused("Must specify instance groups, instance fleets or a master instance type.")
    if kinds.count("MASTER") != 1:
        raise Refused("There must be exactly one master instance group or fleet.")
    if kinds.count("CORE") > 1:
        raise Refused("There can be only one core instance group or fleet.")
    if "TASK" in kinds and "CORE" not in kinds:
        raise Refused("A task instance group or fleet needs a core instance group or fleet.")


def _types_of(instances: Data) -> list[str]:
    """Every instance type that a request for a cluster names."""
    return [
        *(
            config["InstanceType"]
            for f in instances.get("InstanceFleets", [])
            for config in f.get("InstanceTypeConfigs", [])
        ),
        *(group["InstanceType"] for group in instances.get("InstanceGroups", [])),
        *(instances[name] for name in ("MasterInstanceType", "SlaveInstanceType") if instances.get(name)),
    ]


def _check_types(kinds: list[str]) -> None:
    """Refuses a type that the region has not, whatever others there are beside it."""
    if missing := offerings.missing_in_region(kinds):
        raise Refused(f"Instance type '{missing}' is not supported.")


def _missing_in_zone(record: Data) -> str:
    """Why EMR ends a cluster for one type that its zone has not, whatever others there are beside it."""
    kinds = [group["InstanceType"] for group in record["Groups"]]
    kinds += [types["InstanceType"] for fleet in record["Fleets"] for types in fleet["InstanceTypeSpecifications"]]
    missing = offerings.missing_in_zone(record["Cluster"]["Ec2InstanceAttributes"]["Ec2AvailabilityZone"], kinds)
    more = "Learn more at https://docs.aws.amazon.com/console/elasticmapreduce/ERROR_noinstancetype"
    return (
        missing and f"The requested instance type {missing} is not supported in the requested availability zone. {more}"
    )


def _check_fleet(fleet: Data) -> None:
    """What EMR's reference says of a fleet's machines and of how they are bought."""
    kind, types = fleet["InstanceFleetType"], fleet.get("InstanceTypeConfigs", [])
    names = [config["InstanceType"] for config in types]
    launch = fleet.get("LaunchSpecifications", {})
    on_demand, spot = fleet.get("TargetOnDemandCapacity", 0), fleet.get("TargetSpotCapacity", 0)
    strategies = [part.get("AllocationStrategy") for part in launch.values()]
    if not names:
        raise Refused(f"The {kind} fleet has no instance types.")
    if len(set(names)) != len(names):
        raise Refused(f"The {kind} fleet names an instance type twice.")
    if len(names) > (30 if any(strategies) else 5):
        raise Refused(
            f"The {kind} fleet has {len(names)} instance types; 5 are allowed, 30 with an allocation strategy."
        )
    if on_demand + spot < 1:
        raise Refused(f"The {kind} fleet must have a target capacity greater than 0.")
    if kind == "MASTER" and sorted([on_demand, spot]) != [0, 1]:
        raise Refused("The master fleet must have a target capacity of exactly 1, on demand or spot.")
    if spot and "SpotSpecification" in launch:
        minutes = launch["SpotSpecification"]["TimeoutDurationMinutes"]
        if not 5 <= minutes <= 1440:
            raise Refused("TimeoutDurationMinutes must be between 5 and 1440.")


def _resize(record: Data, part: Data) -> None:
    """Has as many machines of a group or fleet as it asks for; every machine counts as its weight."""
    if record["Cluster"]["Status"]["State"] not in _OPEN:
        return
    fleet = "InstanceFleetType" in part
    kind = part["InstanceFleetType"] if fleet else part["InstanceGroupType"]
    if fleet:
        first = part["InstanceTypeSpecifications"][0]
        name, weight = first["InstanceType"], first["WeightedCapacity"]
        wanted = {"ON_DEMAND": part["TargetOnDemandCapacity"], "SPOT": part["TargetSpotCapacity"]}
    else:
        name, weight = part["InstanceType"], 1
        wanted = {part["Market"]: part["RequestedInstanceCount"]}
    attributes = record["Cluster"]["Ec2InstanceAttributes"]
    groups = [attributes.get("EmrManagedMasterSecurityGroup" if kind == "MASTER" else "EmrManagedSlaveSecurityGroup")]
    groups += [attributes.get("ServiceAccessSecurityGroup")]
    groups += attributes.get(
        "AdditionalMasterSecurityGroups" if kind == "MASTER" else "AdditionalSlaveSecurityGroups", []
    )
    for market, units in wanted.items():
        mine = [i for i in _live(record) if i["Part"] == part["Id"] and i["Market"] == market]
        count = -(-units // weight)
        if len(mine) > count:
            surplus = mine[count:]
            machines.terminate(item["Ec2InstanceId"] for item in surplus)
            _set_instances(record, surplus, "TERMINATED", "", "Instance was resized away.")
        elif len(mine) < count:
            launched = machines.launch(
                name,
                attributes["Ec2SubnetId"],
                [group for group in groups if group],
                attributes["IamInstanceProfile"],
                count - len(mine),
            )
            state = "RUNNING" if record.get("Ready") else "PROVISIONING"
            record["Instances"] += [_instance(instance, part["Id"], kind, name, market, state) for instance in launched]
        if fleet:
            word = "Spot" if market == "SPOT" else "OnDemand"
            part[f"Provisioned{word}Capacity"] = count * weight
        else:
            part["RunningInstanceCount"] = count


def _instance(instance: str, part: str, kind: str, name: str, market: str, state: str) -> Data:
    return {
        "Id": _id("ci"),
        "Ec2InstanceId": instance,
        "InstanceType": name,
        "Market": market,
        "Part": part,
        "Kind": kind,
        "Status": {"State": state, "StateChangeReason": {}, "Timeline": {"CreationDateTime": _now()}},
    }


def _live(record: Data) -> list[Data]:
    return [item for item in record["Instances"] if item["Status"]["State"] != "TERMINATED"]


def _set_instances(record: Data, items: list[Data], state: str, code: str = "", message: str = "") -> None:
    for item in items:
        status = item["Status"]
        if status["State"] in (state, "TERMINATED"):
            continue
        status["State"] = state
        reason = {"Code": code, "Message": message}
        status["StateChangeReason"] = {name: value for name, value in reason.items() if value}
        if state == "RUNNING":
            status["Timeline"].setdefault("ReadyDateTime", _now())
        if state == "TERMINATED":
            status["Timeline"]["EndDateTime"] = _now()
    # EMR forgets machines that are long gone; a cluster that scales for weeks would remember thousands.
    gone = [item for item in record["Instances"] if item["Status"]["State"] == "TERMINATED"]
    for item in gone[:-100]:
        record["Instances"].remove(item)


def _scale(record: Data) -> None:
    """Managed scaling of fleets: a spot task node for each open step, within the limits; none more when all is quiet."""
    policy = record["ManagedScalingPolicy"]
    if not policy or not record["Fleets"] or record["Cluster"]["Status"]["State"] not in ("RUNNING", "WAITING"):
        return
    limits = policy["ComputeLimits"]
    fleets = {fleet["InstanceFleetType"]: fleet for fleet in record["Fleets"]}
    if "TASK" not in fleets:
        return
    core = fleets["CORE"]["TargetOnDemandCapacity"] + fleets["CORE"]["TargetSpotCapacity"]
    steps = sum(step["Status"]["State"] in _STEP_OPEN for step in record["Steps"])
    units = min(
        max(limits["MinimumCapacityUnits"], core + steps if steps > 1 else core), limits["MaximumCapacityUnits"]
    )
    task = fleets["TASK"]
    if task["TargetSpotCapacity"] != max(0, units - core - task["TargetOnDemandCapacity"]):
        task["TargetSpotCapacity"] = max(0, units - core - task["TargetOnDemandCapacity"])
        _resize(record, task)


def _check_auto_termination(policy: Data, keeps_alive: bool) -> None:
    if not keeps_alive:
        raise Refused("An auto-termination policy needs a cluster that is kept alive when it has no steps.")
    if not 60 <= policy.get("IdleTimeout", 3600) <= 604800:
        raise Refused("IdleTimeout must be between 60 and 604800 seconds.")


def _idle_timeout(policy: Data | None) -> float:
    """After how many idle seconds a cluster ends; never without a policy."""
    return float("inf") if policy is None else float(policy.get("IdleTimeout", 3600))


def _check_managed_scaling(policy: Data, fleets: bool) -> None:
    limits = policy.get("ComputeLimits")
    if limits is None:
        raise Refused("ManagedScalingPolicy needs ComputeLimits.")
    if (limits["UnitType"] == "InstanceFleetUnits") != fleets:
        raise Refused(f"UnitType {limits['UnitType']} does not fit the cluster's instance collection type.")
    if not 1 <= limits["MinimumCapacityUnits"] <= limits["MaximumCapacityUnits"]:
        raise Refused("MinimumCapacityUnits must be at least 1 and at most MaximumCapacityUnits.")
    for name in ("MaximumOnDemandCapacityUnits", "MaximumCoreCapacityUnits"):
        if limits.get(name, 0) > limits["MaximumCapacityUnits"]:
            raise Refused(f"{name} must be at most MaximumCapacityUnits.")


def _check_steps(steps: list[Data], concurrency: int) -> None:
    for step in steps:
        action = step.get("ActionOnFailure", "CONTINUE")
        if concurrency > 1 and action != "CONTINUE":
            raise Refused(f"ActionOnFailure {action} is not valid for a cluster that runs several steps at once.")
        if not step["Name"] or len(step["Name"]) > 256:
            raise Refused("A step's name must have 1 to 256 characters.")


def _subnet(subnet_id: str) -> Data:
    subnet: Data | None = ec2._subnets.get(subnet_id)
    if subnet is None:
        raise Refused(f"The subnet configuration was invalid: The subnet ID '{subnet_id}' does not exist")
    return subnet


def _security_groups(instances: Data) -> list[str]:
    single = ("EmrManagedMasterSecurityGroup", "EmrManagedSlaveSecurityGroup", "ServiceAccessSecurityGroup")
    several = ("AdditionalMasterSecurityGroups", "AdditionalSlaveSecurityGroups")
    return [instances[name] for name in single if instances.get(name)] + [
        group for name in several for group in instances.get(name, [])
    ]


def _closed_to_emr(attributes: Data) -> str:
    """Why the nodes cannot reach EMR through the group that it has in their network; EMR does not open that itself."""
    service, primary = attributes.get("ServiceAccessSecurityGroup"), attributes.get("EmrManagedMasterSecurityGroup")
    if not service:
        return ""
    for rule in ec2._security_groups[service]["IpPermissions"]:
        everything = rule["IpProtocol"] == "-1"
        port = rule["IpProtocol"] == "tcp" and rule.get("FromPort", 0) <= 9443 <= rule.get("ToPort", 65535)
        if (everything or port) and any(pair.get("GroupId") == primary for pair in rule["UserIdGroupPairs"]):
            return ""
    return "ServiceAccessSecurityGroup is missing ingress rule from EmrManagedMasterSecurityGroup on port 9443"


def _public_access(configuration: Data) -> Data:
    return {
        "BlockPublicAccessConfiguration": {"PermittedPublicSecurityGroupRuleRanges": [], **configuration},
        "BlockPublicAccessConfigurationMetadata": {
            "CreationDateTime": _now(),
            "CreatedByArn": f"arn:aws:iam::{get_account_id()}:root",
        },
    }


def _page(member: str, items: list[Data], data: Data) -> Data:
    """Fifty items from the marker on, and the next marker while there are more."""
    start = int(data.get("Marker", 0))
    more = {"Marker": str(start + 50)} if len(items) > start + 50 else {}
    return {member: items[start : start + 50], **more}


def _cluster_event(record: Data) -> None:
    """EMR Cluster State Change, as EMR's documentation shows it."""
    cluster = record["Cluster"]
    state, reason = cluster["Status"]["State"], cluster["Status"]["StateChangeReason"]
    what = {
        "STARTING": "was requested at {} and is being created.",
        "RUNNING": "is running at {}.",
        "WAITING": "was created or finished its steps at {} and is ready for use.",
        "TERMINATED": f"has terminated at {{}} with a reason of {reason.get('Code', '')}.",
        "TERMINATED_WITH_ERRORS": f"has terminated with errors at {{}} with a reason of {reason.get('Code', '')}.",
    }[state].format(_minute())
    events.publish(
        "aws.emr",
        "EMR Cluster State Change",
        {
            "severity": "CRITICAL" if state == "TERMINATED_WITH_ERRORS" else "INFO",
            "stateChangeReason": json.dumps(
                {"code": reason.get("Code", ""), **({"message": reason["Message"]} if "Message" in reason else {})},
                separators=(",", ":"),
            ),
            "name": cluster["Name"],
            "clusterId": cluster["Id"],
            "state": state,
            "message": f"Amazon EMR cluster {cluster['Id']} ({cluster['Name']}) {what}",
        },
    )


def _step_event(record: Data, step: Data, verb: str, rest: str) -> None:
    """EMR Step Status Change, as EMR's documentation shows it."""
    cluster, state = record["Cluster"], step["Status"]["State"]
    where = f"Step {step['Id']} ({step['Name']}) in Amazon EMR cluster {cluster['Id']} ({cluster['Name']})"
    events.publish(
        "aws.emr",
        "EMR Step Status Change",
        {
            "severity": {"FAILED": "ERROR", "CANCELLED": "WARN"}.get(state, "INFO"),
            "actionOnFailure": step["ActionOnFailure"],
            "stepId": step["Id"],
            "name": step["Name"],
            "clusterId": cluster["Id"],
            "state": state,
            "message": f"{where} {verb} at {_minute()} {rest}".rstrip() + ".",
        },
    )


def _minute() -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def _now() -> float:
    return round(time.time(), 3)


def _id(prefix: str) -> str:
    alphabet = string.ascii_uppercase + string.digits
    return f"{prefix}-" + "".join(secrets.choice(alphabet) for _ in range(13))
