"""A user whose requests take much of the event loop yields to others, as long as there are others."""

import asyncio
from uuid import uuid4

import pytest

from headrace.adapters.fair_turns import CALLER
from headrace.api.server.paced_app import PacedApp
from headrace.api.server.turns import TurnBudget, Turns, YieldingBudget
from headrace.api.server.user_loads import UserLoads
from support.virtual_time import in_virtual_time

ADA, MALLORY = uuid4(), uuid4()
STEP_SECONDS = 0.02


def test_a_load_fades() -> None:
    now = [0.0]
    loads = UserLoads(lambda: now[0])

    loads.add(MALLORY, 0.2)
    loads.add(ADA, 0.05)
    greedy = [user for user in (ADA, MALLORY) if loads.is_greedy(user)]
    now[0] = 1.0
    loads.add(ADA, 0.05)
    later = [user for user in (ADA, MALLORY) if loads.is_greedy(user)]

    assert (greedy, later) == ([MALLORY], [])


def test_the_loads_of_users_who_come_no_more_are_forgotten() -> None:
    now = [0.0]
    loads = UserLoads(lambda: now[0])
    for _ in range(3_000):
        loads.add(uuid4(), 1.0)
        now[0] += 0.01

    assert len(loads._loads) <= 1_000


class Stand:
    """A paced application, each step of which takes time of the loop's clock, and the order of the steps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps: list[str] = []
        self.turns = Turns()
        self.turns.handling = TurnBudget(0.005, self.clock)
        self.turns.greedy_handling = YieldingBudget(0.005, self.clock)
        self.turns.loads = UserLoads(self.clock)
        self._app = PacedApp(self._handle, self.turns)

    def clock(self) -> float:
        return self.now + asyncio.get_running_loop().time()

    def request(self, name: str) -> "asyncio.Task[None]":
        return asyncio.create_task(self._app({"type": "http", "path": name, "headers": []}, None, None))  # type: ignore[arg-type]

    async def _handle(self, scope: dict[str, str], _receive: object, _send: object) -> None:
        CALLER.set(MALLORY if scope["path"].startswith("m") else ADA)
        await asyncio.sleep(0)
        for _ in range(3):
            self.steps.append(scope["path"])
            self.now += STEP_SECONDS
            await asyncio.sleep(0)


async def test_a_light_user_waits_for_a_step_of_a_greedy_one_and_not_for_all_requests_before() -> None:
    stand = Stand()
    stand.turns.loads.add(MALLORY, 1.0)
    stand.turns.handling_of(ADA)
    greedy = [stand.request(f"m{number}") for number in range(20)]
    light = stand.request("a")

    await asyncio.gather(light, *greedy)

    assert [place for place, name in enumerate(stand.steps) if name == "a"][-1] <= 5
    assert len(stand.steps) == 63


def test_a_greedy_user_who_is_alone_is_treated_as_all_others() -> None:
    now = [0.0]
    turns = Turns()
    turns.loads = UserLoads(lambda: now[0])
    turns.greedy_handling = YieldingBudget(0.005, lambda: now[0])
    turns.loads.add(MALLORY, 10.0)

    alone = turns.handling_of(MALLORY)
    turns.handling_of(ADA)
    beside = turns.handling_of(MALLORY)
    now[0] = 1.0

    assert (alone, beside) == (turns.handling, turns.greedy_handling)
    assert turns.handling_of(MALLORY) is turns.handling


@pytest.mark.parametrize("cancelled", [None, 3, 30])
async def test_all_who_wait_for_a_greedy_turn_get_one_though_few_look_for_it(cancelled: int | None) -> None:
    stand = Stand()
    stand.turns.loads.add(MALLORY, 100.0)
    stand.turns.handling_of(ADA)
    greedy = [stand.request(f"m{number}") for number in range(40)]
    await asyncio.sleep(0.005)
    if cancelled is not None:
        greedy[cancelled].cancel()

    await asyncio.gather(*greedy, return_exceptions=True)

    assert len(stand.steps) >= 39 * 3
    assert not stand.turns.greedy_handling.waiting


@in_virtual_time
async def test_a_greedy_user_rests_as_long_as_it_worked_while_others_use_the_loop() -> None:
    stand = Stand()
    budget = stand.turns.greedy_handling
    stand.turns.loads.add(MALLORY, 1.0)

    rests = []
    for others in (False, True):
        if others:
            stand.turns.handling_of(ADA)
        stand.turns.note_step(MALLORY, budget, STEP_SECONDS)
        began = asyncio.get_running_loop().time()
        await asyncio.create_task(_wait(budget))
        rests.append(asyncio.get_running_loop().time() - began)

    assert rests[0] == 0.0
    assert rests[1] == pytest.approx(STEP_SECONDS)


async def _wait(budget: YieldingBudget) -> None:
    await budget.wait()
