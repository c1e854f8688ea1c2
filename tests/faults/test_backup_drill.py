"""The drill of an operator: jobs under load, a backup, everything is lost, a restore, and work goes on."""

import asyncio
import hashlib
import shutil
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from faults.checker import assert_kept
from faults.conftest import FLOWS
from faults.load import Load
from faults.settling import settled
from headrace.adapters.database import StatementPool
from headrace.cli.backup import write_backup
from headrace.cli.doctor_files import check_files
from headrace.cli.restore import restore_backup
from headrace.settings import Settings
from support.harness import Api, on_database, serving, working
from support.patience import until_async

SAVING = Path(__file__).parents[1] / "integration" / "flows" / "saving_flows.py"


async def history(api: Api, job_ids: list[str]) -> dict[str, Any]:
    """Return what the API tells of jobs and their events."""
    return {job_id: (await api.job(job_id), await api.events(job_id)) for job_id in job_ids}


async def lose_everything(settings: Settings) -> None:
    """Replace the database by an empty one of the same name, and remove the data folder."""
    url = str(settings.database_url)
    name = url.rpartition("/")[2]
    connection = await asyncpg.connect(on_database(url, "postgres"))
    try:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    finally:
        await connection.close()
    await asyncio.to_thread(shutil.rmtree, settings.data_dir)


async def test_everything_that_a_backup_holds_comes_back_after_all_was_lost(
    faulty: Settings, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data_dir = tmp_path_factory.mktemp("service")
    settings = msgspec.structs.replace(faulty, data_dir=data_dir, pipelines=(str(FLOWS), str(SAVING)))
    archive = tmp_path / "backup.tar"
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(serving(settings))
        await stack.enter_async_context(working(settings))
        load = Load(api.http, tmp_path / "ledger", hold_seconds=0.2)
        finished = [await api.submit("in_loop", params={}) for _ in range(3)]
        for job in finished:
            await api.finish(job["id"])
        uploaded = (await api.http.post("/api/v1/files", files={"file": ("a.bin", b"x" * 300_000)})).json()
        (endless,) = await load.submit_many(1, hold_seconds=600)
        before = await history(api, [job["id"] for job in finished])
        async with load.running():
            await load.until_more(5)
            accepted = list(load.accepted)
            backup = await asyncio.to_thread(write_backup, settings, data_dir, archive)
            await load.until_more(3)

    await lose_everything(settings)
    await asyncio.to_thread(restore_backup, settings, data_dir, archive)

    found = [(finding.ok, finding.text) for finding in await check_files(settings)]
    database = await StatementPool.open(settings.database, size=2)
    try:
        (endless_row,) = await database.fetch("SELECT state, attempt FROM jobs WHERE id = $1", UUID(endless))
        async with serving(settings) as api, working(settings):
            others = [job_id for job_id in accepted if job_id != endless]
            await settled(database, others)
            kept = await assert_kept(api, database, others)
            assert await history(api, [job["id"] for job in finished]) == before
            content = (await api.http.get(f"/api/v1/files/{uploaded['id']}/content")).content

            async def runs_again() -> bool:
                attempt: int = (await api.job(endless))["attempt"]
                return attempt == 2

            await until_async(runs_again)
            await api.http.post(f"/api/v1/jobs/{endless}/cancel")
            ended = await api.finish(endless)
            new = await api.finish((await api.submit("in_loop", params={}))["id"])
    finally:
        await database.close()

    assert found == [(True, f"{backup.manifest.files} in {settings.blob_dir}, none without its bytes")]
    assert backup.manifest.jobs >= len(accepted) + len(finished)
    assert hashlib.sha256(content).hexdigest() == uploaded["sha256"]
    assert {job.state for job in kept.values()} == {"succeeded"}
    assert (endless_row["state"], endless_row["attempt"], ended["state"]) == ("running", 1, "cancelled")
    assert new["state"] == "succeeded"
