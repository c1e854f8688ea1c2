"""Errors of PostgreSQL while a step reads, or a claim reads its steps: they are never the fault of a job."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.adapters.database import StatementPool
from headrace.settings import Settings
from headrace.workers.attempt import step_database
from support.harness import Api, register_pipelines, serving, working
from support.injected_errors import refused_reads, until_refused

MODULE = """
from msgspec import Struct
from headrace import Pipeline, StepContext, step

class Params(Struct):
    file: str

@step(retries=0)
async def loop(context: StepContext[Params]) -> str:
    with await context.open_file(context.params.file) as opened:
        return opened.read().decode()

@step(retries=0, runs_in="thread")
def thread(context: StepContext[Params]) -> str:
    with context.open_file(context.params.file) as opened:
        return opened.read().decode()

@step(retries=0, runs_in="process")
def process(context: StepContext[Params]) -> str:
    with context.open_file(context.params.file) as opened:
        return opened.read().decode()

for run in (loop, thread, process):
    pipeline = Pipeline(f"reads_{run.name}", params=Params)
    pipeline.add(run, result=True)
    globals()[pipeline.name] = pipeline
"""


@pytest.fixture
def reading(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a pipeline of each kind of step, which opens a file."""
    module = tmp_path / "reading_pipelines.py"
    module.write_text(MODULE)
    return msgspec.structs.replace(settings, pipelines=(str(module),))


async def assert_succeeded(api: Api, job: dict[str, Any], result: Any) -> None:
    ended = await api.finish(job["id"])
    assert (ended["state"], ended["result"], ended["error"]) == ("succeeded", result, None)


@pytest.mark.parametrize("kind", ["loop", "thread", "process"])
async def test_no_error_of_postgresql_fails_a_step_that_opens_a_file(
    reading: Settings, database: StatementPool, kind: str
) -> None:
    async with serving(reading) as api, working(reading):
        file = (await api.http.post("/api/v1/files", files={"file": ("a", b"bytes")})).json()
        for sqlstate in ("08006", "40001", "42501", "53100", "22003", "23514", "42703", "P0001"):
            async with refused_reads(database, sqlstate, "files"):
                job = await api.submit(f"reads_{kind}", params={"file": file["id"]})
                await until_refused(database, 2)
            await assert_succeeded(api, job, "bytes")


async def test_a_step_whose_reads_are_refused_for_long_is_handed_back_and_not_failed(
    reading: Settings, database: StatementPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_database, "_PATIENCE_SECONDS", 0.2)
    async with serving(reading) as api, working(reading):
        file = (await api.http.post("/api/v1/files", files={"file": ("a", b"bytes")})).json()
        async with refused_reads(database, "42703", "files"):
            job = await api.submit("reads_loop", params={"file": file["id"]})
            await until_refused(database, 5)
        await assert_succeeded(api, job, "bytes")

        assert "job.requeued" in {event["type"] for event in await api.events(job["id"])}


@pytest.mark.parametrize("sqlstate", ["40001", "53100", "22003", "42703", "P0001"])
async def test_no_error_of_postgresql_fails_a_job_whose_steps_are_read_with_its_claim(
    settings: Settings, database: StatementPool, sqlstate: str
) -> None:
    async with serving(settings) as api:
        await register_pipelines(settings)
        job = await api.submit("noop")
        # Only the steps of a job that has run before are read.
        await database.fetch("UPDATE jobs SET attempt = 1 WHERE id = $1", job["id"])
        async with refused_reads(database, sqlstate, "step_runs"), working(settings):
            await until_refused(database, 1)
        async with working(settings):
            await assert_succeeded(api, job, None)
