"""Who gets in: the token exchange, impersonation, and what is refused."""

from __future__ import annotations

import httpx
import pytest
from botocore.credentials import Credentials

from local.cloud.google.tests.conftest import ACCOUNT, PROJECT, World

IAM = f"/iam.googleapis.com/v1/projects/{PROJECT}"
PROJECT_POLICY = f"/cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}"


def test_signed_identity_becomes_a_service_account(world: World) -> None:
    answer = world.impersonate("exporter")
    assert answer.status_code == 200
    assert answer.json()["accessToken"].startswith("ya29.")


def test_account_that_does_not_trust_the_role_is_refused(world: World) -> None:
    assert world.impersonate("closed").status_code == 403


def test_wrong_signature_is_refused_by_aws(world: World) -> None:
    answer = world.exchange(world.subject_token(key=Credentials("AKIDEXAMPLE", "guess", "session+token/=")))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert "AWS STS" in answer.json()["error_description"]


def test_request_signed_for_another_audience_is_refused(world: World) -> None:
    answer = world.exchange(world.subject_token(headers={"x-goog-cloud-target-resource": "//other"}))
    assert answer.json()["error_description"] == "The x-goog-cloud-target-resource header is not the audience."


@pytest.mark.parametrize(
    "url",
    [
        "https://sts.evil.example?Action=GetCallerIdentity&Version=2011-06-15",
        "http://sts.us-east-1.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
        "https://sts.us-east-1.amazonaws.com?Action=AssumeRole&Version=2011-06-15",
    ],
)
def test_only_get_caller_identity_of_sts_is_replayed(world: World, url: str) -> None:
    assert world.exchange(world.subject_token(url=url)).json()["error"] == "invalid_grant"


def test_unknown_provider_is_refused(world: World) -> None:
    answer = world.exchange(world.subject_token(), audience=world.audience + "2")
    assert answer.json()["error"] == "invalid_target"


def test_attribute_condition_decides(world: World) -> None:
    provider = f"{IAM}/locations/global/workloadIdentityPools/pool-1/providers/aws-1?updateMask=attributeCondition"
    world.call("PATCH", provider, json={"attributeCondition": "attribute.aws_role == 'another'"})
    try:
        answer = world.exchange(world.subject_token())
        assert answer.json()["error"] == "unauthorized_client"
    finally:
        world.call("PATCH", provider, json={"attributeCondition": f"assertion.account == '{ACCOUNT}'"})


def test_id_of_a_deleted_pool_stays_taken_until_undeleted(world: World) -> None:
    pools = f"{IAM}/locations/global/workloadIdentityPools"
    world.call("POST", f"{pools}?workloadIdentityPoolId=pool-2", json={"displayName": "two"})
    world.call("DELETE", f"{pools}/pool-2")
    assert world.call("GET", f"{pools}/pool-2")["state"] == "DELETED"
    assert world.operator.post(f"{pools}?workloadIdentityPoolId=pool-2", json={}).status_code == 409
    world.call("POST", f"{pools}/pool-2:undelete")
    assert world.call("GET", f"{pools}/pool-2")["state"] == "ACTIVE"


def test_policy_changed_meanwhile_is_not_overwritten(world: World) -> None:
    policy = world.call("POST", f"{PROJECT_POLICY}:getIamPolicy")
    member = "serviceAccount:" + world.account("stranger")
    bindings = [*policy["bindings"], {"role": "roles/bigquery.user", "members": [member]}]
    world.call("POST", f"{PROJECT_POLICY}:setIamPolicy", json={"policy": {**policy, "bindings": bindings}})
    again = world.operator.post(f"{PROJECT_POLICY}:setIamPolicy", json={"policy": policy})
    assert (again.status_code, again.json()["error"]["status"]) == (409, "ABORTED")
    world.call("POST", f"{PROJECT_POLICY}:setIamPolicy", json={"policy": {"bindings": policy["bindings"]}})


@pytest.mark.parametrize(
    ("role", "member"),
    [
        ("roles/unheard.of", "user:a@example.com"),
        ("roles/bigquery.user", "serviceAccount:no@x.iam.gserviceaccount.com"),
    ],
)
def test_unknown_role_or_account_cannot_be_granted(world: World, role: str, member: str) -> None:
    policy = {"bindings": [{"role": role, "members": [member]}]}
    assert world.operator.post(f"{PROJECT_POLICY}:setIamPolicy", json={"policy": policy}).status_code == 400


def test_deleted_account_leaves_no_rights_to_its_successor(world: World) -> None:
    world.call("POST", f"{IAM}/serviceAccounts", json={"accountId": "passing"})
    member = "serviceAccount:" + world.account("passing")
    policy = world.call("POST", f"{PROJECT_POLICY}:getIamPolicy")
    bindings = [*policy["bindings"], {"role": "roles/bigquery.admin", "members": [member]}]
    world.call("POST", f"{PROJECT_POLICY}:setIamPolicy", json={"policy": {"bindings": bindings}})
    world.call("DELETE", f"{IAM}/serviceAccounts/{world.account('passing')}")
    assert world.call("POST", f"{PROJECT_POLICY}:getIamPolicy")["bindings"] == policy["bindings"]


def test_callers_do_not_administer_identity(world: World) -> None:
    with world.client() as client:
        assert client.get(f"https://iam.googleapis.com/v1/projects/{PROJECT}/serviceAccounts/x").status_code == 403


def test_unknown_hosts_are_refused(world: World) -> None:
    with world.proxied() as client, pytest.raises(httpx.ProxyError, match="403"):
        client.get("https://example.com/")


def test_plain_port_is_the_operators(world: World) -> None:
    url = world.google.endpoints["google"] + f"/cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}"
    assert httpx.get(url, trust_env=False).status_code == 401


def test_everything_survives_a_restart(world: World) -> None:
    token = world.impersonate("exporter").json()["accessToken"]
    before = world.call("POST", f"{PROJECT_POLICY}:getIamPolicy")
    pids = world.google.pids
    world.google.stop()
    world.google.start()
    assert set(pids.values()).isdisjoint(world.google.pids.values())
    assert world.call("POST", f"{PROJECT_POLICY}:getIamPolicy") == before
    with world.proxied(token) as client:
        assert (
            client.get(f"https://bigquery.googleapis.com/bigquery/v2/projects/{PROJECT}/datasets/us").status_code == 200
        )
