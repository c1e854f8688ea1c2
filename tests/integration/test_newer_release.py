"""A newer release runs beside this one: its states and events, which this one has never seen, harm nothing.

The tests write what it would write: rows that only its schema permits, and messages that it has signed.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from headrace.adapters.database import StatementPool
from headrace.adapters.messages import MessageSigner
from headrace.adapters.publisher import RedisPublisher
from headrace.adapters.redis_client import build_redis, close_redis
from headrace.domain.events.encoding import EncodedEvent
from headrace.domain.events.news import JobNews
from headrace.settings import Settings
from support.harness import Api
from support.overview_watch import board
from support.patience import PATIENCE_SECONDS

LATER = "2100-01-01T00:00:00Z"
PERMIT = """
ALTER TABLE jobs DROP CONSTRAINT IF EXISTS ck_jobs_state;
ALTER TABLE step_runs DROP CONSTRAINT IF EXISTS ck_step_runs_step_state;
"""
CHANGE = """
WITH changed AS (
    UPDATE jobs SET state = $2::varchar, event_seq = event_seq + 1, updated_at = statement_timestamp(),
        finished_at = CASE WHEN $2::varchar = 'cancelled' THEN statement_timestamp() END
    WHERE id = $1 RETURNING id, owner_id, pipeline, state, event_seq, progress
)
INSERT INTO job_changes (job_id, seq, at, type, body)
SELECT id, event_seq, statement_timestamp(), $3, $4 FROM changed
RETURNING at, seq AS head, (SELECT owner_id FROM changed), (SELECT pipeline FROM changed),
    job_id AS id, (SELECT state FROM changed), (SELECT progress FROM changed)
"""
STEP = """
INSERT INTO step_runs (job_id, key, name, state, attempt, tries)
VALUES ($1, 'nothing', 'nothing', 'waiting', 0, 0)
"""


class NewerRelease:
    """A process of the newer release: it writes to the database, and publishes if it is asked to."""

    def __init__(self, database: StatementPool, publisher: RedisPublisher) -> None:
        self._database = database
        self._publisher = publisher

    async def permit(self) -> None:
        for statement in filter(str.strip, PERMIT.split(";")):
            await self._database.fetch(statement)

    async def change(
        self, job_id: str, state: str, event_type: str, body: str = "{}", *, publish: bool = True
    ) -> None:
        [row] = await self._database.fetch(CHANGE, UUID(job_id), state, event_type, body)
        if publish:
            self._publisher.publish([JobNews.from_row(row, [EncodedEvent(event_type, body)])])
            await self._publisher.drain()

    async def begin_step(self, job_id: str) -> None:
        await self._database.fetch(STEP, UUID(job_id))


@pytest.fixture
async def newer(database: StatementPool, settings: Settings) -> AsyncIterator[NewerRelease]:
    redis = build_redis(str(settings.redis_url))
    release = NewerRelease(database, RedisPublisher(redis, MessageSigner(settings.secret_key)))
    await release.permit()
    yield release
    await close_redis(redis)


async def waiting_job(service: Api, newer: NewerRelease) -> str:
    """Return a job that the newer release has put into the state `waiting`."""
    job_id = str((await service.submit("noop", run_at=LATER))["id"])
    await newer.begin_step(job_id)
    await newer.change(job_id, "waiting", "job.waiting", '{"until":"signal"}', publish=False)
    return job_id


async def next_frame(stream: AsyncIterator[dict[str, Any]], kind: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (frame := await anext(stream))["type"] != kind:
            pass
    return frame


async def server_events(service: Api, job_id: str) -> AsyncIterator[dict[str, Any]]:
    async with service.http.stream("GET", f"/api/v1/jobs/{job_id}/stream") as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield msgspec.json.decode(line.removeprefix("data: "))


async def test_jobs_and_steps_in_new_states_are_shown_as_they_are(service: Api, newer: NewerRelease) -> None:
    job_id = await waiting_job(service, newer)
    query = "{ jobs { id state steps { name state } } }"

    job = await service.job(job_id)
    listed = (await service.http.get("/api/v1/jobs", params={"include": "steps"})).json()
    steps = (await service.http.get(f"/api/v1/jobs/{job_id}/steps")).json()
    graph = (await service.http.post("/graphql", json={"query": query})).json()
    events = await service.events(job_id)

    assert (job["state"], job["waiting_for"]) == ("waiting", None)
    assert [(item["id"], item["state"], item["steps"][0]["state"]) for item in listed["items"]] == [
        (job_id, "waiting", "waiting")
    ]
    assert [step["state"] for step in steps["items"]] == ["waiting"]
    node = {"id": job_id, "state": "waiting", "steps": [{"name": "nothing", "state": "waiting"}]}
    assert graph == {"data": {"jobs": [node]}}
    assert [(event["seq"], event["type"]) for event in events] == [(1, "job.queued"), (2, "job.waiting")]
    assert events[1]["until"] == "signal"


async def test_a_job_in_a_new_state_can_be_changed_but_not_moved(service: Api, newer: NewerRelease) -> None:
    job_id = await waiting_job(service, newer)
    url = f"/api/v1/jobs/{job_id}"

    refused = [
        await service.http.post(f"{url}/cancel"),
        await service.http.post(f"{url}/retry"),
        await service.http.delete(url),
    ]
    patched = await service.http.patch(url, json={"tags": ["seen"]})

    assert [response.status_code for response in refused] == [409, 409, 409]
    assert all("waiting" in response.json()["detail"] for response in refused)
    assert patched.status_code == 200
    assert (patched.json()["state"], patched.json()["tags"]) == ("waiting", ["seen"])


@pytest.mark.parametrize("publish", [True, False])
@pytest.mark.parametrize("transport", [Api.frames, server_events])
async def test_a_stream_has_the_events_of_a_newer_release_in_order(
    service: Api, newer: NewerRelease, transport: Any, publish: bool
) -> None:
    job_id = await waiting_job(service, newer)
    stream = transport(service, job_id)

    hello = await next_frame(stream, "hello")
    waiting = await next_frame(stream, "job.waiting")
    await newer.change(job_id, "resting", "job.resting", '{"for":1.5}', publish=publish)
    resting = await next_frame(stream, "job.resting")
    await newer.change(job_id, "cancelled", "job.cancelled", publish=publish)
    cancelled = await next_frame(stream, "job.cancelled")
    end = await next_frame(stream, "end")

    assert hello["job"]["state"] == "waiting"
    assert [frame["seq"] for frame in (waiting, resting, cancelled)] == [2, 3, 4]
    assert resting["for"] == 1.5
    assert datetime.fromisoformat(resting["at"])
    assert end == {"type": "end", "state": "cancelled"}


@pytest.mark.parametrize("publish", [True, False])
async def test_the_overview_shows_new_states(service: Api, newer: NewerRelease, publish: bool) -> None:
    job_id = await waiting_job(service, newer)
    known = str((await service.submit("noop", run_at=LATER))["id"])

    async with board(service) as everything, board(service, "state=queued") as queued:
        await everything.until({job_id: "waiting", known: "queued"})
        await queued.until({known: "queued"})
        await newer.change(job_id, "cancelled", "job.cancelled", publish=publish)
        await newer.change(known, "waiting", "job.waiting", publish=publish)
        if not publish:
            # Polls look for changes in the states that this release knows.
            await newer.change(known, "cancelled", "job.cancelled", publish=publish)
        await everything.until({job_id: "cancelled", known: "waiting" if publish else "cancelled"})
        await queued.until({})


async def test_a_worker_runs_a_job_that_has_a_step_in_a_new_state(service: Api, newer: NewerRelease) -> None:
    job = await service.submit("noop", queue="later")
    await newer.begin_step(job["id"])
    await newer._database.fetch("UPDATE jobs SET queue = 'default' WHERE id = $1::uuid", job["id"])

    ended = await service.finish(job["id"])

    assert ended["state"] == "succeeded"
