"""Runs a real API and a real worker in the event loop of the tests, and provides a client."""

import asyncio
import shutil
import signal
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import uvicorn
from msgspec import Struct

from headrace.adapters.servers import Servers, run_servers
from headrace.adapters.tracing.tracing import Tracing
from headrace.api.server.config import server_config
from headrace.app import create_app
from headrace.settings import Settings
from headrace.workers.main import RunningWorker, open_worker
from headrace.workers.monitoring.interface import NO_INSTRUMENTS, Instruments
from headrace.workers.supervision import NO_SUPERVISION, Supervision
from support.patience import PATIENCE_SECONDS, open_socket
from support.scratch import make_server_folder

# Shared, because each client would load all certificates of the system, which takes longer than a job.
TLS: Final = ssl.create_default_context()


class QuietServer(uvicorn.Server):
    """A uvicorn server in the event loop of the tests, which leaves Ctrl-C to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Api(Struct):
    """A running API: an HTTP client, the URL of its sockets, and app and server if they run in-process."""

    http: httpx.AsyncClient
    ws: str
    app: Any = None
    server: Any = None

    async def submit(self, pipeline: str, **more: Any) -> dict[str, Any]:
        response = await self.http.post("/api/v1/jobs", json={"pipeline": pipeline, **more})
        assert response.status_code == 202, response.text
        body: dict[str, Any] = response.json()
        return body

    async def job(self, job_id: str) -> dict[str, Any]:
        body: dict[str, Any] = (await self.http.get(f"/api/v1/jobs/{job_id}")).json()
        return body

    async def events(self, job_id: str) -> list[dict[str, Any]]:
        response = await self.http.get(f"/api/v1/jobs/{job_id}/events", params={"limit": 1000})
        items: list[dict[str, Any]] = response.json()["items"]
        return items

    async def watch(self, job_id: str, after: int = 0, query: str = "") -> list[dict[str, Any]]:
        """Return all frames up to the last."""
        async with asyncio.timeout(180):
            return [frame async for frame in self.frames(job_id, after, query)]

    async def frames(
        self, job_id: str, after: int = 0, query: str = ""
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield each frame when it arrives."""
        url = f"{self.ws}/api/v1/jobs/{job_id}/ws?after={after}{query}"
        async with open_socket(url, max_size=None) as socket:
            async for message in socket:
                decoded = msgspec.json.decode(message)
                for frame in decoded if isinstance(decoded, list) else [decoded]:
                    yield frame

    async def finish(self, job_id: str) -> dict[str, Any]:
        """Wait until the job has ended, and return it."""
        await self.watch(job_id)
        return await self.job(job_id)


@asynccontextmanager
async def open_api(address: str) -> AsyncIterator[Api]:
    """Open a client of the API at *address*."""
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS, verify=TLS) as client:
        yield Api(client, address.replace("http", "ws", 1))


@asynccontextmanager
async def serving(settings: Settings, tracing: Tracing | None = None) -> AsyncIterator[Api]:
    """Run the API of *settings* in the event loop of the tests."""
    app = create_app(settings, tracing=tracing)
    server = QuietServer(server_config(app, settings.max_connections, prefix=settings.path_prefix, port=0))
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not server.started:
            await asyncio.sleep(0.005)
            if running.done():
                running.result()
    port = server.servers[0].sockets[0].getsockname()[1]
    async with open_api(f"http://127.0.0.1:{port}") as api:
        api.app, api.server = app, server
        yield api
    await app.state.services.hub.say_goodbye()
    server.should_exit = True
    await asyncio.wait_for(running, PATIENCE_SECONDS)


@contextmanager
def private_servers() -> Iterator[Servers]:
    """Run a PostgreSQL and a Redis that only the block uses."""
    folder = make_server_folder("headrace-tests-")
    try:
        with run_servers(folder) as servers:
            yield servers
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def register_pipelines(settings: Settings) -> None:
    """Register the pipelines of *settings* with a worker that starts no job."""
    async with open_worker(settings, ("nobody",), 1):
        pass


@asynccontextmanager
async def working(
    settings: Settings,
    concurrency: int = 20,
    queues: tuple[str, ...] = ("default",),
    instruments: Instruments = NO_INSTRUMENTS,
    supervision: Supervision = NO_SUPERVISION,
) -> AsyncIterator[RunningWorker]:
    """Run a worker in the event loop of the tests."""
    async with open_worker(
        settings, queues, concurrency, supervision=supervision, instruments=instruments
    ) as running:
        task = asyncio.create_task(running.run_until_stopped())
        try:
            yield running
        finally:
            running.worker.handle_sig(signal.SIGTERM)
            await asyncio.wait_for(task, PATIENCE_SECONDS)


@asynccontextmanager
async def new_database(server_url: str, template: str) -> AsyncIterator[str]:
    """Copy the database *template* for the block. Yield the URL of the copy."""
    name = f"test_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(server_url)
    # Since PostgreSQL 15 the default writes each page of the copy to the log, which takes twice the time.
    strategy = "STRATEGY file_copy" if admin.get_server_version() >= (15,) else ""
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} {strategy}")
    try:
        yield on_database(server_url, name)
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


def on_database(url: str, name: str) -> str:
    """Return the URL of the database *name* on the same server."""
    return url.rsplit("/", maxsplit=1)[0] + f"/{name}"
