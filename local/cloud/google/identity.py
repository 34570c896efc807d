"""Google's identity services, as far as keyless access from AWS needs them.

Security Token Service, IAM (workload identity pools, their providers, service accounts), IAM credentials and Resource
Manager, with their documented REST paths.
"""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import celpy
import httpx
from celpy.adapter import json_to_cel
from celpy.celparser import CELParseError
from celpy.evaluation import CELEvalError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .access import Caller, Policies, Tokens, etag
from .errors import GoogleError, TokenError
from .state import Record, State

AWS_TOKEN = "urn:ietf:params:aws:token-type:aws4_request"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
AWS_HOST = re.compile(r"^sts(\.[a-z0-9-]+)?\.amazonaws\.com$")
IDENTIFIER = re.compile(r"^[a-z0-9-]{4,32}$")
ACCOUNT_ID = re.compile(r"^[a-z]([-a-z0-9]{4,28}[a-z0-9])$")
ROLE_NAME = (
    "assertion.arn.extract('{account_arn}assumed-role/') + 'assumed-role/' + "
    "assertion.arn.extract('assumed-role/{role_name}/')"
)

# What Google applies to an AWS provider that names no mapping.
DEFAULT_MAPPING = {
    "google.subject": "assertion.arn",
    "attribute.aws_role": f"assertion.arn.contains('assumed-role') ? {ROLE_NAME} : assertion.arn",
}


def extract(text: Any, template: Any) -> Any:
    """Google's CEL function: the part of a text that stands where the template has its braces."""
    before, _, rest = str(template).partition("{")
    after = rest.partition("}")[2]
    found = re.search(re.escape(before) + ("(.*?)" + re.escape(after) if after else "(.*)"), str(text), re.DOTALL)
    return celpy.celtypes.StringType(found[1] if found else "")


def evaluate(expression: str, **variables: Any) -> Any:
    """The value of a CEL expression over variables of JSON."""
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression), functions={"extract": extract})
    return program.evaluate({name: json_to_cel(value) for name, value in variables.items()})


def now() -> str:
    """The time as Google writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Identity:
    """The four services over one state."""

    def __init__(self, state: State, policies: Policies, tokens: Tokens, aws: httpx.AsyncClient) -> None:
        self.state = state
        self.policies = policies
        self.tokens = tokens
        self.aws = aws

    # Security Token Service

    async def exchange(self, request: Request) -> Response:
        """POST /v1/token: a signed GetCallerIdentity of AWS for a federated token."""
        if "json" in request.headers.get("content-type", ""):
            form = {snake(k): v for k, v in (await request.json()).items()}
        else:
            form = dict(urllib.parse.parse_qsl((await request.body()).decode()))
        for field, want in (("grant_type", TOKEN_EXCHANGE), ("requested_token_type", ACCESS_TOKEN)):
            if form.get(field) != want:
                raise TokenError("invalid_request", f'Invalid value for "{field}".')
        if form.get("subject_token_type") != AWS_TOKEN:
            raise TokenError("invalid_request", "The local Google exchanges AWS tokens only.")
        audience = form.get("audience", "")
        provider = self.provider_of(audience)
        identity = await self.aws_identity(form.get("subject_token", ""), audience)
        if identity["account"] != provider["aws"]["accountId"]:
            raise TokenError("unauthorized_client", "The AWS account of the credential is not the provider's.")
        mapping = provider.get("attributeMapping") or DEFAULT_MAPPING
        mapped: Record = {"google": {}, "attribute": {}}
        for target, expression in mapping.items():
            family, _, name = target.partition(".")
            try:
                mapped[family][name] = str(evaluate(expression, assertion=identity))
            except CELEvalError as error:
                raise TokenError("invalid_grant", f"Error evaluating the mapping of {target}: {error}") from None
        subject = mapped["google"]["subject"]
        if not 0 < len(subject.encode()) <= 127:
            raise TokenError(
                "invalid_grant", "The size of mapped attribute google.subject must be between 1 and 127 bytes."
            )
        condition = provider.get("attributeCondition")
        if condition and not evaluate(condition, assertion=identity, **mapped):
            raise TokenError("unauthorized_client", "The given credential is rejected by the attribute condition.")
        pool = "//iam.googleapis.com/" + provider["name"].partition("/providers/")[0]
        members = [f"principal:{pool}/subject/{subject}", f"principalSet:{pool}/*"]
        members += [f"principalSet:{pool}/attribute.{name}/{value}" for name, value in mapped["attribute"].items()]
        return JSONResponse(
            {
                "access_token": self.tokens.issue(members, 3600),
                "issued_token_type": ACCESS_TOKEN,
                "token_type": "Bearer",
                "expires_in": 3600,
            }
        )

    def provider_of(self, audience: str) -> Record:
        """The active provider that an audience names."""
        name = audience.removeprefix("//iam.googleapis.com/")
        provider = self.state.get("pools", name)
        pool = self.state.get("pools", name.partition("/providers/")[0])
        usable = [r for r in (pool, provider) if r and r["state"] == "ACTIVE" and not r.get("disabled")]
        if name == audience or len(usable) < 2 or pool is provider:
            raise TokenError(
                "invalid_target",
                'The target service indicated by the "audience" parameters is invalid. This might either be because '
                "the pool or provider is disabled or deleted or because it doesn't exist.",
            )
        assert provider
        return provider

    async def aws_identity(self, subject_token: str, audience: str) -> Record:
        """Whom AWS says that the signed request in a subject token is from."""
        try:
            signed = json.loads(urllib.parse.unquote_plus(subject_token))
            url = urllib.parse.urlsplit(signed["url"])
            headers = {h["key"].lower(): h["value"] for h in signed["headers"]}
            authorization = headers["authorization"]
        except (ValueError, KeyError, TypeError) as error:
            raise TokenError("invalid_grant", f"Unable to parse the AWS subject token: {error!r}") from None
        query = dict(urllib.parse.parse_qsl(url.query))
        asks = (url.scheme, signed.get("method"), url.path.strip("/"), query)
        if asks != ("https", "POST", "", {"Action": "GetCallerIdentity", "Version": "2011-06-15"}):
            raise TokenError("invalid_grant", "The AWS subject token is not a signed POST of GetCallerIdentity.")
        if not AWS_HOST.match(url.netloc) or headers.get("host") != url.netloc:
            raise TokenError("invalid_grant", f"The AWS subject token is not for an STS endpoint: {url.netloc}")
        names = re.search(r"SignedHeaders=([^,\s]+)", authorization)
        if headers.get("x-goog-cloud-target-resource") != audience:
            raise TokenError("invalid_grant", "The x-goog-cloud-target-resource header is not the audience.")
        if not names or "x-goog-cloud-target-resource" not in names[1].split(";"):
            raise TokenError("invalid_grant", "The x-goog-cloud-target-resource header is not signed.")
        answer = await self.aws.post("/", params=url.query, headers=headers)
        if answer.status_code != 200:
            raise TokenError("invalid_grant", f"Received invalid response from AWS STS: {answer.text}")
        found = {e.tag.rpartition("}")[2]: e.text or "" for e in ElementTree.fromstring(answer.text).iter()}
        return {"arn": found["Arn"], "account": found["Account"], "userid": found["UserId"]}

    # IAM credentials

    async def access_token(self, request: Request) -> Response:
        """POST …/serviceAccounts/{email}:generateAccessToken: act as a service account that allows it."""
        email = request.path_params["email"]
        account = self.state.get("accounts", email)
        caller: Caller = request.state.caller
        if not account or not self.policies.allows(
            caller, "iam.serviceAccounts.getAccessToken", account["name"], "projects/" + account["projectId"]
        ):
            raise GoogleError(
                403,
                "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
            )
        if account.get("disabled"):
            raise GoogleError(400, "Service account is disabled.", "FAILED_PRECONDITION")
        body = await json_of(request)
        if not body.get("scope"):
            raise GoogleError(400, "Request contains an invalid argument: scope is required.")
        seconds = int(body.get("lifetime", "3600s").removesuffix("s"))
        if not 0 < seconds <= 3600:
            raise GoogleError(400, "The lifetime must be at most 3600s.")
        expires = datetime.now(UTC) + timedelta(seconds=seconds)
        return JSONResponse(
            {
                "accessToken": self.tokens.issue([f"serviceAccount:{email}"], seconds),
                "expireTime": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )

    # IAM: pools and providers

    def pool_name(self, request: Request) -> str:
        """The name of the pool or provider in a path, with the project's number."""
        path = request.path_params
        name = f"projects/{self.project(path['project'])['projectNumber']}/locations/global/workloadIdentityPools"
        for part in (path.get("pool"), "providers" if "/providers" in request.url.path else None, path.get("provider")):
            if part:
                name += "/" + part
        return name

    def project(self, name: str) -> Record:
        """A project; numbers must be those of projects that exist."""
        try:
            return self.state.project(name)
        except KeyError:
            raise GoogleError(404, f"Project {name} does not exist.") from None

    async def create_pool(self, request: Request) -> Response:
        """POST a pool or a provider; the id of a deleted one stays taken, as at Google for 30 days."""
        parent = self.pool_name(request)
        providers = parent.endswith("/providers")
        identifier = request.query_params.get(
            "workloadIdentityPoolProviderId" if providers else "workloadIdentityPoolId", ""
        )
        if not IDENTIFIER.match(identifier) or identifier.startswith("gcp-"):
            raise GoogleError(400, f"Invalid id {identifier!r}: 4 to 32 of a-z, 0-9 and -, not starting with gcp-.")
        if providers:
            self.pool(parent.removesuffix("/providers"))
        name = f"{parent}/{identifier}"
        if self.state.get("pools", name):
            raise GoogleError(409, "Requested entity already exists")
        body = await json_of(request)
        if providers:
            check_provider(body)
        record = {**body, "name": name, "state": "ACTIVE"}
        return JSONResponse(operation(name, self.state.put("pools", name, record)))

    def pool(self, name: str) -> Record:
        """A pool or provider, deleted ones too."""
        record = self.state.get("pools", name)
        if not record:
            raise GoogleError(404, "Requested entity was not found.")
        return record

    async def pool_resource(self, request: Request) -> Response:
        """GET, PATCH and DELETE of a pool or provider."""
        name = self.pool_name(request)
        record = self.pool(name)
        if request.method == "PATCH":
            body = await json_of(request)
            fields = request.query_params.get("updateMask", "").split(",")
            record = {k: v for k, v in record.items() if k not in fields}
            record |= {k: v for k, v in body.items() if k in fields}
            if "/providers/" in name:
                check_provider(record)
            return JSONResponse(operation(name, self.state.put("pools", name, record)))
        if request.method == "DELETE":
            if record["state"] == "DELETED":
                raise GoogleError(404, "Requested entity was not found.")
            record = {**record, "state": "DELETED", "expireTime": now()}
            return JSONResponse(operation(name, self.state.put("pools", name, record)))
        return JSONResponse(record)

    async def undelete_pool(self, request: Request) -> Response:
        """POST …:undelete of a pool or provider."""
        name = self.pool_name(request)
        record = {k: v for k, v in self.pool(name).items() if k != "expireTime"}
        return JSONResponse(operation(name, self.state.put("pools", name, {**record, "state": "ACTIVE"})))

    async def list_pools(self, request: Request) -> Response:
        """GET the pools of a project or the providers of a pool."""
        parent = self.pool_name(request)
        shown = request.query_params.get("showDeleted") == "true"
        found = [
            record
            for name, record in self.state.items("pools")
            if name.rpartition("/")[0] == parent and (shown or record["state"] != "DELETED")
        ]
        kind = "workloadIdentityPoolProviders" if parent.endswith("/providers") else "workloadIdentityPools"
        return JSONResponse({kind: found})

    # IAM: service accounts

    def account(self, request: Request) -> Record:
        """The service account in a path, by email or unique id."""
        wanted = request.path_params["email"]
        for email, record in self.state.items("accounts"):
            if wanted in (email, record["uniqueId"]):
                return record
        raise GoogleError(404, f"Unknown service account: {wanted}")

    async def create_account(self, request: Request) -> Response:
        """POST a service account."""
        project = self.project(request.path_params["project"])
        body = await json_of(request)
        identifier = body.get("accountId", "")
        if not ACCOUNT_ID.match(identifier):
            raise GoogleError(
                400, f"Invalid accountId {identifier!r}: 6 to 30 of a-z, 0-9 and -, starting with a letter."
            )
        email = f"{identifier}@{project['projectId']}.iam.gserviceaccount.com"
        if self.state.get("accounts", email):
            raise GoogleError(409, f"Service account {identifier} already exists within project {project['name']}.")
        unique = str(10**20 + zlib.crc32(f"{email}{time.time_ns()}".encode()))
        record = {
            **{k: v for k, v in body.get("serviceAccount", {}).items() if k in ("displayName", "description")},
            "name": f"projects/{project['projectId']}/serviceAccounts/{email}",
            "projectId": project["projectId"],
            "email": email,
            "uniqueId": unique,
            "oauth2ClientId": unique,
        }
        return JSONResponse(self.state.put("accounts", email, {**record, "etag": etag(record)}))

    async def account_resource(self, request: Request) -> Response:
        """GET, PATCH and DELETE of a service account."""
        record = self.account(request)
        if request.method == "PATCH":
            body = await json_of(request)
            fields = set(body.get("updateMask", "").split(",")) & {"displayName", "description"}
            record = {**record, **{f: body.get("serviceAccount", {}).get(f, "") for f in fields}}
            self.state.put("accounts", record["email"], record)
        if request.method == "DELETE":
            self.state.delete("accounts", record["email"])
            self.state.delete("policies", record["name"])
            self.policies.forget(f"serviceAccount:{record['email']}")
            return JSONResponse({})
        return JSONResponse(record)

    async def account_action(self, request: Request) -> Response:
        """POST …:enable, :disable, :getIamPolicy and :setIamPolicy of a service account."""
        record = self.account(request)
        action = request.path_params["action"]
        if action in ("enable", "disable"):
            self.state.put("accounts", record["email"], {**record, "disabled": action == "disable"})
            return JSONResponse({})
        return await self.policy_action(request, record["name"], action)

    async def policy_action(self, request: Request, resource: str, action: str) -> Response:
        """getIamPolicy or setIamPolicy of anything."""
        if action == "getIamPolicy":
            return JSONResponse(self.policies.get(resource))
        if action == "setIamPolicy":
            return JSONResponse(self.policies.set(resource, (await json_of(request)).get("policy", {})))
        raise GoogleError(501, f"The local Google has no {action}.")

    # Resource Manager

    async def get_project(self, request: Request) -> Response:
        """GET a project."""
        return JSONResponse(self.project(request.path_params["project"]))

    async def project_action(self, request: Request) -> Response:
        """POST …:getIamPolicy and :setIamPolicy of a project."""
        project = self.project(request.path_params["project"])
        return await self.policy_action(request, "projects/" + project["projectId"], request.path_params["action"])

    def routes(self) -> dict[str, list[Route]]:
        """The routes of each host."""
        pools = "/v1/projects/{project}/locations/global/workloadIdentityPools"
        providers = pools + "/{pool}/providers"
        accounts = "/v1/projects/{project}/serviceAccounts"
        any_of = ["GET", "PATCH", "DELETE"]
        action = "{email}:{action:str}"
        return {
            "sts.googleapis.com": [Route("/v1/token", self.exchange, methods=["POST"])],
            "iamcredentials.googleapis.com": [
                Route("/v1/projects/-/serviceAccounts/{email}:generateAccessToken", self.access_token, methods=["POST"])
            ],
            "iam.googleapis.com": [
                Route(pools, self.list_pools, methods=["GET"]),
                Route(pools, self.create_pool, methods=["POST"]),
                Route(pools + "/{pool}:undelete", self.undelete_pool, methods=["POST"]),
                Route(pools + "/{pool}", self.pool_resource, methods=any_of),
                Route(providers, self.list_pools, methods=["GET"]),
                Route(providers, self.create_pool, methods=["POST"]),
                Route(providers + "/{provider}:undelete", self.undelete_pool, methods=["POST"]),
                Route(providers + "/{provider}", self.pool_resource, methods=any_of),
                Route(accounts, self.create_account, methods=["POST"]),
                Route(accounts + "/" + action, self.account_action, methods=["POST"]),
                Route(accounts + "/{email}", self.account_resource, methods=any_of),
            ],
            "cloudresourcemanager.googleapis.com": [
                Route("/v1/projects/{project}:{action}", self.project_action, methods=["POST"]),
                Route("/v1/projects/{project}", self.get_project, methods=["GET"]),
            ],
        }


def check_provider(body: Record) -> None:
    """Refuse what the local Google cannot hold, and mappings that Google refuses."""
    if set(body) & {"oidc", "saml", "x509"} or not re.fullmatch(r"\d{12}", body.get("aws", {}).get("accountId", "")):
        raise GoogleError(400, "The local Google holds AWS providers only: aws.accountId must be 12 digits.")
    mapping = body.get("attributeMapping") or DEFAULT_MAPPING
    if "google.subject" not in mapping:
        raise GoogleError(400, "The attribute mapping must map google.subject.")
    for target, expression in [*mapping.items(), ("attributeCondition", body.get("attributeCondition") or "true")]:
        if target.partition(".")[0] not in ("google", "attribute", "attributeCondition"):
            raise GoogleError(400, f"Invalid mapped attribute key: {target}")
        try:
            celpy.Environment().compile(expression)
        except CELParseError as error:
            raise GoogleError(400, f"Error parsing {target}: {error}") from None


def operation(name: str, record: Record) -> Record:
    """A long-running operation that is already done."""
    return {"name": f"{name}/operations/done", "done": True, "response": record}


async def json_of(request: Request) -> Record:
    """A request's JSON object."""
    try:
        return dict(json.loads(await request.body() or b"{}"))
    except ValueError as error:
        raise GoogleError(400, f"Invalid JSON payload received: {error}") from None


def snake(name: str) -> str:
    """camelCase to snake_case."""
    return re.sub(r"([A-Z])", r"_\1", name).lower()
