"""Prunes a database few rows at a time, and waits for a line of its input before each statement.

`pruning.py URL RULE` ends when nothing is left for the rule.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from headrace.adapters.database import StatementPool
from headrace.domain.database import Row
from headrace.domain.retention.terms import ChosenTerms
from headrace.workers.maintenance.prune_pace import PrunePace
from headrace.workers.maintenance.pruner import Pruner


class OnRequest:
    """A database that runs a statement for each line of standard input."""

    def __init__(self, database: StatementPool) -> None:
        self._database = database

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        sys.stdin.readline()
        rows = await self._database.fetch(statement, *arguments)
        print("done", flush=True)  # noqa: T201
        return rows


class SlowPace(PrunePace):
    """Removes ten rows a statement, and does not pause."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 10

    def pause_after(self, took: float) -> float:  # noqa: ARG002
        return 0.0


async def main(url: str, rule: str) -> None:
    database = await StatementPool.open(url, size=1)
    chosen = ChosenTerms(succeeded=timedelta(days=1), files=timedelta(days=1))
    pruner = Pruner(OnRequest(database), chosen, "killed", pace=SlowPace())
    assert await pruner.run_now({rule}) is not None
    assert pruner.failures == {}
    await database.close()


asyncio.run(main(*sys.argv[1:]))
