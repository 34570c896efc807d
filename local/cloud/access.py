"""IAM where MiniStack differs from AWS: policy variables, Glue's and Athena's resources, KMS behind services, EMR's tags."""

from __future__ import annotations

import contextvars
import dataclasses
import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from urllib.parse import unquote

from ministack.core import iam_actions, iam_evaluator
from ministack.core.iam_evaluator import EvalContext, ParsedStatement
from ministack.core.responses import get_account_id, get_region
from ministack.services import athena, dynamodb, kms, s3, sns, sqs, tagging

from local.cloud import roles

Data = dict[str, Any]

_DYNAMODB_DATA = re.compile(r":(Get|Put|Update|Delete|Batch\w+)Item|:Query|:Scan|:ConditionCheck")
_VARIABLE = re.compile(r"\$\{([^},]+)(?:,\s*'([^']*)')?\}")
_request: contextvars.ContextVar[Data | None] = contextvars.ContextVar("access_request", default=None)


Tagged = Callable[[], Iterable[tuple[str, dict[str, str]]]]


def install(tagged: dict[str, Tagged]) -> None:
    """Puts the corrections in place; `tagged` lists the ARNs and tags of what each of our own services has."""
    emr_tags = tagged["elasticmapreduce"]
    stock_object, stock_key, stock_match, stock_action, stock_arn, stock_enforce = (
        iam_actions._s3_object_context,
        iam_evaluator._resolve_condition_key,
        iam_evaluator._first_match,
        iam_actions.extract_iam_action,
        iam_actions.extract_resource_arn,
        iam_evaluator.enforce,
    )

    def first_match(ctx: EvalContext, statements: list[ParsedStatement], effect: str) -> ParsedStatement | None:
        if effect == "Allow" and roles.is_new_session(ctx.principal_arn):
            return None
        resolved = [found for found in (resolve(statement, ctx) for statement in statements) if found is not None]
        found: ParsedStatement | None = stock_match(ctx, resolved, effect)
        return found

    def extract_resource_arn(
        service: str,
        method: str,
        path: str,
        headers: Data,
        body: bytes,
        query_params: Data,
        region: str,
        account_id: str,
    ) -> str:
        extra: list[str] = []
        arn: str = stock_arn(service, method, path, headers, body, query_params, region, account_id)
        if service == "glue":
            operation = headers.get("x-amz-target", "").rpartition(".")[2]
            found = glue_resources(operation, body, f"arn:aws:glue:{region}:{account_id}")
            if found:
                arn, *extra = found
        elif service == "emr-serverless":
            # The part of the path that names an application, and a run where it does, is the resource's name.
            name = re.match(r"/applications/[^/]+(/jobruns/[^/]+)?|/tags/(.+)", path)
            tagged_arn = unquote(name[2]) if name and name[2] else ""
            arn = tagged_arn or f"arn:aws:emr-serverless:{region}:{account_id}:{name[0] if name else '/*'}"
        elif service == "ssm" and (named := parameters(headers.get("x-amz-target", ""), body)):
            arn, *extra = [f"arn:aws:ssm:{region}:{account_id}:parameter{name}" for name in named]
        elif service == "elasticmapreduce" and (clusters := _clusters(body)):
            arn, *extra = [f"arn:aws:elasticmapreduce:{region}:{account_id}:cluster/{name}" for name in clusters]
        elif service == "athena":
            arn = f"arn:aws:athena:{region}:{account_id}:workgroup/{_workgroup(body)}"
        _request.set({"headers": headers, "path": path, "query": query_params, "extra": extra, "body": body})
        return arn

    def extract_iam_action(*request: Any) -> str | None:
        action: str | None = stock_action(*request)
        # A batch is allowed to whom its single call is; IAM knows no action of its own for it.
        return action.removesuffix("Batch") if action and action.startswith("sqs:") else action

    def enforce(
        access_key_id: str,
        iam_action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: Data | None = None,
    ) -> Any:
        def context_of(arn: str) -> Data:
            context = dict(service_context or {})
            if service == "elasticmapreduce":
                tags = dict(emr_tags()).get(arn, {})
                context |= {f"elasticmapreduce:ResourceTag/{name}": value for name, value in tags.items()}
                context |= {
                    name.replace("aws:requesttag/", "elasticmapreduce:RequestTag/"): value
                    for name, value in context.items()
                    if name.startswith("aws:requesttag/")
                }
            if service == "kms":
                context |= encryption_context((_request.get() or {}).get("body", b""))
            return context

        denied = stock_enforce(access_key_id, iam_action, service, region, resource_arn, context_of(resource_arn))
        checks = [(service, iam_action, arn, context_of(arn)) for arn in (_request.get() or {}).get("extra", [])]
        checks += [
            (
                "kms",
                action,
                key,
                {"kms:ViaService": f"{service}.{region}.amazonaws.com", **_bound(service, resource_arn)},
            )
            for action, key in _key_uses(service, iam_action, resource_arn)
        ]
        for name, action, arn, keys in checks:
            # Only once per request: the checks of other resources of the same request come here too.
            denied = denied or stock_enforce(access_key_id, action, name, region, arn, keys)
        return denied

    def resolve_condition_key(key: str, ctx: EvalContext) -> Any:
        # The listener on loopback stands for AWS's TLS endpoints: policies that demand TLS must hold here too.
        return "true" if key.lower() == "aws:securetransport" else stock_key(key, ctx)

    def object_context(iam_action: str, query_params: Data, path: str, headers: Data) -> Data:
        context: Data = stock_object(iam_action, query_params, path, headers)
        return context | (_written_under(query_params, headers) if iam_action == "s3:PutObject" else {})

    # Botocore calls the service by another name; without it a request's tags are not seen.
    iam_actions._BOTOCORE_SERVICE_MAP["elasticmapreduce"] = ["emr"]
    # MiniStack lets pass what services ask that it has not heard of.
    iam_actions._BOTOCORE_SERVICE_MAP["emr-serverless"] = ["emr-serverless"]
    iam_actions.SERVICE_TO_IAM_NAMESPACE["emr-serverless"] = "emr-serverless"
    iam_actions._s3_object_context = object_context
    iam_evaluator._resolve_condition_key = resolve_condition_key
    iam_evaluator._first_match = first_match
    iam_actions.extract_iam_action = extract_iam_action
    iam_actions.extract_resource_arn = extract_resource_arn
    iam_evaluator.enforce = enforce
    for service, tags_of in tagged.items():
        tagging._RESOURCE_TAG_COLLECTORS[service] = partial(_collected, tags_of)


def _collected(tags_of: Tagged) -> list[tuple[str, list[dict[str, str]]]]:
    """What a service has, as MiniStack's tagging lists it."""
    return [(arn, [{"Key": name, "Value": value} for name, value in tags.items()]) for arn, tags in tags_of()]


def permits(
    policy: str | Data | None, action: str, resource: str, service: str, source: str, keys: dict[str, str] | None = None
) -> bool:
    """Whether a resource's own policy lets a service act on it for this source."""
    context = EvalContext(
        principal_arn="*",
        principal_type="Service",
        principal_account="",
        action=action,
        resource_arn=resource,
        region=get_region(),
        service_context={
            "aws:sourcearn": source,
            "aws:sourceaccount": get_account_id(),
            "aws:principalisawsservice": "true",
            "aws:principalservicename": service,
        }
        | {name.lower(): value for name, value in (keys or {}).items()},
    )
    decision: str = iam_evaluator.evaluate_resource_policy(policy, context, service=service).decision
    return decision == "Allow"


def parameters(target: str, body: bytes) -> list[str]:
    """The parameters that a call that reads some names, each as the end of its ARN: a version or label is no part of that.

    MiniStack looks for a parameter whose name has the version in it, and asks for the right to every parameter there is where a call
    names several, or a path.
    """
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        return []
    operation = target.rpartition(".")[2]
    if operation == "GetParametersByPath":
        return [str(data.get("Path") or "/")]
    names = {"GetParameter": [data.get("Name")], "GetParameters": data.get("Names") or []}.get(operation, [])
    bare = [name.partition(":")[0] for name in names if isinstance(name, str) and not name.startswith("arn:")]
    return [name if name.startswith("/") else f"/{name}" for name in bare]


def _clusters(body: bytes) -> list[str]:
    """The clusters that a request to EMR names where MiniStack does not look."""
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        return []
    found = data.get("JobFlowIds") or [data.get("ResourceId")]
    return [name for name in found if isinstance(name, str)]


def resolve(statement: ParsedStatement, ctx: EvalContext) -> ParsedStatement | None:
    """The statement with its policy variables filled in; none when the request lacks one of them."""
    if "${" not in f"{statement.resources}{statement.not_resources}{statement.conditions}":
        return statement
    try:
        return dataclasses.replace(
            statement,
            resources=[_fill(text, ctx) for text in statement.resources],
            not_resources=[_fill(text, ctx) for text in statement.not_resources],
            conditions={
                operator: {key: _fill_all(values, ctx) for key, values in block.items()}
                for operator, block in statement.conditions.items()
            },
        )
    except KeyError:
        return None


def _fill_all(values: Any, ctx: EvalContext) -> Any:
    if isinstance(values, list):
        return [_fill_all(value, ctx) for value in values]
    return _fill(values, ctx) if isinstance(values, str) else values


def _fill(text: str, ctx: EvalContext) -> str:
    def value(match: re.Match[str]) -> str:
        key, default = match.groups()
        found = iam_evaluator._resolve_condition_key(key.strip(), ctx)
        if isinstance(found, str):
            return found
        if default is None:
            raise KeyError(key)
        return default

    return _VARIABLE.sub(value, text)


def glue_resources(operation: str, body: bytes, prefix: str) -> list[str]:
    """Every ARN that AWS checks for a call on the catalog: the catalog, the database and the table that it names."""
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        return []
    catalog, table_input = f"{prefix}:catalog", data.get("TableInput") or {}
    if operation in ("GetDatabases", "CreateDatabase", "GetDatabase", "UpdateDatabase", "DeleteDatabase"):
        name = data.get("Name") or (data.get("DatabaseInput") or {}).get("Name")
        return [catalog, *([f"{prefix}:database/{name}"] if name else [f"{prefix}:database/*"])]
    if "DatabaseName" not in data or not re.search(r"Table|Partition|ColumnStatistics|UserDefined", operation):
        return []
    database = data["DatabaseName"]
    table = data.get("TableName") or data.get("Name") or table_input.get("Name")
    found = [catalog, f"{prefix}:database/{database}"]
    if "UserDefined" in operation:
        return found
    tables = data.get("TablesToDelete") or ([table] if table else ["*"])
    return found + [f"{prefix}:table/{database}/{name}" for name in tables]


def _workgroup(body: bytes) -> str:
    """The workgroup of a call to Athena: a query's own, where the call names a query."""
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        return "*"
    if execution := athena._executions.get(data.get("QueryExecutionId", "")):
        return str(execution["WorkGroup"])
    return str(data.get("WorkGroup") or data.get("Name") or ("primary" if "QueryString" in data else "*"))


def encryption_context(body: bytes) -> Data:
    """The condition keys that a call to KMS has by its encryption context."""
    try:
        pairs = json.loads(body or b"{}").get("EncryptionContext") or {}
    except ValueError:
        return {}
    return {f"kms:EncryptionContext:{name}": value for name, value in pairs.items()}


def _bound(service: str, arn: str) -> Data:
    """The encryption context that S3 uses a key in: the bucket's ARN where it has a key of its own, the object's where not."""
    if service != "s3":
        return {}
    bucket = arn.removeprefix("arn:aws:s3:::").partition("/")[0]
    own = re.search(rb"<BucketKeyEnabled>\s*true\s*</BucketKeyEnabled>", _configuration(bucket))
    return {"kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{bucket}" if own else arn}


def _written_under(query: Data, headers: Data) -> Data:
    """What a write says of its key, as policies see it: which KMS key, or with what algorithm the sender's own.

    A part and the completion of an upload say nothing: the upload's own request decides.
    """
    names = ["x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-customer-algorithm"]
    upload = s3._multipart_uploads.get(iam_actions._query_param(query, "uploadId") or "")
    if upload:
        headers = upload["preserved_headers"] if upload["requested_sse"] else {}
    return {f"s3:{name}": headers[name] for name in names if headers.get(name)}


def _configuration(bucket: str) -> bytes:
    """The encryption of a bucket, as it was put."""
    put = s3._bucket_encryption.get(bucket) or b""
    return put if isinstance(put, bytes) else str(put).encode()


def _key_uses(service: str, iam_action: str, arn: str) -> list[tuple[str, str]]:
    """What the caller must be allowed with which KMS key, because the service uses it on the caller's behalf."""
    actions: list[str] = []
    key: str | None = None
    if service == "s3":
        actions, key = _s3_key(iam_action, arn)
    elif service == "sqs":
        needs = {"sqs:SendMessage": ["GenerateDataKey", "Decrypt"], "sqs:ReceiveMessage": ["Decrypt"]}
        actions = needs.get(iam_action, [])
        key = ((sqs._queue_by_arn(arn) or {}).get("attributes") or {}).get("KmsMasterKeyId") if actions else None
    elif service == "sns":
        actions = {"sns:Publish": ["GenerateDataKey", "Decrypt"]}.get(iam_action, [])
        key = ((sns._topics.get(arn) or {}).get("attributes") or {}).get("KmsMasterKeyId") if actions else None
    elif service == "dynamodb" and ":table/" in arn:
        actions = ["Decrypt"] if _DYNAMODB_DATA.search(iam_action) else []
        table = dynamodb._tables.get(arn.partition(":table/")[2].partition("/")[0]) or {}
        key = (table.get("SSEDescription") or {}).get("KMSMasterKeyArn") if actions else None
    # Keys that AWS manages, alias/aws/…, are open to the account through their services.
    if not key or "alias/aws/" in key:
        return []
    record = kms._resolve_key(key)
    key_arn = record["Arn"] if record else f"arn:aws:kms:{get_region()}:{get_account_id()}:key/{key}"
    return [(f"kms:{action}", key_arn) for action in actions]


def _s3_key(iam_action: str, arn: str) -> tuple[list[str], str | None]:
    bucket, _, key = arn.removeprefix("arn:aws:s3:::").partition("/")
    request = _request.get() or {}
    header = "x-amz-server-side-encryption-aws-kms-key-id"
    if iam_action in ("s3:GetObject", "s3:GetObjectVersion"):
        version = (request.get("query") or {}).get("versionId")
        return ["Decrypt"], _stored_key(bucket, unquote(key), version[0] if isinstance(version, list) else version)
    if iam_action == "s3:PutObject":
        headers = request.get("headers") or {}
        asked = headers.get("x-amz-server-side-encryption")
        named = headers.get(header) if asked else s3._bucket_default_sse_headers(bucket).get(header)
        parts = "uploadId" in (request.get("query") or {}) or "uploads" in (request.get("query") or {})
        return ["GenerateDataKey", *(["Decrypt"] if parts else [])], named
    return [], None


def _stored_key(bucket: str, key: str, version: str | None) -> str | None:
    """The KMS key of an object as it is stored."""
    found = (s3._buckets.get(bucket) or {}).get("objects", {}).get(key)
    for item in s3._object_versions.get((bucket, key)) or [] if version else []:
        if item["version_id"] == version:
            found = s3._object_record_from_version(item)
    name: str | None = s3._stored_sse_headers(found or {}).get("x-amz-server-side-encryption-aws-kms-key-id")
    return name
