"""Stops a worker below which a newer release migrates the database to a schema that no longer fits."""

from collections.abc import Callable
from typing import Final

import structlog

from headrace.adapters.periodic import run_every
from headrace.adapters.schema import SchemaAheadError, require_schema
from headrace.domain.database import Database

_log = structlog.get_logger(__name__)

_SECONDS: Final = 30.0


class SchemaWatch:
    """Calls *stop* once the schema is too new. The jobs are handed back, and the next start is refused."""

    def __init__(self, database: Database, stop: Callable[[], None]) -> None:
        self._database = database
        self._stop = stop

    async def run(self) -> None:
        """Check until cancelled."""
        await run_every(_SECONDS, self.check, put_off_event="schema_not_checked")

    async def check(self) -> int:
        """Compare the schema once. Returns 1 if it is too new."""
        try:
            await require_schema(self._database)
        except SchemaAheadError as error:
            _log.error("schema_too_new", reason=str(error))
            self._stop()
            return 1
        return 0
