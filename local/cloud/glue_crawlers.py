"""Glue's crawlers: they read objects in S3 with their own role and describe them in the catalog, as tables with columns and partitions.

They know CSV files in S3, a table to each path that a crawler is given, or to each folder of a bucket. What they would have to guess at, they refuse.
"""

from __future__ import annotations

import csv
import fnmatch
import functools
import gzip
import json
import logging
import re
import threading
from typing import Any
from urllib.parse import urlsplit

import boto3
from ministack.core.responses import AccountRegionScopedDict, get_account_id, get_region, request_scope
from ministack.services import glue as catalog
from ministack.services import s3

from local.cloud import events, roles
from local.cloud.glue_jobs import Jobs
from local.cloud.services import Data, Refused, now, page

_log = logging.getLogger(__name__)

_SERVICE = "glue.amazonaws.com"
_SERDES = {
    "OpenCSVSerDe": "org.apache.hadoop.hive.serde2.OpenCSVSerde",
    "LazySimpleSerDe": "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
}


def _described(data: Data) -> Data:
    """What a request says of a crawler, as the crawler is described; the provider sends an empty schedule where there is none."""
    return {name: value for name, value in data.items() if name not in ("Tags", "Schedule")}


class Crawlers(Jobs):
    """The part of Glue that crawls."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._crawlers = AccountRegionScopedDict()
        self._classifiers = AccountRegionScopedDict()

    # --- classifiers ----------------------------------------------------------------------------------------------

    def _do_CreateClassifier(self, data: Data) -> None:
        classifier = self._csv(data)
        if classifier["Name"] in self._classifiers:
            raise Refused(f"Classifier {classifier['Name']} already exists", "AlreadyExistsException")
        self._classifiers[classifier["Name"]] = {
            **classifier,
            "CreationTime": now(),
            "LastUpdated": now(),
            "Version": 1,
        }

    def _do_UpdateClassifier(self, data: Data) -> None:
        change = self._csv(data)
        known = self._classifier(change["Name"])
        known |= {**change, "LastUpdated": now(), "Version": known["Version"] + 1}

    def _do_GetClassifier(self, data: Data) -> Data:
        return {"Classifier": {"CsvClassifier": self._classifier(data["Name"])}}

    def _do_GetClassifiers(self, _data: Data) -> Data:
        return {"Classifiers": [{"CsvClassifier": classifier} for classifier in self._classifiers.values()]}

    def _do_DeleteClassifier(self, data: Data) -> None:
        self._classifier(data["Name"])
        del self._classifiers[data["Name"]]

    def _csv(self, data: Data) -> Data:
        if "CsvClassifier" not in data:
            raise Refused("The local cloud knows CSV classifiers only.", self.invalid)
        classifier: Data = data["CsvClassifier"]
        if len(classifier.get("Delimiter", ",")) != 1 or classifier.get("QuoteSymbol") == classifier.get("Delimiter"):
            raise Refused("A delimiter is one character, and no quote symbol.", self.invalid)
        return classifier

    def _classifier(self, name: str) -> Data:
        found: Data | None = self._classifiers.get(name)
        if found is None:
            raise Refused(f"Classifier {name} not found", "EntityNotFoundException")
        return found

    # --- crawlers -------------------------------------------------------------------------------------------------

    def _do_CreateCrawler(self, data: Data) -> None:
        if data["Name"] in self._crawlers:
            raise Refused(f"{data['Name']} already exists", "AlreadyExistsException")
        self._check_crawler(data)
        crawler = _described(data)
        self._crawlers[data["Name"]] = {
            "Crawler": {
                "Classifiers": [],
                "RecrawlPolicy": {"RecrawlBehavior": "CRAWL_EVERYTHING"},
                "SchemaChangePolicy": {
                    "UpdateBehavior": "UPDATE_IN_DATABASE",
                    "DeleteBehavior": "DEPRECATE_IN_DATABASE",
                },
                "LineageConfiguration": {"CrawlerLineageSettings": "DISABLE"},
                "LakeFormationConfiguration": {"UseLakeFormationCredentials": False, "AccountId": ""},
                **crawler,
                "State": "READY",
                "CrawlElapsedTime": 0,
                "CreationTime": now(),
                "LastUpdated": now(),
                "Version": 1,
            },
            "Scope": [get_account_id(), get_region()],
            "Origin": None,
        }
        catalog._tags[catalog._arn("crawler", data["Name"])] = dict(data.get("Tags", {}))

    def _do_UpdateCrawler(self, data: Data) -> None:
        crawler = self._crawler(data["Name"])["Crawler"]
        if crawler["State"] != "READY":
            raise Refused(f"Crawler {data['Name']} is running", "CrawlerRunningException")
        self._check_crawler({**crawler, **data})
        crawler |= {**_described(data), "LastUpdated": now(), "Version": crawler["Version"] + 1}

    def _do_GetCrawler(self, data: Data) -> Data:
        return {"Crawler": self._crawler(data["Name"])["Crawler"]}

    def _do_GetCrawlers(self, data: Data) -> Data:
        every = [record["Crawler"] for record in self._crawlers.values()]
        return page("Crawlers", every, data, "NextToken", "MaxResults", 100)

    def _do_DeleteCrawler(self, data: Data) -> None:
        if self._crawler(data["Name"])["Crawler"]["State"] != "READY":
            raise Refused(f"Crawler {data['Name']} is running", "CrawlerRunningException")
        del self._crawlers[data["Name"]]
        catalog._tags.pop(catalog._arn("crawler", data["Name"]), None)

    def _check_crawler(self, data: Data) -> None:
        role = roles.role(data["Role"])
        roles.check_trust(role, _SERVICE)
        roles.check_pass(self._caller, role, _SERVICE)
        if data.get("Schedule"):
            raise Refused("The local cloud starts crawlers by triggers, not by schedules of their own.", self.invalid)
        if set(data["Targets"]) != {"S3Targets"} or not data["Targets"]["S3Targets"]:
            raise Refused("The local cloud crawls S3 targets only.", self.invalid)
        for target in data["Targets"]["S3Targets"]:
            if not re.fullmatch(r"s3://[^/]+(/.*)?", target.get("Path", "")) or target.get("ConnectionName"):
                raise Refused("The local cloud crawls buckets and folders in them, without a connection.", self.invalid)
            if not urlsplit(target["Path"]).path.strip("/") and _table_level(data) != 2:
                raise Refused(
                    "The local cloud crawls a whole bucket with TableLevelConfiguration 2 only.", self.invalid
                )
            # https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-crawler-crawling.html#aws-glue-api-crawler-crawling-CreateCrawler
            if urlsplit(target["Path"]).netloc not in s3._buckets:
                raise Refused(f"S3 bucket {urlsplit(target['Path']).netloc} does not exist.", self.invalid)
        behavior = data.get("RecrawlPolicy", {}).get("RecrawlBehavior", "CRAWL_EVERYTHING")
        if behavior != "CRAWL_EVERYTHING":
            raise Refused(f"The local cloud knows no recrawl behavior {behavior}.", self.invalid)
        for name in data.get("Classifiers", []):
            self._classifier(name)
        if data.get("CrawlerSecurityConfiguration"):
            self.security_configuration(data["CrawlerSecurityConfiguration"])

    def _crawler(self, name: str) -> Data:
        record: Data | None = self._crawlers.get(name)
        if record is None:
            raise Refused(f"Crawler entry with name {name} does not exist", "EntityNotFoundException")
        return record

    # --- crawls ---------------------------------------------------------------------------------------------------

    def _do_StartCrawler(self, data: Data) -> None:
        self.start_crawler(data["Name"], None)

    def start_crawler(self, name: str, origin: Data | None) -> None:
        """Starts a crawl; origin is the trigger that does, where one does."""
        record = self._crawler(name)
        if record["Crawler"]["State"] != "READY":
            raise Refused(f"Crawler with name {name} has already started", "CrawlerRunningException")
        record["Crawler"]["State"] = "RUNNING"
        record |= {"Origin": origin, "Started": now()}
        self._crawl_event(name, "Started", {})
        crawl = functools.partial(self._crawl, record)
        threading.Thread(target=crawl, name=f"glue-crawler-{name}", daemon=True).start()

    def _do_StopCrawler(self, data: Data) -> None:
        record = self._crawler(data["Name"])
        if record["Crawler"]["State"] != "RUNNING":
            raise Refused(f"Crawler {data['Name']} is not running", "CrawlerNotRunningException")
        record["Crawler"]["State"] = "STOPPING"

    def _crawl(self, record: Data) -> None:
        """Crawls every target, in a thread of its own."""
        crawler = record["Crawler"]
        counts = dict.fromkeys(("tablesCreated", "tablesUpdated", "partitionsCreated"), 0)
        with request_scope(*record["Scope"]):
            status, problem = "SUCCEEDED", ""
            try:
                keys = roles.assume(roles.role(crawler["Role"]), _SERVICE, "AWS-Crawler")
                session = boto3.Session(*keys.values(), region_name=get_region())
                classifiers = [dict(self._classifier(name)) for name in crawler["Classifiers"]]
                walk = _Walk(
                    crawler,
                    classifiers,
                    session.client("s3", endpoint_url=self._endpoint),
                    session.client("glue", endpoint_url=self._endpoint),
                    counts,
                )
                for target in crawler["Targets"]["S3Targets"]:
                    if crawler["State"] == "RUNNING":
                        walk.target(target)
            except Exception as error:
                if not isinstance(error, Refused | roles.Refused):
                    _log.exception("crawler %s", crawler["Name"])
                status, problem = "FAILED", str(error)
            with self._lock:
                self._finish_crawl(record, "CANCELLED" if crawler["State"] == "STOPPING" else status, problem, counts)

    def _finish_crawl(self, record: Data, status: str, problem: str, counts: dict[str, int]) -> None:
        crawler = record["Crawler"]
        crawler |= {
            "State": "READY",
            "CrawlElapsedTime": 0,
            "LastCrawl": {
                "Status": status,
                "LogGroup": "/aws-glue/crawlers",
                "LogStream": crawler["Name"],
                "StartTime": record["Started"],
                **({"ErrorMessage": problem[:2048]} if problem else {}),
            },
        }
        texts = {name: str(count) for name, count in counts.items()}
        self._crawl_event(crawler["Name"], status.capitalize(), texts | ({"errorMessage": problem} if problem else {}))
        self.ended("Crawl", crawler["Name"], status, record["Origin"])

    def _crawl_event(self, name: str, state: str, more: Data) -> None:
        detail = {"crawlerName": name, "state": state, "accountId": get_account_id(), **more}
        events.publish("aws.glue", "Glue Crawler State Change", detail)

    def fail_lost_crawls(self) -> None:
        """Ends the crawls that ran when the local cloud was stopped."""
        for record in list(self._crawlers._data.values()):
            if record["Crawler"]["State"] != "READY":
                with request_scope(*record["Scope"]):
                    self._finish_crawl(record, "FAILED", "the local cloud was stopped during the crawl", {})


class _Walk:
    """One crawl, with the rights of the crawler's role."""

    def __init__(self, crawler: Data, classifiers: list[Data], s3: Any, glue: Any, counts: dict[str, int]) -> None:
        self._crawler, self._classifiers, self._s3, self._glue, self._counts = crawler, classifiers, s3, glue, counts

    def target(self, target: Data) -> None:
        """Describes what is below a path as one table, a partition to each folder that has files.

        A folder without files is an error; a bucket without files has no tables. Each folder of a whole bucket is a table.
        Of what is none Glue would make several tables: here it is left out, with a line in the log.
        """
        address = urlsplit(target["Path"])
        bucket, prefix = address.netloc, address.path.strip("/")
        tables: dict[str, dict[str, list[str]]] = {}
        for found in self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, **({"Prefix": f"{prefix}/"} if prefix else {})
        ):
            for item in found.get("Contents", []):
                path = item["Key"].removeprefix(f"{prefix}/") if prefix else item["Key"]
                if not item["Size"] or any(_matches(path, pattern) for pattern in target.get("Exclusions", [])):
                    continue
                location, folder = (prefix, path) if prefix else path.partition("/")[::2]
                if not folder:
                    _log.warning("crawler %s: %s is in no folder", self._crawler["Name"], path)
                    continue
                folders = tables.setdefault(f"{location}/", {})
                folders.setdefault(folder.rpartition("/")[0], []).append(item["Key"])
        if prefix and not tables:
            raise Refused(f"The S3 location {target['Path']} does not exist")
        for location, folders in sorted(tables.items()):
            try:
                self._describe(bucket, location, folders, target.get("SampleSize"))
            except Refused as error:
                if prefix:
                    raise
                _log.warning("crawler %s: %s", self._crawler["Name"], error)

    def _describe(self, bucket: str, prefix: str, folders: dict[str, list[str]], sample: int | None) -> None:
        """Describes folders as one table. A sample is how many files are read in each; all without it."""
        where = f"s3://{bucket}/{prefix}"
        depths = {folder.count("/") + 1 if folder else 0 for folder in folders}
        if len(depths) > 1:
            raise Refused(f"{where}: files stand at different depths; Glue would make several tables of them")
        classifier = self._classifiers[0] if self._classifiers else {}
        files = [key for folder in sorted(folders) for key in sorted(folders[folder])[:sample]]
        heads = [self._head(bucket, key, classifier) for key in files]
        header = heads[0]
        if any(head != header for head in heads):
            raise Refused(f"{where}: the files have different headers; Glue would make several tables of them")
        name = re.sub(r"[^a-z0-9_]", "_", prefix.rstrip("/").rpartition("/")[2].lower())
        keys = [_partition_key(index, folders) for index in range(depths.pop())]
        storage = _storage(where, header, classifier)
        table = f"{self._crawler.get('TablePrefix', '')}{name}"
        self._table(table, storage, keys)
        if keys:
            self._partitions(table, storage, sorted(folders), where)

    def _head(self, bucket: str, key: str, classifier: Data) -> list[str]:
        if (
            not classifier
            or classifier.get("ContainsHeader") != "PRESENT"
            or classifier.get("CustomDatatypes") != ["STRING"]
        ):
            raise Refused(
                "The local cloud crawls CSV files that a classifier says to have a header and text only; it infers no types"
            )
        body = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read(1 << 20)
        text = (gzip.decompress(body) if key.endswith(".gz") else body).decode(errors="replace")
        rows = csv.reader(
            text.lstrip("\ufeff").splitlines(),
            delimiter=classifier.get("Delimiter", ","),
            quotechar=classifier.get("QuoteSymbol", '"'),
        )
        return [re.sub(r"[^a-z0-9_]", "_", name.strip().lower()) for name in next(rows, [])]

    def _table(self, name: str, storage: Data, keys: list[str]) -> None:
        table = {
            "Name": name,
            "TableType": "EXTERNAL_TABLE",
            "Owner": "owner",
            "StorageDescriptor": storage,
            "PartitionKeys": [{"Name": key, "Type": "string"} for key in keys],
            "Parameters": {
                "classification": "csv",
                "skip.header.line.count": "1",
                "UPDATED_BY_CRAWLER": self._crawler["Name"],
                "delimiter": storage["Parameters"]["delimiter"],
            },
        }
        database = self._crawler["DatabaseName"]
        try:
            known = self._glue.get_table(DatabaseName=database, Name=name)["Table"]
        except self._glue.exceptions.EntityNotFoundException:
            self._glue.create_table(DatabaseName=database, TableInput=table)
            self._counts["tablesCreated"] += 1
            return
        if (
            known["StorageDescriptor"]["Columns"] != storage["Columns"]
            and self._crawler["SchemaChangePolicy"].get("UpdateBehavior") != "LOG"
        ):
            self._glue.update_table(DatabaseName=database, TableInput=table)
            self._counts["tablesUpdated"] += 1

    def _partitions(self, table: str, storage: Data, folders: list[str], location: str) -> None:
        database = self._crawler["DatabaseName"]
        pages = self._glue.get_paginator("get_partitions").paginate(DatabaseName=database, TableName=table)
        known = {tuple(partition["Values"]) for found in pages for partition in found["Partitions"]}
        fresh = [
            {"Values": values, "StorageDescriptor": {**storage, "Location": f"{location}{folder}/"}, "Parameters": {}}
            for folder in folders
            if tuple(values := [part.partition("=")[2] or part for part in folder.split("/")]) not in known
        ]
        for start in range(0, len(fresh), 100):
            batch = fresh[start : start + 100]
            answer = self._glue.batch_create_partition(DatabaseName=database, TableName=table, PartitionInputList=batch)
            if answer.get("Errors"):
                raise Refused(f"{table}: {answer['Errors'][0]}")
            self._counts["partitionsCreated"] += len(batch)


def _table_level(crawler: Data) -> int:
    """On which level a crawler's tables are; the bucket is the first."""
    configuration: Data = json.loads(crawler.get("Configuration") or "{}")
    return int(configuration.get("Grouping", {}).get("TableLevelConfiguration", 0))


def _partition_key(index: int, folders: dict[str, list[str]]) -> str:
    """A folder's own name for its level, key=value, or what Glue calls a level without one."""
    names = {folder.split("/")[index].partition("=") for folder in folders}
    keys = {key.lower() if equals else "" for key, equals, _ in names}
    return keys.pop() if len(keys) == 1 and keys != {""} else f"partition_{index}"


def _storage(location: str, header: list[str], classifier: Data) -> Data:
    delimiter, quote = classifier.get("Delimiter", ","), classifier.get("QuoteSymbol", '"')
    serde = _SERDES.get(classifier.get("Serde", ""))
    if serde is None:
        raise Refused("The local cloud wants to know the SerDe: OpenCSVSerDe or LazySimpleSerDe")
    options = {"separatorChar": delimiter, "quoteChar": quote} if "OpenCSV" in serde else {"field.delim": delimiter}
    return {
        "Columns": [{"Name": name, "Type": "string"} for name in header],
        "Location": location,
        "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
        "Compressed": False,
        "SerdeInfo": {"SerializationLibrary": serde, "Parameters": options},
        "Parameters": {"classification": "csv", "delimiter": delimiter, "skip.header.line.count": "1"},
    }


def _matches(path: str, pattern: str) -> bool:
    """Whether a path below a target fits an exclusion; `**` crosses folders, and may be none."""
    return fnmatch.fnmatchcase(path, pattern) or (pattern.startswith("**/") and fnmatch.fnmatchcase(path, pattern[3:]))
