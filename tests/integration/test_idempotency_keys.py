"""The request that an Idempotency-Key stands for: which requests are the same, also beside an old release."""

import pytest

from headrace.adapters.database import StatementPool
from headrace.domain.jobs.submission.submission import SubmissionKey
from support.harness import Api
from support.shared_api import problem

HEADERS = {"Idempotency-Key": "order 1", "content-type": "application/json"}


def body_of(number: str) -> bytes:
    return f'{{"pipeline": "noop", "meta": {{"n": {number}}}}}'.encode()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1e-20000", "1e-20000"),
        ("-1e-400", "-0.0"),
        ("1.10", "1.1"),
        ("1e22", "10000000000000000000000.0"),
        ("0.1234567890123456789", "0.12345678901234568"),
        ("9" * 4_300, "9" * 4_300),
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}'),
        ('"\\u00e9"', '"é"'),
    ],
)
async def test_the_same_request_is_replayed_however_it_is_written(api: Api, first: str, second: str) -> None:
    stored = await api.http.post("/api/v1/jobs", content=body_of(first), headers=HEADERS)
    again = await api.http.post("/api/v1/jobs", content=body_of(second), headers=HEADERS)

    assert (stored.status_code, again.status_code) == (202, 202), stored.text
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == stored.content


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1", "1.0"),
        ("1e22", "1" + "0" * 22),
        ("0.0", "-0.0"),
        ("1", "true"),
        ('"1"', "1"),
        ("[1]", "[]"),
    ],
)
async def test_a_request_with_another_value_is_a_conflict(api: Api, first: str, second: str) -> None:
    await api.http.post("/api/v1/jobs", content=body_of(first), headers=HEADERS)

    problem(
        await api.http.post("/api/v1/jobs", content=body_of(second), headers=HEADERS),
        409,
        "idempotency_conflict",
    )


async def test_a_key_of_the_previous_release_is_replayed(api: Api, database: StatementPool) -> None:
    stored = await api.http.post("/api/v1/jobs", content=body_of("1.10"), headers=HEADERS)
    old_request = '{"call": "jobs", "body": {"meta": {"n": 1.10}, "pipeline": "noop"}}'
    await database.fetch("UPDATE idempotency_keys SET request = $1, request_digest = NULL", old_request)

    again = await api.http.post("/api/v1/jobs", content=body_of("1.10"), headers=HEADERS)
    other = await api.http.post("/api/v1/jobs", content=body_of("1.2"), headers=HEADERS)

    assert (again.status_code, again.content) == (202, stored.content)
    problem(other, 409, "idempotency_conflict")


async def test_the_previous_release_recognises_a_request_that_this_one_has_stored(
    api: Api, database: StatementPool
) -> None:
    await api.http.post("/api/v1/jobs", content=body_of("1.10"), headers=HEADERS)

    [row] = await database.fetch(
        "SELECT answer, request = $1::jsonb AS is_same FROM idempotency_keys",
        '{"call":"jobs","body":' + body_of("1.10").decode() + "}",
    )

    assert row["is_same"]


async def test_an_expired_key_takes_the_digest_of_its_new_request(api: Api, database: StatementPool) -> None:
    await api.http.post("/api/v1/jobs", content=body_of("1"), headers=HEADERS)
    await database.fetch("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")

    renewed = await api.http.post("/api/v1/jobs", content=body_of("2"), headers=HEADERS)
    again = await api.http.post("/api/v1/jobs", content=body_of("2"), headers=HEADERS)

    assert (renewed.status_code, again.content) == (202, renewed.content)


def test_a_missing_body_means_an_empty_object() -> None:
    assert SubmissionKey.of("k", "jobs", b"") == SubmissionKey.of("k", "jobs", b" { } ")
    assert SubmissionKey.of("k", "jobs", b"") != SubmissionKey.of("k", "batch", b"")
