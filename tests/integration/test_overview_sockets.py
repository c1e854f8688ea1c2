"""The overview socket: its first frames, its updates, and convergence without Redis hints."""

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from websockets.exceptions import ConnectionClosed

from headrace.adapters.database import StatementPool
from headrace.domain.jobs.overview.overview_repository import OverviewRepository
from support.harness import Api
from support.overview_watch import Board, board
from support.patience import PATIENCE_SECONDS

LATER = "2100-01-01T00:00:00Z"
CANCEL = (
    "UPDATE jobs SET state = 'cancelled', finished_at = statement_timestamp(), event_seq = event_seq + 1,"
    " updated_at = statement_timestamp() WHERE id = $1::uuid"
)


async def submit(api: Api, count: int = 1, **more: Any) -> list[str]:
    return [str((await api.submit("noop", run_at=LATER, **more))["id"]) for _ in range(count)]


def check_now(api: Api) -> None:
    api.app.state.services.hub.overviews._recheck_soon()


async def closing(socket: Board) -> int | None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        with suppress(ConnectionClosed):
            while True:
                await socket.next()
    return socket.socket.close_code


async def test_the_overview_sends_the_newest_jobs_first_and_then_every_change(api: Api) -> None:
    old, new = await submit(api, 2)

    async with board(api) as shown:
        await shown.until({old: "queued", new: "queued"})
        (newest,) = await submit(api)
        await api.http.post(f"/api/v1/jobs/{old}/cancel")
        await shown.until({old: "cancelled", new: "queued", newest: "queued"})

    assert [frame["job_id"] for frame in shown.frames[:2]] == [new, old]
    assert shown.frames[0] == {
        "type": "job",
        "job_id": new,
        "head": 1,
        "state": "queued",
        "progress": 0.0,
        "pipeline": "noop",
    }


async def test_only_matching_jobs_are_sent_and_once_more_when_they_stop_matching(api: Api) -> None:
    first, second = await submit(api, 2)

    async with board(api, "state=queued&pipeline=noop") as shown, board(api, "pipeline=crunch") as nothing:
        await shown.until({first: "queued", second: "queued"})
        await api.http.post(f"/api/v1/jobs/{first}/cancel")
        await shown.until({second: "queued"})
        await nothing.socket.send('{"type": "ping"}')
        await nothing.until_type("pong")

    assert [frame["state"] for frame in shown.frames if frame["job_id"] == first] == ["queued", "cancelled"]
    assert not [frame for frame in nothing.frames if frame["type"] == "job"]


async def test_the_tag_filter_applies_to_changed_jobs(api: Api) -> None:
    (urgent,) = await submit(api, tags=["urgent"])
    (other,) = await submit(api)

    async with board(api, "tag=urgent") as shown:
        await shown.until({urgent: "queued"})
        (second,) = await submit(api, tags=["urgent", "x"])
        for job_id in (other, urgent):
            await api.http.post(f"/api/v1/jobs/{job_id}/cancel")
        await shown.until({urgent: "cancelled", second: "queued"})

    assert other not in {frame.get("job_id") for frame in shown.frames}


async def test_an_invalid_filter_is_refused(api: Api) -> None:
    async with board(api, "state=resting") as shown:
        code = await closing(shown)

    assert (code, shown.frames[0]["code"]) == (4400, "validation_failed")


async def test_the_overview_socket_answers_pings_and_refuses_other_messages(api: Api) -> None:
    async with board(api) as shown:
        for message in ('{"type": "ping"}', '{"type": "cancel"}', "x"):
            await shown.socket.send(message)
        replies = [await shown.next() for _ in range(3)]

    assert [reply["type"] for reply in replies] == ["pong", "error", "error"]


async def test_watchers_get_a_bye_when_the_server_stops(own_api: Api) -> None:
    async with board(own_api) as shown:
        await shown.socket.send('{"type": "ping"}')
        await shown.until_type("pong")
        await own_api.app.state.services.hub.say_goodbye()
        code = await closing(shown)

    assert (code, shown.frames[-1]["type"]) == (1012, "bye")


async def test_unpublished_changes_are_found_by_polls_that_all_watchers_share(
    api: Api, database: StatementPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, ends, goes = await submit(api, 3)
    await database.fetch(CANCEL, goes)
    polls: list[Any] = []
    poll = OverviewRepository.poll

    async def counted(self: OverviewRepository, *arguments: Any, **named: Any) -> Any:
        polls.append(arguments[1])
        return await poll(self, *arguments, **named)

    monkeypatch.setattr(OverviewRepository, "poll", counted)
    async with board(api) as shown, board(api) as other:
        for watcher in (shown, other):
            await watcher.until({stays: "queued", ends: "queued", goes: "cancelled"})
        await database.fetch(CANCEL, ends)
        await database.fetch("DELETE FROM jobs WHERE id = $1::uuid", goes)
        (requeued,) = await submit(api)
        await database.fetch("UPDATE jobs SET attempt = 1, event_seq = 4 WHERE id = $1::uuid", requeued)
        before = len(polls)
        check_now(api)
        for watcher in (shown, other):
            await watcher.until({stays: "queued", ends: "cancelled", requeued: "queued"})
            while watcher.jobs[requeued]["head"] != 4:
                await watcher.next()

    # One poll at the opening and one for this check; both watchers share each.
    assert polls[0] is None
    assert len(polls) - before <= 2


async def test_a_change_that_commits_late_is_found(
    api: Api, database: StatementPool, database_url: str
) -> None:
    first, second = await submit(api, 2)
    connection = await asyncpg.connect(database_url)
    async with board(api) as shown:
        await shown.until({first: "queued", second: "queued"})
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(CANCEL, first)
        await database.fetch(CANCEL, second)
        check_now(api)
        await shown.until({first: "queued", second: "cancelled"})

        await transaction.commit()
        check_now(api)
        await shown.until({first: "cancelled", second: "cancelled"})
    await connection.close()
