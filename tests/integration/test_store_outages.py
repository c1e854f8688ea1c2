"""A store of files that is full or read-only, under an API and a worker: no job is blamed."""

import asyncio
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from headrace.adapters import blob_store
from headrace.adapters.private_files import open_private
from headrace.adapters.servers import Servers
from headrace.settings import Settings
from headrace.workers.attempt import graph_runner, step_store
from headrace.workers.supervision import Supervision
from support.harness import Api, working
from support.patience import until_async

FLOWS = Path(__file__).parent / "flows" / "saving_flows.py"
# The event after which the step of each pipeline waits for the store, or has waited as long as it may.
SIGNS = {
    "in_loop": "step.started",
    "in_thread": "step.started",
    "in_process": "step.started",
    "in_time": "job.requeued",
}
Refuse = Callable[[int | None], None]


@pytest.fixture(scope="module")
def module_settings(
    servers: Servers, module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """Settings of a service with pipelines whose steps save files."""
    return Settings(
        database_url=module_database_url,
        redis_url=str(servers.redis_url),
        data_dir=tmp_path_factory.mktemp("service"),
        pipelines=(str(FLOWS),),
        lease_seconds=60,
    )


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses, but not to nothing, after which a store is tried again that has failed."""
    monkeypatch.setattr(step_store, "_OWN_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(graph_runner, "_STORE_PAUSE_SECONDS", 0.5)


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Iterator[Refuse]:
    """Let every write of the store fail with an error number, until it is called with None."""
    number: int | None = None

    def open_or_fail(*arguments: Any, **options: Any) -> Any:
        if number is not None:
            raise OSError(number, os.strerror(number))
        return open_private(*arguments, **options)

    def set_number(new: int | None) -> None:
        nonlocal number
        number = new

    monkeypatch.setattr(blob_store, "open_private", open_or_fail)
    yield set_number
    number = None


async def readiness(api: Api) -> tuple[int, list[str]]:
    response = await api.http.get("/health/ready")
    return response.status_code, response.json()["degraded"]


async def until_ready(api: Api, *entries: str) -> None:
    async def is_so() -> bool:
        return await readiness(api) == (200, list(entries))

    await until_async(is_so)


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def upload(api: Api) -> Any:
    return await api.http.post("/api/v1/files", files={"file": ("a.txt", b"content", "text/plain")})


@pytest.mark.parametrize(
    ("number", "status", "code", "entry"),
    [
        (errno.ENOSPC, 507, "storage_full", "storage: full"),
        (errno.EROFS, 503, "storage_unavailable", "storage: read-only"),
        (errno.EIO, 503, "storage_unavailable", "storage"),
    ],
)
async def test_an_upload_is_refused_as_what_is_wrong_with_the_store_and_leaves_nothing(
    service: Api, settings: Settings, refuse: Refuse, number: int, status: int, code: str, entry: str
) -> None:
    await until_ready(service)
    refuse(number)

    response = await upload(service)
    ready = await readiness(service)
    refuse(None)
    await until_ready(service)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert int(response.headers["Retry-After"]) > 0
    assert str(settings.data_dir) not in response.text
    assert ready[0] == 200
    assert entry in ready[1]
    assert (await service.http.get("/api/v1/files")).json()["total"] == 0
    assert (await upload(service)).status_code == 201


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
async def test_jobs_wait_for_a_store_that_is_full_and_are_not_blamed(
    service: Api, refuse: Refuse, number: int
) -> None:
    await until_ready(service)
    refuse(number)
    plain = await service.submit("noop")
    without_files = await service.finish(plain["id"])
    jobs = []
    for pipeline, event_type in SIGNS.items():
        jobs.append(job := await service.submit(pipeline))

        async def has_begun(job: Any = job, event_type: str = event_type) -> bool:
            return event_type in {event["type"] for event in await service.events(job["id"])}

        await until_async(has_begun)
    states = {(await service.job(job["id"]))["state"] for job in jobs[:-1]}
    refuse(None)
    ended = [await service.finish(job["id"]) for job in jobs]

    assert without_files["state"] == "succeeded"
    assert states == {"running"}
    assert [job["state"] for job in ended] == ["succeeded"] * len(jobs)
    for job in ended:
        events = await service.events(job["id"])
        assert {"step.failed", "attempt.lost"}.isdisjoint(event["type"] for event in events)
        content = await service.http.get(f"/api/v1/files/{job['result']}/content")
        assert content.content == b"kept"


async def test_the_time_limit_of_a_job_does_not_run_while_it_waits_for_the_store(
    service: Api, refuse: Refuse
) -> None:
    await until_ready(service)
    refuse(errno.ENOSPC)
    jobs = [await service.submit(pipeline, timeout_seconds=3) for pipeline in ("in_loop", "in_thread")]
    for job in jobs:

        async def has_begun(job_id: str = job["id"]) -> bool:
            return "step.started" in {event["type"] for event in await service.events(job_id)}

        await until_async(has_begun)
    # It begins after the others, has as much time, and waits for nothing.
    busy = await service.submit("ticks", params={"count": 1000, "interval_ms": 50}, timeout_seconds=3)
    timed_out = await service.finish(busy["id"])
    states = [(await service.job(job["id"]))["state"] for job in jobs]
    refuse(None)
    ended = [await service.finish(job["id"]) for job in jobs]

    assert (timed_out["state"], timed_out["error"]["code"]) == ("failed", "job_timeout")
    assert states == ["running", "running"]
    assert [(job["state"], job["attempt"]) for job in ended] == [("succeeded", 1)] * len(ended)


async def test_readiness_names_a_store_that_only_the_worker_cannot_write(
    service: Api, database: Any, refuse: Refuse
) -> None:
    await until_ready(service)
    refuse(errno.ENOSPC)

    async def is_reported() -> bool:
        return "chore:storage" in (await readiness(service))[1]

    await until_async(is_reported)
    [row] = await database.fetch("SELECT error FROM chore_failures WHERE name = 'storage'")
    refuse(None)
    await until_ready(service)

    assert "No space left on device" in row["error"]


async def test_a_restarted_worker_that_cannot_write_files_says_so_before_it_is_ready(
    service: Api, settings: Settings, refuse: Refuse
) -> None:
    refuse(errno.EACCES)

    with capture_logs() as logs:
        async with working(settings, queues=("nobody",), supervision=Supervision(is_restart=True)):
            pass
    refuse(None)
    await until_ready(service)

    events = [log["event"] for log in logs if log["event"] in ("outage_began", "worker_ready")]
    assert events[-1] == "worker_ready"
    assert "outage_began" in events
    assert {log["condition"] for log in logs if log["event"] == "outage_began"} == {"read-only"}


async def test_a_store_that_is_gone_answers_no_download_with_404(service: Api, settings: Settings) -> None:
    file = (await upload(service)).json()
    moved = settings.blob_dir.with_name("moved")
    settings.blob_dir.rename(moved)

    away = await service.http.get(f"/api/v1/files/{file['id']}/content")
    moved.rename(settings.blob_dir)
    back = await service.http.get(f"/api/v1/files/{file['id']}/content")

    assert (away.status_code, away.json()["code"]) == (503, "storage_unavailable")
    assert back.content == b"content"


async def test_a_job_waits_for_a_store_that_it_cannot_read(service: Api, settings: Settings) -> None:
    file = (await upload(service)).json()
    moved = settings.blob_dir.with_name("moved")
    settings.blob_dir.rename(moved)
    job = await service.submit("reading", params={"file": file["id"]})

    async def has_begun() -> bool:
        return "step.started" in {event["type"] for event in await service.events(job["id"])}

    await until_async(has_begun)
    moved.rename(settings.blob_dir)
    ended = await service.finish(job["id"])

    assert (ended["state"], ended["result"], ended["attempt"]) == ("succeeded", "content", 1)


async def test_a_file_that_cannot_be_read_fails_its_job_while_the_store_works(
    service: Api, settings: Settings
) -> None:
    file = (await upload(service)).json()
    [blob] = settings.blob_dir.rglob(f"{file['id']}.*")
    blob.unlink()
    blob.symlink_to(blob)  # reading it is an error of the system, also for root

    ended = await service.finish((await service.submit("reading", params={"file": file["id"]}))["id"])
    blob.unlink()
    await until_ready(service)

    assert (ended["state"], ended["error"]["code"], ended["attempt"]) == ("failed", "file_unreadable", 1)


@pytest.fixture
def small_disk(settings: Settings) -> Iterator[Path]:
    """A file system of 1 MiB for the store; only root may mount one."""
    settings.blob_dir.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(settings.blob_dir)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("this account may not mount a file system")
    yield settings.blob_dir
    subprocess.run(["umount", "-l", str(settings.blob_dir)], check=True)
    settings.blob_dir.rmdir()


async def test_a_disk_that_is_really_full_refuses_uploads_until_there_is_room(
    service: Api, small_disk: Path
) -> None:
    filler = small_disk / "filler"
    await asyncio.to_thread(filler.write_bytes, bytes(700_000))
    big = {"file": ("big.bin", bytes(600_000), "application/octet-stream")}

    refused = await service.http.post("/api/v1/files", files=big)
    left = files_in(small_disk)
    filler.unlink()
    stored = await service.http.post("/api/v1/files", files=big)

    assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
    assert left == ["filler"]
    assert stored.status_code == 201


async def test_a_job_whose_file_has_no_room_fails_with_its_size(service: Api, small_disk: Path) -> None:
    filler = small_disk / "filler"
    await asyncio.to_thread(filler.write_bytes, bytes(700_000))

    ended = await service.finish((await service.submit("large"))["id"])
    filler.unlink()

    assert (ended["state"], ended["error"]["code"], ended["attempt"]) == ("failed", "storage_full", 1)
    assert "600000 bytes" in ended["error"]["message"]
