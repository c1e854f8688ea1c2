"""Starts one service for each test module: an API and a worker in the event loop of the tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conformance.service import History, Service
from conformance.watchers import socket, watched
from headrace.adapters.database import StatementPool
from headrace.adapters.servers import Servers
from headrace.settings import Settings
from support.harness import new_database, serving, working


@pytest.fixture(scope="module")
async def service(
    servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    async with new_database(str(servers.database_url), template) as url:
        folder: Path = tmp_path_factory.mktemp("conformance")
        settings = Settings(
            database_url=url, redis_url=str(servers.redis_url), data_dir=folder, worker_processes=1
        )
        database = await StatementPool.open(url)
        async with working(settings), serving(settings) as api:
            yield Service(api, database)
        await database.close()


@pytest.fixture(scope="module")
async def history(service: Service) -> History:
    """A finished job of several steps, two of which ran at once."""
    job = await service.api.submit("ticks", params={"count": 3, "interval_ms": 1, "steps": 2})
    seen = await watched(socket, service.url, job["id"])
    return History(job["id"], seen.event_bytes)


@pytest.fixture(scope="module")
async def long_history(service: Service) -> str:
    """A cancelled job of 1,302 events, more than the service reads at once."""
    job_id = await service.waiting_job()
    await service.database.fetch(
        "INSERT INTO job_events (job_id, seq, at, type, body)"
        " SELECT $1::uuid, seq, now(), 'log', json_build_object('level', 'info', 'message', seq::text)"
        " FROM generate_series(2, 1301) AS seq",
        job_id,
    )
    await service.database.fetch("UPDATE jobs SET event_seq = 1301 WHERE id = $1::uuid", job_id)
    await service.api.http.post(f"/api/v1/jobs/{job_id}/cancel")
    return job_id
