"""S3's lists of objects, versions and uploads as AWS answers them: names that travel encoded, and pages that lose and repeat nothing.

MiniStack's own lists ignore `encoding-type` of versions and uploads. A client that asks for encoded names decodes what it gets, and a key
with `+` or `%` becomes another one: Terraform's provider, which empties a bucket by such a list, deletes that other key again and again.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from ministack.core.responses import get_account_id
from ministack.services import s3

_MOST = 1000  # entries of a page, whatever is asked for
_NULL = "null"
# What XML 1.0 cannot hold as it is, and the carriage return, which a parser would make a line feed.
_UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]")

Answer = tuple[int, dict[str, str], bytes]
Query = Mapping[str, Any]


def install() -> None:
    """Puts the lists in place."""
    s3._xml_body = _document
    s3._list_objects_v1 = _answering(_objects)
    s3._list_objects_v2 = _answering(_objects_2)
    s3._list_object_versions = _answering(_versions)
    s3._list_multipart_uploads = _answering(_uploads)
    stock_parts = s3._list_parts

    def list_parts(bucket: str, key: str, query: Query) -> Any:
        try:
            _number(query, "max-parts")
            _number(query, "part-number-marker")
        except _Refused as refused:
            return refused.answer(bucket)
        return stock_parts(bucket, key, query)

    s3._list_parts = list_parts


def _document(root: Element) -> bytes:
    """An answer's text. A character that XML 1.0 has no way to write is a reference all the same, which parsers refuse, as from AWS.

    "A 200 OK response can contain valid or invalid XML": https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html. How
    carriage returns are written: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html#object-key-xml-related-constraints
    """
    text = _UNWRITABLE.sub(lambda found: f"&#x{ord(found[0]):x};", tostring(root, encoding="unicode"))
    return bytes(s3.XML_DECL) + b"\n" + text.encode()


class _Refused(Exception):
    """A parameter that AWS does not take."""

    def __init__(self, message: str, name: str, value: str) -> None:
        super().__init__(message)
        self._of = {"ArgumentName": name, "ArgumentValue": value}

    def answer(self, bucket: str) -> Any:
        return s3._error("InvalidArgument", str(self), 400, f"/{bucket}", self._of)


@dataclass(frozen=True)
class _Row:
    """One entry of a list; `write` adds it to the answer, which for a common prefix is left to the page."""

    key: str
    id: str = ""
    write: Callable[[Element], None] | None = None


class _Page:
    """What is asked for, and the answer's document as it grows."""

    def __init__(self, tag: str, bucket_tag: str, bucket: str, query: Query, limit: str = "max-keys") -> None:
        encoding = s3._qp(query, "encoding-type")
        if encoding not in ("", "url"):
            raise _Refused("Invalid Encoding Method specified in Request", "encoding-type", encoding)
        self.bucket, self.encoding = bucket, encoding
        self.prefix, self.delimiter = s3._qp(query, "prefix"), s3._qp(query, "delimiter")
        self.limit = min(_number(query, limit, _MOST), _MOST)
        self.root = Element(tag, xmlns=s3.S3_NS)
        self.add(bucket_tag, bucket)
        self.add_name("Prefix", self.prefix)
        if self.delimiter:
            self.add_name("Delimiter", self.delimiter)
        if encoding:
            self.add("EncodingType", encoding)

    def name(self, value: str) -> str:
        """A key, or a part of one, as it stands in the answer: encoded as in a form where that is asked for, except for slashes.

        Which elements are encoded is listed at `EncodingType` of
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html and of its siblings. Tokens and ids are not.
        """
        if not self.encoding:
            return value
        return urllib.parse.quote_plus(value, safe="/*").replace("~", "%7E")

    def add(self, tag: str, text: str, parent: Element | None = None) -> None:
        SubElement(self.root if parent is None else parent, tag).text = text

    def add_name(self, tag: str, value: str, parent: Element | None = None) -> None:
        self.add(tag, self.name(value), parent)

    def fill(self, rows: Iterable[_Row], after: str, passed: Callable[[_Row], bool] = lambda _row: True) -> _Row | None:
        """Adds the entries that come after a marker, and returns the last of them where more follow.

        Rows come by their keys, in the order of UTF-8. `passed` says of a row whose key is the marker whether it came on an earlier page.
        Keys with the delimiter after the prefix are one entry, in order with the others, which is left out "if it is not lexicographically
        greater than the key-marker" (the page above).
        """
        found: list[_Row] = []
        more, group = False, None
        for row in rows:
            if not row.key.startswith(self.prefix):
                continue
            cut = row.key.find(self.delimiter, len(self.prefix)) if self.delimiter else -1
            if cut >= 0:
                common = row.key[: cut + len(self.delimiter)]
                if common == group:
                    continue
                group, row = common, _Row(common)
                if common <= after:
                    continue
            elif row.key < after or (row.key == after and passed(row)):
                continue
            if len(found) == self.limit:
                more = self.limit > 0
                break
            found.append(row)
        self.add("IsTruncated", "true" if more else "false")
        self.count = len(found)
        for row in found:
            if row.write is not None:
                row.write(self.root)
        for row in found:
            if row.write is None:
                self.add_name("Prefix", row.key, SubElement(self.root, "CommonPrefixes"))
        return found[-1] if more else None

    def people(self, parent: Element, initiator: bool = False) -> None:
        """The owner, and before it the initiator of an upload."""
        for tag, who in (("Initiator", get_account_id()), ("Owner", s3._canonical_owner_id()))[0 if initiator else 1 :]:
            person = SubElement(parent, tag)
            self.add("ID", who, person)
            self.add("DisplayName", "ministack", person)


def _number(query: Query, name: str, default: int = 0) -> int:
    """A parameter that is a number of 32 bits, and not negative."""
    text = s3._qp(query, name)
    if not text:
        return default
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) >= 1 << 31:
        raise _Refused(f"Provided {name} not an integer or within integer range", name, text)
    return int(text)


def _answering(listing: Callable[[str, Query], _Page]) -> Callable[[str, Query], Any]:
    def answered(bucket: str, query: Query) -> Any:
        if s3._ensure_bucket(bucket) is None:
            return s3._no_such_bucket(bucket)
        try:
            return 200, {"Content-Type": "application/xml"}, _document(listing(bucket, query).root)
        except _Refused as refused:
            return refused.answer(bucket)

    return answered


def _objects(bucket: str, query: Query) -> _Page:
    page = _Page("ListBucketResult", "Name", bucket, query)
    marker = s3._qp(query, "marker")
    page.add_name("Marker", marker)
    page.add("MaxKeys", str(page.limit))
    last = page.fill(_current(page, owner=True), marker)
    if last is not None and page.delimiter:  # without one, the last key is the next marker
        page.add_name("NextMarker", last.key)
    return page


def _objects_2(bucket: str, query: Query) -> _Page:
    page = _Page("ListBucketResult", "Name", bucket, query)
    after, token = s3._qp(query, "start-after"), s3._qp(query, "continuation-token")
    if after:
        page.add_name("StartAfter", after)
    if token:
        page.add("ContinuationToken", token)
        try:
            after = base64.b64decode(token, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise _Refused("The continuation token provided is incorrect", "continuation-token", token) from None
    page.add("MaxKeys", str(page.limit))
    last = page.fill(_current(page, owner=s3._qp(query, "fetch-owner") == "true"), after)
    page.add("KeyCount", str(page.count))
    if last is not None:
        page.add("NextContinuationToken", base64.b64encode(last.key.encode()).decode())
    return page


def _current(page: _Page, owner: bool) -> Iterable[_Row]:
    """The objects of a bucket."""
    objects = s3._buckets[page.bucket]["objects"]

    def write(key: str, root: Element) -> None:
        entry = SubElement(root, "Contents")
        page.add_name("Key", key, entry)
        _describe(page, entry, objects[key])
        if owner:
            page.people(entry)

    return (_Row(key, write=functools.partial(write, key)) for key in sorted(objects))


def _describe(page: _Page, entry: Element, item: Mapping[str, Any]) -> None:
    page.add("LastModified", item["last_modified"], entry)
    page.add("ETag", item["etag"], entry)
    page.add("Size", str(item["size"]), entry)
    page.add("StorageClass", item.get("storage_class") or "STANDARD", entry)


def _versions(bucket: str, query: Query) -> _Page:
    page = _Page("ListVersionsResult", "Name", bucket, query)
    key_marker, id_marker = s3._qp(query, "key-marker"), s3._qp(query, "version-id-marker")
    if id_marker and not key_marker:
        message = "A version-id marker cannot be specified without a key marker."
        raise _Refused(message, "version-id-marker", id_marker)
    page.add_name("KeyMarker", key_marker)
    page.add("VersionIdMarker", id_marker)
    page.add("MaxKeys", str(page.limit))
    # Newest first. Who empties a bucket deletes what a page held before asking for the next one: a marker that is gone excludes nothing.
    order = [str(version["version_id"]) for version in reversed(_history(bucket, key_marker))]
    earlier = order[: order.index(id_marker) + 1] if id_marker in order else []
    last = page.fill(_all_versions(page), key_marker, lambda row: not id_marker or row.id in earlier)
    if last is not None:
        page.add_name("NextKeyMarker", last.key)
        if last.id:
            page.add("NextVersionIdMarker", last.id)
    return page


def _history(bucket: str, key: str) -> list[dict[str, Any]]:
    """All versions of a key, the oldest first: an object of before versioning is its version `null`."""
    if history := s3._object_versions.get((bucket, key)):
        return list(history)
    current = s3._buckets[bucket]["objects"].get(key)
    if current is None:
        return []
    return [{**current, "version_id": current.get("version_id") or _NULL, "is_latest": True}]


def _all_versions(page: _Page) -> Iterable[_Row]:
    """The versions of a bucket and its delete markers."""

    def write(key: str, version: Mapping[str, Any], root: Element) -> None:
        marker = version.get("is_delete_marker")
        entry = SubElement(root, "DeleteMarker" if marker else "Version")
        page.add_name("Key", key, entry)
        page.add("VersionId", version["version_id"], entry)
        page.add("IsLatest", "true" if version["is_latest"] else "false", entry)
        if marker:
            page.add("LastModified", version["last_modified"], entry)
        else:
            _describe(page, entry, version)
        page.people(entry)

    keys = set(s3._buckets[page.bucket]["objects"]) | {
        key for bucket, key in s3._object_versions if bucket == page.bucket
    }
    for key in sorted(keys):
        for version in reversed(_history(page.bucket, key)):
            yield _Row(key, version["version_id"], functools.partial(write, key, version))


def _uploads(bucket: str, query: Query) -> _Page:
    page = _Page("ListMultipartUploadsResult", "Bucket", bucket, query, "max-uploads")
    key_marker, id_marker = s3._qp(query, "key-marker"), s3._qp(query, "upload-id-marker")
    page.add_name("KeyMarker", key_marker)
    # "If key-marker is not specified, the upload-id-marker parameter is ignored":
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
    page.add("UploadIdMarker", id_marker)
    page.add("MaxUploads", str(page.limit))
    last = page.fill(_open_uploads(page), key_marker, lambda row: not id_marker or row.id <= id_marker)
    if last is not None:
        page.add_name("NextKeyMarker", last.key)
        if last.id:
            page.add("NextUploadIdMarker", last.id)
    return page


def _open_uploads(page: _Page) -> Iterable[_Row]:
    """The uploads of a bucket that are neither completed nor given up."""

    def write(upload_id: str, upload: Mapping[str, Any], root: Element) -> None:
        entry = SubElement(root, "Upload")
        page.add_name("Key", upload["key"], entry)
        page.add("UploadId", upload_id, entry)
        page.people(entry, initiator=True)
        page.add("StorageClass", upload.get("storage_class") or "STANDARD", entry)
        page.add("Initiated", upload["created"], entry)

    found = [
        (upload["key"], i, upload) for i, upload in s3._multipart_uploads.items() if upload["bucket"] == page.bucket
    ]
    for key, upload_id, upload in sorted(found, key=lambda item: item[:2]):
        yield _Row(key, upload_id, functools.partial(write, upload_id, upload))
