"""A violated unique constraint becomes a domain error only where one is expected."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from sqlalchemy.exc import IntegrityError

from headrace.domain.base import Session
from headrace.domain.conflicts import TakenError, translate_unique_violation

TAKEN = TakenError("$.title", "taken")


class FakeSession:
    """A session that counts its savepoints."""

    def __init__(self) -> None:
        self.undone = self.kept = 0

    @asynccontextmanager
    async def begin_nested(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            self.undone += 1
            raise
        self.kept += 1


class DriverError(Exception):
    """An asyncpg error with the one attribute that the code reads."""

    constraint_name: str | None = None


def broken(constraint: str | None) -> IntegrityError:
    """Return SQLAlchemy's error for a violated *constraint*; None if the driver named none."""
    driver_error: Any = Exception("of SQLAlchemy's dialect")
    if constraint is not None:
        driver_error.__cause__ = DriverError()
        driver_error.__cause__.constraint_name = constraint
    return IntegrityError("INSERT", {}, driver_error)


async def test_the_expected_constraint_raises_the_domain_error() -> None:
    session, error = FakeSession(), broken("uq_titles")

    with pytest.raises(TakenError) as refused:
        async with translate_unique_violation(cast("Session", session), "uq_titles", TAKEN):
            raise error

    assert refused.value is TAKEN
    assert refused.value.__cause__ is error
    assert (session.undone, session.kept) == (1, 0)


@pytest.mark.parametrize("constraint", ["uq_names", None])
async def test_other_and_unnamed_constraints_are_not_translated(constraint: str | None) -> None:
    session, error = FakeSession(), broken(constraint)

    with pytest.raises(IntegrityError) as raised:
        async with translate_unique_violation(cast("Session", session), "uq_titles", TAKEN):
            raise error

    assert raised.value is error
    assert (session.undone, session.kept) == (1, 0)


async def test_a_block_without_violations_keeps_its_savepoint() -> None:
    session = FakeSession()

    async with translate_unique_violation(cast("Session", session), "uq_titles", TAKEN):
        pass

    assert (session.undone, session.kept) == (0, 1)
