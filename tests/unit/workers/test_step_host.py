"""A step that waits for PostgreSQL to store its writes is in trouble that is not its own."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, cast
from uuid import UUID

import pytest

from headrace.adapters.blob_store import BlobStore, StoredBlob
from headrace.domain.database import DatabaseBusyError
from headrace.domain.jobs.attempts.changes import Change, WriteResult
from headrace.domain.pipelines.definition import Pipeline, step
from headrace.workers.attempt.changes import ChangeBuilder
from headrace.workers.attempt.contexts import StepIdentity
from headrace.workers.attempt.executors import StepStoppedError, build_executor, run_step
from headrace.workers.attempt.job_files import FileLimits
from headrace.workers.attempt.outcome import AttemptStatus
from headrace.workers.attempt.step_host import StepHost
from headrace.workers.attempt.waiting import StopSignal
from headrace.workers.crash_record import CrashRecord
from support.virtual_time import in_virtual_time, running_loop
from support.worker_builders import new_claim


class LoopTime:
    """Replaces the module `time`: the loop's clock is the only one."""

    def monotonic(self) -> float:
        return running_loop().time()


class SlowCommit:
    """Stores each change after ten seconds."""

    def submit(self, _: Change) -> asyncio.Future[WriteResult]:
        loop = asyncio.get_running_loop()
        written: asyncio.Future[WriteResult] = loop.create_future()
        loop.call_later(10.0, written.set_result, WriteResult(verdict="applied"))
        return written


class Blobs:
    def put(self, *_: Any) -> StoredBlob:
        return StoredBlob(4, b"", UUID(int=6))


@pytest.fixture(autouse=True)
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr("headrace.workers.attempt.step_store.call_own", call)
    monkeypatch.setattr("headrace.workers.attempt.step_waits.time", LoopTime())


def new_host() -> StepHost:
    claim = new_claim(fence=1)
    return StepHost(
        claim,
        ChangeBuilder(claim),
        commit=cast(Any, SlowCommit()),
        database=cast(Any, None),
        blobs=cast(BlobStore, Blobs()),
        file_limits=FileLimits(1 << 20),
        on_progress=lambda *_: None,
        status=AttemptStatus(0),
    )


async def save(host: StepHost) -> None:
    await host.save_file("a", "a.txt", b"kept", "text/plain")


async def log(host: StepHost) -> None:
    for number in range(200):
        await host.log("a", str(number), "info", {})


@pytest.mark.parametrize("call", [save, log])
def test_a_write_that_takes_long_is_a_wait_for_postgresql(call: Callable[[StepHost], Any]) -> None:
    @in_virtual_time
    async def check() -> None:
        host = new_host()
        calling = asyncio.create_task(call(host))
        await asyncio.sleep(0.5)
        early = host.waits.trouble_of("a")
        await asyncio.sleep(1.5)
        late = host.waits.trouble_of("a")
        await calling

        assert early is None
        assert isinstance(late, DatabaseBusyError)
        assert host.waits.trouble_of("a") is None

    check()


@step(timeout=timedelta(seconds=2))
async def saving(context: Any) -> None:
    await context.save_file("a.txt", b"kept", "text/plain")


@in_virtual_time
async def test_a_time_out_tells_what_the_step_waited_for() -> None:
    host, record = new_host(), CrashRecord(None, "w")
    pipeline = Pipeline("example", params=dict)
    node = pipeline.nodes[pipeline.add(saving, name="a").name]
    identity = StepIdentity(
        job_id=UUID(int=1), attempt=1, name="a", key="a", params={}, scratch=cast(Any, None)
    )
    entry = record.enter((UUID(int=7), 3))
    entry.suspend()

    executor = build_executor(node, pipeline, identity, host, None, 1_000)

    with pytest.raises(StepStoppedError) as stopped:
        await run_step(executor, node, StopSignal(), partial(host.waits.trouble_of, "a"))
    record.leave(entry)

    assert stopped.value.reason == "timeout"
    assert isinstance(stopped.value.trouble, DatabaseBusyError)
    assert host.waits.trouble_of("a") is None
