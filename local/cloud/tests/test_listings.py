"""S3's lists with names that XML and URLs change on the way."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from .conftest import Account, wait_for
from .test_services import denied

HOSTILE = [
    "a+b",
    "a b",
    "100%",
    "a%2Bb",
    "a%20b",
    "x&y<z>'\"",
    "größe/日本/😀.csv",
    "line\nfeed",
    "carriage\rreturn",
    "tab\there",
    "/leading",
    "//twice",
    "trailing/",
    "dots/../up",
    "./here",
    "~*()!$,:=@;?#[]\\|^`{}",
    " space at both ends ",
    "plus/+/+.csv",
]
UNWRITABLE = "bell\x07"


@pytest.fixture(scope="module")
def s3(root: Account) -> Any:
    return root.client("s3")


@pytest.fixture(scope="module", params=["plain", "versioned"])
def hostile(s3: Any, request: pytest.FixtureRequest) -> str:
    """A bucket with all hostile keys, each put twice, that tests only read."""
    return filled(s3, f"hostile-{request.param}", request.param)


@pytest.fixture(params=["plain", "versioned"])
def doomed(s3: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """The same for one test alone, which empties it: a bucket that is not empty cannot be deleted."""
    yield filled(s3, f"doomed-{request.param}", request.param)
    s3.delete_bucket(Bucket=f"doomed-{request.param}")


def filled(s3: Any, name: str, kind: str) -> str:
    s3.create_bucket(Bucket=name)
    if kind == "versioned":
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for key in HOSTILE:
        for body in (b"old", key.encode()):
            s3.put_object(Bucket=name, Key=key, Body=body)
    return name


def empty(s3: Any, bucket: str) -> None:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", []) + page.get("DeleteMarkers", []):
            s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])


def text(root: Account, bucket: str, **query: str) -> str:
    """The answer to a list call with exactly these parameters: the SDK would ask for encoded names and decode them."""
    url = f"{root.endpoint}/{bucket}?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}"
    request = botocore.awsrequest.AWSRequest("GET", url)
    key = botocore.credentials.Credentials(root.key, root.secret)
    botocore.auth.S3SigV4Auth(key, "s3", "us-east-1").add_auth(request)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(request.headers))) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.read().decode())


def texts(document: str, path: str) -> list[str]:
    return [found.text or "" for found in ElementTree.fromstring(document).findall(path)]


LISTS = {
    "ListObjects": ({}, "{*}Contents/{*}Key"),
    "ListObjectsV2": ({"list-type": "2"}, "{*}Contents/{*}Key"),
    "ListObjectVersions": ({"versions": ""}, "{*}Version/{*}Key"),
}


@pytest.mark.parametrize("call", LISTS)
def test_list_has_every_key_as_it_is_and_as_a_client_decodes_it(root: Account, hostile: str, call: str) -> None:
    query, path = LISTS[call]
    want = sorted(HOSTILE)
    plain = texts(text(root, hostile, **query), path)
    encoded = texts(text(root, hostile, **query, **{"encoding-type": "url"}), path)
    assert list(dict.fromkeys(plain)) == want
    assert [urllib.parse.unquote_plus(key) for key in dict.fromkeys(encoded)] == want


def test_names_are_encoded_as_aws_encodes_them(root: Account, s3: Any) -> None:
    s3.create_bucket(Bucket="encoded")
    names = {
        "a b": "a+b",
        "a+b": "a%2Bb",
        "100%.csv": "100%25.csv",
        "한글/x": "%ED%95%9C%EA%B8%80/x",
        "~*": "%7E*",
        "(3)": "%283%29",
    }
    for key in names:
        s3.put_object(Bucket="encoded", Key=key)
    for query, path in LISTS.values():
        assert sorted(texts(text(root, "encoded", **query, **{"encoding-type": "url"}), path)) == sorted(names.values())
    empty(s3, "encoded")


@pytest.mark.parametrize("call", ["list_objects", "list_objects_v2", "list_object_versions"])
@pytest.mark.parametrize("size", [1, 1000])
def test_pages_lose_and_repeat_no_key(s3: Any, hostile: str, call: str, size: int) -> None:
    found = []
    for page in s3.get_paginator(call).paginate(Bucket=hostile, PaginationConfig={"PageSize": size}):
        found += [item["Key"] for item in page.get("Contents", []) + page.get("Versions", [])]
    each = 2 if call == "list_object_versions" and hostile.endswith("versioned") else 1
    assert found == [key for key in sorted(HOSTILE) for _ in range(each)]


@pytest.mark.parametrize("call", ["list_objects", "list_objects_v2", "list_object_versions"])
@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("delimiter", ["/", "+"])
def test_pages_with_a_delimiter_hold_each_prefix_once(
    s3: Any, hostile: str, call: str, size: int, delimiter: str
) -> None:
    keys, prefixes = set(), []
    for page in s3.get_paginator(call).paginate(
        Bucket=hostile, Delimiter=delimiter, PaginationConfig={"PageSize": size}
    ):
        keys |= {item["Key"] for item in page.get("Contents", []) + page.get("Versions", [])}
        prefixes += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
        assert page["Delimiter"] == delimiter
    assert keys == {key for key in HOSTILE if delimiter not in key}
    assert prefixes == sorted({key[: key.index(delimiter) + len(delimiter)] for key in HOSTILE if delimiter in key})


def test_what_is_asked_for_comes_back_encoded_but_tokens_and_ids_do_not(root: Account, hostile: str) -> None:
    asked = {"encoding-type": "url", "prefix": "plus/+", "delimiter": "+"}
    names = {"Prefix": "plus/%2B", "Delimiter": "%2B", "EncodingType": "url"}
    for call, markers in {
        "ListObjects": {"marker": ("Marker", "a b+", "a+b%2B")},
        "ListObjectsV2": {
            "start-after": ("StartAfter", "a b+", "a+b%2B"),
            "continuation-token": ("ContinuationToken", "YSBi", "YSBi"),
        },
        "ListObjectVersions": {
            "key-marker": ("KeyMarker", "a b+", "a+b%2B"),
            "version-id-marker": ("VersionIdMarker", "a+/=", "a+/="),
        },
    }.items():
        document = text(
            root, hostile, **LISTS[call][0], **asked, **{name: value for name, (_, value, _) in markers.items()}
        )
        for tag, want in names.items() | {(tag, want) for tag, _, want in markers.values()}:
            assert texts(document, f"{{*}}{tag}") == [want], (call, tag)
        assert texts(document, "{*}CommonPrefixes/{*}Prefix") == ["plus/%2B/%2B"], call


def test_next_markers_are_encoded_too(root: Account, hostile: str) -> None:
    one = {"encoding-type": "url", "prefix": "a", "max-keys": "1", "delimiter": "/"}
    assert texts(text(root, hostile, **one), "{*}NextMarker") == ["a+b"]
    assert texts(text(root, hostile, **one, marker="a b"), "{*}NextMarker") == ["a%2520b"]
    assert texts(text(root, hostile, **one, versions="", **{"key-marker": "a b"}), "{*}NextKeyMarker") == ["a%2520b"]
    assert texts(text(root, hostile, **one, **{"list-type": "2"}), "{*}NextContinuationToken") == ["YSBi"]
    nothing = text(root, hostile, **one | {"max-keys": "0"})
    assert texts(nothing, "{*}IsTruncated") == ["false"]
    assert texts(nothing, "{*}Contents") == []


def test_list_without_encoding_writes_what_xml_cannot_hold_as_a_reference(root: Account, s3: Any) -> None:
    s3.create_bucket(Bucket="unwritable")
    s3.put_object(Bucket="unwritable", Key=UNWRITABLE)
    for query, path in LISTS.values():
        document = text(root, "unwritable", **query)
        assert "<Key>bell&#x7;</Key>" in document
        with pytest.raises(ElementTree.ParseError, match="invalid character number"):
            ElementTree.fromstring(document)
        assert texts(text(root, "unwritable", **query, **{"encoding-type": "url"}), path) == ["bell%07"]
    empty(s3, "unwritable")
    s3.delete_bucket(Bucket="unwritable")


@pytest.mark.parametrize("kind", [{}, {"list-type": "2"}, {"versions": ""}, {"uploads": ""}])
def test_parameters_that_aws_does_not_take_are_refused(root: Account, bucket: str, kind: dict[str, str]) -> None:
    limit = "max-uploads" if "uploads" in kind else "max-keys"
    for name, value, message in (
        ("encoding-type", "base64", "Invalid Encoding Method specified in Request"),
        (limit, "-1", f"Provided {limit} not an integer or within integer range"),
        (limit, "two", f"Provided {limit} not an integer or within integer range"),
    ):
        document = text(root, bucket, **kind, **{name: value})
        found = [texts(document, tag) for tag in ("Code", "Message", "ArgumentName", "ArgumentValue")]
        assert found == [["InvalidArgument"], [message], [name], [value]]


def test_version_marker_without_key_marker_is_refused(root: Account, bucket: str) -> None:
    document = text(root, bucket, versions="", **{"version-id-marker": "x"})
    assert texts(document, "Message") == ["A version-id marker cannot be specified without a key marker."]


def test_page_goes_on_after_a_version_that_was_deleted_meanwhile(s3: Any, doomed: str) -> None:
    """As who empties a bucket page by page does it."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=doomed, PaginationConfig={"PageSize": 1}):
        for version in page.get("Versions", []):
            s3.delete_object(Bucket=doomed, Key=version["Key"], VersionId=version["VersionId"])
    assert "Versions" not in s3.list_object_versions(Bucket=doomed)


def test_versions_and_delete_markers_are_deleted_in_one_call(s3: Any, doomed: str) -> None:
    s3.delete_objects(Bucket=doomed, Delete={"Objects": [{"Key": key} for key in HOSTILE]})
    assert "Contents" not in s3.list_objects_v2(Bucket=doomed)
    listed = s3.list_object_versions(Bucket=doomed)
    every = [
        {"Key": v["Key"], "VersionId": v["VersionId"]}
        for v in listed.get("Versions", []) + listed.get("DeleteMarkers", [])
    ]
    if every:
        gone = s3.delete_objects(Bucket=doomed, Delete={"Objects": every})
        assert {item["Key"] for item in gone["Deleted"]} == set(HOSTILE)
        assert "Errors" not in gone
    listed = s3.list_object_versions(Bucket=doomed)
    assert "Versions" not in listed
    assert "DeleteMarkers" not in listed


def test_uploads_are_listed_page_by_page(root: Account, s3: Any) -> None:
    s3.create_bucket(Bucket="uploads")
    started = {}
    for key in [*HOSTILE, "a+b"]:
        started[s3.create_multipart_upload(Bucket="uploads", Key=key)["UploadId"]] = key
    document = text(root, "uploads", uploads="", **{"encoding-type": "url"})
    assert sorted(urllib.parse.unquote_plus(key) for key in texts(document, "{*}Upload/{*}Key")) == sorted(
        [*HOSTILE, "a+b"]
    )
    for size in (1, 1000):
        found = []
        for page in s3.get_paginator("list_multipart_uploads").paginate(
            Bucket="uploads", PaginationConfig={"PageSize": size}
        ):
            found += [(item["Key"], item["UploadId"]) for item in page.get("Uploads", [])]
        assert found == sorted((key, upload) for upload, key in started.items())
    groups = s3.list_multipart_uploads(Bucket="uploads", Delimiter="+")
    assert [item["Prefix"] for item in groups["CommonPrefixes"]] == ["a+", "plus/+"]
    for upload, key in started.items():
        assert s3.list_parts(Bucket="uploads", Key=key, UploadId=upload)["Key"] == key
        s3.abort_multipart_upload(Bucket="uploads", Key=key, UploadId=upload)


@pytest.mark.parametrize("key", [*HOSTILE, UNWRITABLE])
def test_object_is_reached_by_every_way_that_names_it(root: Account, s3: Any, key: str) -> None:
    s3.create_bucket(Bucket="reached")
    s3.put_object(Bucket="reached", Key=key, Body=b"content")
    assert s3.get_object(Bucket="reached", Key=key, Range="bytes=3-4")["Body"].read() == b"te"
    s3.copy_object(Bucket="reached", Key=key + "~", CopySource={"Bucket": "reached", "Key": key})
    assert s3.head_object(Bucket="reached", Key=key + "~")["ContentLength"] == 7
    with urllib.request.urlopen(s3.generate_presigned_url("get_object", {"Bucket": "reached", "Key": key})) as answer:
        assert answer.read() == b"content"
    s3.delete_object(Bucket="reached", Key=key)
    s3.delete_object(Bucket="reached", Key=key + "~")
    assert s3.list_objects_v2(Bucket="reached")["KeyCount"] == 0


def test_event_names_the_key_encoded(root: Account, s3: Any) -> None:
    sqs = root.client("sqs")
    s3.create_bucket(Bucket="hostile-landing")
    policy = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": "*",
    }
    attributes = {"Policy": json.dumps({"Version": "2012-10-17", "Statement": [policy]})}
    queue = sqs.create_queue(QueueName="hostile", Attributes=attributes)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.put_bucket_notification_configuration(
        Bucket="hostile-landing",
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
    )
    for key in HOSTILE:
        s3.put_object(Bucket="hostile-landing", Key=key)
    names: list[str] = []

    def received() -> bool:
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            for record in json.loads(message["Body"]).get("Records", []):  # the first message is a test of S3's own
                names.append(record["s3"]["object"]["key"])
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return len(names) >= len(HOSTILE)

    wait_for(received)
    assert sorted(urllib.parse.unquote_plus(name) for name in names) == sorted(HOSTILE)
    assert {"a%2Bb", "a+b", "100%25", "a%252Bb"} <= set(names)


def test_missing_bucket_is_refused_before_its_parameters(s3: Any) -> None:
    for call in (s3.list_objects, s3.list_objects_v2, s3.list_object_versions, s3.list_multipart_uploads):
        assert denied(call, Bucket="no-such-bucket") == "NoSuchBucket"
