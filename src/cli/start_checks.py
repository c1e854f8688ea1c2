"""Checks before the API listens: a fault that a restart cannot repair is reported in one line."""

import asyncio
import contextlib

import structlog

from headrace.adapters.connection_counts import of_an_api
from headrace.adapters.data_folder import require_usable_folder
from headrace.adapters.database import StatementPool
from headrace.adapters.redis_checks import require_usable
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.adapters.schema import require_schema
from headrace.adapters.server_conditions import require_conditions
from headrace.adapters.tracing.tracing import import_tracing
from headrace.api.auth.local_mode import refuse_remote
from headrace.cli.database_refusals import translate_refusals
from headrace.domain.accounts.credential_repository import CredentialRepository
from headrace.domain.database import TRANSIENT, Database
from headrace.settings import Settings

_log = structlog.get_logger(__name__)


def check_start(settings: Settings, host: str, *, is_restart: bool = False) -> None:
    """Refuse to start with settings that cannot work.

    PostgreSQL and Redis may be unreachable: then the API starts and reports that it is not ready. So does an
    API whose predecessor has worked (*is_restart*) if PostgreSQL refuses its login, if its clock or a limit
    has changed, or if the store of files is read-only or full by now.

    Raises:
        RemoteRefusedError: *host* is not a loopback address, in local mode.
        TracingNotInstalledError: the settings ask for traces, and OpenTelemetry is missing.
        RedisRefusedError: Redis cannot be used.
        DatabaseRefusedError: PostgreSQL refuses the login, or a right is missing.
        SchemaBehindError, SchemaAheadError: this release cannot work with the schema.
        FolderUnusableError, NoRoomError: the store of files cannot be written, or has no room.
        ClockOffError, TooFewConnectionsError: PostgreSQL and this start do not fit.
    """
    refuse_remote(host, settings)
    if settings.traces != "off":
        import_tracing()
    if not is_restart:
        require_usable_folder(settings.blob_dir)
    asyncio.run(_check_servers(settings, is_restart=is_restart))


async def _check_servers(settings: Settings, *, is_restart: bool) -> None:
    if settings.redis:
        redis = build_redis(settings.redis)
        try:
            await require_usable(redis)
        finally:
            await close_redis(redis)
    pool = await StatementPool.open(settings.database, size=1)
    try:
        with (
            contextlib.suppress(*TRANSIENT),
            contextlib.nullcontext() if is_restart else translate_refusals(),
        ):
            await require_schema(pool)
            if not is_restart:
                await require_conditions(pool, of_an_api(settings.database_connections), "the API")
            if settings.auth == "token" and not settings.providers:
                await _warn_if_nobody_can_sign_in(pool)
    finally:
        await pool.close()


async def _warn_if_nobody_can_sign_in(database: Database) -> None:
    if not await CredentialRepository(database).has_api_key():
        _log.warning(
            "nobody_can_sign_in",
            reason="HEADRACE_AUTH=token has no provider in HEADRACE_PROVIDERS, and there is no API key",
            advice="headrace admin create-key NAME --scope admin",
        )
