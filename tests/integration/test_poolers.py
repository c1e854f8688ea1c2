"""The service behind PgBouncer: statements, transactions, limits, migrations and whole jobs."""

import asyncio
import sys
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from headrace.adapters.database import StatementPool
from headrace.adapters.engine import build_engine
from headrace.adapters.migrations import AlembicCommands
from headrace.adapters.postgres_url import parse_postgres_url
from headrace.adapters.revisions import newest_revision
from headrace.cli.migrate import bring_up_to_date
from headrace.domain.database import DatabaseMisconfiguredError, DatabaseTimeoutError
from headrace.settings import Settings
from support.harness import serving, working
from support.patience import PATIENCE_SECONDS, until_async
from support.pgbouncer import needs_pgbouncer, pgbouncer
from support.session_pooler import session_pooler

IGNORING = "ignore_startup_parameters = " + ",".join(
    (
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "enable_seqscan",
        "jit",
        "headrace.session",
    )
)
LIMITS = """
SELECT concat_ws(' ', current_setting('statement_timeout'), current_setting('enable_seqscan'),
    current_setting('idle_in_transaction_session_timeout'), current_setting('application_name')) AS limits
"""
PATH = "SELECT current_setting('search_path') AS path"
INDEXES_BUILT_LATER = """
SELECT (SELECT version_num FROM alembic_version) AS revision,
    count(*) FILTER (WHERE indisvalid AND relname = ANY(
        '{ix_jobs_finished,ix_files_newest,ix_files_owner_newest,ix_jobs_prunable,ix_jobs_pinned}'
    )) AS valid,
    count(*) FILTER (WHERE NOT indisvalid) AS invalid
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'headrace'::regnamespace
"""
TRANSACTIONS = """
SELECT count(*) AS others FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
"""


MODES = {
    "transaction": ("pool_mode = transaction", "default_pool_size = 3"),
    "transaction-ignoring": ("pool_mode = transaction", "default_pool_size = 3", IGNORING),
    # In this mode each client holds a connection.
    "session": ("pool_mode = session", "default_pool_size = 50"),
    "session-ignoring": ("pool_mode = session", "default_pool_size = 50", IGNORING),
}


@pytest.fixture(
    params=[*(pytest.param(mode, marks=needs_pgbouncer) for mode in MODES), "stand-in", "stand-in-ignoring"]
)
async def pooled_url(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[str]:
    # Its own, because its mode belongs to the test.
    if settings := MODES.get(request.param):
        async with pgbouncer(database_url, *settings) as url:
            yield url
    else:
        async with session_pooler(database_url, ignores_parameters="ignoring" in request.param) as url:
            yield url


async def test_limits_hold_in_every_statement_and_transaction(pooled_url: str) -> None:
    pool = await StatementPool.open(pooled_url, size=4)
    engine = build_engine(pooled_url)

    by_pool = await asyncio.gather(*(pool.fetch(LIMITS) for _ in range(20)))
    async with engine.connect() as connection:
        by_engine = [(await connection.execute(text(LIMITS))).scalar_one() for _ in range(3)]
    await engine.dispose()
    await pool.close()

    assert {rows[0]["limits"] for rows in by_pool} == {"20s off 5s headrace"}
    assert set(by_engine) == {"20s off 5s headrace"}


async def test_each_transaction_uses_the_schema_of_its_installation(pooled_url: str) -> None:
    other = parse_postgres_url(pooled_url, schema="Jobs-2")
    pools = [await StatementPool.open(address, size=3) for address in (pooled_url, other)]
    engines = [build_engine(address) for address in (pooled_url, other)]

    rows = await asyncio.gather(*(pools[number % 2].fetch(PATH) for number in range(20)))
    by_engine = []
    for engine in engines:
        async with engine.connect() as connection:
            by_engine.append((await connection.execute(text(PATH))).scalar_one())
    for number in (0, 1):
        await engines[number].dispose()
        await pools[number].close()
    stranger = await asyncpg.connect(pooled_url, statement_cache_size=0)
    path_of_others = await stranger.fetchval(PATH)
    await stranger.close()

    assert [row["path"] for (row,) in rows] == ['"headrace"', '"Jobs-2"'] * 10
    assert by_engine == ['"headrace"', '"Jobs-2"']
    assert path_of_others == '"$user", public'


async def test_no_prepared_statement_of_another_is_used(pooled_url: str) -> None:
    pools = [await StatementPool.open(pooled_url, size=3) for _ in range(2)]
    engine = build_engine(pooled_url)

    async def by_engine(number: int) -> int:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            return int((await connection.execute(text(f"SELECT {number} + :one"), {"one": 1})).scalar_one())

    numbers = range(16)
    by_pool = await asyncio.gather(
        *(pools[number % 2].fetch(f"SELECT {number} + $1::int AS sum", 1) for number in numbers)
    )
    sums = await asyncio.gather(*map(by_engine, numbers))
    await engine.dispose()
    for pool in pools:
        await pool.close()

    assert [rows[0]["sum"] for rows in by_pool] == [number + 1 for number in numbers]
    assert list(sums) == [number + 1 for number in numbers]


async def test_a_statement_that_fails_leaves_no_transaction_behind(pooled_url: str) -> None:
    pool = await StatementPool.open(pooled_url, size=1)
    hasty = await StatementPool.open(pooled_url, size=1, answer_seconds=1)

    async def is_rolled_back() -> bool:
        return not (await pool.fetch(TRANSACTIONS))[0]["others"]

    with pytest.raises(asyncpg.DivisionByZeroError):
        await pool.fetch("SELECT 1 / $1::int", 0)
    with pytest.raises(DatabaseTimeoutError):
        await hasty.fetch("SELECT pg_sleep(600)")
    await until_async(is_rolled_back)
    await pool.close()
    await hasty.close()


@pytest.mark.parametrize(
    "pooled_url", [pytest.param("transaction", marks=needs_pgbouncer), "stand-in"], indirect=True
)
async def test_jobs_run_through_it(pooled_url: str, settings: Settings) -> None:
    pooled = msgspec.structs.replace(settings, database_url=pooled_url)
    await asyncio.to_thread(AlembicCommands(pooled_url).downgrade, "base")
    with capture_logs() as logs:
        await asyncio.to_thread(bring_up_to_date, pooled.database)

    async with working(pooled), serving(pooled) as api:
        jobs = [await api.submit("noop") for _ in range(10)]
        finished = [await api.finish(job["id"]) for job in jobs]
        listed = (await api.http.get("/api/v1/jobs", params={"include": "steps"})).json()
        cancelled = await api.http.post(f"/api/v1/jobs/{jobs[0]['id']}/cancel")
        ready = await api.http.get("/health/ready")

    assert {job["state"] for job in finished} == {"succeeded"}
    assert len(listed["items"]) == 10
    assert cancelled.status_code == 409
    assert ready.json()["degraded"] == []
    assert [entry["event"] for entry in logs if "pooler" in entry["event"]]


async def test_two_processes_migrate_a_database_in_use_through_it(
    pooled_url: str, database: StatementPool
) -> None:
    await asyncio.to_thread(AlembicCommands(pooled_url).downgrade, "0015")

    call = "import sys; from headrace.adapters.migrations import upgrade; upgrade(sys.argv[1])"
    both = [await asyncio.create_subprocess_exec(sys.executable, "-c", call, pooled_url) for _ in range(2)]
    statuses = [await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) for process in both]

    (row,) = await database.fetch(INDEXES_BUILT_LATER)
    locks = await database.fetch("SELECT FROM pg_locks WHERE locktype = 'advisory'")
    assert statuses == [0, 0]
    assert (row["revision"], row["valid"], row["invalid"]) == (newest_revision(), 5, 0)
    assert list(locks) == []


@needs_pgbouncer
async def test_a_refused_login_is_told_in_its_words(database_url: str) -> None:
    async with pgbouncer(database_url, "pool_mode = transaction") as url:
        reasons = []
        for refused_url in (url.replace("headrace:", "headrace:x"), f"{url}_of_others"):
            pool = await StatementPool.open(refused_url, size=1)
            with pytest.raises(DatabaseMisconfiguredError) as refused:
                await pool.fetch("SELECT 1")
            await pool.close()
            reasons.append(refused.value.reason)

    assert "authentication failed" in reasons[0]
    assert "does not exist" in reasons[1]


@needs_pgbouncer
async def test_statement_mode_is_refused_by_name(database_url: str) -> None:
    async with pgbouncer(database_url, "pool_mode = statement") as url:
        pool = await StatementPool.open(url, size=1)
        with pytest.raises(DatabaseMisconfiguredError) as refused:
            await pool.fetch("SELECT 1")
        await pool.close()

    assert "statement pooling mode" in refused.value.reason
