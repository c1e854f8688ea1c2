"""How long a job still takes, learned from what is stored: known after a restart, of whoever ran the jobs."""

import asyncio
from typing import Any

from headrace.adapters.database import StatementPool
from headrace.domain.jobs.eta.estimator import MIN_SAMPLES
from headrace.domain.jobs.eta.step_times_repository import StepTimesRepository
from headrace.settings import Settings
from support.harness import Api, serving, working

TICKS = {"count": 3, "interval_ms": 30, "steps": 2}


async def etas_of(api: Api) -> list[dict[str, Any]]:
    job = await api.submit("ticks", params=TICKS)
    return [frame["eta"] for frame in await api.watch(job["id"]) if "eta" in frame]


async def test_a_new_worker_knows_what_the_jobs_of_another_took(
    settings: Settings, database: StatementPool
) -> None:
    async with serving(settings) as api:
        async with working(settings):
            before = [eta for _ in range(MIN_SAMPLES) for eta in await etas_of(api)]

        async with working(settings), asyncio.timeout(30):
            while not (etas := await etas_of(api)):
                pass
    times = (await StepTimesRepository(database).fetch(["ticks@1", "noop@1"]))["ticks@1"]

    assert before == []
    assert times["total"].samples == times["tick"].samples >= MIN_SAMPLES
    assert times["tick"].item[0] <= times["tick"].whole[0]
    assert all(0 <= eta["low_seconds"] <= eta["high_seconds"] for eta in etas)
