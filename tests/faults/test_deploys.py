"""A deploy under load refuses no submission for good, loses no job, and uses up no try."""

import signal
from contextlib import AsyncExitStack
from pathlib import Path

from faults import processes
from faults.checker import assert_kept
from faults.form import by_form
from faults.load import Load
from faults.records import JobRecord
from faults.settling import running_in, settled, warm_processes
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import open_api, serving, working


def assert_no_harm(kept: dict[str, JobRecord]) -> None:
    assert {(job.state, job.lost_attempts) for job in kept.values()} == {("succeeded", 0)}
    assert [step for job in kept.values() for step in job.steps if step.tries] == []


async def test_a_stopping_worker_finishes_short_jobs_and_hands_back_the_rest(
    faulty: Settings, database: StatementPool, ledger: Path
) -> None:
    async with serving(faulty) as api, processes.worker(faulty) as leaving:
        load = Load(api.http, ledger)
        await warm_processes(api, database, ledger)
        # Long jobs outlast any start of a process; only the second attempt ends by itself.
        apart = await load.submit_many(1, pipeline="relay_apart", first_hold_seconds=600)
        long = await load.submit_many(5, first_hold_seconds=600)
        await running_in(database, apart[0], "carry_apart")
        short = await load.submit_many(5, hold_seconds=faulty.grace_seconds / 2)
        for job_id in (*short, *long):
            await running_in(database, job_id, "carry[1]")
        leaving.send(signal.SIGTERM)
        assert await leaving.wait() == 0
        async with working(faulty):
            await settled(database, load.accepted)

        kept = await assert_kept(api, database, load.accepted, ledger)

    assert_no_harm(kept)
    assert {kept[job_id].attempt for job_id in short} == {1}
    for job_id in (*long, *apart):
        assert kept[job_id].attempt == 2
        assert [event.body["reason"] for event in kept[job_id].of_type("job.requeued")] == ["handed_back"]


async def test_a_rolling_restart_fails_no_client_that_retries(
    faulty: Settings, database: StatementPool, ledger: Path
) -> None:
    port = processes.free_port()
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(processes.worker(faulty)) for _ in range(2)]
        api_process, address = await stack.enter_async_context(processes.api(faulty, port))
        api = await stack.enter_async_context(open_api(address))
        load = Load(api.http, ledger, hold_seconds=0.2)
        async with load.running(insisting=True):
            await load.until_more(10)
            for _ in range(by_form(1, 5)):
                for worker in list(workers):
                    worker.send(signal.SIGTERM)
                    assert await worker.wait() == 0
                    workers.remove(worker)
                    workers.append(await stack.enter_async_context(processes.worker(faulty)))
                    await load.until_more(5)
                api_process.send(signal.SIGTERM)
                assert await api_process.wait() == 0
                api_process, _ = await stack.enter_async_context(processes.api(faulty, port))
                await load.until_more(10)
        await settled(database, load.accepted)

        kept = await assert_kept(api, database, load.accepted, ledger)
        stored = await database.fetch("SELECT id FROM jobs")

    assert_no_harm(kept)
    assert load.unanswered
    assert {response.status_code for response in load.refusals} <= {503}
    assert len(load.accepted) == len(kept)
    # The last submission may have been cut off by the end of the load.
    assert len(stored) - len(kept) in (0, 1)
