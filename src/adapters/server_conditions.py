"""Checks what a start needs of PostgreSQL beside its schema: a clock that agrees, and enough connections."""

import time
from typing import Final

from msgspec import Struct

from headrace.adapters.postgres_connector import HAS_OWN_SESSION
from headrace.domain.database import Database
from headrace.domain.errors import HeadraceError

MAX_CLOCK_SECONDS: Final = 60.0
"""Ids and sessions carry the time of the API. Leases and events carry that of PostgreSQL."""

# Behind a pooler the limits are those of the pooler, which shares few connections among many.
_CONDITIONS: Final = f"""
SELECT extract(epoch FROM clock_timestamp())::float8 AS now, coalesce({HAS_OWN_SESSION}, false) AS is_direct,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0) AS of_server,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS of_role,
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS of_database
"""  # noqa: S608


class ClockOffError(HeadraceError):
    """The clocks of this machine and of PostgreSQL differ by minutes."""

    def __init__(self, seconds: float) -> None:
        direction = "ahead of" if seconds > 0 else "behind"
        super().__init__(
            f"the clock of this machine is {abs(seconds):.0f} s {direction} that of PostgreSQL: synchronise"
            " both with a time server"
        )
        self.seconds = seconds


class TooFewConnectionsError(HeadraceError):
    """PostgreSQL does not accept as many connections as the processes of a start may open."""

    def __init__(self, limit: int, kind: str, needed: int, processes: str) -> None:
        super().__init__(
            f"PostgreSQL accepts {limit} connections ({kind}), and {processes} may open {needed}: raise that"
            " limit, or lower HEADRACE_DATABASE_CONNECTIONS or the number of workers"
        )


class ServerConditions(Struct, frozen=True):
    """How far our clock is ahead of PostgreSQL's, and its limits of connections; none behind a pooler."""

    clock_seconds: float
    limits: dict[str, int]

    def find_clock_fault(self) -> ClockOffError | None:
        """Return how wrong the clock of this machine is; None if it agrees."""
        return ClockOffError(self.clock_seconds) if abs(self.clock_seconds) > MAX_CLOCK_SECONDS else None

    def find_connection_fault(self, needed: int, processes: str) -> TooFewConnectionsError | None:
        """Return which limit is below what *processes* need; None if they have enough."""
        kind = min(self.limits, key=lambda name: self.limits[name], default=None)
        if kind is None or self.limits[kind] >= needed:
            return None
        return TooFewConnectionsError(self.limits[kind], kind, needed, processes)


async def fetch_conditions(database: Database) -> ServerConditions:
    """Return the conditions that *database* offers; the time of the answer counts half."""
    began = time.time()
    (row,) = await database.fetch(_CONDITIONS)
    seconds = (began + time.time()) / 2 - row["now"]
    limits = {
        "max_connections without the reserved ones": row["of_server"],
        "the limit of the role": row["of_role"],
        "the limit of the database": row["of_database"],
    }
    if not row["is_direct"]:
        limits = {}
    # PostgreSQL writes -1 for no limit.
    return ServerConditions(seconds, {name: limit for name, limit in limits.items() if limit >= 0})


async def require_conditions(database: Database, connections: int, processes: str) -> None:
    """Check that the clock agrees with PostgreSQL's, and that *processes* find their *connections*.

    Raises:
        ClockOffError, TooFewConnectionsError: they do not.
    """
    conditions = await fetch_conditions(database)
    fault = conditions.find_clock_fault() or conditions.find_connection_fault(connections, processes)
    if fault is not None:
        raise fault
