"""Loads, queries and objects, as a function with a token sees them."""

from __future__ import annotations

import datetime
import decimal
import io
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local.cloud.google.tests.conftest import BUCKET, PROJECT, World

BIGQUERY = f"https://bigquery.googleapis.com/bigquery/v2/projects/{PROJECT}"
STORAGE = "https://storage.googleapis.com"
DAY = datetime.date(2013, 1, 1)
NEXT = datetime.date(2013, 1, 2)
FIELDS = [("_day", "DATE"), ("flight", "INTEGER"), ("carrier", "STRING"), ("miles", "FLOAT"), ("departed", "TIMESTAMP")]
FIELDS += [("ok", "BOOLEAN"), ("price", "NUMERIC"), ("note", "STRING")]


def parquet(day: datetime.date, rows: int, **columns: Any) -> bytes:
    """A file as Spark writes it: other column order than the table's, no `note`."""
    when = datetime.datetime(2013, 1, 1, 12, tzinfo=datetime.UTC)
    table = {
        "price": pa.array([decimal.Decimal("1.25")] * rows, pa.decimal128(10, 2)),
        "ok": pa.array([True] * rows),
        "departed": pa.array([when] * rows, pa.timestamp("us", "UTC")),
        "miles": pa.array([0.5] * rows),
        "carrier": pa.array(["AA"] * rows),
        "flight": pa.array(range(rows), pa.int32()),
        "_day": pa.array([day] * rows),
    }
    out = io.BytesIO()
    pq.write_table(pa.table({**table, **columns}), out)
    return out.getvalue()


@pytest.fixture
def table(world: World, request: pytest.FixtureRequest) -> str:
    """A table of its own for each test, partitioned by `_day`."""
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)
    body = {
        "tableReference": {"tableId": name},
        "timePartitioning": {"type": "DAY", "field": "_day"},
        "schema": {"fields": [{"name": n, "type": t} for n, t in FIELDS]},
    }
    world.call("POST", f"/bigquery.googleapis.com/bigquery/v2/projects/{PROJECT}/datasets/us/tables", json=body)
    return name


def put(client: httpx.Client, name: str, content: bytes) -> httpx.Response:
    """Upload an object."""
    url = f"{STORAGE}/upload/storage/v1/b/{BUCKET}/o"
    return client.post(url, params={"uploadType": "media", "name": name}, content=content)


def load(client: httpx.Client, table: str, job: str, *names: str, **options: Any) -> httpx.Response:
    """Insert a load job that replaces its destination."""
    configuration = {
        "sourceUris": [f"gs://{BUCKET}/{name}" for name in names],
        "sourceFormat": "PARQUET",
        "destinationTable": {"projectId": PROJECT, "datasetId": "us", "tableId": table},
        "writeDisposition": "WRITE_TRUNCATE",
        "createDisposition": "CREATE_NEVER",
        "decimalTargetTypes": ["NUMERIC", "BIGNUMERIC"],
        **options,
    }
    body = {"jobReference": {"projectId": PROJECT, "jobId": job}, "configuration": {"load": configuration}}
    return client.post(f"{BIGQUERY}/jobs", json=body)


def error(answer: httpx.Response) -> str:
    """The text of a job's error."""
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status"].get("errorResult", {}).get("message"))


def rows(client: httpx.Client, sql: str) -> list[list[Any]]:
    """The rows of a query."""
    answer = client.post(f"{BIGQUERY}/queries", json={"query": sql, "useLegacySql": False})
    assert answer.status_code == 200, answer.text
    return [[cell["v"] for cell in row["f"]] for row in answer.json()["rows"]]


def counts(client: httpx.Client, table: str) -> list[list[Any]]:
    """Rows by day."""
    return rows(client, f"SELECT _day, COUNT(*) FROM us.{table} GROUP BY 1 ORDER BY 1")


def test_partition_is_replaced_and_no_other(world: World, table: str) -> None:
    with world.client() as client:
        for name, content in (("a", parquet(DAY, 10)), ("b", parquet(NEXT, 20)), ("c", parquet(DAY, 3))):
            assert put(client, f"{table}/{name}.parquet", content).status_code == 200
        assert error(load(client, f"{table}$20130101", f"{table}-1", f"{table}/a.parquet")) == "None"
        assert error(load(client, f"{table}$20130102", f"{table}-2", f"{table}/b.parquet")) == "None"
        assert counts(client, table) == [["2013-01-01", "10"], ["2013-01-02", "20"]]
        answer = load(client, f"{table}$20130101", f"{table}-3", f"{table}/c.parquet")
        assert answer.json()["statistics"]["load"]["outputRows"] == "3"
        assert counts(client, table) == [["2013-01-01", "3"], ["2013-01-02", "20"]]


def test_columns_are_matched_by_name_and_type(world: World, table: str) -> None:
    with world.client() as client:
        put(client, f"{table}.parquet", parquet(DAY, 1))
        assert error(load(client, f"{table}$20130101", table, f"{table}.parquet")) == "None"
        values = rows(
            client,
            f"SELECT _day, flight, carrier, miles, ok, price = 1.25, note, UNIX_SECONDS(departed) FROM us.{table}",
        )
        assert values == [["2013-01-01", "0", "AA", "0.5", "true", "true", None, "1357041600"]]


def test_repeated_job_id_runs_once(world: World, table: str) -> None:
    with world.client() as client:
        put(client, f"{table}.parquet", parquet(DAY, 4))
        append = {"writeDisposition": "WRITE_APPEND"}
        assert load(client, table, f"{table}-1", f"{table}.parquet", **append).status_code == 200
        again = load(client, table, f"{table}-1", f"{table}.parquet", **append)
        assert (again.status_code, again.json()["error"]["errors"][0]["reason"]) == (409, "duplicate")
        assert counts(client, table) == [["2013-01-01", "4"]]


def test_load_whose_id_a_query_has_does_not_run(world: World, table: str) -> None:
    with world.client() as client:
        put(client, f"{table}.parquet", parquet(DAY, 4))
        query = {"query": "SELECT 1", "useLegacySql": False}
        name = {"projectId": PROJECT, "jobId": f"{table}-1", "location": "europe-west1"}
        body = {"jobReference": name, "configuration": {"query": query}}
        assert client.post(f"{BIGQUERY}/jobs", json=body).status_code == 200
        assert load(client, table, f"{table}-1", f"{table}.parquet").status_code == 409
        job = client.get(f"{BIGQUERY}/jobs/{table}-1?location=europe-west1").json()
        assert job["status"]["state"] == "DONE"
        assert "errorResult" not in job["status"]
        assert "outputRows" not in job.get("statistics", {}).get("load", {})
        assert counts(client, table) == []


def test_job_of_a_regional_dataset_is_found_by_location(world: World, table: str) -> None:
    with world.client() as client:
        put(client, f"{table}.parquet", parquet(DAY, 1))
        made = load(client, table, f"{table}-1", f"{table}.parquet").json()
        assert made["jobReference"]["location"] == "europe-west1"
        assert client.get(f"{BIGQUERY}/jobs/{table}-1").status_code == 404
        assert client.get(f"{BIGQUERY}/jobs/{table}-1?location=US").status_code == 404
        assert client.get(f"{BIGQUERY}/jobs/{table}-1?location=europe-west1").json()["status"] == {"state": "DONE"}


@pytest.mark.parametrize(
    ("partition", "content", "message"),
    [
        ("$20130101", parquet(NEXT, 2), "Some rows belong to different partitions rather than destination partition"),
        ("$201301", parquet(DAY, 2), "Invalid partition id"),
        (
            "$20130101",
            parquet(DAY, 2, departed=pa.array(["x", "y"])),
            "Field departed has changed type from TIMESTAMP to STRING",
        ),
        ("$20130101", parquet(DAY, 2, gate=pa.array(["x", "y"])), "Cannot add fields (field: gate)"),
        ("$20130101", b"not parquet", "Error while reading data"),
    ],
    ids=["stray_rows", "bad_partition", "wrong_type", "unknown_column", "broken_file"],
)
def test_failed_load_changes_nothing(world: World, table: str, partition: str, content: bytes, message: str) -> None:
    with world.client() as client:
        put(client, f"{table}/good.parquet", parquet(DAY, 5))
        put(client, f"{table}/bad.parquet", content)
        load(client, f"{table}$20130101", f"{table}-1", f"{table}/good.parquet")
        answer = load(client, table + partition, f"{table}-2", f"{table}/good.parquet", f"{table}/bad.parquet")
        assert message in error(answer)
        assert counts(client, table) == [["2013-01-01", "5"]]


def test_wildcard_matches_below_folders(world: World, table: str) -> None:
    with world.client() as client:
        for name in ("1/a.parquet", "2/b.parquet", "2/c.txt"):
            put(client, f"{table}/{name}", parquet(DAY, 2))
        assert error(load(client, f"{table}$20130101", f"{table}-1", f"{table}/*.parquet")) == "None"
        assert counts(client, table) == [["2013-01-01", "4"]]
        assert "Not found: URI" in error(load(client, f"{table}$20130101", f"{table}-2", f"{table}/none/*"))


def test_new_column_of_a_table_can_be_loaded(world: World, table: str) -> None:
    url = f"/bigquery.googleapis.com/bigquery/v2/projects/{PROJECT}/datasets/us/tables/{table}"
    fields = world.call("GET", url)["schema"]["fields"]
    world.call("PATCH", url, json={"schema": {"fields": [*fields, {"name": "gate", "type": "STRING"}]}})
    refused = world.operator.patch(url, json={"schema": {"fields": fields[1:]}})
    assert refused.status_code == 400
    with world.client() as client:
        put(client, f"{table}.parquet", parquet(DAY, 1, gate=pa.array(["B4"])))
        assert error(load(client, f"{table}$20130101", f"{table}-1", f"{table}.parquet")) == "None"
        assert rows(client, f"SELECT gate FROM us.{table}") == [["B4"]]


def test_failed_query_is_an_error(world: World) -> None:
    with world.client() as client:
        answer = client.post(f"{BIGQUERY}/queries", json={"query": "SELECT * FROM us.missing", "useLegacySql": False})
        assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (404, "notFound")


def test_what_the_emulator_forgets_is_remembered(world: World, table: str) -> None:
    url = f"/bigquery.googleapis.com/bigquery/v2/projects/{PROJECT}/datasets/us/tables/{table}"
    world.call("PATCH", url, json={"requirePartitionFilter": True, "description": "flights"})
    got = world.call("GET", url)
    assert (got["requirePartitionFilter"], got["description"]) == (True, "flights")


def test_without_token_nothing_is_served(world: World) -> None:
    with world.proxied() as client, world.proxied("ya29.forged") as forger:
        for who in (client, forger):
            assert who.get(f"{BIGQUERY}/datasets/us").status_code == 401
            assert who.get(f"{STORAGE}/storage/v1/b/{BUCKET}/o").status_code == 401


def test_account_without_roles_is_refused(world: World, table: str) -> None:
    with world.client("stranger") as client:
        assert put(client, "x", b"x").status_code == 403
        assert client.get(f"{BIGQUERY}/datasets/us/tables/{table}").status_code == 403
        assert load(client, table, "x", "x").status_code == 403
        answer = client.post(f"{BIGQUERY}/queries", json={"query": f"SELECT * FROM us.{table}"})
        assert answer.status_code == 403


def test_load_reads_only_buckets_its_account_may_read(world: World, table: str) -> None:
    world.call("POST", f"/storage.googleapis.com/storage/v1/b?project={PROJECT}", json={"name": "secret-1"})
    with world.client() as client:
        answer = load(client, table, f"{table}-1", "x", sourceUris=["gs://secret-1/x"])
        assert answer.status_code == 403
        answer = load(client, table, f"{table}-2", "x", sourceUris=["file:///etc/passwd"])
        assert answer.status_code == 403


def test_load_wants_to_see_the_bucket_that_its_files_are_in(world: World, table: str) -> None:
    buckets = "/storage.googleapis.com/storage/v1/b"
    world.call("POST", f"{buckets}?project={PROJECT}", json={"name": "unseen-1", "location": "europe-west1"})
    exporter = "serviceAccount:" + world.account("exporter")
    objects = {"role": "roles/storage.objectAdmin", "members": [exporter]}
    sees = {"role": "roles/storage.legacyBucketReader", "members": [exporter]}
    with world.client() as client:
        for bindings, status in (([objects], 403), ([objects, sees], 200)):
            world.call("PUT", f"{buckets}/unseen-1/iam", json={"bindings": bindings})
            answer = load(client, table, f"{table}-{status}", "x", sourceUris=["gs://unseen-1/x"])
            assert answer.status_code == status, answer.text
            assert ("storage.buckets.get" in answer.text) == (status == 403)


def test_object_round_trip_with_slashes_and_resumable_upload(world: World) -> None:
    name = "flights/2013-01-01/1/a b.parquet"
    content = bytes(range(256)) * 4096
    with world.client() as client:
        started = client.post(
            f"{STORAGE}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable",
            json={"name": name},
            follow_redirects=False,
        )
        assert started.headers["location"].startswith(STORAGE)
        half = len(content) // 2
        first = client.put(
            started.headers["location"], content=content[:half], headers={"content-range": f"bytes 0-{half - 1}/*"}
        )
        assert first.status_code in (200, 308)
        span = f"bytes {half}-{len(content) - 1}/{len(content)}"
        assert client.put(
            started.headers["location"], content=content[half:], headers={"content-range": span}
        ).is_success
        escaped = name.replace("/", "%2F").replace(" ", "%20")
        assert client.get(f"{STORAGE}/storage/v1/b/{BUCKET}/o/{escaped}").json()["size"] == str(len(content))
        assert client.get(f"{STORAGE}/storage/v1/b/{BUCKET}/o/{escaped}?alt=media").content == content
        assert client.get(f"{STORAGE}/{BUCKET}/{name.replace(' ', '%20')}").content == content
        query = {"prefix": "flights/2013-01-01/", "fields": "items(name,size),nextPageToken"}
        listed = client.get(f"{STORAGE}/storage/v1/b/{BUCKET}/o", params=query)
        assert [(o["name"], o["size"]) for o in listed.json()["items"]] == [(name, str(len(content)))]
        assert client.delete(f"{STORAGE}/storage/v1/b/{BUCKET}/o/{escaped}").is_success
        assert client.get(f"{STORAGE}/storage/v1/b/{BUCKET}/o/{escaped}").status_code == 404
    assert not (world.google.cloud / "storage" / BUCKET / name).exists()


def test_upload_needs_an_existing_bucket(world: World) -> None:
    with world.client() as client:
        answer = client.post(f"{STORAGE}/upload/storage/v1/b/nowhere/o?uploadType=media&name=x", content=b"x")
        assert answer.status_code == 404


def test_bucket_keeps_its_settings_and_refuses_what_is_not_emulated(world: World) -> None:
    buckets = "/storage.googleapis.com/storage/v1/b"
    lifecycle = {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 1}}]}
    body = {"name": "settings-1", "location": "eu", "labels": {"country": "us"}, "lifecycle": lifecycle}
    made = world.call("POST", f"{buckets}?project={PROJECT}", json=body)
    assert (made["location"], made["labels"], made["metageneration"]) == ("EU", {"country": "us"}, "1")
    changed = world.call("PATCH", f"{buckets}/settings-1", json={"labels": {"country": None, "feed": "flights"}})
    assert (changed["labels"], changed["lifecycle"], changed["metageneration"]) == ({"feed": "flights"}, lifecycle, "2")
    assert world.operator.patch(f"{buckets}/settings-1", json={"versioning": {"enabled": True}}).status_code == 501
    assert world.operator.patch(f"{buckets}/settings-1", json={"location": "US"}).status_code == 400
    world.call("DELETE", f"{buckets}/settings-1")
    assert world.operator.get(f"{buckets}/settings-1").status_code == 404


def test_full_bucket_is_not_deleted(world: World) -> None:
    with world.client() as client:
        put(client, "keep", b"x")
    assert world.operator.delete(f"/storage.googleapis.com/storage/v1/b/{BUCKET}").status_code == 409


def test_full_dataset_is_not_deleted(world: World, table: str) -> None:
    answer = world.operator.delete(f"/bigquery.googleapis.com/bigquery/v2/projects/{PROJECT}/datasets/us")
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "resourceInUse")
