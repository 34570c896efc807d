"""BigQuery for the local cloud: bqemulator, with load jobs and errors as BigQuery documents them.

Stock bqemulator ignores partition decorators (`table$20130101`), runs a job id a second time, empties a table before it
knows that the load works, matches Parquet columns by position, answers 200 to a query that failed, and forgets new
columns of a patched table. This module replaces those parts and starts the emulator:

    python -m local.cloud.google.bigquery --persistent --data-dir DIR --rest-port PORT

What it cannot do as BigQuery does, it refuses with 501 instead of doing it differently.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet
from bqemulator import server
from bqemulator.api.app import create_app as stock_create_app
from bqemulator.api.routes import jobs, upload
from bqemulator.catalog.etag import generate_etag
from bqemulator.catalog.models import JobMeta, TableMeta
from bqemulator.cli import main
from bqemulator.domain.errors import (
    AlreadyExistsError,
    DomainError,
    NotFoundError,
    ResourceInUseError,
    UnsupportedFeatureError,
    ValidationError,
)
from bqemulator.domain.events import TableDataChanged
from bqemulator.jobs import executor
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.storage.type_map import bq_schema_to_duckdb_columns, duckdb_type_to_bq_field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

# The format of a partition id for each granularity, in strftime and as a pattern.
PARTITION_IDS = {
    "HOUR": ("%Y%m%d%H", r"\d{10}"),
    "DAY": ("%Y%m%d", r"\d{8}"),
    "MONTH": ("%Y%m", r"\d{6}"),
    "YEAR": ("%Y", r"\d{4}"),
}

# The HTTP status of a job's error reason, for queries that BigQuery refuses outright.
STATUS = {"notFound": 404, "accessDenied": 403, "duplicate": 409, "internalError": 500, "notImplemented": 501}

# BigQuery's two spellings of a type are one type.
LEGACY_TYPES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


class LoadError(Exception):
    """A load job that ran and failed: `reason` and text of its errorResult."""

    def __init__(self, message: str, reason: str = "invalid") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Partition:
    """The rows of one partition of a table, as a decorator names them."""

    id: str
    column: str
    format: str

    @property
    def predicate(self) -> str:
        """SQL that holds for the rows of the partition."""
        return f"strftime({quoted(self.column)}, '{self.format}') = '{self.id}'"


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def partition_of(table: TableMeta, partition_id: str) -> Partition:
    """What the decorator `$partition_id` means for a table."""
    where = f"{table.dataset_id}.{table.table_id}${partition_id}"
    if table.time_partitioning is None:
        raise LoadError(f"Cannot use a partition decorator on a table that is not partitioned: {where}")
    if table.time_partitioning.field is None:
        raise UnsupportedFeatureError(f"Partition decorators of ingestion-time tables are not emulated: {where}")
    fmt, pattern = PARTITION_IDS[table.time_partitioning.type]
    if not re.fullmatch(pattern, partition_id):
        raise LoadError(f"Invalid partition id for a table partitioned by {table.time_partitioning.type}: {where}")
    return Partition(partition_id, table.time_partitioning.field, fmt)


def source_files(uris: list[str], ctx: Any) -> list[str]:
    """The local files of gs:// URIs, with BigQuery's wildcard, which also matches slashes."""
    files: list[str] = []
    for uri in uris:
        path = executor._resolve_uri(uri, ctx)
        executor._validate_local_path(path)
        prefix, star, suffix = path.partition("*")
        if star:
            below = Path(prefix.rpartition("/")[0]).rglob("*")
            names = sorted(str(f) for f in below if f.is_file() and f.suffix != ".metadata")
            found = [name for name in names if name.startswith(prefix) and name.endswith(suffix)]
        else:
            found = [path] if Path(path).is_file() else []
        if not found:
            raise LoadError(f"Not found: URI {uri}", "notFound")
        files += found
    return files


def same_type(have: str, want: str) -> bool:
    """Whether a column of a Parquet file can go into a field of a table without a change of type."""
    have, want = LEGACY_TYPES.get(have, have), LEGACY_TYPES.get(want, want)
    return have == want or (have, want) == ("NUMERIC", "BIGNUMERIC")


def check_schema(cursor: Any, file: str, table: TableMeta, declared: dict[str, Any]) -> list[str]:
    """The columns of a Parquet file that go into the table; an error where BigQuery would not take the file."""
    name = f"{table.project_id}:{table.dataset_id}.{table.table_id}"
    arrow = pyarrow.parquet.read_schema(file)
    fields = {f.name.lower(): f for f in table.schema_.fields}
    columns = []
    for column, duck_type, *_ in cursor.execute("DESCRIBE SELECT * FROM read_parquet(?)", [file]).fetchall():
        field = fields.pop(column.lower(), None)
        if field is None:
            raise LoadError(f"Provided Schema does not match Table {name}. Cannot add fields (field: {column})")
        have = duckdb_type_to_bq_field(column, duck_type)
        if not same_type(have["type"], field.type) or (have["mode"] == "REPEATED") != (field.mode == "REPEATED"):
            raise LoadError(
                f"Provided Schema does not match Table {name}. "
                f"Field {column} has changed type from {field.type} to {have['type']}"
            )
        mode = declared.get(column.lower(), "NULLABLE" if arrow.field(column).nullable else "REQUIRED")
        if field.mode == "REQUIRED" and mode == "NULLABLE":
            raise LoadError(
                f"Provided Schema does not match Table {name}. "
                f"Field {column} has changed mode from REQUIRED to NULLABLE"
            )
        columns.append(field.name)
    missing = [f.name for f in fields.values() if f.mode == "REQUIRED"]
    if missing:
        raise LoadError(f"Provided Schema does not match Table {name}. Field {missing[0]} is missing in new schema")
    return columns


def load_parquet(load: dict[str, Any], table: TableMeta, partition: Partition | None, ctx: Any) -> int:
    """Put Parquet files into a table or one of its partitions, all or nothing, and return how many rows came in."""
    target = quoted_table_ref(table.project_id, table.dataset_id, table.table_id)
    disposition = load.get("writeDisposition", "WRITE_APPEND")
    declared = {f["name"].lower(): f.get("mode", "NULLABLE") for f in (load.get("schema") or {}).get("fields", [])}
    where = f" WHERE {partition.predicate}" if partition else ""
    # A cursor is a connection of its own: nobody else sees the transaction before it commits.
    cursor = ctx.engine.connection.cursor()
    try:
        cursor.execute("SET TimeZone = 'UTC'")
        cursor.execute("BEGIN")
        if disposition == "WRITE_TRUNCATE":
            cursor.execute(f"DELETE FROM {target}{where}")
        elif disposition == "WRITE_EMPTY" and cursor.execute(f"SELECT count(*) FROM {target}{where}").fetchone()[0]:
            raise LoadError(f"Already Exists: Table {table.dataset_id}.{table.table_id}", "duplicate")
        rows = 0
        for file in source_files(load.get("sourceUris", []), ctx):
            columns = ", ".join(quoted(c) for c in check_schema(cursor, file, table, declared))
            if partition:
                strays = cursor.execute(
                    f"SELECT count(*) FROM read_parquet(?) WHERE ({partition.predicate}) IS NOT TRUE", [file]
                ).fetchone()[0]
                if strays:
                    raise LoadError(
                        f"Some rows belong to different partitions rather than destination partition "
                        f"{table.project_id}:{table.dataset_id}.{table.table_id}${partition.id}"
                    )
            for field in table.schema_.fields:
                if (
                    field.mode == "REQUIRED"
                    and cursor.execute(
                        f"SELECT count(*) FROM read_parquet(?) WHERE {quoted(field.name)} IS NULL", [file]
                    ).fetchone()[0]
                ):
                    raise LoadError(f"Required field {field.name} cannot be null")
            rows += cursor.execute(
                f"INSERT INTO {target} ({columns}) SELECT {columns} FROM read_parquet(?)", [file]
            ).fetchone()[0]
        total = cursor.execute(f"SELECT count(*) FROM {target}").fetchone()[0]
        cursor.execute("COMMIT")
    finally:
        cursor.close()  # rolls back what did not commit
    ctx.catalog.update_table(
        table.model_copy(
            update={
                "num_rows": total,
                "last_modified_time": ctx.clock.now(),
                "etag": generate_etag(target, str(ctx.clock.now())),
            }
        )
    )
    return rows


async def execute_load_job(project_id: str, job_id: str, config: dict[str, Any], ctx: Any) -> JobMeta:
    """Run a load job; a failure is in the job's status, as with BigQuery."""
    started = ctx.clock.now()
    load = config.get("load", {})
    destination = load.get("destinationTable", {})
    table_id, decorator, partition_id = destination.get("tableId", "").partition("$")
    project = destination.get("projectId", project_id)
    table = ctx.catalog.get_table(project, destination.get("datasetId", ""), table_id)
    if load.get("sourceFormat", "CSV") != "PARQUET" or table is None:
        if decorator and table is not None:
            raise UnsupportedFeatureError("Partition decorators are emulated for Parquet loads only.")
        if not decorator and (table is not None or load.get("createDisposition") != "CREATE_NEVER"):
            return await stock_execute_load_job(project_id, job_id, config, ctx)
    error, rows = None, 0
    try:
        if load.get("schemaUpdateOptions"):
            raise UnsupportedFeatureError(
                "schemaUpdateOptions are not emulated; change the table's schema before the load."
            )
        if table is None:
            raise LoadError(f"Not found: Table {project}:{destination.get('datasetId')}.{table_id}", "notFound")
        partition = partition_of(table, partition_id) if decorator else None
        async with ctx.engine.write_lock():
            rows = await asyncio.to_thread(load_parquet, load, table, partition, ctx)
            ctx.events.publish(TableDataChanged(table.project_id, table.dataset_id, table.table_id))
    except LoadError as failure:
        error = {"reason": failure.reason, "message": str(failure)}
    except DomainError:
        raise
    except Exception as failure:  # what DuckDB says of a file that it cannot read
        error = {"reason": "invalid", "message": f"Error while reading data, error message: {failure}"}
    return JobMeta(
        project_id=project_id,
        job_id=job_id,
        job_type="LOAD",
        state="DONE",
        configuration=config,
        statistics={"load": {"outputRows": str(rows)}},
        error_result=error,
        creation_time=started,
        start_time=started,
        end_time=ctx.clock.now(),
        etag=generate_etag(project_id, job_id, str(started)),
    )


def check_new_schema(table: TableMeta, fields: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The columns that a new schema adds to a table; an error for any change that BigQuery refuses."""
    name = f"{table.project_id}:{table.dataset_id}.{table.table_id}"
    new = {f["name"].lower(): f for f in fields}
    for field in table.schema_.fields:
        want = new.pop(field.name.lower(), None)
        if want is None:
            raise ValidationError(
                f"Provided Schema does not match Table {name}. Field {field.name} is missing in new schema"
            )
        if LEGACY_TYPES.get(want["type"], want["type"]) != LEGACY_TYPES.get(field.type, field.type):
            raise ValidationError(
                f"Provided Schema does not match Table {name}. "
                f"Field {field.name} has changed type from {field.type} to {want['type']}"
            )
        if want.get("mode", "NULLABLE") not in (field.mode, "NULLABLE" if field.mode == "REQUIRED" else field.mode):
            raise ValidationError(
                f"Provided Schema does not match Table {name}. "
                f"Field {field.name} has changed mode from {field.mode} to {want.get('mode', 'NULLABLE')}"
            )
        if want["type"] in ("RECORD", "STRUCT") and len(want.get("fields", [])) != len(field.fields):
            raise UnsupportedFeatureError(f"Changes inside the record {field.name} are not emulated.")
    added = []
    for extra in new.values():
        if extra.get("mode", "NULLABLE") == "REQUIRED":
            raise ValidationError(
                f"Provided Schema does not match Table {name}. "
                f"Cannot add required fields to an existing schema. (field: {extra['name']})"
            )
        added += bq_schema_to_duckdb_columns([extra])
    return added


JOBS = re.compile(r"^/bigquery/v2/projects/([^/]+)/jobs/?$")
JOB = re.compile(r"^/bigquery/v2/projects/([^/]+)/jobs/([^/]+)$")
QUERIES = re.compile(r"^/bigquery/v2/projects/([^/]+)/queries/?$")
DATASETS = re.compile(r"^/bigquery/v2/projects/([^/]+)/datasets/?$")
DATASET = re.compile(r"^/bigquery/v2/projects/([^/]+)/datasets/([^/]+)$")
TABLE = re.compile(r"^/bigquery/v2/projects/([^/]+)/datasets/([^/]+)/tables/([^/]+)$")


class Corrections:
    """ASGI middleware that answers as BigQuery where the emulator would answer otherwise."""

    def __init__(self, app: ASGIApp, context: Any) -> None:
        self.app = app
        self.context = context
        self.running: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route the few requests that need it through a correction."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        method, path = scope["method"], scope["path"]
        try:
            if method == "POST" and (match := JOBS.match(path)):
                return await self.insert_job(match[1], scope, receive, send)
            if method == "GET" and (match := JOB.match(path)):
                return await self.get_job(match[1], match[2], scope, receive, send)
            if method == "POST" and QUERIES.match(path):
                return await self.query(scope, receive, send)
            if method == "POST" and DATASETS.match(path):
                return await self.insert_dataset(scope, receive, send)
            if method == "DELETE" and (match := DATASET.match(path)):
                self.check_empty(match[1], match[2], Request(scope).query_params.get("deleteContents") == "true")
            if method in ("PATCH", "PUT") and (match := TABLE.match(path)):
                await self.change_schema(match.groups(), request := await replayable(scope, receive))
                return await self.app(scope, request.receive, send)
            return await self.app(scope, receive, send)
        except DomainError as error:
            await JSONResponse(error.to_bigquery_error(), status_code=error.http_status)(scope, receive, send)

    async def insert_job(self, project: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A job id is used once: the second insert is a 409, after the first has run."""
        request = await replayable(scope, receive)
        body = request.json()
        job = body.get("jobReference", {}).get("jobId")
        for kind in ("query", "copy"):
            target = body.get("configuration", {}).get(kind, {}).get("destinationTable", {}).get("tableId", "")
            if "$" in target:
                raise UnsupportedFeatureError(f"Partition decorators are not emulated for {kind} jobs.")
        configuration = body.get("configuration", {})
        location = self.location(project, configuration)
        asked = body.get("jobReference", {}).get("location")
        if location and asked and asked.upper() != location.upper():
            target = configuration["load"]["destinationTable"]["datasetId"]
            raise NotFoundError(f"Not found: Dataset {project}:{target} was not found in location {asked}")
        async with self.running[project, job]:
            if job and self.context.catalog.get_job(project, job) is not None:
                raise AlreadyExistsError(f"Already Exists: Job {project}:{job}")
            response = await captured(self.app, scope, request.receive)
        self.running.pop((project, job), None)
        await located(response, location)(scope, receive, send)

    async def get_job(self, project: str, job: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A job outside the multi-regions US and EU is found only by who names its location."""
        known = self.context.catalog.get_job(project, job)
        location = self.location(project, known.configuration) if known else None
        asked = Request(scope).query_params.get("location")
        if location and (asked or location.upper() not in ("US", "EU")) and (asked or "").upper() != location.upper():
            raise NotFoundError(f"Not found: Job {project}:{job}")
        response = await captured(self.app, scope, receive)
        await located(response, location)(scope, receive, send)

    def location(self, project: str, configuration: dict[str, Any]) -> str | None:
        """Where a load job runs: where its dataset is. The emulator runs all else in US."""
        table = configuration.get("load", {}).get("destinationTable", {})
        dataset = self.context.catalog.get_dataset(table.get("projectId", project), table.get("datasetId", ""))
        return str(dataset.location) if dataset else None

    async def query(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A query that fails is an HTTP error, not an empty result."""
        response = await captured(self.app, scope, receive)
        if response.status_code == 200:
            errors = json.loads(bytes(response.body)).get("errors")
            if errors:
                code = STATUS.get(errors[0]["reason"], 400)
                error = {"code": code, "message": errors[0]["message"], "errors": errors}
                response = JSONResponse({"error": error}, status_code=code)
        await response(scope, receive, send)

    async def insert_dataset(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A dataset made without an access list gets the project's owners, writers and readers."""
        request = await replayable(scope, receive)
        body = request.json()
        if not body.get("access"):
            body["access"] = [
                {"role": role, "specialGroup": group}
                for role, group in (
                    ("WRITER", "projectWriters"),
                    ("OWNER", "projectOwners"),
                    ("READER", "projectReaders"),
                )
            ]
            request.body = json.dumps(body).encode()
        await self.app(scope, request.receive, send)

    def check_empty(self, project: str, dataset: str, contents: bool) -> None:
        """A full dataset is in use, where the emulator says that it was not found."""
        if not contents and self.context.catalog.list_tables(project, dataset):
            raise ResourceInUseError(f"Dataset {project}:{dataset} is still in use")

    async def change_schema(self, table: tuple[str, ...], request: Replay) -> None:
        """Add the columns that a table's new schema brings, and refuse what cannot be changed."""
        existing = self.context.catalog.get_table(*table)
        fields = (request.json().get("schema") or {}).get("fields")
        if existing is None or not fields:
            return
        target = quoted_table_ref(*table)
        added = check_new_schema(existing, fields)
        async with self.context.engine.write_lock():
            for name, duck_type in added:
                self.context.engine.execute(f"ALTER TABLE {target} ADD COLUMN {quoted(name)} {duck_type}")


class Replay:
    """A request's body, read once and given again to the application."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        try:
            return dict(json.loads(self.body or b"{}"))
        except ValueError as error:
            raise ValidationError(f"Request body is not valid JSON: {error}") from None

    async def receive(self) -> dict[str, Any]:
        """The ASGI message with the whole body."""
        return {"type": "http.request", "body": self.body, "more_body": False}


async def replayable(scope: Scope, receive: Receive) -> Replay:
    """Read a request; its length and encoding headers no longer bind, because corrections may rewrite the body."""
    request = Request(scope, receive)
    body = await request.body()
    if request.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    scope["headers"] = [h for h in scope["headers"] if h[0] not in (b"content-length", b"content-encoding")]
    return Replay(body)


async def captured(app: ASGIApp, scope: Scope, receive: Receive) -> Response:
    """The whole answer of an application."""
    messages: list[Any] = []

    async def keep(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    response = Response(b"".join(m.get("body", b"") for m in messages[1:]), messages[0]["status"])
    response.raw_headers = messages[0]["headers"]
    return response


def located(response: Response, location: str | None) -> Response:
    """An answer with a job, with the location it ran in."""
    if response.status_code != 200 or not location:
        return response
    job = json.loads(bytes(response.body))
    job["jobReference"]["location"] = location
    return JSONResponse(job)


stock_execute_load_job = executor.execute_load_job


def create_app(context: Any) -> Any:
    """The emulator's application behind the corrections."""
    app = stock_create_app(context)
    app.add_middleware(Corrections, context=context)
    return app


def install() -> None:
    """Put the corrections into bqemulator."""
    vars(server).update(create_app=create_app)
    for module in (jobs, upload):
        vars(module).update(execute_load_job=execute_load_job)


if __name__ == "__main__":
    install()
    main()
