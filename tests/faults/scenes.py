"""A service of real processes under load, which a test disturbs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct, field

from faults import processes
from faults.checker import assert_kept
from faults.load import Load
from faults.records import JobRecord
from faults.settling import settled
from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from support.harness import Api, open_api


class Scene(Struct):
    """A running service and its load. *kept* are the records of the jobs, filled when the scene ends."""

    api: Api
    load: Load
    database: StatementPool
    kept: dict[str, JobRecord] = field(default_factory=dict)


@asynccontextmanager
async def under_load(settings: Settings, ledger: Path, hold_seconds: float) -> AsyncIterator[Scene]:
    """Run an API and two workers, and submit jobs while the block runs.

    Afterwards assert that no process has exited, all jobs have ended and no rule is broken.
    """
    database = await StatementPool.open(str(settings.database_url))
    async with (
        processes.api(settings) as (api_process, address),
        processes.worker(settings) as first,
        processes.worker(settings) as second,
        open_api(address) as api,
    ):
        scene = Scene(api, Load(api.http, ledger, hold_seconds=hold_seconds), database)
        async with scene.load.running():
            await scene.load.until_more(10)
            yield scene
            await scene.load.until_more(10)
        await settled(database, scene.load.accepted)
        scene.kept |= await assert_kept(api, database, scene.load.accepted, ledger)
        assert {part.process.returncode for part in (api_process, first, second)} == {None}
    await database.close()
