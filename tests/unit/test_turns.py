"""The work of a turn of the event loop: its time, and the order of those who wait."""

import asyncio
from contextvars import ContextVar
from itertools import pairwise

import pytest

from headrace.api.server.health_paths import HealthPaths
from headrace.api.server.turns import TurnBudget, Turns

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_budget_is_over_after_its_time_and_fresh_in_the_next_turn() -> None:
    clock = Clock()
    budget = TurnBudget(0.005, clock)

    first = budget.is_over()
    clock.now = 0.004
    in_time = budget.is_over()
    clock.now = 0.005
    late = budget.is_over()
    await asyncio.sleep(0)
    in_next_turn = budget.is_over()

    assert (first, in_time, late, in_next_turn) == (False, False, True, False)


class Holding:
    """A connection with some parts to parse, each of which takes all the time of a turn."""

    def __init__(self, name: str, parts: int, turns: Turns, clock: Clock, log: list[str]) -> None:
        self._name = name
        self._parts = parts
        self._turns = turns
        self._clock = clock
        self._log = log

    def take_turn(self) -> None:
        self._log.append(self._name)
        self._clock.now += 1
        self._parts -= 1
        if self._parts:
            self._turns.enqueue(self)


async def pass_turns() -> None:
    """Let the loop make a few turns."""
    for _ in range(3):
        await asyncio.sleep(0)


def turns_of(clock: Clock) -> Turns:
    turns = Turns(HealthPaths("/below"))
    turns.parsing = TurnBudget(0.005, clock)
    turns.health = TurnBudget(0.005, clock)
    turns.health_parsing = TurnBudget(0.002, clock)
    return turns


async def test_connections_are_parsed_one_after_another_with_the_loop_between() -> None:
    clock, log = Clock(), list[str]()
    turns = turns_of(clock)

    async def tick() -> None:
        while True:
            log.append("loop")
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    for name in ("first", "second", "third"):
        turns.enqueue(Holding(name, 2, turns, clock, log))
    while log.count("third") < 2:
        await asyncio.sleep(0)
    ticking.cancel()

    assert [name for name in log if name != "loop"] == ["first", "second", "third"] * 2
    assert all("loop" in pair for pair in pairwise(log)), log


@pytest.mark.parametrize(
    ("data", "is_at_once"),
    [
        (LIVE, True),
        (LIVE.replace(b"live", b"ready"), True),
        (LIVE.replace(b"/health", b"/below/health"), True),
        (LIVE.replace(b"/health", b"/other/health"), False),
        (LIVE.replace(b"live", b"nothing"), False),
        (LIVE.replace(b"live", b"lively"), False),
        (LIVE[:-2], False),
        (LIVE * 2, False),
        (LIVE + b"GET /api/v1/jobs HTTP/1.1\r\n", False),
        (b"POST /api/v1/jobs HTTP/1.1\r\n\r\n", False),
    ],
)
async def test_only_a_whole_health_check_passes_those_that_wait(data: bytes, is_at_once: bool) -> None:
    clock, log = Clock(), list[str]()
    turns = turns_of(clock)
    turns.enqueue(Holding("first", 1, turns, clock, log))

    assert turns.may_parse_at_once(data) == is_at_once


async def test_a_flood_of_health_checks_has_a_budget_as_well() -> None:
    clock, log = Clock(), list[str]()
    turns = turns_of(clock)
    turns.enqueue(Holding("first", 1, turns, clock, log))

    in_time = turns.may_parse_at_once(LIVE)
    clock.now += 1

    assert in_time
    assert not turns.may_parse_at_once(LIVE)


async def test_a_health_check_is_parsed_at_once_though_pipelined_ones_use_up_the_time_of_their_handling() -> (
    None
):
    clock, log = Clock(), list[str]()
    turns = turns_of(clock)
    turns.enqueue(Holding("first", 1, turns, clock, log))

    turns.health.is_over()
    clock.now += 0.006

    assert turns.health.is_over()
    assert turns.may_parse_at_once(LIVE)


async def test_requests_of_greedy_users_that_wait_do_not_keep_others_from_being_parsed() -> None:
    clock, log = Clock(), list[str]()
    turns = turns_of(clock)
    turns.greedy_handling.waiting.extend(range(64))

    turns.enqueue(Holding("first", 1, turns, clock, log))
    await pass_turns()

    assert log == ["first"]


async def test_connections_are_parsed_in_no_request_s_context() -> None:
    clock, log = Clock(), list[str]()
    turns = turns_of(clock)
    user: ContextVar[str] = ContextVar("user", default="nobody")

    class Noting(Holding):
        def take_turn(self) -> None:
            log.append(user.get())

    user.set("ada")
    turns.enqueue(Noting("first", 1, turns, clock, log))
    await pass_turns()

    assert log == ["nobody"]


async def test_nothing_is_parsed_while_many_requests_wait_to_be_handled() -> None:
    clock, log = Clock(), list[str]()
    turns = turns_of(clock)
    turns.handling.waiting.extend(range(64))
    turns.enqueue(Holding("first", 1, turns, clock, log))
    await pass_turns()
    while_they_wait = list(log)

    turns.handling.waiting.pop()
    await pass_turns()

    assert (while_they_wait, log) == ([], ["first"])
