"""Measures what the AWS side of the local cloud takes of memory and disk: python bench/local_cloud.py, in the checkout.

It puts a file of 50 MB into a bucket with versions ten times, and reads 100 KB of a table a thousand times, as functions do every minute.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))

from local.cloud.tests.conftest import Account, Launched


def main() -> None:
    """Measures a cloud of its own."""
    with tempfile.TemporaryDirectory() as home:
        cloud = Launched(Path(home))
        try:
            measure(cloud)
        finally:
            cloud.stop()


def measure(cloud: Launched) -> None:
    """Prints a table of what a cloud takes after each kind of load."""
    account = Account(cloud.endpoint)
    s3, tables = account.client("s3"), account.client("dynamodb")
    print("| after | memory of the AWS side | data on disk |\n|---|---|---|")

    def line(after: str) -> None:
        status = Path(f"/proc/{cloud.state['pids']['aws']}/status").read_text()
        memory = int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) >> 10
        disk = sum(path.stat().st_size for path in (cloud.home / "cloud").rglob("*") if path.is_file()) >> 20
        print(f"| {after} | {memory} MB | {disk} MB |", flush=True)

    line("start")
    s3.create_bucket(Bucket="bench")
    s3.put_bucket_versioning(Bucket="bench", VersioningConfiguration={"Status": "Enabled"})
    body = bytes(50 << 20)
    for count in range(1, 11):
        s3.put_object(Bucket="bench", Key="file.csv", Body=body)
        if count in (1, 10):
            line(f"{count} × 50 MB put to one key")
    tables.create_table(
        TableName="bench",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    tables.put_item(TableName="bench", Item={"id": {"S": "a"}, "text": {"S": "x" * 100_000}})
    for _ in range(1000):
        tables.get_item(TableName="bench", Key={"id": {"S": "a"}})
    line("1000 readings of 100 KB from a table")


main()
