"""One user's requests leave connections to the others, and have time limits with codes of their own."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from headrace.adapters.engine import build_engine
from headrace.adapters.fair_turns import CALLER
from headrace.domain.database import DatabaseAwayError
from support.harness import Api
from support.patience import open_socket, until
from support.shared_api import SharedApi, counted, problem, signed_in

JOBS = "/api/v1/jobs"
LATER = "2100-01-01T00:00:00Z"


@asynccontextmanager
async def locked(shared_api: SharedApi, table: str) -> AsyncIterator[None]:
    """Let every statement on *table* wait."""
    url = shared_api.api.app.state.services.settings.database_url
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def held_by(engine: AsyncEngine, user: UUID, stack: AsyncExitStack) -> None:
    """Hold connections of *engine* for *user*, until no more are given."""
    pool: Any = engine.sync_engine.pool
    CALLER.set(user)
    for _ in range(min(pool.turns._share, pool.turns._free)):
        connection = await stack.enter_async_context(engine.connect())
        await connection.execute(text("SELECT 1"))
    CALLER.set(None)


@contextmanager
def impatient(monkeypatch: pytest.MonkeyPatch, *engines: AsyncEngine) -> Iterator[None]:
    """Let requests for connections of *engines* wait for a moment only."""
    with monkeypatch.context() as patch:
        for engine in engines:
            pool: Any = engine.sync_engine.pool
            patch.setattr(pool.turns, "_wait_seconds", 0.05)
        yield


async def test_twenty_blocked_reads_of_a_user_leave_connections_to_the_others(
    shared_api: SharedApi, ada: Api, bob: Api
) -> None:
    pool = shared_api.api.app.state.services.read_engine.sync_engine.pool
    await bob.http.get("/api/v1/tags")

    async with asyncio.TaskGroup() as group, locked(shared_api, "jobs"):
        blocked = [group.create_task(ada.http.get(JOBS)) for _ in range(20)]
        await until(lambda: pool.checkedout() == pool.turns._share)
        answers = [await bob.http.get(path) for path in ("/api/v1/presets", "/api/v1/files") * 3]
        still_blocked = sum(not task.done() for task in blocked)
        checked_out = pool.checkedout()

    assert [answer.status_code for answer in answers] == [200] * 6
    assert (still_blocked, checked_out) == (20, 3)
    assert [task.result().status_code for task in blocked] == [200] * 20


async def test_a_user_beyond_the_share_and_a_full_pool_are_refused_with_their_own_codes(
    shared_api: SharedApi, ada: Api, bob: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = shared_api.api.app.state.services.read_engine
    pool_turns = engine.sync_engine.pool.turns
    me = UUID((await ada.http.get("/api/v1/me")).json()["id"])
    # A user who is alone has a larger share.
    await bob.http.get(JOBS)

    async with AsyncExitStack() as stack:
        await held_by(engine, me, stack)
        with impatient(monkeypatch, engine):
            silent = await ada.http.get(JOBS)
            # As if requests of others ended all the time.
            monkeypatch.setattr(pool_turns, "_released_at", math.inf)
            beyond_share = await ada.http.get(JOBS)
            query = (await ada.http.post("/graphql", json={"query": "{ jobs { id } }"})).json()
            of_other = await bob.http.get(JOBS)
            for number in range(3):
                await held_by(engine, UUID(int=number), stack)
            async with signed_in(shared_api.api, "cyd") as cyd:
                full = await cyd.http.get(JOBS)
        submitted = await ada.submit("noop", run_at=LATER)
        cancelled = await ada.http.post(f"{JOBS}/{submitted['id']}/cancel")

    problem(silent, 503, "database_busy")
    assert "retry-after" in beyond_share.headers
    problem(beyond_share, 429, "too_many_at_once")
    assert query["errors"][0]["extensions"]["code"] == "too_many_at_once"
    assert of_other.status_code == 200
    problem(full, 503, "database_busy")
    assert cancelled.status_code == 202
    assert (await ada.http.get(JOBS)).status_code == 200


async def test_graphql_queries_of_a_user_wait_for_each_other_without_a_connection(
    shared_api: SharedApi, ada: Api, bob: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = shared_api.api.app.state.services
    turns, pool = services.graphql_turns, services.read_engine.sync_engine.pool
    query = {"query": "{ jobs { id } }"}
    # No turn becomes a dear one, however slow the machine is.
    now = turns._clock()
    monkeypatch.setattr(turns, "_clock", lambda: now)
    await bob.http.post("/graphql", json=query)
    CALLER.set(UUID((await ada.http.get("/api/v1/me")).json()["id"]))
    held = [await turns.acquire() for _ in range(2)]
    CALLER.set(None)

    waiting = asyncio.create_task(ada.http.post("/graphql", json=query))
    await until(lambda: turns._waiting)
    checked_out = pool.checkedout()
    of_other = await bob.http.post("/graphql", json=query)
    turns.release(held.pop())
    answer = await waiting
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(turns, "_wait_seconds", 0.05)
        CALLER.set(held[0].user)
        held.append(await turns.acquire())
        CALLER.set(None)
        refused = await ada.http.post("/graphql", json=query)
    for turn in held:
        turns.release(turn)

    assert checked_out == 0
    assert of_other.json() == answer.json() == {"data": {"jobs": []}}
    problem(refused, 429, "too_many_at_once")
    assert "statement_rolled_back" not in [log["event"] for log in logs]


async def test_what_submissions_and_quotas_look_up_is_shared_fairly_and_waits_for_no_lock(
    shared_api: SharedApi,
) -> None:
    services = shared_api.api.app.state.services
    look_ups, usages = services.submitter._repository._database, services.usage._database
    (row,) = await look_ups.fetch("SELECT current_setting('lock_timeout') AS value")

    assert row["value"] == "3s"
    assert (look_ups._turns._free, look_ups._turns._share) == (3, 2)
    assert (usages._turns._free, usages._turns._share) == (2, 1)


async def test_reads_and_searches_that_take_too_long_say_so(shared_api: SharedApi, ada: Api) -> None:
    async with locked(shared_api, "jobs"):
        listed, searched, query = await asyncio.gather(
            ada.http.get(JOBS),
            ada.http.get(f"{JOBS}?search=nothing"),
            ada.http.post("/graphql", json={"query": "{ jobs { id } }"}),
        )

    assert "time limit" in problem(listed, 503, "time_limit")["detail"]
    assert "narrow it" in problem(searched, 503, "search_time_limit")["detail"]
    assert [error["extensions"]["code"] for error in query.json()["errors"]] == ["time_limit"]


async def test_health_answers_while_streams_of_all_users_wait_for_postgresql(shared_api: SharedApi) -> None:
    services = shared_api.api.app.state.services
    async with AsyncExitStack() as stack:
        users = [await stack.enter_async_context(signed_in(shared_api.api, f"user{n}")) for n in range(6)]
        for user in users:
            await user.http.get("/api/v1/me")
        await stack.enter_async_context(locked(shared_api, "tags"))
        for number in range(len(users)):
            headers = {"X-Forwarded-Preferred-Username": f"user{number}"}
            url = f"{shared_api.api.ws}/api/v1/ws?tag=a"
            await stack.enter_async_context(open_socket(url, additional_headers=headers))
        turns = services.hub.log._database._turns
        await until(lambda: turns._free == 0)

        ready = await shared_api.api.http.get("/health/ready")
        live = await shared_api.api.http.get("/health/live")

    assert (ready.status_code, live.status_code) == (200, 200), ready.text


async def test_cancelling_and_deleting_a_job_take_few_statements(ada: Api) -> None:
    job = await ada.submit("noop", run_at=LATER, tags=["a"])
    url = f"{JOBS}/{job['id']}"

    with counted(ada) as cancelling:
        cancelled = (await ada.http.post(f"{url}/cancel")).json()
    events = await ada.events(job["id"])
    shown = await ada.job(job["id"])
    with counted(ada) as deleting:
        deleted = await ada.http.delete(url)

    assert (cancelled, [event["type"] for event in events]) == (shown, ["job.queued", "job.cancelled"])
    assert (cancelled["state"], cancelled["tags"], cancelled["event_seq"]) == ("cancelled", ["a"], 2)
    assert cancelled["finished_at"] == events[1]["at"]
    assert deleted.status_code == 204
    assert (len(cancelling), len(deleting)) == (3, 2)


async def test_connections_that_fail_or_are_lost_return_their_turns(shared_api: SharedApi) -> None:
    url = str(shared_api.api.app.state.services.settings.database_url)
    engine, nowhere = build_engine(url, size=2), build_engine("postgresql://127.0.0.1:1/none", size=2)
    for _ in range(3):
        with pytest.raises(DatabaseAwayError):
            async with nowhere.connect():
                pass
    for _ in range(3):
        async with engine.connect() as connection:
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            driver: Any = (await connection.get_raw_connection()).driver_connection
        await shared_api.database.fetch("SELECT pg_terminate_backend($1)", pid)
        await until(driver.is_closed)
    async with engine.connect() as first, engine.connect() as second:
        values = [(await each.execute(text("SELECT 1"))).scalar_one() for each in (first, second)]
    frees = [each.sync_engine.pool.turns._free for each in (engine, nowhere)]  # type: ignore[attr-defined]
    await engine.dispose()
    await nowhere.dispose()

    assert values == [1, 1]
    assert frees == [2, 2]
