"""CloudTrail where MiniStack takes more than AWS does, or keeps less.

A trail is refused when it could not deliver: its bucket has to be there and let it write, and its key let it encrypt.
Nothing is recorded here.
"""

from __future__ import annotations

from typing import Any

from ministack.core.responses import get_account_id
from ministack.services import cloudtrail, kms, s3

from local.cloud import access

Data = dict[str, Any]

_SERVICE = "cloudtrail.amazonaws.com"


def install() -> None:
    """Puts the corrections in place."""
    stock_create, stock_update = cloudtrail._create_trail, cloudtrail._update_trail

    def create_trail(body: Data) -> Any:
        refused = _refusal(body, body.get("Name", ""))
        if refused:
            return refused
        answer = stock_create(body)
        if answer[0] == 200:
            tags = {tag["Key"]: tag.get("Value", "") for tag in body.get("TagsList", [])}
            cloudtrail._trail_tags[cloudtrail._trail_arn(body["Name"].strip())] = tags
        return answer

    def update_trail(body: Data) -> Any:
        name, _region, trail, _error = cloudtrail._find_mutable_trail(body.get("Name", "").strip())
        refused = trail and _refusal({**trail, **body}, name)
        return refused or stock_update(body)

    cloudtrail._create_trail = cloudtrail._DISPATCH["CreateTrail"] = create_trail
    cloudtrail._update_trail = cloudtrail._DISPATCH["UpdateTrail"] = update_trail


def _refusal(body: Data, name: str) -> Any:
    """AWS's error for a trail that could not deliver, or nothing."""
    bucket, trail = body.get("S3BucketName", ""), cloudtrail._trail_arn(name)
    if bucket not in s3._buckets:
        return cloudtrail._err("S3BucketDoesNotExistException", f"S3 bucket {bucket} does not exist!", 404)
    policy = s3._bucket_policies.get(bucket)
    arn = f"arn:aws:s3:::{bucket}"
    prefix = f"{body['S3KeyPrefix']}/" if body.get("S3KeyPrefix") else ""
    for action, resource in (
        ("s3:GetBucketAcl", arn),
        ("s3:PutObject", f"{arn}/{prefix}AWSLogs/{get_account_id()}/CloudTrail/day.json.gz"),
    ):
        keys = {"s3:x-amz-acl": "bucket-owner-full-control"}
        if body.get("KmsKeyId"):
            keys["s3:x-amz-server-side-encryption-aws-kms-key-id"] = cloudtrail._normalize_kms_key_id(body["KmsKeyId"])
        if not access.permits(policy, action, resource, _SERVICE, trail, keys):
            message = f"Incorrect S3 bucket policy is detected for bucket: {bucket}"
            return cloudtrail._err("InsufficientS3BucketPolicyException", message)
    if not body.get("KmsKeyId"):
        return None
    key = kms._resolve_key(body["KmsKeyId"])
    if not key:
        return cloudtrail._err("KmsKeyNotFoundException", f"KMS key {body['KmsKeyId']} not found", 404)
    keys = {"kms:EncryptionContext:aws:cloudtrail:arn": trail}
    if not access.permits(key.get("Policy"), "kms:GenerateDataKey", key["Arn"], _SERVICE, trail, keys):
        message = f"Insufficient permissions to access S3 bucket {bucket} or KMS key {body['KmsKeyId']}."
        return cloudtrail._err("InsufficientEncryptionPolicyException", message)
    return None
