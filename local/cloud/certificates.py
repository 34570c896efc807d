"""Certificates under which a cluster's machines talk to each other: what a security configuration asks for, and whether it
is there."""

from __future__ import annotations

import io
import ssl
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions

Data = dict[str, Any]
_FILES = ("privateKey.pem", "certificateChain.pem")


def fault(encryption: Data) -> str:
    """What EMR refuses in a security configuration's encryption; empty when there is nothing."""
    for switch, member in (
        ("EnableInTransitEncryption", "InTransitEncryptionConfiguration"),
        ("EnableAtRestEncryption", "AtRestEncryptionConfiguration"),
    ):
        if encryption.get(switch) and not encryption.get(member):
            return f"{switch} is true, so {member} is required."
    tls = encryption.get("InTransitEncryptionConfiguration", {}).get("TLSCertificateConfiguration", {})
    if encryption.get("EnableInTransitEncryption"):
        if tls.get("CertificateProviderType") not in ("PEM", "Custom"):
            return "CertificateProviderType must be PEM or Custom."
        address = tls.get("S3Object", "")
        if not address.startswith("s3://") or not urlsplit(address).path.strip("/"):
            return f"S3Object {address!r} is no object in S3."
    return ""


def wanted(configuration: Data) -> str | None:
    """The S3 address of the zip with certificates that a security configuration names."""
    encryption = configuration.get("EncryptionConfiguration", {})
    if not encryption.get("EnableInTransitEncryption"):
        return None
    tls = encryption["InTransitEncryptionConfiguration"]["TLSCertificateConfiguration"]
    return str(tls["S3Object"]) if tls["CertificateProviderType"] == "PEM" else None


def problem(address: str, endpoint: str, region: str, credentials: Mapping[str, str]) -> str:
    """Why machines with these credentials cannot use the zip at an address; empty when they can."""
    place = urlsplit(address)
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=credentials["AWS_SESSION_TOKEN"],
    )
    try:
        body = s3.get_object(Bucket=place.netloc, Key=place.path.lstrip("/"))["Body"].read()
        with zipfile.ZipFile(io.BytesIO(body)) as archive, tempfile.TemporaryDirectory() as folder:
            for name in _FILES:
                Path(folder, name).write_bytes(archive.read(name))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(Path(folder, _FILES[1]), Path(folder, _FILES[0]))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, KeyError, OSError) as error:
        return f"the certificate {address} cannot be used: {error}"
    except zipfile.BadZipFile:
        return f"the certificate {address} is no zip"
    return ""
