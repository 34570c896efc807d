"""What attempts of one SDK call are promised."""

from __future__ import annotations

import asyncio
from typing import Any

from local.cloud.repeats import answered_once


def attempts(*requests: tuple[str, str | None], status: int = 200) -> tuple[int, list[bytes]]:
    """Sends requests of (method, invocation id) one after the other; returns how many were executed, and the bodies answered."""
    executed, bodies = 0, []

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        nonlocal executed
        executed += 1
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"answer %d" % executed})

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])

    async def run() -> None:
        served = answered_once(application)
        for method, call in requests:
            headers = [(b"amz-sdk-invocation-id", call.encode())] if call else []
            await served({"type": "http", "method": method, "headers": headers}, receive, send)

    asyncio.run(run())
    return executed, bodies


def test_second_attempt_gets_the_first_answer_and_is_not_executed() -> None:
    assert attempts(("POST", "a"), ("POST", "a")) == (1, [b"answer 1", b"answer 1"])


def test_other_calls_and_other_clients_are_executed() -> None:
    assert attempts(("POST", "a"), ("POST", "b"), ("POST", None), ("POST", None)) == (
        4,
        [b"answer 1", b"answer 2", b"answer 3", b"answer 4"],
    )


def test_reads_are_executed_each_time() -> None:
    assert attempts(("GET", "a"), ("GET", "a"))[0] == 2


def test_an_error_is_worth_another_attempt() -> None:
    assert attempts(("POST", "a"), ("POST", "a"), status=429) == (2, [b"answer 1", b"answer 2"])


def test_second_attempt_waits_for_the_first() -> None:
    executed = 0

    async def run() -> list[bytes]:
        go, bodies = asyncio.Event(), []

        async def application(_scope: Any, _receive: Any, send: Any) -> None:
            nonlocal executed
            executed += 1
            await go.wait()
            await send({"type": "http.response.body", "body": b"answer"})

        async def send(message: Any) -> None:
            bodies.append(message["body"])

        async def receive() -> Any:
            raise AssertionError("nothing is read")

        served = answered_once(application)
        scope = {"type": "http", "method": "POST", "headers": [(b"amz-sdk-invocation-id", b"a")]}
        both = [asyncio.ensure_future(served(scope, receive, send)) for _ in range(2)]
        await asyncio.sleep(0)  # lets both begin
        go.set()
        await asyncio.gather(*both)
        return bodies

    assert asyncio.run(run()) == [b"answer", b"answer"]
    assert executed == 1


def test_second_attempt_gets_the_answer_that_the_first_lost_with_its_connection() -> None:
    executed = 0

    async def run() -> list[bytes]:
        go, bodies = asyncio.Event(), []

        async def application(_scope: Any, _receive: Any, send: Any) -> None:
            nonlocal executed
            executed += 1
            await go.wait()
            await send({"type": "http.response.body", "body": b"answer"})

        async def lost(_message: Any) -> None:
            raise ConnectionResetError

        async def send(message: Any) -> None:
            bodies.append(message["body"])

        async def receive() -> Any:
            raise AssertionError("nothing is read")

        served = answered_once(application)
        scope = {"type": "http", "method": "POST", "headers": [(b"amz-sdk-invocation-id", b"a")]}
        first = asyncio.ensure_future(served(scope, receive, lost))
        await asyncio.sleep(0)  # lets it begin
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        go.set()
        await served(scope, receive, send)
        return bodies

    assert asyncio.run(run()) == [b"answer"]
    assert executed == 1


def test_answers_together_take_a_bounded_part_of_memory() -> None:
    """A thousand readings of a table with answers of 100 KB: the last are given again, the first are executed again."""
    executed = 0

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        nonlocal executed
        executed += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(100_000)})

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def send(_message: Any) -> None:
        pass

    async def run() -> tuple[int, int]:
        served = answered_once(application)
        calls = [f"call {n}".encode() for n in range(1000)]

        async def again(call: bytes) -> bool:
            before = executed
            await served(
                {"type": "http", "method": "POST", "headers": [(b"amz-sdk-invocation-id", call)]}, receive, send
            )
            return executed == before

        for call in calls:
            assert not await again(call)
        kept = [await again(call) for call in reversed(calls[-167:])]
        return sum(kept), executed

    # 16 MB are 167 answers of 100 KB, and no call more was executed.
    assert asyncio.run(run()) == (167, 1000)
