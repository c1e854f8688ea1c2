"""What `up` does: servers, migrations, parts; and back again in the opposite order."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from headrace.adapters.database import StatementPool
from headrace.adapters.logs import configure_logging
from headrace.adapters.servers import Servers, run_servers
from headrace.api.auth.authentication import refuse_remote
from headrace.cli.data_dir_lock import DataDirLock, lock_port
from headrace.cli.interrupts import Interrupts
from headrace.cli.migrate import bring_up_to_date
from headrace.cli.service import Service, ServiceSpec, hand_on
from headrace.cli.up_screen import UpScreen
from headrace.cli.upkeep import kept_alive


def run_up(plan: ServiceSpec, console: Console) -> None:
    """Run until told to stop.

    Raises:
        HeadraceError: something refuses to start; what ran already is stopped.
    """
    configure_logging("error", as_json=False, secrets=plan.settings.secrets)
    refuse_remote(plan.host, plan.settings)
    screen = UpScreen(console)
    interrupts = Interrupts()
    screen.starting(plan)
    with (
        interrupts.caught(),
        contextlib.suppress(KeyboardInterrupt),
        running_servers(plan) as (ready, servers),
    ):
        for note in servers.notes:
            screen.say("servers", note)
        asyncio.run(_run_parts(ready, servers, interrupts, screen))
    screen.stopped()


@contextmanager
def running_servers(plan: ServiceSpec) -> Iterator[tuple[ServiceSpec, Servers]]:
    """Run what servers the settings do not name, with a database that is up to date, for the block.

    Gives the plan with a port that is free, and the servers.

    Raises:
        HeadraceError: the folder, the port or a server is not to be had.
    """
    settings = plan.settings
    with DataDirLock(plan.data_dir) as turn:
        ready = lock_port(plan, patient=turn.was_left_behind)
        with run_servers(
            plan.data_dir, postgres=not settings.database_url, redis=not settings.redis_url
        ) as servers:
            _set_up(plan, servers)
            yield ready, servers


def _set_up(plan: ServiceSpec, servers: Servers) -> None:
    """Bring the database up to date, and tell the parts where everything is."""
    database_url = _database_url(plan, servers)
    hand_on(
        {
            "HEADRACE_DATABASE_URL": database_url,
            "HEADRACE_REDIS_URL": servers.redis_url or str(plan.settings.redis_url),
            "HEADRACE_DATA_DIR": str(plan.data_dir),
        }
    )
    bring_up_to_date(database_url)


def _database_url(plan: ServiceSpec, servers: Servers) -> str:
    return servers.database_url or str(plan.settings.database_url)


async def _run_parts(plan: ServiceSpec, servers: Servers, interrupts: Interrupts, screen: UpScreen) -> None:
    service = Service(plan, screen.say)
    with interrupts.listening() as (stop, hurry):
        async with kept_alive(servers, screen.say):
            service.start()
            try:
                if await finished_before(service.until_ready(), stop):
                    screen.ready(plan, await pipelines_in(_database_url(plan, servers)))
                    await finished_before(service.until_refused(), stop)
            finally:
                screen.stopping()
                await service.stop(hurry)


async def finished_before(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Do *work* unless *stop* is set first; what it raises is raised."""
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


async def pipelines_in(database_url: str) -> list[str]:
    """The names of what can be submitted; asked of PostgreSQL, since the API asks who asks."""
    pool = await StatementPool.open(database_url, size=1)
    try:
        rows = await pool.fetch("SELECT DISTINCT name FROM pipelines ORDER BY name")
    finally:
        await pool.close()
    return [str(row["name"]) for row in rows]
