"""The rules that hold for every watcher of a job, over every transport and with every client."""

import asyncio
from uuid import uuid4

import msgspec
import pytest

from conformance.service import History, Service
from conformance.watchers import (
    CLIENTS,
    EVERY_WATCHER,
    PYTHON,
    STREAMS,
    TRANSPORTS,
    BackgroundWatch,
    Watcher,
    socket,
    watched,
    watched_by,
)
from faults.proxy import Mode, proxied
from support.patience import PATIENCE_SECONDS
from support.retention import new_pruner

by_every_watcher = watched_by(*EVERY_WATCHER)


def numbers(events: list[dict[str, object]]) -> list[object]:
    return [event["seq"] for event in events]


@by_every_watcher
async def test_a_late_joiner_sees_the_whole_history(service: Service, watcher: Watcher) -> None:
    job = await service.api.submit("ticks", params={"count": 12, "interval_ms": 10, "steps": 2})
    first = BackgroundWatch(socket, service.url, job["id"])
    await first.until_first_event()

    seen = await watched(watcher, service.url, job["id"])

    assert seen.end_reason == "ended"
    assert numbers(seen.events) == list(range(1, len(seen.events) + 1))
    assert seen.events == (await first.result()).events
    assert seen.events[-1]["type"] == "job.succeeded"


@watched_by(*TRANSPORTS, *PYTHON)
async def test_event_bytes_are_the_same_on_every_transport(
    service: Service, history: History, watcher: Watcher
) -> None:
    seen = await watched(watcher, service.url, history.job_id)

    assert seen.end_reason == "ended"
    assert len(history.events) >= 8
    assert seen.event_bytes == history.events


@watched_by(*CLIENTS)
async def test_repeatedly_cut_connections_lose_no_event(service: Service, watcher: Watcher) -> None:
    job = await service.api.submit("ticks", params={"count": 100_000, "interval_ms": 20, "steps": 30})
    whole = BackgroundWatch(socket, service.url, job["id"])
    async with proxied(service.url) as (proxy, url):
        watching = BackgroundWatch(watcher, url.replace("@", ""), job["id"])
        await watching.until_first_event()
        for _ in range(4):
            await proxy.become(Mode.DROP)
            await proxy.become(Mode.PASS)
            await asyncio.sleep(0.1)
        await service.api.http.post(f"/api/v1/jobs/{job['id']}/cancel")
        seen = await watching.result()

    assert [body["type"] for body in seen.bodies].count("hello") > 1
    assert len(seen.events) > 20
    assert seen.events == (await whole.result()).events
    assert seen.end_reason == "ended"


@watched_by(*STREAMS, *CLIENTS)
async def test_the_stream_of_a_finished_job_starts_with_hello_and_ends_with_end(
    service: Service, history: History, watcher: Watcher
) -> None:
    first, *between, last = (await watched(watcher, service.url, history.job_id)).bodies

    assert (first["type"], first["head"], first["job"]["id"]) == (
        "hello",
        len(history.events),
        history.job_id,
    )
    assert numbers(between) == list(range(1, len(history.events) + 1))
    assert last == {"type": "end", "state": "succeeded"}


@by_every_watcher
async def test_a_watch_resumes_from_every_event(service: Service, history: History, watcher: Watcher) -> None:
    whole = [msgspec.json.decode(event) for event in history.events]
    cursors = range(len(whole) + 1)

    all_seen = await asyncio.gather(
        *(watched(watcher, service.url, history.job_id, cursor) for cursor in cursors)
    )

    assert [seen.events for seen in all_seen] == [whole[cursor:] for cursor in cursors]
    assert {seen.end_reason for seen in all_seen} == {"ended"}


@watched_by(*CLIENTS)
async def test_at_the_head_of_a_finished_job_a_client_still_delivers_the_end(
    service: Service, history: History, watcher: Watcher
) -> None:
    seen = await watched(watcher, service.url, history.job_id, len(history.events))

    assert [body["type"] for body in seen.bodies] == ["hello", "end"]


@by_every_watcher
@pytest.mark.parametrize("after", [0, 801])
async def test_a_history_of_many_pages_has_no_gaps(
    service: Service, long_history: str, watcher: Watcher, after: int
) -> None:
    seen = await watched(watcher, service.url, long_history, after)

    assert numbers(seen.events) == list(range(after + 1, 1303))
    assert seen.end_reason == "ended"


@by_every_watcher
async def test_a_job_with_the_largest_meta_can_be_watched(service: Service, watcher: Watcher) -> None:
    job = await service.api.submit("noop", meta={"text": "x" * 262_000})

    seen = await watched(watcher, service.url, job["id"])

    assert seen.end_reason == "ended"
    assert seen.events[-1]["type"] == "job.succeeded"


@by_every_watcher
@pytest.mark.parametrize("job_id", ["01a1fccd-6b98-76e1-8951-c578b7c6189f", "1", "not-a-uuid"])
async def test_an_unknown_job_is_not_found(service: Service, watcher: Watcher, job_id: str) -> None:
    seen = await watched(watcher, service.url, job_id)

    assert (seen.end_reason, seen.frames) == ("job_not_found", [])


@by_every_watcher
async def test_a_foreign_job_is_not_found(service: Service, watcher: Watcher) -> None:
    job_id = await service.waiting_job()
    stranger = str(uuid4())
    await service.database.fetch(
        "INSERT INTO users (id, username, is_admin, created_at, updated_at)"
        " VALUES ($1::uuid, $2, false, now(), now())",
        stranger,
        stranger,
    )
    await service.database.fetch("UPDATE jobs SET owner_id = $1::uuid WHERE id = $2::uuid", stranger, job_id)

    seen = await watched(watcher, service.url, job_id)

    assert (seen.end_reason, seen.events) == ("job_not_found", [])


@by_every_watcher
async def test_a_cursor_beyond_the_head_is_refused(service: Service, watcher: Watcher) -> None:
    job_id = await service.waiting_job()

    seen = await watched(watcher, service.url, job_id, 2)

    assert (seen.end_reason, seen.events) == ("cursor_beyond_head", [])


@by_every_watcher
async def test_the_cursor_of_another_job_has_no_special_meaning(
    service: Service, history: History, watcher: Watcher
) -> None:
    job_id = await service.waiting_job()
    await service.api.http.post(f"/api/v1/jobs/{job_id}/cancel")

    within = await watched(watcher, service.url, job_id, 1)
    beyond = await watched(watcher, service.url, job_id, len(history.events))

    assert [(event["type"], event["job_id"]) for event in within.events] == [("job.cancelled", job_id)]
    assert (beyond.end_reason, beyond.events) == ("cursor_beyond_head", [])


@by_every_watcher
async def test_deleting_a_watched_job_ends_its_streams(service: Service, watcher: Watcher) -> None:
    job_id, other = await service.waiting_job(), await service.waiting_job()
    watching = BackgroundWatch(watcher, service.url, job_id)
    await watching.until_first_event()

    await service.database.fetch("DELETE FROM jobs WHERE id = $1::uuid", job_id)
    # A new watcher makes the service check all watched jobs at once, and not only every few seconds.
    other_watch = BackgroundWatch(socket, service.url, other)
    seen = await watching.result()

    assert seen.end_reason == "job_deleted"
    await service.api.http.post(f"/api/v1/jobs/{other}/cancel")
    assert (await other_watch.result()).end_reason == "ended"


async def pruned(service: Service, job_id: str) -> None:
    """Prune until the job is gone: the worker may have the turn, or prune it first."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await service.database.fetch("SELECT FROM jobs WHERE id = $1::uuid", job_id):
            await new_pruner(service.database).run_now({"jobs"})
            await asyncio.sleep(0.05)


@by_every_watcher
async def test_pruning_a_watched_job_ends_its_streams(service: Service, watcher: Watcher) -> None:
    job_id, other = await service.waiting_job(), await service.waiting_job()
    watching = BackgroundWatch(watcher, service.url, job_id)
    await watching.until_first_event()

    # It has ended long ago, and its last event has not reached the watcher.
    await service.database.fetch(
        "UPDATE jobs SET state = 'cancelled', finished_at = '2000-01-01', event_seq = 2 WHERE id = $1::uuid",
        job_id,
    )
    await pruned(service, job_id)
    other_watch = BackgroundWatch(socket, service.url, other)
    seen = await watching.result()

    assert seen.end_reason == "job_deleted"
    await service.api.http.post(f"/api/v1/jobs/{other}/cancel")
    assert (await other_watch.result()).end_reason == "ended"
    assert (await watched(watcher, service.url, job_id)).end_reason == "job_not_found"


@by_every_watcher
async def test_a_cancel_reaches_only_the_watchers_of_that_job(service: Service, watcher: Watcher) -> None:
    job_id, other = await service.waiting_job(), await service.waiting_job()
    watching = BackgroundWatch(watcher, service.url, job_id)
    await watching.until_first_event()

    await service.api.http.post(f"/api/v1/jobs/{other}/cancel")
    await service.api.http.post(f"/api/v1/jobs/{job_id}/cancel")
    seen = await watching.result()

    assert seen.end_reason == "ended"
    assert [event["type"] for event in seen.events] == ["job.queued", "job.cancelled"]
    assert {body["job_id"] for body in seen.bodies if "job_id" in body} == {job_id}
