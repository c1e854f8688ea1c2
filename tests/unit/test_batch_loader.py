"""Concurrent lookups share a few batched queries."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from headrace.api.live.batch_loader import BatchLoader
from headrace.domain.database import DatabaseAwayError
from support.patience import PATIENCE_SECONDS


class Query:
    """Doubles even numbers and has no value for odd ones. It returns once *open* is set."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def __call__(self, keys: Sequence[int]) -> dict[int, int]:
        self.batches.append(list(keys))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return {key: 2 * key for key in keys if key % 2 == 0}


async def test_lookups_in_one_loop_turn_share_a_query() -> None:
    query = Query()
    loader = BatchLoader(query, max_keys=100)

    values = await asyncio.gather(*(loader.load(key) for key in (1, 2, 2, 4)))

    assert values == [None, 4, 4, 8]
    assert query.batches == [[1, 2, 4]]


async def test_lookups_during_a_query_wait_for_the_next_query() -> None:
    query = Query()
    loader = BatchLoader(query, max_keys=2)
    query.open.clear()
    first = asyncio.create_task(loader.load(2))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not query.batches:
            await asyncio.sleep(0)
    later = [asyncio.create_task(loader.load(key)) for key in (2, 4, 6)]
    await asyncio.sleep(0)
    query.open.set()

    assert await asyncio.gather(first, *later) == [4, 4, 8, 12]
    assert query.batches == [[2], [2, 4], [6]]


async def test_an_outage_fails_all_lookups_of_its_query_and_is_not_cached() -> None:
    query = Query()
    loader = BatchLoader(query, max_keys=100)
    query.error = DatabaseAwayError("restarted")

    results = await asyncio.gather(loader.load(2), loader.load(4), return_exceptions=True)

    assert list(results) == [query.error, query.error]
    assert query.batches == [[2, 4]]
    query.error = None
    assert await loader.load(2) == 4


async def test_a_key_whose_lookup_fails_does_not_fail_the_others_of_its_query() -> None:
    queries: list[list[int]] = []

    async def invert(keys: Sequence[int]) -> dict[int, float]:
        queries.append(list(keys))
        return {key: 1 / key for key in keys}

    loader = BatchLoader(invert, max_keys=100)

    first, broken, last = await asyncio.gather(*map(loader.load, (1, 0, 2)), return_exceptions=True)

    assert (first, last) == (1, 0.5)
    assert isinstance(broken, ZeroDivisionError)
    assert queries == [[1, 0, 2], [1], [0], [2]]


async def test_a_cancelled_lookup_does_not_affect_the_others() -> None:
    query = Query()
    loader = BatchLoader(query, max_keys=100)
    query.open.clear()
    leaving, staying = (asyncio.create_task(loader.load(2)) for _ in range(2))
    await asyncio.sleep(0)

    leaving.cancel()
    query.open.set()

    assert await staying == 4
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_query_has_keys_of_all_groups_alike() -> None:
    query = Query()
    loader = BatchLoader(query, max_keys=4, group_of=lambda key: key // 100)

    await asyncio.gather(*(loader.load(key) for key in (*range(100, 108), 200, 300)))

    assert query.batches == [[100, 200, 300, 101], [102, 103, 104, 105], [106, 107]]


async def test_successive_queries_have_keys_of_all_groups_alike() -> None:
    query = Query()
    loader = BatchLoader(query, max_keys=1, group_of=lambda key: key // 100)

    await asyncio.gather(*map(loader.load, (100, 101, 102, 200, 201, 300)))

    assert query.batches == [[100], [200], [300], [101], [201], [102]]


async def test_a_query_runs_in_no_callers_context() -> None:
    caller: ContextVar[str] = ContextVar("caller", default="service")
    seen = []

    async def fetch(keys: Sequence[int]) -> dict[int, int]:
        seen.append(caller.get())
        return dict.fromkeys(keys, 1)

    caller.set("ada")
    await BatchLoader(fetch, max_keys=1).load(1)

    assert seen == ["service"]
