"""The slots of a worker: who gets a free one first, slots that an attempt keeps, and waiters that give up."""

import asyncio

import pytest

from headrace.workers.slots import AttemptSlots, Slots
from support.virtual_time import in_virtual_time, until_idle


def taken_slot() -> Slots:
    """Return the slots of a worker with a single one, which is in use."""
    slots = Slots(1)
    slots.take(1)
    return slots


@in_virtual_time
async def test_slots_are_taken_until_none_is_free() -> None:
    slots = Slots(2)
    waiters = [slots.request(has_one=False) for _ in range(3)]
    before = [waiter.done() for waiter in waiters]

    slots.give_back()

    assert (before, waiters[2].done(), slots.free) == ([True, True, False], True, 0)


@in_virtual_time
async def test_attempts_without_a_slot_are_served_in_order_and_before_those_that_want_more() -> None:
    slots = taken_slot()
    served: list[str] = []

    async def use(name: str, *, has_one: bool) -> None:
        await slots.request(has_one=has_one)
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
    slots = taken_slot()
    more = slots.request(has_one=True)
    slots.offer = lambda: True

    slots.give_back()
    offered = (slots.free, more.done())
    slots.serve_more()

    assert (offered, slots.free, more.done()) == ((1, False), 0, True)


@in_virtual_time
async def test_an_attempt_gets_one_more_slot_at_once_if_no_claim_follows() -> None:
    slots = taken_slot()
    more = slots.request(has_one=True)
    slots.offer = lambda: False

    slots.give_back()

    assert more.done()


def test_a_claim_takes_no_more_slots_than_are_free() -> None:
    slots = Slots(3)

    assert [slots.take(2), slots.take(2), slots.take(2)] == [2, 1, 0]
    slots.give_back(3)
    assert slots.free == 3


@in_virtual_time
async def test_a_waiter_that_gives_up_costs_no_slot() -> None:
    slots = taken_slot()
    first, second = (slots.request(has_one=False) for _ in range(2))

    first.cancel()
    slots.give_back()

    assert (first.cancelled(), second.done(), slots.free) == (True, True, 0)


@in_virtual_time
async def test_a_slot_that_reaches_a_step_as_it_gives_up_is_not_lost() -> None:
    slots = taken_slot()
    attempt = AttemptSlots(slots, claimed=0)
    step = asyncio.create_task(attempt.acquire())
    await until_idle()

    slots.give_back()
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    attempt.release_unused()

    assert slots.free == 1


@in_virtual_time
async def test_the_claimed_slot_is_used_by_the_first_step_and_kept_for_the_next_one() -> None:
    slots = Slots(2)
    attempt = AttemptSlots(slots, claimed=slots.take(1))
    free = [slots.free]
    for _ in range(2):
        await attempt.acquire()
        free.append(slots.free)
    for _ in range(2):
        attempt.release()
        free.append(slots.free)
    attempt.release_unused()
    attempt.release_unused()

    assert (free, slots.free) == ([1, 1, 0, 1, 1], 2)


@in_virtual_time
async def test_the_last_slot_of_an_attempt_goes_to_its_own_next_step_and_not_to_other_attempts() -> None:
    slots = Slots(1)
    wide, other = AttemptSlots(slots, claimed=slots.take(1)), AttemptSlots(slots, claimed=0)
    await wide.acquire()
    others_step, next_step = asyncio.create_task(other.acquire()), asyncio.create_task(wide.acquire())
    await until_idle()

    wide.release()
    await until_idle()
    after_first = (next_step.done(), others_step.done())
    wide.release()
    wide.release_unused()
    await until_idle()

    assert (after_first, others_step.done()) == ((True, False), True)


@in_virtual_time
async def test_only_one_step_of_an_attempt_without_a_slot_comes_before_other_attempts() -> None:
    slots = taken_slot()
    wide, other = AttemptSlots(slots, claimed=0), AttemptSlots(slots, claimed=0)
    wide_steps = [asyncio.create_task(wide.acquire()) for _ in range(3)]
    await until_idle()
    others_step = asyncio.create_task(other.acquire())
    await until_idle()

    slots.give_back(2)
    await until_idle()

    assert ([step.done() for step in wide_steps], others_step.done()) == ([True, False, False], True)
    for step in wide_steps[1:]:
        step.cancel()


@in_virtual_time
async def test_every_attempt_can_use_its_own_slot_although_others_have_taken_all_that_are_shared() -> None:
    shared = Slots(2)
    wide, other = AttemptSlots(shared, claimed=1), AttemptSlots(shared, claimed=1)
    wide_steps = [asyncio.create_task(wide.acquire()) for _ in range(5)]
    await until_idle()

    await other.acquire()

    assert [step.done() for step in wide_steps] == [True, True, True, False, False]
    for step in wide_steps[3:]:
        step.cancel()
