"""What others write to Redis reaches no watcher and ends no process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from redis.asyncio import Redis

from headrace.adapters.database import StatementPool
from headrace.adapters.listeners import job_channel, owner_channel
from headrace.adapters.messages import (
    MAX_MESSAGE_BYTES,
    EventsMessage,
    Message,
    MessageSigner,
    ProgressMessage,
    SummariesMessage,
)
from headrace.domain.events.encoding import LoggedEvent
from headrace.domain.events.news import JobSummary
from headrace.settings import SAMPLE_SECRET
from support.harness import Api
from support.overview_watch import Board, board
from support.patience import PATIENCE_SECONDS

LATER = "2100-01-01T00:00:00Z"
OURS, OTHERS = MessageSigner(SAMPLE_SECRET), MessageSigner("of somebody else")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def waiting_job(api: Api, **more: Any) -> dict[str, Any]:
    return await api.submit("noop", run_at=LATER, **more)


def event(job: dict[str, Any], seq: int, kind: str, **fields: Any) -> LoggedEvent:
    body = {"type": kind, "job_id": job["id"], "seq": seq, "at": LATER, **fields}
    return LoggedEvent(seq, kind, msgspec.json.encode(body))


def summary(job: dict[str, Any], state: str, head: int = 2) -> JobSummary:
    return JobSummary(job_id=UUID(job["id"]), head=head, state=state, progress=0.0, pipeline="noop")


def succeeded(job: dict[str, Any]) -> EventsMessage:
    return EventsMessage([event(job, 2, "job.succeeded", result={"forged": True})])


def progress(job: dict[str, Any]) -> ProgressMessage:
    frame = {"type": "progress", "head": 1, "attempt": 1, "fence": 1, "fraction": 0.5, "steps": {}}
    return ProgressMessage(9, 9, 0.9, msgspec.json.encode(frame | {"job_id": job["id"]}))


def unsigned(message: Message) -> bytes:
    return msgspec.msgpack.encode(message)


async def until_subscribed(redis: Redis, channel: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await redis.pubsub_numsub(channel))[0][1]:
            await asyncio.sleep(0.02)


async def until_refused(api: Api, count: int) -> None:
    """Wait until this many messages were refused in all."""
    refused = api.app.state.services.hub._bus.refused
    async with asyncio.timeout(PATIENCE_SECONDS):
        while refused.count < count:
            await asyncio.sleep(0.02)


def refused_count(api: Api) -> int:
    count: int = api.app.state.services.hub._bus.refused.count
    return count


async def watch_under(api: Api, redis: Redis, job: dict[str, Any], *forged: bytes) -> list[dict[str, Any]]:
    """Watch *job* while *forged* is written to its channel, then cancel it; return what the watcher saw."""
    channel, before = job_channel(UUID(job["id"])), refused_count(api)
    watching = asyncio.create_task(api.watch(job["id"]))
    await until_subscribed(redis, channel)
    for message in forged:
        await redis.publish(channel, message)
    await until_refused(api, before + len(forged))
    await api.http.post(f"/api/v1/jobs/{job['id']}/cancel")
    return [frame for frame in await watching if frame["type"] != "beat"]


FORGERIES: list[Callable[[dict[str, Any]], bytes]] = [
    lambda job: unsigned(succeeded(job)),
    lambda job: msgspec.msgpack.encode(["e", [event(job, 2, "job.succeeded")]]),
    lambda job: OTHERS.encode(job_channel(UUID(job["id"])), succeeded(job)),
    lambda job: OURS.encode(job_channel(uuid4()), succeeded(job)),
    lambda job: OTHERS.encode(job_channel(UUID(job["id"])), progress(job)),
    lambda job: unsigned(EventsMessage([LoggedEvent(2, "log", b"\xff\xfe")])),
    lambda job: unsigned(ProgressMessage(1, 1, 0.1, b"no json")),
    lambda _: b"",
    lambda _: b"\xff\xfe\xfd",
    lambda _: bytes(MAX_MESSAGE_BYTES + 1),
    lambda _: b"\x91" * 100_000,
]


async def test_a_watcher_of_a_job_sees_no_forgery_and_every_true_event(api: Api, redis: Redis) -> None:
    job = await waiting_job(api)

    frames = await watch_under(api, redis, job, *(forge(job) for forge in FORGERIES))

    assert [frame["type"] for frame in frames] == ["hello", "job.queued", "job.cancelled", "end"]
    assert [frame for frame in frames if "seq" in frame] == await api.events(job["id"])


async def test_a_message_of_another_job_is_not_shown(api: Api, redis: Redis) -> None:
    secret, own = await waiting_job(api), await waiting_job(api)
    recorded = OURS.encode(job_channel(UUID(secret["id"])), succeeded(secret))

    frames = await watch_under(api, redis, own, recorded)

    assert [frame["type"] for frame in frames] == ["hello", "job.queued", "job.cancelled", "end"]


async def overview_under(api: Api, redis: Redis, owner_id: UUID, *messages: bytes, refused: int = 0) -> Board:
    """Watch the overview while *messages* are written to its channel, of which *refused* are refused.

    It ends with a job that comes after them.
    """
    before = refused_count(api)
    async with board(api) as shown:
        await until_subscribed(redis, owner_channel(owner_id))
        for message in messages:
            await redis.publish(owner_channel(owner_id), message)
        await until_refused(api, before + refused)
        last = await waiting_job(api)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while last["id"] not in shown.jobs:
                await shown.next()
    return shown


async def test_a_watcher_of_all_jobs_sees_no_forgery(api: Api, redis: Redis) -> None:
    job = await waiting_job(api)
    owner_id, now, before = UUID(job["owner_id"]), datetime.now(UTC), refused_count(api)
    lie = SummariesMessage(now, [summary(job, "succeeded"), summary(job, "waiting", 3)])
    forged = [
        unsigned(lie),
        msgspec.json.encode(lie.summaries),  # as the previous release sends it
        OTHERS.encode(owner_channel(owner_id), lie),
        OURS.encode(owner_channel(uuid4()), lie),
        b'[{"type":"job"}]',
        b"[" * 100_000,
        b"\xff\xfe",
        bytes(MAX_MESSAGE_BYTES + 1),
    ]

    shown = await overview_under(api, redis, owner_id, *forged, refused=len(forged))

    assert refused_count(api) == before + len(forged)
    assert {frame["state"] for frame in shown.frames if frame["type"] == "job"} == {"queued"}


async def test_a_recorded_summary_is_not_shown_again_a_minute_later(api: Api, redis: Redis) -> None:
    gone = await waiting_job(api)
    owner_id = UUID(gone["owner_id"])
    await api.http.post(f"/api/v1/jobs/{gone['id']}/cancel")
    await api.http.delete(f"/api/v1/jobs/{gone['id']}")
    at = datetime.now(UTC) - timedelta(minutes=2)
    recorded = OURS.encode(owner_channel(owner_id), SummariesMessage(at, [summary(gone, "running")]))

    shown = await overview_under(api, redis, owner_id, recorded)

    assert gone["id"] not in {frame.get("job_id") for frame in shown.frames}


async def test_readiness_and_beats_say_that_messages_are_refused(api: Api, redis: Redis) -> None:
    job = await waiting_job(api)
    channel = job_channel(UUID(job["id"]))
    watching = asyncio.create_task(api.watch(job["id"]))
    await until_subscribed(redis, channel)
    before = refused_count(api)

    await redis.publish(channel, b"junk")
    await until_refused(api, before + 1)
    ready = await api.http.get("/health/ready")
    is_degraded = api.app.state.services.hub.is_degraded
    await api.http.post(f"/api/v1/jobs/{job['id']}/cancel")
    await watching

    assert (ready.status_code, "redis_messages" in ready.json()["degraded"]) == (200, True)
    assert is_degraded


async def test_events_of_a_process_with_another_key_are_read_from_the_log(
    api: Api, redis: Redis, database: StatementPool
) -> None:
    job = await waiting_job(api)
    watching = asyncio.create_task(api.watch(job["id"]))
    channel = job_channel(UUID(job["id"]))
    await until_subscribed(redis, channel)
    await database.fetch(
        "WITH ended AS (UPDATE jobs SET state = 'cancelled', finished_at = now(), event_seq = 2"
        " WHERE id = $1::uuid) INSERT INTO job_changes (job_id, seq, at, type, body)"
        " VALUES ($1::uuid, 2, now(), 'job.cancelled', '{}')",
        job["id"],
    )

    await redis.publish(channel, OTHERS.encode(channel, EventsMessage([event(job, 2, "job.cancelled")])))
    frames = await watching

    assert [frame["type"] for frame in frames if "seq" in frame] == ["job.queued", "job.cancelled"]
    assert [frame for frame in frames if "seq" in frame] == await api.events(job["id"])


async def test_an_error_of_one_listener_leaves_the_others_in_peace(
    api: Api, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = await waiting_job(api), await waiting_job(api)
    bus = api.app.state.services.hub._bus
    watching = [asyncio.create_task(api.watch(job["id"])) for job in (broken, sound)]
    for job in (broken, sound):
        await until_subscribed(redis, job_channel(UUID(job["id"])))

    def fail(_message: Message) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setitem(bus._channels, job_channel(UUID(broken["id"])), fail)
    for job in (broken, sound):
        await api.http.post(f"/api/v1/jobs/{job['id']}/cancel")
    seen = await asyncio.gather(*watching)

    assert [frames[-1] for frames in seen] == [{"type": "end", "state": "cancelled"}] * 2
