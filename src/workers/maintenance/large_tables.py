"""Warns of tables that have become large because nobody has chosen how long their rows are kept."""

from datetime import timedelta
from typing import Final

import structlog

from headrace.domain.chores.repository import ChoreRepository
from headrace.domain.database import Database
from headrace.domain.retention.table_sizes import find_large_tables
from headrace.domain.retention.terms import ChosenTerms

_log = structlog.get_logger(__name__)

_TURN: Final = "large_table_warning"
_ONE_DAY: Final = timedelta(hours=24)


class LargeTableWatch:
    """Logs a line for each large table, once a day in all workers together."""

    def __init__(self, database: Database, chosen: ChosenTerms) -> None:
        self._database = database
        self._chosen = chosen
        self._chores = ChoreRepository(database)

    async def check(self) -> int:
        """Look once, and warn unless that was done within a day. Return the number of large tables."""
        tables = await find_large_tables(self._database, self._chosen)
        if not tables or not await self._chores.fetch_due([_TURN]):
            return len(tables)
        await self._chores.store_next_run(_TURN, _ONE_DAY)
        for table in tables:
            _log.warning("table_is_large", table=table.name, bytes=table.bytes, advice=str(table))
        return len(tables)
