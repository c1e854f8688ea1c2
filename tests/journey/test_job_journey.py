"""A job from POST to the last frame."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import websockets

from harness import Api, serving, working
from settings import Settings


def types(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["type"] for frame in frames if "seq" in frame]


async def test_a_job_is_shown_from_the_first_event_to_the_end(service: Api) -> None:
    job = await service.submit("noop")

    frames = await service.watch(job["id"])

    assert frames[0]["type"] == "hello"
    assert frames[0]["job"]["id"] == job["id"]
    assert types(frames) == ["job.queued", "job.started", "step.started", "step.succeeded", "job.succeeded"]
    assert [frame["seq"] for frame in frames if "seq" in frame] == [1, 2, 3, 4, 5]
    assert frames[-1] == {"type": "end", "state": "succeeded"}


async def test_polling_and_sse_show_the_same_bytes_as_the_socket(service: Api) -> None:
    job = await service.submit("ticks", params={"count": 3, "interval_ms": 5, "steps": 2})
    seen: list[bytes] = []
    url = f"{service.ws}/api/v1/jobs/{job['id']}/ws"
    async with asyncio.timeout(20), websockets.connect(url) as socket:
        seen = [message async for message in socket]  # type: ignore[misc]

    sse = (await service.http.get(f"/api/v1/jobs/{job['id']}/stream")).text
    polled = (await service.http.get(f"/api/v1/jobs/{job['id']}/events?limit=1000")).text

    events = [message for message in seen if b'"seq"' in message.encode()]  # type: ignore[attr-defined]
    assert len(events) >= 8
    for event in events:
        assert f"data: {event}\n" in sse  # type: ignore[str-bytes-safe]
        assert str(event) in polled


async def test_a_late_watcher_resumes_after_its_cursor(service: Api) -> None:
    job = await service.submit("ticks", params={"count": 3, "interval_ms": 1})
    await service.finish(job["id"])
    whole = [frame for frame in await service.watch(job["id"]) if "seq" in frame]

    for after in range(len(whole) + 1):
        again = [frame for frame in await service.watch(job["id"], after=after) if "seq" in frame]
        assert again == whole[after:]


async def test_progress_rises_and_is_whole_only_at_success(service: Api) -> None:
    job = await service.submit("ticks", params={"count": 20, "interval_ms": 25})

    frames = await service.watch(job["id"])

    fractions = [frame["fraction"] for frame in frames if frame["type"] == "progress"]
    assert len(fractions) > 3
    assert fractions == sorted(fractions)
    assert max(fractions) < 1
    assert (await service.job(job["id"]))["progress"] == 1.0


async def test_a_busy_stream_has_beats_too(service: Api) -> None:
    job = await service.submit("ticks", params={"count": 130, "interval_ms": 50})

    frames = await service.watch(job["id"])

    beats = [frame for frame in frames if frame["type"] == "beat"]
    assert beats
    assert beats[0]["degraded"] is False


async def test_a_flaky_step_is_tried_again_in_the_same_attempt(service: Api) -> None:
    job = await service.submit("flaky", params={"fail_times": 2})

    done = await service.finish(job["id"])

    assert (done["state"], done["attempt"], done["result"]) == ("succeeded", 1, {"failures": 2})
    failed = [event for event in await service.events(job["id"]) if event["type"] == "step.failed"]
    assert len(failed) == 2
    assert all(event["retry_at"] for event in failed)


async def test_a_step_out_of_tries_fails_the_job_and_retry_goes_on(service: Api) -> None:
    job = await service.submit("flaky", params={"fail_times": 3}, max_attempts=2)
    failed = await service.finish(job["id"])
    assert (failed["state"], failed["error"]["code"], failed["error"]["step"]) == (
        "failed",
        "step_failed",
        "fail_first",
    )

    answer = await service.http.post(f"/api/v1/jobs/{job['id']}/retry")

    assert answer.status_code == 202
    done = await service.finish(job["id"])
    assert (done["state"], done["error"], done["attempt"]) == ("succeeded", None, 2)
    seen = [event["type"] for event in await service.events(job["id"])]
    assert seen.index("job.failed") < seen.index("job.retried") < seen.index("job.succeeded")


async def test_a_process_step_runs_in_a_child_and_reports(service: Api) -> None:
    job = await service.submit("crunch", params={"seconds": 0.6})

    frames = await service.watch(job["id"])

    assert frames[-1]["state"] == "succeeded"
    assert any(frame["type"] == "progress" and "burn" in frame["steps"] for frame in frames)


@pytest.mark.parametrize(
    ("pipeline", "params"),
    [("ticks", {"count": 1000, "interval_ms": 20}), ("crunch", {"seconds": 60})],
)
async def test_a_running_job_is_cancelled_within_a_moment(
    service: Api, pipeline: str, params: dict[str, Any]
) -> None:
    job = await service.submit(pipeline, params=params)
    url = f"{service.ws}/api/v1/jobs/{job['id']}/ws"
    async with asyncio.timeout(20), websockets.connect(url) as socket:
        async for message in socket:
            if msgspec.json.decode(message)["type"] == "progress":
                break
        await socket.send('{"type":"cancel"}')

        rest = [msgspec.json.decode(message) async for message in socket]

    assert rest[-1] == {"type": "end", "state": "cancelled"}
    assert [frame["type"] for frame in rest if "seq" in frame][-2:] == [
        "job.cancel_requested",
        "job.cancelled",
    ]
    steps = (await service.http.get(f"/api/v1/jobs/{job['id']}/steps")).json()["items"]
    assert {step["state"] for step in steps} == {"cancelled"}


async def test_a_queued_job_is_cancelled_without_a_worker(api: Api) -> None:
    job = await api.submit("noop")
    assert job["waiting_for"] == "no_worker"

    cancelled = (await api.http.post(f"/api/v1/jobs/{job['id']}/cancel")).json()
    again = await api.http.post(f"/api/v1/jobs/{job['id']}/cancel")

    assert cancelled["state"] == "cancelled"
    assert again.status_code == 409
    assert types(await api.watch(job["id"])) == ["job.queued", "job.cancelled"]


async def test_a_delayed_job_says_so_and_starts_when_it_is_due(service: Api) -> None:
    run_at = datetime.now(UTC) + timedelta(seconds=1.5)

    job = await service.submit("noop", run_at=run_at.isoformat())

    assert job["waiting_for"] == "run_at"
    done = await service.finish(job["id"])
    assert datetime.fromisoformat(done["started_at"]) >= run_at


async def test_jobs_run_without_redis(settings: Settings) -> None:
    alone = msgspec.structs.replace(settings, redis_url=None)

    async with serving(alone) as api, working(alone):
        job = await api.submit("ticks", params={"count": 2, "interval_ms": 10})
        frames = await api.watch(job["id"])

    assert frames[-1] == {"type": "end", "state": "succeeded"}


async def test_a_handed_back_job_goes_on_in_another_worker(settings: Settings) -> None:
    quick = msgspec.structs.replace(settings, grace_seconds=0.1)
    async with serving(quick) as api:
        async with working(quick):
            job = await api.submit("ticks", params={"count": 40, "interval_ms": 50})
            async with (
                asyncio.timeout(10),
                websockets.connect(f"{api.ws}/api/v1/jobs/{job['id']}/ws") as socket,
            ):
                async for message in socket:
                    if msgspec.json.decode(message)["type"] == "progress":
                        break
        async with working(quick):
            reached = (await api.job(job["id"]))["progress"]
            again = asyncio.create_task(api.watch(job["id"]))
            done = await api.finish(job["id"])
            fractions = [frame["fraction"] for frame in await again if frame["type"] == "progress"]
        seen = [event["type"] for event in await api.events(job["id"])]

    assert fractions
    assert min(fractions) >= reached > 0
    assert (done["state"], done["attempt"]) == ("succeeded", 2)
    assert seen.count("job.requeued") == 1
    assert "attempt.lost" not in seen
