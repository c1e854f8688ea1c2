"""Errors of PostgreSQL in the statements of the API: each is answered as a problem, and none ends the API."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest
import websockets

from headrace.adapters.database import StatementPool
from headrace.adapters.sqlstates import QUERY_CANCELED
from support.harness import Api
from support.injected_errors import SQLSTATES, refused_reads, refused_writes

NOOP = {"pipeline": "noop"}
PRESET = {"title": "one", "pipeline": "noop", "params": {}}
REFUSES_VALUES = ("21", "22", "54")
REFUSES_THE_STATEMENT = ("0A", "23", "2B", "42P", "P0")
CODES_BY_STATE = {
    "25006": "database_read_only",
    "25P03": "database_busy",
    "40003": "database_unavailable",
    "42501": "database_refusing",
    "53100": "database_full",
    "53300": "database_out_of_connections",
    "57014": "database_busy",
}
CODES_BY_CLASS = {
    "28": "database_refusing",
    "3D": "database_refusing",
    "40": "database_busy",
    "55": "database_busy",
}
ONE_OF_EACH_JUDGEMENT = (
    "08006",
    "25006",
    "40001",
    "42501",
    "53100",
    "22003",
    "23503",
    "23514",
    "42P01",
    "P0001",
)
Call = Callable[[Api, dict[str, str]], Awaitable[httpx.Response]]


def assert_answers(response: httpx.Response, sqlstate: str) -> None:
    """Check the status and the code of the problem that answers an error of PostgreSQL."""
    body = response.json()
    if sqlstate == "23503":
        expected = {(409, "reference_gone")}
    elif sqlstate.startswith(REFUSES_VALUES):
        expected = {(422, "value_not_storable")}
    elif sqlstate.startswith(REFUSES_THE_STATEMENT):
        expected = {(500, "internal_error")}
    elif sqlstate == QUERY_CANCELED:
        expected = {(503, "time_limit")}
    else:
        expected = {
            (503, CODES_BY_STATE.get(sqlstate, CODES_BY_CLASS.get(sqlstate[:2], "database_unavailable")))
        }
        assert int(response.headers["Retry-After"]) > 0
    assert (response.status_code, body["code"]) in expected, (response.request.url, body)


def post(path: str, body: Any, **headers: str) -> Call:
    return lambda api, ids: api.http.post(path.format(**ids), json=body, headers=headers)


def send(method: str, path: str, body: Any = None) -> Call:
    return lambda api, ids: api.http.request(method, path.format(**ids), json=body)


SUBMISSIONS: list[tuple[str, Call]] = [
    ("jobs", post("/api/v1/jobs", NOOP)),
    ("idempotency_keys", post("/api/v1/jobs", NOOP, **{"Idempotency-Key": "k"})),
    ("jobs", post("/api/v1/jobs/batch", {"jobs": [NOOP, NOOP]})),
]
WRITES: list[tuple[str, Call]] = [
    ("job_changes", post("/api/v1/jobs", NOOP)),
    ("tags", post("/api/v1/jobs", NOOP | {"tags": ["new"]})),
    ("jobs", post("/api/v1/jobs/{job}/cancel", None)),
    ("jobs", post("/api/v1/jobs/{failed}/retry", None)),
    ("jobs", send("PATCH", "/api/v1/jobs/{job}", {"meta": {"a": 1}})),
    ("jobs", send("DELETE", "/api/v1/jobs/{cancelled}")),
    ("presets", post("/api/v1/presets", PRESET | {"title": "other"})),
    ("presets", send("PUT", "/api/v1/presets/{preset}", PRESET | {"title": "new"})),
    ("presets", send("PATCH", "/api/v1/presets/{preset}", {"title": "new"})),
    ("presets", send("DELETE", "/api/v1/presets/{preset}")),
    ("jobs", post("/api/v1/presets/{preset}/jobs", None)),
    ("tags", send("PATCH", "/api/v1/tags/{tag}", {"name": "renamed"})),
    ("tags", send("DELETE", "/api/v1/tags/{tag}")),
    ("files", lambda api, _: api.http.post("/api/v1/files", files={"file": ("a", b"bytes")})),
    ("files", send("PATCH", "/api/v1/files/{file}", {"name": "b"})),
    ("files", send("DELETE", "/api/v1/files/{file}")),
]
READS: list[tuple[str, Call]] = [
    ("jobs", send("GET", "/api/v1/jobs")),
    ("jobs", send("GET", "/api/v1/jobs/{job}")),
    ("step_runs", send("GET", "/api/v1/jobs/{job}/steps")),
    ("job_changes", send("GET", "/api/v1/jobs/{job}/events")),
    ("files", send("GET", "/api/v1/jobs/{job}/files")),
    ("jobs", send("GET", "/api/v1/jobs/{cancelled}/stream")),
    ("presets", send("GET", "/api/v1/presets")),
    ("presets", send("GET", "/api/v1/presets/{preset}")),
    ("tags", send("GET", "/api/v1/tags")),
    ("files", send("GET", "/api/v1/files")),
    ("files", send("GET", "/api/v1/files/{file}/content")),
    ("pipelines", send("GET", "/api/v1/pipelines")),
]


async def fill(api: Api, database: StatementPool) -> dict[str, str]:
    """Return the ids of three jobs, a preset, a tag and a file."""
    job, cancelled, failed = [await api.submit("noop", tags=["old"]) for _ in range(3)]
    for ended in (cancelled, failed):
        await api.http.post(f"/api/v1/jobs/{ended['id']}/cancel")
    await database.fetch("UPDATE jobs SET state = 'failed' WHERE id = $1", failed["id"])
    preset = (await api.http.post("/api/v1/presets", json=PRESET)).json()
    [tag] = (await api.http.get("/api/v1/tags")).json()["items"]
    file = (await api.http.post("/api/v1/files", files={"file": ("old", b"old")})).json()
    found = {"job": job, "cancelled": cancelled, "failed": failed, "preset": preset, "tag": tag, "file": file}
    return {name: entity["id"] for name, entity in found.items()}


@pytest.mark.parametrize(("table", "call"), SUBMISSIONS)
async def test_a_submission_survives_every_error_of_postgresql(
    api: Api, database: StatementPool, table: str, call: Call
) -> None:
    ids = await fill(api, database)
    before = await api.http.get("/api/v1/jobs")

    for sqlstate in SQLSTATES:
        async with refused_writes(database, sqlstate, table):
            assert_answers(await call(api, ids), sqlstate)

    assert (await api.http.get("/api/v1/jobs")).json() == before.json()
    assert (await call(api, ids)).status_code == 202


@pytest.mark.parametrize("sqlstate", ONE_OF_EACH_JUDGEMENT)
async def test_every_refused_write_of_the_api_is_answered(
    api: Api, database: StatementPool, sqlstate: str
) -> None:
    ids = await fill(api, database)

    for table, call in WRITES:
        async with refused_writes(database, sqlstate, table):
            assert_answers(await call(api, ids), sqlstate)

    assert (await api.submit("noop"))["state"] == "queued"


@pytest.mark.parametrize("sqlstate", ONE_OF_EACH_JUDGEMENT)
async def test_every_refused_read_of_the_api_is_answered(
    api: Api, database: StatementPool, sqlstate: str
) -> None:
    ids = await fill(api, database)
    graph = {"query": "{ jobs { id steps { name } files { id } } }"}

    for table, call in READS:
        async with refused_reads(database, sqlstate, table):
            assert_answers(await call(api, ids), sqlstate)
    async with refused_reads(database, sqlstate, "jobs"):
        answer = (await api.http.post("/graphql", json=graph)).json()
    async with refused_reads(database, sqlstate, "workers"):
        ready = await api.http.get("/health/ready")

    assert answer["errors"]
    assert ready.status_code == 503
    for _, call in READS:
        assert (await call(api, ids)).status_code == 200


@pytest.mark.parametrize("sqlstate", ["22003", "42P01", "P0001"])
async def test_open_streams_go_on_after_their_checks_were_refused(
    api: Api, database: StatementPool, sqlstate: str
) -> None:
    hub = api.app.state.services.hub
    job = await api.submit("noop")
    frames = api.frames(job["id"])
    overview = websockets.connect(f"{api.ws}/api/v1/ws")
    async with aclosing(frames), overview as all_jobs, asyncio.timeout(60):
        assert (await anext(frames))["type"] == "hello"
        await all_jobs.recv()
        async with refused_reads(database, sqlstate, "jobs"):
            while not (hub._is_database_away and hub.overviews._is_database_away):
                hub._recheck_soon()
                hub.overviews._recheck_soon()
                await asyncio.sleep(0.05)
        # Nothing is published, so only a check finds that the job is gone.
        await database.fetch("DELETE FROM jobs WHERE id = $1", job["id"])
        while (frame := await anext(frames))["type"] != "error":
            pass

    assert frame["code"] == "job_deleted"
