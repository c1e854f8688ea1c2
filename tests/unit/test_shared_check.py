"""However many probes ask whether the service is ready, one check runs at a time."""

import asyncio

import pytest

from headrace.adapters.readiness import Readiness, shared_check

READY = Readiness([], [])


class Check:
    """A check that ends when the test says so."""

    def __init__(self) -> None:
        self.count = 0
        self.end = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> Readiness:
        self.count += 1
        await self.end.wait()
        if self.error is not None:
            raise self.error
        return READY


async def test_probes_that_ask_during_a_check_get_its_result_and_the_next_one_checks_again() -> None:
    check = Check()
    ask = shared_check(check)
    probes = [asyncio.ensure_future(ask()) for _ in range(100)]
    await asyncio.sleep(0)
    probes[0].cancel()  # a prober that goes away takes nothing from the others
    check.end.set()
    answers = await asyncio.gather(*probes[1:])
    during = check.count

    await ask()

    assert answers == [READY] * 99
    assert (during, check.count) == (1, 2)


async def test_a_check_that_fails_fails_for_all_who_ask_and_not_for_the_next() -> None:
    check = Check()
    check.error = ValueError("a bug")
    check.end.set()
    ask = shared_check(check)

    for answer in await asyncio.gather(ask(), ask(), return_exceptions=True):
        assert isinstance(answer, ValueError)
    check.error = None

    assert await ask() == READY
    assert check.count == 2


async def test_a_check_whose_probers_have_all_gone_goes_on_for_the_next_one() -> None:
    check = Check()
    ask = shared_check(check)
    gone = asyncio.ensure_future(ask())
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    late = asyncio.ensure_future(ask())
    await asyncio.sleep(0)
    check.end.set()

    assert await late == READY
    assert check.count == 1
