"""An API (and a worker) for all tests of a module, which is reset between the tests."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Final

from msgspec import Struct

from headrace.adapters.database import StatementPool
from headrace.domain import tables  # noqa: F401  (METADATA knows every table)
from headrace.domain.base import METADATA
from headrace.settings import Settings
from support.harness import Api, register_pipelines, serving, working

# The worker of the module is registered in `workers`, and stores a failing chore in `chore_failures` once,
# when it begins to fail; pipelines are restored.
_KEPT_TABLES: Final = frozenset({"workers", "chore_failures", "pipelines", "installations"})


class SharedService(Struct):
    """A running API, its settings, and its database."""

    settings: Settings
    api: Api
    database: StatementPool

    async def remember_pipelines(self) -> None:
        """Save the rows that every test of the module starts with."""
        await self.database.fetch("CREATE TABLE IF NOT EXISTS pipelines_of_module AS TABLE pipelines")

    async def reset(self) -> None:
        """Delete the rows, files and cache entries that earlier tests left."""
        emptied = [table for table in METADATA.tables if table not in _KEPT_TABLES]
        deletes = "".join(f"DELETE FROM {table};" for table in emptied)  # noqa: S608
        # Triggers are off: no delete cascades, and no trigger records bytes for removal.
        await self.database.fetch(
            f"DO $$ BEGIN SET LOCAL session_replication_role = replica; {deletes} DELETE FROM pipelines;"  # noqa: S608
            " INSERT INTO pipelines SELECT * FROM pipelines_of_module; END $$"
        )
        shutil.rmtree(self.settings.blob_dir, ignore_errors=True)
        services = self.api.app.state.services
        services.authenticator._dev = None
        services.authenticator._cache.clear()
        services.submitter._resolver._catalogue._cache.clear()
        self.api.http.cookies.clear()


@asynccontextmanager
async def shared_service(settings: Settings, *, has_worker: bool) -> AsyncIterator[SharedService]:
    """Run an API on *settings*, with a worker or only with the registered pipelines."""
    database = await StatementPool.open(str(settings.database_url), size=1)
    if not has_worker:
        await register_pipelines(settings)
    async with serving(settings) as api, working(settings) if has_worker else nullcontext():
        service = SharedService(settings, api, database)
        await service.remember_pipelines()
        yield service
    await database.close()
