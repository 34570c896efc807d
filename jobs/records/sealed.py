"""Files that their sender encrypted: what opens them.

An object of the S3 encryption clients carries a data key in its metadata, wrapped by KMS together with a context that says what it belongs to. KMS
unwraps it for who may decrypt with the country's key; Spark's own aes_decrypt does the rest (docs/adr/0008-sealed-files.md).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.aws import KMS, ServiceError
from jobs.records.errors import InputError

OBJECT = "sluice:object"
"""What the context says the data key belongs to: the object's key. `sluice put` writes it, access policies demand it."""

MAX_BYTES = 256 * 1024 * 1024
"""How large a sealed file can be: it is opened as a whole, because nothing of it may be used before all of it is known to be unchanged."""

TAG_BYTES = 16


@dataclass(frozen=True)
class Envelope:
    """What opens one file."""

    iv: bytes
    key: bytes = field(repr=False)  # never written anywhere


def envelope(kms: KMS, name: str, metadata: Mapping[str, str]) -> Envelope:
    """Opens the envelope of the object called name; InputError says why it cannot be."""
    if "x-amz-key-v2" not in metadata:
        raise InputError(
            f"{name} is not encrypted by its sender, as its contract wants it: put it with `sluice put`, then restate the day"
        )
    if metadata.get("x-amz-cek-alg") != "AES/GCM/NoPadding" or metadata.get("x-amz-wrap-alg") != "kms+context":
        raise InputError(f"{name} is encrypted in a way that is not supported: put it with `sluice put`")
    try:
        context = json.loads(metadata["x-amz-matdesc"])
        wrapped, iv = (base64.b64decode(metadata[m], validate=True) for m in ("x-amz-key-v2", "x-amz-iv"))
    except (KeyError, ValueError, binascii.Error):
        raise InputError(f"{name} has lost what opens it: put it again, then restate the day") from None
    if not isinstance(context, dict) or context.get(OBJECT) != name:
        raise InputError(f"{name} was encrypted as another object: put it again, then restate the day")
    try:
        key = kms.decrypt(wrapped, context)
    except ServiceError as error:
        if error.kind != "InvalidCiphertextException":
            raise
        raise InputError(f"{name} has lost what opens it: put it again, then restate the day") from None
    return Envelope(iv=iv, key=key)
