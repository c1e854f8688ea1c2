"""The frames of a watch, and the errors that end it before the job has ended."""

import asyncio
from typing import Any

import pytest

from headrace.cli.api_client import ApiClient
from headrace.cli.errors import GaveUpError, UnreachableError, WatchRefusedError
from headrace.cli.job_watch import JobWatch
from support.patience import PATIENCE_SECONDS
from support.scripted_server import Scene, scripted_server, sends

JOB = "01a1fcda-1222-71e3-b3dd-702451ba443d"
END = {"type": "end", "state": "succeeded"}


def events(*numbers: int) -> list[dict[str, Any]]:
    return [
        {"type": "job.retried", "job_id": JOB, "seq": number, "at": "2026-11-21T06:30:00Z"}
        for number in numbers
    ]


async def watched(watch: JobWatch) -> list[dict[str, Any]]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [frame.body async for frame in watch.frames()]


def watching(url: str, patience_seconds: float = PATIENCE_SECONDS) -> JobWatch:
    return JobWatch(ApiClient(url, None), JOB, after=0, patience_seconds=patience_seconds, was_reached=True)


async def test_connection_loss_and_recovery_are_reported() -> None:
    reports: list[str | None] = []
    async with scripted_server(sends(*events(1, 2), code=1011), sends(*events(3), END)) as server:
        api = ApiClient(server.url, None)
        watch = JobWatch(
            api,
            JOB,
            after=0,
            patience_seconds=PATIENCE_SECONDS,
            on_connection=reports.append,
            was_reached=True,
        )
        frames = await watched(watch)

    assert frames == [*events(1, 2, 3), END]
    assert watch.cursor == 3
    assert reports == ["the connection was lost", None]


async def test_a_frame_keeps_its_original_bytes() -> None:
    async with scripted_server(sends([*events(1), END])) as server:
        raws = [frame.raw async for frame in watching(server.url).frames()]

    assert raws[1] == b'{"type": "end", "state": "succeeded"}'


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (sends(code=4404, reason="gone"), "there is no job .*: it does not exist"),
        (
            sends({"type": "error", "code": "job_deleted", "message": "gone"}, code=4404),
            "there is no job .*: it was deleted",
        ),
        (sends(code=4400, reason="after=9 is beyond the newest event, 2"), "after=9 is beyond"),
        (sends(code=4401), "not signed in: a valid token is needed; set HEADRACE_TOKEN to one"),
        (
            sends(code=4403, reason="this needs the scope jobs:read"),
            "jobs:read; set HEADRACE_TOKEN to a token",
        ),
    ],
)
async def test_a_refusal_ends_the_watch(scene: Scene, message: str) -> None:
    async with scripted_server(scene) as server:
        with pytest.raises(WatchRefusedError, match=message):
            await watched(watching(server.url))

    assert len(server.cursors) == 1


async def test_the_watch_gives_up_on_a_service_that_stays_unavailable() -> None:
    async with scripted_server(sends(*events(1, 2), code=1011), sends(code=1013)) as server:
        with pytest.raises(GaveUpError, match="--after 2") as raised:
            await watched(watching(server.url, patience_seconds=1.5))

    assert raised.value.after == 2
    assert len(server.cursors) > 2


async def test_the_watch_gives_up_early_on_a_service_that_was_never_reachable() -> None:
    watch = JobWatch(ApiClient("http://127.0.0.1:9", None), JOB, after=0, patience_seconds=600)

    with pytest.raises(UnreachableError, match="headrace up"):
        await asyncio.wait_for(anext(watch.frames()), PATIENCE_SECONDS)
