"""The database of a step's own calls."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from headrace.domain.database import DatabaseAwayError, DatabaseBusyError, DatabaseRefusingError
from headrace.workers.attempt.step_database import StepDatabase
from support.virtual_time import in_virtual_time

REFUSALS = [
    asyncpg.UndefinedColumnError("no such column"),
    asyncpg.NumericValueOutOfRangeError("too large"),
    asyncpg.CheckViolationError("checked"),
]


class FakeDatabase:
    """A database that raises each of *errors* in turn, and then always the last."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.calls: list[tuple[Any, ...]] = []

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Any]:
        self.calls.append((statement, *arguments))
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        if error is not None:
            raise error
        return [{"key": 1}]


@pytest.mark.parametrize("error", [*REFUSALS, DatabaseAwayError("gone"), DatabaseBusyError("locked")])
@in_virtual_time
async def test_a_statement_is_sent_again_until_it_passes(error: Exception) -> None:
    database = FakeDatabase(error, error, error, None)

    assert await StepDatabase(database).fetch("SELECT $1", 7) == [{"key": 1}]
    assert database.calls == [("SELECT $1", 7)] * 4


@pytest.mark.parametrize("error", REFUSALS)
@in_virtual_time
async def test_a_statement_that_is_refused_for_long_counts_as_trouble_that_passes(error: Exception) -> None:
    began = asyncio.get_running_loop().time()

    with pytest.raises(DatabaseRefusingError, match=type(error).__name__) as caught:
        await StepDatabase(FakeDatabase(error)).fetch("SELECT 1")

    assert caught.value.__cause__ is error
    assert 5.0 <= asyncio.get_running_loop().time() - began < 10.0


@in_virtual_time
async def test_trouble_that_lasts_is_raised_as_it_is() -> None:
    error = DatabaseAwayError("gone")

    with pytest.raises(DatabaseAwayError) as caught:
        await StepDatabase(FakeDatabase(error)).fetch("SELECT 1")

    assert caught.value is error
