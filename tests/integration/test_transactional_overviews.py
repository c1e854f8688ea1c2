"""Overviews see each job that another program has submitted, however long its transaction was open."""

from uuid import UUID

import asyncpg
import pytest

from headrace.adapters.database import StatementPool
from headrace.domain.jobs.overview.overview_repository import ChangePoll, OverviewRepository
from support.harness import Api
from support.transactional import connected, submit

MANY = 100
SUBMITTED_AN_HOUR_AGO = (
    "UPDATE jobs SET created_at = created_at - interval '1 hour' WHERE id = $1",
    "UPDATE transactional_submissions SET at = at - interval '1 hour' WHERE id = $1",
)


class Poller:
    """Polls the changes of one owner."""

    def __init__(self, database: StatementPool, owner_id: UUID) -> None:
        self._repository = OverviewRepository(database)
        self._owner_id = owner_id
        self._last: ChangePoll | None = None

    async def changed(self) -> set[UUID]:
        self._last = await self._repository.poll(
            self._owner_id, self._last, [], max_running=MANY, max_changes=MANY
        )
        return {job.job_id for job in self._last.changed}


@pytest.fixture
async def poller(api: Api, database: StatementPool) -> Poller:
    own = await api.submit("noop")
    poller = Poller(database, UUID(own["owner_id"]))
    await poller.changed()
    assert await poller.changed() == set()
    return poller


async def in_savepoint(connection: asyncpg.Connection) -> UUID:
    async with connection.transaction():
        return await submit(connection, "noop")


async def test_a_job_of_a_savepoint_is_seen_once(
    poller: Poller, database: StatementPool, database_url: str
) -> None:
    async with connected(database_url) as connection:
        async with connection.transaction():
            await connection.execute("SELECT pg_current_xact_id()")
            job_id = await in_savepoint(connection)
            # The savepoint has a number of its own, and a snapshot lists only those of whole transactions. A
            # later transaction that has ended makes it look like one that has ended as well.
            await database.fetch("SELECT pg_current_xact_id()")
            while_open = await poller.changed()
        polls = [await poller.changed(), await poller.changed()]

    assert while_open == set()
    assert polls == [{job_id}, set()]


async def test_a_job_of_an_hour_long_transaction_is_seen_once(
    poller: Poller, database: StatementPool, database_url: str
) -> None:
    async with connected(database_url) as connection:
        async with connection.transaction():
            job_id = await submit(connection, "noop")
            for statement in SUBMITTED_AN_HOUR_AGO:
                await connection.execute(statement, job_id)
            while_open = await poller.changed()
        # The commit keeps the row from being deleted as one that all overviews have seen.
        (row,) = await database.fetch(
            "SELECT at > now() - interval '5 minutes' AS is_new FROM transactional_submissions"
        )
        polls = [await poller.changed(), await poller.changed()]

    assert while_open == set()
    assert row["is_new"]
    assert polls == [{job_id}, set()]
