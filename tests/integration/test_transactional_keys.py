"""Idempotency keys, quotas and limits of jobs that are submitted in a transaction."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from headrace.adapters.database import StatementPool
from headrace.domain.jobs.submission.transactional_repository import (
    SUBMISSION_EXPIRY,
    TRANSACTIONAL_KEY_EXPIRY,
    TransactionalRepository,
)
from headrace.domain.quotas.quotas import NO_QUOTAS, Quotas
from support.harness import Api
from support.retention import prune_expired
from support.transactional import connected, refusal, submit, submit_many


async def test_a_key_stands_for_its_first_submission(api: Api, database_url: str) -> None:
    async with connected(database_url) as connection:
        first = await submit(connection, "noop", {"a": 1, "b": 2}, idempotency_key="k")
        again = await submit(connection, "noop", {"b": 2, "a": 1}, idempotency_key="k")
        batch = await submit_many(connection, [{"pipeline": "noop"}] * 2, idempotency_key="batch")
        batch_again = await submit_many(connection, [{"pipeline": "noop"}] * 2, idempotency_key="batch")
        with pytest.raises(asyncpg.PostgresError) as other:
            await submit(connection, "noop", {"a": 2}, idempotency_key="k")

    assert first == again
    assert batch == batch_again
    assert refusal(other) == ("JH409", "idempotency_conflict")
    assert (await api.http.get("/api/v1/jobs")).json()["total"] == 3


async def test_the_key_of_deleted_jobs_is_gone_until_it_expires(
    api: Api, database: StatementPool, database_url: str
) -> None:
    async with connected(database_url) as connection:
        first = await submit(connection, "noop", idempotency_key="k")
        await api.http.post(f"/api/v1/jobs/{first}/cancel")
        assert (await api.http.delete(f"/api/v1/jobs/{first}")).status_code == 204
        with pytest.raises(asyncpg.PostgresError) as gone:
            await submit(connection, "noop", idempotency_key="k")
        await database.fetch("UPDATE transactional_keys SET created_at = created_at - interval '25 hours'")
        second = await submit(connection, "noop", idempotency_key="k")

    assert refusal(gone) == ("JH410", "job_deleted")
    assert second != first


@pytest.mark.parametrize("key", ["", "k" * 129, 5])
async def test_a_key_has_1_to_128_characters(api: Api, database_url: str, key: Any) -> None:
    async with connected(database_url) as connection:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await submit(connection, "noop", idempotency_key=key)

    assert refusal(caught) == ("JH422", "validation_failed")


async def test_the_second_use_of_a_key_waits_a_second_for_the_first_transaction(
    api: Api, database_url: str
) -> None:
    async with connected(database_url) as holder, connected(database_url) as other:
        await submit(holder, "noop")
        transaction = holder.transaction()
        await transaction.start()
        first = await submit(holder, "noop", idempotency_key="k")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await submit(other, "noop", idempotency_key="k")
        waiting = asyncio.create_task(submit(other, "noop", idempotency_key="other"))
        await waiting
        await transaction.commit()
        second = await submit(other, "noop", idempotency_key="k")

    assert first == second


async def test_an_open_transaction_delays_nobody_else(api: Api, database_url: str) -> None:
    await api.submit("noop")
    key = {"Idempotency-Key": "k"}
    async with connected(database_url) as holder, connected(database_url) as other:
        async with holder.transaction():
            held = await submit(holder, "noop", tags=["new"], idempotency_key="k")
            # Both end while the transaction is open, or not at all: nothing else ends it.
            by_api = await api.http.post(
                "/api/v1/jobs", json={"pipeline": "noop", "tags": ["new"]}, headers=key
            )
            by_sql = await submit(other, "noop", tags=["new"], idempotency_key="other")
            page = (await api.http.get("/api/v1/jobs")).json()
        tagged = (await api.http.get("/api/v1/jobs", params={"tag": "new"})).json()

    assert by_api.status_code == 202
    assert page["total"] == 3
    assert {job["id"] for job in tagged["items"]} == {str(held), str(by_sql), by_api.json()["id"]}


async def test_transactions_that_insert_the_same_tags_in_another_order_both_commit(
    api: Api, database_url: str
) -> None:
    await api.submit("noop")
    async with connected(database_url) as one, connected(database_url) as two:
        transactions = one.transaction(), two.transaction()
        for connection, transaction, tags in zip((one, two), transactions, ("ab", "ba"), strict=True):
            await transaction.start()
            for tag in tags:
                await submit(connection, "noop", tags=[tag])
        await asyncio.gather(*(transaction.commit() for transaction in transactions))

    for tag in "ab":
        assert (await api.http.get("/api/v1/jobs", params={"tag": tag})).json()["total"] == 2


async def test_tags_of_savepoints_that_are_rolled_back_are_not_inserted(api: Api, database_url: str) -> None:
    async with connected(database_url) as connection, connection.transaction():
        await submit(connection, "noop", tags=["kept"])
        savepoint = connection.transaction()
        await savepoint.start()
        await submit(connection, "noop", tags=["undone"])
        await savepoint.rollback()

    tags = (await api.http.get("/api/v1/tags")).json()["items"]
    assert [(tag["name"], tag["jobs"]) for tag in tags] == [("kept", 1)]


async def test_a_user_has_no_more_tags_than_by_the_api(
    api: Api, database: StatementPool, database_url: str
) -> None:
    await api.submit("noop", tags=["known"])
    await database.fetch(
        "INSERT INTO tags (id, owner_id, name, created_at, updated_at)"
        " SELECT gen_random_uuid(), u.id, 't' || n, now(), now() FROM users u, generate_series(1, 9999) n"
    )

    async with connected(database_url) as connection:
        await submit(connection, "noop", tags=["known"])
        with pytest.raises(asyncpg.PostgresError) as caught:
            await submit(connection, "noop", tags=["one more"])

    assert refusal(caught) == ("JH409", "too_many_tags")


@pytest.mark.parametrize("quotas", [Quotas(queued_jobs=3), Quotas(running_jobs=3)])
async def test_quotas_of_jobs_hold(
    api: Api, database: StatementPool, database_url: str, quotas: Quotas
) -> None:
    repository = TransactionalRepository(database)
    await api.submit("noop")
    await repository.store_quotas(quotas)

    async with connected(database_url) as connection:
        kept = await submit(connection, "noop", idempotency_key="k")
        with pytest.raises(asyncpg.PostgresError) as caught:
            await submit_many(connection, [{"pipeline": "noop"}] * 2)
        await submit(connection, "noop")
        with pytest.raises(asyncpg.PostgresError):
            await submit(connection, "noop")
        replayed = await submit(connection, "noop", idempotency_key="k")
        changes = [await repository.store_quotas(NO_QUOTAS), await repository.store_quotas(NO_QUOTAS)]
        await submit(connection, "noop")

    assert refusal(caught) == ("JH429", "quota_exceeded")
    assert "2 are in use" in str(caught.value)
    assert replayed == kept
    assert changes == [1, 0]


async def test_expired_keys_and_old_submissions_are_deleted(
    api: Api, database: StatementPool, database_url: str
) -> None:
    async with connected(database_url) as connection:
        for key in ("old", "new"):
            await submit(connection, "noop", idempotency_key=key)
    await database.fetch(
        "UPDATE transactional_keys SET created_at = created_at - interval '25 hours' WHERE key = 'old'"
    )
    await database.fetch("UPDATE transactional_submissions SET at = $1", datetime(2020, 1, 1, tzinfo=UTC))

    await prune_expired(database, TRANSACTIONAL_KEY_EXPIRY, SUBMISSION_EXPIRY)

    assert [row["key"] for row in await database.fetch("SELECT key FROM transactional_keys")] == ["new"]
    assert not await database.fetch("SELECT FROM transactional_submissions")
