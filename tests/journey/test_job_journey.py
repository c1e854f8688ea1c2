"""A job from its POST request to its last frame."""

import asyncio
import gc
import time
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import msgspec
import pytest

from headrace.api.live import heartbeat
from headrace.settings import Settings
from support.harness import Api, serving, working
from support.patience import PATIENCE_SECONDS, open_socket


def types(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["type"] for frame in frames if "seq" in frame]


async def test_a_watch_shows_a_job_from_its_first_event_to_its_end(service: Api) -> None:
    job = await service.submit("noop")

    frames = await service.watch(job["id"])

    assert frames[0]["type"] == "hello"
    assert frames[0]["job"]["id"] == job["id"]
    assert types(frames) == ["job.queued", "job.started", "step.started", "step.succeeded", "job.succeeded"]
    assert [frame["seq"] for frame in frames if "seq" in frame] == [1, 2, 3, 4, 5]
    assert frames[-1] == {"type": "end", "state": "succeeded"}


async def test_progress_only_rises_and_reaches_one_only_at_success(service: Api) -> None:
    job = await service.submit("ticks", params={"count": 20, "interval_ms": 25})

    frames = await service.watch(job["id"])

    fractions = [frame["fraction"] for frame in frames if frame["type"] == "progress"]
    assert len(fractions) > 3
    assert fractions == sorted(fractions)
    assert max(fractions) < 1
    assert (await service.job(job["id"]))["progress"] == 1.0


async def test_a_job_of_four_seconds_reports_progress_at_least_twenty_times(service: Api) -> None:
    job = await service.submit("ticks", params={"count": 80, "interval_ms": 50})

    frames = await service.watch(job["id"])

    fractions = [frame["fraction"] for frame in frames if frame["type"] == "progress"]
    assert len(set(fractions)) >= 20
    assert fractions == sorted(fractions)


async def test_a_cpu_bound_job_does_not_block_the_event_loop(service: Api) -> None:
    job = await service.submit("crunch", params={"seconds": 3_600})
    async with aclosing(service.frames(job["id"])) as frames:
        async for frame in frames:
            if frame["type"] == "progress" and "burn" in frame["steps"]:
                break
    delays, blocked = [], []

    gc.freeze()  # so that garbage of earlier tests is not collected during the measurement
    for _ in range(200):
        began, computed = time.monotonic(), time.thread_time()
        await asyncio.sleep(0.005)
        delays.append(time.monotonic() - began - 0.005)
        blocked.append(time.thread_time() - computed)
    gc.unfreeze()

    await service.http.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert (await service.finish(job["id"]))["state"] == "cancelled"
    # Some measurements may be late, because the machine may be busy.
    assert median(delays) < 0.05
    assert max(blocked) < 0.05


async def test_a_busy_stream_also_has_beats(service: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_BEAT_SECONDS", 1.0)
    job = await service.submit("ticks", params={"count": 40, "interval_ms": 50})

    frames = await service.watch(job["id"])

    beats = [frame for frame in frames if frame["type"] == "beat"]
    assert beats
    assert beats[0]["degraded"] is False


async def test_a_failed_step_is_retried_in_the_same_attempt(service: Api) -> None:
    job = await service.submit("flaky", params={"fail_times": 2})

    done = await service.finish(job["id"])

    assert (done["state"], done["attempt"], done["result"]) == ("succeeded", 1, {"failures": 2})
    failed = [event for event in await service.events(job["id"]) if event["type"] == "step.failed"]
    assert len(failed) == 2
    assert all(event["retry_at"] for event in failed)


async def test_a_step_out_of_tries_fails_the_job_and_a_retry_continues_it(service: Api) -> None:
    job = await service.submit("flaky", params={"fail_times": 3}, max_attempts=2)
    failed = await service.finish(job["id"])
    assert (failed["state"], failed["error"]["code"], failed["error"]["step"]) == (
        "failed",
        "step_failed",
        "fail_first",
    )

    response = await service.http.post(f"/api/v1/jobs/{job['id']}/retry")

    assert response.status_code == 202
    done = await service.finish(job["id"])
    assert (done["state"], done["error"], done["attempt"]) == ("succeeded", None, 2)
    seen = [event["type"] for event in await service.events(job["id"])]
    assert seen.index("job.failed") < seen.index("job.retried") < seen.index("job.succeeded")


async def test_a_process_step_reports_progress_and_succeeds(service: Api) -> None:
    job = await service.submit("crunch", params={"seconds": 0.6})

    frames = await service.watch(job["id"])

    assert frames[-1]["state"] == "succeeded"
    assert any(frame["type"] == "progress" and "burn" in frame["steps"] for frame in frames)


async def test_a_queued_job_is_cancelled_without_a_worker(own_api: Api) -> None:
    job = await own_api.submit("noop")
    assert job["waiting_for"] == "no_worker"

    cancelled = (await own_api.http.post(f"/api/v1/jobs/{job['id']}/cancel")).json()
    again = await own_api.http.post(f"/api/v1/jobs/{job['id']}/cancel")

    assert cancelled["state"] == "cancelled"
    assert again.status_code == 409
    assert types(await own_api.watch(job["id"])) == ["job.queued", "job.cancelled"]


async def test_a_delayed_job_reports_run_at_and_starts_when_it_is_due(service: Api) -> None:
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


async def test_a_handed_back_job_continues_in_another_worker(settings: Settings) -> None:
    quick = msgspec.structs.replace(settings, grace_seconds=0.1)
    async with serving(quick) as api:
        async with working(quick):
            job = await api.submit("ticks", params={"count": 40, "interval_ms": 50})
            async with (
                asyncio.timeout(PATIENCE_SECONDS),
                open_socket(f"{api.ws}/api/v1/jobs/{job['id']}/ws") as socket,
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
