"""The process slots of a worker: reservations, waiting in order, and waiters that give up."""

import asyncio

import pytest

from headrace.workers.process_slots import ProcessSlots
from support.virtual_time import in_virtual_time, until_idle


@in_virtual_time
async def test_slots_are_taken_until_none_is_free() -> None:
    slots = ProcessSlots(2)
    await slots.acquire()
    await slots.acquire()
    third = asyncio.create_task(slots.acquire())
    await until_idle()
    waited = third.done()

    slots.release()
    await until_idle()

    assert (waited, third.done(), slots.free) == (False, True, 0)


@in_virtual_time
async def test_whoever_waits_longest_is_served_first() -> None:
    slots = ProcessSlots(1)
    await slots.acquire()
    served: list[int] = []

    async def take(number: int) -> None:
        await slots.acquire()
        served.append(number)
        slots.release()

    tasks = [asyncio.create_task(take(number)) for number in range(4)]
    await until_idle()
    slots.release()
    await asyncio.gather(*tasks)

    assert (served, slots.free) == ([0, 1, 2, 3], 1)


@in_virtual_time
async def test_a_waiter_that_gives_up_costs_no_slot() -> None:
    slots = ProcessSlots(1)
    await slots.acquire()
    first, second = (asyncio.create_task(slots.acquire()) for _ in range(2))
    await until_idle()

    first.cancel()
    slots.release()
    await until_idle()

    assert (first.cancelled(), second.done(), slots.free) == (True, True, 0)


@in_virtual_time
async def test_a_slot_that_reaches_a_waiter_as_it_gives_up_is_given_back() -> None:
    slots = ProcessSlots(1)
    await slots.acquire()
    waiter = asyncio.create_task(slots.acquire())
    await until_idle()

    slots.release()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter

    assert slots.free == 1


@in_virtual_time
async def test_a_reserved_slot_is_used_by_the_first_step_only() -> None:
    slots = ProcessSlots(2)
    reservation = slots.reserve(1)
    reserved = slots.free
    await reservation.acquire()
    first = slots.free
    await reservation.acquire()

    assert (reserved, first, slots.free) == (1, 1, 0)
    reservation.release()
    assert slots.free == 0


def test_a_reservation_that_no_step_has_used_is_given_back_once() -> None:
    slots = ProcessSlots(1)
    reservation = slots.reserve(1)

    reservation.release()
    reservation.release()

    assert slots.free == 1


def test_an_attempt_that_needs_no_process_reserves_nothing() -> None:
    slots = ProcessSlots(1)
    reservation = slots.reserve(0)

    reservation.release()

    assert slots.free == 1
