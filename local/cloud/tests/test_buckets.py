"""What the local cloud keeps of objects in memory, and that all of it can be read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from local.cloud.launcher import CHECKOUT

from .conftest import Account

WRITER = """
from ministack.services import s3
from local.cloud import buckets

buckets.install()
s3._create_bucket("large", b"", {})
s3._bucket_versioning["large"] = "Enabled"
for n in range(3):
    s3._put_object("large", "file", bytes([n]) * 1_000_000, {})
s3._delete_object("large", "file")
s3._put_object("large", "file", b"last", {})
for version in s3._object_versions["large", "file"]:
    held = version.get("data")
    read = s3._version_body(s3._buckets["large"], "large", "file", version)
    print(held, read and (read[0], len(read)))
"""


def test_versions_are_kept_on_disk_and_not_in_memory(tmp_path: Path) -> None:
    env = {"PYTHONPATH": os.fspath(CHECKOUT), "S3_PERSIST": "1", "S3_DATA_DIR": os.fspath(tmp_path)}
    wrote = subprocess.run([sys.executable, "-c", WRITER], env=env, capture_output=True, text=True, check=True).stdout
    assert wrote.splitlines() == [
        "None (0, 1000000)",
        "None (1, 1000000)",
        "None (2, 1000000)",
        "None None",  # a delete marker
        "None (108, 4)",
    ]


def test_every_version_can_be_read_whatever_came_after_it(root: Account) -> None:
    s3 = root.client("s3")
    s3.create_bucket(Bucket="history")
    s3.put_object(Bucket="history", Key="k", Body=b"before versioning")
    s3.put_bucket_versioning(Bucket="history", VersioningConfiguration={"Status": "Enabled"})
    ids = [s3.put_object(Bucket="history", Key="k", Body=b"version %d" % n)["VersionId"] for n in range(3)]
    want = {"null": b"before versioning"} | {i: b"version %d" % n for n, i in enumerate(ids)}

    def read() -> dict[str, bytes]:
        listed = s3.list_object_versions(Bucket="history").get("Versions", [])
        found = {v["VersionId"]: s3.get_object(Bucket="history", Key="k", VersionId=v["VersionId"]) for v in listed}
        return {i: answer["Body"].read() for i, answer in found.items()}

    assert read() == want
    marker = s3.delete_object(Bucket="history", Key="k")["VersionId"]
    assert read() == want
    s3.delete_object(Bucket="history", Key="k", VersionId=marker)
    assert s3.get_object(Bucket="history", Key="k")["Body"].read() == b"version 2"
    for n in (2, 0):
        s3.delete_object(Bucket="history", Key="k", VersionId=ids[n])
        del want[ids[n]]
        assert read() == want
        assert s3.get_object(Bucket="history", Key="k")["Body"].read() == b"version 1"
    s3.put_bucket_versioning(Bucket="history", VersioningConfiguration={"Status": "Suspended"})
    s3.put_object(Bucket="history", Key="k", Body=b"while suspended")
    assert read() == {"null": b"while suspended", ids[1]: b"version 1"}
    copied = s3.copy_object(
        Bucket="history", Key="c", CopySource={"Bucket": "history", "Key": "k", "VersionId": ids[1]}
    )
    assert copied["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_object(Bucket="history", Key="c")["Body"].read() == b"version 1"
