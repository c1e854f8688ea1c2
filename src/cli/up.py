"""Runs `up`: starts the servers, migrates the database, runs the service; stops them in reverse order."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console

from headrace.adapters.connection_counts import OF_A_WORKER, of_an_api
from headrace.adapters.data_folder import require_usable_folder
from headrace.adapters.database import StatementPool
from headrace.adapters.logs import configure_logging
from headrace.adapters.postgres_url import PostgresAddress, parse_postgres_url
from headrace.adapters.server_conditions import require_conditions
from headrace.adapters.servers import Servers, run_servers
from headrace.adapters.temporary_folders import remove_abandoned_folders
from headrace.api.auth.local_mode import refuse_remote
from headrace.cli.data_dir_lock import DataDirLock, resolve_port
from headrace.cli.interrupts import Interrupts
from headrace.cli.migrate import bring_up_to_date
from headrace.cli.service import Service, ServiceSpec, export_environment
from headrace.cli.start_notice import announce_start, withdraw_start
from headrace.cli.up_screen import UpScreen
from headrace.cli.upkeep import keep_running
from headrace.domain.pipelines.sources import require_sources
from headrace.domain.workers.directory import ALIVE_WITHIN
from headrace.settings import explain_unknown_variables


def run_up(spec: ServiceSpec, console: Console) -> None:
    """Run until Ctrl-C or SIGTERM.

    Raises:
        HeadraceError: a source of pipelines does not exist, or a server or process does not start; all others
            are stopped again.
    """
    configure_logging("error", as_json=False, secrets=spec.settings.secrets)
    refuse_remote(spec.host, spec.settings)
    require_sources(spec.settings.pipelines)
    screen = UpScreen(console)
    interrupts = Interrupts()
    screen.show_starting(spec)
    if (unknown := explain_unknown_variables(spec.settings)) is not None:
        screen.report("settings", unknown)
    with (
        interrupts.captured(),
        contextlib.suppress(KeyboardInterrupt),
        running_servers(spec) as (ready, servers),
    ):
        for note in servers.notes:
            screen.report("servers", note)
        asyncio.run(_run_service(ready, servers, interrupts, screen))
    # Workers that were killed have left their scratch folders.
    remove_abandoned_folders()
    screen.show_stopped()


@contextmanager
def running_servers(spec: ServiceSpec) -> Iterator[tuple[ServiceSpec, Servers]]:
    """Run the servers that the settings do not name, with an upgraded database, for the block.

    Yields the spec with a port that is free, and the servers.

    Raises:
        HeadraceError: the folder, the port or a server cannot be used.
    """
    settings = spec.settings
    with DataDirLock(spec.data_dir) as lock, _announced_start(spec):
        ready = resolve_port(spec, is_abandoned=lock.was_abandoned)
        announce_start(spec.data_dir, ready.url)
        with run_servers(
            spec.data_dir, postgres=not settings.database_url, redis=not settings.redis_url
        ) as servers:
            _prepare(spec, servers)
            yield ready, servers


@contextmanager
def _announced_start(spec: ServiceSpec) -> Iterator[None]:
    """Let commands know that the service is starting, until it is ready or the block ends."""
    require_usable_folder(spec.data_dir)
    announce_start(spec.data_dir, spec.url)
    try:
        yield
    finally:
        withdraw_start(spec.data_dir)


def _prepare(spec: ServiceSpec, servers: Servers) -> None:
    """Pass the addresses of the servers to the child processes, and upgrade the database."""
    export_environment(
        {
            "HEADRACE_DATABASE_URL": servers.database_url or str(spec.settings.database_url),
            "HEADRACE_REDIS_URL": servers.redis_url or str(spec.settings.redis_url),
            "HEADRACE_DATA_DIR": str(spec.data_dir),
        }
    )
    database = _database(spec, servers)
    bring_up_to_date(database)
    asyncio.run(require_room_for_all(spec, database))


async def require_room_for_all(spec: ServiceSpec, database: PostgresAddress) -> None:
    """Check that PostgreSQL fits all processes of this start together.

    Raises:
        ClockOffError, TooFewConnectionsError: it does not.
    """
    connections = of_an_api(spec.settings.database_connections) + spec.workers * OF_A_WORKER
    workers = "a worker" if spec.workers == 1 else f"{spec.workers} workers"
    pool = await StatementPool.open(database, size=1)
    try:
        await require_conditions(pool, connections, f"an API and {workers}")
    finally:
        await pool.close()


def _database(spec: ServiceSpec, servers: Servers) -> PostgresAddress:
    settings = spec.settings
    if servers.database_url:
        return parse_postgres_url(servers.database_url, schema=settings.database_schema)
    return settings.database


async def _run_service(spec: ServiceSpec, servers: Servers, interrupts: Interrupts, screen: UpScreen) -> None:
    async def show_reloaded() -> None:
        served, _ = await fetch_pipeline_names(_database(spec, servers))
        screen.show_reloaded(served, service.load_faults())

    service = Service(spec, screen.report, show_reloaded)
    with interrupts.listening() as (stop, hurry):
        async with keep_running(servers, screen.report):
            service.start()
            try:
                if await finished_before(service.wait_until_ready(), stop):
                    served, unserved = await fetch_pipeline_names(_database(spec, servers))
                    screen.show_ready(spec, served, unserved, service.load_faults())
                    await finished_before(service.wait_until_refused(), stop)
            finally:
                screen.show_stopping()
                await service.stop(hurry)


async def finished_before(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Run *work* until it ends or *stop* is set; return whether it ended. Its errors are raised."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


_NAMES: Final = """
SELECT name, bool_or(EXISTS (
    SELECT 1 FROM workers
    WHERE last_seen_at > statement_timestamp() - $1::interval AND p.name || '@' || p.version = ANY(pipelines)
)) AS is_served
FROM pipelines p WHERE removed_at IS NULL GROUP BY name ORDER BY name
"""


async def fetch_pipeline_names(address: PostgresAddress | str) -> tuple[list[str], list[str]]:
    """Return the names of the pipelines that a live worker serves, and of the others.

    They come from PostgreSQL, because the API may require a token.
    """
    pool = await StatementPool.open(address, size=1)
    try:
        rows = await pool.fetch(_NAMES, ALIVE_WITHIN)
    finally:
        await pool.close()
    served = [str(row["name"]) for row in rows if row["is_served"]]
    return served, [str(row["name"]) for row in rows if not row["is_served"]]
