"""Real servers for the whole run, and a fresh database for each test that asks for one.

Every pytest-xdist worker has servers of its own, so nothing is shared between processes.
"""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest
import redis as sync_redis
import uvicorn
import websockets
from litestar import Litestar
from msgspec import Struct

from adapters.database import StatementPool, upgrade
from adapters.servers import Servers, run_servers
from adapters.telemetry import configure_logging
from app import create_app
from domain.events.partitions import make_partitions
from settings import Settings
from workers.main import RunningWorker, open_worker

TEMPLATE = "headrace_template"

configure_logging("info", as_json=False)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Redis of this process."""
    # Below a folder that an unprivileged user can pass: as root, PostgreSQL runs as one.
    folder = Path(tempfile.mkdtemp(prefix="headrace-tests-"))
    folder.chmod(0o711)
    try:
        with run_servers(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(servers: Servers) -> str:
    """A migrated database that the others are copied from."""
    url = str(servers.database_url)

    async def create() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(f"CREATE DATABASE {TEMPLATE}")
        await connection.close()

    # Not in the loop of the tests: alembic brings its own.
    async def partition() -> None:
        pool = await StatementPool.open(_with_database(url, TEMPLATE), size=1)
        await make_partitions(pool, datetime.now(UTC))
        await pool.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, create()).result()
        thread.submit(upgrade, _with_database(url, TEMPLATE)).result()
        thread.submit(asyncio.run, partition()).result()
    return TEMPLATE


@pytest.fixture
async def database_url(servers: Servers, template: str) -> AsyncIterator[str]:
    """A database with the newest schema and no rows."""
    name = f"test_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(str(servers.database_url))
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield _with_database(str(servers.database_url), name)
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """An empty Redis."""
    url = str(servers.redis_url)
    with sync_redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[StatementPool]:
    pool = await StatementPool.open(database_url)
    yield pool
    await pool.close()


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a service on those servers, with a short lease."""
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        data_dir=tmp_path,
        lease_seconds=3,
        grace_seconds=5,
        worker_processes=2,
    )


def _with_database(url: str, name: str) -> str:
    return url.rsplit("/", maxsplit=1)[0] + f"/{name}"


class QuietServer(uvicorn.Server):
    """uvicorn in the loop of the tests; Ctrl-C stays pytest's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Api(Struct):
    """A running API: a client of it, and where its sockets are."""

    http: httpx.AsyncClient
    ws: str
    app: Litestar

    async def submit(self, pipeline: str, **more: Any) -> dict[str, Any]:
        answer = await self.http.post("/api/v1/jobs", json={"pipeline": pipeline, **more})
        assert answer.status_code == 202, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def job(self, job_id: str) -> dict[str, Any]:
        body: dict[str, Any] = (await self.http.get(f"/api/v1/jobs/{job_id}")).json()
        return body

    async def events(self, job_id: str) -> list[dict[str, Any]]:
        answer = await self.http.get(f"/api/v1/jobs/{job_id}/events", params={"limit": 1000})
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def watch(self, job_id: str, after: int = 0, query: str = "") -> list[dict[str, Any]]:
        """Every frame up to the last."""
        frames: list[dict[str, Any]] = []
        url = f"{self.ws}/api/v1/jobs/{job_id}/ws?after={after}{query}"
        async with asyncio.timeout(60), websockets.connect(url, max_size=None) as socket:
            async for message in socket:
                decoded = msgspec.json.decode(message)
                frames += decoded if isinstance(decoded, list) else [decoded]
        return frames

    async def finish(self, job_id: str) -> dict[str, Any]:
        """The job, once it has ended."""
        await self.watch(job_id)
        return await self.job(job_id)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Api]:
    """An API process's worth of service, in the loop of the tests."""
    app = create_app(settings)
    config = uvicorn.Config(
        app, port=0, ws="websockets-sansio", ws_per_message_deflate=False, log_config=None, access_log=False
    )
    server = QuietServer(config)
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:
            await asyncio.sleep(0.005)
            if running.done():
                running.result()
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield Api(client, f"ws://127.0.0.1:{port}", app)
    await app.state.services.hub.say_goodbye()
    server.should_exit = True
    await asyncio.wait_for(running, 20)


@asynccontextmanager
async def working(
    settings: Settings, concurrency: int = 20, queues: tuple[str, ...] = ("default",)
) -> AsyncIterator[RunningWorker]:
    """A worker process's worth of service, in the loop of the tests."""
    async with open_worker(settings, queues, concurrency) as running:
        task = asyncio.create_task(running.until_stopped())
        try:
            yield running
        finally:
            running.worker.handle_sig(signal.SIGTERM)
            await asyncio.wait_for(task, 30)


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """An API without any worker; the bundled pipelines are registered."""
    async with open_worker(settings, ("nobody",), 1):
        pass
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Api]:
    """An API and a worker."""
    async with serving(settings) as running, working(settings):
        yield running
