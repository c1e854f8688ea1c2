"""A connection that is lost before the rollback hides neither the answer nor the error of a request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from faults.proxy import Mode, Proxy, proxied
from headrace.domain.base import Session
from headrace.domain.jobs.errors import JobNotFoundError
from headrace.domain.jobs.service import JobService
from headrace.domain.jobs.states import IllegalTransitionError, JobState
from headrace.domain.read_model.repository import ReadRepository
from headrace.settings import Settings
from support.harness import Api, register_pipelines, serving
from support.patience import PATIENCE_SECONDS, open_socket

LATER = "2100-01-01T00:00:00Z"
Cut = Callable[[Session], Awaitable[None]]


async def terminate(session: Session) -> None:
    """Abort the session's connection, as asyncpg does when a statement is cancelled in the wrong moment."""
    connection = (await (await session.connection()).get_raw_connection()).driver_connection
    assert connection is not None
    connection.terminate()


@asynccontextmanager
async def cutting(settings: Settings, how: str) -> AsyncIterator[tuple[Api, Cut]]:
    """Run an API; yield what cuts the connection of a session in this way."""
    await register_pipelines(settings)
    async with (
        proxied(str(settings.database_url)) as (proxy, url),
        serving(msgspec.structs.replace(settings, database_url=url)) as api,
    ):
        yield api, terminate if how == "terminated" else _by_network(proxy)


def _by_network(proxy: Proxy) -> Cut:
    async def reset(session: Session) -> None:
        await session.execute(text("SELECT 1"))
        await proxy.become(Mode.DROP)
        await proxy.become(Mode.PASS)

    return reset


@pytest.fixture(params=["terminated", "reset"])
async def lossy(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Api, Cut]]:
    async with cutting(settings, request.param) as running:
        yield running


def lose(monkeypatch: pytest.MonkeyPatch, method: str, cut: Cut, error: Exception) -> None:
    """Let the job service lose its connection in *method*, and then refuse."""

    async def lose_and_refuse(self: JobService, *_: Any, **__: Any) -> None:
        await self._session.execute(text("SELECT 1"))
        await cut(self._session)
        raise error

    monkeypatch.setattr(JobService, method, lose_and_refuse)


async def waiting_job(api: Api) -> str:
    return str((await api.submit("noop", run_at=LATER))["id"])


async def is_well(api: Api) -> bool:
    """Whether the API answers, on every connection of its pool."""
    answers = await asyncio.gather(*(api.http.get("/api/v1/jobs") for _ in range(20)))
    return {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    ("method", "path", "service_method", "error", "status", "code"),
    [
        ("GET", "", "get", JobNotFoundError(uuid4()), 404, "job_not_found"),
        ("GET", "/stream", "get_many", JobNotFoundError(uuid4()), 404, "job_not_found"),
        (
            "POST",
            "/cancel",
            "cancel",
            IllegalTransitionError(JobState.SUCCEEDED, JobState.CANCELLED),
            409,
            "illegal_transition",
        ),
        ("POST", "/cancel", "cancel", RuntimeError("a bug"), 500, "internal_error"),
    ],
)
async def test_a_request_is_answered_with_its_own_error(
    lossy: tuple[Api, Cut],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    service_method: str,
    error: Exception,
    status: int,
    code: str,
) -> None:
    api, cut = lossy
    url = f"/api/v1/jobs/{await waiting_job(api)}{path}"
    with monkeypatch.context() as patched:
        lose(patched, service_method, cut, error)
        response = await api.http.request(method, url)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert await is_well(api)


async def test_a_query_of_the_graph_keeps_its_answer(
    lossy: tuple[Api, Cut], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, cut = lossy
    job_id = await waiting_job(api)
    fetch_jobs = ReadRepository.fetch_jobs

    async def fetch_and_lose(self: ReadRepository, *arguments: Any, **options: Any) -> Any:
        jobs = await fetch_jobs(self, *arguments, **options)
        await cut(self.session)
        return jobs

    with monkeypatch.context() as patched, capture_logs() as lines:
        patched.setattr(ReadRepository, "fetch_jobs", fetch_and_lose)
        response = await api.http.post("/graphql", json={"query": "{ jobs { id } }"})

    assert (response.status_code, response.json()) == (200, {"data": {"jobs": [{"id": job_id}]}})
    assert "connection_ended_for_rollback" in {line["event"] for line in lines}
    assert await is_well(api)


async def test_a_socket_answers_a_refused_cancel_and_stays_open(
    lossy: tuple[Api, Cut], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, cut = lossy
    job_id = await waiting_job(api)
    refusal = IllegalTransitionError(JobState.SUCCEEDED, JobState.CANCELLED)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        open_socket(f"{api.ws}/api/v1/jobs/{job_id}/ws") as socket,
    ):
        await socket.recv()
        with monkeypatch.context() as patched:
            lose(patched, "cancel", cut, refusal)
            await socket.send('{"type": "cancel"}')
            while (frame := msgspec.json.decode(await socket.recv()))["type"] != "error":
                pass
        await socket.send('{"type": "cancel"}')
        while (last := msgspec.json.decode(await socket.recv()))["type"] != "end":
            pass

    assert frame["code"] == "illegal_transition"
    assert last["state"] == "cancelled"


async def test_a_socket_of_a_missing_job_is_closed_as_one(
    lossy: tuple[Api, Cut], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, cut = lossy
    job_id = await waiting_job(api)

    async def lose_and_find_nothing(self: JobService, *_: Any) -> list[Any]:
        await self._session.execute(text("SELECT 1"))
        await cut(self._session)
        return []

    with monkeypatch.context() as patched:
        lose(patched, "get", cut, JobNotFoundError(UUID(job_id)))
        patched.setattr(JobService, "get_many", lose_and_find_nothing)
        async with asyncio.timeout(PATIENCE_SECONDS):
            async with open_socket(f"{api.ws}/api/v1/jobs/{job_id}/ws") as socket:
                await socket.wait_closed()

    assert socket.close_code == 4404
