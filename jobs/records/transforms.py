"""The rules of the record job as functions from frames to frames: no session, no path, no clock.

Columns that begin with an underscore are the job's; contracts cannot name such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from jobs.records import contract as contracts
from jobs.records.contract import Contract

_NUMBER = r"\A[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\z"
_INTEGER = r"\A[+-]?\d+\z"
_MOST_DELIMITERS = 20_000  # Spark's CSV parser dies of a record with more columns


def parse(records: DataFrame, headers: Mapping[tuple[str, ...], Sequence[str]], contract: Contract) -> DataFrame:
    """Splits each record into the contract's columns, as text: null where missing, `_misread` says 'encoding' or 'columns' where that failed."""
    groups = []
    for header, files in headers.items():
        part = records if len(headers) == 1 else records.where(F.col("_source_file").isin(list(files)))
        groups.append(_parse_ordered(part, header, contract))
    return reduce(DataFrame.unionByName, groups)


def _parse_ordered(records: DataFrame, header: Sequence[str], contract: Contract) -> DataFrame:
    data = F.col("_value").cast("binary")
    decoded = F.decode(data, contract.java_encoding)
    intact = F.encode(decoded, contract.java_encoding) == data
    text = F.when(intact, decoded).otherwise(
        F.decode(data, "ISO-8859-1")
    )  # which has a character for each byte: nothing is lost
    schema = ", ".join(f"`{name}` string" for name in header) + ", `_surplus` string"
    options = {
        "sep": contract.delimiter,
        "quote": '"',
        "escape": '"',
        "multiLine": "true",
        "lineSep": "\n",
        "columnNameOfCorruptRecord": "_surplus",
    }
    few = F.length("_raw") - F.length(F.replace("_raw", F.lit(contract.delimiter), F.lit(""))) <= _MOST_DELIMITERS
    lines = records.select("_source_file", "_line", text.alias("_raw"), intact.alias("_intact"))
    fields = lines.select("*", F.when(few, F.from_csv("_raw", schema, options)).alias("_fields"))
    misread = F.when(~F.col("_intact"), "encoding").when(
        F.col("_fields").isNull() | F.col("_fields._surplus").isNotNull(), "columns"
    )
    return fields.select(
        "_source_file",
        "_line",
        "_raw",
        misread.alias("_misread"),
        *[_present(F.col(f"_fields.{name}"), contract).alias(name) for name in contract.names],
    )


def _present(field: Column, contract: Contract) -> Column:
    """A field's text; null where it is empty or the contract's word for missing."""
    return F.when(field.isin(sorted({"", contract.null_value})), None).otherwise(field)


def judge(parsed: DataFrame, contract: Contract, references: Mapping[str, DataFrame]) -> DataFrame:
    """Types every record and finds the first rule that it breaks: `_column` and `_rule`, null where it breaks none.

    Adds `_hash` (of the content) and `_duplicate` (an equal record stands before it). References are frames of the keys valid on the day, by feed.
    """
    typed = parsed.select(
        "_source_file",
        "_line",
        "_raw",
        "_misread",
        *[F.col(c.name).alias(f"_text_{c.name}") for c in contract.columns],
        *[_typed(c, F.col(c.name)).alias(c.name) for c in contract.columns],
    )
    broken: list[Column] = [F.when(F.col("_misread").isNotNull(), _rule(None, F.col("_misread")))]
    for column in contract.columns:
        broken += [F.when(fails, _rule(column.name, F.lit(rule))) for rule, fails in _rules(column)]
    judged = typed.select("_source_file", "_line", "_raw", *contract.names, F.coalesce(*broken).alias("_broken"))
    judged = _refer(judged, contract, references)
    judged = judged.withColumn("_hash", content_hash(contract))
    return _compare(judged, contract).select(
        "_source_file",
        "_line",
        F.when(F.col("_broken").isNotNull(), F.col("_raw")).alias("_raw"),
        *contract.names,
        F.col("_broken.column").alias("_column"),
        F.col("_broken.rule").alias("_rule"),
        "_hash",
        "_duplicate",
    )


def _rule(column: str | None, rule: Column) -> Column:
    return F.struct(F.lit(column).cast("string").alias("column"), rule.alias("rule"))


def _typed(column: contracts.Column, text: Column) -> Column:
    """The value in its type; null where the text does not write one. Spark's own casts are more lenient than contracts are."""
    if column.logical == "integer":
        number = text.cast(column.type)
        # Most are written as Spark writes them, which is found out sooner than by a regular expression.
        return F.when((number.cast("string") == text) | text.rlike(_INTEGER), number)
    if column.type == "double":
        number = text.cast("double")
        return F.when(text.rlike(_NUMBER) & (F.abs(number) != float("inf")), number)
    if column.logical == "number":
        precision, scale = (int(n) for n in column.type[len("decimal(") : -1].split(","))
        whole, point = rf"\d{{1,{max(precision - scale, 1)}}}", rf"(?:\.\d{{1,{scale}}})?" if scale else ""
        return F.when(text.rlike(rf"\A[+-]?{whole}{point}\z"), text.cast(column.type))
    if column.logical == "boolean":
        return F.when(F.lower(text).isin("true", "false"), F.lower(text) == "true")
    if column.logical == "date":
        return F.to_date(text, column.format)
    if column.logical == "timestamp":
        return F.to_timestamp(text, column.format)
    return text


def _rules(column: contracts.Column) -> list[tuple[str, Column]]:
    """The rules of a column in the order in which they are told, each with the condition that breaks it."""
    text, value = F.col(f"_text_{column.name}"), F.col(column.name)
    rules: list[tuple[str, Column]] = []
    if column.required:
        rules.append(("required", text.isNull()))
    if column.logical != "string":
        rules.append(("type", text.isNotNull() & value.isNull()))
    if column.min_length is not None:
        rules.append(("length", F.length(value) < column.min_length))
    if column.max_length is not None:
        rules.append(("length", F.length(value) > column.max_length))
    for pattern in column.patterns:
        rules.append(("pattern", ~value.rlike(pattern)))
    for bound, limit in column.bounds:
        edge = F.lit(str(limit)).cast(column.type)
        inside = {
            "minimum": value >= edge,
            "exclusiveMinimum": value > edge,
            "maximum": value <= edge,
            "exclusiveMaximum": value < edge,
        }
        rules.append(("range", ~inside[bound]))
    if column.multiple_of is not None:
        rules.append(("multiple", value % column.multiple_of != 0))
    if column.values is not None:
        rules.append(("enum", ~text.isin(list(column.values))))
    return rules


def _refer(judged: DataFrame, contract: Contract, references: Mapping[str, DataFrame]) -> DataFrame:
    broken = F.col("_broken")
    for i, reference in enumerate(contract.references):
        found = f"_found_{i}"
        keys = references[reference.feed].select(F.col(reference.key).alias(f"_key_{i}"), F.lit(True).alias(found))
        judged = judged.join(keys, on=F.col(reference.column) == F.col(f"_key_{i}"), how="left")
        dangling = F.col(reference.column).isNotNull() & F.col(found).isNull()
        broken = F.coalesce(broken, F.when(dangling, _rule(reference.column, F.lit("reference"))))
    kept = ["_source_file", "_line", "_raw", *contract.names]
    return judged.select(*kept, broken.alias("_broken"))


def _compare(judged: DataFrame, contract: Contract) -> DataFrame:
    """Compares a day's records with each other: unique columns, one content a key, equal records once."""
    # A broken record is compared with none, so it stands alone, instead of all of them in one partition; the same goes for missing values.
    place = F.concat_ws(":", "_source_file", "_line")
    judged = judged.withColumn("_alone", F.when(F.col("_broken").isNotNull(), place))
    broken = F.col("_broken")
    for i, column in enumerate(c for c in contract.columns if c.unique and contract.key != (c.name,)):
        missing = F.when(F.col(column.name).isNull(), place)
        same = Window.partitionBy(F.coalesce("_alone", missing), column.name)
        key = key_text(contract)
        judged = judged.withColumn(f"_shared_{i}", F.min(key).over(same) != F.max(key).over(same))
        shared = F.col("_alone").isNull() & F.col(column.name).isNotNull() & F.col(f"_shared_{i}")
        broken = F.coalesce(broken, F.when(shared, _rule(column.name, F.lit("unique"))))
    same = Window.partitionBy("_alone", *contract.key)
    judged = judged.withColumn("_contents", F.min("_hash").over(same) != F.max("_hash").over(same))
    judged = judged.withColumn("_place", F.row_number().over(same.orderBy("_source_file", "_line")))
    conflict = F.col("_alone").isNull() & F.col("_contents")
    judged = judged.withColumn("_broken", F.coalesce(broken, F.when(conflict, _rule(None, F.lit("conflict")))))
    return judged.withColumn("_duplicate", F.col("_broken").isNull() & (F.col("_place") > 1))


def content_hash(contract: Contract) -> Column:
    """A hash of all that a record says. A missing value is left out, so that a column added later, still empty, changes nothing."""
    said = []
    for name in sorted(contract.names):
        text = F.col(name).cast("string")
        said.append(F.concat(F.lit(f"{name}="), F.length(text).cast("string"), F.lit(":"), text))
    return F.sha2(F.concat_ws(",", *said), 256)


def key_text(contract: Contract) -> Column:
    """The key as text; null where a part of it is missing or unreadable."""
    whole = reduce(Column.__and__, [F.col(name).isNotNull() for name in contract.key])
    return F.when(whole, F.to_json(F.struct(*[F.col(name).cast("string").alias(name) for name in contract.key])))


def classify(judged: DataFrame, before: DataFrame, contract: Contract) -> DataFrame:
    """Adds `_change` against the versions before the day: new, changed or unchanged; null for duplicates and invalid records.

    A snapshot also gets a row for each key that it no longer has, with `_change` deleted and no `_source_file`. The key of an invalid record is not
    gone: that record only says nothing that can be believed.
    """
    known = before.select(
        *[F.col(name).alias(f"_known_{name}") for name in contract.key], F.col("_hash").alias("_before")
    )
    same = reduce(Column.__and__, [F.col(name) == F.col(f"_known_{name}") for name in contract.key])
    joined = judged.join(known, on=same, how="full" if contract.snapshot else "left")
    counted = F.col("_rule").isNull() & ~F.col("_duplicate")
    change = F.when(F.col("_source_file").isNull(), "deleted").when(
        counted,
        F.when(F.col("_before").isNull(), "new")
        .when(F.col("_before") == F.col("_hash"), "unchanged")
        .otherwise("changed"),
    )
    keys = [
        F.coalesce(name, f"_known_{name}").alias(name) if name in contract.key else F.col(name)
        for name in judged.columns
    ]
    return joined.select(*keys, change.alias("_change"))


def nothing(spark: SparkSession, contract: Contract) -> DataFrame:
    """What classify makes of a day that has no records and was never compared with another."""
    columns = ", ".join(f"`{column.name}` {column.type}" for column in contract.columns)
    return spark.createDataFrame(
        [],
        f"_source_file string, _line bigint, _raw string, {columns}, _column string, _rule string, "
        "_hash string, _duplicate boolean, _change string",
    )


def validated(classified: DataFrame, contract: Contract, day: str) -> DataFrame:
    """The rows of the validated table."""
    return classified.where("_rule is null and _source_file is not null").select(
        *contract.names, "_source_file", "_line", _date(day).alias("_day")
    )


def invalid(classified: DataFrame, contract: Contract, day: str) -> DataFrame:
    """The rows of the invalid table."""
    return classified.where("_rule is not null").select(
        "_source_file", "_line", "_raw", "_column", "_rule", key_text(contract).alias("_key"), _date(day).alias("_day")
    )


def curated(classified: DataFrame, contract: Contract, day: str) -> DataFrame:
    """The rows of the curated table, for a contract that states no SQL of its own."""
    return classified.where("_change in ('new', 'changed', 'unchanged')").select(
        *contract.names, _date(day).alias("_day"), "_change"
    )


def opened(classified: DataFrame, contract: Contract, day: str) -> DataFrame:
    """The versions that the day opens."""
    return classified.where("_change in ('new', 'changed')").select(
        *contract.names,
        _date(day).alias("valid_from"),
        F.lit(None).cast("date").alias("valid_to"),
        F.lit(True).alias("is_current"),
        "_hash",
        F.lit(f"{contract.feed}/{day}").alias("_job"),
    )


def ended(classified: DataFrame, contract: Contract) -> DataFrame:
    """The keys whose open version the day ends."""
    return classified.where("_change in ('changed', 'deleted')").select(*contract.key)


def versions_before(versions: DataFrame, day: str) -> DataFrame:
    """The versions that were valid just before a day."""
    return versions.where(
        (F.col("valid_from") < _date(day)) & (F.col("valid_to").isNull() | (F.col("valid_to") >= _date(day)))
    )


def versions_on(versions: DataFrame, day: str) -> DataFrame:
    """The versions that are valid on a day."""
    return versions.where(
        (F.col("valid_from") <= _date(day)) & (F.col("valid_to").isNull() | (F.col("valid_to") > _date(day)))
    )


def history(valid: DataFrame, invalid_rows: DataFrame, contract: Contract) -> DataFrame:
    """All versions of all keys, from the validated and invalid rows of all days: what the days make, one after the other, of an empty table."""
    key, day = list(contract.key), F.col("_day")
    seen = valid.dropDuplicates([*key, "_day"]).select(
        *contract.names, "_day", content_hash(contract).alias("_hash"), key_text(contract).alias("_key")
    )
    if contract.snapshot:
        in_order = Window.orderBy("_day")
        days = (
            valid.select("_day")
            .unionByName(invalid_rows.select("_day"))
            .distinct()
            .select("_day", F.lead("_day").over(in_order).alias("_next"))
        )
        unsure = (
            invalid_rows.where("_key is not null")
            .select("_key", "_day")
            .distinct()
            .join(seen.select("_key", "_day"), on=["_key", "_day"], how="left_anti")
        )
        seen = seen.unionByName(unsure, allowMissingColumns=True).join(F.broadcast(days), on="_day", how="left")
        by_day = Window.partitionBy("_key").orderBy("_day")
        # A run is a stretch of days in a row that have the key; it ends on the first day that has it not.
        begins = F.when(F.lag("_next").over(by_day) == day, 0).otherwise(1)
        seen = seen.withColumn("_begins", begins).withColumn("_run", F.sum("_begins").over(by_day))
        ends = F.max_by("_next", "_day").over(Window.partitionBy("_key", "_run"))
        seen = seen.withColumn("_ends", ends).where("_hash is not null")
    else:
        seen = seen.withColumn("_run", F.lit(0)).withColumn("_ends", F.lit(None).cast("date"))
    run = Window.partitionBy("_key", "_run").orderBy("_day")
    before = F.lag("_hash").over(run)
    starts = seen.withColumn("_starts", before.isNull() | (before != F.col("_hash"))).where("_starts")
    return starts.select(
        *contract.names,
        day.alias("valid_from"),
        F.coalesce(F.lead("_day").over(run), F.col("_ends")).alias("valid_to"),
        F.coalesce(F.lead("_day").over(run), F.col("_ends")).isNull().alias("is_current"),
        "_hash",
        F.concat(F.lit(f"{contract.feed}/"), day.cast("string")).alias("_job"),
    )


def _date(day: str) -> Column:
    return F.lit(day).cast("date")
