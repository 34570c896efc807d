"""Breaks one control at a time, in a copy, and says which judge noticed. Exit code 1 when a broken control passes the scan.

What is deployed is broken in its plan, and code in a folder of its own: nothing of the checkout is changed. "Noticed" means by a
finding that the waivers do not cover, of the judge and check that the table of controls in docs/security.md names.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import judges
import scan
from judges import Finding

HERE = Path(__file__).parent
Plan = dict[str, Any]


class NothingToBreakError(Exception):
    """The plan has no such control: the mutant is out of date."""


def resources(plan: Plan, kind: str, name: str = ".*") -> list[dict[str, Any]]:
    """The planned resources of a type whose name matches."""
    found = [
        r
        for r in plan["planned_values"]["root_module"]["resources"]
        if r["type"] == kind and re.fullmatch(name, r["name"])
    ]
    if not found:
        raise NothingToBreakError(f"no {kind} named {name}")
    return found


def expressions(plan: Plan, resource: dict[str, Any]) -> dict[str, Any]:
    """Where a resource's values come from."""
    return next(
        c["expressions"]
        for c in plan["configuration"]["root_module"]["resources"]
        if c["address"] == resource["address"]
    )


def drop(kind: str, name: str = ".*") -> Callable[[Plan], None]:
    """Leaves the first such resource out."""

    def mutate(plan: Plan) -> None:
        plan["planned_values"]["root_module"]["resources"].remove(resources(plan, kind, name)[0])

    return mutate


def put(kind: str, attribute: str, value: Any, name: str = ".*") -> Callable[[Plan], None]:
    """Sets an attribute of the first such resource, by its path."""

    def mutate(plan: Plan) -> None:
        resource = resources(plan, kind, name)[0]
        values, references = resource["values"], expressions(plan, resource)
        *way, last = attribute.split(".")
        for step in way:
            values = values[step][0]
            inner = references.get(step)
            references = inner[0] if isinstance(inner, list) else {}
        if last not in values and last not in references:
            raise NothingToBreakError(f"{resource['address']} has no {attribute}")
        values[last] = value
        if value is None:
            del values[last]
        references.pop(last, None)

    return mutate


def edit(
    kind: str, attribute: str, change: Callable[[dict[str, Any]], None], name: str = ".*"
) -> Callable[[Plan], None]:
    """Changes the JSON document that an attribute of the first such resource holds."""

    def mutate(plan: Plan) -> None:
        values = resources(plan, kind, name)[0]["values"]
        document = json.loads(values[attribute])
        before = copy.deepcopy(document)
        change(document)
        if document == before:
            raise NothingToBreakError(f"{kind}.{attribute} is as before")
        values[attribute] = json.dumps(document)

    return mutate


def without(sid: str) -> Callable[[dict[str, Any]], None]:
    """Makes statements of a policy be about one stranger only: as good as not there, and still a policy with statements."""

    def change(document: dict[str, Any]) -> None:
        for statement in document["Statement"]:
            if re.fullmatch(sid, statement["Sid"]):
                statement["Condition"] = {"StringEquals": {"aws:PrincipalAccount": "999999999999"}}

    return change


def allowing(**first: Any) -> Callable[[dict[str, Any]], None]:
    """Changes the first statement of a policy that allows something."""

    def change(document: dict[str, Any]) -> None:
        next(s for s in document["Statement"] if s["Effect"] == "Allow").update(first)

    return change


def setting(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Changes what stands at the end of a path in a document."""

    def change(document: dict[str, Any]) -> None:
        *way, last = path.split(".")
        for step in way:
            document = document[step]
        document[last] = value

    return change


def open_to_the_world(plan: Plan) -> None:
    """Lets everybody in where only a group of ours was let in."""
    resource = resources(plan, "aws_vpc_security_group_ingress_rule")[0]
    resource["values"]["cidr_ipv4"] = "0.0.0.0/0"
    resource["values"].pop("referenced_security_group_id", None)
    expressions(plan, resource).pop("referenced_security_group_id", None)


def any_source(plan: Plan) -> None:
    """Lets a service call a function on behalf of anybody's source."""
    resource = resources(plan, "aws_lambda_permission")[0]
    for attribute in ("source_arn", "source_account"):
        resource["values"].pop(attribute, None)
        expressions(plan, resource).pop(attribute, None)


# What is broken, how, and the judge and check that must notice.
PLANS: list[tuple[str, Callable[[Plan], None], str, str]] = [
    (
        "bucket without encryption",
        drop("aws_s3_bucket_server_side_encryption_configuration", ".*-landing"),
        "checkov",
        "CKV_AWS_145",
    ),
    ("bucket without public access block", drop("aws_s3_bucket_public_access_block"), "checkov", "CKV2_AWS_6"),
    (
        "public access block that blocks no policies",
        put("aws_s3_bucket_public_access_block", "block_public_policy", False),
        "checkov",
        "CKV_AWS_54",
    ),
    ("bucket without versions", drop("aws_s3_bucket_versioning"), "checkov", "CKV_AWS_21"),
    ("bucket without access log", drop("aws_s3_bucket_logging"), "checkov", "CKV_AWS_18"),
    ("bucket without lifecycle", drop("aws_s3_bucket_lifecycle_configuration"), "checkov", "CKV2_AWS_61"),
    (
        "bucket that takes access lists",
        put("aws_s3_bucket_ownership_controls", "rule.object_ownership", "ObjectWriter"),
        "checkov",
        "CKV2_AWS_65",
    ),
    ("bucket without policy", drop("aws_s3_bucket_policy"), "checkov", "CKV2_SLUICE_1"),
    (
        "plain text allowed on a bucket",
        edit("aws_s3_bucket_policy", "policy", without("DenyPlainText")),
        "checkov",
        "CKV_SLUICE_1",
    ),
    (
        "plain text allowed on a queue",
        edit("aws_sqs_queue_policy", "policy", without("DenyPlainText")),
        "checkov",
        "CKV_SLUICE_1",
    ),
    (
        "plain text allowed on a topic",
        edit("aws_sns_topic_policy", "policy", without("DenyPlainText")),
        "checkov",
        "CKV_SLUICE_1",
    ),
    (
        "other keys allowed on a bucket",
        edit("aws_s3_bucket_policy", "policy", without("DenyOther.*"), ".*-landing"),
        "checkov",
        "CKV_SLUICE_2",
    ),
    (
        "AWS-managed key allowed on a bucket",
        edit("aws_s3_bucket_policy", "policy", without("DenyAWSManagedKey"), ".*-landing"),
        "checkov",
        "CKV_SLUICE_10",
    ),
    (
        "AWS-managed key allowed on the trail's bucket",
        edit("aws_s3_bucket_policy", "policy", without("DenyAWSManagedKey"), "shared-.*"),
        "checkov",
        "CKV_SLUICE_10",
    ),
    (
        "keys brought along allowed on a bucket",
        edit("aws_s3_bucket_policy", "policy", without("DenyKeysBroughtAlong"), ".*-landing"),
        "checkov",
        "CKV_SLUICE_6",
    ),
    (
        "bucket open to everybody",
        edit(
            "aws_s3_bucket_policy",
            "policy",
            lambda d: d["Statement"].append(
                {"Sid": "Open", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}
            ),
        ),
        "checkov",
        "CKV_AWS_70",
    ),
    (
        "star for resource in a role's policy",
        edit("aws_iam_role_policy", "policy", allowing(Action="s3:GetObject", Resource="*"), "us-receive-file"),
        "parliament",
        "RESOURCE_STAR",
    ),
    (
        "star for resource in a person's policy",
        edit("aws_iam_policy", "policy", allowing(Action="s3:GetObject", Resource="*"), "permissions-.*-analysts-.*"),
        "parliament",
        "RESOURCE_STAR",
    ),
    (
        "every action in a role's policy",
        edit("aws_iam_role_policy", "policy", allowing(Action="*", Resource="*"), "us-receive-file"),
        "checkov",
        "CKV_AWS_63",
    ),
    (
        "action that does not exist",
        edit("aws_iam_role_policy", "policy", allowing(Action="s3:GetObjects"), "us-receive-file"),
        "parliament",
        "UNKNOWN_ACTION",
    ),
    (
        "action on a resource that it cannot have",
        edit(
            "aws_iam_role_policy",
            "policy",
            allowing(Action="sqs:SendMessage", Resource="arn:aws:s3:::b"),
            "us-receive-file",
        ),
        "parliament",
        "RESOURCE_MISMATCH",
    ),
    (
        "role that anybody may take",
        edit("aws_iam_role", "assume_role_policy", allowing(Principal={"AWS": "*"}), "us-receive-file"),
        "checkov",
        "CKV_AWS_60",
    ),
    ("security group open to the world", open_to_the_world, "checkov", "CKV_SLUICE_5"),
    ("default security group that lets in", drop("aws_default_security_group"), "checkov", "CKV2_AWS_12"),
    (
        "endpoint to what any account owns",
        edit("aws_vpc_endpoint", "policy", allowing(Condition={})),
        "checkov",
        "CKV_SLUICE_7",
    ),
    ("network without flow log", drop("aws_flow_log"), "checkov", "CKV2_AWS_11"),
    (
        "subnet that gives public addresses",
        put("aws_subnet", "map_public_ip_on_launch", True),
        "checkov",
        "CKV_AWS_130",
    ),
    ("key without rotation", put("aws_kms_key", "enable_key_rotation", False), "checkov", "CKV_AWS_7"),
    ("key for everybody", edit("aws_kms_key", "policy", allowing(Principal={"AWS": "*"})), "checkov", "CKV_AWS_33"),
    ("log group without key", put("aws_cloudwatch_log_group", "kms_key_id", None), "checkov", "CKV_AWS_158"),
    ("queue unencrypted", put("aws_sqs_queue", "kms_master_key_id", None), "checkov", "CKV_AWS_27"),
    ("topic unencrypted", put("aws_sns_topic", "kms_master_key_id", None), "checkov", "CKV_AWS_26"),
    ("table under Amazon's key", put("aws_dynamodb_table", "server_side_encryption", []), "checkov", "CKV_AWS_119"),
    (
        "table without recovery",
        put("aws_dynamodb_table", "point_in_time_recovery.enabled", False),
        "checkov",
        "CKV_AWS_28",
    ),
    ("function settings unencrypted", put("aws_lambda_function", "kms_key_arn", None), "checkov", "CKV_AWS_173"),
    ("function without dead letters", put("aws_lambda_function", "dead_letter_config", []), "checkov", "CKV_AWS_116"),
    ("function that anybody may call", put("aws_lambda_permission", "principal", "*"), "checkov", "CKV_AWS_301"),
    ("call from any account's source", any_source, "checkov", "CKV_AWS_364"),
    (
        "query results unencrypted",
        put("aws_athena_workgroup", "configuration.result_configuration", []),
        "checkov",
        "CKV_AWS_159",
    ),
    (
        "queries that choose their own settings",
        put("aws_athena_workgroup", "configuration.enforce_workgroup_configuration", False),
        "checkov",
        "CKV_AWS_82",
    ),
    (
        "queries without a limit",
        put("aws_athena_workgroup", "configuration.bytes_scanned_cutoff_per_query", None),
        "checkov",
        "CKV_SLUICE_8",
    ),
    (
        "cluster without at-rest encryption of S3",
        edit(
            "aws_emr_security_configuration",
            "configuration",
            setting(
                "EncryptionConfiguration.AtRestEncryptionConfiguration.S3EncryptionConfiguration.EncryptionMode",
                "SSE-S3",
            ),
        ),
        "checkov",
        "CKV_AWS_171",
    ),
    (
        "cluster disks unencrypted",
        edit(
            "aws_emr_security_configuration",
            "configuration",
            setting(
                "EncryptionConfiguration.AtRestEncryptionConfiguration.LocalDiskEncryptionConfiguration.EnableEbsEncryption",
                False,
            ),
        ),
        "checkov",
        "CKV_AWS_350",
    ),
    (
        "cluster traffic in plain text",
        edit(
            "aws_emr_security_configuration",
            "configuration",
            setting("EncryptionConfiguration.EnableInTransitEncryption", False),
        ),
        "checkov",
        "CKV_AWS_351",
    ),
    (
        "cluster with IMDSv1",
        edit(
            "aws_emr_security_configuration",
            "configuration",
            setting("InstanceMetadataServiceConfiguration.MinimumInstanceMetadataServiceVersion", 1),
        ),
        "checkov",
        "CKV_SLUICE_3",
    ),
    (
        "state machine under Amazon's key",
        put("aws_sfn_state_machine", "encryption_configuration", []),
        "checkov",
        "CKV_SLUICE_9",
    ),
    (
        "state machine whose failures leave no trace",
        put("aws_sfn_state_machine", "logging_configuration.include_execution_data", False),
        "checkov",
        "CKV_AWS_285",
    ),
    ("trail under Amazon's key", put("aws_cloudtrail", "kms_key_id", None), "checkov", "CKV_AWS_35"),
    (
        "trail whose files can be changed",
        put("aws_cloudtrail", "enable_log_file_validation", False),
        "checkov",
        "CKV_AWS_36",
    ),
    ("trail of one region", put("aws_cloudtrail", "is_multi_region_trail", False), "checkov", "CKV_AWS_67"),
    (
        "Glue that writes in the open",
        put("aws_glue_security_configuration", "encryption_configuration.s3_encryption.s3_encryption_mode", "DISABLED"),
        "checkov",
        "CKV_AWS_99",
    ),
    (
        "Glue job without its security configuration",
        put("aws_glue_job", "security_configuration", None),
        "checkov",
        "CKV_AWS_195",
    ),
    (
        "resource without mandatory tags",
        put("aws_s3_bucket", "tags_all", {"Product": "sluice"}),
        "checkov",
        "CKV_SLUICE_4",
    ),
    (
        "Google bucket open to the public",
        put("google_storage_bucket", "public_access_prevention", "inherited"),
        "checkov",
        "CKV_GCP_114",
    ),
    (
        "Google bucket with access lists",
        put("google_storage_bucket", "uniform_bucket_level_access", False),
        "checkov",
        "CKV_GCP_29",
    ),
    ("Google role for everything", put("google_project_iam_member", "role", "roles/editor"), "checkov", "CKV_GCP_117"),
    (
        "identity pool for any AWS caller",
        put("google_iam_workload_identity_pool_provider", "attribute_condition", None),
        "checkov",
        "CKV_GCP_118",
    ),
]

# Files that must be noticed. The secret is put together here, so that this file has none.
FILES: list[tuple[str, str, str, str, str]] = [
    (
        "command made of input",
        "main.go",
        'package main\n\nimport (\n\t"os"\n\t"os/exec"\n)\n\nfunc main() { _ = exec.Command("sh", "-c", os.Args[1]).Run() }\n',
        "gosec",
        "G204",
    ),
    (
        "certificate not checked",
        "main.go",
        'package main\n\nimport "crypto/tls"\n\nfunc main() { _ = tls.Config{InsecureSkipVerify: true} }\n',
        "gosec",
        "G402",
    ),
    (
        "key in a file",
        "settings.yaml",
        "aws_access_key_id: AKIA" + "Z7QW5XKPLMN3RTV2\n",
        "gitleaks",
        "aws-access-token",
    ),
    (
        "workflow that runs a title",
        ".github/workflows/w.yml",
        "on: pull_request\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n"
        "      - run: echo ${{ github.event.pull_request.title }}\n",
        "actionlint",
        "expression",
    ),
    (
        "workflow with a step that does not exist",
        ".github/workflows/w.yml",
        "on: push\njobs:\n  a:\n    needs: b\n    runs-on: ubuntu-24.04\n    steps:\n      - run: make\n",
        "actionlint",
        "job-needs",
    ),
]


def break_plans(plan: Path, waivers: list[scan.Waiver]) -> list[tuple[str, str, str, list[Finding]]]:
    """What is found anew in the plan with each control broken."""
    intact = json.loads(plan.read_text())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / plan.name

        def found(mutated: Plan) -> set[Finding]:
            path.write_text(json.dumps(mutated))
            plans = {plan.stem: path}
            verdicts = [judges.checkov(plans), judges.judge_policies(judges.policies_of(Path(folder), plans))]
            return set(scan.sift((f for v in verdicts for f in v.findings), waivers)[0])

        before = found(intact)
        seen = []
        for what, mutate, judge, check in PLANS:
            mutated = copy.deepcopy(intact)
            try:
                mutate(mutated)
            except NothingToBreakError as gone:
                seen.append((f"{what}: {gone}", judge, check, []))
                continue
            seen.append((what, judge, check, sorted(found(mutated) - before, key=lambda f: (f.judge, f.check))))
    return seen


def break_files(programs: Path, waivers: list[scan.Waiver]) -> list[tuple[str, str, str, list[Finding]]]:
    """What is found in each bad file."""
    seen = []
    for what, name, content, judge, check in FILES:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
            (root / "go.mod").write_text("module broken\n\ngo 1.25.0\n")
            found = [
                f
                for run in (judges.gosec, judges.gitleaks, judges.actionlint)
                if run.__name__ == judge
                for f in run(root, programs).findings
            ]
            seen.append((what, judge, check, scan.sift(found, waivers)[0]))
    return seen


def main() -> int:
    """Prints each broken control with who noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=HERE.parent.parent)
    parser.add_argument("plan", type=Path)
    args = parser.parse_args()
    waivers = scan.read_waivers(HERE / "waivers.yaml")
    seen = break_plans(args.plan, waivers) + break_files(args.root.resolve() / "bin/scan", waivers)
    missed = 0
    print(f"{'broken':<44}{'must notice':<28}noticed")
    for what, judge, check, findings in seen:
        by = sorted({f"{f.judge} {f.check}" for f in findings})
        noticed = f"{judge} {check}" in by
        missed += not noticed
        print(f"{what:<44}{judge + ' ' + check:<28}{', '.join(by) if noticed else 'NOT NOTICED ' + ', '.join(by)}")
    print(f"{len(seen)} controls broken, {len(seen) - missed} noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
