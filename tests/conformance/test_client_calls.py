"""The clients' calls besides watching, against a real service."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from msgspec import Struct

from conformance.node import needs_node, node_call
from conformance.service import Service
from headrace_client import ApiError, AsyncClient, Client, UnreachableError, WaitTimeoutError
from support.patience import PATIENCE_SECONDS


class Params(Struct):
    count: int
    interval_ms: int = 1


class Caller:
    """Calls either Python client; the blocking one in a thread."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    async def __call__(self, name: str, *arguments: Any, **more: Any) -> Any:
        method = getattr(self.client, name)
        async with asyncio.timeout(PATIENCE_SECONDS):
            if isinstance(self.client, AsyncClient):
                return await method(*arguments, **more)
            return await asyncio.to_thread(method, *arguments, **more)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=[Client, AsyncClient], ids=["blocking", "async"])
async def call(request: pytest.FixtureRequest, service: Service) -> AsyncIterator[Caller]:
    caller = Caller(request.param(service.url))
    yield caller
    await caller("close")


async def test_a_job_can_be_submitted_awaited_and_shown(call: Caller) -> None:
    job = await call("submit", "ticks", Params(2), tags=["a", "b"], priority=7, meta={"from": "test"})

    done = await call("wait", job.id, timeout=PATIENCE_SECONDS)

    assert (job.state, job.tags, job.priority, job.is_final) == ("queued", ["a", "b"], 7, False)
    assert (done.state, done.result, done.meta, done.is_final) == (
        "succeeded",
        {"ticks": 2},
        {"from": "test"},
        True,
    )
    assert await call("show", job.id) == done
    assert job.id in [item.id for item in (await call("jobs", state="succeeded", tag="a")).items]
    assert [step.name for step in await call("steps", job.id)] == ["tick", "total"]
    page = await call("events", job.id, 2, limit=2)
    assert ([event.seq for event in page.items], page.head) == ([3, 4], done.event_seq)


async def test_submitting_with_the_same_key_returns_the_same_job(call: Caller) -> None:
    key = uuid4().hex

    jobs = [await call("submit", "noop", key=key) for _ in range(2)]

    assert jobs[0] == jobs[1]
    with pytest.raises(ApiError) as refused:
        await call("submit", "ticks", key=key)
    assert (refused.value.status, refused.value.code) == (409, "idempotency_conflict")


async def test_wait_times_out_without_ending_the_job(call: Caller, service: Service) -> None:
    job_id = await service.waiting_job()

    with pytest.raises(WaitTimeoutError):
        await call("wait", job_id, timeout=0.2)

    assert (await call("cancel", job_id)).state == "cancelled"
    assert (await call("wait", job_id, timeout=PATIENCE_SECONDS)).state == "cancelled"


async def test_a_failed_job_can_be_retried(call: Caller) -> None:
    job = await call("submit", "flaky", {"fail_times": 1}, max_attempts=1)
    failed = await call("wait", job.id, timeout=PATIENCE_SECONDS)

    await call("retry", job.id)

    assert (failed.state, failed.error.code) == ("failed", "step_failed")
    assert (await call("wait", job.id, timeout=PATIENCE_SECONDS)).state == "succeeded"


async def test_invalid_params_are_refused_with_their_paths(call: Caller) -> None:
    with pytest.raises(ApiError) as refused:
        await call("submit", "ticks", {"count": "many"})

    assert (refused.value.status, refused.value.code) == (422, "params_invalid")
    assert [fault.path for fault in refused.value.errors] == ["$.params.count"]


async def test_a_file_can_be_uploaded_and_downloaded(call: Caller, tmp_path: Path) -> None:
    sent, got = tmp_path / "sent.bin", tmp_path / "got.bin"
    sent.write_bytes(bytes(range(256)) * 3000)

    file = await call("upload", sent)
    path = await call("download", file.id, got)

    assert (file.name, file.size, path) == ("sent.bin", 768_000, got)
    assert got.read_bytes() == sent.read_bytes()
    with pytest.raises(ApiError) as refused:
        await call("download", uuid4(), tmp_path / "none.bin")
    assert refused.value.code == "file_not_found"
    assert names_in(tmp_path) == ["got.bin", "sent.bin"]


async def test_a_job_without_files_has_an_empty_file_list(call: Caller, service: Service) -> None:
    page = await call("files", await service.waiting_job())

    assert (page.items, page.total) == ([], 0)


async def test_request_can_call_any_route(call: Caller) -> None:
    view = await call("request", "GET", "/pipelines/ticks")

    assert view["name"] == "ticks"


@pytest.mark.parametrize("kind", [Client, AsyncClient], ids=["blocking", "async"])
async def test_a_submission_survives_a_restarting_service(kind: Any, service: Service) -> None:
    """After a 503 and a lost response, the client repeats its request with one key: one job is created."""
    keys: list[str] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        body = await reader.readexactly(length)
        keys.append(head.lower().partition("idempotency-key: ")[2].partition("\r\n")[0])
        if len(keys) == 1:
            writer.write(
                b"HTTP/1.1 503 Away\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        else:
            headers = {"Idempotency-Key": keys[-1], "Content-Type": "application/json"}
            response = await service.api.http.post("/api/v1/jobs", content=body, headers=headers)
            if len(keys) == 3:
                writer.write(b"HTTP/1.1 202 Accepted\r\nConnection: close\r\n\r\n" + response.content)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        caller = Caller(kind(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        tag = uuid4().hex
        job = await caller("submit", "noop", tags=[tag])
        await caller("close")

    page = (await service.api.http.get("/api/v1/jobs", params={"tag": tag})).json()
    assert (len(keys), len(set(keys))) == (3, 1)
    assert [item["id"] for item in page["items"]] == [str(job.id)]


async def test_an_unreachable_service_is_reported() -> None:
    for client in (Client("http://127.0.0.1:9", retries=0), AsyncClient("http://127.0.0.1:9", retries=0)):
        with pytest.raises(UnreachableError, match="no service at http"):
            await Caller(client)("show", uuid4())
        await Caller(client)("close")


@needs_node
async def test_the_typescript_client_can_submit_wait_show_and_cancel(service: Service) -> None:
    async def ask(name: str, *arguments: Any) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await node_call(service.url, name, *arguments)

    key, params = uuid4().hex, {"count": 2, "interval_ms": 1}
    job = (await ask("submit", "ticks", params, {"key": key}))["result"]
    again = (await ask("submit", "ticks", params, {"key": key}))["result"]
    done = (await ask("wait", job["id"], {"timeoutMs": PATIENCE_SECONDS * 1_000}))["result"]
    shown = (await ask("show", job["id"]))["result"]
    cancelled = (await ask("cancel", await service.waiting_job()))["result"]
    refused = (await ask("retry", job["id"]))["error"]
    faulty = (await ask("submit", "ticks", {"count": "many"}))["error"]

    assert again["id"] == job["id"]
    assert (done, done["result"]) == (shown, {"ticks": 2})
    assert cancelled["state"] == "cancelled"
    assert (refused["name"], refused["status"], refused["code"]) == ("ApiError", 409, "illegal_transition")
    assert [error["path"] for error in faulty["errors"]] == ["$.params.count"]
