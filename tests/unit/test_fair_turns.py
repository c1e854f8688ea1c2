"""Users take turns for a few places, and each holds at most a share of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import pytest

from headrace.adapters.fair_turns import CALLER, FairTurns, TooManyAtOnceError, share_of
from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.database import TRANSIENT, DatabaseBusyError, DatabaseTimeoutError
from support.patience import PATIENCE_SECONDS

ADA, BOB, CYD = uuid4(), uuid4(), uuid4()
NAMES = {ADA: "ada", BOB: "bob", CYD: "cyd", None: "service"}


TASKS: list["asyncio.Task[None]"] = []


@pytest.fixture(autouse=True)
async def leaving() -> AsyncIterator[None]:
    """Send all tasks of a test out at its end."""
    yield
    await cancel_and_wait(TASKS)
    TASKS.clear()


class Room:
    """A few places, the names of those who came in, in order, and tasks that stay until they are sent out."""

    def __init__(
        self,
        places: int,
        share: int,
        wait_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.turns = FairTurns(places, share, wait_seconds, clock)
        self.entered: list[str] = []
        self._stays: list[asyncio.Event] = []

    async def come(self, *users: UUID | None) -> list["asyncio.Task[None]"]:
        tasks = []
        for user in users:
            CALLER.set(user)
            tasks.append(asyncio.create_task(self._stay(user)))
        CALLER.set(None)
        TASKS.extend(tasks)
        await settle()
        return tasks

    async def send_out(self, count: int = 1) -> None:
        for _ in range(count):
            self._stays.pop(0).set()
            await settle()

    async def _stay(self, user: UUID | None) -> None:
        async with self.turns.hold():
            self.entered.append(NAMES[user])
            self._stays.append(stay := asyncio.Event())
            await stay.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_users_take_turns_however_many_requests_of_one_wait() -> None:
    room = Room(places=1, share=1)

    await room.come(CYD, *[ADA] * 100, BOB, BOB, CYD)
    await room.send_out(8)

    assert room.entered == ["cyd", "ada", "bob", "cyd", "ada", "bob", "ada", "ada", "ada"]


async def test_a_user_holds_no_more_than_a_share_although_places_are_free() -> None:
    room = Room(places=4, share=2)

    await room.come(*[ADA] * 5)
    assert room.entered == ["ada", "ada"]
    await room.come(BOB, CYD, BOB)
    assert room.entered == ["ada", "ada", "bob", "cyd"]
    await room.send_out()

    assert room.entered == ["ada", "ada", "bob", "cyd", "ada"]


async def test_the_service_itself_may_hold_all_places_and_takes_turns_with_users() -> None:
    room = Room(places=3, share=2)

    await room.come(*[None] * 5, ADA)
    assert room.entered == ["service"] * 3
    await room.send_out(2)

    assert room.entered == ["service"] * 4 + ["ada"]


async def test_a_wait_ends_with_an_error_that_says_whose_requests_are_in_the_way() -> None:
    room = Room(places=3, share=2, wait_seconds=0.01)
    await room.come(ADA, ADA)

    (third,) = await room.come(ADA)
    with pytest.raises(DatabaseBusyError, match="connections are in use"):
        await third
    CALLER.set(BOB)
    room.turns.release(await room.turns.acquire())
    (third,) = await room.come(ADA)
    with pytest.raises(TooManyAtOnceError, match="2 of your requests") as refusal:
        await third
    # A stream tries again after such an error.
    assert isinstance(refusal.value, TRANSIENT)
    await room.come(BOB)
    (late,) = await room.come(CYD)
    with pytest.raises(DatabaseBusyError, match="connections are in use"):
        await late
    await room.send_out(3)
    await room.come(CYD, ADA)

    assert room.entered == ["ada", "ada", "bob", "cyd", "ada"]


async def test_postgresql_is_suspected_if_nobody_gave_a_place_back_during_a_whole_wait() -> None:
    clock, suspicions = [0.0], list[float]()
    turns = FairTurns(2, 1, 0.01, lambda: clock[0], suspect=lambda: suspicions.append(clock[0]))
    CALLER.set(BOB)
    of_bob = await turns.acquire()
    CALLER.set(ADA)
    await turns.acquire()

    with pytest.raises(DatabaseTimeoutError, match="no request"):
        await turns.acquire()
    waiting = asyncio.create_task(turns.acquire())
    await settle()
    turns.release(of_bob)
    with pytest.raises(TooManyAtOnceError):
        await waiting
    clock[0] = 1.0
    with pytest.raises(DatabaseTimeoutError):
        await turns.acquire()

    assert suspicions == [0.0, 1.0]


@pytest.mark.parametrize("give_turn_first", [False, True], ids=["while_waiting", "as_the_turn_comes"])
async def test_a_request_that_is_cancelled_leaves_its_turn_to_others(give_turn_first: bool) -> None:
    room = Room(places=1, share=1)
    await room.come(ADA)
    leaving, _ = await room.come(BOB, CYD)

    steps: list[Callable[[], object]] = [leaving.cancel, room._stays[0].set]
    for step in reversed(steps) if give_turn_first else steps:
        step()
    await settle()

    assert leaving.cancelled()
    assert room.entered == ["ada", "cyd"]


async def test_after_a_dear_request_a_user_holds_one_place_for_a_while() -> None:
    clock = [0.0]
    room = Room(places=4, share=2, clock=lambda: clock[0])
    await room.come(*[ADA] * 3, BOB)

    clock[0] = 1.0
    await room.send_out()
    await room.come(ADA)
    assert room.entered == ["ada", "ada", "bob"]
    await room.send_out()
    assert room.entered == ["ada", "ada", "bob", "ada"]
    await room.come(CYD, CYD)
    clock[0] = 5.1
    await room.come(ADA)
    await room.send_out()

    assert room.entered == ["ada", "ada", "bob", "ada", "cyd", "cyd", "ada"]


async def test_a_user_who_is_alone_may_hold_all_places_but_a_share_even_after_dear_requests() -> None:
    clock = [0.0]
    room = Room(places=8, share=2, clock=lambda: clock[0])

    await room.come(*[ADA] * 8)
    assert room.entered == ["ada"] * 6
    clock[0] = 1.0
    await room.send_out(2)
    assert room.entered == ["ada"] * 8
    await room.come(BOB, CYD)
    assert room.entered[8:] == ["bob", "cyd"]
    await room.send_out(8)
    await room.come(*[ADA] * 2)
    assert room.entered[10:] == ["ada"]
    await room.send_out()
    clock[0] = 62.0
    await room.come(*[ADA] * 7)

    assert room.entered[11:] == ["ada"] * 6


async def test_the_clock_of_a_turn_starts_again_when_its_connection_is_open() -> None:
    clock = [0.0]
    turns = FairTurns(4, 2, PATIENCE_SECONDS, lambda: clock[0])
    CALLER.set(BOB)
    turns.release(await turns.acquire())
    CALLER.set(ADA)
    turn = await turns.acquire()
    clock[0] = 1.0

    turns.release(turns.restart_clock(turn))

    assert [(await turns.acquire()).user for _ in range(2)] == [ADA, ADA]


async def test_a_request_that_is_cancelled_with_its_turn_in_hand_gives_it_back() -> None:
    turns = FairTurns(1, 1, PATIENCE_SECONDS)
    CALLER.set(ADA)
    first = await turns.acquire()
    CALLER.set(BOB)
    waiting = asyncio.create_task(turns.acquire())
    await settle()

    turns.release(first)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert (await turns.acquire()).user == BOB


def test_a_share_is_a_quarter_and_at_least_two() -> None:
    assert [share_of(places) for places in (2, 4, 6, 10, 16, 40)] == [2, 2, 2, 3, 4, 10]
