"""Stops a worker if the schema no longer fits: a release has migrated it, or a restore has replaced it."""

from collections.abc import Callable
from typing import Final

import structlog

from headrace.adapters.periodic import run_every
from headrace.adapters.schema import SchemaAheadError, SchemaError, require_schema
from headrace.domain.database import Database

_log = structlog.get_logger(__name__)

_SECONDS: Final = 30.0


class SchemaWatch:
    """Calls *stop* once the schema does not fit. The jobs are handed back.

    The next start is refused if the schema is too new. If it is too old, the next worker waits.
    """

    def __init__(self, database: Database, stop: Callable[[], None]) -> None:
        self._database = database
        self._stop = stop

    async def run(self) -> None:
        """Check until cancelled."""
        await run_every(_SECONDS, self.check, put_off_event="schema_not_checked")

    async def check(self) -> int:
        """Compare the schema once. Returns 1 if it does not fit."""
        try:
            await require_schema(self._database)
        except SchemaError as error:
            is_ahead = isinstance(error, SchemaAheadError)
            _log.error("schema_too_new" if is_ahead else "schema_too_old", reason=str(error))
            self._stop()
            return 1
        return 0
