"""Google's error answers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse

NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    501: "UNIMPLEMENTED",
}
REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    501: "notImplemented",
}


class GoogleError(Exception):
    """An answer in the form that Google's clients read."""

    def __init__(self, code: int, message: str, status: str | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or NAMES.get(code, "UNKNOWN")
        self.reason = reason or REASONS.get(code, "unknown")

    def response(self) -> JSONResponse:
        """The HTTP response."""
        body = {
            "code": self.code,
            "message": self.message,
            "status": self.status,
            "errors": [{"domain": "global", "reason": self.reason, "message": self.message}],
        }
        headers = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'} if self.code == 401 else None
        return JSONResponse({"error": body}, status_code=self.code, headers=headers)


class TokenError(Exception):
    """An answer of the token endpoint, in OAuth's form."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description

    def response(self) -> JSONResponse:
        """The HTTP response."""
        return JSONResponse({"error": self.error, "error_description": self.description}, status_code=400)


async def answer(_: Request, error: Exception) -> JSONResponse:
    """Starlette's exception handler for both."""
    assert isinstance(error, (GoogleError, TokenError))
    return error.response()
