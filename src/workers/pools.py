"""Opens the connections of a worker to PostgreSQL: one pool for each patience."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from msgspec import Struct

from headrace.adapters.connection_counts import (
    CLAIM_CONNECTIONS,
    HEARTBEAT_CONNECTIONS,
    WRITE_CONNECTIONS,
)
from headrace.adapters.database import StatementPool
from headrace.adapters.outages import Outage
from headrace.settings import Settings

# Batches and the heartbeat write for many jobs, so they must not wait long for one locked row.
_LOCK_TIMEOUT: Final = timedelta(milliseconds=100)
# A statement can be repeated safely (its writes are numbered), so a silent connection is given up soon.
_STATEMENT_SECONDS: Final = 8.0


class WorkerPools(Struct, frozen=True):
    """The pools for claims and reads, for the writes of attempts, and for the heartbeat."""

    statements: StatementPool
    writes: StatementPool
    heartbeat: StatementPool

    def in_use(self) -> dict[str, Callable[[], int]]:
        """Return functions that count the connections in use, by the name of their pool."""
        pools = {"statements": self.statements, "writes": self.writes, "heartbeat": self.heartbeat}
        return {name: pool.count_in_use for name, pool in pools.items()}


async def open_pools(settings: Settings, postgresql: Outage, stack: AsyncExitStack) -> WorkerPools:
    """Open the pools until *stack* is closed. They connect on first use, and report to *postgresql*."""
    address, report = settings.database, postgresql.report
    pools = WorkerPools(
        statements=await StatementPool.open(
            address, size=CLAIM_CONNECTIONS, answer_seconds=_STATEMENT_SECONDS, report=report
        ),
        writes=await StatementPool.open(
            address,
            size=WRITE_CONNECTIONS,
            lock_timeout=_LOCK_TIMEOUT,
            answer_seconds=_STATEMENT_SECONDS,
            report=report,
        ),
        # A silent connection must not hold the heartbeat until the leases have expired.
        heartbeat=await StatementPool.open(
            address,
            size=HEARTBEAT_CONNECTIONS,
            lock_timeout=_LOCK_TIMEOUT,
            answer_seconds=max(1.0, settings.lease_seconds / 5),
            report=report,
        ),
    )
    for pool in (pools.statements, pools.writes, pools.heartbeat):
        stack.push_async_callback(pool.close)
        # Connections from before a fail-over may lead to the old server.
        postgresql.on_end.append(pool.expire)
    return pools
