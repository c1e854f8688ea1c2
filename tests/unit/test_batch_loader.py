"""Many who ask at once, and the few questions that are put for them."""

import asyncio
from collections.abc import Sequence

import pytest

from headrace.api.live.batch_loader import BatchLoader

SECONDS = 5


class Oracle:
    """Doubles even numbers and knows no odd ones; *open* lets it answer."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def __call__(self, keys: Sequence[int]) -> dict[int, int]:
        self.asked.append(list(keys))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return {key: 2 * key for key in keys if key % 2 == 0}


async def test_those_who_ask_in_one_turn_share_a_question() -> None:
    oracle = Oracle()
    together = BatchLoader(oracle, most=100)

    answers = await asyncio.gather(*(together.get(key) for key in (1, 2, 2, 4)))

    assert answers == [None, 4, 4, 8]
    assert oracle.asked == [[1, 2, 4]]


async def test_what_gathers_meanwhile_is_the_next_question_and_never_an_old_answer() -> None:
    oracle = Oracle()
    together = BatchLoader(oracle, most=2)
    oracle.open.clear()
    first = asyncio.create_task(together.get(2))
    async with asyncio.timeout(SECONDS):
        while not oracle.asked:
            await asyncio.sleep(0)
    later = [asyncio.create_task(together.get(key)) for key in (2, 4, 6)]
    await asyncio.sleep(0)
    oracle.open.set()

    assert await asyncio.gather(first, *later) == [4, 4, 8, 12]
    assert oracle.asked == [[2], [2, 4], [6]]


async def test_an_error_is_everybodys_and_does_not_stay() -> None:
    oracle = Oracle()
    together = BatchLoader(oracle, most=100)
    oracle.error = OSError("away")

    results = await asyncio.gather(together.get(2), together.get(4), return_exceptions=True)

    assert [str(result) for result in results] == ["away", "away"]
    oracle.error = None
    assert await together.get(2) == 4


async def test_one_who_leaves_takes_no_answer_from_the_others() -> None:
    oracle = Oracle()
    together = BatchLoader(oracle, most=100)
    oracle.open.clear()
    leaving, staying = (asyncio.create_task(together.get(2)) for _ in range(2))
    await asyncio.sleep(0)

    leaving.cancel()
    oracle.open.set()

    assert await staying == 4
    with pytest.raises(asyncio.CancelledError):
        await leaving
