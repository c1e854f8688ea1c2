"""Suspects run in worker processes of their own: when these start, and how they end."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from headrace.adapters import periodic
from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.database import DatabaseAwayError, DatabaseBusyError
from headrace.domain.jobs.attempts.claims import HeldLease
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.settings import Settings
from headrace.workers.crash_record import CrashRecord
from headrace.workers.maintenance.quarantine import Quarantine
from support.virtual_time import in_virtual_time, running_loop, until_idle

SLOTS = 3
LEASE: HeldLease = (UUID(int=7), 4)
OTHER: HeldLease = (UUID(int=8), 1)


class ScriptedQueue:
    """A queue in which *counts* suspects are due, one count after another, and then none."""

    def __init__(self, *counts: int | Exception) -> None:
        self._counts = list(counts)
        self.moments: list[float] = []
        self.rescued: list[tuple[str, HeldLease | None]] = []
        self.is_away = False
        self.worker = SimpleNamespace(queues=("default", "night"))

    async def count_due_suspects(self, limit: int) -> int:
        self.moments.append(running_loop().passed)
        count = self._counts.pop(0) if self._counts else 0
        if isinstance(count, Exception):
            raise count
        return min(count, limit)

    async def rescue_from(self, dead_worker: str, blamed: HeldLease | None) -> list[Any]:
        if self.is_away:
            raise DatabaseAwayError("cut")
        self.rescued.append((dead_worker, blamed))
        return [f"news of {dead_worker}"]


class FakeChild:
    """A worker process whose crash record and end the test decides."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        self.command = list(command)
        self.environment = environment
        self.signals: list[Signals] = []
        self.moments: list[float] = []
        self._over = asyncio.Event()
        self._status = -SIGKILL
        path = Path(self.command[self.command.index("--crash-record") + 1])
        self.record = CrashRecord(path, f"worker-{path.stem}")

    def may_stop(self) -> bool:
        """Return whether the worker process would obey a signal."""
        assert self.record.path is not None
        return self.record.path.with_suffix(".stop").exists()

    def claim(self, lease: HeldLease) -> None:
        self.record.blame(lease)

    def end(self, *, in_order: bool = True) -> None:
        if in_order:
            self.record.clear()
        self._status = 0 if in_order else 1
        self._over.set()

    async def wait(self) -> int:
        await self._over.wait()
        return self._status

    def signal(self, number: Signals) -> None:
        self.signals.append(number)
        self.moments.append(running_loop().passed)
        if number is SIGKILL:
            self._over.set()


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[FakeChild]:
    """The started children. Time is virtual, and each pause between two checks is half a second."""
    started: list[FakeChild] = []

    def start(command: Sequence[str], *, environment: Mapping[str, str]) -> FakeChild:
        started.append(FakeChild(command, environment=environment))
        return started[-1]

    clock = SimpleNamespace(monotonic=lambda: running_loop().passed)
    monkeypatch.setattr("headrace.workers.maintenance.quarantine.time", clock)
    monkeypatch.setattr("headrace.workers.maintenance.quarantine.Child", start)
    monkeypatch.setattr(periodic, "random", SimpleNamespace(uniform=lambda _, highest: highest))
    return started


@pytest.fixture
def new_quarantine(tmp_path: Path) -> Callable[..., Quarantine]:
    def build(job_queue: ScriptedQueue, published: list[Any] | None = None) -> Quarantine:
        return Quarantine(
            cast(JobQueue, job_queue),
            Settings(stop_seconds=10),
            folder=tmp_path,
            slots=SLOTS,
            publish=(published if published is not None else []).extend,
        )

    return build


@in_virtual_time
async def test_the_queue_is_checked_twice_a_second_and_nothing_starts_without_a_due_job(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    job_queue = ScriptedQueue()
    task = asyncio.create_task(new_quarantine(job_queue).run())
    await asyncio.sleep(1.7)
    await cancel_and_wait([task])

    assert job_queue.moments == [0.5, 1, 1.5]
    assert children == []


@in_virtual_time
async def test_a_process_starts_for_each_due_suspect_but_no_more_than_there_are_slots(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    job_queue = ScriptedQueue(2, 9)
    quarantine = new_quarantine(job_queue)

    started = [await quarantine.start_due() for _ in range(3)]

    assert started == [2, 1, 0]
    assert len(children) == SLOTS
    # The queue is not checked while no slot is free.
    assert len(job_queue.moments) == 2


@in_virtual_time
async def test_no_second_process_starts_for_a_suspect_that_a_starting_process_will_claim(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    quarantine = new_quarantine(ScriptedQueue(1, 1, 1))
    before = [await quarantine.start_due() for _ in range(2)]

    children[0].claim(LEASE)
    after = await quarantine.start_due()

    assert (before, after) == ([1, 0], 1)


@in_virtual_time
async def test_a_process_that_has_claimed_nothing_for_twenty_seconds_is_not_waited_for(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    quarantine = new_quarantine(ScriptedQueue(1, 1, 1))
    await quarantine.start_due()
    await asyncio.sleep(20)
    before = await quarantine.start_due()
    await asyncio.sleep(0.1)

    assert (before, await quarantine.start_due(), len(children)) == (0, 1, 2)


@in_virtual_time
async def test_a_slot_is_free_again_when_its_process_has_ended(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    job_queue = ScriptedQueue(SLOTS, 1)
    quarantine = new_quarantine(job_queue)
    await quarantine.start_due()
    for child in children:
        child.claim(LEASE)
    full = await quarantine.start_due()

    children[1].end()
    await until_idle()

    assert (full, await quarantine.start_due()) == (0, 1)
    assert job_queue.rescued == []


@in_virtual_time
async def test_the_job_of_a_process_that_died_is_rescued_at_once_and_blamed(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    job_queue, published = ScriptedQueue(2), list[Any]()
    quarantine = new_quarantine(job_queue, published)
    await quarantine.start_due()
    children[0].claim(LEASE)
    children[1].claim(OTHER)

    children[0].end(in_order=False)
    children[1].end()
    await until_idle()

    assert job_queue.rescued == [("worker-suspect-1", LEASE)]
    assert published == ["news of worker-suspect-1"]


@in_virtual_time
async def test_a_lost_suspect_waits_for_its_lease_while_the_database_is_away(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    job_queue, published = ScriptedQueue(1, 1), list[Any]()
    quarantine = new_quarantine(job_queue, published)
    await quarantine.start_due()
    children[0].claim(LEASE)
    job_queue.is_away = True

    children[0].end(in_order=False)
    await until_idle()

    assert published == []
    assert await quarantine.start_due() == 1


@in_virtual_time
async def test_the_process_is_a_worker_for_one_suspect_with_the_same_queues_and_settings(
    children: list[FakeChild],
    new_quarantine: Callable[..., Quarantine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OF_THE_HOST", "kept")
    monkeypatch.setenv("HEADRACE_STOP_SECONDS", "99")
    await new_quarantine(ScriptedQueue(1)).start_due()

    command = children[0].command
    assert command[command.index("worker") :][:3] == ["worker", "--alone", "--suspect"]
    assert command[-4:] == ["--queue", "default", "--queue", "night"]
    assert "from headrace.cli.main import main" in command[3]
    assert children[0].environment["OF_THE_HOST"] == "kept"
    assert children[0].environment["HEADRACE_STOP_SECONDS"] == "10"


@pytest.mark.parametrize("error", [DatabaseAwayError("cut"), DatabaseBusyError("deadlock")], ids=repr)
@in_virtual_time
async def test_the_queue_is_checked_again_after_a_database_error(
    error: Exception, children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    task = asyncio.create_task(new_quarantine(ScriptedQueue(error, 1)).run())
    await asyncio.sleep(1.2)
    await cancel_and_wait([task])

    assert len(children) == 1


@in_virtual_time
async def test_a_failed_start_of_a_process_is_retried(
    children: list[FakeChild],
    new_quarantine: Callable[..., Quarantine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        raise OSError("no memory")

    quarantine = new_quarantine(ScriptedQueue(1, 1))
    with monkeypatch.context() as patched:
        patched.setattr("headrace.workers.maintenance.quarantine.Child", refuse)
        refused = await quarantine.start_due()

    assert (refused, await quarantine.start_due(), len(children)) == (0, 1, 1)


@in_virtual_time
async def test_an_unexpected_error_ends_the_quarantine(new_quarantine: Callable[..., Quarantine]) -> None:
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await new_quarantine(ScriptedQueue(RuntimeError("a fault of ours"))).run()


@in_virtual_time
async def test_a_stopped_quarantine_neither_checks_the_queue_nor_starts_a_process(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    job_queue = ScriptedQueue(0, 1)
    quarantine = new_quarantine(job_queue)
    task = asyncio.create_task(quarantine.run())
    await asyncio.sleep(0.7)

    quarantine.stop()
    await asyncio.sleep(5)
    await cancel_and_wait([task])

    assert (job_queue.moments, children) == ([0.5], [])


@in_virtual_time
async def test_a_stop_during_the_check_starts_no_process(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    class SlowQueue(ScriptedQueue):
        async def count_due_suspects(self, limit: int) -> int:
            await asyncio.sleep(1)
            return await super().count_due_suspects(limit)

    quarantine = new_quarantine(SlowQueue(1))
    running_loop().call_later(0.5, quarantine.stop)

    assert await quarantine.start_due() == 0
    assert children == []


@in_virtual_time
async def test_a_stop_signals_the_running_processes_only(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    quarantine = new_quarantine(ScriptedQueue(2))
    await quarantine.start_due()
    children[1].end()
    await until_idle()

    quarantine.stop()

    assert (children[0].signals, children[1].signals) == ([SIGTERM], [])
    assert [child.may_stop() for child in children] == [True, False]


@in_virtual_time
async def test_wait_stopped_returns_at_once_without_a_process(
    new_quarantine: Callable[..., Quarantine],
) -> None:
    await new_quarantine(ScriptedQueue()).wait_stopped(9)

    assert running_loop().passed == 0


@in_virtual_time
async def test_wait_stopped_lasts_as_long_as_the_processes_run(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    quarantine = new_quarantine(ScriptedQueue(2))
    await quarantine.start_due()
    running_loop().call_later(3, children[0].end)
    running_loop().call_later(7, children[1].end)

    await quarantine.wait_stopped(9)

    assert running_loop().passed == 7
    assert children[0].signals == children[1].signals == []


@in_virtual_time
async def test_a_process_that_does_not_stop_in_time_is_killed_and_its_job_is_not_blamed(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    job_queue = ScriptedQueue(1)
    quarantine = new_quarantine(job_queue)
    await quarantine.start_due()
    children[0].claim(LEASE)
    quarantine.stop()

    await quarantine.wait_stopped(9)

    assert children[0].signals == [SIGTERM, SIGKILL]
    assert children[0].moments == [0, 9]
    assert job_queue.rescued == []


@in_virtual_time
async def test_the_quarantine_pauses_after_a_process_that_failed_at_its_start(
    children: list[FakeChild], new_quarantine: Callable[..., Quarantine]
) -> None:
    quarantine = new_quarantine(ScriptedQueue(1, 1))
    await quarantine.start_due()

    children[0].end(in_order=False)
    await until_idle()
    at_once = await quarantine.start_due()
    await asyncio.sleep(2)

    assert (at_once, await quarantine.start_due()) == (0, 1)
