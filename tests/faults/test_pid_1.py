"""A worker, and a migration, is PID 1 of a container: it ends on SIGTERM and reaps what nobody else does."""

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec

from faults import processes
from faults.records import read_records
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import serving
from support.namespaces import pid_of_init, require_namespace
from support.patience import STALL_SECONDS, until

STUBBORN = Path(__file__).parent / "flows" / "stubborn_flows.py"
ORPHANS = """
import subprocess
from msgspec import Struct
from headrace import Pipeline, StepContext, step

class Params(Struct):
    note: str

@step(runs_in="process")
def leave(context: StepContext[Params]) -> None:
    # The shell ends at once, and its children have no parent but PID 1 then.
    script = "for number in 1 2 3; do setsid sh -c 'sleep 0.2; echo >> %s' & done" % context.params.note
    subprocess.run(["sh", "-c", script], check=True)

orphans = Pipeline("orphans", version=1, params=Params)
orphans.add(leave, result=True)
"""


@asynccontextmanager
async def worker_as_pid_1(settings: Settings) -> AsyncIterator[tuple[processes.LoggedProcess, int]]:
    """Run a worker as PID 1; yield the process that made its namespace, and the id of the worker outside."""
    command = (*require_namespace(), *processes.HEADRACE)
    async with processes.supervised(settings, command=command) as outside:
        yield outside, pid_of_init(outside.process.pid)


async def test_a_worker_ends_in_time_on_sigterm_although_its_steps_do_not(
    settings: Settings, database: StatementPool, tmp_path: Path
) -> None:
    stubborn = msgspec.structs.replace(
        settings, pipelines=(str(STUBBORN),), lease_seconds=600, stop_seconds=6
    )
    async with serving(stubborn) as api, worker_as_pid_1(stubborn) as (outside, init):
        job = await api.submit("stubborn_thread", params={"folder": str(tmp_path)})
        await until((tmp_path / "stubborn_thread").exists)
        began = time.monotonic()

        os.kill(init, signal.SIGTERM)

        assert await outside.wait() == 0
        assert time.monotonic() - began < stubborn.stop_seconds + STALL_SECONDS
        stored = (await read_records(database, [job["id"]]))[job["id"]]
    assert (stored.state, stored.losses) == ("queued", 0)


async def test_a_worker_leaves_no_zombies_of_what_its_steps_started(
    settings: Settings, tmp_path: Path
) -> None:
    flow, note = tmp_path / "orphans_flow.py", tmp_path / "note"
    flow.write_text(ORPHANS)
    leaving = msgspec.structs.replace(settings, pipelines=(str(flow),))
    async with serving(leaving) as api, worker_as_pid_1(leaving) as (_, init):
        done = await api.finish((await api.submit("orphans", params={"note": str(note)}))["id"])

        await until(lambda: not processes_with(str(note)) and not zombies_of(init))

    assert done["state"] == "succeeded"


async def test_a_migration_ends_on_sigterm(settings: Settings, database_url: str) -> None:
    async with locked_schema(database_url):
        command = (*require_namespace(), *processes.HEADRACE)
        async with processes.running(settings, "migrate", command=command) as outside:
            await until(lambda: processes.children_of(outside.process.pid) != [])
            init = pid_of_init(outside.process.pid)
            await until(lambda: processes.children_of(init) != [])

            os.kill(init, signal.SIGTERM)

            assert await outside.wait() == 128 + signal.SIGTERM


def zombies_of(init: int) -> list[str]:
    parents = [init, *(process.pid for process in processes.family(init))]
    return [zombie for parent in parents for zombie in processes.zombies_below(parent)]


def processes_with(words: str) -> list[str]:
    """Return the ids of the processes whose command line has *words*."""
    matching = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if words.encode() in path.read_bytes():
                matching.append(path.parent.name)
    return matching


@asynccontextmanager
async def locked_schema(database_url: str) -> AsyncIterator[None]:
    """Hold a lock for which a migration waits."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()
