"""The sizes of all pools of connections to PostgreSQL, and how many connections a process opens at most."""

from typing import Final

CREDENTIAL_CONNECTIONS: Final = 4
HEALTH_CONNECTIONS: Final = 1
SEARCH_CONNECTIONS: Final = 2
STREAM_CONNECTIONS: Final = 4
SUBMIT_CONNECTIONS: Final = 4

CLAIM_CONNECTIONS: Final = 6
WRITE_CONNECTIONS: Final = 4
HEARTBEAT_CONNECTIONS: Final = 2
NOTICE_CONNECTIONS: Final = 1

# The process that exports the facts of PostgreSQL, whether an API or a worker.
FACTS_CONNECTIONS: Final = 1
# A process that suspects an outage probes with a new one.
_PROBE_CONNECTIONS: Final = 1

OF_A_WORKER: Final = (
    CLAIM_CONNECTIONS
    + WRITE_CONNECTIONS
    + HEARTBEAT_CONNECTIONS
    + NOTICE_CONNECTIONS
    + FACTS_CONNECTIONS
    + _PROBE_CONNECTIONS
)


def of_an_api(database_connections: int) -> int:
    """Return the number for an API with HEADRACE_DATABASE_CONNECTIONS for requests."""
    return (
        database_connections
        + CREDENTIAL_CONNECTIONS
        + HEALTH_CONNECTIONS
        + SEARCH_CONNECTIONS
        + STREAM_CONNECTIONS
        + SUBMIT_CONNECTIONS
        + FACTS_CONNECTIONS
        + _PROBE_CONNECTIONS
    )
