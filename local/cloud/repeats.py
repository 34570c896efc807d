"""Gives a repeated attempt of one SDK call the answer that its first attempt lost.

On a busy machine the SDKs for Go lose an answer that comes before they have noticed the end of their own request: net/http drops the
connection, and the SDK repeats the call. Against AWS that needs an answer within microseconds and does not happen; on loopback it is
one call in a hundred, and a create that is executed twice answers that the thing exists already. All attempts of one call carry the same
`amz-sdk-invocation-id`, so that the second can be given the answer to the first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]

_KEPT = 10_000  # calls; a lost answer is asked for again within seconds
_LARGEST = 1 << 20  # bytes; creates answer little
_MOST = 16 << 20  # bytes of all answers together: readings of tables are calls as well


class _Answer:
    """The answer to a call's first attempt: complete once `done` is set, and None when it is not to be given again."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.messages: list[Any] | None = []
        self.size = 0

    def add(self, message: Any) -> None:
        """Keeps a part of the answer, unless it is an error, which may be worth another try, or too large."""
        if self.messages is None:
            return
        self.size += len(message.get("body", b""))
        if message.get("status", 200) >= 400 or self.size > _LARGEST:
            self.drop()
        else:
            self.messages.append(message)

    def drop(self) -> None:
        """Gives the answer up: another attempt is executed."""
        self.messages, self.size = None, 0


def answered_once(inner: Application) -> Application:
    """Wraps an ASGI application so that attempts of one SDK call are executed once."""
    answers: OrderedDict[bytes, _Answer] = OrderedDict()
    kept = 0  # bytes

    def forget_old() -> None:
        """Keeps within the bounds. An attempt that waits for an answer has it all the same."""
        nonlocal kept
        while len(answers) > _KEPT or kept > _MOST:
            _, oldest = answers.popitem(last=False)
            kept -= oldest.size

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        call = _call(scope)
        if call is None:
            await inner(scope, receive, send)
            return
        earlier = answers.get(call)
        if earlier is not None:
            await earlier.done.wait()
            if earlier.messages:
                for message in earlier.messages:
                    await send(message)
                return
        answer = answers[call] = _Answer()
        forget_old()

        async def keep(message: Any) -> None:
            nonlocal kept
            before = answer.size
            answer.add(message)
            if answers.get(call) is answer:
                kept += answer.size - before
                forget_old()
            with contextlib.suppress(OSError, RuntimeError):  # whoever asked is gone, and asks again
                await send(message)

        async def execute() -> None:
            nonlocal kept
            try:
                await inner(scope, receive, keep)
            except BaseException:
                if answers.get(call) is answer:
                    kept -= answer.size
                answer.drop()
                raise
            finally:
                answer.done.set()

        # A connection that is lost cancels what waits on it; the call goes on, for its next attempt.
        await asyncio.shield(asyncio.create_task(execute()))

    return application


def _call(scope: Any) -> bytes | None:
    """The call that a request is an attempt of; None for what changes nothing or comes from no SDK."""
    if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
        return None
    return next((value for name, value in scope["headers"] if name.lower() == b"amz-sdk-invocation-id"), None)
