"""A worker waits for rings and notices; no notice is lost, and many in vain slow it down."""

import asyncio

import pytest

from headrace.workers import work_signals
from headrace.workers.attempt.waiting import StopSignal, wait_first
from headrace.workers.work_signals import WorkSignals
from support.patience import PATIENCE_SECONDS


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> WorkSignals:
    """Signals without Redis that wait for hours if nothing happens."""
    monkeypatch.setattr(work_signals, "POLL_SECONDS", 36_000.0)
    return WorkSignals(None, ("default",), StopSignal(), lambda: 1)


async def test_a_notice_ends_the_wait(signals: WorkSignals) -> None:
    waiting = asyncio.create_task(signals.wait(()))
    await asyncio.sleep(0)
    assert not waiting.done()

    signals.on_notice()

    await asyncio.wait_for(waiting, PATIENCE_SECONDS)


async def test_a_notice_that_comes_during_a_claim_ends_the_next_wait_only(signals: WorkSignals) -> None:
    signals.on_notice()
    signals.on_notice()

    await asyncio.wait_for(signals.wait(()), PATIENCE_SECONDS)
    second = asyncio.create_task(signals.wait(()))
    await asyncio.sleep(0)

    assert not second.done()
    second.cancel()


async def test_notices_in_vain_slow_the_worker_down_until_a_job_is_found(
    signals: WorkSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float | None] = []

    async def recorded(*futures: "asyncio.Future[None]", stop: StopSignal, seconds: float) -> None:
        if futures:
            await wait_first(*futures, stop=stop, seconds=seconds)
        else:
            pauses.append(seconds)

    monkeypatch.setattr(work_signals, "wait_first", recorded)
    for jobs in [0] * 12 + [1, 0]:
        signals.on_notice()
        await signals.wait(())
        signals.on_claim(jobs)

    # The pause follows the tenth claim in vain.
    assert pauses == [0.05] * 3


async def test_a_stop_ends_the_wait(signals: WorkSignals) -> None:
    waiting = asyncio.create_task(signals.wait(()))
    await asyncio.sleep(0)

    signals._stopping.set()

    await asyncio.wait_for(waiting, PATIENCE_SECONDS)
