"""The process slots of a worker: who gets a free one first, reservations, and waiters that give up."""

import asyncio

import pytest

from headrace.workers.process_slots import AttemptSlots, ProcessSlots
from support.virtual_time import in_virtual_time, until_idle


async def taken_slot() -> ProcessSlots:
    """Return the slots of a worker with a single one, which is in use."""
    slots = ProcessSlots(1)
    await slots.acquire(has_one=False)
    return slots


@in_virtual_time
async def test_slots_are_taken_until_none_is_free() -> None:
    slots = ProcessSlots(2)
    for _ in range(2):
        await slots.acquire(has_one=False)
    third = asyncio.create_task(slots.acquire(has_one=False))
    await until_idle()
    waited = third.done()

    slots.give_back()
    await until_idle()

    assert (waited, third.done(), slots.free) == (False, True, 0)


@in_virtual_time
async def test_attempts_without_a_slot_are_served_in_order_and_before_those_that_want_more() -> None:
    slots = await taken_slot()
    served: list[str] = []

    async def use(name: str, *, has_one: bool) -> None:
        await slots.acquire(has_one=has_one)
        served.append(name)
        slots.give_back()

    waiting = [("more 1", True), ("first 1", False), ("more 2", True), ("first 2", False)]
    tasks = [asyncio.create_task(use(name, has_one=has_one)) for name, has_one in waiting]
    await until_idle()
    slots.give_back()
    await asyncio.gather(*tasks)

    assert (served, slots.free) == (["first 1", "first 2", "more 1", "more 2"], 1)


@in_virtual_time
async def test_a_free_slot_is_offered_to_the_queue_before_an_attempt_gets_one_more() -> None:
    slots = await taken_slot()
    more = asyncio.create_task(slots.acquire(has_one=True))
    await until_idle()
    slots.offer = lambda: True

    slots.give_back()
    await until_idle()
    offered = (slots.free, more.done())
    slots.serve_more()
    await until_idle()

    assert (offered, slots.free, more.done()) == ((1, False), 0, True)


@in_virtual_time
async def test_an_attempt_gets_one_more_slot_at_once_if_no_claim_follows() -> None:
    slots = await taken_slot()
    more = asyncio.create_task(slots.acquire(has_one=True))
    await until_idle()
    slots.offer = lambda: False

    slots.give_back()
    await until_idle()

    assert more.done()


def test_a_claim_takes_no_more_slots_than_are_free() -> None:
    slots = ProcessSlots(3)

    assert [slots.take(2), slots.take(2), slots.take(2)] == [2, 1, 0]
    slots.give_back(3)
    assert slots.free == 3


@in_virtual_time
async def test_a_waiter_that_gives_up_costs_no_slot() -> None:
    slots = await taken_slot()
    first, second = (asyncio.create_task(slots.acquire(has_one=False)) for _ in range(2))
    await until_idle()

    first.cancel()
    slots.give_back()
    await until_idle()

    assert (first.cancelled(), second.done(), slots.free) == (True, True, 0)


@in_virtual_time
async def test_a_slot_that_reaches_a_waiter_as_it_gives_up_is_given_back() -> None:
    slots = await taken_slot()
    waiter = asyncio.create_task(slots.acquire(has_one=False))
    await until_idle()

    slots.give_back()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter

    assert slots.free == 1


@in_virtual_time
async def test_a_reserved_slot_is_used_by_the_first_step_only() -> None:
    slots = ProcessSlots(2)
    attempt = AttemptSlots(slots, slots.take(1))
    reserved = slots.free
    await attempt.acquire()
    first = slots.free
    await attempt.acquire()
    both = slots.free
    attempt.release()
    attempt.release()
    attempt.release_reserved()

    assert (reserved, first, both, slots.free) == (1, 1, 0, 2)


def test_a_reserved_slot_that_no_step_has_used_is_given_back_once() -> None:
    slots = ProcessSlots(1)
    attempt = AttemptSlots(slots, slots.take(1))

    attempt.release_reserved()
    attempt.release_reserved()

    assert slots.free == 1
