"""A Spark step writes an Iceberg table under its own role, and Athena's answers about it are right."""

from __future__ import annotations

from typing import Any

import botocore.exceptions
import pytest

from .conftest import Account, assert_fits, run_job_flow, step, wait_for
from .test_emr import finished

LAKE = "spark.sql.catalog.lake"
CONF = {
    "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
    LAKE: "org.apache.iceberg.spark.SparkCatalog",
    f"{LAKE}.catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog",
    f"{LAKE}.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
    f"{LAKE}.warehouse": "s3://lake/",
    "spark.jars": "/usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar",
}
JOB = """
import sys
from names import DATABASE
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
rows = spark.read.csv(sys.argv[2], header=True, schema="day date, carrier string, flight int, delay double, at timestamp")
rows.createOrReplaceTempView("incoming")
table = f"lake.{DATABASE}.flights"
spark.sql(
    f"CREATE TABLE {table} (day date, carrier string, flight int, delay double, at timestamp_ntz, fare decimal(9,2)) "
    "USING iceberg PARTITIONED BY (day) LOCATION 's3://lake/flights' TBLPROPERTIES ('write.delete.mode'='merge-on-read')"
)
spark.sql(f"INSERT INTO {table} SELECT day, carrier, flight, delay, at, flight + 0.5 FROM incoming")
spark.sql(f"INSERT INTO {table} SELECT day, 'gone', flight, delay, at, 1 FROM incoming")
spark.sql(f"DELETE FROM {table} WHERE carrier = 'gone'")
spark.sql(f"ALTER TABLE {table} CREATE BRANCH run_1")
spark.sql(f"INSERT INTO {table}.branch_run_1 SELECT day, 'branch', flight, delay, at, 1 FROM incoming")
print(spark.sparkContext.defaultParallelism, spark.table(table).count())
"""
CSV = """day,carrier,flight,delay,at
2013-01-01,UA,1545,2.0,2013-01-01 05:15:00
2013-01-01,AA,1141,-1.5,2013-01-01 05:40:00
2013-01-02,"B,6",725,,2013-01-02 23:59:59
"""


@pytest.fixture(scope="module")
def flights(root: Account, bucket: str, service_role: str, job_profile: str) -> str:
    """The database of a table of three rows, written by a Spark step."""
    import io
    import zipfile

    s3, emr = root.client("s3"), root.client("emr")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("names.py", "DATABASE = 'validated'\n")
    s3.put_object(Bucket=bucket, Key="code/names.zip", Body=archive.getvalue())
    s3.put_object(Bucket=bucket, Key="code/main.py", Body=JOB.encode())
    s3.put_object(Bucket=bucket, Key="in/flights.csv", Body=CSV.encode())
    root.client("glue").create_database(DatabaseInput={"Name": "validated"})
    args = ["spark-submit", "--deploy-mode", "client", "--executor-memory", "4g"]
    args += [part for name, value in CONF.items() for part in ("--conf", f"{name}={value}")]
    args += ["--py-files", "s3://lake/code/names.zip", "s3://lake/code/main.py", "--input", "s3://lake/in/flights.csv"]
    request = run_job_flow(root, service_role, job_profile, Steps=[step(*args)])
    cluster = emr.run_job_flow(**request)["JobFlowId"]
    step_id = emr.list_steps(ClusterId=cluster)["Steps"][0]["Id"]
    status = finished(emr, cluster, step_id)
    assert status["State"] == "COMPLETED", status
    emr.terminate_job_flows(JobFlowIds=[cluster])
    return "validated"


@pytest.fixture(scope="module")
def workgroup(root: Account, bucket: str) -> str:
    configuration = {"ResultConfiguration": {"OutputLocation": f"s3://{bucket}/athena/"}}
    root.client("athena").create_work_group(Name="analysts", Configuration=configuration)
    return "analysts"


def execute(account: Account, workgroup: str, sql: str) -> dict[str, Any]:
    athena = account.client("athena")
    query = athena.start_query_execution(
        QueryString=sql, WorkGroup=workgroup, QueryExecutionContext={"Database": "validated"}
    )["QueryExecutionId"]

    def ended() -> Any:
        answer = athena.get_query_execution(QueryExecutionId=query)
        assert_fits("athena", "GetQueryExecution", answer)
        over = answer["QueryExecution"]["Status"]["State"] in ("SUCCEEDED", "FAILED", "CANCELLED")
        return answer["QueryExecution"] if over else None

    execution: dict[str, Any] = wait_for(ended)
    return execution


def ask(account: Account, workgroup: str, sql: str) -> tuple[list[str], list[list[str | None]]]:
    """The types and the rows of an answer, its header row left out."""
    execution = execute(account, workgroup, sql)
    assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
    results = account.client("athena").get_query_results(QueryExecutionId=execution["QueryExecutionId"])
    assert_fits("athena", "GetQueryResults", results)
    rows = [[cell.get("VarCharValue") for cell in row["Data"]] for row in results["ResultSet"]["Rows"]]
    columns = results["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
    assert rows[0] == [column["Name"] for column in columns]
    return [column["Type"] for column in columns], rows[1:]


def test_counts_the_main_branch_without_deleted_rows(root: Account, workgroup: str, flights: str) -> None:
    assert ask(root, workgroup, "SELECT count(*) FROM flights") == (["bigint"], [["3"]])


def test_values_have_athenas_types_and_spelling(root: Account, workgroup: str, flights: str) -> None:
    types, rows = ask(root, workgroup, "SELECT * FROM validated.flights ORDER BY flight")
    assert types == ["date", "varchar", "integer", "double", "timestamp", "decimal"]
    assert rows == [
        ["2013-01-02", "B,6", "725", None, "2013-01-02 23:59:59.000000", "725.50"],
        ["2013-01-01", "AA", "1141", "-1.5", "2013-01-01 05:40:00.000000", "1141.50"],
        ["2013-01-01", "UA", "1545", "2.0", "2013-01-01 05:15:00.000000", "1545.50"],
    ]


def test_result_is_kept_as_csv(root: Account, workgroup: str, flights: str) -> None:
    execution = execute(root, workgroup, "SELECT carrier, delay FROM flights WHERE day = DATE '2013-01-02'")
    location = execution["ResultConfiguration"]["OutputLocation"]
    assert location == f"s3://lake/athena/{execution['QueryExecutionId']}.csv"
    body = root.client("s3").get_object(Bucket="lake", Key=location.removeprefix("s3://lake/"))["Body"].read()
    assert body == b'"carrier","delay"\n"B,6",\n'


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT flight / 2, flight % 2 FROM flights WHERE carrier = 'UA'", [["772", "1"]]),
        ("SELECT day, count(*) n FROM flights GROUP BY day HAVING count(*) > 1", [["2013-01-01", "2"]]),
        ("WITH f AS (SELECT * FROM flights) SELECT max(a.flight) FROM f a JOIN f b ON a.day = b.day", [["1545"]]),
        ("SELECT concat(carrier, NULL) FROM flights LIMIT 1", [[None]]),
        ("SELECT date_diff('hour', TIMESTAMP '2013-01-01 05:59:00', TIMESTAMP '2013-01-01 06:01:00')", [["0"]]),
        ("SELECT sum(fare), avg(delay) FROM flights", [["3412.50", "0.25"]]),
        ("SELECT carrier FROM flights ORDER BY delay LIMIT 1", [["AA"]]),
        ("SELECT 1e10, 0.001e0, true", [["1.0E10", "0.001", "true"]]),
    ],
)
def test_means_what_athena_means(
    root: Account, workgroup: str, flights: str, sql: str, rows: list[list[str | None]]
) -> None:
    assert ask(root, workgroup, sql)[1] == rows


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT * FROM nowhere", "TABLE_NOT_FOUND"),
        ("SELECT nothing FROM flights", "COLUMN_NOT_FOUND"),
        ("SELECT flight / 0 FROM flights", "DIVISION_BY_ZERO"),
        ("SELECT * FROM flights WHERE day = '2013-01-01'", "TYPE_MISMATCH"),
        ("SELECT * FROM read_csv('/etc/passwd')", "cannot read"),
        ("SELECT approx_percentile(delay, 0.5) FROM flights", "does not support"),
        ('SELECT * FROM "flights$snapshots"', "current rows only"),
    ],
)
def test_fails_rather_than_guesses(root: Account, workgroup: str, flights: str, sql: str, reason: str) -> None:
    status = execute(root, workgroup, sql)["Status"]
    assert status["State"] == "FAILED"
    assert reason in status["StateChangeReason"]


@pytest.mark.parametrize("sql", ["DROP TABLE flights", "DELETE FROM flights", "SELECT 1; SELECT 2", "SELEKT 1", ""])
def test_answers_one_select_only(root: Account, workgroup: str, sql: str) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match="InvalidRequestException"):
        root.client("athena").start_query_execution(QueryString=sql or " ", WorkGroup=workgroup)


def test_caller_needs_the_rights_that_athena_needs(root: Account, workgroup: str, flights: str) -> None:
    own = "arn:aws:athena:us-east-1:000000000000:workgroup/analysts"
    athena = {"Effect": "Allow", "Action": ["athena:StartQueryExecution", "athena:GetQuery*"], "Resource": own}
    glue = "arn:aws:glue:us-east-1:000000000000:"
    catalog = {
        "Effect": "Allow",
        "Action": ["glue:GetTable", "glue:GetDatabase"],
        "Resource": [f"{glue}catalog", f"{glue}database/validated", f"{glue}table/validated/*"],
    }
    default = {
        "Effect": "Allow",
        "Action": "glue:GetDatabase",
        "Resource": [f"{glue}catalog", f"{glue}database/default"],
    }
    objects = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::lake*"]}
    results = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": ["arn:aws:s3:::lake/athena/*"]}
    grants = {
        "nothing": [],
        "catalog": [default, catalog],
        "reader": [default, catalog, objects],
        "analyst": [default, catalog, objects, results],
        "without-default": [catalog, objects, results],
    }
    states, reasons = {}, {}
    for name, statements in grants.items():
        who = root.as_role(root.role(f"athena-{name}", "lambda.amazonaws.com", athena, *statements))
        status = execute(who, workgroup, "SELECT count(*) FROM flights")["Status"]
        states[name], reasons[name] = status["State"], status.get("StateChangeReason", "")
    outsider = root.as_role(root.role("athena-outsider", "lambda.amazonaws.com", {**athena, "Resource": f"{own}-2"}))
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        execute(outsider, workgroup, "SELECT 1")
    assert states == {name: "SUCCEEDED" if name == "analyst" else "FAILED" for name in grants}
    assert "glue:GetDatabase" in reasons["without-default"]


def test_query_that_reads_too_much_is_ended(root: Account, bucket: str, flights: str) -> None:
    configuration = {"ResultConfiguration": {"OutputLocation": f"s3://{bucket}/athena/"}}
    limited = {**configuration, "BytesScannedCutoffPerQuery": 10_000_000, "EnforceWorkGroupConfiguration": True}
    root.client("athena").create_work_group(Name="limited", Configuration=limited)
    root.client("s3").put_object(Bucket=bucket, Key="big/a.csv", Body=b"n\n" + b"1\n" * 6_000_000)
    describe(root, "big", f"s3://{bucket}/big/", ["n"], [])
    assert execute(root, "limited", "SELECT count(*) FROM flights")["Status"]["State"] == "SUCCEEDED"
    status = execute(root, "limited", "SELECT count(*) FROM big")["Status"]
    assert (status["State"], status["StateChangeReason"]) == ("CANCELLED", "Bytes scanned limit was exceeded")


def test_landed_files_are_text_in_partitions(root: Account, workgroup: str, bucket: str, flights: str) -> None:
    s3 = root.client("s3")
    for key, text in {
        "orders/2024-01-01/a.csv": 'id,note\n1,"a,b"\n',
        "orders/2024-01-02/b.csv": "id,note\n2\n3,c,d\n",
        "orders/2024-01-02/_COMPLETE": "x",
    }.items():
        s3.put_object(Bucket=bucket, Key=f"files/{key}", Body=text.encode())
    describe(root, "orders", f"s3://{bucket}/files/orders/", ["id", "note"], ["2024-01-01", "2024-01-02"])
    types, rows = ask(root, workgroup, "SELECT id, note, partition_0 FROM orders ORDER BY id")
    assert types == ["varchar", "varchar", "varchar"]
    assert rows == [["1", "a,b", "2024-01-01"], ["2", None, "2024-01-02"], ["3", "c", "2024-01-02"]]
    glue = root.client("glue")
    glue.create_table(DatabaseName="validated", TableInput={"Name": "odd", "StorageDescriptor": {"Columns": []}})
    status = execute(root, workgroup, "SELECT * FROM odd")["Status"]
    assert status["State"] == "FAILED"
    assert "neither an Iceberg table nor CSV" in status["StateChangeReason"]


def describe(root: Account, name: str, location: str, columns: list[str], days: list[str]) -> None:
    """A table of the catalog, as a crawler describes files."""
    serde = {"SerializationLibrary": "org.apache.hadoop.hive.serde2.OpenCSVSerde", "Parameters": {"separatorChar": ","}}
    storage = {
        "Columns": [{"Name": column, "Type": "string"} for column in columns],
        "Location": location,
        "SerdeInfo": serde,
    }
    keys = [{"Name": "partition_0", "Type": "string"}] if days else []
    table = {
        "Name": name,
        "StorageDescriptor": storage,
        "PartitionKeys": keys,
        "Parameters": {"skip.header.line.count": "1"},
    }
    glue = root.client("glue")
    glue.create_table(DatabaseName="validated", TableInput=table)
    for day in days:
        partition = {"Values": [day], "StorageDescriptor": {**storage, "Location": f"{location}{day}/"}}
        glue.create_partition(DatabaseName="validated", TableName=name, PartitionInput=partition)
