"""Runs Debian's PgBouncer before the PostgreSQL of the tests."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import pytest

from faults.processes import free_port
from headrace.adapters.postgres_url import parse_postgres_url
from headrace.adapters.servers.accounts import unprivileged_accounts
from support.patience import until_async
from support.scratch import make_server_folder

PGBOUNCER: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")


@asynccontextmanager
async def pgbouncer(url: str, *settings: str) -> AsyncIterator[str]:
    """Run PgBouncer with *settings* (lines of its file) before the database of *url*, for the block."""
    address = parse_postgres_url(url)
    ((host, server_port),) = address.hosts
    port = free_port()
    folder = make_server_folder("headrace-pgbouncer-")
    account = unprivileged_accounts()[0] if os.geteuid() == 0 else None
    (folder / "users.txt").write_text(f'"{address.user}" "{address.password}"\n')
    lines = (
        "[databases]",
        f"* = host={host} port={server_port}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = scram-sha-256",
        f"auth_file = {folder / 'users.txt'}",
        *settings,
    )
    (folder / "pgbouncer.ini").write_text("\n".join(lines))
    process = await asyncio.create_subprocess_exec(
        str(PGBOUNCER),
        str(folder / "pgbouncer.ini"),
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pooled = f"postgresql://{address.user}:{address.password}@127.0.0.1:{port}/{address.database}"
    try:
        await until_async(lambda: _answers(pooled))
        yield pooled
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(folder)


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, statement_cache_size=0)
    except OSError:
        return False
    await connection.close()
    return True
