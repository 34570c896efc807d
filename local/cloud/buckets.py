"""S3 where MiniStack takes more than AWS does, or than this machine has.

Reports of who reads a bucket go only where S3 may write them, and what objects hold is on disk, not in memory.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from ministack.services import s3

from local.cloud import access

_SERVICE = "logging.s3.amazonaws.com"


def install() -> None:
    """Puts the corrections in place."""
    stock = s3._put_bucket_logging

    def put_bucket_logging(name: str, body: bytes) -> Any:
        if name not in s3._buckets:
            return stock(name, body)
        target, prefix = _destination(body)
        if target is None:
            return stock(name, body)
        if target not in s3._buckets:
            return _refused(name, "The target bucket for logging does not exist")
        place = f"arn:aws:s3:::{target}/{prefix}day"
        if not access.permits(s3._bucket_policies.get(target), "s3:PutObject", place, _SERVICE, f"arn:aws:s3:::{name}"):
            # Lists of who may do what, the other way to let it, are off on new buckets.
            message = "You must either provide the necessary permissions to the logging service using a bucket policy"
            return _refused(name, f"{message} or give the log-delivery group WRITE and READ_ACP permissions")
        return stock(name, body)

    stock_persist = s3._persist_object

    def persist_object(bucket: str, key: str, record: Any) -> None:
        stock_persist(bucket, key, record)
        _forget_bodies(bucket, key)

    s3._put_bucket_logging = put_bucket_logging
    s3._persist_object = persist_object


def _forget_bodies(bucket: str, key: str) -> None:
    """Drops from memory what versions of a key hold, once it can be read from disk: MiniStack would keep every version's bytes."""
    current = s3._buckets[bucket]["objects"].get(key) or {"body": b""}
    for version in s3._object_versions.get((bucket, key)) or ():
        newest = current["body"] is None and (current.get("version_id") or "null") == version["version_id"]
        if version.get("data") is not None and (newest or s3._version_file_exists(bucket, key, version["version_id"])):
            version["data"] = None


def _destination(body: bytes) -> tuple[str | None, str]:
    """The bucket that reports go to and how their keys begin; no bucket where reporting is switched off."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return None, ""
    enabled = root.find("{*}LoggingEnabled")
    if enabled is None:
        return None, ""
    return enabled.findtext("{*}TargetBucket", ""), enabled.findtext("{*}TargetPrefix", "")


def _refused(name: str, message: str) -> Any:
    return s3._error("InvalidTargetBucketForLogging", message, 400, f"/{name}")
