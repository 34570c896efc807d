"""What the services that we add to MiniStack have in common: requests checked by AWS's own models, refusals, and time."""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from ministack.core.responses import error_response_json, json_response
from ministack.core.router import extract_access_key_id

from local.cloud import models, roles

Data = dict[str, Any]


class Refused(Exception):
    """A request that the service refuses, with the error's code."""

    def __init__(self, message: str, code: str = "ValidationException") -> None:
        super().__init__(message)
        self.code = code


class Service:
    """Answers the operations that it has a method `_do_<Operation>` for, one at a time."""

    name = ""
    """Botocore's name of the service."""
    invalid = "ValidationException"
    """The code of what the service's model or IAM does not allow."""
    content_type = "application/x-amz-json-1.1"

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._caller = ""

    def answer(self, operation: str, data: Data, headers: Data, query_params: Data) -> Any:
        """The answer to one request, or the error that AWS would give."""
        handler: Callable[[Data], Data | None] | None = getattr(self, f"_do_{operation}", None)
        if handler is None:
            message = f"the local cloud does not know the {self.name} operation {operation!r}"
            return self._error("UnknownOperationException", message)
        try:
            models.check_input(self.name, operation, data)
            with self._lock:
                self._caller = extract_access_key_id(headers, query_params) or ""
                answer = copy.deepcopy(handler(data) or {})
            return json_response(answer, content_type=self.content_type)
        except (models.Invalid, roles.Refused) as error:
            return self._error(self.invalid, str(error))
        except Refused as error:
            return self._error(error.code, str(error))

    def _error(self, code: str, message: str) -> Any:
        # Clients look for one spelling or the other.
        status = {"ResourceNotFoundException": 404, "ConflictException": 409}.get(code, 400)
        return error_response_json(code, message, status, {"Message": message}, content_type=self.content_type)


def parse(body: bytes) -> Data:
    """A JSON request."""
    try:
        data = json.loads(body or b"{}")
    except ValueError as error:
        raise models.Invalid(str(error)) from error
    if not isinstance(data, dict):
        raise models.Invalid("the request is no JSON object")
    return data


def now() -> float:
    """The time as AWS writes it in JSON."""
    return round(time.time(), 3)


def page(member: str, items: list[Data], data: Data, token: str, size: str, most: int) -> Data:
    """So many items as are asked for, from a token on, and the next token while there are more."""
    start, count = int(data.get(token) or 0), min(data.get(size) or most, most)
    more = {token: str(start + count)} if len(items) > start + count else {}
    return {member: items[start : start + count], **more}
