"""A service of real processes under load, to which a test does something meanwhile."""

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
    """*kept* is what is stored of the jobs once the scene is over."""

    api: Api
    load: Load
    database: StatementPool
    kept: dict[str, JobRecord] = field(default_factory=dict)


@asynccontextmanager
async def under_load(settings: Settings, ledger: Path, hold_seconds: float) -> AsyncIterator[Scene]:
    """An API, two workers, and jobs that come in while the block runs.

    Afterwards nobody has exited, all jobs have ended and every promise to them is kept.
    """
    database = await StatementPool.open(str(settings.database_url))
    async with (
        processes.api(settings) as (api_process, address),
        processes.worker(settings) as one,
        processes.worker(settings) as other,
        open_api(address) as api,
    ):
        scene = Scene(api, Load(api.http, ledger, hold_seconds=hold_seconds), database)
        async with scene.load.going_on():
            await scene.load.until_more(10)
            yield scene
            await scene.load.until_more(10)
        await settled(database, scene.load.accepted)
        scene.kept |= await assert_kept(api, database, scene.load.accepted, ledger)
        assert {part.process.returncode for part in (api_process, one, other)} == {None}
    await database.close()
