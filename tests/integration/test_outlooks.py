"""Estimates of the remaining time, learned from stored runs of all workers and kept over restarts."""

import asyncio
from typing import Any

import pytest

from headrace.adapters.database import StatementPool
from headrace.domain.jobs.eta.estimator import MIN_SAMPLES
from headrace.domain.jobs.eta.step_times_repository import StepTimesRepository
from headrace.settings import Settings
from headrace.workers.maintenance import eta_refresh
from support.harness import Api, serving, working
from support.patience import PATIENCE_SECONDS

TICKS = {"count": 3, "interval_ms": 30, "steps": 2}


async def etas_of(api: Api) -> list[dict[str, Any]]:
    job = await api.submit("ticks", params=TICKS)
    etas = [frame["eta"] for frame in await api.watch(job["id"]) if "eta" in frame]
    # Finished work takes no more time, in any pipeline.
    return [eta for eta in etas if eta != {"low_seconds": 0.0, "high_seconds": 0.0}]


async def test_a_new_worker_uses_the_step_times_that_another_worker_recorded(
    settings: Settings, database: StatementPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A worker loads step times only at its start, however slow the machine is.
    monkeypatch.setattr(eta_refresh, "_PERIOD_SECONDS", 3600.0)
    async with serving(settings) as api:
        async with working(settings):
            before = [eta for _ in range(MIN_SAMPLES) for eta in await etas_of(api)]

        async with working(settings), asyncio.timeout(PATIENCE_SECONDS):
            while not (etas := await etas_of(api)):
                pass
    times = (await StepTimesRepository(database).fetch(["ticks@1", "noop@1"]))["ticks@1"]

    assert before == []
    assert times["total"].samples == times["tick"].samples >= MIN_SAMPLES
    assert times["tick"].item[0] <= times["tick"].whole[0]
    assert all(0 <= eta["low_seconds"] <= eta["high_seconds"] for eta in etas)
