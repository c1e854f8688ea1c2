"""SQLAlchemy's connection pool, whose connections users share fairly.

It overrides two private methods of SQLAlchemy's pools; `test_fair_shares.py` fails if they change.
"""

from typing import Any, Final

from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import await_only

from headrace.adapters.fair_turns import FairTurns

_TURN: Final = "turn"


class FairPool(AsyncAdaptedQueuePool):
    """A pool that gives its connections in the order of *turns*, which `build_engine` sets."""

    turns: FairTurns
    # SQLAlchemy's name for the logger of a pool.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.FairPool"

    def recreate(self) -> "FairPool":
        pool: Any = super().recreate()
        pool.turns = self.turns
        recreated: FairPool = pool
        return recreated

    def _do_get(self) -> ConnectionPoolEntry:
        turn = await_only(self.turns.acquire())
        try:
            record = super()._do_get()
        except BaseException:
            self.turns.release(turn)
            raise
        # Opening a connection may take long, and is not the request's fault.
        _info(record)[_TURN] = self.turns.restart_clock(turn)
        return record

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        try:
            super()._do_return_conn(record)
        finally:
            self.turns.release(_info(record).pop(_TURN))


def _info(record: ConnectionPoolEntry) -> dict[str, Any]:
    info: Any = record.record_info
    values: dict[str, Any] = info
    return values
