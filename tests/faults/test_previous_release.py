"""The previous release runs beside this one while a deployment is upgraded, also under load.

It is an installation of its own: built from its packed source and installed, with its own version, command
and migrations. It shares only the dependencies of the tests' environment.
"""

import asyncio
import re
import tarfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
import pytest
from msgspec import Struct

from faults import processes
from faults.checker import assert_kept
from faults.conftest import FLOWS as FAULT_FLOWS
from faults.load import Load
from faults.settling import settled
from headrace.adapters.database import StatementPool
from headrace.adapters.migrations import upgrade
from headrace.adapters.revisions import MIGRATIONS, required_revision
from headrace.adapters.servers import Servers
from headrace.settings import Settings
from support.harness import Api, new_database, open_api
from support.installations import build_package, create_environment, run
from support.overview_watch import board
from support.patience import PATIENCE_SECONDS, until_async

# `make previous REVISION=...` packs it.
PACKED: Final = Path(__file__).parent / "previous_release.tar.xz"
FLOWS: Final = Path(__file__).parents[1] / "journey" / "flows" / "value_flows.py"
OLD, NEW = "old", "new"
LARGE_RESULT: Final = "x" * 100_000
# Both may be of the same version while it is not released.
LABEL: Final = "+previous"
ORIGINS: Final = "import headrace, headrace_client; print(headrace.__file__, headrace_client.__file__)"
# Later migrations build indexes beside writers.
FIRST_PART: Final = "0015"


class Release(Struct, frozen=True):
    """An installed release: its folder, and its `headrace` and `python`."""

    folder: Path
    command: tuple[str, ...]
    python: str


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The previous release, built and installed into an environment of its own."""
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(PACKED) as packed:
        packed.extractall(folder / "source", filter="data")
    project = folder / "source" / "pyproject.toml"
    labelled, count = re.subn(r'^(version = ".*)"$', rf'\1{LABEL}"', project.read_text(), flags=re.MULTILINE)
    assert count == 1
    project.write_text(labelled)
    for source in (folder / "source", folder / "source" / "clients" / "python"):
        build_package(source, folder / "wheels", "--wheel")
    commands = create_environment(folder / "environment", folder / "wheels")
    return Release(folder / "environment", (str(commands / "headrace"),), str(commands / "python"))


@pytest.fixture
async def empty(servers: Servers, settings: Settings) -> AsyncIterator[Settings]:
    """Settings with an empty database."""
    async with new_database(str(servers.database_url), "template1") as url:
        yield msgspec.structs.replace(settings, database_url=url, pipelines=(str(FLOWS),))


async def migrate(settings: Settings, command: tuple[str, ...] = processes.HEADRACE) -> None:
    async with processes.running(settings, "migrate", command=command) as running:
        assert await running.wait() == 0, running.output


def test_the_previous_release_is_an_installation_of_its_own(previous: Release) -> None:
    versions = [run(*command, "--version") for command in (previous.command, processes.HEADRACE)]
    origins = [Path(origin) for origin in run(previous.python, "-c", ORIGINS).split()]
    migrations = {path.name for path in (origins[0].parent / "migrations" / "versions").glob("*.py")}

    assert versions[0] != versions[1]
    assert versions[0].endswith(f"{LABEL}\n")
    assert [origin.is_relative_to(previous.folder) for origin in origins] == [True, True]
    assert migrations < {path.name for path in (MIGRATIONS / "versions").glob("*.py")}
    assert not MIGRATIONS.is_relative_to(previous.folder)


@pytest.mark.slow
async def test_two_releases_serve_work_and_watch_side_by_side(empty: Settings, previous: Release) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE_SECONDS):
        apis: dict[str, Api] = {}
        for release, command in {OLD: previous.command, NEW: processes.HEADRACE}.items():
            await migrate(empty, command)
            _, address = await stack.enter_async_context(processes.api(empty, command=command))
            apis[release] = await stack.enter_async_context(open_api(address))
            await stack.enter_async_context(processes.worker(empty, "--queue", release, command=command))
        boards = [await stack.enter_async_context(board(api)) for api in apis.values()]
        jobs = [
            (await api.submit("ticks", params={"count": 5, "interval_ms": 100}, queue=queue))["id"]
            for api in apis.values()
            for queue in apis
        ]

        watched = await asyncio.gather(*(api.watch(job_id) for job_id in jobs for api in apis.values()))
        await asyncio.gather(*(shown.until(dict.fromkeys(jobs, "succeeded")) for shown in boards))
        large = {
            queue: (await apis[OLD].submit("sizable_result", params={"values": []}, queue=queue))["id"]
            for queue in apis
        }
        for job_id in large.values():
            await apis[NEW].finish(job_id)
        results = {
            (worker, release): (await api.job(job_id))["result"]
            for worker, job_id in large.items()
            for release, api in apis.items()
        }
        logs = [await apis[NEW].events(job_id) for job_id in jobs]
        ready = (await apis[NEW].http.get("/health/ready")).status_code

    assert [frames[-1] for frames in watched] == [{"type": "end", "state": "succeeded"}] * len(watched)
    seen = [[frame for frame in frames if "seq" in frame] for frames in watched]
    assert seen == [log for log in logs for _ in apis]
    # The previous release does not know that a large result is the output of a step. So its APIs are replaced
    # before its workers.
    assert results == {
        (OLD, OLD): LARGE_RESULT,
        (OLD, NEW): LARGE_RESULT,
        (NEW, OLD): None,
        (NEW, NEW): LARGE_RESULT,
    }
    assert ready == 200


REVISION: Final = "SELECT version_num FROM alembic_version"
FILL: Final = """
WITH owner AS (
    INSERT INTO users (id, username, is_admin, created_at, updated_at)
    VALUES (gen_random_uuid(), 'filler', false, now(), now()) RETURNING id
), flow AS (
    INSERT INTO pipelines (id, name, version, description, graph, params_schema, created_at, updated_at)
    VALUES (gen_random_uuid(), 'filler', 1, '', '[]', '{}', now(), now()) RETURNING name, version
)
INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at, due_order,
                  created_at, updated_at, finished_at)
SELECT gen_random_uuid(), owner.id, flow.name, flow.version, 'succeeded', '{}', '{}', 'default', 0, now(),
       now(), now(), now(), now()
FROM owner, flow, generate_series(1, 100000)
"""
BUILDING: Final = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE 'CREATE INDEX%' AND state = 'active'
  AND wait_event_type = 'Lock'
"""
HELD_UP: Final = """
SELECT waiting.query AS waits, holder.query AS for_whom
FROM pg_stat_activity waiting
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocker(pid)
JOIN pg_stat_activity holder ON holder.pid = blocker.pid
WHERE waiting.datname = current_database() AND waiting.wait_event_type = 'Lock'
  AND holder.query ILIKE 'CREATE INDEX%'
"""


@asynccontextmanager
async def sampling(database: StatementPool) -> AsyncIterator[list[tuple[str, str]]]:
    """Collect the statements that wait for a lock of the build of an index, while the block runs."""
    held_up: list[tuple[str, str]] = []

    async def sample_forever() -> None:
        while True:
            held_up.extend((row["waits"], row["for_whom"]) for row in await database.fetch(HELD_UP))
            await asyncio.sleep(0.005)

    sampler = asyncio.create_task(sample_forever())
    try:
        yield held_up
        assert not sampler.done(), sampler.exception()
    finally:
        sampler.cancel()
        await asyncio.gather(sampler, return_exceptions=True)


@pytest.mark.slow
async def test_the_previous_release_goes_on_under_load_while_its_database_is_migrated(
    empty: Settings, previous: Release, tmp_path: Path
) -> None:
    """Those who migrate first have this until they have replaced the processes.

    The build of an index is held up, so that jobs are certain to be submitted and to run meanwhile. The
    packed release is from before the mark in the schema, so it is not ready meanwhile, and serves.
    """
    loaded = msgspec.structs.replace(empty, pipelines=(str(FAULT_FLOWS),), lease_seconds=60)
    async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE_SECONDS):
        await migrate(loaded, previous.command)
        running, address = await stack.enter_async_context(processes.api(loaded, command=previous.command))
        api = await stack.enter_async_context(open_api(address))
        worker = await stack.enter_async_context(processes.worker(loaded, command=previous.command))
        database = await StatementPool.open(loaded.database, size=2)
        stack.push_async_callback(database.close)
        (before,) = await database.fetch(REVISION)
        await database.fetch(FILL)
        load = Load(api.http, tmp_path / "ledger", hold_seconds=0.05)
        older = await asyncpg.connect(loaded.database_url)
        stack.push_async_callback(older.close)
        async with load.running():
            await load.until_more(5)
            await asyncio.to_thread(upgrade, loaded.database, FIRST_PART)
            held_up = await stack.enter_async_context(sampling(database))
            await older.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await older.execute("SELECT 1")
            migrating = asyncio.create_task(migrate(loaded))

            async def waits_for_older() -> bool:
                assert not migrating.done(), migrating.exception()
                return bool(await database.fetch(BUILDING))

            await until_async(waits_for_older)
            during = len(load.accepted)
            await load.until_more(20)
            await settled(database, load.accepted[during : during + 10])
            await older.execute("COMMIT")
            await migrating
            await load.until_more(20)
        await settled(database, load.accepted)
        kept = await assert_kept(api, database, load.accepted, tmp_path / "ledger")
        (after,) = await database.fetch(REVISION)
        status = (running.process.returncode, worker.process.returncode)

    # Otherwise `make previous` is due: nothing was migrated under the load.
    assert before["version_num"] < after["version_num"] == required_revision()
    assert held_up == []
    assert {(job.state, job.losses) for job in kept.values()} == {("succeeded", 0)}
    assert (load.refusals, load.unanswered) == ([], [])
    assert status == (None, None)
