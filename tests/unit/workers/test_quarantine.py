"""Jobs that were lost twice run in their own worker processes: when these start, and how they end."""

import asyncio
from collections.abc import Mapping, Sequence
from signal import SIGKILL, SIGTERM, Signals
from types import SimpleNamespace
from typing import cast

import pytest

from headrace.adapters import periodic
from headrace.adapters.tasks import cancel_and_wait
from headrace.domain.database import DatabaseAwayError, DatabaseBusyError
from headrace.domain.jobs.attempts.queue import JobQueue
from headrace.settings import Settings
from headrace.workers.maintenance.quarantine import Quarantine
from support.virtual_time import in_virtual_time, running_loop, until_idle

GRACE_SECONDS = 5


class ScriptedQueue:
    """A queue that returns each of *results* in turn, and then False."""

    def __init__(self, *results: bool | Exception) -> None:
        self._results = list(results)
        self.moments: list[float] = []
        self.worker = SimpleNamespace(queues=("default", "night"))

    async def has_due_suspect(self) -> bool:
        self.moments.append(running_loop().passed)
        result = self._results.pop(0) if self._results else False
        if isinstance(result, Exception):
            raise result
        return result


class FakeChild:
    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        self.command = list(command)
        self.environment = environment
        self.signals: list[Signals] = []
        self.moments: list[float] = []
        self._over = asyncio.Event()
        self.status: int | None = None

    def end(self) -> None:
        self.status = 0
        self._over.set()

    async def wait(self) -> int:
        await self._over.wait()
        return 0

    def signal(self, number: Signals) -> None:
        self.signals.append(number)
        self.moments.append(running_loop().passed)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[FakeChild]:
    """The started children. Each pause between two checks lasts exactly a second."""
    started: list[FakeChild] = []

    def start(command: Sequence[str], *, environment: Mapping[str, str]) -> FakeChild:
        started.append(FakeChild(command, environment=environment))
        return started[-1]

    monkeypatch.setattr("headrace.workers.maintenance.quarantine.Child", start)
    monkeypatch.setattr(periodic, "random", SimpleNamespace(uniform=lambda _, highest: highest))
    return started


def new_quarantine(job_queue: ScriptedQueue) -> Quarantine:
    return Quarantine(cast(JobQueue, job_queue), Settings(grace_seconds=GRACE_SECONDS))


@in_virtual_time
async def test_the_queue_is_checked_once_a_second_and_nothing_starts_without_a_due_job(
    children: list[FakeChild],
) -> None:
    job_queue = ScriptedQueue()
    task = asyncio.create_task(new_quarantine(job_queue).run())
    await asyncio.sleep(3.5)
    await cancel_and_wait([task])

    assert job_queue.moments == [1, 2, 3]
    assert children == []


@in_virtual_time
async def test_one_process_runs_at_a_time_and_the_queue_is_not_checked_meanwhile(
    children: list[FakeChild],
) -> None:
    job_queue = ScriptedQueue(True, True)
    task = asyncio.create_task(new_quarantine(job_queue).run())
    await asyncio.sleep(10.5)
    while_the_first_runs = (len(children), list(job_queue.moments))

    children[0].end()
    await asyncio.sleep(2)
    await cancel_and_wait([task])

    assert while_the_first_runs == (1, [1])
    assert (len(children), job_queue.moments) == (2, [1, 11.5])


@in_virtual_time
async def test_the_process_is_a_worker_for_one_suspect_with_the_same_queues_and_settings(
    children: list[FakeChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_HOST", "kept")
    monkeypatch.setenv("HEADRACE_GRACE_SECONDS", "99")
    task = asyncio.create_task(new_quarantine(ScriptedQueue(True)).run())
    await asyncio.sleep(1.5)
    await cancel_and_wait([task])

    options = ["worker", "--alone", "--suspect", "--queue", "default", "--queue", "night"]
    assert children[0].command[-7:] == options
    assert "from headrace.cli.main import main" in children[0].command[3]
    assert children[0].environment["OF_THE_HOST"] == "kept"
    assert children[0].environment["HEADRACE_GRACE_SECONDS"] == "5"


@pytest.mark.parametrize("error", [DatabaseAwayError("cut"), DatabaseBusyError("deadlock")], ids=repr)
@in_virtual_time
async def test_the_queue_is_checked_again_after_a_database_error(
    error: Exception, children: list[FakeChild]
) -> None:
    task = asyncio.create_task(new_quarantine(ScriptedQueue(error, True)).run())
    await asyncio.sleep(2.5)
    await cancel_and_wait([task])

    assert len(children) == 1


@in_virtual_time
async def test_a_failed_start_of_a_process_is_retried(
    children: list[FakeChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        raise OSError("no memory")

    job_queue = ScriptedQueue(True, True)
    with monkeypatch.context() as patched:
        patched.setattr("headrace.workers.maintenance.quarantine.Child", refuse)
        task = asyncio.create_task(new_quarantine(job_queue).run())
        await asyncio.sleep(1.5)
    await asyncio.sleep(1)
    await cancel_and_wait([task])

    assert job_queue.moments == [1, 2]
    assert len(children) == 1


@in_virtual_time
async def test_an_unexpected_error_ends_the_quarantine(children: list[FakeChild]) -> None:
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await new_quarantine(ScriptedQueue(RuntimeError("a fault of ours"))).run()


@in_virtual_time
async def test_a_stopped_quarantine_neither_checks_the_queue_nor_starts_a_process(
    children: list[FakeChild],
) -> None:
    job_queue = ScriptedQueue(False, True)
    quarantine = new_quarantine(job_queue)
    task = asyncio.create_task(quarantine.run())
    await asyncio.sleep(1.5)

    quarantine.stop()
    await asyncio.sleep(5)
    await cancel_and_wait([task])

    assert (job_queue.moments, children) == ([1], [])


@in_virtual_time
async def test_a_stop_signals_the_running_process(children: list[FakeChild]) -> None:
    quarantine = new_quarantine(ScriptedQueue(True))
    task = asyncio.create_task(quarantine.run())
    await asyncio.sleep(1.5)

    quarantine.stop()

    assert children[0].signals == [SIGTERM]
    await cancel_and_wait([task])


@in_virtual_time
async def test_an_ended_process_gets_no_signal(children: list[FakeChild]) -> None:
    quarantine = new_quarantine(ScriptedQueue(True))
    task = asyncio.create_task(quarantine.run())
    await asyncio.sleep(1.5)
    children[0].end()
    await until_idle()

    quarantine.stop()
    await quarantine.wait_stopped()

    assert children[0].signals == []
    await cancel_and_wait([task])


@in_virtual_time
async def test_wait_stopped_returns_at_once_without_a_process(children: list[FakeChild]) -> None:
    await new_quarantine(ScriptedQueue()).wait_stopped()

    assert running_loop().passed == 0


@in_virtual_time
async def test_wait_stopped_lasts_as_long_as_the_process_runs(children: list[FakeChild]) -> None:
    quarantine = new_quarantine(ScriptedQueue(True))
    task = asyncio.create_task(quarantine.run())
    await asyncio.sleep(2)
    running_loop().call_later(14, children[0].end)

    await quarantine.wait_stopped()

    assert running_loop().passed == 16
    assert children[0].signals == []
    await cancel_and_wait([task])


@in_virtual_time
async def test_a_process_that_outlives_its_grace_time_by_ten_seconds_is_killed(
    children: list[FakeChild],
) -> None:
    quarantine = new_quarantine(ScriptedQueue(True))
    task = asyncio.create_task(quarantine.run())
    await asyncio.sleep(2)

    await quarantine.wait_stopped()

    assert children[0].signals == [SIGKILL]
    assert children[0].moments == [2 + GRACE_SECONDS + 10]
    await cancel_and_wait([task])
