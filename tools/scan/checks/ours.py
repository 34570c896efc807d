"""Checks of ours in checkov's form, for controls that no judge knows. Only rules that hold everywhere stand here."""

import json
from typing import Any

from checkov.common.models.enums import CheckCategories, CheckResult
from checkov.terraform.checks.resource.base_resource_check import BaseResourceCheck

# What a request that writes an object says of its encryption.
METHOD_NAMED = "s3:x-amz-server-side-encryption"
KEY_NAMED = f"{METHOD_NAMED}-aws-kms-key-id"

MANDATORY_TAGS = {"Product", "Stack", "Country", "Owner"}


class PolicyDeniesPlainText(BaseResourceCheck):
    """Whoever comes without TLS is refused, whatever else lets them in."""

    def __init__(self) -> None:
        kinds = ["aws_s3_bucket_policy", "aws_sns_topic_policy", "aws_sqs_queue_policy"]
        super().__init__("Policy denies requests without TLS", "CKV_SLUICE_1", [CheckCategories.NETWORKING], kinds)

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        """Passes with a statement that denies everything without TLS to everybody."""
        return result(
            any(s.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}} and wide(s) for s in denials(conf))
        )


class BucketDeniesOtherKeys(BaseResourceCheck):
    """What is written under another key could be read by others, or by nobody."""

    def __init__(self) -> None:
        super().__init__(
            "Bucket policy denies writes under another key",
            "CKV_SLUICE_2",
            [CheckCategories.ENCRYPTION],
            ["aws_s3_bucket_policy"],
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        """Passes with a denial that compares the key that the writer names."""
        return result(any(KEY_NAMED in s.get("Condition", {}).get("StringNotEquals", {}) for s in denials(conf)))


class BucketDeniesAWSManagedKey(BaseResourceCheck):
    """KMS without the name of a key means the AWS-managed key, whatever the bucket's default is."""

    def __init__(self) -> None:
        super().__init__(
            "Bucket policy denies writes under the AWS-managed key",
            "CKV_SLUICE_10",
            [CheckCategories.ENCRYPTION],
            ["aws_s3_bucket_policy"],
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        """Passes with a denial to everybody of every write that asks for KMS and names no key."""
        keyless = {"StringLike": {METHOD_NAMED: "aws:kms*"}, "Null": {KEY_NAMED: "true"}}
        return result(any(s.get("Condition") == keyless and s.get("Principal") == "*" for s in denials(conf)))


class BucketDeniesBroughtKeys(BaseResourceCheck):
    """What is written under a key that the sender brings along (SSE-C) nobody else can ever read."""

    def __init__(self) -> None:
        super().__init__(
            "Bucket policy denies writes under keys brought along",
            "CKV_SLUICE_6",
            [CheckCategories.ENCRYPTION],
            ["aws_s3_bucket_policy"],
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        """Passes with a denial of every write that names an algorithm for such a key."""
        named = {"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "false"}}
        return result(any(s.get("Condition") == named and s.get("Principal") == "*" for s in denials(conf)))


class EndpointKeepsToItsAccount(BaseResourceCheck):
    """An endpoint without a policy is a way out to everybody's accounts."""

    def __init__(self) -> None:
        super().__init__(
            "Endpoint reaches what its account owns, or what is named",
            "CKV_SLUICE_7",
            [CheckCategories.NETWORKING],
            ["aws_vpc_endpoint"],
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        """Passes when no statement allows something on everything, whoever owns it."""
        statements = opened(conf.get("policy")).get("Statement", [])
        wide = [s for s in statements if s["Effect"] == "Allow" and s.get("Resource") in ("*", ["*"])]
        return result(
            bool(statements) and all("aws:ResourceAccount" in json.dumps(s.get("Condition", {})) for s in wide)
        )


class WorkgroupEndsLargeQueries(BaseResourceCheck):
    """What a query reads is paid."""

    def __init__(self) -> None:
        super().__init__(
            "Athena ends queries that read more than a limit",
            "CKV_SLUICE_8",
            [CheckCategories.GENERAL_SECURITY],
            ["aws_athena_workgroup"],
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        """Passes with a limit."""
        return result(bool(first(opened(conf.get("configuration")).get("bytes_scanned_cutoff_per_query"))))


class ClusterNodesHideMetadata(BaseResourceCheck):
    """A program on a node that is tricked into a request must not hand out the node's credentials."""

    def __init__(self) -> None:
        super().__init__(
            "EMR nodes answer metadata by IMDSv2 only",
            "CKV_SLUICE_3",
            [CheckCategories.NETWORKING],
            ["aws_emr_security_configuration"],
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        """Passes when version 2 is the least."""
        document = opened(conf.get("configuration"))
        return result(
            document.get("InstanceMetadataServiceConfiguration", {}).get("MinimumInstanceMetadataServiceVersion") == 2
        )


class MandatoryTags(BaseResourceCheck):
    """Costs and duties are found by tags."""

    def __init__(self) -> None:
        super().__init__(
            "Everything that takes tags has the mandatory ones",
            "CKV_SLUICE_4",
            [CheckCategories.GENERAL_SECURITY],
            ["aws_*"],
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        """Passes with all tags, and for what takes none."""
        if "tags_all" not in conf:
            return CheckResult.UNKNOWN
        tags = conf["tags_all"][0] if isinstance(conf["tags_all"], list) else conf["tags_all"]
        return result(isinstance(tags, dict) and set(tags) >= MANDATORY_TAGS)


class NobodyFromAnywhere(BaseResourceCheck):
    """checkov asks for some ports only; nothing of ours serves the world on any."""

    def __init__(self) -> None:
        kinds = [
            "aws_vpc_security_group_ingress_rule",
            "aws_security_group",
            "aws_security_group_rule",
            "aws_default_security_group",
        ]
        super().__init__("No security group lets the world in", "CKV_SLUICE_5", [CheckCategories.NETWORKING], kinds)

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        """Passes without a rule for incoming traffic from everywhere."""
        if conf.get("type") == ["egress"]:
            return CheckResult.PASSED
        incoming = conf.get("ingress", []) if "ingress" in conf else [{k: v for k, v in conf.items() if "cidr" in k}]
        return result("0.0.0.0/0" not in json.dumps(incoming) and '"::/0"' not in json.dumps(incoming))


class StateMachineUnderOwnKey(BaseResourceCheck):
    """The history of executions is for whom the account's own policies let have the key."""

    def __init__(self) -> None:
        super().__init__(
            "State machine encrypts its history under a key of the account",
            "CKV_SLUICE_9",
            [CheckCategories.ENCRYPTION],
            ["aws_sfn_state_machine"],
        )

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        """Passes with an encryption configuration of that type."""
        encryption = first(conf.get("encryption_configuration")) or {}
        return result(first(encryption.get("type")) == "CUSTOMER_MANAGED_KMS_KEY")


def denials(conf: dict[str, Any]) -> list[dict[str, Any]]:
    """The statements of a policy that deny."""
    statements = opened(conf.get("policy")).get("Statement", [])
    return [s for s in (statements if isinstance(statements, list) else [statements]) if s.get("Effect") == "Deny"]


def wide(statement: dict[str, Any]) -> bool:
    """Whether a statement is about everybody and every action; topics have no star for theirs, what matters there is to publish."""
    everybody = statement.get("Principal") in ("*", {"AWS": "*"})
    actions = statement.get("Action", [])
    return everybody and all(
        a.endswith(":*") or a == "sns:Publish" for a in ([actions] if isinstance(actions, str) else actions)
    )


def first(value: Any) -> Any:
    """A value that checkov has put into a list, or has not."""
    return value[0] if isinstance(value, list) and value else value


def opened(value: Any) -> dict[str, Any]:
    """A document that checkov has opened, or has not."""
    value = first(value)
    value = json.loads(value) if isinstance(value, str) and value.startswith("{") else value
    return value if isinstance(value, dict) else {}


def result(passed: bool) -> CheckResult:
    """A check's result."""
    return CheckResult.PASSED if passed else CheckResult.FAILED


checks = [
    PolicyDeniesPlainText(),
    BucketDeniesOtherKeys(),
    BucketDeniesAWSManagedKey(),
    BucketDeniesBroughtKeys(),
    EndpointKeepsToItsAccount(),
    WorkgroupEndsLargeQueries(),
    ClusterNodesHideMetadata(),
    MandatoryTags(),
    NobodyFromAnywhere(),
    StateMachineUnderOwnKey(),
]
