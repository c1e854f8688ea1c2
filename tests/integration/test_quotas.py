"""What each user may use: jobs, bytes, uploads, streams and requests; refusals say how much is used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from headrace.adapters.database import StatementPool
from headrace.api.middleware.quota_counters import QuotaCounters
from headrace.domain.jobs.submission.submission import JobSpec, SubmissionKey
from headrace.domain.jobs.submission.submitter import SubmissionResult, Submitter
from headrace.domain.quotas.quotas import QuotaExceededError, Quotas
from headrace.settings import Settings
from support.harness import Api
from support.lease_driver import OWNER, seed_database
from support.patience import PATIENCE_SECONDS, open_socket, until_async
from support.shared_api import problem
from support.users import Person, behind_proxy, named

QUEUED, UNFINISHED, BYTES = 3, 4, 10_000
LATER = "2100-01-01T00:00:00Z"
QUEUED_FULL = {"quota": "queued_jobs", "used": QUEUED, "limit": QUEUED}


@pytest.fixture(scope="module")
def module_settings(module_settings: Settings) -> Settings:
    return behind_proxy(
        module_settings,
        quota_queued_jobs=QUEUED,
        quota_running_jobs=UNFINISHED,
        quota_stored_bytes=BYTES,
        quota_uploads=1,
        quota_streams=2,
    )


def refused(response: httpx.Response, status: int, **numbers: Any) -> None:
    """Assert that a quota refuses the request, with these numbers."""
    body = problem(response, status, "quota_exceeded")
    assert {name: body[name] for name in ("quota", "used", "limit")} == numbers
    assert str(body["used"]) in body["detail"]
    assert str(body["limit"]) in body["detail"]
    assert ("retry-after" in response.headers) == (status == 429)


async def upload(person: Person, size: int) -> httpx.Response:
    return await person.ask("POST", "/files", files={"file": ("a.bin", b"x" * size)})


async def quotas_of(person: Person) -> dict[str, Any]:
    body = (await person.ask("GET", "/me")).json()
    return {name: (usage["used"], usage["limit"]) for name, usage in body["quotas"].items()}


async def submit_later(person: Person, **more: Any) -> httpx.Response:
    return await person.ask("POST", "/jobs", json={"pipeline": "noop", "run_at": LATER}, **more)


async def test_a_submission_beyond_the_queued_jobs_is_refused_and_another_user_is_not(api: Api) -> None:
    ada, bob = Person(api, "ada"), Person(api, "bob")
    for _ in range(QUEUED):
        await ada.submit(run_at=LATER)

    refusal = await submit_later(ada)

    refused(refusal, 429, **QUEUED_FULL)
    assert (await submit_later(bob)).status_code == 202


async def test_admins_have_quotas_as_well(api: Api) -> None:
    root = Person(api, "root")
    for _ in range(QUEUED):
        await root.submit(run_at=LATER)

    refused(await submit_later(root), 429, **QUEUED_FULL)


async def test_a_batch_is_refused_as_a_whole(api: Api) -> None:
    ada = Person(api, "ada")
    await ada.submit(run_at=LATER)
    jobs = [{"pipeline": "noop", "run_at": LATER}] * QUEUED

    refusal = await ada.ask("POST", "/jobs/batch", json={"jobs": jobs})

    refused(refusal, 429, quota="queued_jobs", used=1, limit=QUEUED)
    assert (await ada.ask("GET", "/jobs")).json()["total"] == 1
    assert (await ada.ask("POST", "/jobs/batch", json={"jobs": jobs[1:]})).status_code == 202


async def test_a_place_is_free_again_when_a_job_has_ended(api: Api) -> None:
    ada = Person(api, "ada")
    ids = [await ada.submit(run_at=LATER) for _ in range(QUEUED)]
    await ada.ask("POST", f"/jobs/{ids[0]}/cancel")

    assert (await submit_later(ada)).status_code == 202


async def test_running_jobs_count_together_with_queued_ones(api: Api, database: StatementPool) -> None:
    ada = Person(api, "ada")
    for _ in range(2):
        await ada.submit(run_at=LATER)
    await database.fetch(
        "UPDATE jobs SET state = 'running', lease_owner = 'a', lease_expires_at = statement_timestamp()"
    )
    for _ in range(2):
        await ada.submit(run_at=LATER)

    refusal = await submit_later(ada)

    refused(refusal, 429, quota="running_jobs", used=UNFINISHED, limit=UNFINISHED)


async def test_a_replay_is_not_refused_and_takes_no_place(api: Api) -> None:
    ada = Person(api, "ada")
    keyed = {"headers": {"Idempotency-Key": "mine"}}
    first = await submit_later(ada, **keyed)
    for _ in range(QUEUED - 1):
        await ada.submit(run_at=LATER)

    replays = [await submit_later(ada, **keyed) for _ in range(2)]

    assert [replay.content for replay in replays] == [first.content] * 2
    refused(await submit_later(ada, headers={"Idempotency-Key": "other"}), 429, **QUEUED_FULL)


async def test_a_refused_submission_leaves_its_key_free(api: Api) -> None:
    ada = Person(api, "ada")
    ids = [await ada.submit(run_at=LATER) for _ in range(QUEUED)]
    keyed = {"headers": {"Idempotency-Key": "mine"}}
    refused(await submit_later(ada, **keyed), 429, **QUEUED_FULL)
    await ada.ask("POST", f"/jobs/{ids[0]}/cancel")

    assert (await submit_later(ada, **keyed)).status_code == 202


async def test_jobs_of_presets_and_retries_are_refused_as_well(api: Api, database: StatementPool) -> None:
    ada = Person(api, "ada")
    failed = await ada.submit(run_at=LATER)
    await database.fetch("UPDATE jobs SET state = 'failed', finished_at = statement_timestamp()")
    for _ in range(QUEUED):
        await ada.submit(run_at=LATER)
    preset = await ada.ask("POST", "/presets", json={"title": "a", "pipeline": "noop", "params": {}})

    run = await ada.ask("POST", f"/presets/{preset.json()['id']}/jobs")
    retry = await ada.ask("POST", f"/jobs/{failed}/retry")

    refused(run, 429, **QUEUED_FULL)
    refused(retry, 429, **QUEUED_FULL)
    assert (await ada.ask("GET", f"/jobs/{failed}")).json()["state"] == "failed"


async def test_concurrent_requests_take_no_more_places_than_there_are(api: Api) -> None:
    ada = Person(api, "ada")

    answers = await asyncio.gather(*(submit_later(ada) for _ in range(20)))

    statuses = [answer.status_code for answer in answers]
    assert statuses.count(202) == QUEUED
    assert statuses.count(429) == 20 - QUEUED


async def test_concurrent_processes_take_no_more_places_than_there_are(
    settings: Settings, database: StatementPool
) -> None:
    await seed_database(database)
    pools = [await StatementPool.open(str(settings.database_url), size=2) for _ in range(3)]
    quotas = Quotas(queued_jobs=7)
    spec = JobSpec(pipeline="noop", params={})
    calls = [
        Submitter(pool, quotas=quotas).submit(OWNER, [spec], lambda _: b'{"id": null}', key=key)
        for number in range(12)
        for pool in pools
        for key in (SubmissionKey(f"{number}", "{}"), None)
    ]

    results = await asyncio.gather(*calls, return_exceptions=True)

    for pool in pools:
        await pool.close()
    stored = (await database.fetch("SELECT count(*) AS jobs FROM jobs"))[0]["jobs"]
    accepted = [result for result in results if isinstance(result, SubmissionResult)]
    errors = [result for result in results if isinstance(result, BaseException)]
    assert (stored, sum(not result.is_replayed for result in accepted)) == (7, 7)
    assert {type(error) for error in errors} == {QuotaExceededError}


async def test_an_upload_beyond_the_bytes_is_refused_and_leaves_nothing(api: Api) -> None:
    ada, bob = Person(api, "ada"), Person(api, "bob")
    assert (await upload(ada, BYTES - 100)).status_code == 201

    refusal = await upload(ada, 101)

    refused(refusal, 413, quota="stored_bytes", used=BYTES - 100, limit=BYTES)
    assert (await ada.ask("GET", "/files")).json()["total"] == 1
    assert (await upload(ada, 100)).status_code == 201
    assert (await upload(bob, 101)).status_code == 201


async def test_deleting_a_file_frees_its_bytes(api: Api) -> None:
    ada = Person(api, "ada")
    file_id = (await upload(ada, BYTES)).json()["id"]
    await ada.ask("DELETE", f"/files/{file_id}")

    assert (await upload(ada, BYTES)).status_code == 201


async def test_deleted_files_count_as_far_as_their_bytes_exceed_the_quota(api: Api) -> None:
    ada, bob = Person(api, "ada"), Person(api, "bob")
    for _ in range(2):
        stored = await upload(ada, BYTES)
        assert stored.status_code == 201, stored.text
        await ada.ask("DELETE", f"/files/{stored.json()['id']}")

    refusal = await upload(ada, 1)

    refused(refusal, 413, quota="stored_bytes", used=BYTES, limit=BYTES)
    assert (await quotas_of(ada))["stored_bytes"] == (BYTES, BYTES)
    assert (await quotas_of(bob))["stored_bytes"] == (0, BYTES)


async def test_replaced_bytes_wait_for_their_removal(api: Api, database: StatementPool) -> None:
    ada = Person(api, "ada")
    await upload(ada, 6_000)
    for key in range(3):
        await database.fetch("UPDATE files SET blob_key = $1", UUID(int=key))

    assert (await quotas_of(ada))["stored_bytes"] == (6_000 + 3 * 6_000 - BYTES, BYTES)


@asynccontextmanager
async def open_upload(person: Person) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    """Begin an upload that ends with the block."""
    may_end = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nbegun'
        await asyncio.wait_for(may_end.wait(), PATIENCE_SECONDS)
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    task = asyncio.create_task(person.ask("POST", "/files", content=body(), headers=headers))
    try:

        async def has_begun() -> bool:
            return bool((await quotas_of(person))["uploads"] == (1, 1))

        await until_async(has_begun)
        yield task
    finally:
        may_end.set()
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)


async def test_a_second_upload_at_once_is_refused_and_another_user_may_upload(api: Api) -> None:
    ada, bob = Person(api, "ada"), Person(api, "bob")
    async with open_upload(ada) as first:
        refusal = await upload(ada, 1)
        other = await upload(bob, 1)

    refused(refusal, 429, quota="uploads", used=1, limit=1)
    assert (first.result().status_code, other.status_code) == (201, 201)
    assert (await upload(ada, 1)).status_code == 201


async def test_uploads_that_end_at_once_store_no_more_than_the_bytes(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = QuotaCounters(Quotas(uploads=0))
    monkeypatch.setattr(api.app.state.services.limits, "quotas", counters)
    ada = Person(api, "ada")

    answers = await asyncio.gather(*(upload(ada, BYTES // 2 - 100) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [201, 201, 413, 413, 413]


async def refusal_of_socket(url: str, headers: dict[str, str]) -> tuple[int | None, str | None]:
    async with asyncio.timeout(PATIENCE_SECONDS), open_socket(url, additional_headers=headers) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    return socket.close_code, socket.close_reason


async def test_streams_beyond_the_quota_are_refused(api: Api) -> None:
    ada, bob = Person(api, "ada"), Person(api, "bob")
    job = await ada.submit(run_at=LATER)
    url = f"{api.ws}/api/v1/ws"
    async with (
        open_socket(url, additional_headers=named("ada")) as socket,
        api.http.stream("GET", f"/api/v1/jobs/{job}/stream", headers=named("ada")),
    ):
        await socket.recv()
        closing = await refusal_of_socket(url, named("ada"))
        refusal = await ada.ask("GET", f"/jobs/{job}/stream")
        used = (await quotas_of(ada))["streams"]
        async with open_socket(url, additional_headers=bob.headers) as other:
            first = msgspec.json.decode(await other.recv())

    refused(refusal, 429, quota="streams", used=2, limit=2)
    reason = "quota_exceeded: a user has at most 2 streams open at once; 2 are in use"
    assert (closing, used) == ((1013, reason), (2, 2))
    assert first["type"] != "error"


async def test_requests_beyond_the_quota_are_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.app.state.services.limits, "quotas", QuotaCounters(Quotas(requests=1)))
    ada, bob = Person(api, "ada"), Person(api, "bob")

    answers = await asyncio.gather(*(ada.ask("GET", "/me") for _ in range(20)))

    refusals = [answer for answer in answers if answer.status_code != 200]
    refused(refusals[0], 429, quota="requests", used=1, limit=1)
    assert refusals[0].headers["retry-after"] == "1"
    assert (await bob.ask("GET", "/me")).status_code == 200


async def test_me_shows_what_is_used_of_each_quota(api: Api) -> None:
    ada, bob = Person(api, "ada"), Person(api, "bob")
    await ada.submit(run_at=LATER)
    await upload(ada, 500)

    assert await quotas_of(ada) == {
        "queued_jobs": (1, QUEUED),
        "running_jobs": (1, UNFINISHED),
        "stored_bytes": (500, BYTES),
        "uploads": (0, 1),
        "streams": (0, 2),
    }
    assert (await quotas_of(bob))["stored_bytes"] == (0, BYTES)
