"""Athena: SELECT over the Iceberg tables of the Glue catalog, and over CSV as a crawler describes it, answered by DuckDB.

MiniStack keeps workgroups, executions and results; this module takes its place where a query runs. The tables are read
with the caller's own credentials, so the caller needs the rights that Athena would need. What may have another meaning
in DuckDB than in Athena is an error that says so: no answer is better than a wrong one.
"""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import decimal
import io
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions
import duckdb
import pyarrow
import sqlglot
from ministack.core import iam_evaluator
from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.core.router import extract_access_key_id
from ministack.services import athena
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.exceptions import NoSuchIcebergTableError, NoSuchPropertyException, NoSuchTableError
from pyiceberg.table import Table
from sqlglot import exp
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify

from local.cloud import athena_files

_log = logging.getLogger(__name__)
_caller: contextvars.ContextVar[str] = contextvars.ContextVar("athena_caller", default="")

Data = dict[str, Any]

# What means the same in both engines, or is made to mean the same by `_translate`. All else is refused.
_KNOWN = frozenset(
    """
    Abs Add Alias And AnyValue Between Boolean Case Cast Ceil Coalesce Column Concat Count CountIf CTE CurrentDate
    DataType DataTypeParam Date DateAdd DateDiff DateStrToDate DateSub DateTrunc Day DayOfWeekIso DayOfYear Distinct Div
    DPipe EQ Except Exists Extract Filter Floor From GT GTE Greatest Group Grouping Having Identifier If In Intersect
    Interval Is IsNan Join Lag Lead Least Length Like Limit Literal LT LTE Lower Max Min Mod Month Mul Neg NEQ Not Null
    Nullif Offset Or Order Ordered Paren Parameter Quarter Rank DenseRank Replace Round RowNumber Select Star Sub
    StrPosition Subquery Substring Sum Avg Table TableAlias TimestampTrunc Trim TryCast Tuple Union Upper Values Var Week Where
    Window WindowSpec With Year FirstValue LastValue Ntile ArrayAgg Fetch BitwiseAndAgg Stddev StddevSamp Variance
    """.split()  # noqa: SIM905
)
_TEXT, _WHOLE, _FLOAT = exp.DataType.TEXT_TYPES, exp.DataType.INTEGER_TYPES, exp.DataType.FLOAT_TYPES
_TYPES = {
    "BOOLEAN": "boolean",
    "TINYINT": "tinyint",
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "HUGEINT": "bigint",
    "FLOAT": "float",
    "DOUBLE": "double",
    "DECIMAL": "decimal",
    "VARCHAR": "varchar",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
    "BLOB": "varbinary",
    "NULL": "varchar",
    '"NULL"': "varchar",
}
_ICEBERG_TO_SQL = {"long": "bigint", "string": "varchar", "binary": "varbinary"}


class OverLimit(Exception):
    """A query that would read more than its workgroup lets it."""


class Failed(Exception):
    """Why a query gets no answer."""


@dataclass
class Answer:
    """A query's result, as text in Athena's spelling."""

    columns: list[str]
    types: list[str]
    rows: list[list[str | None]]
    scanned: int


def install(endpoint: str) -> None:
    """Puts this engine in the place of MiniStack's."""
    stock_request, stock_start = athena.handle_request, athena._start_query_execution

    async def handle_request(method: str, path: str, headers: Data, body: bytes, query_params: Data) -> Any:
        _caller.set(extract_access_key_id(headers, query_params) or "")
        return await stock_request(method, path, headers, body, query_params)

    def start_query_execution(data: Data) -> Any:
        athena._ensure_default_workgroup()
        name = data.setdefault("WorkGroup", "primary")
        group = athena._workgroups.get(name)
        if group is None:
            return error_response_json("InvalidRequestException", f"WorkGroup {name} is not found.", 400)
        if group.get("State") == "DISABLED":
            return error_response_json("InvalidRequestException", f"WorkGroup {name} is disabled.", 400)
        configuration = group.get("Configuration", {})
        if configuration.get("EnforceWorkGroupConfiguration", True) and "ResultConfiguration" in configuration:
            data["ResultConfiguration"] = dict(configuration["ResultConfiguration"])
        location = data.get("ResultConfiguration", {}).get("OutputLocation", "")
        if location:
            data["ResultConfiguration"]["OutputLocation"] = location.rstrip("/") + "/"
        try:
            _parse(data.get("QueryString", ""))
        except Failed as error:
            extra = {"AthenaErrorCode": "MALFORMED_QUERY"}
            return error_response_json("InvalidRequestException", str(error), 400, extra=extra)
        return stock_start(data)

    async def execute_query(query_id: str, query: str, database: str, _ddl: Any, catalog: str | None = None) -> None:
        execution = athena._executions[query_id]
        execution["Status"]["State"] = "RUNNING"
        started = time.monotonic()
        try:
            answer = await asyncio.to_thread(_answer, query, database, catalog, endpoint, execution)
        except OverLimit as error:
            execution["Status"].update(State="CANCELLED", StateChangeReason=str(error))
        except Exception as error:
            _log.warning("query %s: %s", query_id, error)
            if execution["Status"]["State"] != "CANCELLED":
                execution["Status"].update(State="FAILED", StateChangeReason=str(error)[:2000])
        else:
            if execution["Status"]["State"] != "CANCELLED":
                execution["_results"] = {"columns": answer.columns, "rows": answer.rows}
                execution["_column_types"] = answer.types
                execution["Statistics"]["DataScannedInBytes"] = answer.scanned
                execution["Status"].update(State="SUCCEEDED")
        elapsed = int((time.monotonic() - started) * 1000)
        execution["Statistics"].update(EngineExecutionTimeInMillis=elapsed, TotalExecutionTimeInMillis=elapsed)
        execution["Status"]["CompletionDateTime"] = int(time.time())

    athena.handle_request = handle_request
    athena._start_query_execution = start_query_execution
    athena._execute_query = execute_query


def _parse(query: str) -> exp.Query:
    """The statement, which must be one SELECT."""
    try:
        statements = [statement for statement in sqlglot.parse(query, read="athena") if statement is not None]
    except sqlglot.errors.SqlglotError as error:
        raise Failed(f"Queries of this type are not supported, or the SQL is malformed: {error}") from error
    if len(statements) != 1:
        raise Failed(f"Only one sql statement is allowed. Got: {query}")
    if not isinstance(statements[0], exp.Query):
        kind = type(statements[0]).__name__.upper()
        raise Failed(f"{kind}: the local Athena answers SELECT only")
    return statements[0]


def _answer(query: str, database: str, catalog: str | None, endpoint: str, execution: Data) -> Answer:
    """Runs the query with the caller's rights and puts the result where the workgroup wants it."""
    credential = iam_evaluator.resolve_credential(_caller.get(), get_account_id())
    if isinstance(credential, iam_evaluator.CredentialResolutionError):
        raise Failed(credential.message)
    session = boto3.Session(
        credential.access_key_id, credential.secret_access_key, credential.session_token, region_name=get_region()
    )
    if catalog and catalog.lower() != "awsdatacatalog":
        raise Failed(f"CATALOG_NOT_FOUND: the local Athena knows AwsDataCatalog, not {catalog}")
    tree = _parse(query)
    _check_databases({"default", database or "default"}, session, endpoint)
    connection = duckdb.connect(":memory:", config={"python_enable_replacements": "false"})
    try:
        connection.execute("SET TimeZone = 'UTC'")
        tables = _load_tables(tree, database, session, endpoint, connection)
        limit = athena._workgroups[execution["WorkGroup"]].get("Configuration", {}).get("BytesScannedCutoffPerQuery")
        if limit and sum(table.scanned for table in tables) > limit:
            raise OverLimit("Bytes scanned limit was exceeded")
        sql = _translate(tree, tables)
        connection.execute("SET enable_external_access = false")
        answer = _read(connection.execute(sql), tables)
    except duckdb.Error as error:
        raise Failed(str(error)) from error
    finally:
        connection.close()
    _save(answer, session.client("s3", endpoint_url=endpoint), execution)
    return answer


def _catalog(session: boto3.Session, endpoint: str) -> GlueCatalog:
    keys = session.get_credentials()
    assert keys is not None, "the session was made with keys"
    properties = {"client.region": session.region_name, "glue.endpoint": endpoint, "s3.endpoint": endpoint}
    for prefix in ("glue", "s3"):
        properties |= {f"{prefix}.access-key-id": keys.access_key, f"{prefix}.secret-access-key": keys.secret_key}
        properties |= {f"{prefix}.session-token": keys.token} if keys.token else {}
    return GlueCatalog("glue", **properties)


@dataclass
class _Loaded:
    """A table as DuckDB knows it."""

    name: str
    columns: dict[str, str]
    scanned: int


def _check_databases(names: Iterable[str], session: boto3.Session, endpoint: str) -> None:
    """Refuses a caller who may not look for the query's database, and for `default`, which Athena wants whatever is read.

    https://docs.aws.amazon.com/athena/latest/ug/fine-grained-access-to-glue-resources.html
    """
    glue = session.client("glue", endpoint_url=endpoint)
    for name in sorted(names):
        try:
            glue.get_database(Name=name)
        except glue.exceptions.EntityNotFoundException:
            continue  # what it lacks is an error only for a table that is looked for there
        except botocore.exceptions.ClientError as error:
            raise Failed(f"Insufficient permissions to execute the query. {error}") from error


def _load_tables(
    tree: exp.Query, database: str, session: boto3.Session, endpoint: str, connection: duckdb.DuckDBPyConnection
) -> list[_Loaded]:
    """Reads every table that the query names, and makes the query name what was read."""
    common = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    wanted = {identifier.name.lower() for identifier in tree.find_all(exp.Identifier)}
    star = any(not isinstance(node.parent, exp.Count) for node in tree.find_all(exp.Star))
    loaded: dict[str, _Loaded] = {}
    catalog = _catalog(session, endpoint)
    for reference in list(tree.find_all(exp.Table)):
        if not reference.db and reference.name.lower() in common:
            continue
        if reference.args.get("version") or "$" in reference.name:
            raise Failed("the local Athena reads a table's current rows only: no versions, no metadata tables")
        if not isinstance(reference.this, exp.Identifier) or reference.catalog.lower() not in ("", "awsdatacatalog"):
            raise Failed(f"the local Athena cannot read {reference.sql('athena')}")
        source = f"{reference.db or database}.{reference.name}".lower()
        if source not in loaded:
            loaded[source] = _load(
                catalog, session, endpoint, source, f"t{len(loaded)}", None if star else wanted, connection
            )
        if not reference.alias:
            reference.set("alias", exp.TableAlias(this=exp.to_identifier(reference.name.lower(), quoted=True)))
        reference.set("this", exp.to_identifier(loaded[source].name))
        reference.set("db", None)
        reference.set("catalog", None)
    return list(loaded.values())


def _load(
    catalog: GlueCatalog,
    session: boto3.Session,
    endpoint: str,
    source: str,
    name: str,
    wanted: set[str] | None,
    connection: duckdb.DuckDBPyConnection,
) -> _Loaded:
    try:
        table: Table = catalog.load_table(source)
    except NoSuchTableError as error:
        raise Failed(f"TABLE_NOT_FOUND: line 1:1: Table 'awsdatacatalog.{source}' does not exist") from error
    except (NoSuchIcebergTableError, NoSuchPropertyException):
        return _load_files(session, endpoint, source, name, connection)
    fields = [field for field in table.schema().fields if wanted is None or field.name.lower() in wanted]
    fields = fields or [next(field for field in table.schema().fields if field.field_type.is_primitive)]
    scan = table.scan(selected_fields=tuple(field.name for field in fields))
    rows: pyarrow.Table = scan.to_arrow()
    connection.register(name, rows.rename_columns([column.lower() for column in rows.column_names]))
    types = {field.name.lower(): str(field.field_type) for field in fields}
    columns = {column: _ICEBERG_TO_SQL.get(kind, kind) for column, kind in types.items()}
    scanned = sum(task.file.file_size_in_bytes for task in scan.plan_files())
    return _Loaded(name, columns, scanned)


def _load_files(
    session: boto3.Session, endpoint: str, source: str, name: str, connection: duckdb.DuckDBPyConnection
) -> _Loaded:
    try:
        files, scanned = athena_files.read(session, endpoint, *source.split(".", 1))
    except athena_files.Unreadable as error:
        raise Failed(f"{source}: the local Athena does not read this table: {error}") from error
    connection.register(name, files)
    return _Loaded(name, dict.fromkeys(files.column_names, "varchar"), scanned)


def _translate(tree: exp.Query, tables: Iterable[_Loaded]) -> str:
    """The query in DuckDB's words, with the same meaning; what cannot be sure to have it is refused."""
    for node in tree.walk():
        if type(node).__name__ not in _KNOWN:
            raise Failed(f"the local Athena does not support {node.sql('athena')!r} ({type(node).__name__})")
    for column in _outputs(tree):
        if not isinstance(column, exp.Alias | exp.Column | exp.Star):
            column.replace(exp.alias_(column.copy(), "?"))
    schema: dict[str, object] = {table.name: table.columns for table in tables}
    try:
        tree = annotate_types(qualify(tree, dialect="athena", schema=schema), schema=schema, dialect="athena")
    except sqlglot.errors.SqlglotError as error:
        raise Failed(f"COLUMN_NOT_FOUND or TYPE_MISMATCH: {error}") from error
    for position, column in enumerate(_outputs(tree)):
        if column.alias == "?":
            column.set("alias", exp.to_identifier(f"_col{position}"))
    return tree.transform(_same_meaning).sql("duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)


def _outputs(tree: exp.Query) -> list[exp.Expression]:
    """The expressions that name the result's columns: those of the first SELECT."""
    while isinstance(tree, exp.SetOperation | exp.Subquery):
        tree = tree.this
    return list(tree.expressions)


def _same_meaning(node: exp.Expression) -> exp.Expression:
    """One node of the query, changed where DuckDB would do another thing with it than Athena."""
    match node:
        case exp.EQ() | exp.NEQ() | exp.GT() | exp.GTE() | exp.LT() | exp.LTE():
            left, right = node.left, node.right
            if _is_typed(left) and _is_typed(right) and _is(left, *_TEXT) != _is(right, *_TEXT):
                raise Failed(f"TYPE_MISMATCH: {node.sql('athena')} compares text with something else; cast one of them")
        case exp.Div() | exp.Mod():
            return _division(node)
        case exp.DateDiff():
            # Athena counts whole units between the two, DuckDB's date_diff the boundaries crossed.
            unit = exp.Literal.string(node.text("unit").lower() or "day")
            return exp.Anonymous(this="date_sub", expressions=[unit, node.expression.copy(), node.this.copy()])
        case exp.Cast() | exp.TryCast() if _is_typed(node.this):
            if node.to.is_type(*_TEXT) and not _is(node.this, *_TEXT, *_WHOLE, "date", "boolean"):
                raise Failed(f"the local Athena does not write this type as text: {node.sql('athena')}")
            if node.to.is_type(*_WHOLE) and not _is(node.this, *_TEXT, *_WHOLE, "boolean"):
                raise Failed(f"the local Athena does not round by a cast: {node.sql('athena')}")
    return node


def _division(node: exp.Div | exp.Mod) -> exp.Expression:
    """Division as Athena does it: whole between whole numbers, and an error by zero."""
    left, right = node.left, node.right
    if not (_is_typed(left) and _is_typed(right)):
        raise Failed(f"the local Athena cannot tell the types in {node.sql('athena')}; cast them")
    if _is(left, *_FLOAT) or _is(right, *_FLOAT):
        return node
    if not (_is(left, *_WHOLE) and _is(right, *_WHOLE)):
        raise Failed(f"the local Athena divides no decimals; cast to double: {node.sql('athena')}")
    error = exp.Anonymous(this="error", expressions=[exp.Literal.string("DIVISION_BY_ZERO: Division by zero")])
    zero = exp.EQ(this=exp.Paren(this=right.copy()), expression=exp.Literal.number(0))
    divisor = exp.Case(ifs=[exp.If(this=zero, true=error)], default=right.copy())
    kind = exp.Mod if isinstance(node, exp.Mod) else exp.IntDiv
    return exp.Paren(this=kind(this=exp.Paren(this=left.copy()), expression=divisor))


def _is_typed(node: exp.Expr) -> bool:
    return node.type is not None and not _is(node, "unknown", "null")


def _is(node: exp.Expr, *types: Any) -> bool:
    return node.type is not None and node.type.is_type(*types)


def _read(cursor: duckdb.DuckDBPyConnection, tables: Iterable[_Loaded]) -> Answer:
    columns, types = [], []
    described: Any = cursor.description
    for name, kind, *_ in described:
        base = str(kind).partition("(")[0]
        if base not in _TYPES:
            raise Failed(f"the local Athena does not return columns of type {kind} ({name})")
        columns.append(name)
        types.append(_TYPES[base])
    fetched: list[Any] = cursor.fetchall()
    rows = [[None if value is None else _text(value) for value in row] for row in fetched]
    return Answer(columns, types, rows, sum(table.scanned for table in tables))


def _text(value: Any) -> str:
    """A value in Athena's spelling."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            if not -(2**63) <= value < 2**63:
                raise Failed(f"NUMERIC_VALUE_OUT_OF_RANGE: bigint overflow: {value}")
            return str(value)
        case float():
            return _double(value)
        case decimal.Decimal():
            return format(value, "f")
        case datetime.datetime():
            text = value.replace(tzinfo=None).isoformat(" ", timespec="microseconds")
            return f"{text} UTC" if value.tzinfo else text
        case bytes():
            return value.hex(" ")
        case _:
            return str(value)


def _double(value: float) -> str:
    """A double as Java, and so Athena, writes it."""
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        text = format(decimal.Decimal(repr(value)), "f")
        return text if "." in text else f"{text}.0"
    sign, digits, exponent = decimal.Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int), "neither infinite nor no number"
    mantissa = "".join(map(str, digits))
    return f"{'-' if sign else ''}{mantissa[0]}.{mantissa[1:] or '0'}E{exponent + len(mantissa) - 1}"


def _save(answer: Answer, s3: Any, execution: Data) -> None:
    """Writes the result as Athena does: every value quoted, NULL as nothing."""
    text = io.StringIO()
    lines: list[Sequence[str | None]] = [answer.columns, *answer.rows]
    for row in lines:
        text.write(",".join("" if value is None else '"' + value.replace('"', '""') + '"' for value in row) + "\n")
    configuration = execution["ResultConfiguration"]
    address = urlsplit(configuration["OutputLocation"])
    encryption = configuration.get("EncryptionConfiguration", {})
    options: dict[str, dict[str, str]] = {
        "SSE_KMS": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": encryption.get("KmsKey", "")},
        "SSE_S3": {"ServerSideEncryption": "AES256"},
    }
    s3.put_object(
        Bucket=address.netloc,
        Key=address.path.lstrip("/"),
        Body=text.getvalue().encode(),
        ContentType="application/octet-stream",
        **options.get(encryption.get("EncryptionOption", ""), {}),
    )
