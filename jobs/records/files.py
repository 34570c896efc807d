"""From a day's files to their records: physical lines with their numbers, checked headers, quoted line breaks put together again.

A file that cannot be read as a whole (empty, other header, cut off inside a gzip stream or a quoted field, changed since it was queued) ends the
run: to guess what it meant could close versions or lose records. What is wrong with a single record ends only that record.

All supported encodings are supersets of ASCII, so lines are split and numbered as bytes, before anything is decoded. They end with LF or CRLF.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from jobs.records.contract import Contract
from jobs.records.errors import InputError, JobError
from jobs.records.sealed import MAX_BYTES, TAG_BYTES, Envelope

MARKER = "_COMPLETE"
"""The name of the file that says that a day is complete. It holds no records."""

SMALL = 16 * 1024 * 1024
"""Up to so many bytes one task reads all files: then nothing needs to be shuffled, and shuffles are most of a small job's time."""

FEW = 64
"""Up to so many files one task reads all of a small day: each file is a question to S3, and one after the other they take longer than a shuffle."""

_HEAD = 64 * 1024
_BOM = "\ufeff"


@dataclass(frozen=True)
class Records:
    """The records of a day, not yet judged."""

    frame: DataFrame  # _source_file, _line, _value: the record's bytes as Spark read them, without its line end
    headers: Mapping[tuple[str, ...], list[str]]  # an order of columns → the files that have it
    count: int


@dataclass(frozen=True)
class _Split:
    """A stretch of a file that one task reads."""

    file: str
    path: str  # as Spark names the file
    start: int  # its first byte in the file
    size: int  # of the whole file
    position: int  # of its first line, in Spark's numbering
    lines: int
    filled: int  # lines that are not empty
    open: bool  # whether a quoted field reaches over the end of a line
    head: bytes  # its first line


def read(
    spark: SparkSession,
    contract: Contract,
    files: Mapping[str, tuple[str, int]],
    envelopes: Mapping[str, Envelope] | None = None,
) -> Records:
    """Reads files, given as name → (uri, bytes when it was queued). Raises InputError that lists every faulty file.

    Where their sender encrypted them, envelopes are what opens them, by name.
    """
    if not files:
        raise InputError("the day has no files: put them, then restate the day")
    if envelopes is not None:
        _check_sealed(files)
    try:
        uris = [uri for uri, _ in files.values()]
        if envelopes is None:
            lines = _lines(spark, uris)
        else:
            lines = _opened(spark, uris, {_plain(files[name][0]): envelope for name, envelope in envelopes.items()})
        if len(files) <= FEW and sum(size for _, size in files.values()) <= SMALL:
            lines = lines.coalesce(1)
        lines = lines.persist()
        splits = _splits(lines, contract, files)
    except (PySparkException, Py4JJavaError) as error:
        raise _unreadable(spark, files, str(error)) from error
    headers = _headers(contract, files, splits)
    records = _numbered(spark, lines, splits).where("_line > 1")
    count = sum(split.filled for split in splits) - len(files)

    apart = sorted({split.file for split in splits if split.open})
    if apart:
        joined = _joined(records.where(F.col("_source_file").isin(apart)), contract.delimiter)
        joined_count = _count_joined(joined)
        records = records.where(~F.col("_source_file").isin(apart)).unionByName(joined.drop("_open"))
        count += joined_count - sum(split.filled for split in splits if split.file in apart) + len(apart)
    return Records(frame=records.where("_value != ''"), headers=headers, count=count)


def _literal(uris: Sequence[str]) -> list[str]:
    """The same names as patterns that mean them and no others."""
    return [re.sub(r"([\[\]{}*?\\])", r"\\\1", uri) for uri in uris]


def _lines(spark: SparkSession, uris: Sequence[str]) -> DataFrame:
    # As bytes: a regular expression would decode, and change what is not UTF-8.
    without_cr = F.expr(
        "if(endswith(value, '\\r'), cast(substring(cast(value as binary), 1, octet_length(value) - 1) as string), value)"
    )
    return (
        spark.read.option("lineSep", "\n")
        .text(_literal(uris))
        .select(
            F.col("_metadata.file_path").alias("_path"),
            F.col("_metadata.file_block_start").alias("_start"),
            F.col("_metadata.file_size").alias("_size"),
            F.monotonically_increasing_id().alias("_position"),
            without_cr.alias("_value"),
        )
    )


def _check_sealed(files: Mapping[str, tuple[str, int]]) -> None:
    faults = [
        f"{name} is compressed, which a file that its sender encrypted cannot be: unpack it"
        for name in files
        if name.endswith(".gz")
    ]
    faults += [
        f"{name} has {size} bytes; a file that its sender encrypted has {MAX_BYTES + TAG_BYTES} at most: split it"
        for name, (_, size) in files.items()
        if size > MAX_BYTES + TAG_BYTES
    ]
    faults += [f"{name} is empty" for name, (_, size) in files.items() if size <= TAG_BYTES]
    if faults:
        raise InputError("; ".join(faults))


def _opened(spark: SparkSession, uris: Sequence[str], envelopes: Mapping[str, Envelope]) -> DataFrame:
    """The lines of encrypted files, as _lines has those of others.

    Keys travel as data: a literal would stand in plans, and those in logs. A tag that does not fit ends the read before any line is used.
    """
    keys = spark.createDataFrame(
        [(name, bytearray(e.iv), bytearray(e.key)) for name, e in envelopes.items()],
        "_name string, _iv binary, _key binary",
    )
    # Spark splits text by a regular expression, which decodes: as ISO-8859-1 every byte stays what it is.
    text = F.decode(F.expr("aes_decrypt(concat(_iv, content), _key, 'GCM')"), "ISO-8859-1")
    sealed = (
        spark.read.format("binaryFile")
        .load(_literal(uris))
        .select(F.col("_metadata.file_path").alias("_path"), F.col("length").alias("_size"), "content")
    )
    named = sealed.withColumn(
        "_name", F.regexp_replace(F.url_decode(F.replace("_path", F.lit("+"), F.lit("%2B"))), r"^\w+:/*", "")
    )
    opened = named.join(F.broadcast(keys), on="_name", how="inner").withColumn("_text", text)
    lines = opened.select("_path", "_size", F.posexplode(F.split(F.regexp_replace("_text", r"\n\z", ""), "\n")))
    value = F.regexp_replace("col", r"\r\z", "")
    return lines.select(
        "_path",
        F.lit(0).cast("bigint").alias("_start"),
        "_size",
        F.col("pos").cast("bigint").alias("_position"),
        F.encode(value, "ISO-8859-1").cast("string").alias("_value"),
    )


def _splits(lines: DataFrame, contract: Contract, files: Mapping[str, tuple[str, int]]) -> list[_Split]:
    named = {_plain(uri): name for name, (uri, _) in files.items()}
    value = F.col("_value")
    summary = lines.groupBy("_path", "_start").agg(
        F.first("_size").alias("size"),
        F.min("_position").alias("position"),
        F.count(F.lit(1)).alias("lines"),
        F.count(F.when(value != "", 1)).alias("filled"),
        F.max(_opens(value, contract.delimiter)).alias("open"),
        F.substring(F.min_by("_value", "_position").cast("binary"), 1, _HEAD).alias("head"),
    )
    return [
        _Split(
            file=named[_plain(unquote(row["_path"]))],
            path=row["_path"],
            start=row["_start"],
            size=row["size"],
            position=row["position"],
            lines=row["lines"],
            filled=row["filled"],
            open=row["open"],
            head=bytes(row["head"]),
        )
        for row in summary.collect()
    ]


def _plain(uri: str) -> str:
    return re.sub(r"^\w+:/*|^/+", "", uri)


def _unreadable(spark: SparkSession, files: Mapping[str, tuple[str, int]], text: str) -> JobError:
    missing = re.search(r"Path does not exist: (\S+?)\.?\s", text + " ")
    if missing:
        return InputError(f"{missing.group(1)} is not there any more: put it again, then restate the day")
    if "AES_CRYPTO_ERROR" in text:
        return InputError(
            "a file of the day, or what opens it, was changed after its sender encrypted it: put the files again, then restate the day"
        )
    if "org.apache.hadoop.io.compress" in text:  # which does not say of which file
        damaged = [name for name, (uri, _) in files.items() if name.endswith(".gz") and not _unpacks(spark, uri)]
        if damaged:
            return InputError(f"{', '.join(damaged)} is not a whole gzip file: put it again, then restate the day")
    return JobError(f"reading the day's files: {(text.splitlines() or ['no reason given'])[0]}")


def _unpacks(spark: SparkSession, uri: str) -> bool:
    try:
        _lines(spark, [uri]).count()
    except (PySparkException, Py4JJavaError):
        return False
    return True


def _headers(
    contract: Contract, files: Mapping[str, tuple[str, int]], splits: Sequence[_Split]
) -> dict[tuple[str, ...], list[str]]:
    first = {split.file: split for split in splits if split.start == 0}
    headers: dict[tuple[str, ...], list[str]] = {}
    faults: list[str] = []
    for name, (_, size) in files.items():
        split = first.get(name)
        if split is None:
            reason = (
                "is empty" if size == 0 else "was not read: Spark hides names that begin with '_' or '.', so rename it"
            )
            faults.append(f"{name} {reason}")
            continue
        if split.size != size:
            faults.append(f"{name} has {split.size} bytes, {size} when it was queued: restate the day")
            continue
        try:
            header = _header(split, contract)
        except ValueError as error:
            faults.append(f"{name} {error}")
            continue
        headers.setdefault(header, []).append(name)
    if faults:
        raise InputError("; ".join(faults))
    return headers


def _header(split: _Split, contract: Contract) -> tuple[str, ...]:
    """The names of the columns in the order of the file; ValueError says what is wrong with them."""
    try:
        line = split.head.decode("utf-8-sig" if contract.encoding == "utf-8" else contract.encoding)
        names = next(csv.reader([line], delimiter=contract.delimiter, strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"has no header: its first line is not {contract.encoding} text") from None
    wanted = set(contract.names)
    if set(names) == wanted and len(names) == len(wanted):
        return tuple(names)
    missing = [name for name in contract.names if name not in names]
    more = [name for name in names if name not in wanted] + sorted(
        {name for name in names if name in wanted and names.count(name) > 1}
    )
    found = [f"lacks {', '.join(missing)}"] if missing else []
    found += [f"has also {', '.join(_shown(name) for name in more)}"] if more else []
    raise ValueError(f"has another header than its contract: it {' and '.join(found)}")


def _shown(name: str) -> str:
    printable = "".join(c if c.isprintable() else "?" for c in name)
    return repr(printable if len(printable) <= 40 else printable[:40] + "…")


def _numbered(spark: SparkSession, lines: DataFrame, splits: Sequence[_Split]) -> DataFrame:
    """Gives every line its number in its file: its place in the split, and the lines of the splits before."""
    places = []
    before: dict[str, int] = {}
    for split in sorted(splits, key=lambda s: (s.file, s.start)):
        places.append((split.path, split.start, split.file, before.get(split.file, 0) + 1 - split.position))
        before[split.file] = before.get(split.file, 0) + split.lines
    row = "(?, cast(? as bigint), ?, cast(? as bigint))"
    table = f"select * from values {', '.join([row] * len(places))} as t (_path, _start, _source_file, _offset)"
    joined = lines.join(
        F.broadcast(spark.sql(table, args=[value for place in places for value in place])),
        on=["_path", "_start"],
        how="inner",
    )
    return joined.select("_source_file", (F.col("_position") + F.col("_offset")).alias("_line"), "_value")


def _field(delimiter: str) -> str:
    """A field as a regular expression. It is quoted when it begins with a quote; what follows the closing quote is kept as text.

    All groups are possessive, so that Java neither goes back nor into a recursion that long lines would overflow.
    """
    d = re.escape(delimiter)
    return rf'(?:"[^"]*+(?:""[^"]*+)*+"[^{d}]*+|(?!")[^{d}]*+)'


def _opens(value: Column, delimiter: str) -> Column:
    """Whether a line that begins outside of quotes ends inside of them."""
    field = _field(delimiter)
    return value.contains('"') & ~value.rlike(rf"\A{field}(?:{re.escape(delimiter)}{field})*+\z")


def _stays_open(value: Column, delimiter: str) -> Column:
    """Whether a line that begins inside of quotes ends inside of them."""
    d, field = re.escape(delimiter), _field(delimiter)
    return ~value.contains('"') | ~value.rlike(rf'\A[^"]*+(?:""[^"]*+)*+"[^{d}]*+(?:{d}{field})*+\z')


def _joined(lines: DataFrame, delimiter: str) -> DataFrame:
    """Puts the lines of a quoted line break together to one record, which has the number of its first line. The break is kept as LF.

    Whether a line begins inside of quotes follows from all lines before it. Each line is one of four functions of that state: it keeps
    it, turns it, or sets it to in or out; so the state is what the last line set it to, turned as often as it was turned since.
    """
    in_order = Window.partitionBy("_source_file").orderBy("_line")
    opens, stays = _opens(F.col("_value"), delimiter), _stays_open(F.col("_value"), delimiter)
    functions = lines.select(
        "*",
        F.sum(F.when(opens & ~stays, 1).otherwise(0)).over(in_order).alias("_turns"),
        F.when(opens & stays, 1).when(~opens & ~stays, 0).alias("_set"),
    )
    since = F.last(F.col("_set") - F.col("_turns"), ignorenulls=True).over(in_order)
    states = functions.select(
        "*", (F.pmod(F.coalesce(since, F.lit(0)) + F.col("_turns"), F.lit(2)) == 1).alias("_open")
    )
    begins = F.when(F.lag("_open", 1, False).over(in_order), 0).otherwise(1)
    numbered = states.select("*", begins.alias("_begins")).select("*", F.sum("_begins").over(in_order).alias("_record"))
    parts = F.array_sort(F.collect_list(F.struct("_line", "_value")))
    return (
        numbered.groupBy("_source_file", "_record")
        .agg(
            F.min("_line").alias("_line"),
            F.array_join(F.transform(parts, lambda part: part["_value"]), "\n").alias("_value"),
            F.max_by("_open", "_line").alias("_open"),
        )
        .select("_source_file", "_line", "_value", "_open")
    )


def _count_joined(joined: DataFrame) -> int:
    """Counts records, and refuses a file that ends inside of a quoted field."""
    row = joined.agg(
        F.count(F.when(F.col("_value") != "", 1)).alias("count"),
        F.sort_array(F.collect_list(F.when(F.col("_open"), F.struct("_source_file", "_line")))).alias("open"),
    ).first()
    assert row is not None
    if row["open"]:
        faults = [
            f"{file} ends inside of a quoted field that began in the record of line {line}"
            for file, line in row["open"]
        ]
        raise InputError("; ".join(faults) + ": put the whole file again, then restate the day")
    return int(row["count"])
