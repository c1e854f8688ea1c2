"""Runs one job in memory, through the code that runs the attempts of a worker."""

import asyncio
import copy
import tempfile
import time
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from headrace.adapters.blob_store import BlobStore
from headrace.adapters.group_commit import GroupCommit
from headrace.domain.errors import HeadraceError
from headrace.domain.events.news import JobNews
from headrace.domain.jobs.attempts.claims import Claim
from headrace.domain.pipelines.definition import Pipeline
from headrace.domain.pipelines.validator import ParamsValidator
from headrace.settings import Settings
from headrace.testing.job_run import JobRun
from headrace.testing.memory_job import FIRST_HEAD, MemoryJob, Silence
from headrace.testing.shared_capture import STEP_OUTPUT
from headrace.workers.attempt.job_files import FileLimits
from headrace.workers.attempt.runner import Attempt
from headrace.workers.child.fork_server import ForkServer
from headrace.workers.child.server import Load
from headrace.workers.crash_record import CrashRecord
from headrace.workers.job_log import JobLog
from headrace.workers.json_faults import ENCODER
from headrace.workers.outputs import OutputLimits
from headrace.workers.resources import WorkerResources
from headrace.workers.slots import Slots

_MAX_FAULTS: Final = 20
_NO_MODULES: Final = Load(sources=[], import_path=[], log_level="info", logs_json=False, secrets=[])


class ParamsError(HeadraceError, ValueError):
    """The parameters do not fit the pipeline: the API would not accept the job."""


def run(
    pipeline: Pipeline,
    params: Any = None,
    *,
    files: Mapping[UUID | str, bytes | Path] | None = None,
    max_attempts: int | None = None,
) -> JobRun:
    """Run a pipeline in memory, without servers, and return what has happened.

    Params, items and outputs become JSON and are read again, outputs are checked, steps that fail are retried
    as in a worker, but at once, and what steps print and log is in the job's log, of `logging` from level
    `info` on. All steps run in this process: those for a `process` in a thread.

    *params*: an object of the pipeline's type, or the same as JSON values. *files*: the content of uploaded
    files by the ids that the params name. *max_attempts*: that of the job.

    Raises:
        ParamsError: the API would refuse the parameters.
    """
    encoded = _encode_params(pipeline, {} if params is None else params)
    uploads = {UUID(str(file_id)): content for file_id, content in (files or {}).items()}
    with tempfile.TemporaryDirectory(prefix="headrace-test-") as folder, STEP_OUTPUT.captured():
        job = _run_job(_without_processes(pipeline), encoded, uploads, max_attempts, Path(folder))
        return _in_own_loop(job)


def _encode_params(pipeline: Pipeline, params: Any) -> str:
    """Return the params as JSON.

    Raises:
        ParamsError: they do not fit the schema of the pipeline.
    """
    encoded = ENCODER.encode(params)
    decoded = msgspec.json.decode(encoded)
    validator = ParamsValidator(pipeline.params_schema())
    if validator.is_valid(decoded):
        return encoded.decode()
    faults = [
        f"${''.join(f'[{key}]' if isinstance(key, int) else f'.{key}' for key in keys)}: {sentence}"
        for keys, sentence in islice(validator.faults(decoded), _MAX_FAULTS)
    ]
    raise ParamsError(f"the parameters do not fit pipeline {pipeline.name!r}: {'; '.join(faults)}")


def _without_processes(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline with threads in place of processes, so that a test can replace what they use."""
    changed = copy.copy(pipeline)
    changed.nodes = {
        name: replace(node, step=replace(node.step, runs_in="thread"))
        if node.step.runs_in == "process"
        else node
        for name, node in pipeline.nodes.items()
    }
    return changed


def _in_own_loop(job: Coroutine[Any, Any, JobRun]) -> JobRun:
    """Run *job* in a loop of its own, which is that of another thread if this one has a running loop."""
    try:
        has_loop = asyncio.get_running_loop().is_running()
    except RuntimeError:
        has_loop = False
    if not has_loop:  # outside of the handler, which would be the context of all errors
        return asyncio.run(job)
    with ThreadPoolExecutor(1, thread_name_prefix="headrace-test") as threads:
        return threads.submit(asyncio.run, job).result()


async def _run_job(
    pipeline: Pipeline,
    params: str,
    uploads: Mapping[UUID, bytes | Path],
    max_attempts: int | None,
    folder: Path,
) -> JobRun:
    settings = Settings()
    blobs = BlobStore(folder / "files", max_bytes=settings.max_file_bytes)
    job = MemoryJob(pipeline, blobs, uploads)
    publisher = Silence()
    commit = GroupCommit(job.write, publisher)
    scratch = folder / "scratch"
    scratch.mkdir()
    resources = WorkerResources(
        pipelines={(pipeline.name, pipeline.version): pipeline},
        sources={},
        commit=commit,
        publisher=publisher,
        database=job,
        blobs=blobs,
        scratch=scratch,
        process_slots=Slots(0),
        thread_slots=Slots(settings.worker_concurrency),
        max_output_bytes=settings.max_output_bytes,
        max_items_bytes=settings.max_items_bytes,
        output_limits=OutputLimits(settings.max_job_output_bytes, settings.max_result_bytes),
        file_limits=FileLimits(settings.max_job_file_bytes),
        crash_record=CrashRecord(None, "test"),
        fork_server=ForkServer(_NO_MODULES, {}),  # it is never started
        job_log=JobLog("error"),
        log_level=settings.log_level,
        step_log_level=settings.step_log_level,
        logs_json=False,
        secrets=(),
        retries_at_once=True,
    )
    writing = asyncio.create_task(commit.run())
    claim = _claim(pipeline, params, max_attempts)
    await asyncio.create_task(Attempt(claim, resources, on_report=job.on_report).run())
    commit.close()
    await writing
    return job.record()


def _claim(pipeline: Pipeline, params: str, max_attempts: int | None) -> Claim:
    """Return the claim of the first attempt of a new job."""
    job_id, owner_id, now = uuid4(), uuid4(), datetime.now(UTC)
    news = JobNews(
        job_id=job_id,
        owner_id=owner_id,
        pipeline=pipeline.name,
        state="running",
        head=FIRST_HEAD,
        progress=0.0,
        at=now,
        events=(),
    )
    return Claim(
        job_id=job_id,
        owner_id=owner_id,
        pipeline=pipeline.name,
        version=pipeline.version,
        queue="default",
        params=params,
        attempt=1,
        fence=1,
        max_attempts=max_attempts,
        losses=0,
        needs_process=False,
        progress=0.0,
        head=FIRST_HEAD,
        log_events=0,
        cancel_requested=False,
        seconds_left=None,
        steps={},
        at=now,
        received_at=time.monotonic(),
        news=news,
    )
