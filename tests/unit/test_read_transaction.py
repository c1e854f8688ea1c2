"""The transaction of a GraphQL query begins after its searches, which may wait for their turn."""

import asyncio
from typing import Any, cast

from headrace.api.graphql.transaction import ReadTransaction
from headrace.domain.accounts.reach import Reach
from headrace.domain.read_model.repository import ReadRepository


class RecordedSession:
    def __init__(self, log: list[str]) -> None:
        self._log = log

    async def connection(self, **_: object) -> None:
        self._log.append("begin")

    async def close(self) -> None:
        self._log.append("end")


async def test_no_transaction_begins_while_a_search_of_the_query_waits() -> None:
    log: list[str] = []
    reads = ReadTransaction(cast("Any", lambda: RecordedSession(log)), cast("Reach", None))
    turns = [asyncio.Event(), asyncio.Event()]

    async def find(turn: asyncio.Event) -> None:
        await turn.wait()
        log.append("found")

    async def read(_: ReadRepository) -> None:
        log.append("read")

    async with asyncio.TaskGroup() as resolvers:
        resolvers.create_task(reads.run(read))
        for turn in turns:
            resolvers.create_task(reads.search(find(turn)))
        for turn in turns:
            for _ in range(20):
                await asyncio.sleep(0)
            turn.set()
    await reads.end()

    assert log == ["found", "found", "begin", "read", "end"]
