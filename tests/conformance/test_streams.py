"""What holds for everybody who watches a job, over whichever transport and with whichever client."""

import asyncio
from uuid import uuid4

import msgspec
import pytest

from conformance.stand import History, Stand
from conformance.watchers import (
    CLIENTS,
    EVERYBODY,
    PYTHON,
    STREAMS,
    TRANSPORTS,
    Watcher,
    Watching,
    socket,
    watched,
    watched_by,
)
from faults.proxy import Mode, proxied

everybody = watched_by(*EVERYBODY)


def numbers(events: list[dict[str, object]]) -> list[object]:
    return [event["seq"] for event in events]


@everybody
async def test_a_late_joiner_sees_the_whole_history(stand: Stand, watcher: Watcher) -> None:
    job = await stand.api.submit("ticks", params={"count": 12, "interval_ms": 10, "steps": 2})
    first = Watching(socket, stand.url, job["id"])
    await first.until_it_tells()

    seen = await watched(watcher, stand.url, job["id"])

    assert seen.ending == "ended"
    assert numbers(seen.events) == list(range(1, len(seen.events) + 1))
    assert seen.events == (await first.seen()).events
    assert seen.events[-1]["type"] == "job.succeeded"


@watched_by(*TRANSPORTS, *PYTHON)
async def test_a_finished_job_has_the_same_bytes_everywhere(
    stand: Stand, history: History, watcher: Watcher
) -> None:
    seen = await watched(watcher, stand.url, history.job_id)

    assert seen.ending == "ended"
    assert len(history.events) >= 8
    assert seen.event_bytes == history.events


@watched_by(*CLIENTS)
async def test_a_line_that_is_cut_again_and_again_loses_nothing(stand: Stand, watcher: Watcher) -> None:
    job = await stand.api.submit("ticks", params={"count": 30, "interval_ms": 20, "steps": 10})
    whole = Watching(socket, stand.url, job["id"])
    async with proxied(stand.url) as (proxy, url):
        watching = Watching(watcher, url.replace("@", ""), job["id"])
        await watching.until_it_tells()
        for _ in range(4):
            await proxy.become(Mode.DROP)
            await proxy.become(Mode.PASS)
            await asyncio.sleep(0.1)
        seen = await watching.seen()

    assert [body["type"] for body in seen.bodies].count("hello") > 1
    assert len(seen.events) > 20
    assert seen.events == (await whole.seen()).events
    assert seen.ending == "ended"


@watched_by(*STREAMS, *CLIENTS)
async def test_a_finished_job_begins_with_hello_and_ends_with_end(
    stand: Stand, history: History, watcher: Watcher
) -> None:
    first, *between, last = (await watched(watcher, stand.url, history.job_id)).bodies

    assert (first["type"], first["head"], first["job"]["id"]) == (
        "hello",
        len(history.events),
        history.job_id,
    )
    assert numbers(between) == list(range(1, len(history.events) + 1))
    assert last == {"type": "end", "state": "succeeded"}


@everybody
async def test_a_watch_resumes_from_every_event(stand: Stand, history: History, watcher: Watcher) -> None:
    whole = [msgspec.json.decode(event) for event in history.events]
    cursors = range(len(whole) + 1)

    all_seen = await asyncio.gather(
        *(watched(watcher, stand.url, history.job_id, cursor) for cursor in cursors)
    )

    assert [seen.events for seen in all_seen] == [whole[cursor:] for cursor in cursors]
    assert {seen.ending for seen in all_seen} == {"ended"}


@watched_by(*CLIENTS)
async def test_at_the_head_of_a_finished_job_a_client_still_says_how_it_ended(
    stand: Stand, history: History, watcher: Watcher
) -> None:
    seen = await watched(watcher, stand.url, history.job_id, len(history.events))

    assert [body["type"] for body in seen.bodies] == ["hello", "end"]


@everybody
@pytest.mark.parametrize("after", [0, 801])
async def test_a_history_of_many_pages_has_no_holes(
    stand: Stand, long_history: str, watcher: Watcher, after: int
) -> None:
    seen = await watched(watcher, stand.url, long_history, after)

    assert numbers(seen.events) == list(range(after + 1, 1303))
    assert seen.ending == "ended"


@everybody
async def test_a_job_with_as_much_meta_as_it_may_have_is_watched_like_any_other(
    stand: Stand, watcher: Watcher
) -> None:
    job = await stand.api.submit("noop", meta={"text": "x" * 262_000})

    seen = await watched(watcher, stand.url, job["id"])

    assert seen.ending == "ended"
    assert seen.events[-1]["type"] == "job.succeeded"


@everybody
@pytest.mark.parametrize("job_id", ["01a1fccd-6b98-76e1-8951-c578b7c6189f", "1", "not-a-uuid"])
async def test_an_unknown_job_is_not_found(stand: Stand, watcher: Watcher, job_id: str) -> None:
    seen = await watched(watcher, stand.url, job_id)

    assert (seen.ending, seen.frames) == ("job_not_found", [])


@everybody
async def test_a_foreign_job_looks_like_none(stand: Stand, watcher: Watcher) -> None:
    job_id = await stand.waiting_job()
    stranger = str(uuid4())
    await stand.database.fetch(
        "INSERT INTO users (id, username, is_admin, created_at, updated_at)"
        " VALUES ($1::uuid, $2, false, now(), now())",
        stranger,
        stranger,
    )
    await stand.database.fetch("UPDATE jobs SET owner_id = $1::uuid WHERE id = $2::uuid", stranger, job_id)

    seen = await watched(watcher, stand.url, job_id)

    assert (seen.ending, seen.events) == ("job_not_found", [])


@everybody
async def test_a_cursor_beyond_the_head_is_refused(stand: Stand, watcher: Watcher) -> None:
    job_id = await stand.waiting_job()

    seen = await watched(watcher, stand.url, job_id, 2)

    assert (seen.ending, seen.events) == ("cursor_beyond_head", [])


@everybody
async def test_the_cursor_of_another_job_means_nothing_here(
    stand: Stand, history: History, watcher: Watcher
) -> None:
    job_id = await stand.waiting_job()
    await stand.api.http.post(f"/api/v1/jobs/{job_id}/cancel")

    within = await watched(watcher, stand.url, job_id, 1)
    beyond = await watched(watcher, stand.url, job_id, len(history.events))

    assert [(event["type"], event["job_id"]) for event in within.events] == [("job.cancelled", job_id)]
    assert (beyond.ending, beyond.events) == ("cursor_beyond_head", [])


@everybody
async def test_a_job_deleted_while_watched_ends_its_streams(stand: Stand, watcher: Watcher) -> None:
    job_id, other = await stand.waiting_job(), await stand.waiting_job()
    watching = Watching(watcher, stand.url, job_id)
    await watching.until_it_tells()

    await stand.database.fetch("DELETE FROM jobs WHERE id = $1::uuid", job_id)
    # The service looks at all watched jobs when somebody comes, not only every few seconds.
    somebody = Watching(socket, stand.url, other)
    seen = await watching.seen()

    assert seen.ending == "job_deleted"
    await stand.api.http.post(f"/api/v1/jobs/{other}/cancel")
    assert (await somebody.seen()).ending == "ended"


@everybody
async def test_a_cancel_is_seen_by_who_watches_that_job_alone(stand: Stand, watcher: Watcher) -> None:
    job_id, other = await stand.waiting_job(), await stand.waiting_job()
    watching = Watching(watcher, stand.url, job_id)
    await watching.until_it_tells()

    await stand.api.http.post(f"/api/v1/jobs/{other}/cancel")
    await stand.api.http.post(f"/api/v1/jobs/{job_id}/cancel")
    seen = await watching.seen()

    assert seen.ending == "ended"
    assert [event["type"] for event in seen.events] == ["job.queued", "job.cancelled"]
    assert {body["job_id"] for body in seen.bodies if "job_id" in body} == {job_id}
