"""BigQuery and Cloud Storage as a caller of Google sees them: checked, then passed on to the emulators.

Buckets and what the emulators forget of datasets and tables are kept here; objects, rows and jobs are the emulators'.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import sqlglot
from sqlglot import exp
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from .access import Caller, Policies, dataset_allows, etag
from .errors import GoogleError
from .identity import json_of
from .state import Record, State

# Headers that belong to one connection only, not to the message.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-authorization"}

BIGQUERY = "bigquery.googleapis.com"
STORAGE = "storage.googleapis.com"

DATASET_PERMISSIONS = {"GET": "get", "PATCH": "update", "PUT": "update", "DELETE": "delete"}
OBJECT_PERMISSIONS = {"GET": "get", "HEAD": "get", "PATCH": "update", "PUT": "update", "DELETE": "delete"}

# What the emulator answers without having been told.
EMULATOR_CONSTANTS = {"maxTimeTravelHours"}

# Of a bucket, Google decides these.
BUCKET_DEFAULTS = {
    "storageClass": "STANDARD",
    "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": False}, "publicAccessPrevention": "inherited"},
}
BUCKET_OUTPUT = {"kind", "id", "selfLink", "projectNumber", "metageneration", "timeCreated", "updated", "etag"}
BUCKET_KEPT = BUCKET_OUTPUT | {"name", "location", "locationType"}


async def forward(client: httpx.AsyncClient, request: Request, host: str, body: bytes | None = None) -> Response:
    """Pass a request on to an emulator, and its answer back as it comes."""
    headers = [(k, v) for k, v in request.headers.items() if k not in HOP_BY_HOP | {"host", "authorization"}]
    if body is not None:
        headers = [(k, v) for k, v in headers if k not in ("content-length", "content-encoding")]
    content: bytes | AsyncIterator[bytes] = request.stream() if body is None else body
    if body is None and not {"content-length", "transfer-encoding"} & set(request.headers):
        content = b""
    path = request.scope["raw_path"].decode() + ("?" + request.url.query if request.url.query else "")
    sent = client.build_request(request.method, path, headers=[*headers, ("host", host)], content=content)
    answer = await client.send(sent, stream=True)
    response = StreamingResponse(
        answer.aiter_raw(), status_code=answer.status_code, background=BackgroundTask(answer.aclose)
    )
    response.raw_headers = [(k.lower(), v) for k, v in answer.headers.raw if k.lower().decode() not in HOP_BY_HOP]
    return response


class BigQuery:
    """The BigQuery API v2."""

    def __init__(self, state: State, policies: Policies, emulator: httpx.AsyncClient) -> None:
        self.state = state
        self.policies = policies
        self.emulator = emulator
        self.changing = asyncio.Lock()  # between the check of an etag and the change that it guards

    async def require(self, caller: Caller, permission: str, project: str, dataset: str | None = None) -> None:
        """Refuse a caller without the permission on a project or one of its datasets."""
        if self.policies.allows(caller, permission, f"projects/{project}"):
            return
        if dataset:
            answer = await self.emulator.get(f"/bigquery/v2/projects/{project}/datasets/{dataset}")
            if answer.status_code == 200 and dataset_allows(caller, permission, answer.json().get("access", [])):
                return
        what = f"dataset {project}:{dataset}" if dataset else f"project {project}"
        raise GoogleError(
            403,
            f"Access Denied: Permission {permission} denied on {what} (or it may not exist).",
            reason="accessDenied",
        )

    async def job(self, request: Request) -> Response:
        """POST a job."""
        project, caller = request.path_params["project"], request.state.caller
        body = await request.body()
        if not caller.operator:
            await self.require(caller, "bigquery.jobs.create", project)
            configuration = (await json_of(request)).get("configuration", {})
            if "load" in configuration:
                await self.check_load(caller, project, configuration["load"])
            elif "query" in configuration:
                await self.check_query(caller, project, configuration["query"])
            else:
                raise GoogleError(501, "The local Google runs load and query jobs only.")
        return await forward(self.emulator, request, BIGQUERY, body)

    async def query(self, request: Request) -> Response:
        """POST a query."""
        project, caller = request.path_params["project"], request.state.caller
        body = await request.body()
        if not caller.operator:
            await self.require(caller, "bigquery.jobs.create", project)
            await self.check_query(caller, project, await json_of(request))
        return await forward(self.emulator, request, BIGQUERY, body)

    async def check_load(self, caller: Caller, project: str, load: Record) -> None:
        """A load writes to its table and reads its sources with the caller's own rights.

        https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#required_permissions
        """
        table = load.get("destinationTable", {})
        permissions = ["bigquery.tables.get", "bigquery.tables.update", "bigquery.tables.updateData"]
        if load.get("createDisposition") != "CREATE_NEVER":
            permissions.append("bigquery.tables.create")
        for permission in permissions:
            await self.require(caller, permission, table.get("projectId", project), table.get("datasetId", ""))
        for uri in load.get("sourceUris", []):
            bucket = uri.removeprefix("gs://").partition("/")[0]
            wanted = ["storage.buckets.get", "storage.objects.get"]
            for permission in wanted + (["storage.objects.list"] if "*" in uri else []):
                if not uri.startswith("gs://") or not bucket_allows(
                    self.state, self.policies, caller, permission, bucket
                ):
                    raise GoogleError(
                        403, f"Access Denied: File {uri}: Access Denied ({permission})", reason="accessDenied"
                    )

    async def check_query(self, caller: Caller, project: str, query: Record) -> None:
        """A query needs the right to read each table it names, and to write where it is not a SELECT."""
        default = query.get("defaultDataset", {})
        try:
            statements = [s for s in sqlglot.parse(query.get("query", ""), dialect="bigquery") if s]
        except sqlglot.errors.ParseError as error:
            raise GoogleError(400, f"Syntax error: {error}", reason="invalidQuery") from None
        for statement in statements:
            permissions = ["bigquery.tables.getData"]
            if not isinstance(statement, (exp.Select, exp.SetOperation)):
                permissions.append("bigquery.tables.updateData")
            named = {cte.alias for cte in statement.find_all(exp.CTE)}
            for table in statement.find_all(exp.Table):
                if not table.db and table.name in named:
                    continue
                for permission in permissions:
                    await self.require(
                        caller,
                        permission,
                        table.catalog or default.get("projectId") or project,
                        table.db or default.get("datasetId", ""),
                    )

    async def job_result(self, request: Request) -> Response:
        """GET a job or the rows of a query, POST :cancel."""
        await self.require(request.state.caller, "bigquery.jobs.create", request.path_params["project"])
        return await forward(self.emulator, request, BIGQUERY)

    async def datasets(self, request: Request) -> Response:
        """GET and POST datasets of a project."""
        permission = "bigquery.datasets." + ("create" if request.method == "POST" else "get")
        await self.require(request.state.caller, permission, request.path_params["project"])
        return await self.remembered(request)

    async def dataset(self, request: Request) -> Response:
        """GET, PATCH, PUT and DELETE a dataset."""
        project, dataset = request.path_params["project"], request.path_params["dataset"]
        permission = "bigquery.datasets." + DATASET_PERMISSIONS[request.method]
        await self.require(request.state.caller, permission, project, dataset)
        return await self.remembered(request)

    async def tables(self, request: Request) -> Response:
        """GET and POST tables of a dataset."""
        project, dataset = request.path_params["project"], request.path_params["dataset"]
        permission = "bigquery.tables." + ("create" if request.method == "POST" else "list")
        await self.require(request.state.caller, permission, project, dataset)
        return await self.remembered(request)

    async def table(self, request: Request) -> Response:
        """GET, PATCH, PUT and DELETE a table."""
        project, dataset = request.path_params["project"], request.path_params["dataset"]
        permission = "bigquery.tables." + DATASET_PERMISSIONS[request.method]
        await self.require(request.state.caller, permission, project, dataset)
        return await self.remembered(request)

    async def rows(self, request: Request) -> Response:
        """GET a table's rows, POST insertAll."""
        project, dataset = request.path_params["project"], request.path_params["dataset"]
        permission = "bigquery.tables." + ("updateData" if request.method == "POST" else "getData")
        await self.require(request.state.caller, permission, project, dataset)
        return await forward(self.emulator, request, BIGQUERY)

    async def remembered(self, request: Request) -> Response:
        """Pass a dataset or table on, and keep the top-level fields that the emulator does not keep."""
        path = request.url.path.rstrip("/")
        if request.method == "GET":
            return await self.exchange(request, path)
        async with self.changing:
            await self.check_etag(request, path)
            return await self.exchange(request, path)

    async def exchange(self, request: Request, path: str) -> Response:
        """Let the emulator answer, and add what it does not keep."""
        body = await request.body()
        wanted = await json_of(request) if body else {}
        answer = await self.emulator.request(request.method, path, params=request.query_params, content=body or None)
        response = Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
        if answer.status_code >= 400:
            return response
        if request.method == "DELETE":
            for name, _ in self.state.items("extras"):
                if name == path or name.startswith(path + "/"):
                    self.state.delete("extras", name)
            return response
        resource = answer.json()
        reference = resource.get("tableReference") or resource.get("datasetReference")
        if not reference:
            return response  # a list
        if request.method == "POST":
            path += "/" + str(reference.get("tableId") or reference["datasetId"])
        extras = self.state.get("extras", path) or {}
        if request.method != "GET":
            extras = {**({} if request.method in ("POST", "PUT") else extras), **wanted}
            extras = {k: v for k, v in extras.items() if v not in (None, {}, [])}
            self.state.put("extras", path, extras)
        constant = {k: v for k, v in extras.items() if k in EMULATOR_CONSTANTS}
        return JSONResponse({**extras, **resource, **constant, "selfLink": f"https://{BIGQUERY}{path}"})

    async def check_etag(self, request: Request, path: str) -> None:
        """Refuse a change of something that has changed since the caller read it."""
        expected = request.headers.get("if-match")
        if expected and request.method in ("PATCH", "PUT", "DELETE"):
            current = await self.emulator.get(path)
            if current.status_code == 200 and current.json()["etag"] != expected:
                raise GoogleError(412, "Precondition Failed")

    async def refuse(self, request: Request) -> Response:
        """What the local Google does not offer to callers is open to operators only."""
        if not request.state.caller.operator:
            raise GoogleError(501, f"The local Google does not emulate {request.method} {request.url.path}.")
        return await forward(self.emulator, request, BIGQUERY)

    def routes(self) -> list[Route]:
        """The routes of the API."""
        project = "/bigquery/v2/projects/{project}"
        dataset = project + "/datasets/{dataset}"
        table = dataset + "/tables/{table}"
        any_of = ["GET", "PATCH", "PUT", "DELETE"]
        return [
            Route(project + "/jobs", self.job, methods=["POST"]),
            Route(project + "/jobs/{job}", self.job_result, methods=["GET"]),
            Route(project + "/jobs/{job}/cancel", self.job_result, methods=["POST"]),
            Route(project + "/queries", self.query, methods=["POST"]),
            Route(project + "/queries/{job}", self.job_result, methods=["GET"]),
            Route(project + "/datasets", self.datasets, methods=["GET", "POST"]),
            Route(dataset, self.dataset, methods=any_of),
            Route(dataset + "/tables", self.tables, methods=["GET", "POST"]),
            Route(table, self.table, methods=any_of),
            Route(table + "/data", self.rows, methods=["GET"]),
            Route(table + "/insertAll", self.rows, methods=["POST"]),
            Route("/{path:path}", self.refuse, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]


class Storage:
    """The JSON API of Cloud Storage, and the XML API's downloads."""

    def __init__(self, state: State, policies: Policies, emulator: httpx.AsyncClient) -> None:
        self.state = state
        self.policies = policies
        self.emulator = emulator

    def require(self, request: Request, permission: str, bucket: str) -> None:
        """Refuse a bucket that does not exist, and a caller without the permission on it."""
        caller = request.state.caller
        if self.state.get("buckets", bucket) and bucket_allows(self.state, self.policies, caller, permission, bucket):
            return
        if not self.state.get("buckets", bucket):
            raise GoogleError(404, "The specified bucket does not exist.")
        who = ", ".join(sorted(m.partition(":")[2] for m in caller.members))
        raise GoogleError(
            403,
            f"{who} does not have {permission} access to the Google Cloud Storage bucket {bucket} "
            "(or it may not exist).",
        )

    # Buckets

    async def create_bucket(self, request: Request) -> Response:
        """POST a bucket."""
        self.operator_only(request)
        body = await json_of(request)
        name = body.get("name", "")
        project = self.state.project(request.query_params["project"])
        if self.state.get("buckets", name):
            raise GoogleError(409, "Your previous request to create the named bucket succeeded and you already own it.")
        check_bucket(body)
        answer = await self.emulator.post("/storage/v1/b", json={"name": name}, headers={"host": STORAGE})
        if answer.status_code != 200 and answer.status_code != 409:  # 409: its folder was left by an older state
            raise GoogleError(400, f"Invalid bucket name: '{name}'")
        record = merge({**BUCKET_DEFAULTS, "location": "US"}, body)
        record["location"] = record["location"].upper()
        record["locationType"] = "region" if "-" in record["location"] else "multi-region"
        return JSONResponse(self.state.put("buckets", name, stamped(record, project, None)))

    async def bucket(self, request: Request) -> Response:
        """GET, PATCH, PUT and DELETE a bucket."""
        name = request.path_params["bucket"]
        self.require(request, "storage.buckets.get", name)
        record = self.state.get("buckets", name)
        assert record
        if request.method == "GET":
            return JSONResponse(record)
        self.operator_only(request)
        expected = request.query_params.get("ifMetagenerationMatch")
        if expected not in (None, record["metageneration"]):
            raise GoogleError(412, "At least one of the pre-conditions you specified did not hold.")
        if request.method == "DELETE":
            answer = await self.emulator.delete(f"/storage/v1/b/{name}", headers={"host": STORAGE})
            if answer.status_code == 412:
                raise GoogleError(409, "The bucket you tried to delete is not empty.")
            self.state.delete("buckets", name)
            self.state.delete("policies", f"buckets/{name}")
            return Response(status_code=204)
        body = await json_of(request)
        if str(body.get("location") or record["location"]).upper() != record["location"]:
            raise GoogleError(400, "A bucket's location cannot be changed.")
        base = record if request.method == "PATCH" else {**BUCKET_DEFAULTS, **{k: record[k] for k in BUCKET_KEPT}}
        merged = merge(base, {k: v for k, v in body.items() if k not in BUCKET_OUTPUT | {"location"}})
        check_bucket(merged)
        return JSONResponse(self.state.put("buckets", name, stamped(merged, None, record)))

    async def buckets(self, request: Request) -> Response:
        """GET the buckets of a project."""
        self.operator_only(request)
        number = self.state.project(request.query_params["project"])["projectNumber"]
        found = [b for _, b in self.state.items("buckets") if b["projectNumber"] == number]
        return JSONResponse({"kind": "storage#buckets", "items": found})

    async def bucket_policy(self, request: Request) -> Response:
        """GET and PUT a bucket's IAM policy."""
        self.operator_only(request)
        name = request.path_params["bucket"]
        self.require(request, "storage.buckets.getIamPolicy", name)
        resource = f"buckets/{name}"
        policy = self.policies.get(resource)
        if request.method == "PUT":
            policy = self.policies.set(resource, await json_of(request))
        return JSONResponse({"kind": "storage#policy", "resourceId": f"projects/_/{resource}", **policy})

    def operator_only(self, request: Request) -> None:
        """Buckets are administered by operators; no role that the local Google grants reaches so far."""
        if not request.state.caller.operator:
            raise GoogleError(403, f"The local Google leaves {request.method} {request.url.path} to operators.")

    # Objects

    async def objects(self, request: Request) -> Response:
        """GET the objects of a bucket."""
        self.require(request, "storage.objects.list", request.path_params["bucket"])
        return await forward(self.emulator, request, STORAGE)

    async def object(self, request: Request) -> Response:
        """Read, change or delete an object."""
        permission = "storage.objects." + OBJECT_PERMISSIONS[request.method]
        self.require(request, permission, request.path_params["bucket"])
        return await forward(self.emulator, request, STORAGE)

    async def rewrite(self, request: Request) -> Response:
        """POST …/rewriteTo/…: copy an object within Cloud Storage."""
        match = re.match(
            r"^/storage/v1/b/([^/]+)/o/.+?/(?:rewriteTo|copyTo)/b/([^/]+)/o/", request.scope["raw_path"].decode()
        )
        if not match:
            raise GoogleError(501, f"The local Google does not emulate POST {request.url.path}.")
        self.require(request, "storage.objects.get", match[1])
        self.require(request, "storage.objects.create", match[2])
        return await forward(self.emulator, request, STORAGE)

    async def upload(self, request: Request) -> Response:
        """POST an object, in one request or as a resumable upload; PUT its parts."""
        bucket = request.path_params["bucket"]
        self.require(request, "storage.objects.create", bucket)
        name = request.query_params.get("name")
        if name and not bucket_allows(
            self.state, self.policies, request.state.caller, "storage.objects.delete", bucket
        ):
            path = f"/storage/v1/b/{bucket}/o/{httpx.QueryParams({'n': name})}".replace("n=", "", 1).replace("+", "%20")
            if (await self.emulator.get(path, headers={"host": STORAGE})).status_code == 200:
                self.require(request, "storage.objects.delete", bucket)  # to overwrite is to delete
        return await forward(self.emulator, request, STORAGE)

    async def refuse(self, request: Request) -> Response:
        """Everything else is not emulated."""
        raise GoogleError(501, f"The local Google does not emulate {request.method} {request.url.path}.")

    def routes(self) -> list[Route]:
        """The routes of the API; object names reach the emulator as they came, escaped or not."""
        bucket = "/storage/v1/b/{bucket}"
        return [
            Route("/storage/v1/b", self.create_bucket, methods=["POST"]),
            Route("/storage/v1/b", self.buckets, methods=["GET"]),
            Route(bucket, self.bucket, methods=["GET", "PATCH", "PUT", "DELETE"]),
            Route(bucket + "/iam", self.bucket_policy, methods=["GET", "PUT"]),
            Route(bucket + "/o", self.objects, methods=["GET"]),
            Route(bucket + "/o/{object:path}", self.object, methods=["GET", "HEAD", "PATCH", "PUT", "DELETE"]),
            Route(bucket + "/o/{object:path}", self.rewrite, methods=["POST"]),
            Route("/upload" + bucket + "/o", self.upload, methods=["POST", "PUT", "DELETE"]),
            Route("/download" + bucket + "/o/{object:path}", self.object, methods=["GET", "HEAD"]),
            Route("/{bucket}/{object:path}", self.object, methods=["GET", "HEAD"]),
            Route("/{path:path}", self.refuse, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]


def bucket_allows(state: State, policies: Policies, caller: Caller, permission: str, bucket: str) -> bool:
    """Whether a caller has a permission on a bucket, by its own policy or its project's."""
    record = state.get("buckets", bucket)
    if record is None:
        return False
    project = state.project(record["projectNumber"])["projectId"]
    return policies.allows(caller, permission, f"buckets/{bucket}", f"projects/{project}")


def check_bucket(body: Record) -> None:
    """Refuse settings whose absence would change what a reader gets."""
    if (body.get("versioning") or {}).get("enabled"):
        raise GoogleError(501, "The local Google has no object versioning: declare the bucket without it.")
    if body.get("retentionPolicy"):
        raise GoogleError(501, "The local Google has no retention policies: declare the bucket without one.")


def stamped(record: Record, project: Record | None, before: Record | None) -> Record:
    """A bucket with what Google adds to it."""
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    name = record["name"]
    record = {
        **record,
        "kind": "storage#bucket",
        "id": name,
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{name}",
        "projectNumber": project["projectNumber"] if project else record["projectNumber"],
        "metageneration": str(int(before["metageneration"]) + 1 if before else 1),
        "timeCreated": before["timeCreated"] if before else time,
        "updated": time,
    }
    return {**record, "etag": etag(record)}


def merge(old: Any, new: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(new, dict):
        return new
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result
