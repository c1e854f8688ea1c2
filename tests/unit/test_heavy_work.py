"""Heavy work of many requests at once: one piece in each turn of the loop."""

import asyncio
import threading
from collections.abc import Generator
from itertools import pairwise

from headrace.domain.heavy_work import HeavyWork


def work(log: list[tuple[str, int]], name: str, pieces: int) -> Generator[None, None, str]:
    for piece in range(pieces):
        log.append((name, piece))
        yield
    return name


async def test_requests_take_turns_and_the_loop_runs_between_the_pieces() -> None:
    heavy_work = HeavyWork()
    log: list[tuple[str, int]] = []

    async def tick() -> None:
        while True:
            log.append(("loop", len(log)))
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    names = await asyncio.gather(
        *(heavy_work.run_in_turns(work(log, name, 3)) for name in ("first", "second", "third"))
    )
    ticking.cancel()

    assert names == ["first", "second", "third"]
    pieces = [entry for entry in log if entry[0] != "loop"]
    assert pieces == [(name, piece) for piece in range(3) for name in ("first", "second", "third")]
    assert all("loop" in (one[0], other[0]) for one, other in pairwise(log)), (
        "two pieces ran in one turn of the loop"
    )


async def test_calls_run_one_after_another_in_one_thread() -> None:
    heavy_work = HeavyWork()

    threads = await asyncio.gather(*(heavy_work.run_in_thread(threading.get_ident) for _ in range(5)))
    heavy_work.close()

    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
