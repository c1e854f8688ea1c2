"""The previous release runs beside this one while a deployment is upgraded, also under load."""

import asyncio
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from faults import processes
from faults.checker import assert_kept
from faults.conftest import FLOWS as FAULT_FLOWS
from faults.load import Load
from faults.settling import settled
from headrace.adapters.database import StatementPool
from headrace.adapters.revisions import required_revision
from headrace.adapters.servers import Servers
from headrace.settings import Settings
from support.harness import Api, new_database, open_api
from support.overview_watch import board
from support.patience import PATIENCE_SECONDS

# `make previous REVISION=...` packs it.
PACKED: Final = Path(__file__).parent / "previous_release.tar.xz"
FLOWS: Final = Path(__file__).parents[1] / "journey" / "flows" / "value_flows.py"
OLD, NEW = "old", "new"
LARGE_RESULT: Final = "x" * 100_000


@pytest.fixture
def previous(tmp_path: Path) -> str:
    """The folder from which Python imports the previous release."""
    folder = tmp_path / "previous"
    with tarfile.open(PACKED) as packed:
        packed.extractall(folder, filter="data")
    links = folder / "links"
    links.mkdir()
    (links / "headrace").symlink_to(folder / "src")
    return str(links)


@pytest.fixture
async def empty(servers: Servers, settings: Settings) -> AsyncIterator[Settings]:
    """Settings with an empty database."""
    async with new_database(str(servers.database_url), "template1") as url:
        yield msgspec.structs.replace(settings, database_url=url, pipelines=(str(FLOWS),))


async def migrate(settings: Settings, **environment: Any) -> None:
    async with processes.running(settings, "migrate", **environment) as running:
        assert await running.wait() == 0, running.output


async def imported_from(previous: str) -> str:
    """Return where a process with *previous* on its path imports the package from."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import headrace; print(headrace.__file__)"),
        env={"PYTHONPATH": previous},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return output.decode().strip()


@pytest.mark.slow
async def test_two_releases_serve_work_and_watch_side_by_side(empty: Settings, previous: str) -> None:
    assert (await imported_from(previous)).startswith(previous)
    async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE_SECONDS):
        await migrate(empty, PYTHONPATH=previous)
        apis: dict[str, Api] = {}
        environments: dict[str, dict[str, Any]] = {OLD: {"PYTHONPATH": previous}, NEW: {}}
        for release, environment in environments.items():
            if release == NEW:
                await migrate(empty)
            _, address = await stack.enter_async_context(processes.api(empty, **environment))
            apis[release] = await stack.enter_async_context(open_api(address))
            await stack.enter_async_context(processes.worker(empty, "--queue", release, **environment))
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


@pytest.mark.slow
async def test_the_previous_release_goes_on_under_load_while_its_database_is_migrated(
    empty: Settings, previous: str, tmp_path: Path
) -> None:
    """Those who migrate first have this until they have replaced the processes.

    The packed release is from before the mark in the schema, so it is not ready meanwhile, and serves.
    """
    loaded = msgspec.structs.replace(empty, pipelines=(str(FAULT_FLOWS),), lease_seconds=60)
    async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE_SECONDS):
        await migrate(loaded, PYTHONPATH=previous)
        running, address = await stack.enter_async_context(processes.api(loaded, PYTHONPATH=previous))
        api = await stack.enter_async_context(open_api(address))
        worker = await stack.enter_async_context(processes.worker(loaded, PYTHONPATH=previous))
        database = await StatementPool.open(loaded.database, size=1)
        stack.push_async_callback(database.close)
        (before,) = await database.fetch(REVISION)
        load = Load(api.http, tmp_path / "ledger", hold_seconds=0.05)
        async with load.running():
            await load.until_more(5)
            await migrate(loaded)
            await load.until_more(20)
        await settled(database, load.accepted)
        kept = await assert_kept(api, database, load.accepted, tmp_path / "ledger")
        (after,) = await database.fetch(REVISION)
        status = (running.process.returncode, worker.process.returncode)

    # Otherwise `make previous` is due: nothing was migrated under the load.
    assert before["version_num"] < after["version_num"] == required_revision()
    assert {(job.state, job.losses) for job in kept.values()} == {("succeeded", 0)}
    assert (load.refusals, load.unanswered) == ([], [])
    assert status == (None, None)
