"""Holds: steps and requests that the local cloud keeps until it is asked to let them go.

A test of what happens while something runs holds it, rather than hope that it is slow. A hold is put, read and taken away over HTTP on
the AWS side's port, below `/_local/holds/`, which is no bucket's name:

    PUT /_local/holds/NAME {"steps": REGEX}      keeps each step or job run whose command fits from starting its process
    PUT /_local/holds/NAME {"requests": REGEX}   keeps each request that fits from being executed
    GET /_local/holds/NAME                       the hold, with what it keeps now
    DELETE /_local/holds/NAME                    lets that go; what comes later meets no hold of this name

A step that is held is RUNNING to its engine, and to everybody who asks for it: it can be cancelled, runs late, and ends with its cluster.
A request that is held and whose sender goes away meanwhile is not executed: it never arrived. Holds are kept in memory only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.router import extract_access_key_id

from local.cloud.repeats import Application, Receive, Send

PATH = "/_local/holds/"
_KINDS = ("steps", "requests")
_LINE = 16 << 10  # bytes of a request's body that are compared: calls of DynamoDB or EMR are shorter


@dataclass
class _Hold:
    kind: str
    text: str
    pattern: re.Pattern[str]
    kept: list[str] = field(default_factory=list)
    over: bool = False
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def shown(self) -> dict[str, Any]:
        return {self.kind: self.text, "held": list(self.kept)}


_holds: dict[str, _Hold] = {}
_changed = threading.Condition()


def step(command: str, cancelled: Callable[[], bool]) -> bool:
    """Returns once no hold keeps the step with this command; False if it was cancelled meanwhile. `wake` has it look again."""
    with _changed:
        while (hold := _keeping("steps", command)) is not None:
            hold.kept.append(command)
            while not hold.over and not cancelled():
                _changed.wait()
            hold.kept.remove(command)
            if cancelled():
                return False
    return not cancelled()


def wake() -> None:
    """Has steps that are held look whether they were cancelled."""
    with _changed:
        _changed.notify_all()


def _keeping(kind: str, subject: str) -> _Hold | None:
    return next((hold for hold in _holds.values() if hold.kind == kind and hold.pattern.search(subject)), None)


def _end(name: str) -> None:
    if hold := _holds.pop(name, None):
        hold.over = True
        hold.let_go.set()
        _changed.notify_all()


def keeping(inner: Application) -> Application:
    """Wraps an ASGI application so that requests meet the holds, and holds can be changed."""

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await inner(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(PATH):
            status, answer = _control(scope["method"], scope["path"].removeprefix(PATH), await _read(receive) or [])
            body = json.dumps(answer).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        elif scope["type"] != "http" or not any(hold.kind == "requests" for hold in _holds.values()):
            await inner(scope, receive, send)
        elif (messages := await _read(receive)) is not None and await _passes(_line(scope, messages), receive):
            await inner(scope, _again(messages, receive), send)

    return application


def _control(method: str, name: str, messages: list[Any]) -> tuple[int, dict[str, Any]]:
    """Answers a request about the hold of a name."""
    with _changed:
        hold = _holds.get(name)
        if method == "DELETE":
            _end(name)
            return 200, {}
        if method == "GET":
            return (200, hold.shown()) if hold else (404, {"message": f"there is no hold {name}"})
        if method != "PUT":
            return 405, {"message": "a hold is put, read with GET, or deleted"}
        try:
            ((kind, text),) = json.loads(_body(messages)).items()
            if kind not in _KINDS or not name:
                raise ValueError("it has no name" if not name else f"it keeps {kind}")
            made = _Hold(kind, text, re.compile(text))
        except (ValueError, TypeError, AttributeError, re.error) as error:
            return 400, {"message": f'no hold: {error}; put {{"steps": REGEX}} or {{"requests": REGEX}}'}
        if hold and (hold.kind, hold.text) != (made.kind, made.text):
            return 409, {"message": f"hold {name} keeps {hold.kind} that fit {hold.text}; delete it first"}
        if hold is None:
            _holds[name] = made
        return 200, {}


async def _read(receive: Receive) -> list[Any] | None:
    """The messages of a whole request; None when its sender went away before it was complete."""
    messages = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        messages.append(message)
        if not message.get("more_body", False):
            return messages


def _again(messages: list[Any], receive: Receive) -> Receive:
    """Receives what was read, and then what comes."""
    left = list(messages)

    async def again() -> Any:
        return left.pop(0) if left else await receive()

    return again


def _body(messages: list[Any]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)


def _line(scope: Any, messages: list[Any]) -> str:
    """A request in one line: who asks, method, path and query, the operation where a header names it, and how its body begins."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    caller = iam_evaluator.resolve_caller_identity(extract_access_key_id(headers)) or {}
    query = scope.get("query_string", b"").decode("latin-1")
    address = scope["path"] + (f"?{query}" if query else "")
    body = _body(messages)[:_LINE].decode("utf-8", "replace")
    parts = (caller.get("userArn", "-"), scope["method"], address, headers.get("x-amz-target", "-"), body)
    return " ".join(parts).replace("\n", " ")


async def _passes(line: str, receive: Receive) -> bool:
    """Returns once no hold keeps the request; False if its sender went away meanwhile."""
    while (hold := _keeping("requests", line)) is not None:
        hold.kept.append(line)
        gone, over = asyncio.ensure_future(receive()), asyncio.ensure_future(hold.let_go.wait())
        try:
            await asyncio.wait({gone, over}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return False
        finally:
            hold.kept.remove(line)
            for waiting in (gone, over):
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await waiting
    return True
