"""The database of a step's own calls: whatever PostgreSQL answers there is not the fault of the step."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from headrace.adapters.retry_pause import RetryPause
from headrace.domain.database import TRANSIENT, Database, DatabaseRefusingError, Row

_PATIENCE_SECONDS: Final = 5.0


class StepDatabase:
    """Sends a statement again for some seconds; implements `domain.database.Database`.

    The arguments are ids, so no error is the fault of a value. The statements may run twice.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        """Run *statement* as `Database.fetch` does.

        Raises:
            DatabaseAwayError, DatabaseBusyError: PostgreSQL goes on to refuse it, for whatever reason.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + _PATIENCE_SECONDS
        pause = RetryPause(min_seconds=0.1, max_seconds=1.0)
        while True:
            try:
                return await self._database.fetch(statement, *arguments)
            except TRANSIENT:
                if loop.time() >= ends_at:
                    raise
            except asyncpg.PostgresError as error:
                if loop.time() >= ends_at:
                    raise DatabaseRefusingError(f"{type(error).__name__}: {error}") from error
            await asyncio.sleep(pause.next_seconds())
