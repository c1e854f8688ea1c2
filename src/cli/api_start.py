"""What the API checks before it listens: faults that a restart does not mend are one line, not a log."""

import asyncio

from headrace.adapters.database import StatementPool
from headrace.adapters.readiness import check_readiness
from headrace.adapters.redis_client import build_redis, close_redis, require_noeviction
from headrace.api.auth.authentication import refuse_remote
from headrace.cli.database_refusals import refusals_told
from headrace.domain.errors import HeadraceError
from headrace.settings import Settings


class SchemaBehindError(HeadraceError):
    """The database is there, and not at the version of this installation."""

    def __init__(self) -> None:
        super().__init__("the database is not at the version of this installation; run: headrace migrate")


def check_start(settings: Settings, host: str) -> None:
    """Refuse what cannot work. PostgreSQL or Redis being away is not that: the API starts and is not ready.

    Raises:
        RemoteRefusedError: not a loopback address, in local mode.
        EvictingRedisError: this Redis throws away what it was given.
        DatabaseRefusedError: PostgreSQL does not let us in.
        SchemaBehindError: a migration is missing.
    """
    refuse_remote(host, settings)
    asyncio.run(_ask_servers(settings))


async def _ask_servers(settings: Settings) -> None:
    if settings.redis_url:
        redis = build_redis(settings.redis_url)
        try:
            await require_noeviction(redis)
        finally:
            await close_redis(redis)
    pool = await StatementPool.open(str(settings.database_url), size=1)
    try:
        # Redis was asked already.
        with refusals_told():
            found = await check_readiness(pool, None)
    finally:
        await pool.close()
    if "schema" in found.missing:
        raise SchemaBehindError
