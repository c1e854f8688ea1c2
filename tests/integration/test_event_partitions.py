"""Partitions of the event log: ahead of time, and for events that a wrong clock put into the default one."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from headrace.adapters.database import StatementPool
from headrace.cli.migrate import bring_up_to_date
from headrace.domain.database import Row
from headrace.domain.events.partition_mover import PartitionMover, TooManyRowsError
from headrace.domain.events.partitions import create_partitions, lowest_id_at, months_from
from headrace.workers.maintenance import housekeeper
from headrace.workers.maintenance.housekeeper import hourly_chores

NOW = next(months_from(datetime.now(UTC), 1))
# Months for which the template has no partition yet.
LATER = list(months_from(NOW, 9))[6:]


def job_id(month: datetime, number: int = 0) -> UUID:
    return UUID(int=lowest_id_at(month + timedelta(days=3)).int + number)


async def add_job(database: StatementPool, job: UUID, events: int = 3) -> None:
    """Insert a job with events, as an API with a wrong clock does."""
    await database.fetch(
        "INSERT INTO jobs (id, owner_id, pipeline, version, state, params, meta, queue, priority, run_at,"
        " due_order, event_seq, created_at, updated_at)"
        " SELECT $1, users.id, 'noop', 1, 'queued', '{}', '{}', 'default', 0, now(), now(), $2, now(), now()"
        " FROM users LIMIT 1",
        job,
        events,
    )
    await database.fetch(
        "INSERT INTO job_changes (job_id, seq, at, type, body)"
        " SELECT $1, seq, now(), 'log', json_build_object('seq', seq) FROM generate_series(1, $2) AS seq",
        job,
        events,
    )


async def places(database: StatementPool) -> dict[str, int]:
    """Return the number of events in each partition that has some."""
    rows = await database.fetch(
        "SELECT tableoid::regclass::text AS name, count(*)::int AS events FROM job_changes GROUP BY 1"
    )
    return {row["name"]: row["events"] for row in rows}


async def events(database: StatementPool, job: UUID) -> list[int]:
    rows = await database.fetch("SELECT seq FROM job_changes WHERE job_id = $1 ORDER BY seq", job)
    return [row["seq"] for row in rows]


def name_of(month: datetime) -> str:
    return f"job_changes_{month:%Y_%m}"


async def test_events_of_a_clock_that_was_ahead_do_not_stop_the_partition_of_their_month(
    ready: StatementPool,
) -> None:
    wrong, right = job_id(LATER[0]), job_id(NOW)
    await add_job(ready, wrong)
    await add_job(ready, right, events=1)
    assert await places(ready) == {"job_changes_rest": 3, name_of(NOW): 1}

    await create_partitions(ready, LATER[0])

    assert await places(ready) == {name_of(LATER[0]): 3, name_of(NOW): 1}
    assert await events(ready, wrong) == [1, 2, 3]
    await ready.fetch(
        "INSERT INTO job_changes (job_id, seq, at, type, body) VALUES ($1, 4, now(), 'log', '{}')", wrong
    )
    assert await places(ready) == {name_of(LATER[0]): 4, name_of(NOW): 1}
    await ready.fetch("DELETE FROM jobs WHERE id = $1", wrong)
    assert await places(ready) == {name_of(NOW): 1}


async def test_stray_events_of_any_month_get_partitions_and_ids_without_a_time_stay(
    ready: StatementPool,
) -> None:
    epoch, past = datetime(1970, 1, 1, tzinfo=UTC), datetime(2019, 5, 1, tzinfo=UTC)
    no_time = UUID("ffffffff-0000-4000-8000-000000000000")
    for job in (*map(job_id, (epoch, past, LATER[1])), no_time):
        await add_job(ready, job, events=2)

    await create_partitions(ready, NOW)

    assert await places(ready) == {
        **{name_of(month): 2 for month in (epoch, past, LATER[1])},
        "job_changes_rest": 2,
    }


async def test_a_move_in_small_batches_keeps_every_event_in_order(ready: StatementPool) -> None:
    month, following = LATER[0], LATER[1]
    jobs = [job_id(month, number) for number in range(5)]
    for job in jobs:
        await add_job(ready, job, events=7)
    neighbour = job_id(following)
    await add_job(ready, neighbour)

    mover = PartitionMover(ready, batch_size=4)
    for _ in range(2):
        await mover.move(name_of(month), lowest_id_at(month), lowest_id_at(following))

    assert await places(ready) == {name_of(month): 35, "job_changes_rest": 3}
    assert [await events(ready, job) for job in jobs] == [list(range(1, 8))] * 5


async def test_more_events_than_may_wait_for_the_lock_are_moved_by_migrate(
    ready: StatementPool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    month = LATER[0]
    await add_job(ready, job_id(month), events=5)
    monkeypatch.setattr(housekeeper, "MAX_MOVED_ROWS", 4)

    with pytest.raises(TooManyRowsError) as refused:
        await hourly_chores(ready)["partitions"]()
    before = await places(ready)
    copies = await ready.fetch("SELECT FROM pg_class WHERE relname = $1", name_of(month))
    await asyncio.to_thread(bring_up_to_date, database_url)

    assert str(refused.value) == (
        f"job_changes_rest has more than 4 rows of {name_of(month)}, and all jobs wait while they are moved:"
        " run `headrace migrate` at a quiet time"
    )
    assert (before, copies) == ({"job_changes_rest": 5}, [])
    assert await places(ready) == {name_of(month): 5}


async def test_as_many_events_as_may_wait_for_the_lock_are_moved(ready: StatementPool) -> None:
    await add_job(ready, job_id(LATER[0]), events=5)

    await create_partitions(ready, NOW, max_rows=5)

    assert await places(ready) == {name_of(LATER[0]): 5}


class Interfering:
    """A database that runs *meanwhile* between the copy and the exchange of a move."""

    def __init__(self, database: StatementPool, meanwhile: Any) -> None:
        self._database = database
        self._meanwhile = meanwhile

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Row]:
        if "ATTACH PARTITION" in statement:
            await self._meanwhile()
        return await self._database.fetch(statement, *arguments)


async def test_events_and_deletions_during_a_move_are_not_lost(ready: StatementPool) -> None:
    month, following = LATER[0], LATER[1]
    running, deleted, new = (job_id(month, number) for number in range(3))
    for job in (running, deleted):
        await add_job(ready, job)
    seen: list[list[int]] = []

    async def meanwhile() -> None:
        seen.append(await events(ready, running))
        await ready.fetch(
            "INSERT INTO job_changes (job_id, seq, at, type, body) VALUES ($1, 4, now(), 'log', '{}')",
            running,
        )
        await ready.fetch("DELETE FROM jobs WHERE id = $1", deleted)
        await add_job(ready, new, events=1)

    mover = PartitionMover(Interfering(ready, meanwhile))
    await mover.move(name_of(month), lowest_id_at(month), lowest_id_at(following))

    assert seen == [[1, 2, 3]]  # readers miss no event during the move
    assert await events(ready, running) == [1, 2, 3, 4]
    assert await places(ready) == {name_of(month): 5}


async def test_an_interrupted_move_is_finished_by_the_next(ready: StatementPool) -> None:
    await add_job(ready, job_id(LATER[0]))

    async def end() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await create_partitions(Interfering(ready, end), LATER[0])
    assert await places(ready) == {"job_changes_rest": 3}
    await create_partitions(ready, LATER[0])

    assert await places(ready) == {name_of(LATER[0]): 3}


async def test_workers_that_move_at_once_do_not_disturb_each_other(ready: StatementPool) -> None:
    jobs = [job_id(LATER[0], number) for number in range(20)]
    for job in jobs:
        await add_job(ready, job)

    outcomes = await asyncio.gather(
        *(create_partitions(ready, LATER[0]) for _ in range(4)), return_exceptions=True
    )

    assert outcomes == [None] * 4
    assert await places(ready) == {name_of(LATER[0]): 60}
    assert [await events(ready, job) for job in jobs] == [[1, 2, 3]] * 20


async def test_a_month_that_cannot_be_made_does_not_stop_the_others(ready: StatementPool) -> None:
    first, second = LATER[0], LATER[1]
    await ready.fetch(f"CREATE VIEW {name_of(first)} AS SELECT 1 AS one")

    with pytest.raises(asyncpg.PostgresError):
        await create_partitions(ready, first)

    rows = await ready.fetch("SELECT to_regclass($1) IS NOT NULL AS exists", name_of(second))
    assert rows[0]["exists"]


async def test_the_hourly_chores_create_the_partitions_of_four_months(ready: StatementPool) -> None:
    for month in months_from(NOW, 4):
        await ready.fetch(f"DROP TABLE {name_of(month)}")

    await hourly_chores(ready)["partitions"]()

    rows = await ready.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^job_changes_2'"
    )
    assert {row["relname"] for row in rows} == {name_of(month) for month in months_from(NOW, 4)}
